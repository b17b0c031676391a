//! A learning bridge (IEEE 802.1D), as far as it decides: where a frame goes. It moves none, and reads no
//! clock.
//!
//! Ports are vifs whose address the toolstack has said, and the bridge has an end of its own, as a Linux
//! bridge is an interface of its host. A port may also be a wire ([`Bridge::attach_wire`]), which has no
//! address, and many stations behind it. Further stations may be behind a port that is [`Learning::On`]; they
//! are found by what they send, and forgotten when they are quiet for [`AGEING`].
//!
//! Ports do not trust each other:
//!
//! - The address of a port, and that of the bridge's own end, are nobody else's: frames in such a name are
//!   refused, so nobody takes them over by sending.
//! - A port that is [`Learning::Off`] is its address and nothing else, and gets no frame for anybody unknown.
//! - Each port has room for [`LEARNED_MAX`] stations of its own, and takes none of another's room. When it is
//!   used up, nothing more is learned there, nor does a station move there, until some are forgotten.
//! - Stations are kept in order, so that no choice of addresses makes finding one slow.
//!
//! There is no spanning tree: frames for the bridges themselves (01:80:c2:00:00:00 to 0f) end here.

#![forbid(unsafe_code)]

use super::MacAddress;
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;
use thiserror::Error;

/// Ports of one bridge: as many vifs as are served at a time, and a wire.
pub const PORTS_MAX: usize = 65;

/// Stations that are remembered behind one port, besides the port's own.
pub const LEARNED_MAX: usize = 64;

/// Stations that are remembered behind a wire.
pub const WIRE_LEARNED_MAX: usize = 1024;

/// How long a station is remembered that says nothing: what 802.1D recommends, and Linux does.
pub const AGEING: Duration = Duration::from_secs(300);

/// How often a port that has no room left looks for stations to forget.
const SWEEP: Duration = Duration::from_secs(1);

/// A port, until it is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u8);

impl PortId {
    /// Its number, less than [`PORTS_MAX`]: another port's once this is detached.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// Whether there are stations behind a port that nobody has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// There may be: they are learned from what they send.
    On,
    /// There are none.
    Off,
}

/// Why there is no such port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttachError {
    /// No station's address, or that of the bridge's own end.
    #[error("not an address that a port can have")]
    Mac,
    /// Another port has that address.
    #[error("another port has that address")]
    MacTaken,
    /// There are [`PORTS_MAX`].
    #[error("the bridge has no more ports")]
    Full,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To this port alone.
    Port(PortId),
    /// To the bridge's own end alone.
    Local,
    /// To its own end, and to every other port.
    Everyone,
    /// To every other port that learns: one of them may know the station.
    Learners,
    /// Nowhere.
    Drop(Refusal),
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no frame, or from no station.
    Malformed,
    /// It is in the name of another port, of the bridge's own end, or of a station that its port has not.
    Spoofed,
    /// It is for the bridges themselves.
    Reserved,
    /// It is for where it came from.
    Returning,
}

struct Port {
    /// None: it is a wire.
    mac: Option<MacAddress>,
    learning: Learning,
    /// Stations learned behind it.
    learned: usize,
    /// When it looked for stations to forget.
    swept: Option<Instant>,
}

impl Port {
    /// Stations that it has room for.
    fn room(&self) -> usize {
        match (self.learning, self.mac) {
            (Learning::Off, _) => 0,
            (Learning::On, Some(_)) => LEARNED_MAX,
            (Learning::On, None) => WIRE_LEARNED_MAX,
        }
    }
}

struct Station {
    mac: MacAddress,
    port: PortId,
    /// When it was heard. None: it is the port's own, and stays.
    heard: Option<Instant>,
}

impl Station {
    fn is_known(&self, now: Instant) -> bool {
        self.heard.is_none_or(|heard| now.since(heard) < AGEING)
    }
}

/// A bridge.
pub struct Bridge {
    local: MacAddress,
    ports: Vec<Option<Port>>,
    /// In the order of their addresses.
    stations: Vec<Station>,
}

impl Bridge {
    /// A bridge without ports, whose own end has this address.
    pub fn new(local: MacAddress) -> Self {
        Self {
            local,
            ports: Vec::new(),
            stations: Vec::new(),
        }
    }

    fn find(&self, mac: MacAddress) -> Result<usize, usize> {
        self.stations
            .binary_search_by_key(&mac.0, |station| station.mac.0)
    }

    /// Adds a port. Its address was perhaps learned elsewhere: it is this port's from now on.
    ///
    /// # Errors
    /// [`AttachError`]; then nothing has changed.
    pub fn attach(&mut self, mac: MacAddress, learning: Learning) -> Result<PortId, AttachError> {
        if !mac.is_station() || mac == self.local {
            return Err(AttachError::Mac);
        }
        let found = self.find(mac);
        if found.is_ok_and(|at| self.stations[at].heard.is_none()) {
            return Err(AttachError::MacTaken);
        }
        let port = self.plug(Some(mac), learning)?;
        if let Ok(at) = found {
            self.forget(at);
        }
        if let Err(at) = self.find(mac) {
            let heard = None;
            self.stations.insert(at, Station { mac, port, heard });
        }
        Ok(port)
    }

    /// Adds a port that has no address, and up to [`WIRE_LEARNED_MAX`] stations behind it.
    ///
    /// # Errors
    /// [`AttachError::Full`].
    pub fn attach_wire(&mut self) -> Result<PortId, AttachError> {
        self.plug(None, Learning::On)
    }

