//! `symbolize`: its options.

use std::path::PathBuf;

use clap::Args;

const SYMBOLIZE_EXAMPLES: &str = "\
Examples:
  cargo image symbolize /var/log/xen/guest-firewalldom.log out/firewalldom.debug
  ssh xenhost xl dmesg | cargo image symbolize - out/firewalldom.debug

Writes the log to standard output, with functions, files and lines beside the addresses of each
crash report. A report names its build by its build-id, and so does the debug file.

Exit status:
  0  done, whether there was a crash report or not
  1  a report is of another build than DEBUG (its names are wrong), or a file cannot be read
  2  the command line makes no sense";

#[derive(Debug, Args)]
#[command(after_help = SYMBOLIZE_EXAMPLES)]
pub(crate) struct Symbolize {
    /// A console's log, or what `xl dmesg` printed; `-` is standard input.
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// The .debug file of the image that crashed.
    #[arg(value_name = "DEBUG")]
    pub(crate) debug: PathBuf,
}
