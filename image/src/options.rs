//! What the command line says about a domain, checked: all that is wrong at once.

use std::fs;
use std::path::PathBuf;

use firewalldom::policy::{Interface, Policy};
use shorewall::{Severity, Site};

use crate::device::Kind;
use crate::findings::{Finding, Findings, SourceId};
use crate::vif::{VifKey, VifOption};

/// The words as they were given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// `--name`.
    pub name: Option<&'a str>,
    /// `--memory`.
    pub memory: Option<&'a str>,
    /// Each `--vif`.
    pub vifs: &'a [String],
}

/// What they mean.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The domain's name, which is also that of the files.
    pub name: Option<String>,
    /// `memory=`, in MiB.
    pub memory_mib: Option<u32>,
    /// What the vifs' lines shall say.
    pub vifs: Vec<VifOption>,
}

/// The least and the most memory of a domain, in MiB.
pub const MEMORY_MIB: std::ops::RangeInclusive<u32> = 4..=65_536;

/// The longest name of a domain here. Longer ones fit Xen, but not the tables that `xl` prints.
const NAME_LENGTH: usize = 63;

impl Options {
    /// Reads the options; whatever is wrong goes to `findings`.
    pub fn parse(words: Words<'_>, findings: &mut Findings) -> Self {
        // One text, so that its lines are numbered in the order of the options.
        let mut lines = Vec::new();
        lines.extend(words.name.map(|value| ("--name ", value)));
        lines.extend(words.memory.map(|value| ("--memory ", value)));
        lines.extend(words.vifs.iter().map(|value| ("--vif ", value.as_str())));
        // A line break within a value would number the lines after it wrongly.
        let text: Vec<String> = lines
            .iter()
            .map(|(option, value)| format!("{option}{}", value.replace(['\n', '\r'], " ")))
            .collect();
        let source = findings.source("command line", text.join("\n"));
        let mut options = Self::default();
        let mut at = 0;
        for ((option, _), line) in lines.into_iter().zip(&text) {
            let offset = at + option.len();
            let value = &line[option.len()..];
            match option {
                "--name " => options.name = name(value, source, offset, findings),
                "--memory " => options.memory_mib = memory(value, source, offset, findings),
                _ => options
                    .vifs
                    .extend(VifOption::parse(value, source, offset, findings)),
            }
            at += line.len() + 1;
        }
        options.find_twice(findings);
        options
    }

    /// The same interface, or the same address, in two places.
    fn find_twice(&mut self, findings: &mut Findings) {
        for (index, vif) in self.vifs.iter().enumerate() {
            let earlier = &self.vifs[..index];
            if earlier.iter().any(|other| other.interface == vif.interface) {
                findings.push(
                    Finding::error(format!("two --vif name the interface `{}`", vif.interface))
                        .at(vif.source, vif.place.clone(), "named again")
                        .note("say all about it in one: --vif NAME=bridge=…,mac=…"),
                );
            }
            let address = |vif: &VifOption| vif.get(VifKey::Mac).map(str::to_ascii_lowercase);
            if address(vif).is_some() && earlier.iter().any(|other| address(other) == address(vif))
            {
                findings.push(
                    Finding::error("two interfaces have the same hardware address")
                        .at(vif.source, vif.place.clone(), "the second of them")
                        .note("give each an address of its own, or leave mac= out: one is made up"),
                );
            }
        }
    }

    /// Whether the options suit the site's interfaces: what does not goes to `findings`.
    pub fn fit(&self, policy: &Policy, site: &Site, findings: &mut Findings) {
        let names: Vec<&str> = policy
            .interfaces
            .iter()
            .filter(|interface| !interface.has_guests())
            .map(|interface| interface.name.as_str())
            .collect();
        for vif in &self.vifs {
            let name = vif.interface.as_str();
            if !names.contains(&name) {
                findings.push(
                    Finding::error(format!("the site has no interface `{name}`"))
                        .at(vif.source, vif.place.clone(), "not in shorewall/interfaces")
                        .suggest(name, names.iter().copied())
                        .note(format!("the interfaces are: {}", names.join(", "))),
                );
            }
        }
        let is_named = |name: &str| self.vifs.iter().any(|vif| vif.interface == name);
        find_obstacles(policy, site, is_named, Severity::Error, findings);
    }
}

