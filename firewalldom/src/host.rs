//! What is addressed to the firewall itself: it answers pings and questions for the time, says that
//! nobody listens on any of its ports, and the console's own pings go out.
//!
//! A packet comes here only after the zone's rules accepted it, and what the firewall says to it goes
//! through the firewall's own rules like any other output. No port is open: there is no state to keep
//! but that of the console's pings.

use crate::checksum::{Sum, get16, put16, put32};
use crate::firewall::{Firewall, Verdict};
use crate::frame::{ETHERNET, Frame};
use crate::packet::{Cast, ICMP, IGMP, Packet, TCP, UDP};
use crate::path::Occasion;
use crate::reason::Reason;
use crate::reject::{self, Error, Header, write_ip};
use crate::route::Route;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const TIMESTAMP: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;

/// Bits of the type of service that say nothing of congestion (RFC 3168).
const WITHOUT_ECN: u8 = 0xfc;

/// What came of a ping from the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResult {
    /// Who was asked.
    pub address: Ipv4Addr,
    /// What came back.
    pub outcome: PingOutcome,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingOutcome {
    /// The answer, after this long.
    Reply {
        /// From request to answer.
        after: Duration,
    },
    /// Nothing, for five seconds.
    TimedOut,
    /// The firewall's own rules, or the want of a route, kept it from leaving.
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    address: u32,
    ident: u16,
    sent: Instant,
}

/// The pings of the firewall as a host.
pub(crate) struct Host {
    pings: Vec<Ping>,
    results: VecDeque<PingResult>,
    next_ident: u16,
}

impl Firewall {
    /// For the firewall itself. `packet` has the addresses and ports that it was translated to.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        route: Route,
    ) -> Result<Verdict, Reason> {
        if packet.is_damaged() {
            return Err(Reason::BadChecksum);
        }
        // To many: whoever has an answer to that, it is not the firewall.
        if route != Route::Local {
            return Err(Reason::NotSpoken);
        }
        let head = frame.head.bytes();
        let answer = match packet.tuple.protocol {
            ICMP => self.answer_icmp(now, frame, packet)?,
            IGMP => return Err(Reason::NotSpoken),
            TCP if packet.cast == Cast::Unicast => {
                let tos = head[ETHERNET + 1] & WITHOUT_ECN;
                reject::reset(head, packet, tos)
            }
            TCP => None,
            UDP => {
                let (leaving, error) = (packet.tuple, Error::PortUnreachable);
                self.report(now, frame, packet, leaving, Occasion::Own, error);
                None
            }
            _ => {
                let (leaving, error) = (packet.tuple, Error::ProtocolUnreachable);
                self.report(now, frame, packet, leaving, Occasion::Own, error);
                return Err(Reason::NotSpoken);
            }
        };
        if let Some(bytes) = answer {
            self.emit(now, &bytes, Occasion::Own);
        }
        self.counters.local += 1;
        Ok(Verdict::Local)
    }

    /// What the firewall says to an ICMP message: of those that ask, to echo (RFC 1122, 3.2.2.6) and
    /// timestamp (3.2.2.8).
    fn answer_icmp(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Result<Option<Vec<u8>>, Reason> {
        const TIMESTAMP_LEN: usize = 20;
        let head = frame.head.bytes();
        let icmp = head.get(packet.transport..).unwrap_or_default();
        let whole = usize::from(packet.payload_len());
        let length = match packet.icmp.0 {
            ECHO_REPLY if icmp.len() >= 8 => {
                self.host.hear(now, packet.tuple.source, get16(icmp, 4));
                return Ok(None);
            }
            ECHO => whole,
            // The time of whoever asks has to be there.
            TIMESTAMP if whole >= 12 => TIMESTAMP_LEN,
            _ => return Ok(None),
        };
        let mut bytes = vec![0; ETHERNET + 20 + length];
        let header = Header {
            tos: head[ETHERNET + 1],
            ident: (self.key.next() as u16).max(1),
            protocol: ICMP,
            source: packet.tuple.destination,
            destination: packet.tuple.source,
        };
        write_ip(&mut bytes, header);
        let answer = &mut bytes[ETHERNET + 20..];
        frame.read(packet.transport, &mut answer[..length.min(whole)])?;
        if packet.icmp.0 == TIMESTAMP {
            answer[0] = TIMESTAMP_REPLY;
            answer[1] = 0;
            let time = self.meters.clock.timestamp(now);
            put32(answer, 12, time);
            put32(answer, 16, time);
        } else {
            answer[0] = ECHO_REPLY;
        }
        put16(answer, 2, 0);
        let checksum = Sum::default().bytes(answer).finish();
        put16(answer, 2, checksum);
        Ok(Some(bytes))
    }
}

impl Host {
    /// Most pings under way, and most results that wait.
    const MAX_PINGS: usize = 16;
    const PATIENCE: Duration = Duration::from_secs(5);

    /// `seed` decides what identifies the first ping.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            pings: Vec::new(),
            results: VecDeque::new(),
            next_ident: seed as u16,
        }
    }

    /// An answer to a ping, perhaps to one of ours.
    fn hear(&mut self, now: Instant, source: u32, ident: u16) {
        let asked = |ping: &Ping| ping.address == source && ping.ident == ident;
        let Some(position) = self.pings.iter().position(asked) else {
            return;
        };
        let ping = self.pings.swap_remove(position);
        self.report(
            ping.address,
            PingOutcome::Reply {
                after: now.since(ping.sent),
            },
        );
    }

    fn report(&mut self, address: u32, outcome: PingOutcome) {
        if self.results.len() == Self::MAX_PINGS {
            self.results.pop_front();
        }
        self.results.push_back(PingResult {
            address: Ipv4Addr::from_bits(address),
            outcome,
        });
    }

    /// An echo request from `source`, behind room for an Ethernet header; `None` if too many are
    /// under way.
    pub(crate) fn ping(&mut self, now: Instant, source: u32, address: u32) -> Option<Vec<u8>> {
        if self.pings.len() == Self::MAX_PINGS {
            return None;
        }
        let ident = self.next_ident;
        self.next_ident = ident.wrapping_add(1);
        self.pings.push(Ping {
            address,
            ident,
            sent: now,
        });
        let mut bytes = vec![0; ETHERNET + 20 + 8 + 56];
        write_ip(
            &mut bytes,
            Header {
                tos: 0,
                ident: 0,
                protocol: ICMP,
                source,
                destination: address,
            },
        );
        let icmp = &mut bytes[ETHERNET + 20..];
        icmp[0] = ECHO;
        put16(icmp, 4, ident);
        put16(icmp, 6, 1);
        let checksum = Sum::default().bytes(icmp).finish();
        put16(icmp, 2, checksum);
        Some(bytes)
    }

    /// The ping that was just asked for did not leave.
    pub(crate) fn refuse_ping(&mut self, address: u32) {
        self.pings.retain(|ping| ping.address != address);
        self.report(address, PingOutcome::Refused);
    }

    pub(crate) fn take_result(&mut self) -> Option<PingResult> {
        self.results.pop_front()
    }

    /// Gives up on pings that were never answered; when the next one's patience ends.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        while let Some(position) = self
            .pings
            .iter()
            .position(|ping| now >= ping.sent + Self::PATIENCE)
        {
            let ping = self.pings.swap_remove(position);
            self.report(ping.address, PingOutcome::TimedOut);
        }
        self.pings
            .iter()
            .map(|ping| ping.sent + Self::PATIENCE)
            .min()
    }
}
