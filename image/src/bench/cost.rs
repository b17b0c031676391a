//! What the engine costs in instructions: the same on every machine, loaded or not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use firewalldom::Budget;

use super::samples::Cost;
use crate::workspace::Workspace;

/// Connections that are open while packets are counted.
const FLOWS: u64 = 1_024;

/// Packets that are counted.
const PACKETS: u64 = 20_000;

/// Whether there is a valgrind to count with.
pub(super) fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok()
}

/// Builds a package's programs below `target`, with the appliance's own optimisation, so that the
/// engine in them is the appliance's code.
///
/// # Errors
/// When they do not compile.
pub(super) fn build(
    workspace: &Workspace,
    target: &Path,
    package: &str,
    which: &[&str],
) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--profile", "appliance"])
        .args(["--package", package])
        .args(which)
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace.root())
        .status()
        .context("cargo")?;
    ensure!(built.success(), "cargo build of {package}: {built}");
    Ok(())
}

/// Counts with valgrind's callgrind; `None`, and a word to the user, where there is no valgrind.
///
/// # Errors
/// When the example does not compile or run.
pub(super) fn measure(workspace: &Workspace, tell: &dyn Fn(&str)) -> Result<Option<Cost>> {
    if !has_valgrind() {
        tell("no valgrind on this host: what the engine costs in instructions stays as it was");
        return Ok(None);
    }
    tell("counting the engine's instructions");
    let target = workspace.target().join("bench");
    build(workspace, &target, "firewalldom", &["--example", "forward"])?;
    let example = target.join("appliance/examples/forward");
    Ok(Some(Cost {
        packets: PACKETS,
        instructions: PACKETS * of_a_packet(&example, "tcp", "nat")?,
        flow_bytes: Budget::BYTES_PER_FLOW as u64,
    }))
}

/// Instructions of a packet of an established connection, from headers in the cache to headers
/// rewritten.
///
/// # Errors
/// When the example does not run.
pub(super) fn of_a_packet(example: &Path, transport: &str, nat: &str) -> Result<u64> {
    // The difference leaves out what it takes to open the connections.
    let without = instructions(example, 0, transport, nat)?;
    let with = instructions(example, PACKETS, transport, nat)?;
    Ok(with.saturating_sub(without) / PACKETS)
}

/// Instructions of the engine in one run of the example.
fn instructions(example: &Path, packets: u64, transport: &str, nat: &str) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured_*")
        .arg(example)
        .args([FLOWS.to_string(), packets.to_string()])
        .args([transport, nat])
        .output()
        .context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {text}", example.display());
    collected(&text).with_context(|| format!("valgrind counted nothing: {text}"))
}

/// The number behind `Collected :`, as callgrind prints it in the end.
fn collected(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once("Collected : ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn what_callgrind_collected_is_read() {
        assert_eq!(
            collected("==7== Events    : Ir\n==7== Collected : 4200\n"),
            Some(4_200)
        );
        assert_eq!(collected("==7== nothing"), None);
    }
}
