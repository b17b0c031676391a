//! Every difference that was found once, as the smallest site and steps that showed it: Linux still
//! does what is written here, and firewalldom does the same.

use libtest_mimic::Failed;
use oracle::campaign::{Finding, judge};
use oracle::class::shapes;
use oracle::configuration::{Configuration, firewall_mac, neighbours};
use oracle::linux::Host;
use oracle::packet::flag::SYN;
use oracle::packet::{ETHERNET, Packet, Ports, Segment, Transport, View};
use oracle::protocol::Neighbour;
use oracle::step::{Answer, Step};
use oracle::trial::{Comparison, Haste, Started, Trial};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

mod cases;

pub(crate) use cases::{REFUSALS, WANTED_CASES, cases};

/// A difference that was.
pub(crate) struct Case {
    /// What Linux does.
    pub(crate) name: &'static str,
    /// Files, and what is in them instead of [`super::SITE`]'s; a first `+` adds to those.
    files: &'static [(&'static str, &'static str)],
    steps: fn() -> Vec<Step>,
    /// What comes out of Linux after each step.
    linux: &'static [&'static str],
}

/// A site that Shorewall refuses.
pub(crate) struct Refusal {
    pub(crate) name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// What Shorewall says of it.
    words: &'static str,
    ours: Ours,
}

/// What our compiler does with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ours {
    Refuses,
    /// It means the same whatever Shorewall thinks of its spelling.
    Takes,
}

const NET: u8 = 0;
const LOC: u8 = 1;
/// The firewall towards the Internet and towards its own.
const OUTSIDE: &str = "192.0.2.2";
const INSIDE: &str = "10.0.3.1";
const HOST: &str = "10.0.3.9";
const FAR: &str = "198.51.100.7";

const SIX: &str = "translates, forwards, forwards, forwards, forwards, forwards";

const ONE_LINK: &str = "\
auto eth0
iface eth0 inet static
    address 192.0.2.2/24
    gateway 192.0.2.1
";

/// INIT with a tag, a window, streams and a first number (RFC 9260, 3.3.2).
const INIT: [u8; 20] = [1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];

const ALL_SIX: &str = "translates, translates, translates, translates, translates, translates";

/// A case comes out the same on both sides.
pub(crate) fn stays_mended(host: &Host, case: &Case) -> Result<(), Failed> {
    match run(host, case)? {
        (Finding::None, _) => Ok(()),
        (found, run) => Err(format!("{found:?}: {:?}", run.differences).into()),
    }
}

/// A case differs as is meant, and no more.
pub(crate) fn stays_wanted(host: &Host, name: &'static str, case: &Case) -> Result<(), Failed> {
    match run(host, case)? {
        (Finding::Explained(names), _) if names == [name] => Ok(()),
        (found, run) => Err(format!("{found:?}: {:?}", run.differences).into()),
    }
}

/// Shorewall refuses it in these words, and ours does what is written.
pub(crate) fn is_refused(host: &Host, refusal: &Refusal) -> Result<(), Failed> {
    let configuration = site(refusal.files);
    let ours = match configuration.compile() {
        Ok(_) => Ours::Takes,
        Err(_) => Ours::Refuses,
    };
    if ours != refusal.ours {
        return Err("our compiler has changed its mind".into());
    }
    let policy = site(&[]).compile()?.policy;
    match Trial::start(host, &configuration, policy, &BTreeSet::new())? {
        Started::OnlyShorewallRefuses(words) if words.contains(refusal.words) => Ok(()),
        Started::OnlyShorewallRefuses(words) => Err(words.into()),
        Started::Running(_) => Err("Shorewall takes it".into()),
    }
}

/// Runs a case on both sides.
fn run(host: &Host, case: &Case) -> Result<(Finding, Comparison), Failed> {
    let configuration = site(case.files);
    let steps = (case.steps)();
    let policy = configuration.compile()?.policy;
    let mentioned = steps.iter().filter_map(|step| match step {
        Step::Send { bytes, .. } => View::of_frame(bytes),
        _ => None,
    });
    let mentioned: Vec<_> = mentioned
        .flat_map(|view| [view.source(), view.destination()])
        .collect();
    let stations = neighbours(&policy, mentioned);
    let mut trial = match Trial::start(host, &configuration, policy, &stations)? {
        Started::Running(trial) => trial,
        Started::OnlyShorewallRefuses(words) => return Err(words.into()),
    };
    let came = |run: &Comparison| -> Vec<String> {
        (run.frames.iter().zip(&run.linux))
            .map(|(frame, outputs)| shapes(frame.as_deref().unwrap_or_default(), outputs))
            .collect()
    };
    let mut run = trial.compare(&steps, Haste::Patient)?;
    if came(&run) != case.linux {
        run = trial.compare(&steps, Haste::MorePatient)?;
    }
    let came = came(&run);
    if came != case.linux {
        return Err(format!("Linux: {came:?}, not {:?}", case.linux).into());
    }
    Ok((judge(&run), run))
}

fn site(files: &[(&str, &str)]) -> Configuration {
    let mut configuration = super::site();
    for (name, text) in files {
        let path = match name.strip_prefix("../") {
            Some(path) => path.to_owned(),
            None => format!("shorewall/{name}"),
        };
        let text = match text.strip_prefix('+') {
            Some(more) => with_settings(&configuration.text(&path), more),
            None => (*text).to_owned(),
        };
        configuration.files.insert(path, text.into_bytes());
    }
    configuration
}

