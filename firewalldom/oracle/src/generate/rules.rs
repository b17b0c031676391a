//! The files `rules` and `blrules`, with a macro and an action of the site's own.

use super::Author;
use super::ends::{Side, end, original_destination, subnet};
use super::network::{Network, Zone};
use super::ports::traffic;

const COLUMNS: [&str; 12] = [
    "action",
    "source",
    "dest",
    "proto",
    "dport",
    "sport",
    "origdest",
    "rate",
    "user",
    "mark",
    "connlimit",
    "time",
];

pub(super) fn write(author: &mut Author<'_>, network: &Network) {
    write_blacklist(author, network);
    if author.one_in(5) {
        author.uses("rules: own macro");
        author.line(
            "shorewall/macro.Own",
            "PARAM - - tcp 7001\nPARAM - - udp 7001:7003",
        );
    }
    if author.one_in(5) {
        author.uses("rules: own action");
        author.line("shorewall/actions", "Picky");
        let of_a_state = author.choose(&["", "\nNew(REJECT)", "\nRelated(ACCEPT)", "\nInvalid"]);
        author.line(
            "shorewall/action.Picky",
            &format!(
                "DROP - - tcp 6000:6063\nACCEPT - - tcp 22,443\nREJECT - - udp 6000{of_a_state}"
            ),
        );
    }
    let sections = [
        ("ALL", "rules: section ALL"),
        ("ESTABLISHED", "rules: section ESTABLISHED"),
        ("RELATED", "rules: section RELATED"),
        ("INVALID", "rules: section INVALID"),
        ("UNTRACKED", "rules: section UNTRACKED"),
    ];
    for (section, feature) in sections {
        if author.one_in(9) {
            author.uses(feature);
            author.line("shorewall/rules", &format!("?SECTION {section}"));
            for _ in 0..author.rng.u32(1..3) {
                plain(author, network);
            }
        }
    }
    author.line("shorewall/rules", "?SECTION NEW");
    for _ in 0..author.rng.u32(3..16) {
        match author.rng.u32(0..10) {
            0..=1 => translation(author, network),
            2 => service(author, network),
            _ => plain(author, network),
        }
    }
}

fn write_blacklist(author: &mut Author<'_>, network: &Network) {
    if !author.one_in(4) {
        return;
    }
    for _ in 0..author.rng.u32(1..4) {
        let action = match author.rng.u32(0..3) {
            0 => {
                author.uses("blrules: WHITELIST");
                "WHITELIST"
            }
            _ => {
                author.uses("blrules: DROP");
                author.choose(&["DROP", "BLACKLIST", "REJECT"])
            }
        };
        let host = author.rng.u8(1..250);
        let source = author.choose(&[
            "net:198.51.100.0/25".to_owned(),
            "all".to_owned(),
            format!("net:203.0.113.{host}"),
        ]);
        let [proto, dport, _] = traffic(author);
        let destination = author.choose(&["all", "$FW", network.zones[0].name]);
        let destination = if source.starts_with("net") && destination == "net" {
            "all"
        } else {
            destination
        };
        let columns = [
            action.to_owned(),
            source,
            destination.to_owned(),
            proto,
            dport,
        ];
        author.row("shorewall/blrules", &COLUMNS[..5], &columns);
    }
}

/// A verdict, or a rule that only looks.
fn plain(author: &mut Author<'_>, network: &Network) {
    let (action, feature) = author.choose(&[
        ("ACCEPT", "rules: ACCEPT"),
        ("ACCEPT", "rules: ACCEPT"),
        ("ACCEPT", "rules: ACCEPT"),
        ("DROP", "rules: DROP"),
        ("REJECT", "rules: REJECT"),
        ("LOG:info", "rules: LOG"),
        ("COUNT", "rules: COUNT"),
    ]);
    author.uses(feature);
    let refuses = matches!(action, "DROP" | "REJECT");
    let action = level(author, action);
    let source = end(author, network, Side::Source);
    let destination = end(author, network, Side::Destination);
    let [mut proto, dport, sport] = traffic(author);
    let origdest = original_destination(author, network, 12);
    let asks = [&proto, &dport, &sport, &origdest]
        .iter()
        .any(|column| *column != "-");
    let is_of_hosts = source.contains(':') || destination.contains(':');
    if author.optimizes && !asks && !is_of_hosts {
        proto = "tcp".to_owned();
    }
    let [rate, connections, time] = limits(author, &proto, refuses);
    let none = || "-".to_owned();
    let columns = [
        action,
        source,
        destination,
        proto,
        dport,
        sport,
        origdest,
        rate,
        none(),
        none(),
        connections,
        time,
    ];
    author.row("shorewall/rules", &COLUMNS, &columns);
}

