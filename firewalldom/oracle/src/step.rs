//! What happens on the links, one thing after another; some of it in answer to what came out.
//!
//! Linux and the engine may each choose a port or an address of their own (NAT when the kept port is
//! taken). So what a station sends in answer is not written as bytes: it is made from what that
//! station saw, on each side by itself.

use crate::packet::{ETHERNET, Packet, Ports, Segment, Transport, View};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A station sends a frame.
    Send {
        /// Number of the link.
        link: u8,
        /// All of it, from the Ethernet header on, without frame check sequence.
        bytes: Vec<u8>,
    },
    /// A station answers what came out after an earlier step. If nothing did, nothing happens.
    Answer {
        /// Number of that step.
        to: usize,
        /// What it says.
        with: Answer,
    },
    /// Nobody sends anything for so many microseconds: both wait.
    Pause(u32),
    /// So many seconds pass for the connections only: their time-outs come nearer.
    Elapse(u32),
}

/// What a station says to a packet that reached it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A TCP segment, from where the packet went to where it came from.
    Tcp(Segment),
    /// A UDP datagram, likewise.
    Udp(Vec<u8>),
    /// An SCTP packet of these chunks under this verification tag, likewise.
    Sctp(u32, Vec<u8>),
    /// An ICMP message of this type and code with the second word and data of the packet.
    Echo(u8, u8),
    /// The packet's own transport header and data, sent back with addresses swapped.
    Mirror,
    /// An ICMP error that quotes the packet.
    Error {
        /// Who sends it; `None`: the station that the packet was for.
        from: Option<Ipv4Addr>,
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The header's second word: pointer, gateway, or the next hop's MTU.
        rest: [u8; 4],
        /// How many bytes it quotes behind the quoted IPv4 header.
        quoted: u16,
    },
}

/// A frame that came out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Output {
    /// Number of the link.
    pub link: u8,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// What came out of a run: for each step, in the order in which it came.
pub type Outputs = Vec<Vec<Output>>;

impl Step {
    /// What is sent, and on which link, given what came out before; `None`: nothing.
    #[must_use]
    pub fn frame(&self, before: &[Vec<Output>]) -> Option<(u8, Vec<u8>)> {
        match self {
            Self::Send { link, bytes } => Some((*link, bytes.clone())),
            Self::Answer { to, with } => {
                let seen = before.get(*to)?.iter();
                let mut packets = seen.filter(|output| View::of_frame(&output.bytes).is_some());
                let output = packets.next()?;
                Some((output.link, with.frame(&output.bytes)?))
            }
            Self::Pause(_) | Self::Elapse(_) => None,
        }
    }
}

impl Answer {
    fn frame(&self, seen: &[u8]) -> Option<Vec<u8>> {
        let view = View::of_frame(seen)?;
        let ports = view.ports().map(|ports| Ports {
            source: ports.destination,
            destination: ports.source,
        });
        let transport = match self {
            Self::Tcp(segment) => Transport::Tcp(ports?, segment.clone()),
            Self::Udp(data) => Transport::Udp(ports?, data.clone()),
            Self::Sctp(tag, chunks) => Transport::Sctp(ports?, *tag, chunks.clone()),
            Self::Echo(kind, code) => {
                let message = view.payload();
                let rest = message.get(4..8)?.try_into().ok()?;
                Transport::Icmp(*kind, *code, rest, message[8..].to_vec())
            }
            Self::Mirror => Transport::Other(view.protocol(), view.payload().to_vec()),
            Self::Error {
                kind,
                code,
                rest,
                quoted,
                ..
            } => {
                let header = view.bytes.len() - view.payload().len();
                let end = (header + usize::from(*quoted)).min(view.bytes.len());
                Transport::Icmp(*kind, *code, *rest, view.bytes[..end].to_vec())
            }
        };
        let from = match self {
            Self::Error {
                from: Some(from), ..
            } => *from,
            _ => view.destination(),
        };
        let packet = Packet::new(from, view.source(), transport);
        let to: [u8; 6] = seen[6..12].try_into().ok()?;
        let station: [u8; 6] = seen[..6].try_into().ok()?;
        debug_assert!(seen.len() >= ETHERNET);
        Some(packet.frame(station, to))
    }
}
