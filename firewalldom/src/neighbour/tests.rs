use super::*;
use crate::frame::Checksum;
use alloc::vec;

const NET: InterfaceId = InterfaceId(0);
const LOC: InterfaceId = InterfaceId(1);
const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
const STATION: Station = Station {
    mac: MAC,
    mtu: 1500,
};
const NOW: Instant = Instant(1_000_000_000_000);

fn frame() -> OwnedFrame {
    OwnedFrame {
        bytes: vec![0; 100],
        checksum: Checksum::Unknown,
        gso: None,
    }
}

fn empty() -> Table {
    Table::new(vec![STATION; 2], [].into_iter())
}

/// What a flow that was sent this way, to `address`, finds there now.
fn mac(table: &Table, now: Instant, way: Handle, address: u32) -> Option<EthernetAddress> {
    let shortcut = table.shortcut(Hop::via(way))?;
    let leads = shortcut.leads_to(u32::from_ne_bytes(address.to_be_bytes()));
    if !leads || !shortcut.is_fresh(now) {
        return None;
    }
    shortcut
        .stations
        .first_chunk()
        .copied()
        .map(EthernetAddress)
}

/// Gives up on everyone who was asked and never answered.
fn give_up(table: &mut Table, mut now: Instant) -> Instant {
    for _ in 0..Table::TRIES {
        now = now + Table::RETRY;
        table.poll(now);
    }
    now
}

#[test]
fn a_neighbour_that_came_back_keeps_its_entry_when_its_old_one_goes_to_another() {
    let mut table = empty();
    table.resolve(NOW, LOC, 7);
    let now = give_up(&mut table, NOW);
    let (handle, found) = table.resolve(now, LOC, 7);
    assert_eq!(found, Found::Waiting);
    assert_eq!(table.park(handle, frame()), Ok(()));
    for address in 1000..1000 + Table::MAX_ENTRIES as u32 - 1 {
        table.resolve(now, LOC, address);
    }
    assert_eq!(table.entries.len(), Table::MAX_ENTRIES);
    let released = table.update(now, LOC, 7, MAC);
    assert_eq!(released, [frame()]);
    assert_eq!(mac(&table, now, handle, 7), Some(MAC));
    assert_eq!(table.take_lost(), 0);
}

#[test]
fn a_flood_of_neighbours_on_one_link_leaves_those_of_another_alone() {
    let mut table = empty();
    let routers = [1, 2, 3].map(|address| {
        table.learn(NOW, NET, address, MAC);
        (table.resolve(NOW, NET, address).0, address)
    });
    for address in 0..5 * Table::MAX_ENTRIES as u32 {
        table.learn(NOW, LOC, address, MAC);
    }
    assert_eq!(
        routers.map(|(router, address)| mac(&table, NOW, router, address)),
        [Some(MAC); 3]
    );
    // Another of its link still finds a place, and those before it keep theirs.
    let (waiting, _) = table.resolve(NOW, NET, 9);
    assert_eq!(table.park(waiting, frame()), Ok(()));
    for address in 0..5 * Table::MAX_ENTRIES as u32 {
        table.learn(NOW, LOC, address, MAC);
    }
    assert_eq!(
        routers.map(|(router, address)| mac(&table, NOW, router, address)),
        [Some(MAC); 3]
    );
    assert_eq!(table.update(NOW, NET, 9, MAC), [frame()]);
    assert_eq!(table.entries.len(), Table::MAX_ENTRIES);
    assert_eq!(table.index.len(), Table::MAX_ENTRIES);
}

#[test]
fn a_handle_means_one_neighbour_and_never_the_next_in_its_place() {
    let mut table = empty();
    table.learn(NOW, LOC, 1, MAC);
    let (handle, _) = table.resolve(NOW, LOC, 1);
    for address in 2..2 + Table::MAX_ENTRIES as u32 {
        table.learn(NOW, LOC, address, EthernetAddress([2, 0, 0, 0, 0, 2]));
    }
    assert_eq!(mac(&table, NOW, handle, 1), None);
    // Nor the same one, once it was given up and somebody else came.
    let mut table = empty();
    let (handle, _) = table.resolve(NOW, LOC, 1);
    let now = give_up(&mut table, NOW);
    for address in 2..2 + Table::MAX_ENTRIES as u32 {
        table.learn(now, LOC, address, MAC);
    }
    assert_eq!(mac(&table, now, handle, 1), None);
}