    fn plug(&mut self, mac: Option<MacAddress>, learning: Learning) -> Result<PortId, AttachError> {
        let number = match self.ports.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.ports.len() < PORTS_MAX => {
                self.ports.push(None);
                self.ports.len() - 1
            }
            None => return Err(AttachError::Full),
        };
        self.ports[number] = Some(Port {
            mac,
            learning,
            learned: 0,
            swept: None,
        });
        // All that they may ever take, so that no frame has to ask for memory.
        let ports = self.ports.iter().flatten();
        let unused: usize = ports.map(|port| port.room() - port.learned).sum();
        self.stations.reserve(1 + unused);
        Ok(PortId(number as u8))
    }

    /// Removes a port, and whatever was behind it.
    pub fn detach(&mut self, port: PortId) {
        if let Some(slot) = self.ports.get_mut(usize::from(port.0)) {
            *slot = None;
        }
        self.stations.retain(|station| station.port != port);
    }

    /// Stations that are remembered, the ports' own included.
    pub fn stations(&self) -> usize {
        self.stations.len()
    }

    /// Where a frame goes that came in at `port`; its sender is learned.
    pub fn ingress(&mut self, now: Instant, port: PortId, frame: &[u8]) -> Decision {
        let (Some(&destination), Some(&source)) = (
            frame.first_chunk(),
            frame.get(6..).and_then(<[u8]>::first_chunk),
        ) else {
            return Decision::Drop(Refusal::Malformed);
        };
        let (destination, source) = (MacAddress(destination), MacAddress(source));
        if !source.is_station() {
            return Decision::Drop(Refusal::Malformed);
        }
        if let Err(refusal) = self.hear(now, port, source) {
            return Decision::Drop(refusal);
        }
        if is_reserved(destination) {
            return Decision::Drop(Refusal::Reserved);
        }
        match self.lookup(now, destination) {
            Decision::Port(to) if to == port => Decision::Drop(Refusal::Returning),
            decision => decision,
        }
    }

    /// Where a frame to `destination` goes that the bridge's own end sends.
    pub fn egress(&self, now: Instant, destination: MacAddress) -> Decision {
        match self.lookup(now, destination) {
            Decision::Local => Decision::Drop(Refusal::Returning),
            decision => decision,
        }
    }

    /// Whether a frame for [`Decision::Everyone`] or [`Decision::Learners`] goes out at `port`; `from` is where
    /// it came in, if not from the bridge's own end.
    pub fn floods(&self, decision: Decision, from: Option<PortId>, port: PortId) -> bool {
        let found = self.ports.get(usize::from(port.0));
        let Some(Some(found)) = found.filter(|_| from != Some(port)) else {
            return false;
        };
        match decision {
            Decision::Everyone => true,
            Decision::Learners => found.learning == Learning::On,
            _ => false,
        }
    }

    fn lookup(&self, now: Instant, destination: MacAddress) -> Decision {
        if destination == self.local {
            return Decision::Local;
        }
        if destination.0[0] & 1 != 0 {
            return Decision::Everyone;
        }
        let station = self.find(destination).ok().map(|at| &self.stations[at]);
        match station.filter(|station| station.is_known(now)) {
            Some(station) => Decision::Port(station.port),
            None => Decision::Learners,
        }
    }

    /// Notes that a station was heard at `port`, or says why it cannot have been.
    fn hear(&mut self, now: Instant, port: PortId, mac: MacAddress) -> Result<(), Refusal> {
        let Some(Some(here)) = self.ports.get(usize::from(port.0)) else {
            return Err(Refusal::Malformed);
        };
        if here.mac == Some(mac) {
            return Ok(());
        }
        if mac == self.local || here.learning == Learning::Off {
            return Err(Refusal::Spoofed);
        }
        match self.find(mac) {
            Ok(at) if self.stations[at].heard.is_none() => return Err(Refusal::Spoofed),
            Ok(at) if self.stations[at].port == port => self.stations[at].heard = Some(now),
            _ => self.learn(now, port, mac),
        }
        Ok(())
    }

    /// Learns a station that was not behind `port`; if it was behind another, it has moved.
    fn learn(&mut self, now: Instant, port: PortId, mac: MacAddress) {
        if !self.has_room(now, port) {
            return;
        }
        if let Ok(at) = self.find(mac) {
            self.forget(at);
        }
        if let (Err(at), Some(here)) = (self.find(mac), &mut self.ports[usize::from(port.0)]) {
            here.learned += 1;
            let heard = Some(now);
            self.stations.insert(at, Station { mac, port, heard });
        }
    }

    /// Whether one more station can be learned at `port`. Those that are quiet for long make room.
    fn has_room(&mut self, now: Instant, port: PortId) -> bool {
        let Some(here) = &mut self.ports[usize::from(port.0)] else {
            return false;
        };
        if here.learned < here.room() {
            return true;
        }
        if here.swept.is_some_and(|swept| now.since(swept) < SWEEP) {
            return false;
        }
        here.swept = Some(now);
        self.stations
            .retain(|station| station.port != port || station.is_known(now));
        let learned = |station: &&Station| station.port == port && station.heard.is_some();
        here.learned = self.stations.iter().filter(learned).count();
        here.learned < here.room()
    }

    /// Removes a station that was learned.
    fn forget(&mut self, at: usize) {
        let station = self.stations.remove(at);
        if let Some(Some(port)) = self.ports.get_mut(usize::from(station.port.0)) {
            port.learned = port.learned.saturating_sub(1);
        }
    }
}

/// Whether frames to this group are for the bridges and go no further (802.1D, table 7-10).
fn is_reserved(mac: MacAddress) -> bool {
    mac.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && mac.0[5] < 0x10
}

#[cfg(test)]
mod tests;
