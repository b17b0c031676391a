//! Traffic for a site: sequences that open, use, abuse and close flows, biased to the boundaries of
//! what the site's files mention.

mod association;
mod fragments;
mod icmp;
mod odd;
mod stations;
mod tcp;
mod udp;

pub use stations::Stations;

use crate::packet::{Packet, Ports, Transport};
use crate::step::{Answer, Step};
use fastrand::Rng;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One packet of whatever protocol, to see which rule meets it.
    Probe,
    /// A TCP connection that behaves.
    Connection,
    /// Segments outside the window, retransmissions, resets, simultaneous opens.
    Window,
    /// A TCP connection that is closed, reset or left alone, and its tuple used again.
    Reopened,
    /// An SCTP association, with chunks at the wrong time now and then.
    Association,
    /// UDP there and back.
    Datagrams,
    /// ICMP queries and answers.
    Echo,
    /// ICMP errors about flows, and about none.
    Error,
    /// Fragments: in any order, overlapping, missing.
    Fragments,
    /// Flows that idle until about their time-out.
    TimeOut,
    /// Several inside hosts with one source port: NAT must choose.
    Collision,
    /// Wrong checksums and lengths, options, protocols nobody speaks, addresses nobody has.
    Odd,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Probe,
        Self::Connection,
        Self::Window,
        Self::Reopened,
        Self::Association,
        Self::Datagrams,
        Self::Echo,
        Self::Error,
        Self::Fragments,
        Self::TimeOut,
        Self::Collision,
        Self::Odd,
    ];

    /// How many in a hundred sequences are of this kind.
    fn weight(self) -> u32 {
        match self {
            Self::Probe => 31,
            Self::Connection => 10,
            Self::Window | Self::Datagrams | Self::Error => 8,
            Self::Reopened | Self::Fragments | Self::TimeOut | Self::Odd => 6,
            Self::Echo | Self::Collision => 4,
            Self::Association => 3,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.to_string() == name);
        found.ok_or_else(|| format!("{name} is no kind of traffic"))
    }
}

/// A sequence of steps about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// What it is about.
    pub kind: Kind,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A sequence of one of these kinds, by their weights.
pub fn sequence(rng: &mut Rng, stations: &Stations, kinds: &[Kind]) -> Sequence {
    let total: u32 = kinds.iter().map(|kind| kind.weight()).sum();
    let mut left = rng.u32(0..total.max(1));
    let mut chosen = kinds.first().copied().unwrap_or(Kind::Probe);
    for kind in kinds {
        if left < kind.weight() {
            chosen = *kind;
            break;
        }
        left -= kind.weight();
    }
    let mut script = Script {
        rng,
        stations,
        steps: Vec::new(),
    };
    match chosen {
        Kind::Probe => odd::probes(&mut script),
        Kind::Connection => tcp::connection(&mut script),
        Kind::Window => tcp::windows(&mut script),
        Kind::Reopened => tcp::reopened(&mut script),
        Kind::Association => association::association(&mut script),
        Kind::Datagrams => udp::datagrams(&mut script),
        Kind::Echo => icmp::echo(&mut script),
        Kind::Error => icmp::errors(&mut script),
        Kind::Fragments => fragments::fragments(&mut script),
        Kind::TimeOut => udp::time_out(&mut script),
        Kind::Collision => udp::collision(&mut script),
        Kind::Odd => odd::odd(&mut script),
    }
    Sequence {
        kind: chosen,
        steps: script.steps,
    }
}

/// A sequence being written.
struct Script<'a> {
    rng: &'a mut Rng,
    stations: &'a Stations,
    steps: Vec<Step>,
}

/// A way through the firewall: who speaks to whom, from which link.
#[derive(Clone, Copy, Debug)]
struct Way {
    link: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ports: Ports,
}

impl Script<'_> {
    /// A way that somebody may want to go.
    fn way(&mut self) -> Way {
        let link = self.stations.link(self.rng);
        Way {
            link,
            source: self.stations.source(self.rng, link),
            destination: self.stations.destination(self.rng, link),
            ports: Ports {
                source: self.stations.source_port(self.rng),
                destination: self.stations.port(self.rng),
            },
        }
    }

    /// Sends a packet on a way's link; the number of the step.
    fn send(&mut self, link: u8, packet: &Packet) -> usize {
        let bytes = self.stations.frame(link, packet);
        self.push(Step::Send { link, bytes })
    }

    fn answer(&mut self, to: usize, with: Answer) -> usize {
        self.push(Step::Answer { to, with })
    }

    fn elapse(&mut self, seconds: u32) {
        self.push(Step::Elapse(seconds));
    }

    fn push(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn udp(&mut self, way: Way, data: &[u8]) -> usize {
        let transport = Transport::Udp(way.ports, data.to_vec());
        self.send(
            way.link,
            &Packet::new(way.source, way.destination, transport),
        )
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(0..from.len())]
    }

    fn data(&mut self) -> Vec<u8> {
        let length = self.choose(&[0, 1, 8, 26, 100, 512, 1400]);
        (0..length).map(|_| self.rng.u8(..)).collect()
    }
}
