//! What an established packet costs on this machine: headers in cache to headers rewritten.
//!
//! `cargo run --release -p firewalldom --example forward [FLOWS [PACKETS]]`; under
//! `valgrind --tool=callgrind` the instructions of `Firewall::ingress` are the figure that does not
//! depend on the machine.

use firewalldom::policy::{
    Chain, Disposition, Exception, Host, Interface, InterfaceId, InterfacePrefix, Match, Origin,
    Policy, Prefix, Route, Settings, SourceNat, SourceTarget, Zone, ZoneId,
};
use firewalldom::time::Instant;
use firewalldom::{Budget, Checksum, Firewall, Frame, Head, Link, NoTail, Verdict};
use std::net::Ipv4Addr;

const NET: InterfaceId = InterfaceId(0);
const LOC: InterfaceId = InterfaceId(1);

fn policy() -> Policy {
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
        source_nat: vec![SourceNat {
            egress: NET,
            matches: Match::default(),
            target: SourceTarget::Masquerade { ports: None },
            origin,
        }],
        ..Policy::default()
    }
}

/// The far end, and the inside host of a flow: each has as many flows as it has ports.
const FAR: [u8; 4] = [198, 51, 100, 7];
const PORTS: u32 = 50_000;

fn inside(number: u32) -> [u8; 4] {
    (0x0a01_0000 + number / PORTS).to_be_bytes()
}

/// A TCP segment, its payload elsewhere.
fn segment(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> [u8; 54] {
    let mut frame = [0; 54];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame[26..30].copy_from_slice(&source.0);
    frame[30..34].copy_from_slice(&destination.0);
    let word = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let sum: u32 = (14..34).step_by(2).map(word).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
    frame[46] = 0x50;
    frame[47] = 0x10;
    frame
}

fn outwards(number: u32) -> [u8; 54] {
    let port = 1024 + (number % PORTS) as u16;
    segment((inside(number), port), (FAR, 80 + (number / PORTS) as u16))
}

/// The answer to a segment as it left.
fn answer(head: &[u8]) -> [u8; 54] {
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let mut source = [0; 4];
    source.copy_from_slice(&head[26..30]);
    segment((FAR, port(36)), (source, port(34)))
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

fn pass(
    firewall: &mut Firewall,
    now: Instant,
    interface: InterfaceId,
    head: &mut Head,
    bytes: &[u8],
) -> Verdict {
    head.load(bytes);
    let checksum = Checksum::Validated;
    let mut frame = Frame {
        head,
        len: bytes.len(),
        tail: &NoTail,
        checksum,
        gso: None,
    };
    firewall.ingress(now, interface, &mut frame)
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u32>());
    let flows = arguments.next().and_then(Result::ok).unwrap_or(65_536);
    let packets = arguments.next().and_then(Result::ok).unwrap_or(5_000_000);
    let now = Instant(1_000_000_000);
    // One address for both, so that one builder of frames serves.
    let links = [Link {
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
    }; 2];
    let budget = Budget {
        flows: flows as usize,
    };
    let mut firewall = match Firewall::new(policy(), &links, budget, [3; 32], now) {
        Ok(firewall) => firewall,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    greet(&mut firewall, now, NET, [192, 0, 2, 1], [192, 0, 2, 2]);
    for number in (0..flows).step_by(PORTS as usize) {
        greet(&mut firewall, now, LOC, inside(number), [10, 0, 0, 1]);
    }

    let mut head = Head::new();
    let started = std::time::Instant::now();
    for number in 0..flows {
        let verdict = pass(&mut firewall, now, LOC, &mut head, &outwards(number));
        assert_eq!(verdict, Verdict::Forward { egress: NET }, "flow {number}");
        let answer = answer(head.bytes());
        let verdict = pass(&mut firewall, now, NET, &mut head, &answer);
        assert_eq!(
            verdict,
            Verdict::Forward { egress: LOC },
            "answer to flow {number}"
        );
    }
    let per_new = started.elapsed().as_nanos() / u128::from(flows);

    // Frames of flows in random order, made beforehand.
    let mut state = 1u64;
    let frames: Vec<_> = (0..65_536)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            outwards((state >> 33) as u32 % flows)
        })
        .collect();
    let mut passed = 0;
    let started = std::time::Instant::now();
    for frame in frames.iter().cycle().take(packets as usize) {
        let verdict = pass(&mut firewall, now, LOC, &mut head, frame);
        passed += u32::from(verdict == Verdict::Forward { egress: NET });
    }
    let elapsed = started.elapsed();
    assert_eq!(passed, packets);
    println!("flows                {flows:>12}");
    println!("bytes a flow         {:>12}", Budget::BYTES_PER_FLOW);
    println!("ns to open a flow    {per_new:>12}");
    println!(
        "ns a packet after    {:>12}",
        elapsed.as_nanos() / u128::from(packets)
    );
}
