//! `stubdom-convert`: its options.

use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const EXAMPLES: &str = "\
Examples:
  cargo image stubdom-convert /etc/xen/web.cfg --out web-stubdom.cfg
  cargo image stubdom-convert web.cfg --out new/web.cfg --stubdom /srv/stubdom

What there is no counterpart for is named, with what to do instead, and then nothing is written. The rest
of the file stays as it is, comments and order included. GUEST.cfg itself is never changed.";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct StubdomConvert {
    /// The guest's configuration for xl.
    #[arg(value_name = "GUEST.cfg")]
    pub(crate) guest: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "NEW.cfg")]
    pub(crate) out: PathBuf,
    /// The folder in dom0 with what `build stubdom` wrote.
    #[arg(long, value_name = "DIR", default_value = "/usr/local/lib/xen-stubdom")]
    pub(crate) stubdom: PathBuf,
    /// Prints the changes as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}
