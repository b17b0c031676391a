//! Chains and rules: what they look at and what they do.

use super::{InterfaceId, Limits, Origin};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};

/// What happens from one zone to another: rules in order, then the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Shorewall's name of the chain, as log lines show it (`net-fw`, `loc-net`).
    pub name: String,
    /// Index into [`Policy::rule_lists`](super::Policy::rule_lists) of what is tried before every
    /// other check (`blrules`).
    pub blacklist: Option<u16>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Disposition {
    /// Let it through.
    Accept,
    /// Silence.
    #[default]
    Drop,
    /// Tell the sender: a reset or an ICMP error.
    Reject,
}

/// Connection states, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// dispositions in [`Settings`](super::Settings) let go on (CONTINUE).
    pub states: States,
    /// What it looks at.
    pub matches: Match,
    /// What must hold besides, asked once everything in `matches` holds.
    pub limits: Limits,
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
    /// Leave the chain's rules, from however deep: default action and policy decide.
    Policy,
    /// A REJECT that says how, whatever the protocol.
    Reject(RejectWith),
    /// Try the list of this index in [`Policy::rule_lists`](super::Policy::rule_lists), and go on
    /// here if nothing in it decides.
    Call(u16),
    /// Leave the list that was called, and go on behind the call. In a chain's own rules: as
    /// [`Action::Policy`].
    Return,
}

/// How REJECT tells the sender (`REJECT(icmp-host-prohibited)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectWith {
    /// Destination unreachable, code 0.
    NetUnreachable,
    /// Code 1.
    HostUnreachable,
    /// Code 2.
    ProtocolUnreachable,
    /// Code 3.
    PortUnreachable,
    /// Code 9.
    NetProhibited,
    /// Code 10.
    HostProhibited,
    /// Code 13.
    AdminProhibited,
    /// A TCP reset; of other protocols nothing is said.
    TcpReset,
}

/// Rules that chains share, and lists of their own that rules call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleList {
    /// Stands in log lines instead of the calling chain's name.
    pub log_chain: Option<String>,
    /// In the order they are tried. They call only lists of lower index.
    pub rules: Vec<Rule>,
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
    /// TCP with these flags; `None`: not looked at, and any protocol.
    pub tcp_flags: Option<TcpFlags>,
}

/// Which of TCP's flags must be set and which not: bits of byte 13 of its header (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TcpFlags {
    /// The flags looked at.
    pub mask: u8,
    /// Those of them that are set; the others are clear.
    pub set: u8,
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
    /// Named sets that must hold the address, too, or must not (`+blocked`, `!+blocked`).
    pub sets: Vec<SetMatch>,
}

/// A look-up in a named set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetMatch {
    /// Index into [`Policy::address_sets`](super::Policy::address_sets).
    pub set: u16,
    /// Whether it has to hold the address.
    pub member: Member,
}

/// Whether an address is in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Member {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Addresses with a name, written once however many rules ask for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSet {
    /// The ipset's name.
    pub name: String,
    /// In any order; they may overlap. None: no address is in it.
    pub ranges: Vec<AddressRange>,
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
