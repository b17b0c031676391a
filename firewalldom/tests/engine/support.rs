//! A small site, frames built and taken apart byte by byte, and a firewall to try them on.

use firewalldom::policy::{
    Action, AddressRange, Chain, Disposition, Exception, Host, Interface, InterfaceId,
    InterfacePrefix, Log, Match, Origin, Policy, Prefix, Protocol, Route, Rule, Settings,
    SourceNat, SourceTarget, States, Zone, ZoneId,
};
use firewalldom::time::Instant;
use firewalldom::{
    Budget, Checksum, Firewall, Frame, Gso, Head, Link, OwnedFrame, Reason, Verdict,
};
use std::net::Ipv4Addr;

pub(crate) const NET: InterfaceId = InterfaceId(0);
pub(crate) const LOC: InterfaceId = InterfaceId(1);
pub(crate) const FW_MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x10], [2, 0, 0, 0, 0, 0x11]];
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x20];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x21];
/// The firewall's addresses, the provider's router, a host far away, and hosts of the site.
pub(crate) const FW_NET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const FW_LOC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 80);
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];

/// Another host of the site, on the client's machine.
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) const NET_ZONE: ZoneId = ZoneId(1);
pub(crate) const LOC_ZONE: ZoneId = ZoneId(2);

pub(crate) fn line(line: u32) -> Origin {
    Origin { file: 0, line }
}

fn drop() -> Exception {
    Exception {
        disposition: Disposition::Drop,
        log: None,
    }
}

pub(crate) fn only(address: Ipv4Addr) -> firewalldom::policy::Addresses {
    firewalldom::policy::Addresses {
        ranges: vec![AddressRange {
            first: address,
            last: address,
        }],
        ..Default::default()
    }
}

pub(crate) fn port(port: u16) -> firewalldom::policy::Ports {
    firewalldom::policy::Ports {
        ranges: vec![firewalldom::policy::PortRange {
            first: port,
            last: port,
        }],
        negated: false,
    }
}

/// A rule for new flows of one protocol (0: any) and destination port (0: any).
pub(crate) fn rule(protocol: u8, to: u16, disposition: Disposition, origin: u32) -> Rule {
    Rule {
        states: States::NEW.union(States::INVALID).union(States::UNTRACKED),
        matches: Match {
            protocol: if protocol == 0 {
                Protocol::Any
            } else {
                Protocol::OneOf(vec![protocol])
            },
            destination_port: if to == 0 {
                Default::default()
            } else {
                port(to)
            },
            ..Match::default()
        },
        limits: Default::default(),
        action: Action::Decide(disposition),
        log: None,
        origin: line(origin),
    }
}

fn chain(name: &str, policy: Disposition, origin: u32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        rules,
        policy,
        policy_log: (policy != Disposition::Accept).then(|| Log {
            level: 6,
            disposition: format!("{policy:?}").to_uppercase(),
            tag: None,
        }),
        origin: Origin {
            file: 1,
            line: origin,
        },
        ..Chain::default()
    }
}

fn interface(name: &str, address: Ipv4Addr, broadcast: [u8; 4]) -> Interface {
    Interface {
        name: name.into(),
        addresses: vec![InterfacePrefix {
            address,
            length: 24,
            broadcast: Some(broadcast.into()),
        }],
        mtu: None,
        tcp_flags: true,
        no_smurfs: true,
        route_back: false,
        dhcp: false,
        origin: line(1),
        ..Interface::default()
    }
}

/// loc may go out (masqueraded), ping and ssh the firewall; net may only reach what DNAT gives it.
pub(crate) fn policy() -> Policy {
    use Disposition::{Accept, Drop, Reject};
    let chains = vec![
        chain("all-all", Reject, 3, vec![]),
        chain("fw-net", Accept, 1, vec![]),
        chain("fw-loc", Reject, 3, vec![rule(1, 0, Accept, 21)]),
        chain("net-fw", Drop, 2, vec![]),
        chain("net-loc", Drop, 2, vec![]),
        chain(
            "loc-fw",
            Reject,
            3,
            vec![
                rule(1, 0, Accept, 20),
                rule(6, 22, Accept, 22),
                rule(17, 5353, Accept, 23),
            ],
        ),
        chain(
            "loc-net",
            Accept,
            1,
            vec![
                rule(6, 25, Reject, 30),
                rule(17, 69, Reject, 31),
                rule(47, 0, Reject, 32),
            ],
        ),
        chain("accept", Accept, 0, vec![]),
    ];
    // Rows: fw, net, loc, none.
    let pairs = vec![7, 1, 2, 0, 3, 7, 4, 0, 5, 6, 7, 0, 0, 0, 0, 0];
    Policy {
        site: "test".into(),
        files: vec!["shorewall/rules".into(), "shorewall/policy".into()],
        settings: Settings {
            log_format: "Shorewall:%s:%s:".into(),
            log_limit: None,
            forwarding: true,
            tcp_flags: drop(),
            smurfs: drop(),
            hairpin: drop(),
            related: Some(Exception {
                disposition: Accept,
                log: None,
            }),
            invalid: None,
            untracked: None,
            ..Settings::default()
        },
        interfaces: vec![
            interface("eth0", FW_NET, [192, 0, 2, 255]),
            interface("eth1", FW_LOC, [10, 0, 0, 255]),
        ],
        routes: vec![Route {
            destination: Prefix {
                address: Ipv4Addr::UNSPECIFIED,
                length: 0,
            },
            gateway: Some(ROUTER),
            interface: NET,
            metric: 0,
        }],
        zones: ["fw", "net", "loc"]
            .map(|name| Zone {
                name: name.into(),
                parents: vec![],
                origin: line(1),
            })
            .into(),
        hosts: [(NET_ZONE, NET), (LOC_ZONE, LOC)]
            .map(|(zone, interface)| Host {
                zone,
                interface,
                prefix: Prefix {
                    address: Ipv4Addr::UNSPECIFIED,
                    length: 0,
                },
                mss: None,
            })
            .into(),
        chains,
        pairs,
        destination_nat: vec![],
        source_nat: vec![SourceNat {
            egress: NET,
            matches: Match::default(),
            target: SourceTarget::Masquerade { ports: None },
            origin: line(40),
        }],
        ..Policy::default()
    }
}

