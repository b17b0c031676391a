//! ARP (RFC 826): next hops' link-layer addresses, asked for when needed, kept while they answer.
//!
//! Only hosts on the link that ask for one of the firewall's addresses, and hosts it asked for
//! itself, get an entry; replies nobody asked for may only update one, as on Linux.

use crate::frame::OwnedFrame;
use crate::policy::InterfaceId;
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use smoltcp::wire::EthernetAddress;

/// An entry, as long as it is the same neighbour's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    entry: u16,
    generation: u16,
}

impl Handle {
    /// No entry.
    pub(crate) const NONE: Self = Self {
        entry: u16::MAX,
        generation: 0,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in use.
    Free,
    /// Asked this often, no answer yet.
    Incomplete(u8),
    /// Answered; trusted until the deadline.
    Reachable,
    /// In use after the deadline, asked this often whether it is still there.
    Probing(u8),
}

#[derive(Debug)]
struct Entry {
    interface: InterfaceId,
    address: u32,
    mac: EthernetAddress,
    state: State,
    deadline: Instant,
    generation: u16,
    parked: Vec<OwnedFrame>,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.state != State::Free
    }
}

/// An ARP request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) interface: InterfaceId,
    pub(crate) address: u32,
    /// `None`: everybody.
    pub(crate) mac: Option<EthernetAddress>,
}

/// What came of looking for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Here.
    Known(EthernetAddress),
    /// Asked for; the frame may be parked.
    Waiting,
}

/// All neighbours.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    index: BTreeMap<(u8, u32), u16>,
    asks: Vec<Ask>,
    parked_bytes: usize,
    next: Option<Instant>,
    victim: usize,
    /// Parked frames that went with an evicted entry.
    lost: u64,
}

