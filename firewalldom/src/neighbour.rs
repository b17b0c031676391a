//! ARP (RFC 826): next hops' link-layer addresses, asked for when needed, kept while they answer.
//!
//! Only hosts on the link that ask for one of the firewall's addresses, and hosts it asked for
//! itself, get an entry; replies nobody asked for may only update one, as on Linux. The gateways of
//! the routes have entries of their own, the first ones, for ever.

mod index;
mod shortcut;

pub(crate) use shortcut::Shortcut;

use crate::flow::Hop;
use crate::frame::{ETHERNET, OwnedFrame};
use crate::policy::InterfaceId;
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;
use index::Index;
use smoltcp::wire::EthernetAddress;

/// An entry just found. Unless it is a gateway's, it may be another neighbour's once time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u16);

impl Handle {
    pub(crate) const fn number(self) -> u16 {
        self.0
    }
}

/// An interface of the firewall's as its neighbours see it, or a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) mac: EthernetAddress,
    pub(crate) mtu: u16,
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
    /// A guest's, as the toolstack said: never asked, and nothing it says changes it.
    Fixed,
}

#[derive(Debug)]
struct Entry {
    interface: InterfaceId,
    address: u32,
    mac: EthernetAddress,
    /// Bytes of an IP packet that it takes, if that is less than its interface does.
    mtu: u16,
    state: State,
    deadline: Instant,
    /// A route led here: packets for its address go nowhere else.
    is_routed: bool,
    parked: Vec<OwnedFrame>,
}

impl Entry {
    const fn new(interface: InterfaceId, address: u32) -> Self {
        Self {
            interface,
            address,
            mac: EthernetAddress([0; 6]),
            mtu: u16::MAX,
            state: State::Free,
            deadline: Instant(0),
            is_routed: false,
            parked: Vec::new(),
        }
    }

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
    /// For each entry.
    shortcuts: Vec<Shortcut>,
    /// Entries that are gateways'.
    gateways: usize,
    /// The interfaces' own stations.
    own: Vec<Station>,
    index: Index,
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
    /// Most neighbours besides gateways.
    const MAX_ENTRIES: usize = 1024;
    /// Most gateways that keep their entries.
    const MAX_GATEWAYS: usize = 1024;
    /// Most frames that wait for one neighbour: all the fragments of one packet.
    const MAX_PARKED: usize = 64;
    /// Most bytes that wait for all neighbours.
    const MAX_PARKED_BYTES: usize = 256 * 1024;
    /// Most requests that wait to be sent.
    const MAX_ASKS: usize = 256;
    const TRIES: u8 = 3;
    const RETRY: Duration = Duration::from_secs(1);
    const REACHABLE: Duration = Duration::from_secs(30);

    /// No neighbours yet. `own` are the interfaces' stations, `gateways` the routes' next hops.
    pub(crate) fn new(
        own: Vec<Station>,
        gateways: impl Iterator<Item = (InterfaceId, u32)>,
    ) -> Self {
        let mut table = Self {
            entries: Vec::new(),
            shortcuts: Vec::new(),
            gateways: 0,
            own,
            index: Index::default(),
            asks: Vec::new(),
            parked_bytes: 0,
            next: None,
            victim: 0,
            lost: 0,
        };
        for (interface, address) in gateways {
            if table.entries.len() < Self::MAX_GATEWAYS
                && table.index.get(&(interface.0, address)).is_none()
            {
                table.push(interface, address);
            }
        }
        table.gateways = table.entries.len();
        (0..table.gateways).for_each(|number| table.refresh(number));
        table
    }

    fn push(&mut self, interface: InterfaceId, address: u32) -> usize {
        let number = self.entries.len();
        self.entries.push(Entry::new(interface, address));
        self.shortcuts.push(Shortcut {
            stations: [0; 12],
            address: u32::from_ne_bytes(address.to_be_bytes()),
            mask: u32::MAX,
            until: Instant(0),
            frame_max: 0,
            interface,
        });
        self.index.insert((interface.0, address), number as u16);
        number
    }

    /// The firewall's end of an interface is another station now. Who was there is asked whether it still
    /// is, at the next packet for it, which goes there meanwhile.
    pub(crate) fn set_station(&mut self, now: Instant, interface: InterfaceId, station: Station) {
        if let Some(own) = self.own.get_mut(usize::from(interface.0)) {
            *own = station;
        }
        for number in 0..self.entries.len() {
            let entry = &mut self.entries[number];
            if entry.interface == interface {
                if matches!(entry.state, State::Reachable) {
                    entry.deadline = entry.deadline.min(now);
                }
                self.refresh(number);
            }
        }
    }

