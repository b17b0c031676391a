extern crate std;

use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;

const PEER: DomId = DomId(0x1234);

/// A page as Xen sees it.
struct Page(Box<[AtomicU32]>);

impl Page {
    fn new() -> Self {
        Self((0..PAGE_SIZE / 4).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Frame for Page {
    fn word(&self, index: usize) -> &AtomicU32 {
        &self.0[index]
    }
}

fn table(frames: usize) -> Table<Page> {
    let mut table = Table::new();
    for _ in 0..frames {
        table.add(Page::new());
    }
    table
}

/// Flags, domain and frame of an entry: `grant_entry_v1`.
fn entry(table: &Table<Page>, reference: GrantRef) -> (u16, u16, u32) {
    let page = &table.frames[reference.0 as usize / 512];
    let word = |index| page.word(index).load(Ordering::Relaxed);
    let at = reference.0 as usize % 512 * 2;
    (word(at) as u16, (word(at) >> 16) as u16, word(at + 1))
}

/// What Xen does when the peer starts or stops using the page.
fn mark(table: &Table<Page>, reference: GrantRef, flags: u16) {
    let page = &table.frames[reference.0 as usize / 512];
    let word = page.word(reference.0 as usize % 512 * 2);
    let rest = word.load(Ordering::Relaxed) & !u32::from(GTF_READING | GTF_WRITING);
    word.store(rest | u32::from(flags), Ordering::Relaxed);
}

#[test]
fn an_entry_says_who_may_do_what_with_which_frame() {
    let mut table = table(1);
    let reading = table.grant(PEER, 0xABCD_EF01, Access::ReadOnly).unwrap();
    let writing = table.grant(DomId(7), 5, Access::ReadWrite).unwrap();
    assert_eq!(entry(&table, reading), (0b101, 0x1234, 0xABCD_EF01));
    assert_eq!(entry(&table, writing), (0b001, 7, 5));
    table.end_access(reading).unwrap();
    assert_eq!(entry(&table, reading).0, 0);
    assert_eq!(entry(&table, writing), (0b001, 7, 5));
}

#[test]
fn the_toolstacks_entries_are_never_given_out() {
    let mut table = table(1);
    assert_eq!(table.in_use(), 0);
    for count in 1..=504 {
        let reference = table.grant(PEER, 0, Access::ReadOnly).unwrap();
        assert_eq!(reference.0, 7 + count);
        assert_eq!(table.in_use(), count as usize);
    }
    assert_eq!(
        table.grant(PEER, 0, Access::ReadOnly),
        Err(GrantError::Full)
    );
    // The second page has none of them.
    assert_eq!(table.wants(), Ok(Some(2)));
    table.add(Page::new());
    assert_eq!(table.wants(), Ok(None));
    assert_eq!(table.grant(PEER, 0, Access::ReadOnly), Ok(GrantRef(512)));
    assert_eq!(table.in_use(), 505);
}

#[test]
fn it_grows_page_by_page_as_far_as_libxl_lets_it() {
    let mut table = table(0);
    assert_eq!(table.in_use(), 0);
    assert_eq!(table.wants(), Ok(Some(1)));
    for frames in 1..=64 {
        assert_eq!(table.wants(), Ok(Some(frames)));
        table.add(Page::new());
        while table.wants() == Ok(None) {
            table.grant(PEER, 1, Access::ReadOnly).unwrap();
        }
    }
    assert_eq!(table.wants(), Err(GrantError::Full));
    assert_eq!(table.in_use(), 32_768 - 8);
    table.end_access(GrantRef(32_767)).unwrap();
    assert_eq!(table.wants(), Ok(None));
}

#[test]
fn what_is_in_use_stays_granted_until_it_is_not() {
    for flags in [GTF_READING, GTF_WRITING, GTF_READING | GTF_WRITING] {
        let mut table = table(1);
        let reference = table.grant(PEER, 9, Access::ReadWrite).unwrap();
        mark(&table, reference, flags);
        assert_eq!(table.end_access(reference), Err(GrantError::InUse));
        assert_eq!(entry(&table, reference), (1 | flags, 0x1234, 9));
        assert_eq!(table.in_use(), 1);
        mark(&table, reference, 0);
        assert_eq!(table.end_access(reference), Ok(()));
        assert_eq!(table.in_use(), 0);
    }
}

#[test]
#[should_panic(expected = "a grant is ended once")]
fn a_grant_that_ended_does_not_end_again() {
    let mut table = table(1);
    let reference = table.grant(PEER, 9, Access::ReadOnly).unwrap();
    table.end_access(reference).unwrap();
    let _ = table.end_access(reference);
}

#[test]
fn no_grant_ends_under_a_peer_that_takes_it_at_the_same_moment() {
    // Another processor sets and clears "in use" as Xen does, by compare and exchange, as long as
    // the grant stands; whoever loses the race must see it.
    for _ in 0..200 {
        let page = std::sync::Arc::new(Page::new());
        struct Shared(std::sync::Arc<Page>);
        impl Frame for Shared {
            fn word(&self, index: usize) -> &AtomicU32 {
                self.0.word(index)
            }
        }
        let mut table = Table::new();
        table.add(Shared(page.clone()));
        let reference = table.grant(PEER, 9, Access::ReadOnly).unwrap();
        let word = reference.0 as usize * 2;
        let granted = page.word(word).load(Ordering::Relaxed);
        let using = granted | u32::from(GTF_READING);
        let xen = std::thread::spawn(move || {
            let word = page.word(word);
            let exchange =
                |from, to| word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            while exchange(granted, using).is_ok() {
                exchange(using, granted).expect("it does not end while it is used");
            }
        });
        while table.end_access(reference) == Err(GrantError::InUse) {}
        xen.join().expect("Xen saw no fault");
        assert_eq!(table.in_use(), 0);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Grant(u16, u32, bool),
    End(usize),
    Use(usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<u16>(), any::<u32>(), any::<bool>()).prop_map(|(to, frame, writes)| Step::Grant(to, frame, writes)),
        2 => any::<usize>().prop_map(Step::End),
        1 => (any::<usize>(), prop::sample::select(vec![0, GTF_READING, GTF_WRITING])).prop_map(|(which, flags)| Step::Use(which, flags)),
    ]
}

proptest! {
    #[test]
    fn each_entry_is_whose_it_was_given_to(steps in prop::collection::vec(step(), 0..1500)) {
        let mut table = table(0);
        // Reference to flags, domain and frame.
        let mut model: BTreeMap<u32, (u16, u16, u32)> = BTreeMap::new();
        for step in steps {
            let chosen = |which: usize, model: &BTreeMap<u32, _>| {
                model.keys().nth(which.checked_rem(model.len())?).copied().map(GrantRef)
            };
            match step {
                Step::Grant(to, frame, writes) => {
                    if table.wants() != Ok(None) {
                        table.add(Page::new());
                    }
                    let access = if writes { Access::ReadWrite } else { Access::ReadOnly };
                    let reference = table.grant(DomId(to), frame, access).unwrap();
                    let flags = if writes { 1 } else { 5 };
                    prop_assert_eq!(model.insert(reference.0, (flags, to, frame)), None);
                }
                Step::End(which) => {
                    if let Some(reference) = chosen(which, &model) {
                        let used = model[&reference.0].0 & (GTF_READING | GTF_WRITING) != 0;
                        let expected = if used { Err(GrantError::InUse) } else { Ok(()) };
                        prop_assert_eq!(table.end_access(reference), expected);
                        if !used {
                            model.remove(&reference.0);
                        }
                    }
                }
                Step::Use(which, flags) => {
                    if let Some(reference) = chosen(which, &model) {
                        mark(&table, reference, flags);
                        let entry = model.get_mut(&reference.0).unwrap();
                        entry.0 = entry.0 & 7 | flags;
                    }
                }
            }
            prop_assert_eq!(table.in_use(), model.len());
        }
        for (&reference, &expected) in &model {
            prop_assert_eq!(entry(&table, GrantRef(reference)), expected);
        }
    }
}
