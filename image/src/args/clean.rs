//! `clean`: its options.

use clap::Args;

use super::EXIT_STATUSES;

#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUSES)]
pub(crate) struct Clean {}
