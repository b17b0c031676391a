use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

fn tuple(number: u8) -> Tuple {
    Tuple {
        source: 0x0a00_0001,
        destination: 0xc633_6407,
        source_port: 1024 + u16::from(number),
        destination_port: 53,
        protocol: UDP,
    }
}

/// As it would leave behind a translated source.
fn leaving(number: u8) -> Tuple {
    Tuple {
        source: 0xc000_0202,
        ..tuple(number)
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Insert(u8),
    Remove(u8),
    Answer(u8),
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => any::<u8>().prop_map(Operation::Insert),
        2 => any::<u8>().prop_map(Operation::Remove),
        1 => any::<u8>().prop_map(Operation::Answer),
    ]
}

proptest! {
    #[test]
    fn the_table_finds_what_a_plain_map_would(
        seed in any::<[u8; 32]>(),
        operations in proptest::collection::vec(operations(), 1..400),
    ) {
        let mut table = Table::new(256, Key::new(&seed));
        let mut model = BTreeMap::new();
        let now = Tick(5);
        for operation in operations {
            match operation {
                Operation::Insert(n) if !model.contains_key(&n) => {
                    let reply = leaving(n).reversed();
                    let opening = table.opening(UDP, None).unwrap();
                    let handle = table.insert(now, tuple(n), reply, &opening, u32::from(n));
                    prop_assert!(handle.is_ok());
                    model.insert(n, ());
                }
                Operation::Insert(_) => {}
                Operation::Remove(n) => {
                    let found = table.find(now, tuple(n));
                    prop_assert_eq!(found.is_some(), model.remove(&n).is_some());
                    if let Some(handle) = found {
                        table.remove(handle);
                    }
                }
                Operation::Answer(n) => {
                    let found = table.find(now, leaving(n).reversed());
                    prop_assert_eq!(found.is_some(), model.contains_key(&n));
                    if let Some(handle) = found {
                        prop_assert_eq!(handle.direction(), Direction::Reply);
                        prop_assert_eq!(table.translated(handle), tuple(n).reversed());
                        table.follow(now, handle, None);
                    }
                }
            }
        }
        for n in 0..=u8::MAX {
            let found = table.find(now, tuple(n));
            prop_assert_eq!(found.is_some(), model.contains_key(&n));
            if let Some(handle) = found {
                prop_assert_eq!(table.translated(handle), leaving(n));
                prop_assert_eq!(table.decided(handle), u32::from(n));
            }
        }
        prop_assert_eq!(table.count.now, model.len());
        let used = table.lookup.index.iter().filter(|&&slot| slot != 0).count();
        prop_assert_eq!(used, 2 * model.len());
    }
}

#[test]
fn a_flow_takes_at_most_96_bytes_and_what_the_budget_says() {
    const { assert!(BYTES_PER_FLOW <= 96) };
    let table = Table::new(1000, Key::new(&[1; 32]));
    let bytes = size_of_val(&table.lookup.flows[..]) + size_of_val(&table.lookup.index[..]);
    assert_eq!(bytes, 1000 * BYTES_PER_FLOW);
}

fn insert(table: &mut Table, now: Tick, number: u8) -> Handle {
    let reply = leaving(number).reversed();
    let decided = u32::from(number);
    let opening = table.opening(UDP, None).unwrap();
    table
        .insert(now, tuple(number), reply, &opening, decided)
        .unwrap()
}

fn answer(table: &mut Table, now: Tick, number: u8) {
    let handle = table.find(now, leaving(number).reversed()).unwrap();
    table.follow(now, handle, None);
}

/// Makes it a stream: answered, and still in use two seconds after it began.
fn assure(table: &mut Table, now: Tick, number: u8) {
    answer(table, now, number);
    let handle = table.find(now, tuple(number)).unwrap();
    table.follow(now.after(30), handle, None);
}

#[test]
fn a_crowded_table_loses_no_flow_when_others_go() {
    // Two thirds of the index are in use: chains are long, and wrap around its end.
    const FLOWS: u64 = 12;
    let now = Tick(5);
    for seed in 0..40 {
        let mut table = Table::new(FLOWS as usize, Key::new(&[seed; 32]));
        let mut inside: Vec<u8> = (0..FLOWS as u8).collect();
        for number in &inside {
            insert(&mut table, now, *number);
        }
        for next in FLOWS as u8..200 {
            let gone = inside.swap_remove(table.random_below(FLOWS) as usize);
            let handle = table.find(now, tuple(gone)).unwrap();
            table.remove(handle);
            for number in &inside {
                assert!(table.find(now, tuple(*number)).is_some(), "{number}");
                assert!(table.find(now, leaving(*number).reversed()).is_some());
            }
            assert!(table.find(now, tuple(gone)).is_none());
            insert(&mut table, now, next);
            inside.push(next);
        }
    }
}

#[test]
fn a_tag_that_fits_by_chance_is_not_taken_for_the_flow() {
    // 15 bits of tag for 32,768 flows: among this many look-ups some tags are equal.
    let now = Tick(5);
    let mut table = Table::new(1 << 15, Key::new(&[3; 32]));
    let host = |number: u32| Tuple {
        source: 0x0a00_0000 + number,
        ..tuple(0)
    };
    let opening = table.opening(UDP, None).unwrap();
    for number in 0..1 << 15 {
        let reply = Tuple {
            source: 0xc000_0202,
            source_port: number as u16,
            ..host(number)
        };
        table
            .insert(now, host(number), reply.reversed(), &opening, 0)
            .unwrap();
    }
    for number in 1 << 15..6 << 15 {
        assert!(table.find(now, host(number)).is_none(), "{number}");
    }
}

