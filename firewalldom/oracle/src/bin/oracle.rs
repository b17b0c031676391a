//! Looks for differences between firewalldom and Shorewall, in generated configurations or in any
//! site's.

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use oracle::campaign::{self, Plan, Summary, Unexplained};
use oracle::configuration::Configuration;
use oracle::linux::Host;
use oracle::traffic::Kind;
use std::path::PathBuf;

const USAGE: &str = "\
usage: oracle [--seed N] [--configurations N] [--frames N] [--kinds KIND,KIND…] [--show N] [FOLDER…]
Without a FOLDER, configurations are generated. Each FOLDER is laid out like /etc, or is a Shorewall
folder, whose interfaces are given addresses.";

struct Options {
    plan: Plan,
    show: usize,
    folders: Vec<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        plan: Plan {
            seed: 1,
            configurations: 20,
            frames: 20_000,
            kinds: Kind::ALL.to_vec(),
        },
        show: 20,
        folders: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            options.folders.push(argument.into());
            continue;
        }
        let value = arguments.next().context(USAGE)?;
        let plan = &mut options.plan;
        match argument.as_str() {
            "--seed" => plan.seed = value.parse()?,
            "--configurations" => plan.configurations = value.parse()?,
            "--frames" => plan.frames = value.parse()?,
            "--show" => options.show = value.parse()?,
            "--kinds" => {
                let kinds: Result<_, String> = value.split(',').map(str::parse).collect();
                plan.kinds = kinds.map_err(anyhow::Error::msg)?;
            }
            _ => bail!(USAGE),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    let program = std::env::current_exe()?.with_file_name("oracle-namespace");
    let host = Host::prepare(&program, &qemu_tests::to_stderr())?;
    let mut shown = 0;
    if options.folders.is_empty() {
        let summary = campaign::run(&host, &options.plan, &mut |summary: &Summary| {
            for found in summary.unexplained.iter().skip(shown).take(options.show) {
                println!("-- configuration {}", summary.configurations);
                show(&host, found);
            }
            shown = summary.unexplained.len();
        })?;
        report(&summary);
    }
    for folder in &options.folders {
        println!("== {}", folder.display());
        let configuration = Configuration::of_folder(folder)?;
        if let Err(errors) = configuration.compile() {
            println!("{errors}");
        }
        let mut summary = Summary::default();
        let mut rng = Rng::with_seed(options.plan.seed);
        summary.try_site(
            &host,
            &configuration,
            &mut rng,
            options.plan.frames,
            &options.plan.kinds,
        )?;
        for found in summary.unexplained.iter().take(options.show) {
            show(&host, found);
        }
        report(&summary);
    }
    Ok(())
}

/// Prints a difference in the smallest configuration that shows it.
fn show(host: &Host, found: &Unexplained) {
    println!("{} x {}", found.count, found.text);
    if std::env::var_os("ORACLE_WHOLE").is_some() {
        println!("{}", found.configuration);
        return;
    }
    let mut smallest = found.clone();
    match smallest.shrink(host) {
        Ok(()) => println!("{}", smallest.configuration),
        Err(error) => println!("not shrunk: {error:#}\n{}", found.configuration),
    }
}

fn report(summary: &Summary) {
    for words in &summary.only_shorewall_refused {
        println!("only Shorewall refuses: {words}");
    }
    println!("{summary}");
}
