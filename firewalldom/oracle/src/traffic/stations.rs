//! Who there is: addresses behind each link and ports, those that the site's files mention first.

use crate::configuration::{Configuration, firewall_mac, neighbours};
use crate::packet::Packet;
use crate::protocol::Neighbour;
use fastrand::Rng;
use firewalldom::policy::Policy;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Hosts far away that no site mentions.
const FAR: [Ipv4Addr; 3] = [
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(203, 0, 113, 200),
    Ipv4Addr::new(8, 8, 4, 4),
];

/// Addresses that mean something else than a host.
const SPECIAL: [Ipv4Addr; 9] = [
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(239, 255, 255, 250),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::new(0, 0, 0, 1),
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(169, 254, 7, 7),
];

/// Ports that rules are likely to be about, whatever macros name them.
const PORTS: [u16; 24] = [
    20, 21, 22, 23, 25, 53, 67, 68, 69, 80, 110, 113, 123, 137, 139, 143, 161, 443, 445, 500, 993,
    1194, 3128, 8080,
];

/// Links, addresses, ports.
#[derive(Clone, Debug)]
pub struct Stations {
    /// By link: addresses that are reached through it.
    behind: Vec<Vec<Ipv4Addr>>,
    own: Vec<Ipv4Addr>,
    broadcasts: Vec<Ipv4Addr>,
    mentioned: Vec<Ipv4Addr>,
    ports: Vec<u16>,
    neighbours: BTreeSet<Neighbour>,
}

impl Stations {
    /// Those of a site.
    #[must_use]
    pub fn of(configuration: &Configuration, policy: &Policy) -> Self {
        let mut mentioned = BTreeSet::new();
        let mut ports: BTreeSet<u16> = PORTS.into();
        for text in configuration.files.values() {
            mentions(&String::from_utf8_lossy(text), &mut mentioned, &mut ports);
        }
        let prefixes = policy.interfaces.iter();
        let prefixes = prefixes.flat_map(|interface| &interface.addresses);
        let own: Vec<Ipv4Addr> = prefixes.clone().map(|prefix| prefix.address).collect();
        let broadcasts: Vec<_> = prefixes
            .clone()
            .filter_map(|prefix| prefix.broadcast)
            .collect();
        let mut hosts = mentioned.clone();
        hosts.extend(FAR);
        for prefix in prefixes {
            let size = 1u64 << (32 - prefix.length);
            let first = prefix.address.to_bits() & !((size - 1) as u32);
            for offset in [1, 2, 5, 6, 80, size.saturating_sub(2)] {
                if offset < size {
                    hosts.insert(Ipv4Addr::from_bits(first + offset as u32));
                }
            }
        }
        let is_host = |address: &Ipv4Addr| {
            !own.contains(address) && !broadcasts.contains(address) && !SPECIAL.contains(address)
        };
        hosts.retain(is_host);
        let mut behind = vec![Vec::new(); policy.interfaces.len()];
        for &host in &hosts {
            if let Some(link) = route(policy, host) {
                behind[link].push(host);
            }
        }
        let neighbours = neighbours(policy, hosts.iter().copied());
        Self {
            behind,
            own,
            broadcasts,
            mentioned: mentioned.into_iter().collect(),
            ports: ports.into_iter().collect(),
            neighbours,
        }
    }

    /// Whose hardware address must be known.
    #[must_use]
    pub fn neighbours(&self) -> &BTreeSet<Neighbour> {
        &self.neighbours
    }

    pub(super) fn link(&self, rng: &mut Rng) -> u8 {
        rng.usize(0..self.behind.len()) as u8
    }

    /// Mostly somebody behind `link`.
    pub(super) fn source(&self, rng: &mut Rng, link: u8) -> Ipv4Addr {
        match rng.u32(0..40) {
            0 => choose(rng, &SPECIAL),
            1 => self.choose_or_far(rng, &self.broadcasts),
            2 => self.choose_or_far(rng, &self.own),
            3 => self.anybody(rng),
            _ => self.choose_or_far(rng, &self.behind[usize::from(link)]),
        }
    }

    /// A host behind `link`, and nobody special.
    pub(super) fn host(&self, rng: &mut Rng, link: u8) -> Ipv4Addr {
        self.choose_or_far(rng, &self.behind[usize::from(link)])
    }

    /// Mostly somebody behind another link, or the firewall.
    pub(super) fn destination(&self, rng: &mut Rng, link: u8) -> Ipv4Addr {
        match rng.u32(0..40) {
            0 => choose(rng, &SPECIAL),
            1 => self.choose_or_far(rng, &self.broadcasts),
            2 => self.choose_or_far(rng, &self.behind[usize::from(link)]),
            3..=6 => self.choose_or_far(rng, &self.mentioned),
            7..=16 => self.choose_or_far(rng, &self.own),
            _ => self.anybody(rng),
        }
    }

