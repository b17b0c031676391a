//! Where no lab is possible, a test is ignored or failed, but never passed.

use crate::bench::{LabTest, Setup, expect};
use anyhow::Result;
use std::env;
use std::process::{Command, Output};

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "verdict::without_a_lab_tests_are_ignored",
            without_a_lab_tests_are_ignored,
        ),
        LabTest::new(
            "verdict::a_required_lab_that_is_missing_fails",
            a_required_lab_that_is_missing_fails,
        ),
    ]
}

/// Runs one test of this program on a host without any tool.
fn on_a_bare_host(required: &[(&str, &str)]) -> Result<Output> {
    let output = Command::new(env::current_exe()?)
        .args(["--exact", "dom0::xl_works", "--suite", "bookworm"])
        .env_remove("CI")
        .env_remove("XEN_TESTS")
        .env("PATH", "/nonexistent")
        .envs(required.iter().copied())
        .output()?;
    Ok(output)
}

fn without_a_lab_tests_are_ignored(_: &Setup) -> Result<()> {
    let output = on_a_bare_host(&[])?;
    let text = String::from_utf8_lossy(&output.stdout);
    expect(
        output.status.success() && text.contains("0 passed; 0 failed; 1 ignored"),
        || format!("{output:?}"),
    )?;
    let errors = String::from_utf8_lossy(&output.stderr);
    expect(
        errors.contains("no lab on this host: apt-get is missing"),
        || errors.to_string(),
    )
}

fn a_required_lab_that_is_missing_fails(_: &Setup) -> Result<()> {
    for required in [("CI", "true"), ("XEN_TESTS", "full")] {
        let output = on_a_bare_host(&[required])?;
        let text = String::from_utf8_lossy(&output.stdout);
        expect(
            !output.status.success() && text.contains("0 passed; 1 failed"),
            || format!("{required:?}: {output:?}"),
        )?;
        expect(text.contains("apt-get is missing"), || text.to_string())?;
    }
    Ok(())
}