/// RATE, CONNLIMIT and TIME. A rate is one that no run of steps comes near, or one that its first
/// packets use up; a rule that refuses has none, which our compiler does not take: what comes faster
/// would be let through.
fn limits(author: &mut Author<'_>, proto: &str, refuses: bool) -> [String; 3] {
    let (mut rate, mut connections, mut time) = ("-", "-", "-");
    match author.rng.u32(0..40) {
        0 if !refuses => {
            author.uses("rules: RATE far above");
            rate = author.choose(&[
                "1/hour:1",
                "1/day:3",
                "s:1/hour:2",
                "d:1/hour:1",
                "s/24:2/hour:2",
            ]);
        }
        1 if !refuses => {
            author.uses("rules: RATE far below");
            rate = author.choose(&["5000/sec:9000", "s:5000/sec:9000"]);
        }
        2 if proto.starts_with("tcp") => {
            author.uses("rules: CONNLIMIT");
            connections = author.choose(&["1", "2", "2:24", "d:1", "!1"]);
        }
        3 => {
            author.uses("rules: TIME");
            time = author.choose(&[
                "datestart=2020-01-01&utc",
                "datestop=2020-01-01&utc",
                "timestart=00:00&timestop=23:59:59&utc",
                "weekdays=Mon,Tue,Wed,Thu,Fri,Sat,Sun&utc",
            ]);
        }
        _ => {}
    }
    [rate, connections, time].map(str::to_owned)
}

/// A macro, a standard action, or one of the site's own.
fn service(author: &mut Author<'_>, network: &Network) {
    let target = author.choose(&["ACCEPT", "DROP", "REJECT"]);
    let has = |author: &Author<'_>, file| author.files.contains_key(file);
    let action = match author.rng.u32(0..6) {
        0 if has(author, "shorewall/macro.Own") => format!("Own({target})"),
        1 if has(author, "shorewall/actions") => "Picky".to_owned(),
        2 | 3 => {
            author.uses("rules: standard action");
            author
                .choose(&[
                    "Broadcast(DROP)",
                    "Multicast(DROP)",
                    "Invalid(DROP)",
                    "Related(ACCEPT)",
                    "Established(ACCEPT)",
                    "Untracked(ACCEPT)",
                    "NotSyn(DROP)",
                    "dropInvalid",
                    "dropNotSyn",
                    "AllowICMPs",
                    "New(ACCEPT)",
                ])
                .to_owned()
        }
        _ => {
            author.uses("rules: macro");
            let name =
                author.choose(&["SSH", "Ping", "DNS", "Web", "SMTP", "NTP", "Trcrt", "Auth"]);
            format!("{name}({target})")
        }
    };
    let source = end(author, network, Side::Source);
    let destination = end(author, network, Side::Destination);
    author.row("shorewall/rules", &COLUMNS, &[action, source, destination]);
}

/// DNAT, REDIRECT, and exemptions from them.
fn translation(author: &mut Author<'_>, network: &Network) {
    let source = author.choose(&network.zones);
    let source_text = match author.rng.u32(0..3) {
        0 => {
            author.uses("rules: zone:prefix");
            format!("{}:{}", source.name, subnet(author, &source))
        }
        _ => source.name.to_owned(),
    };
    let others: Vec<&Zone> = network
        .zones
        .iter()
        .filter(|zone| zone.name != source.name)
        .collect();
    let proto = author.choose(&["tcp", "tcp", "udp"]).to_owned();
    let dport = author.rng.u16(1000..1010).to_string();
    let to_port = author.choose(&["", ":80", ":8080"]);
    let origdest = original_destination(author, network, 2);
    let (action, destination) = match author.rng.u32(0..8) {
        0 => {
            author.uses("rules: REDIRECT");
            ("REDIRECT", author.choose(&["3128", "53", "22"]).to_owned())
        }
        1 => {
            author.uses("rules: REDIRECT-");
            ("REDIRECT-", "3128".to_owned())
        }
        2 => {
            author.uses("rules: ACCEPT+");
            ("ACCEPT+", "$FW".to_owned())
        }
        3 => {
            author.uses("rules: NONAT");
            ("NONAT", author.choose(&["$FW", "all"]).to_owned())
        }
        other => {
            let Some(zone) = others.get(author.rng.usize(0..others.len().max(1))) else {
                return;
            };
            let n = author.rng.u8(1..zone.network.hosts().min(20));
            let server = zone.network.host(n);
            if other == 4 {
                author.uses("rules: DNAT-");
                // DNAT- takes no zone.
                ("DNAT-", format!("{server}{to_port}"))
            } else if other == 5 {
                author.uses("rules: DNAT to range");
                // Without the firewall's own, to which nothing is forwarded.
                // Nor with some that are not the zone's: each side takes which it likes.
                let n = if n < 16 { 4 } else { n };
                let [first, last] = [n, n + 3].map(|n| zone.network.host(n));
                ("DNAT", format!("{}:{first}-{last}", zone.name))
            } else {
                if to_port.is_empty() {
                    author.uses("rules: DNAT");
                } else {
                    author.uses("rules: DNAT with port");
                }
                ("DNAT", format!("{}:{server}{to_port}", zone.name))
            }
        }
    };
    let action = level(author, action);
    let columns = [
        action,
        source_text,
        destination,
        proto,
        dport,
        "-".to_owned(),
        origdest,
    ];
    author.row("shorewall/rules", &COLUMNS, &columns);
}

fn level(author: &mut Author<'_>, action: &str) -> String {
    if action.contains(':') || action.ends_with(['-', '+']) || !author.one_in(6) {
        return action.to_owned();
    }
    author.uses("rules: log level");
    match author.one_in(3) {
        true => {
            author.uses("rules: log tag");
            format!("{action}:info:tag")
        }
        false => format!("{action}:info"),
    }
}
