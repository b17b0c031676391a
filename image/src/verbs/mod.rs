//! What each verb does: reading arguments, calling the library, telling the user. One file a verb.

mod bench;
mod build;
mod check;
mod clean;
mod completions;
mod explain;
mod file;
mod fix;
mod guest;
mod inspect;
mod man;
mod run;
mod site;
mod stubdom_convert;
mod symbolize;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Verb;

/// Does what `verb` says.
pub(crate) fn perform(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Check(check) => check::perform(check),
        Verb::Build(build) => build::perform(build),
        Verb::Explain(explain) => explain::perform(explain),
        Verb::Inspect(inspect) => inspect::perform(inspect),
        Verb::Verify(verify) => verify::perform(verify),
        Verb::Symbolize(symbolize) => symbolize::perform(symbolize),
        Verb::StubdomConvert(wanted) => stubdom_convert::perform(wanted),
        Verb::Run(run) => run::perform(run),
        Verb::Bench(bench) => bench::perform(bench),
        Verb::Clean(_) => clean::perform(),
        Verb::Completions(completions) => completions::perform(completions),
        Verb::Man(man) => man::perform(man),
        Verb::Guest(guest) => guest::perform(guest),
    }
}
