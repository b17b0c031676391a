//! Looks for differences between firewalldom and Shorewall, in generated configurations or in any
//! site's.

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use oracle::campaign::{self, Plan, Summary, Unexplained};
use oracle::configuration::Configuration;
use oracle::linux::Host;
use oracle::traffic::Kind;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const USAGE: &str = "\
usage: oracle [OPTION…] [FOLDER…]
Without a FOLDER, configurations are generated. Each FOLDER is laid out like /etc, or is a Shorewall
folder, whose interfaces are given addresses.
  --seed N            where chance begins
  --configurations N  how many are generated
  --frames N          how many are sent, over all configurations, or into each FOLDER
  --kinds KIND,KIND…  of traffic
  --jobs N            configurations at once; twice the processors by default, for each waits a lot
  --show N            differences of so many classes are printed
  --shrink N          and of the first so many, the smallest configuration that differs; this takes long
  --save DIR          and of each, its configuration is written to a folder in there
  --shell COMMAND     what it prints in each FOLDER's namespace on Linux
  --write FILE        what came of generated configurations, with how it was done";

struct Options {
    plan: Plan,
    show: usize,
    shrink: usize,
    save: Option<PathBuf>,
    shell: Option<String>,
    write: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        plan: Plan {
            seed: 1,
            configurations: 20,
            frames: 20_000,
            kinds: Kind::ALL.to_vec(),
            jobs: std::thread::available_parallelism()?.get() * 2,
        },
        show: 20,
        shrink: 0,
        save: None,
        shell: None,
        write: None,
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
            "--jobs" => plan.jobs = value.parse()?,
            "--show" => options.show = value.parse()?,
            "--shrink" => options.shrink = value.parse()?,
            "--save" => options.save = Some(value.into()),
            "--shell" => options.shell = Some(value),
            "--write" => options.write = Some(value.into()),
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
    if options.folders.is_empty() {
        let mut shown = 0;
        let started = Instant::now();
        let summary = campaign::run(&host, &options.plan, &mut |summary: &Summary| {
            for number in shown..summary.unexplained.len() {
                println!("-- configuration {}", summary.configurations);
                show(&host, &options, &summary.unexplained[number], number);
            }
            shown = summary.unexplained.len();
            eprintln!(
                "{} configurations, {} frames, {} s",
                summary.configurations,
                summary.frames,
                started.elapsed().as_secs()
            );
        })?;
        report(&summary);
        if let Some(file) = &options.write {
            fs::write(file, document(&options.plan, &summary)?)?;
        }
    }
    for folder in &options.folders {
        println!("== {}", folder.display());
        let configuration = Configuration::of_folder(folder)?;
        if let Some(command) = &options.shell {
            println!("{}", campaign::shell(&host, &configuration, command)?);
        }
        let mut summary = Summary::default();
        let mut rng = Rng::with_seed(options.plan.seed);
        let Plan { frames, kinds, .. } = &options.plan;
        summary.try_site(&host, &configuration, &mut rng, *frames, kinds)?;
        for (number, found) in summary.unexplained.iter().enumerate() {
            show(&host, &options, found, number);
        }
        report(&summary);
    }
    Ok(())
}

/// Prints a difference.
fn show(host: &Host, options: &Options, found: &Unexplained, number: usize) {
    if number < options.show {
        println!("{number}: {}\n{}", found.class, found.text);
    }
    if number < options.shrink {
        let mut smallest = found.clone();
        match smallest.shrink(host) {
            Ok(()) => println!("{}", smallest.configuration),
            Err(error) => println!("not shrunk: {error:#}"),
        }
    }
    if let Some(folder) = &options.save
        && let Err(error) = save(&folder.join(number.to_string()), found)
    {
        println!("not saved: {error:#}");
    }
}

fn save(folder: &Path, found: &Unexplained) -> Result<()> {
    found.configuration.write_to(folder)?;
    let text = format!("{}\n{}", found.class, found.text);
    fs::write(folder.join("difference"), text)?;
    Ok(())
}

/// The page docs/oracle.md.
fn document(plan: &Plan, summary: &Summary) -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let Plan {
        seed,
        configurations,
        frames,
        ..
    } = plan;
    let mut text = format!(
        "# firewalldom beside Shorewall\n\n\
         What [firewalldom/oracle](../firewalldom/oracle) found with generated configurations, as\n\n\
         ```text\n\
         cargo run -p oracle --bin oracle -- --configurations {configurations} --frames {frames} \
         --seed {seed} --write docs/oracle.md\n\
         ```\n\n\
         wrote it (Shorewall 5.2.8, iptables-nft 1.8.9, Linux {}). A wanted difference is stricter than\n\
         Linux and has its reason; everything else is unexplained.\n\n{summary}",
        kernel.trim()
    );
    let mut classes: Vec<_> = summary.unexplained.iter().collect();
    classes.sort_by_key(|found| &found.class);
    for found in classes {
        text += &format!("\n- {} x {}", found.count, found.class);
    }
    if !summary.unexplained.is_empty() {
        text += "\n";
    }
    Ok(text)
}

fn report(summary: &Summary) {
    for words in &summary.refusals {
        println!("ours refuses: {words}");
    }
    for words in &summary.only_shorewall_refused {
        println!("only Shorewall refuses: {words}");
    }
    let mut classes: Vec<_> = summary.unexplained.iter().collect();
    classes.sort_by_key(|found| &found.class);
    for found in classes {
        println!("{} x {}", found.count, found.class);
    }
    println!("{summary}");
}
