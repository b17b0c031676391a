//! A long blacklist: what it costs to load, and the flows that are not on it.

use crate::configuration::Configuration;
use fastrand::Rng;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// As many lines as a public list had.
pub const LINES: u32 = 17_567;

/// Flows that are begun: fewer than without the list, for a rule after the other takes its time.
pub const FLOWS: u32 = 4096;

/// How many of a thousand lines have a prefix of this length, as public lists are composed.
const LENGTHS: [(u8, u32); 5] = [(32, 560), (24, 270), (22, 100), (20, 40), (16, 30)];

/// The folder with a `blrules` of so many lines, which every new connection from the inside meets and
/// none of them is about.
#[must_use]
pub fn with_blacklist(configuration: &Configuration) -> Configuration {
    let mut random = Rng::with_seed(1);
    let mut blrules = String::new();
    for _ in 0..LINES {
        let mut dice = random.u32(..1000);
        let chosen = LENGTHS.iter().find(|(_, share)| {
            let is_it = dice < *share;
            dice = dice.saturating_sub(*share);
            is_it
        });
        let length = chosen.map_or(32, |(length, _)| *length);
        // Of the half of the addresses where the far end of the flows is not.
        let address = random.u32(0x0b00_0000..0x7f00_0000) & u32::MAX << (32 - length);
        let address = Ipv4Addr::from(address);
        // Writing to a String cannot fail.
        let _ = writeln!(blrules, "DROP\tloc\tnet:{address}/{length}");
    }
    let mut files = configuration.files.clone();
    files.insert("shorewall/blrules".to_owned(), blrules.into_bytes());
    Configuration {
        files,
        ..configuration.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::site;
    use std::path::Path;

    #[test]
    fn the_list_has_its_lines_and_compiles() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (configuration, plain) = site(&root.join("examples/two-interfaces")).unwrap();
        let listed = with_blacklist(&configuration);
        assert_eq!(
            listed.text("shorewall/blrules").lines().count(),
            LINES as usize
        );
        let policy = listed.compile().unwrap().policy;
        let rules: usize = policy.rule_lists.iter().map(|list| list.rules.len()).sum();
        let before: usize = plain.rule_lists.iter().map(|list| list.rules.len()).sum();
        assert!(rules - before > LINES as usize * 9 / 10, "{rules} rules");
    }
}