/// Settings, the last of which says it.
fn with_settings(text: &str, more: &str) -> String {
    let name = more.split('=').next().unwrap_or_default();
    let others = text.lines().filter(|line| !line.starts_with(name));
    let others: String = others.map(|line| format!("{line}\n")).collect();
    others + more
}

fn at(address: &str) -> Ipv4Addr {
    address.parse().expect("an address")
}

/// From where the packet says it is from, whoever passed it on.
fn send(link: u8, packet: &Packet) -> Step {
    let address = packet.source;
    let station = Neighbour { link, address }.mac();
    let bytes = packet.frame(station, firewall_mac(link.into()));
    Step::Send { link, bytes }
}

fn plain(flags: u8, sequence: u32, acknowledgement: u32, window: u16) -> Segment {
    Segment {
        sequence,
        acknowledgement,
        flags,
        window,
        options: vec![],
        payload: vec![],
    }
}

/// Where is that address? Asked of the firewall alone: Linux is slow to answer for others what is asked of
/// all.
fn arp(link: u8, from: &str, to: &str) -> Step {
    let address = at(from);
    let station = Neighbour { link, address }.mac();
    let mut bytes = firewall_mac(link.into()).to_vec();
    bytes.extend(station);
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(station);
    bytes.extend(address.octets());
    bytes.extend([0; 6]);
    bytes.extend(at(to).octets());
    Step::Send { link, bytes }
}

fn ports(source: u16, destination: u16) -> Ports {
    Ports {
        source,
        destination,
    }
}

/// A segment of no connection, unless it opens one.
fn tcp(link: u8, from: &str, to: &str, flags: u8) -> Step {
    let segment = plain(flags, 695_353_126, 2_378_310_536, 8_192);
    let transport = Transport::Tcp(ports(48_449, 35_616), segment);
    send(link, &Packet::new(at(from), at(to), transport))
}

/// A segment that announces 1,460 bytes.
fn with_size(link: u8, from: &str, to: &str, flags: u8) -> Step {
    let mut segment = plain(flags, 9, 0, 8_192);
    segment.options = vec![2, 4, 5, 180];
    let transport = Transport::Tcp(ports(4_001, 80), segment);
    send(link, &Packet::new(at(from), at(to), transport))
}

/// A segment of the connection from [`HOST`] to [`FAR`].
fn segment(link: u8, flags: u8, sequence: u32, acknowledgement: u32, window: u16) -> Step {
    let segment = plain(flags, sequence, acknowledgement, window);
    let transport = Transport::Tcp(ports(4_000, 8_000), segment);
    send(link, &Packet::new(at(HOST), at(FAR), transport))
}

fn answer(to: usize, flags: u8, sequence: u32, acknowledgement: u32, window: u16) -> Step {
    let with = Answer::Tcp(plain(flags, sequence, acknowledgement, window));
    Step::Answer { to, with }
}

fn reply(to: usize) -> Step {
    let with = Answer::Udp(b"yes".to_vec());
    Step::Answer { to, with }
}

fn udp_packet(from: &str, to: &str, source: u16, destination: u16, length: usize) -> Packet {
    let transport = Transport::Udp(ports(source, destination), vec![b'u'; length]);
    Packet::new(at(from), at(to), transport)
}

fn udp(link: u8, from: &str, to: &str, port: u16) -> Step {
    send(link, &udp_packet(from, to, 31_505, port, 0))
}

fn icmp(link: u8, from: &str, to: &str, kind: u8, code: u8) -> Step {
    let transport = Transport::Icmp(kind, code, [9, 9, 0, 1], vec![7; 12]);
    send(link, &Packet::new(at(from), at(to), transport))
}

fn sctp(link: u8, from: &str, to: &str, tag: u32, chunks: &[u8]) -> Step {
    let transport = Transport::Sctp(ports(4_000, 5_000), tag, chunks.to_vec());
    send(link, &Packet::new(at(from), at(to), transport))
}

/// Of this version, and nothing more.
fn gre(link: u8, from: &str, to: &str, version: u8) -> Step {
    let transport = Transport::Other(47, vec![0, version, 8, 0, 0x45, 0, 0, 20]);
    send(link, &Packet::new(at(from), at(to), transport))
}

/// The same as it came out, back to where it came from.
fn mirror(to: usize) -> Step {
    Step::Answer {
        to,
        with: Answer::Mirror,
    }
}

fn other(link: u8, from: &str, to: &str, protocol: u8) -> Step {
    let transport = Transport::Other(protocol, (0..40).collect());
    send(link, &Packet::new(at(from), at(to), transport))
}

/// A datagram in so many pieces.
fn fragments(link: u8, from: &str, to: &str, count: usize) -> Vec<Step> {
    const PIECE: usize = 400;
    let mut whole = udp_packet(from, to, 31_505, 9, count * PIECE - 8);
    whole.fragment = 0;
    let frame = whole.frame([2; 6], [2; 6]);
    let payload = &frame[ETHERNET + 20..];
    let pieces = payload.chunks(PIECE).enumerate();
    pieces
        .map(|(number, piece)| {
            let mut packet = Packet::new(at(from), at(to), Transport::Other(17, piece.to_vec()));
            let more = if number + 1 < count { 0x2000 } else { 0 };
            packet.fragment = more | (number * PIECE / 8) as u16;
            send(link, &packet)
        })
        .collect()
}
