//! The compiled policy: what the `shorewall` compiler writes and the engine reads.
//!
//! Plain serde types, in the order Shorewall itself evaluates them. The blob that `xl` passes as
//! `ramdisk=` is this, as postcard, behind a header with a version and a checksum (`blob`).
//! Lookup tables are built from it when it is loaded; nothing on a packet's way walks these types.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};

pub mod blob;
pub mod check;
mod limits;
mod nat;
pub mod place;
mod rule;
mod stored;

pub use limits::{
    Clock, ConnectionKey, ConnectionLimit, ConnectionUse, Limits, MAX_RECENT_HITS, Rate, RateKey,
    RateUse, RecentOperation, RecentUse, Seen, Side, TimeWindow, UtcOffset,
};
pub use nat::{DestinationNat, DestinationTarget, RawAction, RawRule, SourceNat, SourceTarget};
pub use rule::{
    Action, AddressRange, AddressSet, Addresses, Chain, DestinationKind, Disposition, IcmpType,
    Log, Match, Member, PortRange, Ports, Protocol, RejectWith, Rule, RuleList, SetMatch, States,
    TcpFlags,
};
pub(crate) use stored::ChainRules;
pub use stored::Stored;

/// Index into [`Policy::interfaces`], and the number of the vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InterfaceId(pub u8);

/// Index into [`Policy::zones`]; the firewall itself is [`ZoneId::FIREWALL`].
///
/// One past the last zone stands for "no zone": Shorewall sends such packets to the `all all` policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ZoneId(pub u16);

impl ZoneId {
    /// The firewall itself, Shorewall's `$FW`.
    pub const FIREWALL: Self = Self(0);
}

/// A whole site, ready for the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The name of the site, for the console.
    pub site: String,
    /// The files that [`Origin::file`] indexes, as the user would name them (`shorewall/rules`).
    pub files: Vec<String>,
    /// From shorewall.conf.
    pub settings: Settings,
    /// In the order of the vifs. At most [`check::MAX_INTERFACES`].
    pub interfaces: Vec<Interface>,
    /// Static routes besides those of the interfaces' own prefixes.
    pub routes: Vec<Route>,
    /// Addresses of others that ARP is answered for, in ascending order.
    pub proxied: Vec<Proxied>,
    /// `zones[0]` is the firewall.
    pub zones: Vec<Zone>,
    /// Which zone holds an address behind an interface: the first match decides.
    pub hosts: Vec<Host>,
    /// The zone pairs' rules.
    pub chains: Vec<Chain>,
    /// Row-major matrix of side `zones.len() + 1` (the last row and column: no zone), from source
    /// zone and destination zone to an index into [`Policy::chains`].
    pub pairs: Vec<u16>,
    /// DNAT and REDIRECT, in the order they are tried.
    pub destination_nat: Vec<DestinationNat>,
    /// SNAT and MASQUERADE, in the order they are tried.
    pub source_nat: Vec<SourceNat>,
    /// Rules that chains share, and that rules call.
    pub rule_lists: Vec<RuleList>,
    /// Named sets of addresses.
    pub address_sets: Vec<AddressSet>,
    /// NOTRACK, in the order they are tried.
    pub raw: Vec<RawRule>,
    /// What RATE allows.
    pub rates: Vec<Rate>,
    /// What CONNLIMIT allows.
    pub connection_limits: Vec<ConnectionLimit>,
    /// What TIME says.
    pub times: Vec<TimeWindow>,
    /// How many lists of sources seen lately there are.
    pub recent_lists: u16,
}

/// Where in the user's files something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Index into [`Policy::files`].
    pub file: u16,
    /// Line, from 1. 0: nowhere, a default of Shorewall's.
    pub line: u32,
}

/// Settings of shorewall.conf that the engine needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// LOGFORMAT, with Shorewall's two `%s` (chain, disposition), such as `Shorewall:%s:%s:`.
    pub log_format: String,
    /// LOGLIMIT: how many log lines a second and source address, and how many at once.
    pub log_limit: Option<LogLimit>,
    /// IP_FORWARDING.
    pub forwarding: bool,
    /// TCP_FLAGS_DISPOSITION.
    pub tcp_flags: Exception,
    /// SMURF_DISPOSITION (`DROP` only) and SMURF_LOG_LEVEL.
    pub smurfs: Exception,
    /// SFILTER_DISPOSITION: hairpin frames on an interface without routeback.
    pub hairpin: Exception,
    /// RELATED_DISPOSITION. `None`: CONTINUE.
    pub related: Option<Exception>,
    /// INVALID_DISPOSITION. `None`: CONTINUE, the NEW rules decide.
    pub invalid: Option<Exception>,
    /// UNTRACKED_DISPOSITION. `None`: CONTINUE.
    pub untracked: Option<Exception>,
    /// RPFILTER_DISPOSITION and RPFILTER_LOG_LEVEL, for interfaces with `rpfilter`.
    pub rpfilter: Exception,
    /// CLAMPMSS: of TCP connections that are forwarded.
    pub clamp_mss: Option<ClampMss>,
    /// How far the site's clock is from UTC, in the order of time; none: not at all.
    pub utc_offsets: Vec<UtcOffset>,
}

/// What CLAMPMSS lowers the maximum segment size of a TCP connection to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClampMss {
    /// What the smaller MTU of both ways leaves, in SYNs without the option as well.
    PathMtu,
    /// At most this many bytes, in SYNs that have the option.
    At(u16),
}

/// `routefilter`: whether a packet's source must be reachable (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteFilter {
    /// Not looked at.
    #[default]
    Off,
    /// By the interface that the packet came in by.
    Strict,
    /// By any interface.
    Loose,
}

