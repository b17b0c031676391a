//! A firewall between a site and the world, and the frames of as many flows as wanted.

use firewalldom::policy::{
    Chain, Disposition, Exception, Host, Interface, InterfaceId, InterfacePrefix, Match, Origin,
    Policy, Prefix, Route, Settings, SourceNat, SourceTarget, Zone, ZoneId,
};
use firewalldom::time::Instant;
use firewalldom::{Budget, Checksum, Firewall, Frame, Head, Link, NoTail, Verdict};
use std::net::Ipv4Addr;

pub(crate) const NET: InterfaceId = InterfaceId(0);
pub(crate) const LOC: InterfaceId = InterfaceId(1);

fn policy(nat: Nat) -> Policy {
    let origin = Origin { file: 0, line: 1 };
    let exception = || Exception {
        disposition: Disposition::Drop,
        log: None,
    };
    let interface = |name: &str, address: [u8; 4]| Interface {
        name: name.into(),
        addresses: vec![InterfacePrefix {
            address: address.into(),
            length: 8,
            broadcast: None,
        }],
        mtu: None,
        tcp_flags: true,
        no_smurfs: true,
        route_back: false,
        dhcp: false,
        origin,
        ..Interface::default()
    };
    let everything = Prefix {
        address: Ipv4Addr::UNSPECIFIED,
        length: 0,
    };
    Policy {
        site: "bench".into(),
        files: vec!["shorewall/policy".into()],
        settings: Settings {
            log_format: "%s:%s:".into(),
            log_limit: None,
            forwarding: true,
            tcp_flags: exception(),
            smurfs: exception(),
            hairpin: exception(),
            related: Some(Exception {
                disposition: Disposition::Accept,
                log: None,
            }),
            invalid: None,
            untracked: None,
            ..Settings::default()
        },
        interfaces: vec![
            interface("eth0", [192, 0, 2, 2]),
            interface("eth1", [10, 0, 0, 1]),
        ],
        routes: vec![Route {
            destination: everything,
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            interface: NET,
            metric: 0,
        }],
        zones: ["fw", "net", "loc"]
            .map(|name| Zone {
                name: name.into(),
                parents: vec![],
                origin,
            })
            .into(),
        hosts: [(ZoneId(1), NET), (ZoneId(2), LOC)]
            .map(|(zone, interface)| Host {
                zone,
                interface,
                prefix: everything,
                mss: None,
            })
            .into(),
        chains: vec![Chain {
            name: "all-all".into(),
            rules: vec![],
            policy: Disposition::Accept,
            origin,
            ..Chain::default()
        }],
        pairs: vec![0; 16],
        destination_nat: vec![],
        source_nat: match nat {
            Nat::Masquerade => vec![SourceNat {
                egress: NET,
                matches: Match::default(),
                target: SourceTarget::Masquerade { ports: None },
                origin,
            }],
            Nat::None => vec![],
        },
        ..Policy::default()
    }
}

/// Whether the site's addresses are translated on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    Masquerade,
    None,
}

/// What the flows speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// The far end; each inside host has as many flows with it as it has ports.
const FAR: [u8; 4] = [198, 51, 100, 7];
const FIREWALL: [u8; 4] = [192, 0, 2, 2];
const PORTS: u32 = 50_000;

fn inside(number: u32) -> [u8; 4] {
    (0x0a01_0000 + number / PORTS).to_be_bytes()
}

/// TCP's flags.
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// Bytes of payload of each data segment and datagram.
pub(crate) const PAYLOAD: u32 = 64;

/// The numbers of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
}

/// A frame with no transport checksum computed: whoever sends it vouches for it.
fn frame(
    transport: Transport,
    source: ([u8; 4], u16),
    destination: ([u8; 4], u16),
    numbers: Numbers,
) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    let protocol = match transport {
        Transport::Tcp => {
            segment.extend(numbers.sequence.to_be_bytes());
            segment.extend(numbers.acknowledgement.to_be_bytes());
            segment.extend([8 << 4, numbers.flags, 0xff, 0xff, 0, 0, 0, 0]);
            // As systems of today: windows of up to 1 GiB, and a timestamp in each segment.
            segment.extend(if numbers.flags & SYN == 0 {
                [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]
            } else {
                [3, 3, 14, 1, 4, 2, 1, 1, 1, 1, 1, 1]
            });
            6
        }
        Transport::Udp => {
            segment.extend((8 + PAYLOAD as u16).to_be_bytes());
            segment.extend([0x12, 0x34]);
            17
        }
    };
    if transport == Transport::Udp || numbers.flags & SYN == 0 {
        segment.extend([0x5a; PAYLOAD as usize]);
    }
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0];
    bytes.extend((20 + segment.len() as u16).to_be_bytes());
    bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend(source.0);
    bytes.extend(destination.0);
    let word = |at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let sum: u32 = (14..34).step_by(2).map(word).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    bytes.extend(segment);
    bytes
}

