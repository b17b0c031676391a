//! What each side may choose for itself: NAT's port when the kept one is taken, and an address out of
//! a range. A choice is learned when a flow first shows it, and holds from then on.

use crate::packet::{ETHERNET, SCTP, SCTP_CHECKSUM, View, checksum, crc32c};
use crate::protocol::Neighbour;
use firewalldom::policy::{DestinationTarget, Policy, SourceTarget};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One end of a flow: address, and port or ICMP identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    protocol: u8,
    address: Ipv4Addr,
    port: u16,
}

/// Ends that Linux chose, and what the engine chose in their place.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    /// Ports of one range stand for each other: RFC 4787's classes, and those that rules name.
    ports: Vec<(u16, u16)>,
    addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// By what Linux chose, and the end that it speaks to.
    learned: BTreeMap<(End, End), End>,
}

/// Below 512, below 1024 and above: a port is exchanged for one of its own class.
const CLASSES: [(u16, u16); 3] = [(0, 511), (512, 1023), (1024, 65535)];

impl Choices {
    /// Those that a policy leaves open.
    #[must_use]
    pub(crate) fn of(policy: &Policy) -> Self {
        let mut choices = Self {
            ports: CLASSES.to_vec(),
            addresses: Vec::new(),
            learned: BTreeMap::new(),
        };
        for rule in &policy.source_nat {
            let (addresses, ports) = match &rule.target {
                SourceTarget::Address { addresses, ports } => (Some(addresses), ports),
                SourceTarget::Masquerade { ports } => (None, ports),
                SourceTarget::Exempt => continue,
            };
            choices
                .addresses
                .extend(addresses.map(|range| (range.first, range.last)));
            choices
                .ports
                .extend(ports.map(|range| (range.first, range.last)));
        }
        for rule in &policy.destination_nat {
            if let DestinationTarget::Server { addresses, ports } = &rule.target {
                choices.addresses.push((addresses.first, addresses.last));
                choices
                    .ports
                    .extend(ports.map(|range| (range.first, range.last)));
            }
        }
        choices
    }

    /// Whether two frames that came out are the same but for what each side chose. `sent` is what went
    /// in on each side.
    pub(crate) fn explain(
        &mut self,
        linux: &[u8],
        engine: &[u8],
        sent: [Option<&Vec<u8>>; 2],
    ) -> bool {
        if self.same(linux, engine) {
            return true;
        }
        let [Some(linux_sent), Some(engine_sent)] = sent else {
            return false;
        };
        let views =
            [linux, engine, linux_sent.as_slice(), engine_sent.as_slice()].map(View::of_frame);
        let [
            Some(theirs),
            Some(ours),
            Some(linux_sent),
            Some(engine_sent),
        ] = views
        else {
            return false;
        };
        let views = [theirs, ours, linux_sent, engine_sent];
        let mut learned = false;
        for side in [Side::Source, Side::Destination] {
            let ends = views.map(|view| end(&view, side));
            if let [Some(theirs), Some(ours), Some(linux_sent), Some(engine_sent)] = ends
                && theirs != ours
                && self.may_choose(theirs, ours)
                // An answer to what was chosen before, of no flow; else what was kept was no choice.
                && ((theirs, ours) == (linux_sent, engine_sent)
                    || side == Side::Source && self.went_to_one_of_many(&views)
                    || self.differs_where_chosen(theirs, ours, linux_sent)
                        && self.differs_where_chosen(ours, theirs, engine_sent))
                && let Some(other) = end(&views[0], side.other())
                && !self.learned.contains_key(&(theirs, other))
            {
                self.learned.insert((theirs, other), ours);
                learned = true;
            }
        }
        learned && self.same(linux, engine)
    }

    fn may_choose(&self, theirs: End, ours: End) -> bool {
        let ports = theirs.port == ours.port
            || self
                .ports
                .iter()
                .filter(|(first, last)| (first..=last).contains(&&theirs.port))
                .all(|(first, last)| (first..=last).contains(&&ours.port));
        let addresses = theirs.address == ours.address
            || self.addresses.iter().any(|(first, last)| {
                let range = first..=last;
                range.contains(&&theirs.address) && range.contains(&&ours.address)
            });
        theirs.protocol == ours.protocol && ports && addresses
    }