/// Interfaces that have no counterpart in a domain, and that the user has said nothing about.
pub fn find_obstacles(
    policy: &Policy,
    site: &Site,
    is_named: impl Fn(&str) -> bool,
    severity: Severity,
    findings: &mut Findings,
) {
    let own = policy.interfaces.iter().filter(|own| !own.has_guests());
    for interface in own {
        let name = interface.name.as_str();
        let Some(obstacle) = Kind::of(name).obstacle() else {
            continue;
        };
        if is_named(name) {
            continue;
        }
        let message = match severity {
            Severity::Error => format!("`{name}` cannot become a vif by itself"),
            Severity::Warning => format!("`{name}` needs an option of `build`"),
        };
        let mut finding = match severity {
            Severity::Error => Finding::error(message),
            Severity::Warning => Finding::warning(message),
        };
        if let Some((source, range)) = declaration(policy, site, interface, findings) {
            finding = finding.at(source, range, obstacle.what);
        } else {
            finding = finding.note(obstacle.what);
        }
        findings.push(finding.note(obstacle.instead).note(format!(
            "the bridge is named so: --vif {name}=bridge=BRIDGE"
        )));
    }
}

/// Where the site's files declare an interface.
fn declaration(
    policy: &Policy,
    site: &Site,
    interface: &Interface,
    findings: &mut Findings,
) -> Option<(SourceId, std::ops::Range<usize>)> {
    let short = policy.files.get(usize::from(interface.origin.file))?;
    let path: PathBuf = site.shorewall().join(short.strip_prefix("shorewall/")?);
    let text = String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned();
    let index = interface.origin.line.checked_sub(1)?;
    let line = text.split_inclusive('\n').nth(index as usize)?;
    let start: usize = text
        .split_inclusive('\n')
        .take(index as usize)
        .map(str::len)
        .sum();
    // The name itself, or, where it comes from a variable, the line.
    let range = match line.find(&interface.name) {
        Some(at) => start + at..start + at + interface.name.len(),
        None => start..start + line.trim_end().len(),
    };
    Some((findings.source(path.display().to_string(), text), range))
}

fn name(value: &str, source: SourceId, at: usize, findings: &mut Findings) -> Option<String> {
    let what = if value.is_empty() {
        "nothing is named"
    } else if value.chars().count() > NAME_LENGTH {
        "longer than 63 characters"
    } else if value.bytes().all(|byte| byte.is_ascii_digit()) {
        "xl would take a number for a domain's id"
    } else if value.eq_ignore_ascii_case("Domain-0") {
        "that is dom0"
    } else if value.starts_with(['-', '.'])
        || !value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+'))
    {
        "expected letters, digits, `-`, `_`, `.` or `+`, a letter or digit first"
    } else {
        return Some(value.to_owned());
    };
    findings.push(
        Finding::error(format!("`{value}` cannot be a domain's name"))
            .at(source, at..at + value.len(), what)
            .note(
                "the files are called after it as well: --name NAME writes NAME.xen and NAME.cfg",
            ),
    );
    None
}

fn memory(value: &str, source: SourceId, at: usize, findings: &mut Findings) -> Option<u32> {
    let (least, most) = (*MEMORY_MIB.start(), *MEMORY_MIB.end());
    match value.parse() {
        Ok(mib) if MEMORY_MIB.contains(&mib) => return Some(mib),
        _ => {}
    }
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = value[digits.len()..].trim().to_ascii_lowercase();
    let mut finding = Finding::error(format!("`{value}` cannot be a domain's memory")).at(
        source,
        at..at + value.len(),
        format!("expected a number of MiB, from {least} to {most}"),
    );
    // What else people write: 16M, 16MB, 1G.
    let factor = match unit.as_str() {
        "m" | "mb" | "mib" => Some(1),
        "g" | "gb" | "gib" => Some(1024),
        _ => None,
    };
    if let (Some(factor), Ok(number)) = (factor, digits.parse::<u32>())
        && let Some(mib) = number.checked_mul(factor)
        && MEMORY_MIB.contains(&mib)
    {
        finding = finding.note(format!("write: --memory {mib}"));
    }
    findings.push(finding);
    None
}

#[cfg(test)]
mod tests {
    use shorewall::Style;

    use super::*;
    use crate::config::samples;

    fn parsed(words: Words<'_>) -> (Options, Findings) {
        let mut findings = Findings::default();
        let options = Options::parse(words, &mut findings);
        (options, findings)
    }

