//! A policy ready for packets: every table built, nothing left to interpret.

use crate::gate::Hairpins;
use crate::mss::HostLimit;
use crate::nat;
use crate::neighbour::Station;
use crate::packet::Tuple;
use crate::path::Way;
use crate::policy::{
    Interface, InterfaceId, InterfaceSet, Policy, RouteFilter, States, Stored, ZoneId, blob,
};
use crate::raw;
use crate::route::{Route, Routes};
use crate::rule::{self, Chain, List, Origins};
use crate::zone::Zones;
use alloc::boxed::Box;
use alloc::vec::Vec;
use minios_rs::net::MacAddress;
use smoltcp::wire::EthernetAddress;

/// What the backend says of a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The vif's own MAC address.
    pub mac: [u8; 6],
    /// MTU in bytes, 68 or more; a smaller one in the policy wins.
    pub mtu: u16,
}

impl Link {
    /// What an interface has at a vif, which takes packets of `mtu` bytes unless interfaces(5) says otherwise.
    pub fn of(interface: &Interface, mac: [u8; 6], mtu: u16) -> Self {
        Self {
            mac,
            mtu: interface.mtu.unwrap_or(mtu),
        }
    }
}

/// Why a policy cannot run on these links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The policy wants another number of interfaces.
    #[error("the policy has {wanted} interfaces, the domain {found}: check vif= in its xl.cfg")]
    Links {
        /// Interfaces of the policy.
        wanted: usize,
        /// Links given.
        found: usize,
    },
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] blob::Error),
    /// A vif has a MAC address that no station may have.
    #[error("interface {0} has a multicast or zero MAC address")]
    Mac(u8),
}

/// An interface on a packet's way.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) mac: EthernetAddress,
    pub(crate) mtu: u16,
    /// What it is where no guest on a bridge takes less.
    pub(crate) mtu_max: u16,
    pub(crate) tcp_flags: bool,
    pub(crate) no_smurfs: bool,
    pub(crate) route_back: bool,
    pub(crate) also: InterfaceSet,
    pub(crate) dhcp: bool,
    pub(crate) route_filter: RouteFilter,
    pub(crate) rpfilter: bool,
    pub(crate) proxy_arp: bool,
    /// Guests hang off it: the toolstack says who is there, and ARP changes nothing.
    pub(crate) is_backend: bool,
}

impl Port {
    fn new(number: usize, interface: &Interface, link: &Link) -> Result<Self, ConfigError> {
        let Station { mac, mtu } = Self::station_of(number, interface, link)?;
        Ok(Self {
            mac,
            mtu,
            mtu_max: mtu,
            tcp_flags: interface.tcp_flags,
            no_smurfs: interface.no_smurfs,
            route_back: interface.route_back,
            also: interface.also,
            dhcp: interface.dhcp,
            route_filter: interface.route_filter,
            rpfilter: interface.rpfilter,
            proxy_arp: interface.proxy_arp,
            is_backend: interface.is_backend(),
        })
    }

    /// The station that the firewall is on a link.
    fn station_of(
        number: usize,
        interface: &Interface,
        link: &Link,
    ) -> Result<Station, ConfigError> {
        let mac = EthernetAddress(link.mac);
        if !MacAddress(link.mac).is_station() {
            return Err(ConfigError::Mac(number as u8));
        }
        let mtu = interface.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
        Ok(Station {
            mac,
            mtu: mtu.max(68),
        })
    }

    /// As its neighbours see it.
    pub(crate) const fn station(&self) -> Station {
        Station {
            mac: self.mac,
            mtu: self.mtu,
        }
    }
}

/// A policy and its links, compiled: every table built, but none that grows with the traffic.
#[derive(Clone)]
pub struct Site {
    pub(crate) policy: Policy,
    pub(crate) ports: Box<[Port]>,
    pub(crate) zones: Zones,
    pub(crate) routes: Routes,
    pub(crate) chains: Box<[Chain]>,
    pub(crate) lists: Box<[List]>,
    /// Numbers of those lists that are some chain's `blrules`.
    blacklists: Box<[u16]>,
    pub(crate) nat: nat::Rules,
    pub(crate) raw: Box<[raw::Rule]>,
    pub(crate) host_limits: Box<[HostLimit]>,
    pub(crate) origins: Origins,
    /// Whether some chain has very many rules.
    pub(crate) has_far_rules: bool,
    /// Whether any chain looks at packets of established flows that are forwarded.
    judges_established: bool,
    /// Whether any chain looks at those that leave by the interface that they came by.
    judges_established_hairpins: bool,
    /// Whether any chain looks at those to or from the firewall itself.
    judges_established_own: bool,
}

impl core::fmt::Debug for Site {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Site").field(&self.policy.site).finish()
    }
}

impl Site {
    /// An interface has another link now.
    pub(crate) fn set_link(
        &mut self,
        interface: InterfaceId,
        link: &Link,
    ) -> Result<Station, ConfigError> {
        let number = usize::from(interface.0);
        let station = Port::station_of(number, &self.policy.interfaces[number], link)?;
        self.ports[number].mac = station.mac;
        self.ports[number].mtu = station.mtu;
        self.ports[number].mtu_max = station.mtu;
        Ok(station)
    }

