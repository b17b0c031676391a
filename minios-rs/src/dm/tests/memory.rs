//! The guest's memory through foreign mappings.

use super::super::memory::WINDOWS_MAX;
use super::*;
use crate::abi::xen::nr;
use crate::xen::Xen;
use alloc::collections::BTreeMap;

const PAGE: u64 = PAGE_SIZE as u64;
const WINDOW: u64 = WINDOW_PAGES as u64 * PAGE;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

impl Lab {
    fn memory(&self) -> GuestMemory<Domain> {
        GuestMemory::new(&self.guest).unwrap()
    }

    fn mmu_updates(&self) -> u64 {
        self.stub.hypercalls().of(nr::MMU_UPDATE)
    }
}

#[test]
fn what_is_written_is_the_guests_and_what_the_guest_writes_is_read() {
    let lab = Lab::new(1, 200);
    let mut memory = lab.memory();
    // Within a page, across two, across two windows, and whole windows.
    for (address, length) in [
        (5, 7),
        (PAGE - 3, 6),
        (WINDOW - 5000, 10_000),
        (PAGE * 3, 3 * WINDOW as usize - 77),
        (0, 1),
    ] {
        let bytes = pattern(length);
        memory.write(address, &bytes).unwrap();
        let mut got = vec![0; length];
        lab.hvm.peek(address, &mut got);
        assert!(got == bytes, "written at {address:#x}");
        lab.hvm.poke(address, &[0xee]);
        memory.read(address, &mut got).unwrap();
        assert_eq!(got[0], 0xee);
        assert!(got[1..] == bytes[1..], "read at {address:#x}");
    }
    drop(memory);
    lab.assert_clean();
}

#[test]
fn nothing_of_nothing_is_there() {
    let mut memory = Lab::new(1, 0).memory();
    assert_eq!(memory.read(0x1234, &mut []), Ok(()));
    assert_eq!(memory.write(u64::MAX, &[]), Err(Outside), "no address");
    assert_eq!(memory.read(0, &mut [0]), Err(Outside), "no memory");
}

#[test]
fn a_range_that_wraps_or_has_no_address_is_outside_and_asks_nothing_of_xen() {
    let lab = Lab::new(1, 4);
    let mut memory = lab.memory();
    for address in [u64::MAX, u64::MAX - 7, 1 << 52, (1 << 52) - 15, 1 << 63] {
        assert_eq!(memory.read(address, &mut [0; 16]), Err(Outside));
        assert_eq!(memory.write(address, &[0; 16]), Err(Outside));
    }
    assert_eq!(lab.mmu_updates(), 0);
    // The last that there can be is asked for.
    assert_eq!(memory.read((1 << 52) - 16, &mut [0; 16]), Err(Outside));
    assert_eq!(lab.mmu_updates(), 1);
}

#[test]
fn a_hole_is_outside_and_its_neighbours_are_not() {
    let lab = Lab::new(1, 8);
    lab.hvm.remove_ram(3);
    let mut memory = lab.memory();
    assert_eq!(memory.write(3 * PAGE, &[1]), Err(Outside));
    assert_eq!(memory.write(3 * PAGE - 1, &[7, 7]), Err(Outside));
    assert_eq!(memory.read(2 * PAGE, &mut [0; 3 * PAGE_SIZE]), Err(Outside));
    memory.write(2 * PAGE, &[2]).unwrap();
    memory.write(4 * PAGE, &[4]).unwrap();
    let mut byte = [0];
    lab.hvm.peek(4 * PAGE, &mut byte);
    assert_eq!(byte, [4]);
    assert_eq!(memory.mapped(), 2, "pages 2 and 4");
    // It is filled, and needs nobody to say so.
    lab.hvm.add_ram(3..4, Ram::Writable);
    memory.write(3 * PAGE, &[3]).unwrap();
}

#[test]
fn what_may_not_be_written_is_not_mapped() {
    let lab = Lab::new(1, 2);
    lab.hvm.add_ram(2..3, Ram::ReadOnly);
    let mut memory = lab.memory();
    assert_eq!(memory.write(2 * PAGE, &[1]), Err(Outside));
    assert_eq!(memory.read(2 * PAGE, &mut [0]), Err(Outside));
    assert_eq!(memory.mapped(), 0);
}

