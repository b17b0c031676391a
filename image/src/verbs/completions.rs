//! `completions`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::{Shell as Generator, generate};

use crate::args::{Arguments, Completions, PROGRAM, Shell};

pub(crate) fn perform(completions: &Completions) -> Result<ExitCode> {
    // In memory first: clap's generators panic when a pipe closes.
    io::stdout()
        .write_all(&script(completions.shell))
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    let mut command = Arguments::command().bin_name(PROGRAM);
    generate(generator, &mut command, PROGRAM, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_learns_verbs_options_and_values() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["xen-image", "build", "memory", "suite", "trixie"] {
                assert!(script.contains(word), "{shell:?} lacks {word}");
            }
        }
    }
}
