//! The way of one packet through a site's policy.
//!
//! ```text
//!   Question ─ Packet::frame ─► firewalldom::Firewall ─► verdict, decision, log, frames ─► Explanation
//! ```
//!
//! The engine that runs in the domain runs here: there is no second idea of what a rule means. It
//! sees the packet as the first of its connection, on links whose every neighbour answers ARP.

mod packet;
mod way;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use firewalldom::policy::{InterfaceId, Policy};
use firewalldom::time::Instant;
use firewalldom::{Budget, Checksum, Firewall, Frame, Head, Link, Verdict};
use serde::Serialize;
use smoltcp::wire::EthernetAddress;
use thiserror::Error as ThisError;

pub use packet::{Packet, Seen, Transport, protocol_name};
pub use way::Step;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The interface the packet comes in by, as the site's files call it.
    pub ingress: String,
    /// Source address.
    pub from: Ipv4Addr,
    /// Destination address; `None`: the firewall's own on that interface.
    pub to: Option<Ipv4Addr>,
    /// What is in it.
    pub transport: Transport,
}

/// Why there is no answer.
#[derive(Debug, ThisError)]
pub enum Error {
    /// No such interface.
    #[error("the site has no interface {named}: it has {known}")]
    NoInterface {
        /// What was asked for.
        named: String,
        /// Those there are.
        known: String,
    },
    /// The interface has no address to be asked at.
    #[error("{0} has no address of its own: say where the packet goes, with --to")]
    NoAddress(String),
    /// The engine refuses the policy.
    #[error(transparent)]
    Engine(#[from] firewalldom::ConfigError),
}

/// What became of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It left by another interface, or the same.
    Forwarded,
    /// The firewall itself takes it.
    Local,
    /// It is gone without a word.
    Dropped,
    /// It is gone, and its sender was told.
    Rejected,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The packet as it came in.
    pub packet: Seen,
    /// What it met on its way, in order.
    pub way: Vec<Step>,
    /// What became of it.
    pub fate: Fate,
    /// What decided: a line (`shorewall/rules:14`), or a check's name.
    pub decided_by: String,
    /// What left: the packet itself as it was rewritten, or the answers to its sender.
    pub sent: Vec<Seen>,
    /// Log lines.
    pub log: Vec<String>,
    /// Lines of the site's files that struck on the way, in the order of files and lines.
    pub hits: Vec<String>,
}

/// Runs the engine on one packet.
///
/// # Errors
/// [`Error`].
pub fn explain(policy: Policy, question: &Question) -> Result<Explanation, Error> {
    let number = policy
        .interfaces
        .iter()
        .position(|interface| interface.name == question.ingress)
        .ok_or_else(|| Error::NoInterface {
            named: question.ingress.clone(),
            known: names(&policy).join(", "),
        })?;
    let to = match question.to {
        Some(to) => to,
        None => policy.interfaces[number]
            .addresses
            .first()
            .map(|prefix| prefix.address)
            .ok_or_else(|| Error::NoAddress(question.ingress.clone()))?,
    };
    let packet = Packet {
        from: question.from,
        to,
        transport: question.transport,
    };
    let mut lab = Lab::new(policy)?;
    let ingress = InterfaceId(number as u8);
    Ok(lab.send(ingress, &packet))
}

fn names(policy: &Policy) -> Vec<String> {
    policy
        .interfaces
        .iter()
        .map(|interface| interface.name.clone())
        .collect()
}

/// The engine, and links on which everybody is there.
struct Lab {
    firewall: Firewall,
    names: Vec<String>,
    sent: Vec<Seen>,
}

/// Any moment: no connection is older than the packet that is asked about.
const NOW: Instant = Instant(1_000_000_000);

/// Whoever is at the other end of a link.
const NEIGHBOUR: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 1, 0]);

/// The firewall's own address on a link.
fn own(interface: InterfaceId) -> EthernetAddress {
    EthernetAddress([0x02, 0, 0, 0, 0, interface.0])
}

impl Lab {
    fn new(policy: Policy) -> Result<Self, Error> {
        let names = names(&policy);
        let links: Vec<Link> = (0..policy.interfaces.len())
            .map(|number| Link {
                mac: own(InterfaceId(number as u8)).0,
                mtu: 1500,
            })
            .collect();
        // Which port a translation takes is chance; here it is the same each time.
        let seed = [0; 32];
        let firewall = Firewall::new(&policy, &links, Budget { flows: 64 }, seed, NOW)?;
        let mut lab = Self {
            firewall,
            names,
            sent: Vec::new(),
        };
        lab.firewall.start_trace();
        // What it tells of itself at its start.
        while lab.firewall.take_output().is_some() {}
        Ok(lab)
    }

