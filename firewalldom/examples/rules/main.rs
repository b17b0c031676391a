//! What a new flow costs with so many rules: `cargo run --release --example rules [acl|fw|ipc]
//! [--instructions] [--json]`, or `-- --blacklist`.
//!
//! Rules as ClassBench makes them, from 10 to 100,000, between two interfaces. Frames of new flows
//! that only the last rule matches, and of others that none does, each of another flow and each with
//! addresses of its own. Firewalls with few rules and with many are timed in turn, a slice of some ten
//! milliseconds each. `--instructions` counts with valgrind instead.

mod classbench;
mod turns;

use classbench::{Random, Seed};
use firewalldom::policy::{
    Action, Addresses, Chain, Disposition, Exception, Host, Interface, InterfaceId,
    InterfacePrefix, Limits, Match, Origin, Policy, PortRange, Ports, Prefix, Protocol, Route,
    Rule, Settings, States, Zone, ZoneId, blob,
};
use firewalldom::time::Instant;
use firewalldom::{AHEAD, Budget, Checksum, Decider, Firewall, Frame, Head, Link, NoTail, Verdict};
use std::net::Ipv4Addr;
use turns::{Contestant, Cost};

const NET: InterfaceId = InterfaceId(0);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER: [u8; 4] = [172, 31, 255, 1];
const OWN: [u8; 4] = [172, 31, 255, 2];
const NOW: Instant = Instant(1_000_000_000);
/// Flows of a measurement: the table has room for all of them.
const FLOWS: usize = 32_768;
/// Flows before that: what others' turns left in the caches is not what the firewall would find there.
const WARM_UP: usize = 16_384;
/// Where only the last rule's packets go to: no other rule is about it.
const LAST: u32 = 0xc0a8_c800;
const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

/// From net to loc everywhere, by `rules`; what none of them decides is accepted.
fn policy(rules: Vec<Rule>) -> Policy {
    let origin = Origin { file: 0, line: 0 };
    let interface = |name: &str, address: [u8; 4]| Interface {
        name: name.into(),
        addresses: vec![InterfacePrefix {
            address: address.into(),
            length: 24,
            broadcast: None,
        }],
        ..Interface::default()
    };
    let everything = Prefix {
        address: Ipv4Addr::UNSPECIFIED,
        length: 0,
    };
    Policy {
        site: "bench".into(),
        files: vec!["shorewall/rules".into()],
        settings: Settings {
            log_format: "%s:%s:".into(),
            forwarding: true,
            related: Some(Exception {
                disposition: Disposition::Accept,
                log: None,
            }),
            ..Settings::default()
        },
        interfaces: vec![interface("eth0", [192, 0, 2, 2]), interface("eth1", OWN)],
        routes: vec![Route {
            destination: everything,
            gateway: Some(ROUTER.into()),
            interface: InterfaceId(1),
            metric: 0,
        }],
        zones: ["fw", "net", "loc"]
            .map(|name| Zone {
                name: name.into(),
                parents: vec![],
                origin,
            })
            .into(),
        hosts: [(ZoneId(1), NET), (ZoneId(2), InterfaceId(1))]
            .map(|(zone, interface)| Host {
                zone,
                interface,
                prefix: everything,
                mss: None,
            })
            .into(),
        chains: vec![Chain {
            name: "net-loc".into(),
            rules,
            policy: Disposition::Accept,
            origin,
            ..Chain::default()
        }],
        pairs: vec![0; 16],
        ..Policy::default()
    }
}

/// The last rule: UDP to some ports of a network of its own.
fn last_rule(line: u32) -> Rule {
    Rule {
        states: States::NEW,
        matches: Match {
            destination: Addresses {
                ranges: vec![firewalldom::policy::AddressRange {
                    first: Ipv4Addr::from(LAST),
                    last: Ipv4Addr::from(LAST | 0xff),
                }],
                ..Addresses::default()
            },
            protocol: Protocol::OneOf(vec![17]),
            destination_port: Ports {
                ranges: vec![PortRange {
                    first: 40_000,
                    last: 50_000,
                }],
                negated: false,
            },
            ..Match::default()
        },
        limits: Limits::default(),
        action: Action::Decide(Disposition::Accept),
        log: None,
        origin: Origin { file: 0, line },
    }
}

