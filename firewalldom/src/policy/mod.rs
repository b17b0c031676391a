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
pub mod place;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Where in the user's files something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Index into [`Policy::files`].
    pub file: u16,
    /// Line, from 1. 0: nowhere, a default of Shorewall's.
    pub line: u32,
}

/// Settings of shorewall.conf that the engine needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What becomes of packets that a check outside the rules caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `dhcp`: UDP 67:68 to and from the firewall is accepted.
    pub dhcp: bool,
    /// `logmartians` is set.
    pub log_martians: bool,
    /// Where it was declared in `shorewall/interfaces`.
    pub origin: Origin,
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
}

/// What happens from one zone to another: rules in order, then the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Shorewall's name of the chain, as log lines show it (`net-fw`, `loc-net`).
    pub name: String,
    /// In the order they are tried.
    pub rules: Vec<Rule>,
    /// What becomes of a NEW (or INVALID, UNTRACKED) packet that no rule decided.
    pub policy: Disposition,
    /// Logging of the policy.
    pub policy_log: Option<Log>,
    /// The rules of the default action (`Broadcast(DROP),Multicast(DROP)`), tried before the
    /// policy and its log line.
    pub default_action: Vec<Rule>,
    /// The line of `shorewall/policy` (line 0: an implicit policy).
    pub origin: Origin,
    /// Name used as the chain in the policy's own log line, when it differs from `name`.
    pub policy_chain: Option<String>,
}

/// ACCEPT, DROP or REJECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Disposition {
    /// Let it through.
    Accept,
    /// Silence.
    Drop,
    /// Tell the sender: a reset or an ICMP error.
    Reject,
}

/// Connection states, as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct States(pub u8);

impl States {
    /// First packet of a flow.
    pub const NEW: Self = Self(1);
    /// Packet of a flow that has seen both directions.
    pub const ESTABLISHED: Self = Self(2);
    /// Started by another flow: ICMP errors.
    pub const RELATED: Self = Self(4);
    /// Belongs to no flow and cannot start one.
    pub const INVALID: Self = Self(8);
    /// Exempt from tracking.
    pub const UNTRACKED: Self = Self(16);
    /// Every state.
    pub const ALL: Self = Self(31);

    /// Whether `self` holds every state of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The states of both.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The states the rule applies to: its section's, and for the section NEW also those that the
    /// dispositions in [`Settings`] let go on (CONTINUE).
    pub states: States,
    /// What it looks at.
    pub matches: Match,
    /// What it does.
    pub action: Action,
    /// Logged before the action.
    pub log: Option<Log>,
    /// Its line.
    pub origin: Origin,
}

/// What a rule does with a packet that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// A verdict.
    Decide(Disposition),
    /// Go on with the next rule (LOG, COUNT).
    Continue,
    /// Leave the chain's rules: default action and policy decide.
    Policy,
}

/// A log line to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Log {
    /// 0 (emerg) to 7 (debug), syslog's order.
    pub level: u8,
    /// The word in the second `%s` of LOGFORMAT (`DROP`, `REJECT`, `ACCEPT`).
    pub disposition: String,
    /// Replaces the chain in the first `%s` (a log tag, with LOGTAGONLY) or is appended.
    pub tag: Option<String>,
}

/// Conditions; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Source addresses.
    pub source: Addresses,
    /// Destination addresses (after DNAT).
    pub destination: Addresses,
    /// Original destination addresses (before DNAT), Shorewall's ORIGDEST.
    pub original_destination: Addresses,
    /// Original destination ports (before DNAT).
    pub original_port: Ports,
    /// Ingress interface.
    pub ingress: Option<InterfaceId>,
    /// Egress interface.
    pub egress: Option<InterfaceId>,
    /// Source MAC addresses; empty: any.
    pub source_mac: Vec<[u8; 6]>,
    /// Protocol.
    pub protocol: Protocol,
    /// Source ports, of TCP, UDP, UDP-Lite, SCTP, DCCP.
    pub source_port: Ports,
    /// Destination ports.
    pub destination_port: Ports,
    /// Kind of destination, as Broadcast, Multicast and Anycast actions ask.
    pub destination_kind: DestinationKind,
}

/// The kind of a destination address, as Linux' `addrtype` sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DestinationKind {
    /// Not looked at.
    #[default]
    Any,
    /// 255.255.255.255 or a directed broadcast of an interface.
    Broadcast,
    /// 224.0.0.0/4.
    Multicast,
}

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Addresses {
    /// Inclusive ranges; none: any address.
    pub ranges: Vec<AddressRange>,
    /// Addresses taken out of `ranges` (`!` in Shorewall). `!` alone: `ranges` is empty.
    pub except: Vec<AddressRange>,
}

/// An inclusive range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressRange {
    /// First.
    pub first: Ipv4Addr,
    /// Last, not below `first`.
    pub last: Ipv4Addr,
}

/// Which protocols a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// Not looked at.
    #[default]
    Any,
    /// One of these protocol numbers.
    OneOf(Vec<u8>),
    /// None of these protocol numbers.
    NoneOf(Vec<u8>),
    /// TCP, and of the flags SYN, ACK, RST and FIN only SYN (`tcp:syn`); `false`: not so (`tcp:!syn`).
    TcpSyn(bool),
    /// ICMP of one of these types; empty: any type.
    Icmp(Vec<IcmpType>),
}

/// An ICMP type, perhaps with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IcmpType {
    /// Type.
    pub kind: u8,
    /// Code; `None`: any.
    pub code: Option<u8>,
}

/// A set of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ports {
    /// Inclusive ranges; none: any port, and also packets without ports.
    pub ranges: Vec<PortRange>,
    /// Matches what is not in `ranges`.
    pub negated: bool,
}

/// An inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last, not below `first`.
    pub last: u16,
}

/// DNAT and REDIRECT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationNat {
    /// Zone the packet comes from.
    pub source_zone: ZoneId,
    /// On the packet as it came: `destination` is the original destination.
    pub matches: Match,
    /// What to do.
    pub target: DestinationTarget,
    /// Logged when it applies.
    pub log: Option<Log>,
    /// Its line in `shorewall/rules`.
    pub origin: Origin,
}

/// Where DNAT sends a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationTarget {
    /// To a server. Several addresses: the flows are spread over them.
    Server {
        /// New destination address.
        addresses: AddressRange,
        /// New destination port; `None`: as it was.
        ports: Option<PortRange>,
    },
    /// To the firewall itself (the ingress interface's primary address).
    Redirect {
        /// New destination port; `None`: as it was.
        port: Option<u16>,
    },
    /// No DNAT for this flow (NONAT, ACCEPT+).
    Exempt,
}

/// SNAT and MASQUERADE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNat {
    /// Interface the packet leaves by.
    pub egress: InterfaceId,
    /// On the packet after DNAT.
    pub matches: Match,
    /// What to do.
    pub target: SourceTarget,
    /// Its line in `shorewall/snat`.
    pub origin: Origin,
}

/// What source NAT does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceTarget {
    /// The egress interface's address, as the next hop sees it.
    Masquerade {
        /// Ports to choose from; `None`: keep the port when it is free, else one of its class.
        ports: Option<PortRange>,
    },
    /// A given address.
    Address {
        /// New source addresses.
        addresses: AddressRange,
        /// Ports to choose from.
        ports: Option<PortRange>,
    },
    /// No source NAT for this flow (CONTINUE).
    Exempt,
}
