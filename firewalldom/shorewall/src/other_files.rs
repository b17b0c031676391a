//! Shorewall's other files: what is not compiled must not be there unseen.

use crate::columns::{Row, Schema};
use crate::reader::{Item, read_named};
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::source::Word;
use crate::suggest::nearest;

/// Files with content that is refused, and what they are for.
pub(crate) const REFUSED_FILES: &[(&str, &str)] = &[
    ("accounting", "accounting rules"),
    ("arprules", "rules for ARP"),
    ("ecn", "switching ECN off"),
    ("maclist", "checks of MAC addresses"),
    ("mangle", "packet marks and changes of packets"),
    ("netmap", "mapping of whole networks"),
    (
        "notrack",
        "exemptions from connection tracking, as Shorewall 4 wrote them",
    ),
    ("providers", "several Internet providers"),
    ("proxyndp", "proxy NDP"),
    (
        "routes",
        "routes of providers; interfaces(5) has the plain ones",
    ),
    ("rtrules", "routing rules"),
    ("secmarks", "SELinux marks"),
    ("tcclasses", "traffic shaping"),
    ("tcdevices", "traffic shaping"),
    ("tcfilters", "traffic shaping"),
    ("tcinterfaces", "traffic shaping"),
    ("tcpri", "traffic shaping"),
    ("tcrules", "packet marks of Shorewall 4"),
    ("tos", "types of service"),
    ("tunnels", "tunnels that end on the firewall"),
];

/// Scripts that Shorewall would run on its host.
pub(crate) const SCRIPTS: &[&str] = &[
    "clear",
    "findgw",
    "init",
    "initdone",
    "isusable",
    "lib.private",
    "postcompile",
    "refresh",
    "refreshed",
    "restored",
    "scfilter",
    "start",
    "started",
    "stop",
    "stopped",
    "tcclear",
];

/// Files that change nothing here, and why.
pub(crate) const IGNORED_FILES: &[(&str, &str)] = &[
    (
        "stoppedrules",
        "what a stopped firewall lets through: a stopped domain forwards nothing",
    ),
    (
        "vardir",
        "where Shorewall keeps its state: the domain keeps none on disk",
    ),
];

/// Looks at every file of the folder that is not compiled.
pub(crate) fn check(session: &mut Session<'_>) {
    for (name, what) in REFUSED_FILES {
        if let Some(first) = first_line(session, name) {
            session.error(
                first.span(),
                format!("the file {name} is not supported yet: {what}"),
                "its first line",
                "take the lines out if the site can do without them",
            );
        }
    }
    for name in SCRIPTS {
        // As Debian installs them; what stands below is never reached.
        let does_nothing = |line: &Word| matches!(line.text(), "return 0" | "exit 0");
        if let Some(first) = first_line(session, name).filter(|line| !does_nothing(line)) {
            session.error(
                first.span(),
                format!("the script {name} cannot be run: no shell runs in the domain"),
                "its first line",
                "take the lines out if the site can do without them",
            );
        }
    }
    for (name, why) in IGNORED_FILES {
        if let Some(first) = first_line(session, name) {
            session
                .report(Finding::warning(format!("{name} has no effect")).at(first.span(), *why));
        }
    }
    routes_when_stopped(session);
    by_name(session);
}

/// The first line of a file that is neither empty nor a comment nor only a directive's frame.
fn first_line(session: &mut Session<'_>, name: &str) -> Option<Word> {
    let path = session.shorewall_file(name);
    if session.site.read(&path).ok()??.is_empty() {
        return None;
    }
    let file = session.open(&path)?;
    let is_frame = |line: &Word| {
        let first = line.text().split_whitespace().next();
        first.is_none_or(|first| {
            let frame = first.trim_start_matches('?');
            matches!(frame, "FORMAT" | "COMMENT" | "SECTION")
        })
    };
    session
        .plain_lines(file)
        .into_iter()
        .find(|line| !is_frame(line))
}

/// The columns of `routestopped`.
const ROUTESTOPPED: Schema = Schema {
    columns: &[
        "interface",
        "hosts|host",
        "options",
        "proto",
        "dport",
        "sport",
    ],
    required: 1,
};

/// `routestopped`: what `stoppedrules` says today, and no more effect here than that has.
fn routes_when_stopped(session: &mut Session<'_>) {
    for item in read_named(session, "routestopped", &ROUTESTOPPED).unwrap_or_default() {
        let Item::Row(row) = item else {
            continue;
        };
        let Some(interface) = row.get(0) else {
            continue;
        };
        let mut end = interface.clone();
        if let Some(hosts) = row.get(1) {
            end.push(&Word::before(hosts.span(), ":"));
            end.push(hosts);
        }
        let made = |text: &str| Word::replacing(row.span, text);
        let mut finding = Finding::warning("the file routestopped is called stoppedrules today")
            .at(
                row.span,
                "no effect: a stopped domain forwards nothing, whatever it says",
            )
            .edit(Edit::remove_line(row.span));
        for (source, destination) in [(end.clone(), made("-")), (made("-"), end)] {
            let today = Row::made(vec![made("ACCEPT"), source, destination], row.span);
            finding = finding
                .note(format!("write in stoppedrules: {}", today.text()))
                .edit(Edit::append("stoppedrules", session.written(&today)));
        }
        session.report(finding);
    }
}

/// Files that are compiled, and `conntrack`.
pub(crate) const COMPILED_FILES: [&str; 17] = [
    "blacklist",
    "zones",
    "interfaces",
    "hosts",
    "policy",
    "blrules",
    "rules",
    "actions",
    "snat",
    "masq",
    "nat",
    "params",
    "ipsets",
    "capabilities",
    "shorewall.conf",
    "conntrack",
    "proxyarp",
];

/// `macro.Name` and `action.Name` would change what names in `rules` mean; a name that is nearly
/// that of a file is a slip of the fingers.
fn by_name(session: &mut Session<'_>) {
    let folder = session.site.shorewall().to_path_buf();
    let names = match session.site.list(&folder) {
        Ok(names) => names,
        Err(error) => {
            session.report(Finding::error(format!(
                "cannot read {}: {error}",
                folder.display()
            )));
            return;
        }
    };
    for name in names {
        if name.starts_with("macro.") || name.starts_with("action.") {
            // Read where rules use them.
            continue;
        }
        let known = || {
            let refused = REFUSED_FILES.iter().chain(IGNORED_FILES).map(|file| file.0);
            let scripts = SCRIPTS.iter().copied();
            COMPILED_FILES.into_iter().chain(refused).chain(scripts)
        };
        if !known().any(|known| known == name)
            && let Some(meant) = nearest(&name, known())
            && !session.has_read(&name)
        {
            session.report(
                Finding::warning(format!("the file {name} is not read: no file is called so"))
                    .note(format!("did you mean `{meant}`?")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_compiled_is_fuzzed() {
        let fuzzed = include_str!("../../../fuzz/src/compiler.rs");
        let (_, rest) = fuzzed.split_once("SHOREWALL_FILES: [&str;").unwrap();
        let (names, _) = rest.split_once("];").unwrap();
        let read_too = ["action.Mine", "macro.Ours", "routestopped", "stoppedrules"];
        for name in COMPILED_FILES.into_iter().chain(read_too) {
            assert!(
                names.contains(&format!("\"{name}\",")),
                "{name} is not fuzzed"
            );
        }
    }
}