/// A UDP datagram without payload.
fn datagram(source: (u32, u16), destination: (u32, u16)) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame[26..30].copy_from_slice(&source.0.to_be_bytes());
    frame[30..34].copy_from_slice(&destination.0.to_be_bytes());
    let word = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let sum: u32 = (14..34).step_by(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
    frame[39] = 8;
    frame
}

fn pass(firewall: &mut Firewall, now: Instant, interface: InterfaceId, bytes: &[u8]) -> Verdict {
    let mut head = Head::new();
    head.load(bytes);
    judge(firewall, now, interface, &mut head, bytes.len())
}

/// Has a frame judged that is loaded.
fn judge(
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
    firewall.ingress(now, interface, &mut frame)
}

fn firewall(policy: Policy) -> Firewall {
    let links = [Link {
        mac: MAC,
        mtu: 1500,
    }; 2];
    let budget = Budget { flows: FLOWS * 2 };
    let mut firewall = match Firewall::new(&policy, &links, budget, [3; 32], NOW) {
        Ok(firewall) => firewall,
        Err(error) => panic!("{error}"),
    };
    hear(&mut firewall, NOW);
    firewall
}

/// Makes the router known that all packets go to.
fn hear(firewall: &mut Firewall, now: Instant) {
    let mut request = vec![0xff; 6];
    request.extend([
        2, 0, 0, 0, 0, 7, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7,
    ]);
    request.extend(ROUTER);
    request.extend([0; 6]);
    request.extend(OWN);
    pass(firewall, now, InterfaceId(1), &request);
    while firewall.take_output().is_some() {}
}

/// What the frames of a measurement meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    LastRule,
    NoRule,
}

/// Frames of different flows that meet what is wanted: the firewall itself says so.
fn frames(policy: &Policy, meets: Meets, count: usize) -> Vec<[u8; 42]> {
    let mut firewall = firewall(policy.clone());
    let last = policy.chains[0].rules.last().map(|rule| rule.origin);
    let mut random = Random(meets as u64 + 99);
    let mut frames = Vec::with_capacity(count);
    let mut tries = 0;
    while frames.len() < count && tries < count * 40 {
        tries += 1;
        // From the same skewed addresses as the rules' own, in and between their prefixes; where
        // rules cover all of those, from others.
        let skewed = tries < count * 4;
        let mut address = |skew| classbench::address(&mut random, if skewed { skew } else { 50 });
        let (source, destination) = (address(75), address(70));
        let source = (source, random.below(65_536) as u16);
        let destination = match meets {
            Meets::LastRule => (
                LAST | random.below(256),
                40_000 + random.below(10_000) as u16,
            ),
            Meets::NoRule => (destination, random.below(65_536) as u16),
        };
        let frame = datagram(source, destination);
        let verdict = pass(&mut firewall, NOW, NET, &frame);
        let decider = firewall.last_decision().map(|decision| decision.by);
        let is_it = match (meets, decider) {
            (Meets::LastRule, Some(Decider::Rule(origin))) => Some(origin) == last,
            (Meets::NoRule, Some(Decider::Policy(_))) => true,
            _ => false,
        };
        if is_it && matches!(verdict, Verdict::Forward { .. }) {
            frames.push(frame);
        }
        if firewall.flows().now >= FLOWS * 2 - 1 {
            firewall = self::firewall(policy.clone());
        }
        while firewall.take_output().is_some() {}
    }
    assert!(
        frames.len() * 2 >= count,
        "{meets:?}: only {} frames",
        frames.len()
    );
    frames
}

/// What is measured.
#[inline(never)]
fn pass_all(firewall: &mut Firewall, now: Instant, frames: &[[u8; 42]]) {
    let mut heads = [const { Head::new() }; AHEAD];
    // As the appliance takes them from a ring.
    for frames in frames.chunks(AHEAD) {
        for (head, frame) in heads.iter_mut().zip(frames) {
            head.load(frame);
        }
        firewall.look_ahead(NET, &mut heads[..frames.len()]);
        for (head, frame) in heads.iter_mut().zip(frames) {
            let verdict = judge(firewall, now, NET, head, frame.len());
            assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
        }
    }
}

