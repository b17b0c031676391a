//! `completions`: its options.

use clap::{Args, ValueEnum};

use super::EXIT_STATUSES;

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

const EXAMPLES: &str = "\
Examples:
  cargo image completions bash > ~/.local/share/bash-completion/completions/xen-image
  cargo image completions zsh > ~/.zfunc/_xen-image     with fpath+=(~/.zfunc) before compinit
  cargo image completions fish > ~/.config/fish/completions/xen-image.fish

They complete `xen-image`, which `cargo install --path image --locked` puts into ~/.cargo/bin.";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Completions {
    /// For which shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
