//! What becomes of each setting of shorewall.conf.

/// How a setting is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handling {
    /// The engine or the compiler does what it says.
    Implemented,
    /// Any value: nothing here depends on it, for this reason.
    NoEffect(&'static str),
    /// These values (and none) change nothing here; any other is refused, for this reason.
    Only(&'static [&'static str], &'static str),
    /// Shorewall 5.2 itself no longer has it.
    Removed(&'static str),
    /// What it is called today.
    Renamed(&'static str),
}

use Handling::{Implemented, NoEffect, Only, Removed, Renamed};

const PROGRAM: Handling = NoEffect("names a program or file of the Linux host; none is run here");
const START: Handling = NoEffect(
    "is about starting and stopping Shorewall's scripts; the domain starts with its policy",
);
const MESSAGES: Handling = NoEffect("is about what Shorewall's own commands print");
const MARKS: Handling =
    NoEffect("lays out packet marks; what uses marks is refused where it is written");
const SHAPING: Handling = NoEffect("is about traffic shaping, whose files are refused");
const PROVIDERS: Handling = NoEffect("is about several providers, whose file is refused");
const COMPILER: Handling =
    NoEffect("changes the form of iptables' rules, not their meaning; there are none here");
const BLACKLISTED: Handling =
    NoEffect("is about the dynamic blacklist, on which nothing is ever listed");
const MACLISTED: Handling = NoEffect("is about the option maclist, which is refused");
const ACCOUNTED: Handling = NoEffect("is about the file accounting, which is refused");
const KERNEL: Handling = NoEffect("is about modules of the Linux kernel; there is none here");

/// Every setting, by name.
pub(crate) const SETTINGS: &[(&str, Handling)] = &[
    ("ACCEPT_DEFAULT", Implemented),
    ("ACCOUNTING", ACCOUNTED),
    ("ACCOUNTING_TABLE", ACCOUNTED),
    ("ADD_IP_ALIASES", Implemented),
    (
        "ADD_SNAT_ALIASES",
        Only(&["No"], "would add addresses to interfaces"),
    ),
    (
        "ADMINISABSENTMINDED",
        NoEffect("is about the stopped state; a stopped domain forwards nothing"),
    ),
    ("ARPTABLES", PROGRAM),
    ("AUTOCOMMENT", COMPILER),
    ("AUTO_COMMENT", Renamed("AUTOCOMMENT")),
    (
        "AUTOHELPERS",
        NoEffect(
            "attaches helpers of Linux's connection tracking; a rule for a service that needs one warns",
        ),
    ),
    ("AUTOMAKE", START),
    ("BALANCE_PROVIDERS", PROVIDERS),
    ("BASIC_FILTERS", SHAPING),
    ("BLACKLIST", Implemented),
    ("BLACKLIST_DEFAULT", BLACKLISTED),
    ("BLACKLIST_DISPOSITION", Implemented),
    ("BLACKLIST_LOGLEVEL", Renamed("BLACKLIST_LOG_LEVEL")),
    ("BLACKLIST_LOG_LEVEL", Implemented),
    ("BLACKLISTNEWONLY", Removed("BLACKLIST takes its place")),
    ("BRIDGING", Removed("long gone")),
    ("CHAIN_SCRIPTS", Removed("no scripts run while compiling")),
    ("CLAMPMSS", Implemented),
    ("CLEAR_TC", SHAPING),
    (
        "COMPLETE",
        Only(
            &["No"],
            "says that no other traffic exists, and drops the rules for it",
        ),
    ),
    (
        "CONFIG_PATH",
        NoEffect("files are read from the one folder given"),
    ),
    (
        "DEFER_DNS_RESOLUTION",
        NoEffect("names of hosts are refused where they are written"),
    ),
    ("DELAYBLACKLISTLOAD", BLACKLISTED),
    ("DELETE_THEN_ADD", START),
    (
        "DETECT_DNAT_IPADDRS",
        Only(&["No"], "would narrow DNAT to the interface's addresses"),
    ),
    (
        "DISABLE_IPV6",
        NoEffect("IPv6 is dropped and counted whatever it says"),
    ),
    (
        "DOCKER",
        Only(&["No"], "Docker's own rules do not exist here"),
    ),
    (
        "DOCKER_BRIDGE",
        NoEffect("only counts with DOCKER=Yes, which is refused"),
    ),
    ("DONT_LOAD", KERNEL),
    ("DROP_DEFAULT", Implemented),
    (
        "DYNAMIC_BLACKLIST",
        Only(&["Yes", "No"], "would list addresses by itself"),
    ),
    ("DYNAMIC_ZONES", Removed("long gone")),
    ("EXPAND_POLICIES", Implemented),
    ("EXPORTMODULES", KERNEL),
    ("EXPORTPARAMS", START),
    (
        "FASTACCEPT",
        Only(
            &["No"],
            "would accept established flows before the checks of interfaces",
        ),
    ),
    ("FIREWALL", START),
    ("FORWARD_CLEAR_MARK", MARKS),
    ("GEOIPDIR", PROGRAM),
    (
        "HELPERS",
        NoEffect(
            "attaches helpers of Linux's connection tracking; a rule for a service that needs one warns",
        ),
    ),
    (
        "HIGH_ROUTE_MARKS",
        Removed("PROVIDER_OFFSET takes its place"),
    ),
    (
        "IGNOREUNKNOWNVARIABLES",
        NoEffect("a variable that is not set is always an error here"),
    ),
    ("IMPLICIT_CONTINUE", Implemented),
    (
        "INLINE_MATCHES",
        Removed("inline matches are refused where they are written"),
    ),
    ("INVALID_DISPOSITION", Implemented),
    ("INVALID_LOG_LEVEL", Implemented),
    ("IP", PROGRAM),
    ("IPSECFILE", Removed("long gone")),
    ("IPSET", PROGRAM),
    ("IPSET_WARNINGS", MESSAGES),
    ("IPTABLES", PROGRAM),
    ("IP_FORWARDING", Implemented),
    ("KEEP_RT_TABLES", PROVIDERS),
    ("LEGACY_FASTSTART", START),
    ("LEGACY_RESTART", START),
    ("LOAD_HELPERS_ONLY", KERNEL),
    ("LOCKFILE", PROGRAM),
    (
        "LOG_BACKEND",
        NoEffect("log lines go to the domain's console whatever it says"),
    ),
    ("LOG_LEVEL", NoEffect("is a variable for other lines")),
    ("LOG_MARTIANS", Implemented),
    ("LOG_VERBOSITY", MESSAGES),
    (
        "LOG_ZONE",
        Only(&["Both"], "would change the chain that log lines name"),
    ),
    ("LOGALLNEW", Only(&[], "would log every new flow")),
    ("LOGBURST", Removed("LOGLIMIT takes its place")),
    ("LOGFILE", MESSAGES),
    ("LOGFORMAT", Implemented),
    ("LOGLIMIT", Implemented),
    ("LOGRATE", Removed("LOGLIMIT takes its place")),
    (
        "LOGTAGONLY",
        Only(&["No"], "would put a tag in place of the chain"),
    ),
    ("MACLIST_DISPOSITION", MACLISTED),
    ("MACLIST_LOG_LEVEL", MACLISTED),
    ("MACLIST_TABLE", MACLISTED),
    ("MACLIST_TTL", MACLISTED),
    ("MANGLE_ENABLED", MARKS),
    ("MAPOLDACTIONS", Removed("long gone")),
    ("MARK_IN_FORWARD_CHAIN", MARKS),
    ("MASK_BITS", MARKS),
    ("MINIUPNPD", Only(&["No"], "a UPnP daemon cannot run here")),
    ("MODULESDIR", KERNEL),
    ("MODULE_SUFFIX", KERNEL),
    (
        "MULTICAST",
        Only(&["No"], "multicast routing does not exist here"),
    ),
    ("MUTEX_TIMEOUT", START),
    ("NFACCT", PROGRAM),
    ("NFQUEUE_DEFAULT", NoEffect("the policy NFQUEUE is refused")),
    (
        "NULL_ROUTE_RFC1918",
        Only(&["No"], "would add unreachable routes"),
    ),
    ("OPTIMIZE", Implemented),
    ("OPTIMIZE_ACCOUNTING", ACCOUNTED),
    ("PAGER", MESSAGES),
    ("PATH", PROGRAM),
    ("PERL", PROGRAM),
    ("PERL_HASH_SEED", COMPILER),
    ("PKTTYPE", Removed("long gone")),
    ("PROVIDER_BITS", MARKS),
    ("PROVIDER_OFFSET", MARKS),
    ("QUEUE_DEFAULT", NoEffect("the policy QUEUE is refused")),
    ("RCP_COMMAND", PROGRAM),
    (
        "REJECT_ACTION",
        Only(&[], "would replace the answers of REJECT"),
    ),
    ("REJECT_DEFAULT", Implemented),
    ("RELATED_DISPOSITION", Implemented),
    ("RELATED_LOG_LEVEL", Implemented),
    ("RENAME_COMBINED", COMPILER),
    ("REQUIRE_INTERFACE", START),
    ("RESTART", START),
    ("RESTOREFILE", START),
    ("RESTORE_DEFAULT_ROUTE", PROVIDERS),
    ("RESTORE_ROUTEMARKS", MARKS),
    ("RETAIN_ALIASES", START),
    ("RFC1918_LOG_LEVEL", Removed("the option norfc1918 is gone")),
    ("RFC1918_STRICT", Removed("the option norfc1918 is gone")),
    ("ROUTE_FILTER", Implemented),
    ("RPFILTER_DISPOSITION", Implemented),
    ("RPFILTER_LOG_LEVEL", Implemented),
    ("RSH_COMMAND", PROGRAM),
    ("SAVE_ARPTABLES", START),
    ("SAVE_IPSETS", START),
    ("SFILTER_DISPOSITION", Implemented),
    ("SFILTER_LOG_LEVEL", Implemented),
    ("SHOREWALL_SHELL", PROGRAM),
    ("SMURF_DISPOSITION", Implemented),
    ("SMURF_LOG_LEVEL", Implemented),
    ("STARTUP_ENABLED", START),
    ("STARTUP_LOG", START),
    ("SUBSYSLOCK", PROGRAM),
    ("TC", PROGRAM),
    ("TCP_FLAGS_DISPOSITION", Implemented),
    ("TCP_FLAGS_LOG_LEVEL", Implemented),
    ("TC_BITS", MARKS),
    ("TC_ENABLED", SHAPING),
    ("TC_EXPERT", SHAPING),
    ("TC_PRIOMAP", SHAPING),
    ("TC_SCRIPT", SHAPING),
    ("TRACK_PROVIDERS", PROVIDERS),
    ("TRACK_RULES", COMPILER),
    ("UNTRACKED_DISPOSITION", Implemented),
    ("UNTRACKED_LOG_LEVEL", Implemented),
    ("USE_ACTIONS", Removed("actions are always on")),
    ("USE_DEFAULT_RT", PROVIDERS),
    (
        "USE_NFLOG_SIZE",
        NoEffect("is about netlink logging, which is refused"),
    ),
    (
        "USE_PHYSICAL_NAMES",
        NoEffect("names of chains use zones; log lines always name the vif"),
    ),
    ("USE_RT_NAMES", PROVIDERS),
    ("VERBOSE_MESSAGES", MESSAGES),
    ("VERBOSITY", MESSAGES),
    ("WARNOLDCAPVERSION", MESSAGES),
    ("WIDE_TC_MARKS", Removed("TC_BITS takes its place")),
    ("WORKAROUNDS", KERNEL),
    ("ZERO_MARKS", MARKS),
    ("ZONE2ZONE", Implemented),
    ("ZONE_BITS", MARKS),
];

/// A setting of the table.
pub(crate) fn setting(name: &str) -> Option<(&'static str, &'static Handling)> {
    SETTINGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(known, handling)| (*known, handling))
}