/// Too many frames wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Table {
    /// Most neighbours.
    const MAX_ENTRIES: usize = 1024;
    /// Most frames that wait for one neighbour.
    const MAX_PARKED: usize = 3;
    /// Most bytes that wait for all neighbours.
    const MAX_PARKED_BYTES: usize = 256 * 1024;
    /// Most requests that wait to be sent.
    const MAX_ASKS: usize = 256;
    const TRIES: u8 = 3;
    const RETRY: Duration = Duration::from_secs(1);
    const REACHABLE: Duration = Duration::from_secs(30);

    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            index: BTreeMap::new(),
            asks: Vec::new(),
            parked_bytes: 0,
            next: None,
            victim: 0,
            lost: 0,
        }
    }

    /// The link-layer address behind a handle, if it is still the same neighbour's.
    pub(crate) fn get(&mut self, now: Instant, handle: Handle) -> Option<EthernetAddress> {
        let entry = self.entries.get_mut(usize::from(handle.entry))?;
        if entry.generation != handle.generation {
            return None;
        }
        match entry.state {
            State::Reachable if now < entry.deadline => {}
            State::Reachable => self.probe(now, handle.entry),
            State::Probing(_) => {}
            State::Free | State::Incomplete(_) => return None,
        }
        Some(self.entries[usize::from(handle.entry)].mac)
    }

    /// Asks a neighbour that was quiet for long whether it is still there.
    fn probe(&mut self, now: Instant, number: u16) {
        let entry = &mut self.entries[usize::from(number)];
        entry.state = State::Probing(1);
        entry.deadline = now + Self::RETRY;
        let ask = Ask {
            interface: entry.interface,
            address: entry.address,
            mac: Some(entry.mac),
        };
        self.ask(ask);
        self.wake(now + Self::RETRY);
    }

    fn ask(&mut self, ask: Ask) {
        if self.asks.len() < Self::MAX_ASKS {
            self.asks.push(ask);
        }
    }

    fn wake(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Looks for a neighbour, and asks for it if it is not known.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: u32,
    ) -> (Handle, Found) {
        let number = match self.index.get(&(interface.0, address)) {
            Some(&number) => number,
            None => self.add(interface, address),
        };
        let entry = &mut self.entries[usize::from(number)];
        let handle = Handle {
            entry: number,
            generation: entry.generation,
        };
        if entry.state == State::Free {
            entry.state = State::Incomplete(1);
            entry.deadline = now + Self::RETRY;
            self.ask(Ask {
                interface,
                address,
                mac: None,
            });
            self.wake(now + Self::RETRY);
        }
        match self.get(now, handle) {
            Some(mac) => (handle, Found::Known(mac)),
            None => (handle, Found::Waiting),
        }
    }

    /// A free entry for a neighbour; when there is none, another neighbour makes room.
    fn add(&mut self, interface: InterfaceId, address: u32) -> u16 {
        let fresh = Entry {
            interface,
            address,
            mac: EthernetAddress::default(),
            state: State::Free,
            deadline: Instant(0),
            generation: 0,
            parked: Vec::new(),
        };
        let number = if self.entries.len() < Self::MAX_ENTRIES {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let number = self.dispensable(interface);
            self.victim = (number + 1) % Self::MAX_ENTRIES;
            self.lost += self.forget(number).len() as u64;
            let generation = self.entries[number].generation;
            self.entries[number] = Entry {
                generation,
                ..fresh
            };
            number
        };
        self.index.insert((interface.0, address), number as u16);
        number as u16
    }

    /// The entry of a full table that makes room for a neighbour on `interface`: a free one, else one
    /// on the interface that has most, so that no link crowds out the neighbours on another; there
    /// one that never answered, else the next in turn.
    fn dispensable(&self, interface: InterfaceId) -> usize {
        let mut held = [0u16; 1 << u8::BITS];
        for entry in self.entries.iter().filter(|entry| entry.is_used()) {
            held[usize::from(entry.interface.0)] += 1;
        }
        let most = held.iter().copied().max().unwrap_or(0);
        let crowded = |entry: &Entry| {
            if held[usize::from(interface.0)] == most {
                entry.interface == interface
            } else {
                held[usize::from(entry.interface.0)] == most
            }
        };
        let in_turn = |wanted: &dyn Fn(&Entry) -> bool| {
            (0..Self::MAX_ENTRIES)
                .map(|step| (self.victim + step) % Self::MAX_ENTRIES)
                .find(|&number| wanted(&self.entries[number]))
        };
        in_turn(&|entry| !entry.is_used())
            .or_else(|| {
                in_turn(&|entry| crowded(entry) && matches!(entry.state, State::Incomplete(_)))
            })
            .or_else(|| in_turn(&crowded))
            .unwrap_or(self.victim)
    }

    /// Frees an entry; what was parked for it comes back.
    fn forget(&mut self, number: usize) -> Vec<OwnedFrame> {
        let entry = &mut self.entries[number];
        // One that is free already was: its neighbour may have another entry by now.
        if entry.is_used() {
            self.index.remove(&(entry.interface.0, entry.address));
        }
        entry.state = State::Free;
        entry.generation = entry.generation.wrapping_add(1);
        let parked = core::mem::take(&mut entry.parked);
        self.parked_bytes -= parked.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        parked
    }

    /// Whether a frame of `len` bytes may wait for the neighbour.
    pub(crate) fn has_room(&self, handle: Handle, len: usize) -> bool {
        self.entries[usize::from(handle.entry)].parked.len() < Self::MAX_PARKED
            && self.parked_bytes + len <= Self::MAX_PARKED_BYTES
    }

    /// Lets a frame wait for the neighbour.
    pub(crate) fn park(&mut self, handle: Handle, frame: OwnedFrame) -> Result<(), Full> {
        if !self.has_room(handle, frame.bytes.len()) {
            return Err(Full);
        }
        self.parked_bytes += frame.bytes.len();
        self.entries[usize::from(handle.entry)].parked.push(frame);
        Ok(())
    }

    /// A neighbour said where it is: an entry is updated, the frames that waited for it come back.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: u32,
        mac: EthernetAddress,
    ) -> Vec<OwnedFrame> {
        let Some(&number) = self.index.get(&(interface.0, address)) else {
            return Vec::new();
        };
        let entry = &mut self.entries[usize::from(number)];
        entry.mac = mac;
        entry.state = State::Reachable;
        entry.deadline = now + Self::REACHABLE;
        let parked = core::mem::take(&mut entry.parked);
        self.parked_bytes -= parked.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        parked
    }

    /// A host on the link asked for one of our addresses: it will want an answer to more than that.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: u32,
        mac: EthernetAddress,
    ) -> Vec<OwnedFrame> {
        if !self.index.contains_key(&(interface.0, address)) {
            self.add(interface, address);
        }
        self.update(now, interface, address, mac)
    }

    /// Requests to be sent now.
    pub(crate) fn take_ask(&mut self) -> Option<Ask> {
        self.asks.pop()
    }

    /// Repeats requests that are due; frames for neighbours that never answered come back.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<(InterfaceId, OwnedFrame)> {
        let mut given_up = Vec::new();
        if self.next.is_none_or(|next| now < next) {
            return given_up;
        }
        self.next = None;
        for number in 0..self.entries.len() {
            let entry = &mut self.entries[number];
            let (tries, mac) = match entry.state {
                State::Incomplete(tries) => (tries, None),
                State::Probing(tries) => (tries, Some(entry.mac)),
                State::Free | State::Reachable => continue,
            };
            let interface = entry.interface;
            if now >= entry.deadline {
                if tries >= Self::TRIES {
                    let parked = self.forget(number);
                    given_up.extend(parked.into_iter().map(|frame| (interface, frame)));
                    continue;
                }
                entry.deadline = now + Self::RETRY;
                entry.state = match mac {
                    None => State::Incomplete(tries + 1),
                    Some(_) => State::Probing(tries + 1),
                };
                let ask = Ask {
                    interface,
                    address: entry.address,
                    mac,
                };
                self.ask(ask);
            }
            let deadline = self.entries[number].deadline;
            self.wake(deadline);
        }
        given_up
    }

    /// Parked frames lost to eviction since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }

    /// When [`Table::poll`] has something to do.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Checksum;
    use alloc::vec;

    const NET: InterfaceId = InterfaceId(0);
    const LOC: InterfaceId = InterfaceId(1);
    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const NOW: Instant = Instant(1_000_000_000_000);

    fn frame() -> OwnedFrame {
        OwnedFrame {
            bytes: vec![0; 100],
            checksum: Checksum::Unknown,
            gso: None,
        }
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
        let mut table = Table::new();
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
        assert_eq!(table.get(now, handle), Some(MAC));
        assert_eq!(table.take_lost(), 0);
    }

    #[test]
    fn a_flood_of_neighbours_on_one_link_leaves_those_of_another_alone() {
        let mut table = Table::new();
        let routers = [1, 2, 3].map(|address| {
            table.learn(NOW, NET, address, MAC);
            table.resolve(NOW, NET, address).0
        });
        for address in 0..5 * Table::MAX_ENTRIES as u32 {
            table.learn(NOW, LOC, address, MAC);
        }
        assert_eq!(routers.map(|router| table.get(NOW, router)), [Some(MAC); 3]);
        // Another of its link still finds a place, and those before it keep theirs.
        let (waiting, _) = table.resolve(NOW, NET, 9);
        assert_eq!(table.park(waiting, frame()), Ok(()));
        for address in 0..5 * Table::MAX_ENTRIES as u32 {
            table.learn(NOW, LOC, address, MAC);
        }
        assert_eq!(routers.map(|router| table.get(NOW, router)), [Some(MAC); 3]);
        assert_eq!(table.update(NOW, NET, 9, MAC), [frame()]);
        assert_eq!(table.entries.len(), Table::MAX_ENTRIES);
        assert_eq!(table.index.len(), Table::MAX_ENTRIES);
    }

    #[test]
    fn a_handle_means_one_neighbour_and_never_the_next_in_its_place() {
        let mut table = Table::new();
        table.learn(NOW, LOC, 1, MAC);
        let (handle, _) = table.resolve(NOW, LOC, 1);
        for address in 2..2 + Table::MAX_ENTRIES as u32 {
            table.learn(NOW, LOC, address, EthernetAddress([2, 0, 0, 0, 0, 2]));
        }
        assert_eq!(table.get(NOW, handle), None);
        // Nor the same one, once it was given up and somebody else came.
        let mut table = Table::new();
        let (handle, _) = table.resolve(NOW, LOC, 1);
        let now = give_up(&mut table, NOW);
        for address in 2..2 + Table::MAX_ENTRIES as u32 {
            table.learn(now, LOC, address, MAC);
        }
        assert_eq!(table.get(now, handle), None);
    }

    #[test]
    fn of_one_link_those_that_never_answered_make_room_first() {
        let mut table = Table::new();
        table.learn(NOW, LOC, 1, MAC);
        let (known, _) = table.resolve(NOW, LOC, 1);
        for address in 0..3 * Table::MAX_ENTRIES as u32 {
            table.resolve(NOW, LOC, 1000 + address);
        }
        assert_eq!(table.get(NOW, known), Some(MAC));
    }

    #[test]
    fn what_waited_for_an_evicted_neighbour_is_counted_and_its_room_is_free_again() {
        let mut table = Table::new();
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
        let mut table = Table::new();
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
}