#[test]
fn a_page_is_mapped_once_and_a_range_at_once() {
    let lab = Lab::new(1, 256);
    let mut memory = lab.memory();
    memory.read(PAGE, &mut vec![0; 16 * PAGE_SIZE]).unwrap();
    assert_eq!((lab.mmu_updates(), memory.mapped()), (1, 16));
    memory.write(PAGE, &vec![0; 16 * PAGE_SIZE]).unwrap();
    assert_eq!(lab.mmu_updates(), 1, "all there");
    memory.read(0, &mut vec![0; 18 * PAGE_SIZE]).unwrap();
    assert_eq!(lab.mmu_updates(), 3, "one before and one behind");
    assert_eq!(memory.mapped(), 18);
}

#[test]
fn the_cache_is_bounded_and_keeps_what_was_used_last() {
    let windows = WINDOWS_MAX as u64;
    let lab = Lab::new(1, (windows + 3) * WINDOW_PAGES as u64);
    let mut memory = lab.memory();
    let mut touch = |number: u64| {
        let before = lab.mmu_updates();
        memory.read(number * WINDOW, &mut [0]).unwrap();
        assert!(memory.mapped() <= WINDOWS_MAX);
        lab.mmu_updates() - before
    };
    for number in 0..windows {
        assert_eq!(touch(number), 1, "mapped");
    }
    for number in (1..windows).chain([0]) {
        assert_eq!(touch(number), 0, "still there");
    }
    assert_eq!(touch(windows), 2, "another is unmapped for it");
    assert_eq!(touch(0), 0, "used last before that");
    assert_eq!(touch(1), 2, "used least lately");
    assert_eq!(touch(2), 2, "the next to be taken");
    assert_eq!(touch(windows), 0);
    assert_eq!(lab.hvm.mapped().1, WINDOWS_MAX);
}

#[test]
fn memory_that_was_given_back_is_seen_until_xen_says_so() {
    let lab = Lab::new(1, 4);
    let mut memory = lab.memory();
    lab.hvm.poke(2 * PAGE, b"old");
    let mut got = [0; 3];
    memory.read(2 * PAGE, &mut got).unwrap();
    lab.hvm.remove_ram(2);
    lab.hvm.add_ram(2..3, Ram::Writable);
    lab.hvm.poke(2 * PAGE, b"new");
    memory.read(2 * PAGE, &mut got).unwrap();
    assert_eq!(&got, b"old");
    memory.invalidate();
    assert_eq!(memory.mapped(), 0);
    memory.read(2 * PAGE, &mut got).unwrap();
    assert_eq!(&got, b"new");
    lab.hvm.remove_ram(2);
    memory.invalidate();
    assert_eq!(memory.read(2 * PAGE, &mut got), Err(Outside));
}

#[test]
fn little_memory_of_our_own_makes_few_windows_do() {
    let lab = Lab::new(1, 4 * WINDOW_PAGES as u64);
    lab.world.fail(Fault::Window, 0);
    assert!(GuestMemory::new(&lab.guest).is_err(), "not even one");
    let mut memory = lab.memory();
    let mut byte = [0];
    for number in [1, 2, 3, 1] {
        lab.world.fail(Fault::Window, 0);
        lab.hvm.poke(number * WINDOW, &[number as u8]);
        memory.read(number * WINDOW, &mut byte).unwrap();
        assert_eq!(byte, [number as u8]);
        lab.world.clear_fault(Fault::Window);
        assert_eq!(memory.mapped(), 1);
    }
}

#[test]
fn what_xen_fails_to_map_is_outside_this_time_only() {
    let lab = Lab::new(1, 8);
    let mut memory = lab.memory();
    lab.world.fail(Fault::GuestPage, 3);
    assert_eq!(memory.read(0, &mut [0; 8 * PAGE_SIZE]), Err(Outside));
    assert_eq!(memory.mapped(), 3);
    memory.read(0, &mut [0; 8 * PAGE_SIZE]).unwrap();
    assert_eq!(memory.mapped(), 8);
}