    /// Builds the tables of a policy for these links, one for each of its interfaces, in order.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(stored: Stored<'_>, links: &[Link]) -> Result<Self, ConfigError> {
        let mut policy = stored.policy;
        let wanted = policy.interfaces.len();
        if links.len() != wanted {
            return Err(ConfigError::Links {
                wanted,
                found: links.len(),
            });
        }
        let ports = policy.interfaces.iter().zip(links).enumerate();
        let ports = ports
            .map(|(number, (interface, link))| Port::new(number, interface, link))
            .collect::<Result<_, _>>()?;
        let mut origins = Origins::default();
        let named = rule::named_sets(&policy);
        let lists: Box<[List]> = policy
            .rule_lists
            .iter()
            .zip(stored.lists)
            .map(|(list, rules)| List::new(list.log_chain.clone(), rules, &named, &mut origins))
            .collect();
        let chains: Box<[Chain]> = policy
            .chains
            .iter()
            .zip(stored.chains)
            .map(|(chain, rules)| Chain::new(chain, rules, &lists, &named, &mut origins))
            .collect();
        let side = policy.zones.len() + 1;
        let firewall = usize::from(ZoneId::FIREWALL.0);
        let forwards = |at: usize| at / side != firewall && at % side != firewall;
        let (mut judges_established, mut judges_established_hairpins) = (false, false);
        for (at, &chain) in policy.pairs.iter().enumerate() {
            let chain: &Chain = &chains[usize::from(chain)];
            if forwards(at) {
                judges_established |= chain.looks_at_crossing(States::ESTABLISHED);
                judges_established_hairpins |= chain.looks_at(States::ESTABLISHED);
            }
        }
        let nat = nat::Rules::new(&policy, &named, &mut origins);
        let raw = raw::rules(&policy, &named, &mut origins);
        let (zones, routes) = (Zones::new(&policy), Routes::new(&policy));
        origins.finish();
        // All of it is in the tables now, and a long list of rules is most of a policy.
        policy.chains = Vec::new();
        // A list or two, whatever the number of chains.
        let mut blacklists = Vec::new();
        for list in chains.iter().filter_map(Chain::blacklist) {
            if !blacklists.contains(&list) {
                blacklists.push(list);
            }
        }
        policy.rule_lists = Vec::new();
        policy.address_sets = Vec::new();
        policy.destination_nat = Vec::new();
        policy.source_nat = Vec::new();
        policy.raw = Vec::new();
        Ok(Self {
            ports,
            zones,
            routes,
            nat,
            raw,
            host_limits: HostLimit::all(&policy),
            has_far_rules: chains.iter().any(Chain::has_far_rules),
            judges_established,
            judges_established_hairpins,
            judges_established_own: chains
                .iter()
                .any(|chain| chain.looks_at(States::ESTABLISHED)),
            chains,
            lists,
            blacklists: blacklists.into(),
            origins,
            policy,
        })
    }

    /// Whether rules leave established packets alone, so that these may take the shortest way.
    pub(crate) fn has_shortcut(&self) -> bool {
        self.policy.settings.forwarding && !self.judges_established && self.raw.is_empty()
    }

    /// Whether they do so, too, where such packets leave by the interface that they came by.
    pub(crate) const fn hairpins(&self) -> Hairpins {
        if self.judges_established_hairpins {
            Hairpins::Judged
        } else {
            Hairpins::Unjudged
        }
    }

    /// Whether rules have a say about an established packet on this way.
    pub(crate) fn judges_established(&self, way: &Way) -> bool {
        match (way.from, way.egress) {
            (Some(from), Some(egress)) => {
                self.judges_established || from == egress && self.judges_established_hairpins
            }
            _ => self.judges_established_own,
        }
    }

    /// A packet comes that the rules will be asked about: what nearly all are asked first, whether a long
    /// blacklist may name them, is read meanwhile. Such a list is not in the cache after others' packets.
    pub(crate) fn prefetch(&self, tuple: &Tuple) {
        for &list in &self.blacklists {
            self.lists[usize::from(list)].prefetch(tuple);
        }
    }

    /// Bytes of the rules' tables.
    pub(crate) fn rule_bytes(&self) -> usize {
        let chains: usize = self.chains.iter().map(Chain::bytes).sum();
        let lists: usize = self.lists.iter().map(List::bytes).sum();
        chains + lists + size_of_val(self.origins.list.as_slice())
    }

    /// The zone behind a side of a packet's way; `None`: the firewall itself.
    pub(crate) fn zone(&self, interface: Option<u8>, address: u32) -> ZoneId {
        interface.map_or(ZoneId::FIREWALL, |interface| {
            self.zones.of(interface, address)
        })
    }

    /// Name of an interface; empty for the firewall itself.
    pub(crate) fn name(&self, interface: Option<u8>) -> &str {
        interface.map_or("", |interface| {
            &self.policy.interfaces[usize::from(interface)].name
        })
    }

    /// Whether an address is one of the firewall's own.
    pub(crate) fn is_own(&self, address: u32) -> bool {
        self.routes.get(address) == Route::Local
    }

    /// An origin by its number.
    pub(crate) fn origin(&self, number: u32) -> crate::policy::Origin {
        self.origins.list[number as usize]
    }
}
