//! shorewall.conf, with everything in it that Shorewall 5.2 would otherwise take from the host.

use super::Author;

/// What stays the same everywhere.
const FIXED: &str = "\
STARTUP_ENABLED=Yes
VERBOSITY=0
LOGFORMAT=\"Shorewall:%s:%s:\"
LOGFILE=/var/log/messages
STARTUP_LOG=
LOGLIMIT=\"s:1/sec:10\"
IP_FORWARDING=On
ADD_IP_ALIASES=Yes
AUTOHELPERS=No
MUTEX_TIMEOUT=60
FASTACCEPT=No
ZONE2ZONE=-
";

pub(super) fn write(author: &mut Author<'_>) {
    let mut text = FIXED.to_owned();
    let mut set = |name: &str, value: &str| text += &format!("{name}=\"{value}\"\n");
    let default = author.choose(&[
        "Broadcast(DROP),Multicast(DROP)",
        "Broadcast(DROP),Multicast(DROP)",
        "Broadcast(DROP),Multicast(DROP)",
        "Broadcast(DROP),Multicast(DROP)",
        "none",
        "dropInvalid",
        "New(REJECT),Related(ACCEPT)",
        "Established(ACCEPT),Invalid(ACCEPT)",
    ]);
    set("DROP_DEFAULT", default);
    set("REJECT_DEFAULT", default);
    set("EXPAND_POLICIES", if author.expands { "Yes" } else { "No" });
    let optimize = match (author.optimizes, author.expands) {
        (false, _) => "0",
        (true, true) => "All",
        // Without the 1, which has one jump for all zones that a policy ACCEPT for `all` decides
        // about, and so for what belongs to none.
        (true, false) => "30",
    };
    set("OPTIMIZE", optimize);
    let clamp = author.choose(&["No", "No", "Yes", "1400"]);
    if clamp != "No" {
        author.uses("shorewall.conf: CLAMPMSS");
    }
    set("CLAMPMSS", clamp);
    let filter = author.choose(&["No", "No", "No", "No", "No", "No", "No", "Yes"]);
    if filter != "No" {
        author.uses("shorewall.conf: ROUTE_FILTER");
    }
    set("ROUTE_FILTER", filter);
    set("LOG_MARTIANS", author.choose(&["Yes", "No", "Keep"]));
    if author.one_in(4) {
        author.uses("shorewall.conf: IMPLICIT_CONTINUE");
        set("IMPLICIT_CONTINUE", "Yes");
    }
    if author.one_in(4) {
        author.uses("shorewall.conf: BLACKLIST");
        set(
            "BLACKLIST",
            author.choose(&["ALL", "NEW", "NEW,ESTABLISHED"]),
        );
        set("BLACKLIST_DISPOSITION", author.choose(&["DROP", "REJECT"]));
    } else {
        set("BLACKLIST", "NEW,INVALID,UNTRACKED");
    }
    if author.one_in(3) {
        author.uses("shorewall.conf: dispositions");
        set(
            "RELATED_DISPOSITION",
            author.choose(&["ACCEPT", "DROP", "REJECT", "CONTINUE"]),
        );
        set(
            "INVALID_DISPOSITION",
            author.choose(&["CONTINUE", "DROP", "REJECT"]),
        );
        set(
            "UNTRACKED_DISPOSITION",
            author.choose(&["CONTINUE", "DROP"]),
        );
        set("TCP_FLAGS_DISPOSITION", author.choose(&["DROP", "REJECT"]));
        set("SFILTER_DISPOSITION", author.choose(&["DROP", "REJECT"]));
    }
    author.line("shorewall/shorewall.conf", &text);
}