/// What becomes of packets that a check outside the rules caught. Without more: DROP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// ACCEPT, DROP or REJECT.
    pub disposition: Disposition,
    /// Logged, if the user wants.
    pub log: Option<Log>,
}

/// A token bucket for log lines, one per source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimit {
    /// Lines in `period_ms`.
    pub rate: u32,
    /// Milliseconds for `rate` lines.
    pub period_ms: u32,
    /// Lines at once.
    pub burst: u32,
    /// A bucket per source address (`s:`), not one for all.
    pub per_source: bool,
}

/// One of the firewall's interfaces: a vif.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0`, as in the user's files.
    pub name: String,
    /// Addresses with their prefix lengths; the first is the primary one.
    pub addresses: Vec<InterfacePrefix>,
    /// MTU of interfaces(5); `None`: what the backend says, or 1500.
    pub mtu: Option<u16>,
    /// `tcpflags`: check for impossible combinations of TCP flags.
    pub tcp_flags: bool,
    /// `nosmurfs`: broadcast or multicast sources are dropped.
    pub no_smurfs: bool,
    /// `routeback`: packets may leave where they came in.
    pub route_back: bool,
    /// Other interfaces that packets may not leave by: the line says `tun+`, and to Shorewall all that are
    /// called so are where they came in. None with `routeback`.
    pub also: InterfaceSet,
    /// `dhcp`: UDP 67:68 to and from the firewall is accepted.
    pub dhcp: bool,
    /// `logmartians` is set.
    pub log_martians: bool,
    /// `routefilter`: as Linux' `rp_filter`, before any rule.
    pub route_filter: RouteFilter,
    /// `rpfilter`: the strict check by netfilter, with [`Settings::rpfilter`].
    pub rpfilter: bool,
    /// `proxyarp`: ARP is answered for whatever is reached by another interface, as Linux' `proxy_arp`
    /// does (RFC 1027).
    pub proxy_arp: bool,
    /// `mss=`: most bytes of a segment, in SYNs that come in or go out here.
    pub mss: Option<u16>,
    /// `bridge_ports none` of interfaces(5): a bridge of this domain's, of which guests' vifs are ports.
    pub bridge: bool,
    /// Where it was declared in `shorewall/interfaces`.
    pub origin: Origin,
}

impl Interface {
    /// Whether this domain is the backend there, that of guests. Any number of vifs may be there, or none;
    /// of all others there is one each.
    pub fn has_guests(&self) -> bool {
        self.bridge || self.is_backend()
    }

    /// Whether guests' vifs are this interface, each by itself, and not ports of a bridge that is.
    pub fn is_backend(&self) -> bool {
        Self::is_backends_name(&self.name)
    }

    /// Whether guests' vifs are an interface of this name: whatever is called `vif`, as in every domain that is
    /// a backend.
    pub fn is_backends_name(name: &str) -> bool {
        name.starts_with("vif")
    }

    /// Whether a vif of this name (`vif5.0`, or what `vifname=` says) is behind this interface.
    pub fn fits(&self, vif: &str) -> bool {
        self.is_backend() && is_called(vif, &self.name)
    }
}

/// Some of a policy's interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSet([u64; 2]);

const _: () = assert!(check::MAX_INTERFACES <= 128);

impl InterfaceSet {
    /// None of them.
    pub const NONE: Self = Self([0; 2]);

    /// Adds one.
    pub const fn insert(&mut self, interface: InterfaceId) {
        self.0[interface.0 as usize / 64 % 2] |= 1 << (interface.0 % 64);
    }

    /// Whether it is one of them.
    #[inline(always)]
    pub const fn contains(self, interface: InterfaceId) -> bool {
        self.0[interface.0 as usize / 64 % 2] >> (interface.0 % 64) & 1 != 0
    }

    /// Whether none is.
    pub const fn is_empty(self) -> bool {
        self.0[0] | self.0[1] == 0
    }
}

/// Whether an interface's name is one of those that are meant: with a `+`, all that begin so.
pub fn is_called(name: &str, meant: &str) -> bool {
    match meant.strip_suffix('+') {
        Some(stem) => name.starts_with(stem),
        None => name == meant,
    }
}

/// An address of the firewall and the prefix it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePrefix {
    /// The firewall's own address.
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub length: u8,
    /// Directed broadcast address, unless the prefix is too long to have one.
    pub broadcast: Option<Ipv4Addr>,
}

/// An IPv4 prefix; bits beyond `length` are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// First address.
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub length: u8,
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// 0.0.0.0/0 for the default route.
    pub destination: Prefix,
    /// Next hop. `None`: on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// The interface it leaves by.
    pub interface: InterfaceId,
    /// Lower wins among routes of equal prefix.
    pub metric: u32,
}

/// An address for which ARP is answered on an interface, as long as it is reached by another one: a line
/// of the file `proxyarp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Proxied {
    /// The address of another host.
    pub address: Ipv4Addr,
    /// Where it is asked for.
    pub interface: InterfaceId,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// `net`, `loc`, `fw`.
    pub name: String,
    /// Zones that this one is nested in.
    pub parents: Vec<ZoneId>,
    /// Where it was declared.
    pub origin: Origin,
}

/// Addresses behind an interface that belong to a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The zone.
    pub zone: ZoneId,
    /// The interface.
    pub interface: InterfaceId,
    /// The prefix, 0.0.0.0/0 for all of the interface.
    pub prefix: Prefix,
    /// `mss=`: most bytes of a segment, in SYNs from or to these addresses.
    pub mss: Option<u16>,
}