/// What valgrind's callgrind counts while this program passes so many frames.
fn count_instructions(seed: Seed, rules: u32, meets: Meets, frames: usize) -> u64 {
    let program = std::env::current_exe().expect("its own path");
    let output = std::process::Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*pass_all*"])
        .arg(program)
        .args(["--pass", name(seed), &rules.to_string()])
        .args([&format!("{meets:?}"), &frames.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.split("Collected : ").nth(1);
    let count = collected.and_then(|rest| rest.split_whitespace().next());
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no count in: {said}"))
}

fn site(seed: Seed, count: u32) -> Policy {
    let mut rules = classbench::rules(seed, count - 1, &mut Random(7));
    rules.retain(|rule| {
        let about = rule.matches.destination.ranges.iter();
        { about }.all(|range| !(range.first..=range.last).contains(&Ipv4Addr::from(LAST)))
    });
    rules.push(last_rule(count + 1));
    policy(rules)
}

/// How long a prefix on a public list of bad addresses is, by a dice with a thousand sides: most are
/// single hosts.
const fn length_on_a_list(dice: u32) -> u32 {
    match dice {
        0..560 => 32,
        560..830 => 24,
        830..930 => 22,
        930..970 => 20,
        _ => 16,
    }
}

/// What a long `blrules` costs those who are not on it: 17,567 networks, each once.
fn blacklist(json: bool) {
    let mut random = Random(5);
    let plain = site(Seed::Acl, 10);
    let mut listed = plain.clone();
    let rules = (0..17_567).map(|number| {
        let length = length_on_a_list(random.below(1000));
        let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
        let first = classbench::address(&mut random, 65) & !host_bits;
        let range = firewalldom::policy::AddressRange {
            first: Ipv4Addr::from(first),
            last: Ipv4Addr::from(first | host_bits),
        };
        let mut rule = last_rule(1_000_000 + number);
        rule.matches = Match {
            source: Addresses {
                ranges: vec![range],
                ..Addresses::default()
            },
            ..Match::default()
        };
        rule.action = Action::Decide(Disposition::Drop);
        rule
    });
    listed.rule_lists = vec![firewalldom::policy::RuleList {
        log_chain: None,
        rules: rules.collect(),
    }];
    listed.chains[0].blacklist = Some(0);
    let blob = blob::encode(&listed).expect("it is a policy");
    let started = std::time::Instant::now();
    let loaded = firewall(blob::decode(&blob).expect("it is its own bytes"));
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let frames = frames(&listed, Meets::NoRule, WARM_UP + FLOWS);
    let costs =
        turns::take([&plain, &listed].map(|policy| Contestant::new(policy, frames.clone())));
    let (without, with) = (costs[0].each, costs[1].each);
    let times = costs[1].times;
    if json {
        println!(
            "{{\"blacklist\":17567,\"load_ms\":{load_ms:.3},\"memory_bytes\":{},\
             \"without\":{without:.1},\"with\":{with:.1},\"times\":{times:.4}}}",
            loaded.rule_bytes()
        );
        return;
    }
    println!(
        "17567 blrules: load {load_ms:.1} ms, blob {} bytes, in memory {} bytes",
        blob.len(),
        loaded.rule_bytes()
    );
    println!(
        "a new flow {without:.0} ns without, {with:.0} ns with: {:.1} % of the rate kept",
        100.0 / times
    );
}

fn name(seed: Seed) -> &'static str {
    match seed {
        Seed::Acl => "acl",
        Seed::Fw => "fw",
        Seed::Ipc => "ipc",
    }
}

fn seed(word: &str) -> Option<Seed> {
    [Seed::Acl, Seed::Fw, Seed::Ipc]
        .into_iter()
        .find(|&seed| name(seed) == word)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, seed_name, rules, meets, frames_wanted] = arguments.as_slice()
        && flag == "--pass"
    {
        let seed = seed(seed_name).expect("a seed");
        let policy = site(seed, rules.parse().expect("a number of rules"));
        let meets = if meets == "LastRule" {
            Meets::LastRule
        } else {
            Meets::NoRule
        };
        let frames_wanted = frames_wanted.parse().expect("a number of frames");
        let frames = frames(&policy, meets, frames_wanted);
        pass_all(&mut firewall(policy), NOW, &frames);
        return;
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let wanted: Vec<Seed> = arguments.iter().filter_map(|word| seed(word)).collect();
    let seeds = if wanted.is_empty() {
        vec![Seed::Acl, Seed::Fw, Seed::Ipc]
    } else {
        wanted
    };
    if has("--blacklist") {
        blacklist(has("--json"));
        return;
    }
    let what = if has("--instructions") {
        What::Instructions
    } else {
        What::Nanoseconds
    };
    if !has("--json") {
        println!(
            "                       load     blob   in memory   {} a new flow, decided by",
            what.unit()
        );
        println!(
            "seed     rules           ms    bytes       bytes    the last rule, of 10    no rule, of 10"
        );
    }
    for seed in seeds {
        for line in compare(seed, what) {
            if has("--json") {
                println!("{}", line.json(seed, what));
            } else {
                println!("{}", line.text(seed));
            }
        }
    }
}

/// What a new flow is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nanoseconds,
    Instructions,
}