    /// Makes the shortcut say what the entry says.
    fn refresh(&mut self, number: usize) {
        let entry = &self.entries[number];
        let mut stations = [0; 12];
        stations[..6].copy_from_slice(&entry.mac.0);
        let mut frame_max = 0;
        if let Some(own) = self.own.get(usize::from(entry.interface.0)) {
            stations[6..].copy_from_slice(&own.mac.0);
            frame_max = own.mtu.min(entry.mtu).saturating_add(ETHERNET as u16);
        }
        self.shortcuts[number] = Shortcut {
            stations,
            address: u32::from_ne_bytes(entry.address.to_be_bytes()),
            mask: if number < self.gateways { 0 } else { u32::MAX },
            until: match entry.state {
                State::Reachable if entry.is_routed => entry.deadline,
                State::Fixed => Instant(u64::MAX),
                _ => Instant(0),
            },
            frame_max,
            interface: entry.interface,
        };
    }

    /// The way that a flow remembers, which may be another neighbour's by now.
    #[inline(always)]
    pub(crate) fn shortcut(&self, hop: Hop) -> Option<&Shortcut> {
        self.shortcuts.get(hop.number())
    }

    /// The link-layer address of an entry, if it has one.
    fn get(&mut self, now: Instant, number: u16) -> Option<EthernetAddress> {
        let entry = self.entries.get_mut(usize::from(number))?;
        match entry.state {
            State::Reachable if now < entry.deadline => {}
            State::Reachable => self.probe(now, number),
            State::Probing(_) | State::Fixed => {}
            State::Free | State::Incomplete(_) => return None,
        }
        Some(self.entries[usize::from(number)].mac)
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
        self.refresh(usize::from(number));
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
        let entry = &self.entries[usize::from(number)];
        if entry.state == State::Reachable && now < entry.deadline && entry.is_routed {
            return (Handle(number), Found::Known(entry.mac));
        }
        let found = self.ask_again(now, interface, address, number);
        (Handle(number), found)
    }

    /// What there is to do about an entry that is asked for, but if it is known and was asked for before.
    #[inline(never)]
    fn ask_again(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: u32,
        number: u16,
    ) -> Found {
        let entry = &mut self.entries[usize::from(number)];
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
        let entry = &mut self.entries[usize::from(number)];
        if !entry.is_routed {
            entry.is_routed = true;
            self.refresh(usize::from(number));
        }
        match self.get(now, number) {
            Some(mac) => Found::Known(mac),
            None => Found::Waiting,
        }
    }

    /// A free entry for a neighbour; when there is none, another neighbour makes room.
    fn add(&mut self, interface: InterfaceId, address: u32) -> u16 {
        let free = self.entries[self.gateways..]
            .iter()
            .position(|entry| !entry.is_used());
        let number = match free {
            // Guests come and go: who comes takes the place of one that left.
            Some(free) => self.gateways + free,
            None if self.entries.len() < self.gateways + Self::MAX_ENTRIES => {
                return self.push(interface, address) as u16;
            }
            None => self.dispensable(interface),
        };
        self.victim = number + 1 - self.gateways;
        self.lost += self.forget(number).len() as u64;
        self.entries[number] = Entry::new(interface, address);
        self.refresh(number);
        self.index.insert((interface.0, address), number as u16);
        number as u16
    }

    /// The entry of a full table that makes room for a neighbour on `interface`: a free one, else one
    /// on the interface that has most, so that no link crowds out the neighbours on another; there
    /// one that never answered, else the next in turn.
    fn dispensable(&self, interface: InterfaceId) -> usize {
        let mut held = [0u16; 1 << u8::BITS];
        let evictable = &self.entries[self.gateways..];
        for entry in evictable.iter().filter(|entry| entry.is_used()) {
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
                .map(|step| self.gateways + (self.victim + step) % Self::MAX_ENTRIES)
                .find(|&number| {
                    let entry = &self.entries[number];
                    entry.state != State::Fixed && wanted(entry)
                })
        };
        in_turn(&|entry| !entry.is_used())
            .or_else(|| {
                in_turn(&|entry| crowded(entry) && matches!(entry.state, State::Incomplete(_)))
            })
            .or_else(|| in_turn(&crowded))
            .or_else(|| in_turn(&|_| true))
            .unwrap_or(self.gateways + self.victim % Self::MAX_ENTRIES)
    }

