//! `xen-image`: checks, builds and runs the appliances.

mod args;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Verb};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.verb {
        Verb::Check(check) => verbs::check(check),
        Verb::Build(build) => verbs::build(build),
        Verb::Run(run) => verbs::run(run),
        Verb::Clean(_) => verbs::clean(),
        Verb::Guest(guest) => verbs::guest(guest),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xen-image: {error:#}");
        ExitCode::FAILURE
    })
}