#[test]
fn pages_that_are_written_are_reported_while_xen_keeps_book() {
    let lab = Lab::new(1, 200);
    let mut memory = lab.memory();
    lab.hvm.start_log_dirty();
    memory.write(0, &[1]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [0; 0], "nobody has told us to");
    memory.start_log_dirty();
    memory.write(5 * PAGE, &[1]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [5]);
    memory.write(7 * PAGE - 1, &[1, 1]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [6, 7]);
    memory.write(WINDOW - 1, &vec![0; 2 * PAGE_SIZE]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [63, 64, 65]);
    memory.read(9 * PAGE, &mut [0]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [0; 0]);
    // What was written before the hole was written.
    lab.hvm.remove_ram(64);
    memory.invalidate();
    assert_eq!(memory.write(WINDOW - 1, &[1, 1]), Err(Outside));
    assert_eq!(lab.hvm.take_dirty(), [63]);
    assert_eq!(memory.unreported(), 0);
    lab.world.fail(Fault::DeviceModel, 0);
    memory.write(0, &[1]).unwrap();
    assert_eq!(memory.unreported(), 1);
    memory.stop_log_dirty();
    memory.write(0, &[1]).unwrap();
    assert_eq!(lab.hvm.take_dirty(), [0; 0]);
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, usize, u8),
    Poke(u64, u8),
    Remove(u64),
    Add(u64),
}

/// Frames of the property test's guest: some in each of many windows.
const FRAMES: u64 = 80 * WINDOW_PAGES as u64;

fn step() -> impl Strategy<Value = Step> {
    let gfn = || (0..80u64, 0..3u64).prop_map(|(window, page)| window * WINDOW_PAGES as u64 + page);
    let address = move || (gfn(), 0..PAGE).prop_map(|(gfn, offset)| gfn * PAGE + offset);
    prop_oneof![
        4 => (address(), 0..9000usize).prop_map(|(at, length)| Step::Read(at, length)),
        4 => (address(), 0..9000usize, any::<u8>()).prop_map(|(at, length, with)| Step::Write(at, length, with)),
        2 => (address(), any::<u8>()).prop_map(|(at, with)| Step::Poke(at, with)),
        1 => gfn().prop_map(Step::Remove),
        1 => gfn().prop_map(Step::Add),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Reads and writes of any range agree with plain memory that has the same holes, while the guest gives
    /// memory back and gets other; what is mapped stays bounded, and all of it is given back.
    #[test]
    fn it_is_the_memory_that_the_guest_has(steps in proptest::collection::vec(step(), 1..150)) {
        let lab = Lab::new(1, 0);
        // Two pages of three: the third of each window is a hole at first.
        let mut model = BTreeMap::new();
        for window in 0..80u64 {
            let first = window * WINDOW_PAGES as u64;
            lab.hvm.add_ram(first..first + 2, Ram::Writable);
            model.extend((first..first + 2).map(|gfn| (gfn, vec![0u8; PAGE_SIZE])));
        }
        let mut memory = lab.memory();
        for step in steps {
            match step {
                Step::Read(at, length) => {
                    let mut got = vec![0; length];
                    let is_there = (at..at + length as u64).step_by(PAGE_SIZE).chain((length > 0).then(|| at + length as u64 - 1))
                        .all(|address| length == 0 || model.contains_key(&(address / PAGE)));
                    prop_assert_eq!(memory.read(at, &mut got).is_ok(), is_there);
                    if is_there {
                        let same = got.iter().zip(at..).all(|(byte, address)| {
                            model[&(address / PAGE)][(address % PAGE) as usize] == *byte
                        });
                        prop_assert!(same, "read {length} at {at:#x}");
                    }
                }
                Step::Write(at, length, with) => {
                    let is_there = (at..at + length as u64).all(|address| model.contains_key(&(address / PAGE)));
                    // One that ends at a hole would leave open how far it came: asked first, as a device may not.
                    if is_there {
                        memory.write(at, &vec![with; length]).unwrap();
                        for address in at..at + length as u64 {
                            model.get_mut(&(address / PAGE)).unwrap()[(address % PAGE) as usize] = with;
                        }
                    }
                }
                Step::Poke(at, with) => {
                    if let Some(page) = model.get_mut(&(at / PAGE)) {
                        page[(at % PAGE) as usize] = with;
                        lab.hvm.poke(at, &[with]);
                    }
                }
                Step::Remove(gfn) => {
                    model.remove(&gfn);
                    lab.hvm.remove_ram(gfn);
                    memory.invalidate();
                }
                Step::Add(gfn) => {
                    model.insert(gfn, vec![0; PAGE_SIZE]);
                    lab.hvm.remove_ram(gfn);
                    lab.hvm.add_ram(gfn..gfn + 1, Ram::Writable);
                    memory.invalidate();
                }
            }
            prop_assert!(memory.mapped() <= WINDOWS_MAX * WINDOW_PAGES);
            prop_assert_eq!(lab.hvm.mapped().1, memory.mapped());
        }
        prop_assert!(model.keys().all(|gfn| *gfn < FRAMES));
        drop(memory);
        lab.assert_clean();
    }
}