/// A packet of a flow, from inside.
pub(crate) fn outwards(transport: Transport, number: u32, numbers: Numbers) -> Vec<u8> {
    let port = 1024 + (number % PORTS) as u16;
    let far = (FAR, 80 + (number / PORTS) as u16);
    frame(transport, (inside(number), port), far, numbers)
}

/// The answer to a packet as it left.
fn answer(transport: Transport, head: &[u8], numbers: Numbers) -> Vec<u8> {
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let mut source = [0; 4];
    source.copy_from_slice(&head[26..30]);
    frame(transport, (FAR, port(36)), (source, port(34)), numbers)
}

/// Makes a neighbour known to the firewall.
fn greet(
    firewall: &mut Firewall,
    now: Instant,
    interface: InterfaceId,
    sender: [u8; 4],
    target: [u8; 4],
) {
    let mut request = vec![0xff; 6];
    request.extend([
        2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7,
    ]);
    request.extend(sender);
    request.extend([0; 6]);
    request.extend(target);
    pass(firewall, now, interface, &mut Head::new(), &request);
    while firewall.take_output().is_some() {}
}

/// A firewall for so many flows, its neighbours known.
///
/// # Panics
/// When the policy above cannot run.
pub(crate) fn firewall(nat: Nat, flows: u32, now: Instant) -> Firewall {
    // One address for both, so that one builder of frames serves.
    let links = [Link {
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
    }; 2];
    let budget = Budget {
        flows: flows as usize,
    };
    let mut firewall =
        Firewall::new(&policy(nat), &links, budget, [3; 32], now).expect("the policy fits");
    hear(&mut firewall, flows, now);
    firewall
}

/// Makes all neighbours known again.
pub(crate) fn hear(firewall: &mut Firewall, flows: u32, now: Instant) {
    greet(firewall, now, NET, [192, 0, 2, 1], FIREWALL);
    for number in (0..flows).step_by(PORTS as usize) {
        greet(firewall, now, LOC, inside(number), [10, 0, 0, 1]);
    }
}

/// What is measured first: the flows of some frames are looked for, whose headers are in the cache.
#[inline(never)]
pub(crate) fn measured_look_ahead(
    firewall: &mut Firewall,
    interface: InterfaceId,
    heads: &mut [Head],
) {
    firewall.look_ahead(interface, heads);
}

/// And then: each is judged and rewritten.
#[inline(never)]
pub(crate) fn measured_ingress(
    firewall: &mut Firewall,
    now: Instant,
    interface: InterfaceId,
    frame: &mut Frame<'_>,
) -> Verdict {
    firewall.ingress(now, interface, frame)
}

/// Loads a frame and has it judged by itself.
pub(crate) fn pass(
    firewall: &mut Firewall,
    now: Instant,
    interface: InterfaceId,
    head: &mut Head,
    bytes: &[u8],
) -> Verdict {
    head.load(bytes);
    measured_look_ahead(firewall, interface, std::slice::from_mut(head));
    judge(firewall, now, interface, head, bytes.len())
}

/// Has a frame judged that is loaded.
pub(crate) fn judge(
    firewall: &mut Firewall,
    now: Instant,
    interface: InterfaceId,
    head: &mut Head,
    len: usize,
) -> Verdict {
    let mut frame = Frame {
        head,
        len,
        tail: &NoTail,
        checksum: Checksum::Validated,
        gso: None,
    };
    measured_ingress(firewall, now, interface, &mut frame)
}

/// Opens a flow from inside to outside: both directions are seen.
pub(crate) fn open(firewall: &mut Firewall, transport: Transport, number: u32, now: Instant) {
    let numbers = |flags, sequence, acknowledgement| Numbers {
        flags,
        sequence,
        acknowledgement,
    };
    let mut head = Head::new();
    let first = outwards(transport, number, numbers(SYN, 1000, 0));
    let verdict = pass(firewall, now, LOC, &mut head, &first);
    assert_eq!(verdict, Verdict::Forward { egress: NET }, "flow {number}");
    let back = answer(transport, head.bytes(), numbers(SYN | ACK, 1000, 1001));
    let verdict = pass(firewall, now, NET, &mut head, &back);
    assert_eq!(verdict, Verdict::Forward { egress: LOC }, "flow {number}");
    let third = outwards(transport, number, numbers(ACK, 1001, 1001));
    let verdict = pass(firewall, now, LOC, &mut head, &third);
    assert_eq!(verdict, Verdict::Forward { egress: NET }, "flow {number}");
    // Now the scaled window is known.
    let fourth = answer(transport, head.bytes(), numbers(ACK, 1001, 1001));
    let verdict = pass(firewall, now, NET, &mut head, &fourth);
    assert_eq!(verdict, Verdict::Forward { egress: LOC }, "flow {number}");
}
