//! `xen-image`: checks, builds and runs the appliances.

mod args;
mod terminal;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    verbs::perform(&arguments.verb).unwrap_or_else(|error| {
        terminal::complain(&error);
        ExitCode::FAILURE
    })
}