    /// Somebody behind any link.
    pub(super) fn anybody(&self, rng: &mut Rng) -> Ipv4Addr {
        let link = rng.usize(0..self.behind.len());
        self.choose_or_far(rng, &self.behind[link])
    }

    fn choose_or_far(&self, rng: &mut Rng, from: &[Ipv4Addr]) -> Ipv4Addr {
        match from.is_empty() {
            true => choose(rng, &FAR),
            false => choose(rng, from),
        }
    }

    /// A port that a rule may be about, or one beside it.
    pub(super) fn port(&self, rng: &mut Rng) -> u16 {
        let port = choose(rng, &self.ports);
        match rng.u32(0..12) {
            0 => port.saturating_add(1),
            1 => port.saturating_sub(1),
            2 => rng.u16(..),
            3 => choose(rng, &PORTS),
            _ => port,
        }
    }

    /// A port that a client may use.
    pub(super) fn source_port(&self, rng: &mut Rng) -> u16 {
        match rng.u32(0..8) {
            0 => self.port(rng),
            1 => rng.u16(..),
            2 => rng.u16(512..1024),
            _ => rng.u16(1024..),
        }
    }

    /// A frame as a station on `link` sends it: from the source if it is there, else from the router
    /// that it came through.
    pub(super) fn frame(&self, link: u8, packet: &Packet) -> Vec<u8> {
        let address = packet.source;
        let own = Neighbour { link, address };
        let station = if self.neighbours.contains(&own) {
            own
        } else {
            let mut others = self.neighbours.iter();
            others
                .find(|neighbour| neighbour.link == link)
                .copied()
                .unwrap_or(own)
        };
        let destination = packet.destination;
        let to = match destination.octets() {
            [255, 255, 255, 255] => [0xff; 6],
            [224..=239, b, c, d] => [0x01, 0x00, 0x5e, b & 0x7f, c, d],
            _ if self.broadcasts.contains(&destination) => [0xff; 6],
            _ => firewall_mac(link.into()),
        };
        packet.frame(station.mac(), to)
    }

    /// The firewall's own addresses.
    pub(super) fn own(&self) -> &[Ipv4Addr] {
        &self.own
    }
}

fn choose<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

/// The link that leads to an address, longest prefix first.
fn route(policy: &Policy, address: Ipv4Addr) -> Option<usize> {
    let own = policy
        .interfaces
        .iter()
        .enumerate()
        .flat_map(|(link, interface)| {
            let prefixes = interface.addresses.iter();
            prefixes.map(move |prefix| (prefix.length, prefix.address, link))
        });
    let routes = policy.routes.iter().map(|route| {
        let prefix = route.destination;
        (
            prefix.length,
            prefix.address,
            usize::from(route.interface.0),
        )
    });
    let holds = |length: u8, network: Ipv4Addr| {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        (network.to_bits() ^ address.to_bits()) & mask == 0
    };
    own.chain(routes)
        .filter(|&(length, network, _)| holds(length, network))
        .max_by_key(|&(length, ..)| length)
        .map(|(.., link)| link)
}

/// Addresses and ports that a text mentions, and their neighbours.
fn mentions(text: &str, addresses: &mut BTreeSet<Ipv4Addr>, ports: &mut BTreeSet<u16>) {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        // Settings are full of numbers that are no ports.
        if line.contains('=') && !line.contains(char::is_whitespace) {
            continue;
        }
        let words = line.split(|c: char| !c.is_ascii_digit() && c != '.' && c != '/');
        for word in words {
            let (start, length) = word.split_once('/').unwrap_or((word, "32"));
            if let (Ok(address), Ok(length @ 0..=32)) =
                (start.parse::<Ipv4Addr>(), length.parse::<u32>())
            {
                let size = u32::MAX.checked_shr(length).unwrap_or(0);
                let first = address.to_bits() & !size;
                for edge in [first, first | size] {
                    let near = [edge.wrapping_sub(1), edge, edge.wrapping_add(1)];
                    addresses.extend(near.map(Ipv4Addr::from_bits));
                }
                addresses.insert(address);
                addresses.insert(Ipv4Addr::from_bits(first + size / 2));
            } else if let Ok(port @ 1..) = word.parse::<u16>() {
                ports.extend([port.saturating_sub(1), port, port.saturating_add(1)]);
            }
        }
    }
    addresses.retain(|address| !address.is_multicast() && !address.is_unspecified());
}
