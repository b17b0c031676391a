//! `bench`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use image::bench::{self, BenchOptions, Benchmark};
use image::workspace::Workspace;

use crate::args::Bench;
use crate::terminal::print;

pub(crate) fn perform(options: &Bench) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let folder = match &options.out {
        Some(folder) => folder.clone(),
        None => bench::results_folder(&workspace),
    };
    let mut benchmarks: BTreeSet<Benchmark> = match options.only.as_slice() {
        [] => Benchmark::ALL.into(),
        only => only.iter().copied().map(Benchmark::from).collect(),
    };
    let tell = |what: &str| eprintln!("xen-image: {what}");
    let page = folder.join("results.md");
    if benchmarks.remove(&Benchmark::Engine) {
        let summary = bench::perform_engine(&workspace, options.runs, &folder, &tell)?;
        print(&summary)?;
    }
    let is_stub_wanted = benchmarks.remove(&Benchmark::Stub);
    let wanted = BenchOptions {
        benchmarks,
        runs: options.runs,
        target: options.target,
    };
    let suite = options.suite.into();
    if !wanted.benchmarks.is_empty() {
        let record = bench::perform(&workspace, suite, &wanted, &folder, &tell)?;
        print(&bench::page::summary(&record))?;
    }
    if is_stub_wanted {
        let summary = bench::perform_stub(&workspace, suite, &wanted, &folder, &tell)?;
        print(&summary)?;
    }
    print(&format!("written: {}", page.display()))?;
    Ok(ExitCode::SUCCESS)
}
