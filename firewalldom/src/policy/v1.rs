//! The policy as version 1 wrote it, for images that are newer than their policy.
//!
//! Only what has another shape now is here.

use super::{
    Action, AddressRange, Chain, DestinationKind, DestinationNat, DestinationTarget, Disposition,
    Exception, Host, Interface, InterfaceId, InterfacePrefix, Limits, Log, LogLimit, Origin,
    Policy, Ports, Prefix, Protocol, Route, RouteFilter, Rule, Settings, SourceNat, SourceTarget,
    States, Zone, ZoneId,
};
use alloc::string::String;
use alloc::vec::Vec;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Policy1 {
    site: String,
    files: Vec<String>,
    settings: Settings1,
    interfaces: Vec<Interface1>,
    routes: Vec<Route>,
    zones: Vec<Zone>,
    hosts: Vec<Host1>,
    chains: Vec<Chain1>,
    pairs: Vec<u16>,
    destination_nat: Vec<DestinationNat1>,
    source_nat: Vec<SourceNat1>,
}

#[derive(Deserialize)]
struct Settings1 {
    log_format: String,
    log_limit: Option<LogLimit>,
    forwarding: bool,
    tcp_flags: Exception,
    smurfs: Exception,
    hairpin: Exception,
    related: Option<Exception>,
    invalid: Option<Exception>,
    untracked: Option<Exception>,
}

#[derive(Deserialize)]
struct Interface1 {
    name: String,
    addresses: Vec<InterfacePrefix>,
    mtu: Option<u16>,
    tcp_flags: bool,
    no_smurfs: bool,
    route_back: bool,
    dhcp: bool,
    log_martians: bool,
    origin: Origin,
}

#[derive(Deserialize)]
struct Host1 {
    zone: ZoneId,
    interface: InterfaceId,
    prefix: Prefix,
}

#[derive(Deserialize)]
struct Chain1 {
    name: String,
    rules: Vec<Rule1>,
    policy: Disposition,
    policy_log: Option<Log>,
    default_action: Vec<Rule1>,
    origin: Origin,
    policy_chain: Option<String>,
}

#[derive(Deserialize)]
struct Rule1 {
    states: States,
    matches: Match1,
    action: Action1,
    log: Option<Log>,
    origin: Origin,
}

/// Not [`Action`], whose later variants no policy of version 1 can hold.
#[derive(Deserialize)]
enum Action1 {
    Decide(Disposition),
    Continue,
    Policy,
}

#[derive(Deserialize)]
struct Match1 {
    source: Addresses1,
    destination: Addresses1,
    original_destination: Addresses1,
    original_port: Ports,
    ingress: Option<InterfaceId>,
    egress: Option<InterfaceId>,
    source_mac: Vec<[u8; 6]>,
    protocol: Protocol,
    source_port: Ports,
    destination_port: Ports,
    destination_kind: DestinationKind,
}

#[derive(Deserialize)]
struct Addresses1 {
    ranges: Vec<AddressRange>,
    except: Vec<AddressRange>,
}

#[derive(Deserialize)]
struct DestinationNat1 {
    source_zone: ZoneId,
    matches: Match1,
    target: DestinationTarget,
    log: Option<Log>,
    origin: Origin,
}

#[derive(Deserialize)]
struct SourceNat1 {
    egress: InterfaceId,
    matches: Match1,
    target: SourceTarget,
    origin: Origin,
}

impl From<Policy1> for Policy {
    fn from(old: Policy1) -> Self {
        Self {
            site: old.site,
            files: old.files,
            settings: old.settings.into(),
            interfaces: old.interfaces.into_iter().map(Into::into).collect(),
            routes: old.routes,
            zones: old.zones,
            hosts: old.hosts.into_iter().map(Into::into).collect(),
            chains: old.chains.into_iter().map(Into::into).collect(),
            pairs: old.pairs,
            destination_nat: old.destination_nat.into_iter().map(Into::into).collect(),
            source_nat: old.source_nat.into_iter().map(Into::into).collect(),
            rule_lists: Vec::new(),
            address_sets: Vec::new(),
            raw: Vec::new(),
            rates: Vec::new(),
            connection_limits: Vec::new(),
            times: Vec::new(),
            recent_lists: 0,
        }
    }
}

impl From<Settings1> for Settings {
    fn from(old: Settings1) -> Self {
        Self {
            log_format: old.log_format,
            log_limit: old.log_limit,
            forwarding: old.forwarding,
            tcp_flags: old.tcp_flags,
            smurfs: old.smurfs,
            hairpin: old.hairpin,
            related: old.related,
            invalid: old.invalid,
            untracked: old.untracked,
            rpfilter: Exception {
                disposition: Disposition::Drop,
                log: None,
            },
            clamp_mss: None,
            utc_offsets: Vec::new(),
        }
    }
}

impl From<Interface1> for Interface {
    fn from(old: Interface1) -> Self {
        Self {
            name: old.name,
            addresses: old.addresses,
            mtu: old.mtu,
            tcp_flags: old.tcp_flags,
            no_smurfs: old.no_smurfs,
            route_back: old.route_back,
            dhcp: old.dhcp,
            log_martians: old.log_martians,
            // Version 1 wrote the check as rules.
            route_filter: RouteFilter::Off,
            rpfilter: false,
            mss: None,
            origin: old.origin,
        }
    }
}

impl From<Host1> for Host {
    fn from(old: Host1) -> Self {
        Self {
            zone: old.zone,
            interface: old.interface,
            prefix: old.prefix,
            mss: None,
        }
    }
}

impl From<Chain1> for Chain {
    fn from(old: Chain1) -> Self {
        Self {
            name: old.name,
            blacklist: None,
            rules: old.rules.into_iter().map(Into::into).collect(),
            policy: old.policy,
            policy_log: old.policy_log,
            default_action: old.default_action.into_iter().map(Into::into).collect(),
            origin: old.origin,
            policy_chain: old.policy_chain,
        }
    }
}

impl From<Rule1> for Rule {
    fn from(old: Rule1) -> Self {
        Self {
            states: old.states,
            matches: old.matches.into(),
            limits: Limits::default(),
            action: match old.action {
                Action1::Decide(disposition) => Action::Decide(disposition),
                Action1::Continue => Action::Continue,
                Action1::Policy => Action::Policy,
            },
            log: old.log,
            origin: old.origin,
        }
    }
}

impl From<Match1> for super::Match {
    fn from(old: Match1) -> Self {
        Self {
            source: old.source.into(),
            destination: old.destination.into(),
            original_destination: old.original_destination.into(),
            original_port: old.original_port,
            ingress: old.ingress,
            egress: old.egress,
            source_mac: old.source_mac,
            protocol: old.protocol,
            source_port: old.source_port,
            destination_port: old.destination_port,
            destination_kind: old.destination_kind,
            tcp_flags: None,
        }
    }
}

impl From<Addresses1> for super::Addresses {
    fn from(old: Addresses1) -> Self {
        Self {
            ranges: old.ranges,
            except: old.except,
            sets: Vec::new(),
        }
    }
}

impl From<DestinationNat1> for DestinationNat {
    fn from(old: DestinationNat1) -> Self {
        Self {
            source_zone: old.source_zone,
            matches: old.matches.into(),
            limits: Limits::default(),
            target: old.target,
            log: old.log,
            origin: old.origin,
        }
    }
}

impl From<SourceNat1> for SourceNat {
    fn from(old: SourceNat1) -> Self {
        Self {
            egress: old.egress,
            matches: old.matches.into(),
            target: old.target,
            origin: old.origin,
        }
    }
}