    fn name(&self, interface: InterfaceId) -> &str {
        self.names
            .get(usize::from(interface.0))
            .map_or("?", String::as_str)
    }

    fn send(&mut self, ingress: InterfaceId, packet: &Packet) -> Explanation {
        self.attach(ingress, packet.from);
        let bytes = packet.frame(NEIGHBOUR, own(ingress));
        let came = Seen::of(self.name(ingress), &bytes).expect("a frame of our own making");
        let verdict = self.ingress(ingress, &bytes);
        let decision = self.firewall.last_decision();
        let way = way::of(&self.firewall, &self.names);
        self.settle();
        let fate = match verdict {
            Verdict::Local => Fate::Local,
            Verdict::Forward { .. } | Verdict::Parked => Fate::Forwarded,
            Verdict::Drop(_) if self.sent.is_empty() => Fate::Dropped,
            Verdict::Drop(_) => Fate::Rejected,
        };
        let hits = self
            .firewall
            .hits()
            .filter(|(origin, hits)| *hits > 0 && origin.line > 0)
            .map(|(origin, _)| self.firewall.place(origin))
            .collect();
        Explanation {
            packet: came,
            way,
            fate,
            decided_by: decision.map_or_else(
                || "nothing had to".to_owned(),
                |decision| self.firewall.explain(decision),
            ),
            sent: std::mem::take(&mut self.sent),
            log: std::iter::from_fn(|| self.firewall.take_log())
                .map(|line| line.text)
                .collect(),
            hits,
        }
    }

    fn ingress(&mut self, interface: InterfaceId, bytes: &[u8]) -> Verdict {
        let mut head = Head::new();
        head.load(bytes);
        let tail: &[u8] = bytes;
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &tail,
            checksum: Checksum::Unknown,
            gso: None,
        };
        let verdict = self.firewall.ingress(NOW, interface, &mut frame);
        if let Verdict::Forward { egress } = verdict {
            let rest = frame.tail_offset().min(frame.len);
            let whole = [frame.head.bytes(), &bytes[rest..frame.len]].concat();
            let seen = Seen::of(self.name(egress), &whole);
            self.sent.extend(seen);
        }
        verdict
    }

    /// Where guests are, whoever is meant is there; what waits for it is sent.
    fn attach(&mut self, interface: InterfaceId, address: Ipv4Addr) {
        let [a, b, c, d] = address.octets();
        let mac = [0x02, 0, a, b, c, d];
        // Elsewhere there are no guests, and one that is there already stays.
        let _ = self.firewall.attach_guest(interface, mac, &[address], 1500);
    }

    /// Answers what is asked for by ARP, and keeps the packets that leave.
    fn settle(&mut self) {
        while let Some((interface, frame)) = self.firewall.take_output() {
            if let Some(answer) = packet::arp_answer(&frame.bytes, NEIGHBOUR) {
                if let Some(asked) = answer.get(28..).and_then(<[u8]>::first_chunk) {
                    self.attach(interface, Ipv4Addr::from(*asked));
                }
                self.ingress(interface, &answer);
            } else {
                let seen = Seen::of(self.name(interface), &frame.bytes);
                self.sent.extend(seen);
            }
        }
    }
}

impl Explanation {
    /// For people; `line` gives the text of a place such as `shorewall/rules:14`, if there is one.
    pub fn text(&self, line: impl Fn(&str) -> Option<String>) -> String {
        let place = |place: &str| match line(place) {
            Some(text) => format!("{place}  {text}"),
            None => place.to_owned(),
        };
        let mut out = String::new();
        let mut row = |name: &str, what: &str| {
            let _ = writeln!(out, "{name:<10}{what}");
        };
        row("in", &format!("{}  {}", self.packet.interface, self.packet));
        for (name, what) in way::rows(&self.way, &line) {
            row(name, &what);
        }
        row("decided", &place(&self.decided_by));
        for log in &self.log {
            row("log", log);
        }
        row(
            "so it is",
            match self.fate {
                Fate::Forwarded => "forwarded",
                Fate::Local => "taken by the firewall itself",
                Fate::Dropped => "dropped without a word",
                Fate::Rejected => "rejected: its sender is told",
            },
        );
        for sent in &self.sent {
            row("out", &format!("{}  {sent}", sent.interface));
        }
        out
    }
}