/// Index of the chain from net to loc in [`policy`].
pub(crate) const NET_LOC: usize = 4;

/// The one's complement sum, written apart from the engine's.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for (position, byte) in bytes.iter().enumerate() {
        sum += u32::from(*byte) << if position % 2 == 0 { 8 } else { 0 };
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An Ethernet frame with an IPv4 packet in it.
pub(crate) fn ip(
    from: InterfaceId,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(FW_MAC[usize::from(from.0)]);
    frame.extend(if from == NET { ROUTER_MAC } else { CLIENT_MAC });
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0x12, 0x34, 0x40, 0, 63, protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(payload);
    fix_header(&mut frame);
    fix_transport(&mut frame);
    frame
}

/// Makes the IPv4 checksum right.
pub(crate) fn fix_header(frame: &mut [u8]) {
    let end = 14 + usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..end]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 => Some(2),
        _ => None,
    }
}

fn transport_sum(frame: &[u8]) -> u16 {
    let at = 14 + usize::from(frame[14] & 15) * 4;
    let segment = &frame[at..];
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = [&frame[26..34], &[0, frame[23]], &length].concat();
    if frame[23] == 1 {
        checksum(&[segment])
    } else {
        checksum(&[&pseudo, segment])
    }
}

/// Makes the checksum of TCP, UDP or ICMP right, if there is one.
pub(crate) fn fix_transport(frame: &mut [u8]) {
    let at = 14 + usize::from(frame[14] & 15) * 4;
    let Some(offset) = checksum_offset(frame[23]) else {
        return;
    };
    if frame.len() < at + offset + 2 {
        return;
    }
    frame[at + offset..at + offset + 2].fill(0);
    let sum = transport_sum(frame);
    frame[at + offset..at + offset + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Asserts that every checksum of a frame is what summing it from scratch gives.
#[track_caller]
pub(crate) fn assert_checksums(frame: &[u8]) {
    assert_eq!(checksum(&[&frame[14..34]]), 0, "IPv4 checksum");
    if checksum_offset(frame[23]).is_some() {
        assert_eq!(transport_sum(frame), 0, "transport checksum");
    }
}

pub(crate) fn tcp(
    from: InterfaceId,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    flags: u8,
) -> Vec<u8> {
    // Both sides count from 1000: a SYN takes that number, what follows begins behind it.
    let sequence = if flags & SYN != 0 { 1000 } else { 1001 };
    let acknowledgement = if flags & ACK != 0 { 1001 } else { 0 };
    let numbers = (sequence, acknowledgement);
    tcp_with(from, source, destination, flags, numbers, &[])
}

pub(crate) fn tcp_with(
    from: InterfaceId,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(from, source.0, destination.0, 6, &segment)
}

pub(crate) fn udp(
    from: InterfaceId,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    ip(from, source.0, destination.0, 17, &datagram)
}

pub(crate) fn echo(
    from: InterfaceId,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    kind: u8,
    ident: u16,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(ident.to_be_bytes());
    message.extend([0, 1]);
    message.extend(b"abcdefghijklmnopqrstuvwxyz");
    ip(from, source, destination, 1, &message)
}

/// An ICMP error that quotes a frame's packet: `quoted` bytes of its payload.
pub(crate) fn icmp_error(
    from: InterfaceId,
    source: Ipv4Addr,
    (kind, code): (u8, u8),
    about: &[u8],
    quoted: usize,
) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(&about[14..(34 + quoted).min(about.len())]);
    ip(from, source, source_of(about), 1, &message)
}

pub(crate) fn source_of(frame: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(&frame[26..30]).unwrap().into()
}

pub(crate) fn destination_of(frame: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(&frame[30..34]).unwrap().into()
}

/// Source and destination port.
pub(crate) fn ports_of(frame: &[u8]) -> (u16, u16) {
    (word(frame, 34), word(frame, 36))
}

pub(crate) fn word(frame: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([frame[offset], frame[offset + 1]])
}

pub(crate) fn arp(from: [u8; 6], operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(from);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(from);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// A firewall with a clock.
pub(crate) struct Site {
    pub(crate) firewall: Firewall,
    pub(crate) now: Instant,
}

/// What came of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Went out of this interface as these bytes.
    Forwarded(InterfaceId, Vec<u8>),
    Other(Verdict),
}

impl Outcome {
    #[track_caller]
    pub(crate) fn forwarded(self, egress: InterfaceId) -> Vec<u8> {
        match self {
            Self::Forwarded(interface, bytes) if interface == egress => bytes,
            other => panic!("not forwarded to {egress:?}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn dropped(self, reason: Reason) {
        assert_eq!(self, Self::Other(Verdict::Drop(reason)));
    }
}

pub(crate) fn links() -> [Link; 2] {
    FW_MAC.map(|mac| Link { mac, mtu: 1500 })
}

impl Site {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::with_flows(policy, 1000)
    }

    /// A firewall whose neighbours have made themselves known.
    pub(crate) fn with_flows(policy: Policy, flows: usize) -> Self {
        let now = Instant(1_000_000_000_000);
        let firewall = Firewall::new(&policy, &links(), Budget { flows }, [7; 32], now).unwrap();
        let mut site = Self { firewall, now };
        site.hear_neighbours();
        site
    }

    /// Every neighbour asks for the firewall, and so is known for a while.
    pub(crate) fn hear_neighbours(&mut self) {
        for (interface, mac, address, target) in [
            (NET, ROUTER_MAC, ROUTER, FW_NET),
            (LOC, CLIENT_MAC, CLIENT, FW_LOC),
            (LOC, CLIENT_MAC, OTHER, FW_LOC),
            (LOC, SERVER_MAC, SERVER, FW_LOC),
        ] {
            self.send(interface, &arp(mac, 1, address, target));
        }
        self.outputs();
    }

    /// Lets little time pass, in which so many parts of the table are looked at.
    pub(crate) fn sweep(&mut self, parts: usize) {
        for _ in 0..parts {
            self.now.0 += 5_000_000;
            self.firewall.poll(self.now);
        }
    }

    pub(crate) fn send(&mut self, interface: InterfaceId, bytes: &[u8]) -> Outcome {
        self.send_with(interface, bytes, Checksum::Unknown, None)
    }

    pub(crate) fn send_with(
        &mut self,
        interface: InterfaceId,
        bytes: &[u8],
        checksum: Checksum,
        gso: Option<Gso>,
    ) -> Outcome {
        self.send_split(interface, bytes, Head::CAPACITY, (checksum, gso))
    }

    /// A frame of which only the first `head_len` bytes were copied.
    pub(crate) fn send_split(
        &mut self,
        interface: InterfaceId,
        bytes: &[u8],
        head_len: usize,
        (checksum, gso): (Checksum, Option<Gso>),
    ) -> Outcome {
        let mut head = Head::new();
        head.load(&bytes[..head_len.min(bytes.len())]);
        self.send_head(interface, &mut head, bytes, (checksum, gso))
    }

    /// A frame whose first bytes are in `head`.
    pub(crate) fn send_head(
        &mut self,
        interface: InterfaceId,
        head: &mut Head,
        bytes: &[u8],
        (checksum, gso): (Checksum, Option<Gso>),
    ) -> Outcome {
        let mut frame = Frame {
            head,
            len: bytes.len(),
            tail: &bytes,
            checksum,
            gso,
        };
        match self.firewall.ingress(self.now, interface, &mut frame) {
            Verdict::Forward { egress } => {
                // One that grew is all head.
                let rest = bytes.get(frame.tail_offset()..frame.len).unwrap_or(&[]);
                Outcome::Forwarded(egress, [frame.head.bytes(), rest].concat())
            }
            verdict => Outcome::Other(verdict),
        }
    }

    pub(crate) fn outputs(&mut self) -> Vec<(InterfaceId, OwnedFrame)> {
        std::iter::from_fn(|| self.firewall.take_output()).collect()
    }

    /// The one frame the engine made.
    #[track_caller]
    pub(crate) fn output(&mut self, interface: InterfaceId) -> Vec<u8> {
        let mut all = self.outputs();
        assert_eq!(all.len(), 1, "{all:?}");
        let (egress, frame) = all.remove(0);
        assert_eq!(egress, interface);
        frame.bytes
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = Instant(self.now.0 + seconds * 1_000_000_000);
    }
}
