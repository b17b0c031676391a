//! What is done with a packet in the end: the words of the column ACTION that are no actions.

use firewalldom::policy::{self, Disposition, RejectWith};

use crate::level;

/// What is done with a packet in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Decide(Disposition),
    /// `REJECT(…)`: with this answer.
    Reject(RejectWith),
    /// On to the next rule; the word for the log line.
    Continue(&'static str),
    DestinationNat(Nat),
    Redirect(Nat),
    /// ACCEPT+: no destination NAT, and accepted.
    AcceptUntranslated,
    /// NONAT: no destination NAT.
    Untranslated,
    /// CONTINUE, WHITELIST: past the other rules of the chain, or of `blrules`.
    Return,
    /// BLACKLIST and blacklog: what shorewall.conf says of listed packets.
    Blacklist,
    /// On through a list of the policy's; its rules log for themselves.
    Call(u16),
}

/// Whether a rule of NAT also lets the packet through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// DNAT, REDIRECT.
    AndAccept,
    /// DNAT-, REDIRECT-: another rule has to.
    Only,
}

impl Target {
    /// The action of a rule in a chain.
    pub(crate) fn rule_action(self) -> Option<policy::Action> {
        match self {
            Self::Decide(disposition) => Some(policy::Action::Decide(disposition)),
            Self::Reject(with) => Some(policy::Action::Reject(with)),
            Self::Continue(_) => Some(policy::Action::Continue),
            Self::AcceptUntranslated => Some(policy::Action::Decide(Disposition::Accept)),
            Self::Return => Some(policy::Action::Return),
            Self::Call(list) => Some(policy::Action::Call(list)),
            Self::DestinationNat(_) | Self::Redirect(_) | Self::Untranslated | Self::Blacklist => {
                None
            }
        }
    }

    /// Whether it is about addresses.
    pub(crate) fn translates(self) -> bool {
        matches!(
            self,
            Self::DestinationNat(_)
                | Self::Redirect(_)
                | Self::AcceptUntranslated
                | Self::Untranslated
        )
    }

    /// Whether it lets nothing through: such a rule can have no rate.
    pub(crate) fn refuses(self) -> bool {
        matches!(
            self,
            Self::Decide(Disposition::Drop | Disposition::Reject) | Self::Reject(_)
        )
    }

    /// The word in log lines.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Decide(disposition) => level::disposition_word(disposition).to_owned(),
            Self::Reject(with) => format!("REJECT({})", reject_word(with)),
            Self::Continue(word) => word.to_owned(),
            Self::DestinationNat(_) => "DNAT".to_owned(),
            Self::Redirect(_) => "REDIRECT".to_owned(),
            Self::AcceptUntranslated => "ACCEPT".to_owned(),
            Self::Untranslated => "NONAT".to_owned(),
            Self::Return => "CONTINUE".to_owned(),
            Self::Blacklist | Self::Call(_) => "BLACKLIST".to_owned(),
        }
    }
}

/// The answers that REJECT can name, with iptables' shorter words for them.
const REJECT_WITH: [(&str, RejectWith); 15] = [
    ("icmp-net-unreachable", RejectWith::NetUnreachable),
    ("net-unreach", RejectWith::NetUnreachable),
    ("icmp-host-unreachable", RejectWith::HostUnreachable),
    ("host-unreach", RejectWith::HostUnreachable),
    ("icmp-proto-unreachable", RejectWith::ProtocolUnreachable),
    ("proto-unreach", RejectWith::ProtocolUnreachable),
    ("icmp-port-unreachable", RejectWith::PortUnreachable),
    ("port-unreach", RejectWith::PortUnreachable),
    ("icmp-net-prohibited", RejectWith::NetProhibited),
    ("net-prohib", RejectWith::NetProhibited),
    ("icmp-host-prohibited", RejectWith::HostProhibited),
    ("host-prohib", RejectWith::HostProhibited),
    ("icmp-admin-prohibited", RejectWith::AdminProhibited),
    ("admin-prohib", RejectWith::AdminProhibited),
    ("tcp-reset", RejectWith::TcpReset),
];

/// The answer that a word names.
pub(crate) fn reject_with(word: &str) -> Option<RejectWith> {
    REJECT_WITH
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, with)| *with)
}

/// The words that [`reject_with`] knows.
pub(crate) fn reject_words() -> impl Iterator<Item = &'static str> {
    REJECT_WITH.iter().map(|(word, _)| *word)
}

fn reject_word(with: RejectWith) -> &'static str {
    REJECT_WITH
        .iter()
        .find(|(_, known)| *known == with)
        .map_or("", |(word, _)| *word)
}

/// The targets that can be written.
pub(crate) const TARGETS: [&str; 16] = [
    "ACCEPT",
    "ACCEPT+",
    "DROP",
    "REJECT",
    "DNAT",
    "DNAT-",
    "REDIRECT",
    "REDIRECT-",
    "LOG",
    "NFLOG",
    "COUNT",
    "NONAT",
    "CONTINUE",
    "WHITELIST",
    "BLACKLIST",
    "blacklog",
];

/// Targets and actions that are refused, and why.
pub(crate) const REFUSED_TARGETS: &[(&str, &str)] = &[
    ("ADD", "a set is what the file ipsets says"),
    ("AUDIT", "there is no audit daemon"),
    ("CONNMARK", "marks are not supported yet"),
    ("DEL", "a set is what the file ipsets says"),
    ("DNSAmp", "matches inside of packets are not supported"),
    ("DropSmurfs", "the interface option nosmurfs does this"),
    (
        "HELPER",
        "connection-tracking helpers are not supported yet",
    ),
    ("INLINE", "raw iptables text is not supported"),
    ("IPTABLES", "raw iptables text is not supported"),
    ("MARK", "marks are not supported yet"),
    ("NFQUEUE", "no program decides about packets here"),
    ("QUEUE", "no program decides about packets here"),
    ("TARPIT", "not part of Linux either"),
    ("ULOG", "log lines go to the console: write LOG:info"),
    ("allowinUPnP", "UPnP is not supported"),
    ("forwardUPnP", "UPnP is not supported"),
];

/// The target of a word.
pub(crate) fn target(text: &str) -> Option<Target> {
    Some(match text {
        "ACCEPT" | "ACCEPT!" => Target::Decide(Disposition::Accept),
        "DROP" | "DROP!" => Target::Decide(Disposition::Drop),
        "REJECT" | "REJECT!" => Target::Decide(Disposition::Reject),
        "ACCEPT+" => Target::AcceptUntranslated,
        "NONAT" => Target::Untranslated,
        "DNAT" => Target::DestinationNat(Nat::AndAccept),
        "DNAT-" => Target::DestinationNat(Nat::Only),
        "REDIRECT" => Target::Redirect(Nat::AndAccept),
        "REDIRECT-" => Target::Redirect(Nat::Only),
        "LOG" => Target::Continue("LOG"),
        "NFLOG" => Target::Continue("NFLOG"),
        "COUNT" => Target::Continue("COUNT"),
        "CONTINUE" | "CONTINUE!" | "WHITELIST" => Target::Return,
        "BLACKLIST" | "blacklog" => Target::Blacklist,
        _ => return None,
    })
}
