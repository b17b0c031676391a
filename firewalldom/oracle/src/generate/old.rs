//! The same configuration as older Shorewalls spelled it, which Shorewall 5.2 no longer takes and our
//! compiler does.

use super::Author;
use std::collections::BTreeMap;

/// The files that are spelled otherwise. An empty one does not exist.
pub(super) fn spell(author: &mut Author<'_>) -> BTreeMap<&'static str, String> {
    let mut old = BTreeMap::new();
    if let Some(rules) = author.files.get("shorewall/rules").cloned() {
        author.uses("old: SECTION and COMMENT");
        let mut text = "COMMENT as it was\n".to_owned();
        for line in rules.lines() {
            text += &line.replace("?SECTION ", "SECTION ");
            text += "\n";
        }
        if let Some(slashed) = slashed(&text) {
            author.uses("old: Macro/TARGET");
            text = slashed;
        }
        old.insert("shorewall/rules", text);
    }
    if let Some(settings) = author.files.get("shorewall/shorewall.conf").cloned() {
        const TODAY: &str = "_DEFAULT=\"Broadcast(DROP),Multicast(DROP)\"";
        if settings.contains(TODAY) {
            author.uses("old: Drop and Reject");
            let drop = settings.replace(&format!("DROP{TODAY}"), "DROP_DEFAULT=\"Drop\"");
            let both = drop.replace(&format!("REJECT{TODAY}"), "REJECT_DEFAULT=\"Reject\"");
            old.insert("shorewall/shorewall.conf", both);
        }
    }
    if let Some(masq) = author
        .files
        .get("shorewall/snat")
        .and_then(|snat| masq(snat))
    {
        author.uses("old: masq");
        old.insert("shorewall/snat", String::new());
        old.insert("shorewall/masq", masq);
    }
    old
}

/// `SSH(ACCEPT)` as `SSH/ACCEPT`, where there is one.
fn slashed(rules: &str) -> Option<String> {
    const MACROS: [&str; 8] = ["SSH", "Ping", "DNS", "Web", "SMTP", "NTP", "Trcrt", "Auth"];
    let mut text = rules.to_owned();
    for name in MACROS {
        for target in ["ACCEPT", "DROP", "REJECT"] {
            let today = format!("\n{name}({target})");
            text = text.replace(&today, &format!("\n{name}/{target}"));
        }
    }
    (text != rules).then_some(text)
}

/// `INTERFACE[:DEST]`, SOURCE, ADDRESS, PROTO, PORT of lines that have nothing else; `None`: one has.
fn masq(snat: &str) -> Option<String> {
    let mut text = String::new();
    for line in snat.lines() {
        let mut columns = line.split_whitespace();
        let (action, source, destination) = (columns.next()?, columns.next()?, columns.next()?);
        let rest: Vec<&str> = columns.collect();
        let (ahead, address) = match action {
            "MASQUERADE" => ("", "-"),
            "SNAT(192.0.2.9)" => ("", "192.0.2.9"),
            "SNAT(192.0.2.2)" => ("", "192.0.2.2"),
            "SNAT+(192.0.2.9)" => ("+", "192.0.2.9"),
            _ => return None,
        };
        let is_plain = |column: &&str| !column.contains(['{', '\\', '=', '?']);
        if source == "-" || !rest.iter().all(is_plain) {
            return None;
        }
        text += &format!(
            "{ahead}{destination} {source} {address} {}\n",
            rest.join(" ")
        );
    }
    (!text.is_empty()).then_some(text)
}
