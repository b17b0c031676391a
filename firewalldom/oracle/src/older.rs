//! Configurations for an older Shorewall, as far as 5.2.8 needs before its own `update` takes them.
//!
//! Purely mechanical, line by line: what changed is how things are spelled, never what is said.

use std::collections::BTreeMap;

/// A shorewall.conf that says nothing: Shorewall wants one, and its built-in defaults hold.
pub const NO_SETTINGS: &[u8] = b"STARTUP_ENABLED=Yes\n";

/// Directives that had no question mark once.
const DIRECTIVES: [&str; 4] = ["SECTION", "FORMAT", "COMMENT", "SHELL"];

/// Settings that 5.2.8 no longer knows.
const GONE: [&str; 7] = [
    "BLACKLISTNEWONLY",
    "BRIDGING",
    "CHAIN_SCRIPTS",
    "DYNAMIC_ZONES",
    "IPSECFILE",
    "MAPOLDACTIONS",
    "USE_ACTIONS",
];

/// The Shorewall folder's files, by name, spelled so that `shorewall update` understands them.
#[must_use]
pub fn respelled(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let respell = |(name, bytes): (&String, &Vec<u8>)| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split_inclusive('\n');
        let lines: String = match name.as_str() {
            "shorewall.conf" => lines.filter_map(setting).collect(),
            // A shell reads it.
            "params" => return (name.clone(), bytes.clone()),
            _ => lines.map(line).collect(),
        };
        (name.clone(), lines.into_bytes())
    };
    files.iter().map(respell).collect()
}

/// A line of a file of columns.
fn line(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default();
    if DIRECTIVES.contains(&first) {
        return line.replacen(first, &format!("?{first}"), 1);
    }
    // Macro/TARGET is Macro(TARGET) today.
    if let Some((name, rest)) = first.split_once('/')
        && name.chars().all(|c| c.is_ascii_alphanumeric())
        && name.starts_with(|c: char| c.is_ascii_uppercase())
    {
        let (target, level) = match rest.split_once(':') {
            Some((target, level)) => (target, format!(":{level}")),
            None => (rest, String::new()),
        };
        return line.replacen(first, &format!("{name}({target}){level}"), 1);
    }
    // The actions Drop and Reject are gone.
    line.replacen("DROP:Drop", "DROP:none", 1)
        .replacen("REJECT:Reject", "REJECT:none", 1)
}

/// A line of shorewall.conf; `None`: what it sets is gone.
fn setting(line: &str) -> Option<String> {
    let Some((name, value)) = line.split_once('=') else {
        return Some(line.to_owned());
    };
    if GONE.contains(&name.trim()) {
        return None;
    }
    if name == "STARTUP_ENABLED" {
        // Whether it is to start with the machine.
        return Some("STARTUP_ENABLED=Yes\n".to_owned());
    }
    let action = value.trim().trim_matches('"');
    let action = action.split('(').next().unwrap_or_default();
    if name.ends_with("_DEFAULT") && matches!(action, "Drop" | "Reject") {
        return Some(format!("{name}=none\n"));
    }
    Some(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respelled_file(name: &str, text: &str) -> String {
        let files = BTreeMap::from([(name.to_owned(), text.as_bytes().to_vec())]);
        String::from_utf8(respelled(&files).remove(name).unwrap()).unwrap()
    }

    #[test]
    fn what_is_spelled_otherwise_today_is_respelled() {
        assert_eq!(
            respelled_file(
                "rules",
                "SECTION NEW\nPing/DROP:info net $FW\nACCEPT net fw\n"
            ),
            "?SECTION NEW\nPing(DROP):info net $FW\nACCEPT net fw\n"
        );
        assert_eq!(
            respelled_file(
                "shorewall.conf",
                "STARTUP_ENABLED=1\nDROP_DEFAULT=\"Drop(-,DROP)\"\nUSE_ACTIONS=Yes\nFASTACCEPT=No\n"
            ),
            "STARTUP_ENABLED=Yes\nDROP_DEFAULT=none\nFASTACCEPT=No\n"
        );
        assert_eq!(respelled_file("params", "SECTION=1\n"), "SECTION=1\n");
    }
}