    /// Frees an entry; what was parked for it comes back.
    fn forget(&mut self, number: usize) -> Vec<OwnedFrame> {
        let entry = &mut self.entries[number];
        // One that is free already was: its neighbour may have another entry by now.
        if entry.is_used() && number >= self.gateways {
            self.index.remove(&(entry.interface.0, entry.address));
        }
        entry.state = State::Free;
        entry.mtu = u16::MAX;
        let parked = core::mem::take(&mut entry.parked);
        self.parked_bytes -= parked.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        self.refresh(number);
        parked
    }

    /// Whether a frame of `len` bytes may wait for the neighbour.
    pub(crate) fn has_room(&self, handle: Handle, len: usize) -> bool {
        self.entries[usize::from(handle.0)].parked.len() < Self::MAX_PARKED
            && self.parked_bytes + len <= Self::MAX_PARKED_BYTES
    }

    /// Lets a frame wait for the neighbour.
    pub(crate) fn park(&mut self, handle: Handle, frame: OwnedFrame) -> Result<(), Full> {
        if !self.has_room(handle, frame.bytes.len()) {
            return Err(Full);
        }
        self.parked_bytes += frame.bytes.len();
        self.entries[usize::from(handle.0)].parked.push(frame);
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
        match self.index.get(&(interface.0, address)) {
            Some(&number) if self.entries[usize::from(number)].is_used() => {
                self.set(now, usize::from(number), mac)
            }
            _ => Vec::new(),
        }
    }

    fn set(&mut self, now: Instant, number: usize, mac: EthernetAddress) -> Vec<OwnedFrame> {
        let entry = &mut self.entries[number];
        if entry.state == State::Fixed {
            return Vec::new();
        }
        entry.mac = mac;
        entry.state = State::Reachable;
        entry.deadline = now + Self::REACHABLE;
        let parked = core::mem::take(&mut entry.parked);
        self.parked_bytes -= parked.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        self.refresh(number);
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
        let number = match self.index.get(&(interface.0, address)) {
            Some(&number) => number,
            None => self.add(interface, address),
        };
        self.set(now, usize::from(number), mac)
    }

    /// An interface takes packets of `mtu` bytes from now on.
    pub(crate) fn set_mtu(&mut self, interface: InterfaceId, mtu: u16) {
        if let Some(own) = self.own.get_mut(usize::from(interface.0)) {
            own.mtu = mtu;
        }
        for number in 0..self.entries.len() {
            if self.entries[number].interface == interface {
                self.refresh(number);
            }
        }
    }

    /// Bytes of an IP packet that a guest takes; of any other neighbour, as many as its interface does.
    pub(crate) fn mtu(&self, interface: InterfaceId, address: u32) -> u16 {
        let number = self.index.get(&(interface.0, address));
        number.map_or(u16::MAX, |&number| self.entries[usize::from(number)].mtu)
    }

    /// A guest is here now, at an address that it cannot change, and takes packets of `mtu` bytes; what waited
    /// for it comes back.
    pub(crate) fn fix(
        &mut self,
        interface: InterfaceId,
        address: u32,
        Station { mac, mtu }: Station,
    ) -> Vec<OwnedFrame> {
        let released = self.learn(Instant(0), interface, address, mac);
        if let Some(&number) = self.index.get(&(interface.0, address)) {
            let entry = &mut self.entries[usize::from(number)];
            entry.mac = mac;
            entry.mtu = mtu;
            entry.state = State::Fixed;
            self.refresh(usize::from(number));
        }
        released
    }

    /// A guest is gone.
    pub(crate) fn unfix(&mut self, interface: InterfaceId, address: u32) {
        if let Some(&number) = self.index.get(&(interface.0, address)) {
            // Nothing waits for one that needs not be asked.
            drop(self.forget(usize::from(number)));
        }
    }

    /// Whether there are requests to be sent now.
    pub(crate) const fn has_asks(&self) -> bool {
        !self.asks.is_empty()
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
                State::Free | State::Reachable | State::Fixed => continue,
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
mod tests;
