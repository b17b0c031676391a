//! What of Shorewall is supported, from the compiler's own lists.

use std::fmt::Write as _;

use crate::interface_options::{OPTIONS, OptionHandling};
use crate::macros::MACROS;
use crate::other_files::{COMPILED_FILES, IGNORED_FILES, REFUSED_FILES, SCRIPTS};
use crate::setting_table::{Handling, SETTINGS};
use crate::standard_actions::STANDARD_ACTIONS;
use crate::stanza::IGNORED_OPTIONS;
use crate::target::{REFUSED_TARGETS, TARGETS};

/// What is supported, what is refused and what has no effect, as Markdown.
///
/// Made from the tables that the compiler itself uses, so that it cannot promise anything else.
pub fn support() -> String {
    let mut text = String::new();
    let mut add = |heading: &str, columns: [&str; 2], rows: Vec<(String, String)>| {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "### {heading}\n\n| {} | {} |\n|---|---|\n",
            columns[0], columns[1]
        );
        for (name, meaning) in rows {
            let _ = writeln!(text, "| {name} | {meaning} |");
        }
        text.push('\n');
    };
    add("Files", ["file", "what becomes of it"], files());
    add(
        "Actions in `rules`",
        ["action", "what becomes of it"],
        actions(),
    );
    add(
        "Options in `interfaces`",
        ["option", "what becomes of it"],
        OPTIONS
            .iter()
            .map(|(name, handling)| (code(name), option(*handling)))
            .collect(),
    );
    add(
        "Settings in `shorewall.conf`",
        ["setting", "what becomes of it"],
        SETTINGS
            .iter()
            .map(|(name, handling)| (code(name), setting(*handling)))
            .collect(),
    );
    add(
        "Options of interfaces(5) without effect",
        ["option", "why"],
        IGNORED_OPTIONS
            .iter()
            .map(|(name, why)| (code(name), (*why).to_owned()))
            .collect(),
    );
    text.trim_end().to_owned() + "\n"
}

fn files() -> Vec<(String, String)> {
    let compiled = COMPILED_FILES.iter().filter(|name| **name != "conntrack");
    let mut rows = vec![
        (list(compiled.copied()), "compiled".to_owned()),
        (
            code("conntrack"),
            "`CT:helper:` is a warning; `NOTRACK` and `DROP` of format 3 are compiled; else refused".to_owned(),
        ),
    ];
    rows.push((
        code("routestopped"),
        "no effect, a warning: `stoppedrules` today".to_owned(),
    ));
    for (name, why) in IGNORED_FILES {
        rows.push((code(name), format!("no effect: {why}; a warning")));
    }
    for (name, what) in REFUSED_FILES {
        rows.push((code(name), format!("refused, if it has content: {what}")));
    }
    rows.push((
        "`macro.*`, `action.*`".to_owned(),
        "compiled into the rules that use them".to_owned(),
    ));
    rows.push((
        list(SCRIPTS.iter().copied()),
        "refused, if they have content".to_owned(),
    ));
    rows
}

fn actions() -> Vec<(String, String)> {
    let plain = MACROS.iter().filter(|service| service.helper.is_none());
    let helped = MACROS.iter().filter(|service| service.helper.is_some());
    let mut rows = vec![
        (list(TARGETS.iter().copied()), "done".to_owned()),
        (list(STANDARD_ACTIONS.iter().copied()), "done".to_owned()),
        (
            list(plain.map(|service| service.name)),
            "services: `Name(TARGET)`".to_owned(),
        ),
        (
            list(helped.map(|service| service.name)),
            "services that need a helper of connection tracking: a warning".to_owned(),
        ),
    ];
    for (name, reason) in REFUSED_TARGETS {
        rows.push((code(name), format!("refused: {reason}")));
    }
    rows
}

fn option(handling: OptionHandling) -> String {
    match handling {
        OptionHandling::Implemented => "done".to_owned(),
        OptionHandling::NoEffect(reason) => format!("no effect: {reason}"),
        OptionHandling::OnlyZero(reason) => format!("no effect as `=0`, else refused: {reason}"),
        OptionHandling::NotYet(reason) => format!("does nothing yet, a warning: {reason}"),
        OptionHandling::Removed(reason) => format!("no effect, a warning: {reason}"),
        OptionHandling::Refused(reason) => format!("refused: {reason}"),
    }
}

fn setting(handling: Handling) -> String {
    match handling {
        Handling::Implemented => "done".to_owned(),
        Handling::NoEffect(reason) => format!("no effect: {reason}"),
        Handling::Only([], reason) => format!("refused, unless empty: {reason}"),
        Handling::Only(values, reason) => format!(
            "no effect as {}, else refused: {reason}",
            list(values.iter().copied())
        ),
        Handling::Renamed(today) => format!("`{today}` today, a warning"),
        Handling::Removed(reason) => format!("not in Shorewall 5.2, a warning: {reason}"),
    }
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(code).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_says_what_the_compiler_does() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let heading = "## What is supported\n\n";
        let (before, _) = readme.split_once(heading).unwrap();
        let wanted = format!("{before}{heading}{}", support());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, wanted).unwrap();
        } else {
            assert!(
                readme == wanted,
                "UPDATE_GOLDEN=1 cargo test -p shorewall writes the tables anew"
            );
        }
    }

    #[test]
    fn each_name_is_listed_once() {
        let settings = SETTINGS.iter().map(|(name, _)| *name);
        let options = OPTIONS.iter().map(|(name, _)| *name);
        for names in [settings.collect::<Vec<_>>(), options.collect()] {
            for (index, name) in names.iter().enumerate() {
                assert!(!names[index + 1..].contains(name), "{name} twice");
            }
        }
    }
}