#[test]
fn the_only_flow_that_may_go_is_found_wherever_it_stands() {
    for spared in 0..8 {
        let mut table = Table::new(8, Key::new(&[spared; 32]));
        let start = Tick(5);
        for number in 0..8 {
            insert(&mut table, start, number);
        }
        for number in (0..8).filter(|number| *number != spared) {
            assure(&mut table, start, number);
        }
        insert(&mut table, start.after(40), 100);
        for number in 0..8 {
            let found = table.find(start.after(40), tuple(number));
            assert_eq!(found.is_some(), number != spared, "{number} of {spared}");
        }
        assert_eq!(table.count.evicted, 1);
    }
}

#[test]
fn the_unanswered_flow_with_least_time_left_goes_first_then_the_answered_ones() {
    for seed in 0..8 {
        let mut table = Table::new(4, Key::new(&[seed; 32]));
        let start = Tick(5);
        // The answered ones have least time left.
        for number in 0..2 {
            insert(&mut table, start, number);
            answer(&mut table, start, number);
        }
        insert(&mut table, start.after(30), 3);
        insert(&mut table, start.after(20), 2);
        let now = start.after(40);
        for (next, gone) in [(10, 2), (11, 3)] {
            insert(&mut table, now, next);
            answer(&mut table, now, next);
            assert!(table.find(now, tuple(gone)).is_none(), "{gone}");
        }
        assert!(table.find(now, tuple(0)).is_some());
        assert!(table.find(now, tuple(1)).is_some());
        insert(&mut table, now, 12);
        let left = [0, 1, 10, 11].map(|number| table.find(now, tuple(number)).is_some());
        assert_eq!(left, [false, true, true, true]);
    }
}

#[test]
fn a_translated_flow_remembers_where_it_was_sent_first() {
    let mut table = Table::new(4, Key::new(&[1; 32]));
    let now = Tick(5);
    let arrived = tuple(7);
    let sent_on = Tuple {
        destination: 0x0a00_0309,
        destination_port: 5353,
        ..arrived
    };
    let opening = table.opening(UDP, None).unwrap();
    let handle = table
        .insert(now, arrived, sent_on.reversed(), &opening, 0)
        .unwrap();
    let reply = table.find(now, sent_on.reversed()).unwrap();
    for either in [handle, reply] {
        assert_eq!(table.original_destination(either), (0xc633_6407, 53));
    }
}

#[test]
fn random_numbers_differ_and_stay_below_their_bound() {
    let mut table = Table::new(4, Key::new(&[1; 32]));
    let numbers: Vec<u64> = (0..100).map(|_| table.random_below(10)).collect();
    for number in 0..10 {
        assert!(numbers.contains(&number), "{number}");
    }
    assert!(numbers.iter().all(|number| *number < 10));
}

/// Flows that somebody chose, numbered.
type Chosen = fn(u32) -> Tuple;

/// Rows and grids of ports and addresses, as scanners, load generators and ordinary clients take them.
const CHOSEN: [(&str, Chosen); 8] = [
    ("source ports in a row", |n| chosen(0, 0, n, 0)),
    ("destination ports in a row", |n| chosen(0, 0, 0, n)),
    ("sources in a row", |n| chosen(n, 0, 0, 0)),
    ("networks in a row", |n| chosen(n << 16, 0, 0, 0)),
    ("destinations in a row", |n| chosen(0, n << 8, 0, 0)),
    ("sources and their ports", |n| chosen(n >> 6, 0, n & 63, 0)),
    ("ports of both sides", |n| chosen(0, 0, n >> 6, n & 63)),
    ("all at once", |n| chosen(n, n, n, 0)),
];

fn chosen(source: u32, destination: u32, source_port: u32, destination_port: u32) -> Tuple {
    let first = tuple(0);
    Tuple {
        source: first.source.wrapping_add(source),
        destination: first.destination.wrapping_add(destination),
        source_port: first.source_port.wrapping_add(source_port as u16),
        destination_port: first.destination_port.wrapping_add(destination_port as u16),
        protocol: UDP,
    }
}

/// A full table has two thirds of its slots taken: were they taken by chance, a flow would stand one
/// slot behind its own in the mean (Knuth 6.4), and none behind some hundred.
#[test]
fn flows_that_somebody_chose_are_found_as_fast_as_any() {
    const FLOWS: u32 = 4096;
    for key in 0..60 {
        for (what, chosen) in CHOSEN {
            let mut table = Table::new(FLOWS as usize, Key::new(&[key; 32]));
            for number in 0..FLOWS {
                let tuple = chosen(number);
                let opening = table.opening(UDP, None).unwrap();
                let inserted = table.insert(Tick(5), tuple, tuple.reversed(), &opening, 0);
                assert!(inserted.is_ok(), "{what}, key {key}: flow {number}");
            }
            let slots = table.lookup.index.len();
            let behind = |(at, slot): (usize, &u32)| {
                let hash = table.lookup.hash_of(table.lookup.handle_in(*slot));
                (at + slots - table.lookup.home(hash)) % slots
            };
            let taken = { table.lookup.index.iter().enumerate() }.filter(|(_, slot)| **slot != 0);
            let behind: Vec<_> = taken.map(behind).collect();
            let (sum, most) = (behind.iter().sum::<usize>(), behind.iter().max());
            assert!(
                sum < behind.len() * 3 / 2 && most < Some(&256),
                "{what}, key {key}: {sum} slots behind for {} flows, one {most:?}",
                behind.len()
            );
        }
    }
}