#[test]
fn of_one_link_those_that_never_answered_make_room_first() {
    let mut table = empty();
    table.learn(NOW, LOC, 1, MAC);
    let (known, _) = table.resolve(NOW, LOC, 1);
    for address in 0..3 * Table::MAX_ENTRIES as u32 {
        table.resolve(NOW, LOC, 1000 + address);
    }
    assert_eq!(mac(&table, NOW, known, 1), Some(MAC));
}

#[test]
fn what_waited_for_an_evicted_neighbour_is_counted_and_its_room_is_free_again() {
    let mut table = empty();
    for address in 0..3 * Table::MAX_ENTRIES as u32 {
        let (handle, _) = table.resolve(NOW, LOC, address);
        assert_eq!(table.park(handle, frame()), Ok(()));
    }
    assert_eq!(table.take_lost(), 2 * Table::MAX_ENTRIES as u64);
    assert_eq!(table.parked_bytes, 100 * Table::MAX_ENTRIES);
    give_up(&mut table, NOW);
    assert_eq!((table.parked_bytes, table.index.len()), (0, 0));
}

#[test]
fn no_more_waits_for_all_neighbours_than_there_is_room_for() {
    let mut table = empty();
    let large = || OwnedFrame {
        bytes: vec![0; 60_000],
        ..frame()
    };
    let mut parked = 0;
    for address in 0..100 {
        let (handle, _) = table.resolve(NOW, LOC, address);
        parked += usize::from(table.park(handle, large()).is_ok());
    }
    assert_eq!(parked, Table::MAX_PARKED_BYTES / 60_000);
}

#[test]
fn a_gateway_keeps_its_entry_whoever_comes_and_is_asked_for_again_when_it_is_gone() {
    let mut table = Table::new(vec![STATION; 2], [(NET, 1), (NET, 2), (NET, 1)].into_iter());
    assert_eq!(table.gateways, 2);
    // Nobody asked for it yet.
    assert_eq!(table.update(NOW, NET, 1, MAC), []);
    let (gateway, found) = table.resolve(NOW, NET, 1);
    assert_eq!((gateway, found), (Handle(0), Found::Waiting));
    table.update(NOW, NET, 1, MAC);
    for address in 100..100 + 3 * Table::MAX_ENTRIES as u32 {
        table.learn(NOW, NET, address, EthernetAddress([2, 0, 0, 0, 0, 2]));
    }
    assert_eq!(mac(&table, NOW, gateway, 0xc633_6407), Some(MAC));
    let later = NOW + Table::REACHABLE;
    assert_eq!(mac(&table, later, gateway, 0xc633_6407), None);
    assert_eq!(table.resolve(later, NET, 1), (gateway, Found::Known(MAC)));
    let gone = give_up(&mut table, later);
    assert_eq!(table.resolve(gone, NET, 1), (gateway, Found::Waiting));
    assert_eq!(table.entries.len(), 2 + Table::MAX_ENTRIES);
}

#[test]
fn a_neighbour_that_only_claims_an_address_is_no_way_to_it() {
    let mut table = empty();
    table.learn(NOW, LOC, 1, MAC);
    assert_eq!(mac(&table, NOW, Handle(0), 1), None);
    table.resolve(NOW, LOC, 1);
    assert_eq!(mac(&table, NOW, Handle(0), 1), Some(MAC));
    assert_eq!(mac(&table, NOW, Handle(0), 2), None);
}

#[test]
fn who_comes_takes_the_place_of_who_left() {
    let mut table = empty();
    table.resolve(NOW, NET, 1);
    for round in 0..3 * Table::MAX_ENTRIES as u32 {
        let address = 7 + round % 3;
        table.fix(LOC, address, STATION);
        table.unfix(LOC, address);
    }
    assert_eq!(table.entries.len(), 2);
    assert_eq!(table.index.len(), 1);
}
