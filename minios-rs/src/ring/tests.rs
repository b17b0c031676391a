use super::*;
use crate::abi::io::ring::{REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Plain memory; two rings over clones of it are two ends.
#[derive(Clone)]
struct Memory(Rc<Vec<AtomicU32>>);

impl Memory {
    fn new() -> Self {
        Self(Rc::new((0..1024).map(|_| AtomicU32::new(0)).collect()))
    }

    fn set(&self, offset: usize, value: u32) {
        self.ring_word(offset).store(value, Ordering::Relaxed);
    }

    fn get(&self, offset: usize) -> u32 {
        self.ring_word(offset).load(Ordering::Relaxed)
    }
}

impl RingMemory for Memory {
    fn ring_word(&self, offset: usize) -> &AtomicU32 {
        &self.0[offset / 4]
    }
}

type Front = FrontRing<Memory, [u32; 3], u32>;
type Back = BackRing<Memory, [u32; 3], u32>;

fn pair() -> (Memory, Front, Back) {
    let memory = Memory::new();
    (
        memory.clone(),
        Front::new(memory.clone()),
        Back::new(memory),
    )
}

#[test]
fn what_one_end_sends_the_other_takes_in_order() {
    let (_, mut front, mut back) = pair();
    for round in 0..1000_u32 {
        front.push(&[round, round + 1, round + 2]).unwrap();
        let _ = front.publish();
        assert_eq!(back.pop(), Ok([round, round + 1, round + 2]));
        assert_eq!(back.pop(), Err(ReadError::Empty));
        back.push(&(round * 2));
        let _ = back.publish();
        assert_eq!(front.pop(), Ok(round * 2));
        assert_eq!(front.pop(), Err(ReadError::Empty));
    }
}

#[test]
fn a_full_ring_takes_no_more() {
    let (_, mut front, _) = pair();
    for _ in 0..Front::ENTRIES {
        front.push(&[0; 3]).unwrap();
    }
    assert_eq!(front.push(&[0; 3]), Err(Full));
}

#[test]
fn unpublished_requests_are_not_seen_and_cannot_be_answered() {
    let (memory, mut front, back) = pair();
    front.push(&[1, 2, 3]).unwrap();
    assert_eq!(back.available(), Ok(0));
    memory.set(RSP_PROD, 1);
    assert_eq!(front.pop(), Err(ReadError::Corrupt));
}

#[test]
fn a_batch_costs_one_event_and_none_while_the_peer_is_looking() {
    let (_, mut front, mut back) = pair();
    for _ in 0..10 {
        front.push(&[0; 3]).unwrap();
    }
    assert_eq!(front.publish(), Notify::Needed);
    assert_eq!(front.publish(), Notify::NotNeeded, "nothing new");
    front.push(&[0; 3]).unwrap();
    assert_eq!(front.publish(), Notify::NotNeeded, "the peer has not armed");
    while back.pop().is_ok() {}
    assert_eq!(back.arm(), Ok(Pending::Nothing));
    front.push(&[0; 3]).unwrap();
    assert_eq!(front.publish(), Notify::Needed);
}

#[test]
fn an_event_is_sent_when_the_asked_for_entry_is_in_the_batch_and_for_no_other() {
    // Entries 4 and 5 are published next; the peer asks for the one that makes the index so much.
    for (event, notify) in [
        (2, Notify::NotNeeded),
        (3, Notify::NotNeeded),
        (4, Notify::Needed),
        (5, Notify::Needed),
        (6, Notify::NotNeeded),
    ] {
        let (memory, mut front, _) = pair();
        for _ in 0..3 {
            front.push(&[0; 3]).unwrap();
        }
        let _ = front.publish();
        memory.set(REQ_EVENT, event);
        for _ in 0..2 {
            front.push(&[0; 3]).unwrap();
        }
        assert_eq!(front.publish(), notify, "{event}");
    }
}

#[test]
fn the_final_check_sees_what_came_before_the_event_was_asked_for() {
    let (_, mut front, mut back) = pair();
    for _ in 0..4 {
        front.push(&[0; 3]).unwrap();
    }
    let _ = front.publish();
    let _ = back.pop();
    back.push(&1);
    let _ = back.publish();
    assert_eq!(front.arm(0), Ok(Pending::Work));
    assert_eq!(front.pop(), Ok(1));
    assert_eq!(front.arm(1), Ok(Pending::Nothing));
    let _ = back.pop();
    back.push(&2);
    assert_eq!(
        back.publish(),
        Notify::NotNeeded,
        "the frontend waits for two"
    );
    let _ = back.pop();
    back.push(&3);
    assert_eq!(back.publish(), Notify::Needed);
}

#[test]
fn either_end_that_arms_learns_of_what_is_there_already() {
    let (_, mut front, mut back) = pair();
    assert_eq!(back.arm(), Ok(Pending::Nothing));
    front.push(&[1; 3]).unwrap();
    let _ = front.publish();
    assert_eq!(back.arm(), Ok(Pending::Work));
    assert_eq!(back.available(), Ok(1));
    back.pop().unwrap();
    assert_eq!(back.arm(), Ok(Pending::Nothing));
    assert_eq!(back.available(), Ok(0));
}

#[test]
fn more_responses_than_requests_are_refused() {
    let (memory, mut front, _) = pair();
    front.push(&[0; 3]).unwrap();
    let _ = front.publish();
    for lie in [2, 255, 256, 257, 0x8000_0000, u32::MAX] {
        memory.set(RSP_PROD, lie);
        assert_eq!(front.pop(), Err(ReadError::Corrupt), "{lie}");
        assert_eq!(front.arm(0), Err(Corrupt));
    }
    memory.set(RSP_PROD, 1);
    assert!(front.pop().is_ok());
    memory.set(RSP_PROD, 0);
    assert_eq!(
        front.pop(),
        Err(ReadError::Corrupt),
        "an index that goes back"
    );
}

#[test]
fn more_requests_than_entries_are_refused() {
    let (memory, _, mut back) = pair();
    memory.set(REQ_PROD, Back::ENTRIES + 1);
    assert_eq!(back.pop(), Err(ReadError::Corrupt));
    memory.set(REQ_PROD, Back::ENTRIES);
    assert!(back.pop().is_ok());
    memory.set(REQ_PROD, Back::ENTRIES + 1);
    assert_eq!(
        back.pop(),
        Err(ReadError::Corrupt),
        "one is taken but not answered"
    );
    back.push(&0);
    assert!(back.pop().is_ok());
}

#[test]
fn indices_wrap_around() {
    let (memory, mut front, mut back) = pair();
    // 2^32 requests take too long to send: go around by jumping both ends a whole number of rings.
    for _ in 0..5 {
        for _ in 0..Front::ENTRIES {
            front.push(&[0; 3]).unwrap();
        }
        let _ = front.publish();
        while back.pop().is_ok() {
            back.push(&9);
        }
        let _ = back.publish();
        let mut taken = 0;
        while front.pop().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, Front::ENTRIES);
    }
    assert_eq!(memory.get(RSP_PROD), 5 * Front::ENTRIES);
    assert_ne!(memory.get(REQ_EVENT), 0);
    assert_ne!(memory.get(RSP_EVENT), 0);
}

proptest! {
    #[test]
    fn no_index_the_peer_writes_makes_the_front_take_more_than_it_asked(
        steps in prop::collection::vec((0..4_u8, any::<u32>()), 0..200),
    ) {
        let (memory, mut front, _) = pair();
        let (mut asked, mut taken) = (0_u64, 0_u64);
        for (step, value) in steps {
            match step {
                0 => asked += u64::from(front.push(&[value; 3]).is_ok()),
                1 => { let _ = front.publish(); }
                2 => memory.set(RSP_PROD, if value % 2 == 0 { value } else { (taken as u32).wrapping_add(value % 300) }),
                _ => while front.pop().is_ok() { taken += 1; },
            }
            prop_assert!(taken <= asked);
            prop_assert!(front.free() <= Front::ENTRIES);
        }
    }

    #[test]
    fn entries_come_out_as_they_went_in(entries in prop::collection::vec(any::<[u32; 3]>(), 1..256)) {
        let (_, mut front, mut back) = pair();
        for entry in &entries {
            front.push(entry).unwrap();
        }
        let _ = front.publish();
        for entry in &entries {
            prop_assert_eq!(back.pop(), Ok(*entry));
        }
        drop(Box::new(back));
    }
}
