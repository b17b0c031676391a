//! Runs the programs that measure, and reads what they say.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use serde::Deserialize;

use super::{Blacklist, Conditions, Engine, Figure, Instructions, Packet, Rules, System};
use crate::bench::conditions::{commit, load_average, output, processor};
use crate::bench::cost;
use crate::workspace::Workspace;

/// Makes glibc ask for large pages (`MADV_HUGEPAGE`). Linux' tables lie in the kernel's own mapping of
/// memory, which is of such pages; without them what is timed of the engine is the host's page tables.
const LARGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// Measures everything that this host allows.
///
/// # Errors
/// When a program does not compile or run. That the host has no namespaces or no valgrind is none.
pub(crate) fn measure(workspace: &Workspace, runs: u32, tell: &dyn Fn(&str)) -> Result<Engine> {
    tell("building what measures the engine");
    let target = workspace.target().join("bench");
    cost::build(workspace, &target, "oracle", &["--bins"])?;
    for example in ["rules", "forward"] {
        cost::build(workspace, &target, "firewalldom", &["--example", example])?;
    }
    let built = |name: &str| target.join("appliance").join(name);
    let mut conditions = conditions(workspace, runs)?;
    let mut missing = Vec::new();
    tell("timing packets of the engine and of Linux");
    let packets = packets(workspace, &built("oracle-figures"), runs, &mut missing)?;
    tell("timing new flows among many rules");
    let example = built("examples/rules");
    let (mut rules, mut blacklists) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        rules.extend(lines::<RulesLine>(&example, &["--json"])?.map(Rules::from));
        let arguments = ["--json", "--blacklist"];
        blacklists.extend(lines::<BlacklistLine>(&example, &arguments)?.map(Blacklist::from));
    }
    tell("counting the engine's instructions");
    let instructions = instructions(&built("examples/forward"), &mut missing)?;
    conditions.load_average[1] = load_average()?;
    missing.push(no_flowtable());
    Ok(Engine {
        conditions,
        packets,
        rules,
        blacklists,
        instructions,
        missing,
    })
}

fn conditions(workspace: &Workspace, runs: u32) -> Result<Conditions> {
    let root = workspace.root();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    Ok(Conditions {
        commit: commit(root)?,
        date: output("date", &["-u", "+%FT%TZ"], root)?,
        runs,
        rustc: output(&rustc, &["--version"], root)?,
        linux: output("uname", &["-r"], root)?,
        processor: processor()?,
        load_average: [load_average()?; 2],
    })
}

/// Why Linux is not measured with an nft flowtable.
fn no_flowtable() -> String {
    let mut text = String::new();
    let told = File::open("/proc/config.gz")
        .and_then(|file| GzDecoder::new(file).read_to_string(&mut text));
    let why = if told.is_err() {
        "this host's kernel does not tell whether it has any"
    } else if text.lines().any(has_flowtables) {
        "Shorewall does not make one"
    } else {
        "this host's kernel has none (CONFIG_NF_FLOW_TABLE)"
    };
    format!("Linux with an nft flowtable: {why}")
}

fn has_flowtables(line: &str) -> bool {
    matches!(line, "CONFIG_NF_FLOW_TABLE=y" | "CONFIG_NF_FLOW_TABLE=m")
}

/// What `oracle-figures` prints; what it cannot measure goes to `missing`.
fn packets(
    workspace: &Workspace,
    program: &Path,
    runs: u32,
    missing: &mut Vec<String>,
) -> Result<Vec<Packet>> {
    let output = Command::new(program)
        .arg(workspace.root().join("examples/two-interfaces"))
        .arg(runs.to_string())
        .env(LARGE_PAGES.0, LARGE_PAGES.1)
        .stderr(Stdio::piped())
        .output()
        .with_context(|| program.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", program.display());
    let notes = said.lines().filter(|line| line.starts_with("Linux: "));
    missing.extend(notes.map(str::to_owned));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| packet(line).with_context(|| format!("oracle-figures says {line:?}")))
        .collect()
}