    /// Whether each side handed a packet to an address of its choice: to the one's, another flow may
    /// have taken the port. That may be where both chose alike: for the other flow they need not have.
    fn went_to_one_of_many(&self, [theirs, ours, sent, _]: &[View<'_>; 4]) -> bool {
        let [theirs, ours] = [theirs, ours].map(View::destination);
        let many = |(first, last): &&(Ipv4Addr, Ipv4Addr)| first < last;
        let mut ranges = self.addresses.iter().filter(many);
        ours != sent.destination()
            && ranges.any(|(first, last)| {
                let range = first..=last;
                range.contains(&&theirs) && range.contains(&&ours)
            })
    }

    /// Whether `chosen` differs from what was sent wherever it differs from what the other side chose. An
    /// address that was sent to one of a range may be chosen out of it.
    fn differs_where_chosen(&self, chosen: End, other: End, sent: End) -> bool {
        let mut ranges = self.addresses.iter();
        let is_one_of =
            |(first, last): &(Ipv4Addr, Ipv4Addr)| (first..=last).contains(&&sent.address);
        (chosen.port == other.port || chosen.port != sent.port)
            && (chosen.address == other.address
                || chosen.address != sent.address
                || ranges.any(is_one_of))
    }

    /// Whether they are the same once Linux's choices are exchanged for the engine's.
    fn same(&self, linux: &[u8], engine: &[u8]) -> bool {
        let (mut theirs, mut ours) = (linux.to_vec(), engine.to_vec());
        let mut changed = false;
        self.exchange(&mut theirs, ETHERNET, &mut changed);
        if !changed {
            return false;
        }
        follow_checksum(&mut theirs, linux);
        clear_checksums(&mut theirs, linux);
        clear_checksums(&mut ours, engine);
        theirs == ours
    }

    /// Exchanges the ends of the packet at `at`, and of one that it quotes.
    fn exchange(&self, frame: &mut [u8], at: usize, changed: &mut bool) {
        let copy = frame.to_vec();
        let Some(view) = View::of_packet(&copy[at..]) else {
            return;
        };
        let payload = at + view.bytes.len() - view.payload().len();
        for side in [Side::Source, Side::Destination] {
            let ends = end(&view, side).zip(end(&view, side.other()));
            let ours = ends.and_then(|ends| self.learned.get(&ends));
            if let (Some(ours), Some(place)) = (ours, place(&view, side)) {
                // Handed to another station: its hardware address follows.
                let station = mac(view.destination());
                if side == Side::Destination && frame[..6] == station {
                    frame[..6].copy_from_slice(&mac(ours.address));
                }
                let address = at + side.address();
                frame[address..address + 4].copy_from_slice(&ours.address.octets());
                let port = payload + place;
                frame[port..port + 2].copy_from_slice(&ours.port.to_be_bytes());
                *changed = true;
            }
        }
        if let Some(quoted) = view.quoted() {
            self.exchange(frame, payload + 8, changed);
            // An error about what the chosen one sent goes to that one.
            let to = quoted.source();
            if view.destination() == to {
                let sender = payload + 8 + Side::Source.address();
                let sender: [u8; 4] = [0, 1, 2, 3].map(|byte| frame[sender + byte]);
                let address = at + Side::Destination.address();
                frame[address..address + 4].copy_from_slice(&sender);
                if frame[..6] == mac(to) {
                    frame[..6].copy_from_slice(&mac(sender.into()));
                }
            }
        }
        if view.fragment() & 0x1fff != 0 {
            self.exchange_addresses(&view, frame, at, changed);
        }
    }

    /// Exchanges the addresses of a later fragment, in which there are no ports.
    fn exchange_addresses(&self, view: &View<'_>, frame: &mut [u8], at: usize, changed: &mut bool) {
        let ends = [view.source(), view.destination()];
        for (side, [own, other]) in [
            (Side::Source, ends),
            (Side::Destination, [ends[1], ends[0]]),
        ] {
            let mut learned = self.learned.iter();
            let chosen = learned.find(|((theirs, theirs_other), _)| {
                theirs.protocol == view.protocol()
                    && theirs.address == own
                    && theirs_other.address == other
            });
            let Some((_, ours)) = chosen.filter(|(_, ours)| ours.address != own) else {
                continue;
            };
            if side == Side::Destination && frame[..6] == mac(own) {
                frame[..6].copy_from_slice(&mac(ours.address));
            }
            let address = at + side.address();
            frame[address..address + 4].copy_from_slice(&ours.address.octets());
            *changed = true;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    /// Where its address is in the IPv4 header.
    fn address(self) -> usize {
        match self {
            Self::Source => 12,
            Self::Destination => 16,
        }
    }
}

fn mac(address: Ipv4Addr) -> [u8; 6] {
    Neighbour { link: 0, address }.mac()
}

/// Where in the payload the port is, or the identifier that stands for one at both ends.
fn place(view: &View<'_>, side: Side) -> Option<usize> {
    let payload = view.payload();
    match (view.protocol(), side) {
        (1, _) if payload.len() >= 6 && view.fragment() & 0x1fff == 0 => match (payload[0], side) {
            (8 | 13 | 17 | 0 | 14 | 18, _) => Some(4),
            _ => None,
        },
        (_, Side::Source) => view.ports().map(|_| 0),
        (_, Side::Destination) => view.ports().map(|_| 2),
    }
}

fn end(view: &View<'_>, side: Side) -> Option<End> {
    let at = place(view, side)?;
    let payload = view.payload();
    Some(End {
        protocol: view.protocol(),
        address: match side {
            Side::Source => view.source(),
            Side::Destination => view.destination(),
        },
        port: u16::from_be_bytes([payload[at], payload[at + 1]]),
    })
}

/// Clears the checksums that ports and addresses go into, and what identifies an error; of the transport, only where it is right in
/// the frame as it came out.
fn clear_checksums(frame: &mut [u8], original: &[u8]) {
    let Some(view) = View::of_frame(original) else {
        return;
    };
    let payload = ETHERNET + view.bytes.len() - view.payload().len();
    frame[ETHERNET + 10..ETHERNET + 12].fill(0);
    if view.protocol() == SCTP && sctp_is_right(view.payload()) {
        let sum = payload + SCTP_CHECKSUM;
        frame[sum..sum + 4].fill(0);
    }
    let Some(at) = checksum_place(view.protocol()) else {
        return;
    };
    if transport_is_right(&view) && view.payload().len() >= at + 2 {
        frame[payload + at..payload + at + 2].fill(0);
    }
    if let Some(quoted) = view.quoted() {
        // An error of the firewall's own making has an identification of its own.
        frame[ETHERNET + 4..ETHERNET + 6].fill(0);
        let quote = payload + 8;
        frame[quote + 10..quote + 12].fill(0);
        let transport = quote + quoted.bytes.len() - quoted.payload().len();
        let at = match quoted.protocol() {
            6 => 16,
            17 => 6,
            _ => 2,
        };
        if let Some(sum) = frame.get_mut(transport + at..transport + at + 2) {
            sum.fill(0);
        }
    }
}

/// Where the transport's checksum is in its header.
const fn checksum_place(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(16),
        17 => Some(6),
        1 => Some(2),
        _ => None,
    }
}

/// The transport's checksum in a first fragment cannot be checked without the others: it is brought in
/// line with what was exchanged (RFC 1624).
fn follow_checksum(frame: &mut [u8], original: &[u8]) {
    const MORE: u16 = 0x2000;
    let view = View::of_frame(original).filter(|view| view.fragment() & 0x3fff == MORE);
    let Some((view, place)) = view.and_then(|view| Some((view, checksum_place(view.protocol())?)))
    else {
        return;
    };
    let payload = ETHERNET + view.bytes.len() - view.payload().len();
    let word = |frame: &[u8], at: usize| {
        let bytes = frame.get(at..at + 2).unwrap_or(&[0, 0]);
        u32::from(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let at = payload + place;
    let said = word(original, at);
    if at + 2 > frame.len() || view.protocol() == 17 && said == 0 {
        return;
    }
    let covered: &[usize] = match view.protocol() {
        1 => &[payload + 4],
        _ => &[26, 28, 30, 32, payload, payload + 2],
    };
    let moved = covered
        .iter()
        .map(|&at| (0xffff - word(original, at)) + word(frame, at));
    let mut sum = 0xffff - said + moved.sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let sum = match 0xffff - sum as u16 {
        0 if view.protocol() == 17 => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn sctp_is_right(payload: &[u8]) -> bool {
    let mut bytes = payload.to_vec();
    let Some(sum) = bytes.get_mut(SCTP_CHECKSUM..SCTP_CHECKSUM + 4) else {
        return false;
    };
    let said: Vec<u8> = sum.to_vec();
    sum.fill(0);
    said == crc32c(&bytes).to_le_bytes()
}

fn transport_is_right(view: &View<'_>) -> bool {
    let payload = view.payload();
    if view.protocol() == 1 {
        return checksum(&[payload]) == 0;
    }
    let length = (payload.len() as u16).to_be_bytes();
    let pseudo = [
        &view.source().octets()[..],
        &view.destination().octets(),
        &[0, view.protocol()],
        &length,
    ]
    .concat();
    checksum(&[&pseudo, payload]) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Packet, Ports, Transport};

    /// A datagram from a host, or from the firewall's port `source`, to a server.
    fn frame(from: [u8; 4], source: u16, to: [u8; 4]) -> Vec<u8> {
        let ports = Ports {
            source,
            destination: 9,
        };
        let datagram = Transport::Udp(ports, b"what".to_vec());
        Packet::new(from.into(), to.into(), datagram).frame([2; 6], [4; 6])
    }

    const HOST: [u8; 4] = [10, 0, 3, 9];
    const OUTSIDE: [u8; 4] = [192, 0, 2, 9];
    const ASKED: [u8; 4] = [192, 0, 2, 200];
    const SERVERS: [[u8; 4]; 2] = [[192, 0, 2, 4], [192, 0, 2, 7]];

    /// Whether another source port is explained where both chose the second server of `servers`.
    fn another_port_is_explained(servers: [[u8; 4]; 2]) -> bool {
        let mut choices = Choices {
            ports: CLASSES.to_vec(),
            addresses: vec![(servers[0].into(), servers[1].into())],
            learned: BTreeMap::new(),
        };
        let sent = frame(HOST, 4579, ASKED);
        let kept = frame(OUTSIDE, 4579, servers[1]);
        let other = frame(OUTSIDE, 4066, servers[1]);
        choices.explain(&kept, &other, [Some(&sent), Some(&sent)])
    }

    #[test]
    fn to_one_of_many_servers_a_port_may_be_taken_on_one_side_alone() {
        assert!(another_port_is_explained(SERVERS));
        assert!(!another_port_is_explained([SERVERS[1]; 2]));
    }
}