impl What {
    const fn unit(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Instructions => "instructions",
        }
    }
}

/// What came of so many rules.
struct Line {
    rules: u32,
    load_ms: f64,
    blob_bytes: usize,
    memory_bytes: usize,
    last_rule: Cost,
    no_rule: Cost,
}

impl Line {
    fn json(&self, seed: Seed, what: What) -> String {
        let (last, none) = (self.last_rule, self.no_rule);
        format!(
            "{{\"seed\":\"{}\",\"rules\":{},\"load_ms\":{:.3},\"blob_bytes\":{},\
             \"memory_bytes\":{},\"unit\":\"{}\",\"last_rule\":{:.1},\"no_rule\":{:.1},\
             \"last_rule_times\":{:.4},\"no_rule_times\":{:.4}}}",
            name(seed),
            self.rules,
            self.load_ms,
            self.blob_bytes,
            self.memory_bytes,
            what.unit(),
            last.each,
            none.each,
            last.times,
            none.times
        )
    }

    fn text(&self, seed: Seed) -> String {
        let (last, none) = (self.last_rule, self.no_rule);
        format!(
            "{:<4}{:>10}{:>13.2}{:>9}{:>12}{:>16.0}{:>8.2}{:>10.0}{:>8.2}",
            name(seed),
            self.rules,
            self.load_ms,
            self.blob_bytes,
            self.memory_bytes,
            last.each,
            last.times,
            none.each,
            none.times
        )
    }
}

/// All numbers of rules, side by side.
fn compare(seed: Seed, what: What) -> Vec<Line> {
    let policies = SIZES.map(|count| site(seed, count));
    let costs = |meets| match what {
        What::Nanoseconds => {
            let contestant =
                |policy: &Policy| Contestant::new(policy, frames(policy, meets, WARM_UP + FLOWS));
            turns::take(policies.each_ref().map(contestant))
        }
        What::Instructions => {
            let each = SIZES.map(|count| {
                let both = [0, 4096].map(|frames| count_instructions(seed, count, meets, frames));
                (both[1] - both[0]) as f64 / 4096.0
            });
            let cost = |each_of: f64| Cost {
                each: each_of,
                times: each_of / each[0],
            };
            each.map(cost).to_vec()
        }
    };
    let (last_rule, no_rule) = (costs(Meets::LastRule), costs(Meets::NoRule));
    let sizes = SIZES.into_iter().zip(&policies);
    let lines = sizes.zip(last_rule.into_iter().zip(no_rule));
    lines
        .map(|((rules, policy), (last_rule, no_rule))| {
            let blob = blob::encode(policy).expect("it is a policy");
            let started = std::time::Instant::now();
            let loaded = firewall(blob::decode(&blob).expect("it is its own bytes"));
            Line {
                rules,
                load_ms: started.elapsed().as_secs_f64() * 1e3,
                blob_bytes: blob.len(),
                memory_bytes: loaded.rule_bytes(),
                last_rule,
                no_rule,
            }
        })
        .collect()
}