/// `established linux 65536 1432000`.
fn packet(line: &str) -> Option<Packet> {
    let mut words = line.split(' ');
    Some(Packet {
        figure: match words.next()? {
            "established" => Figure::Established,
            "new" => Figure::New,
            "new_listed" => Figure::NewListed,
            "load_listed" => Figure::LoadListed,
            "flow_bytes" => Figure::FlowBytes,
            _ => return None,
        },
        system: match words.next()? {
            "firewalldom" => System::Firewalldom,
            "linux" => System::Linux,
            _ => return None,
        },
        flows: words.next()?.parse().ok()?,
        value: words.next()?.parse().ok()?,
    })
}

/// A line of the example `rules`.
#[derive(Deserialize)]
struct RulesLine {
    seed: String,
    rules: u32,
    last_rule: f64,
    no_rule: f64,
    last_rule_times: f64,
    no_rule_times: f64,
}

impl From<RulesLine> for Rules {
    fn from(line: RulesLine) -> Self {
        Self {
            seed: line.seed,
            rules: line.rules,
            last_rule_ps: picoseconds(line.last_rule),
            no_rule_ps: picoseconds(line.no_rule),
            last_rule_times: line.last_rule_times,
            no_rule_times: line.no_rule_times,
        }
    }
}

/// The same with `--blacklist`.
#[derive(Deserialize)]
struct BlacklistLine {
    blacklist: u32,
    without: f64,
    with: f64,
    times: f64,
    load_ms: f64,
}

impl From<BlacklistLine> for Blacklist {
    fn from(line: BlacklistLine) -> Self {
        Self {
            lines: line.blacklist,
            without_ps: picoseconds(line.without),
            with_ps: picoseconds(line.with),
            times: line.times,
            load_us: (line.load_ms * 1e3).round() as u64,
        }
    }
}

fn picoseconds(nanoseconds: f64) -> u64 {
    (nanoseconds * 1e3).round() as u64
}

/// A program's lines of JSON.
fn lines<T: for<'a> Deserialize<'a>>(
    program: &Path,
    arguments: &[&str],
) -> Result<impl Iterator<Item = T> + use<T>> {
    let name = program.display();
    let output = Command::new(program)
        .args(arguments)
        .env(LARGE_PAGES.0, LARGE_PAGES.1)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| name.to_string())?;
    ensure!(output.status.success(), "{name}: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let read =
        |line: &str| serde_json::from_str(line).with_context(|| format!("{name} says {line:?}"));
    Ok(text
        .lines()
        .map(read)
        .collect::<Result<Vec<T>>>()?
        .into_iter())
}

fn instructions(example: &Path, missing: &mut Vec<String>) -> Result<Vec<Instructions>> {
    if !cost::has_valgrind() {
        missing.push("instructions: no valgrind on this host".to_owned());
        return Ok(Vec::new());
    }
    let mut counts = Vec::new();
    for transport in ["tcp", "udp"] {
        for nat in ["nat", "plain"] {
            counts.push(Instructions {
                transport: transport.to_owned(),
                nat: nat.to_owned(),
                count: cost::of_a_packet(example, transport, nat)?,
            });
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_oracles_is_a_sample() {
        let expected = Packet {
            figure: Figure::Established,
            system: System::Linux,
            flows: 65_536,
            value: 1_432_000,
        };
        assert_eq!(packet("established linux 65536 1432000"), Some(expected));
        assert_eq!(packet("established bsd 65536 1432000"), None);
        assert_eq!(packet("established linux 65536"), None);
    }

    #[test]
    fn a_line_of_rules_is_in_picoseconds() {
        let text = "{\"seed\":\"acl\",\"rules\":10,\"load_ms\":0.5,\"blob_bytes\":7,\
                    \"memory_bytes\":9,\"unit\":\"ns\",\"last_rule\":443.25,\"no_rule\":521.0,\
                    \"last_rule_times\":1.0,\"no_rule_times\":1.25}";
        let line: RulesLine = serde_json::from_str(text).unwrap();
        let rules = Rules::from(line);
        assert_eq!((rules.last_rule_ps, rules.no_rule_ps), (443_250, 521_000));
        assert_eq!((rules.last_rule_times, rules.no_rule_times), (1.0, 1.25));
    }
}