    fn site(files: &[(&str, &str)]) -> (tempfile::TempDir, Site) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("shorewall")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let site = Site::from_etc(directory.path());
        (directory, site)
    }

    #[test]
    fn what_is_right_is_understood() {
        let vifs = ["eth0=bridge=xenbr0".to_owned()];
        let (options, findings) = parsed(Words {
            name: Some("fw-1"),
            memory: Some("16"),
            vifs: &vifs,
        });
        assert!(findings.is_empty(), "{}", findings.render(Style::Plain));
        assert_eq!(options.name.as_deref(), Some("fw-1"));
        assert_eq!(options.memory_mib, Some(16));
        assert_eq!(options.vifs.len(), 1);
    }

    #[test]
    fn every_option_is_checked_before_anything_ends() {
        let vifs = ["eth0=x".to_owned(), "eth1=mtu=big".to_owned()];
        let (_, findings) = parsed(Words {
            name: Some("../fw"),
            memory: Some("16M"),
            vifs: &vifs,
        });
        let lines: Vec<u32> = findings
            .diagnostics()
            .iter()
            .map(|diagnostic| diagnostic.location.as_ref().expect("a place").line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert!(findings.render(Style::Plain).contains("write: --memory 16"));
    }

    #[test]
    fn names_that_xl_or_a_file_cannot_have_are_refused() {
        let long = "a".repeat(64);
        for name in [
            "", "7", "Domain-0", "a/b", "-x", ".x", "a b", "ä", "a\nb", &long,
        ] {
            let words = Words {
                name: Some(name),
                ..Words::default()
            };
            let (options, findings) = parsed(words);
            assert_eq!((options.name, findings.errors()), (None, 1), "{name}");
        }
    }

    #[test]
    fn memory_is_mebibytes_and_says_so() {
        for (text, hint) in [
            ("0", None),
            ("3", None),
            ("65537", None),
            ("-1", None),
            ("8 MB", Some("--memory 8")),
            ("1G", Some("--memory 1024")),
            ("1T", None),
            ("eight", None),
        ] {
            let words = Words {
                memory: Some(text),
                ..Words::default()
            };
            let (options, findings) = parsed(words);
            assert_eq!((options.memory_mib, findings.errors()), (None, 1), "{text}");
            let said = findings.render(Style::Plain);
            assert_eq!(said.contains("write:"), hint.is_some(), "{said}");
            assert!(hint.is_none_or(|hint| said.contains(hint)), "{said}");
        }
    }

    #[test]
    fn an_interface_or_an_address_given_twice_is_an_error() {
        let vifs = [
            "eth0=mac=00:16:3e:00:00:0a".to_owned(),
            "eth0=bridge=b".to_owned(),
            "eth1=mac=00:16:3E:00:00:0A".to_owned(),
        ];
        let (_, findings) = parsed(Words {
            vifs: &vifs,
            ..Words::default()
        });
        let said = findings.render(Style::Plain);
        assert_eq!(findings.errors(), 2, "{said}");
        assert!(said.contains("name the interface `eth0`"));
        assert!(said.contains("the same hardware address"));
    }

    #[test]
    fn an_interface_that_the_site_lacks_is_named_with_those_it_has() {
        let policy = samples::site(&[("eth0", "net"), ("eth1", "loc")]);
        let vifs = ["eth9=bridge=b".to_owned(), "lan=bridge=b".to_owned()];
        let (options, mut findings) = parsed(Words {
            vifs: &vifs,
            ..Words::default()
        });
        let (_kept, site) = site(&[]);
        options.fit(&policy, &site, &mut findings);
        let said = findings.render(Style::Plain);
        assert_eq!(findings.errors(), 2, "{said}");
        assert!(said.contains("did you mean `eth0`?"), "{said}");
        assert!(said.contains("the interfaces are: eth0, eth1"), "{said}");
    }

    #[test]
    fn a_device_without_a_counterpart_is_an_error_until_it_is_mapped() {
        let mut policy = samples::site(&[("ppp0", "net"), ("bond0", "loc")]);
        policy.files = vec!["shorewall/interfaces".to_owned()];
        policy.interfaces[0].origin.line = 2;
        let (_kept, site) = site(&[("shorewall/interfaces", "?FORMAT 2\nnet  ppp0  -\n")]);
        let (options, mut findings) = parsed(Words::default());
        options.fit(&policy, &site, &mut findings);
        let said = findings.render(Style::Plain);
        assert_eq!(findings.errors(), 1, "{said}");
        assert!(said.contains("interfaces:2:6"), "{said}");
        assert!(said.contains("--vif ppp0=bridge=BRIDGE"), "{said}");

        let vifs = ["ppp0=bridge=br-dsl".to_owned()];
        let (options, mut findings) = parsed(Words {
            vifs: &vifs,
            ..Words::default()
        });
        options.fit(&policy, &site, &mut findings);
        assert!(findings.is_empty(), "{}", findings.render(Style::Plain));
    }
}
