//! What is addressed to the firewall itself: smoltcp answers pings, refuses ports nobody listens on,
//! and the console's own pings go out.
//!
//! smoltcp sees a packet only after the zone's rules accepted it, and what it says goes through the
//! firewall's own rules like any other output.

use crate::checksum::{Sum, get16, get32, put16};
use crate::frame::ETHERNET;
use crate::packet::{ICMP, TCP, UDP};
use crate::reject::{Header, write_ip};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

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

/// A packet handed between the engine and smoltcp, without Ethernet header.
#[derive(Debug, Default)]
struct Wire {
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Wire {
    /// Most packets that smoltcp may say in answer to one.
    const MAX_SENT: usize = 8;
    const MTU: usize = 1500;
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent<'_>)> {
        if self.sent.len() >= Self::MAX_SENT {
            return None;
        }
        Some((Received(self.received.take()?), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent<'_>> {
        (self.sent.len() < Self::MAX_SENT).then_some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = Self::MTU;
        // The engine verified what came in, or it was vouched for and the field is blank.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.udp = Checksum::Tx;
        capabilities
    }
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    address: u32,
    ident: u16,
    sent: Instant,
}

/// The firewall as a host.
pub(crate) struct Host {
    interface: Option<Interface>,
    sockets: SocketSet<'static>,
    wire: Wire,
    pings: Vec<Ping>,
    results: VecDeque<PingResult>,
    next_ident: u16,
}

impl Host {
    /// Most pings under way, and most results that wait.
    const MAX_PINGS: usize = 16;
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A host with any of the firewall's addresses as its own; without one it is deaf.
    pub(crate) fn new(now: Instant, address: Option<u32>, seed: u64) -> Self {
        let mut wire = Wire::default();
        let interface = address.map(|address| {
            let mut config = Config::new(HardwareAddress::Ip);
            config.random_seed = seed;
            let mut interface = Interface::new(config, &mut wire, smoltcp_time(now));
            let address = Ipv4Addr::from_bits(address);
            // One address of its own; any other that the engine delivers is one of the firewall's.
            interface.update_ip_addrs(|addresses| {
                let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 32));
            });
            interface.set_any_ip(true);
            let _ = interface.routes_mut().add_default_ipv4_route(address);
            interface
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            pings: Vec::new(),
            results: VecDeque::new(),
            next_ident: seed as u16,
        }
    }

    /// Takes an accepted packet (without Ethernet header); what the firewall says to it can be had
    /// from [`Host::take_sent`].
    pub(crate) fn receive(&mut self, now: Instant, packet: Vec<u8>) {
        if self.answers_ping(now, &packet) {
            return;
        }
        self.wire.received = Some(packet);
        if let Some(interface) = &mut self.interface {
            interface.poll(smoltcp_time(now), &mut self.wire, &mut self.sockets);
        }
        self.wire.received = None;
    }

    /// A packet the firewall wants to send, behind room for an Ethernet header.
    pub(crate) fn take_sent(&mut self) -> Option<Vec<u8>> {
        let packet = self.wire.sent.pop_front()?;
        let mut frame = vec![0; ETHERNET];
        frame.extend_from_slice(&packet);
        Some(frame)
    }

    fn answers_ping(&mut self, now: Instant, packet: &[u8]) -> bool {
        if packet.len() < 20 || packet[9] != ICMP {
            return false;
        }
        let icmp = packet
            .get(usize::from(packet[0] & 0x0f) * 4..)
            .unwrap_or_default();
        if icmp.len() < 8 || icmp[0] != 0 {
            return false;
        }
        let (source, ident) = (get32(packet, 12), get16(icmp, 4));
        let asked = |ping: &Ping| ping.address == source && ping.ident == ident;
        let Some(position) = self.pings.iter().position(asked) else {
            return false;
        };
        let ping = self.pings.swap_remove(position);
        self.report(
            ping.address,
            PingOutcome::Reply {
                after: now.since(ping.sent),
            },
        );
        true
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
        icmp[0] = 8;
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

/// Whether smoltcp has anything to say to this protocol.
pub(crate) const fn speaks(protocol: u8) -> bool {
    matches!(protocol, ICMP | TCP | UDP)
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.0 / 1000) as i64)
}
