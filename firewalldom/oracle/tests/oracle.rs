//! firewalldom beside Linux with real Shorewall. Where this host cannot have the oracle, the tests say
//! why and count as ignored; in continuous integration and in the full tier they fail.

use fastrand::Rng;
use libtest_mimic::{Arguments, Failed, Trial};
use oracle::campaign::Summary;
use oracle::configuration::Configuration;
use oracle::linux::Host;
use oracle::traffic::Kind;
use qemu_tests::{lab_is_required, to_stderr};
use std::path::Path;

/// Traffic about which nothing is known to differ yet.
const KINDS: [Kind; 9] = [
    Kind::Probe,
    Kind::Connection,
    Kind::Reopened,
    Kind::Datagrams,
    Kind::Echo,
    Kind::Error,
    Kind::TimeOut,
    Kind::Collision,
    Kind::Odd,
];

/// Shorewall's samples that agree.
const SAMPLES: [&str; 1] = ["one-interface"];

const NETWORK: &str = "\
auto eth0
iface eth0 inet static
    address 192.0.2.2/24
    gateway 192.0.2.1
auto eth1
iface eth1 inet static
    address 10.0.3.1/24
auto eth2
iface eth2 inet static
    address 10.0.4.1/24
";

/// Fails with everything that nobody explained.
fn explained(summary: &Summary) -> Result<(), Failed> {
    if let Some(words) = summary.only_shorewall_refused.first() {
        return Err(format!("only Shorewall refuses it: {words}").into());
    }
    let texts = summary.unexplained.iter();
    let texts: Vec<_> = texts
        .map(|found| format!("{}\n{}", found.text, found.configuration))
        .collect();
    match texts.is_empty() {
        true => Ok(()),
        false => Err(texts.join("\n").into()),
    }
}

fn sample_agrees(host: &Host, name: &str) -> Result<(), Failed> {
    let folder = host.samples().join(name);
    let configuration = Configuration::read(&folder, NETWORK)?;
    if let Err(report) = configuration.compile() {
        return Err(report.to_string().into());
    }
    let mut summary = Summary::default();
    summary.try_site(host, &configuration, &mut Rng::with_seed(1), 2000, &KINDS)?;
    explained(&summary)
}

fn trials(host: &Host) -> Vec<Trial> {
    SAMPLES
        .into_iter()
        .map(|name| {
            let host = host.clone();
            let title = format!("Shorewall's sample {name} agrees");
            Trial::test(title, move || sample_agrees(&host, name))
        })
        .collect()
}

fn main() {
    let arguments = Arguments::from_args();
    let program = Path::new(env!("CARGO_BIN_EXE_oracle-namespace"));
    let trials = match Host::prepare(program, &to_stderr()) {
        Ok(host) => trials(&host),
        Err(error) => {
            let reason = format!("{error:#}");
            let required = lab_is_required();
            if !required {
                eprintln!("{reason}");
            }
            let title = "the oracle can run here";
            let failing = Trial::test(title, move || Err(reason.into()));
            vec![failing.with_ignored_flag(!required)]
        }
    };
    libtest_mimic::run(&arguments, trials).exit();
}
