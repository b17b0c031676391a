//! `bench`: its options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use image::bench::{Benchmark, DEFAULT_RUNS};
use image::build::TargetChoice;

use super::EXIT_STATUSES;
use super::run::SuiteChoice;

/// A benchmark by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchmarkChoice {
    /// Lengths of images.
    Sizes,
    /// The whole job at memory=8.
    Memory,
    /// From xl create to the first packet.
    Start,
    /// One TCP stream in each direction.
    Tcp,
    /// 64-byte packets at rising rates.
    Packets,
    /// Instructions and bytes, the same on every machine.
    Cost,
    /// Guests behind the firewall, beside the same behind Debian.
    Guests,
    /// The driver domain with a card, beside Debian's with another.
    Netdom,
    /// The engine on this host, beside this host's Linux.
    Engine,
    /// A guest's device model: stubdom, beside QEMU in dom0.
    Stub,
}

impl From<BenchmarkChoice> for Benchmark {
    fn from(choice: BenchmarkChoice) -> Self {
        match choice {
            BenchmarkChoice::Sizes => Self::Sizes,
            BenchmarkChoice::Memory => Self::Memory,
            BenchmarkChoice::Start => Self::Start,
            BenchmarkChoice::Tcp => Self::Tcp,
            BenchmarkChoice::Packets => Self::Packets,
            BenchmarkChoice::Cost => Self::Cost,
            BenchmarkChoice::Guests => Self::Guests,
            BenchmarkChoice::Netdom => Self::Netdom,
            BenchmarkChoice::Engine => Self::Engine,
            BenchmarkChoice::Stub => Self::Stub,
        }
    }
}

const BENCH_EXAMPLES: &str = "\
Takes about half an hour on a machine that does nothing else; on any other its figures of
time mean little, and it says so. A target that is missed is a result, not a failure.

Examples:
  cargo image bench                                every benchmark, into docs/
  cargo image bench --suite trixie                 the same on Debian 13's Xen and Linux
  cargo image bench --only guests                  guests behind the firewall, and behind Debian
  cargo image bench --only stub                    a guest's device model, beside QEMU in dom0
  cargo image bench --only netdom                  the driver domain, beside Debian's
  cargo image bench --only engine                  the engine beside this host's Linux: no Xen
  cargo image bench --only tcp --runs 1 --out /tmp/try
                                                   a quick look that leaves docs/ alone";

#[derive(Debug, Args)]
#[command(after_help = format!("{BENCH_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Bench {
    /// The Debian release whose Xen, dom0 and toolstack to run on.
    #[arg(long, value_enum, default_value = "bookworm")]
    pub(crate) suite: SuiteChoice,
    /// Measures only this, and keeps the samples of the others; may be given more than once.
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) only: Vec<BenchmarkChoice>,
    /// How often each is repeated.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RUNS, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// The folder for results.md and results/. Default: docs in this checkout.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}
