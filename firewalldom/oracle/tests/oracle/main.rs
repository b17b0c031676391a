//! firewalldom beside Linux with real Shorewall. Where this host cannot have the oracle, the tests say
//! why and count as ignored; in continuous integration and in the full tier they fail.

mod regressions;

use fastrand::Rng;
use libtest_mimic::{Arguments, Failed, Trial};
use oracle::bugs::{BUGS, Bug};
use oracle::campaign::{self, Plan, Summary};
use oracle::configuration::Configuration;
use oracle::linux::Host;
use oracle::traffic::Kind;
use qemu_tests::{Tier, lab_is_required, to_stderr};
use std::path::Path;

/// Shorewall's own samples, as its package has them.
const SAMPLES: [&str; 3] = ["one-interface", "two-interfaces", "three-interfaces"];

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
    summary.try_site(
        host,
        &configuration,
        &mut Rng::with_seed(1),
        2000,
        &Kind::ALL,
    )?;
    explained(&summary)
}

/// Generated configurations of one seed. That Shorewall refuses one is no difference in what it lets
/// through.
fn generated_agree(host: &Host, seed: u64, tier: Tier) -> Result<(), Failed> {
    let (configurations, frames) = match tier {
        Tier::Short => (10, 10_000),
        Tier::Full => (50, 50_000),
    };
    let plan = Plan {
        seed,
        configurations,
        frames,
        kinds: Kind::ALL.to_vec(),
        jobs: 1,
    };
    let summary = campaign::run(host, &plan, &mut |_| ())?;
    eprintln!("{summary}");
    match summary.unexplained.is_empty() {
        true => Ok(()),
        false => explained(&summary),
    }
}

/// A site in which each seeded fault shows.
const SITE: [(&str, &str); 9] = [
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0 tcpflags,nosmurfs\nloc eth1 tcpflags,nosmurfs,routeback\n",
    ),
    (
        "shorewall/policy",
        "loc net ACCEPT\n$FW all ACCEPT\nnet all DROP\nall all REJECT\n",
    ),
    (
        "shorewall/rules",
        "ACCEPT net $FW tcp 22\n\
         ACCEPT net $FW icmp 8\n\
         DROP loc $FW udp !53\n\
         ACCEPT loc $FW tcp 53:80\n\
         REJECT loc net tcp 20:25\n\
         DROP loc net udp - 68\n\
         DROP loc net icmp 13\n\
         DROP loc net 47\n\
         DROP loc:10.0.3.2-10.0.3.6!10.0.3.5 net tcp 443\n\
         ACCEPT loc net tcp 20:30\n\
         DNAT net loc:10.0.3.80:80 tcp 8080\n",
    ),
    ("shorewall/snat", "MASQUERADE 10.0.3.0/24 eth0\n"),
    ("shorewall/conntrack", "?FORMAT 3\n"),
    ("shorewall/params", ""),
    (
        "shorewall/shorewall.conf",
        "STARTUP_ENABLED=Yes\nIP_FORWARDING=On\nLOGFORMAT=\"%s %s \"\nLOGFILE=/var/log/messages\n\
         AUTOHELPERS=No\nEXPAND_POLICIES=Yes\n",
    ),
    ("network/interfaces", NETWORK),
];

fn site() -> Configuration {
    let files = SITE.map(|(path, text)| (path.to_owned(), text.into()));
    let mut configuration = Configuration {
        files: files.into(),
        ..Configuration::default()
    };
    // eth2 is nobody's here.
    let network = NETWORK.split("auto eth2").next().unwrap_or_default();
    let path = "network/interfaces".to_owned();
    configuration.files.insert(path, network.into());
    configuration
}

/// The seeded fault is found, and said in a few steps; in the full tier also in a few lines.
fn bug_is_found(host: &Host, bug: Bug, tier: Tier) -> Result<(), Failed> {
    let Some(mut found) = campaign::find(host, &site(), bug, 40_000)? else {
        return Err("the oracle does not see it".into());
    };
    if found.steps.len() > 4 {
        return Err(format!("{} steps:\n{}", found.steps.len(), found.text).into());
    }
    if tier == Tier::Full {
        found.shrink(host)?;
        let files = found.configuration.files.keys();
        let lines: usize = files
            .map(|path| found.configuration.text(path).lines().count())
            .sum();
        if lines > 20 {
            return Err(format!("{lines} lines:\n{}", found.configuration).into());
        }
    }
    Ok(())
}

fn trials(host: &Host) -> Vec<Trial> {
    let tier = Tier::current();
    let mut trials = Vec::new();
    let seeds = match tier {
        Tier::Short => 1..=5,
        Tier::Full => 1..=20,
    };
    for seed in seeds {
        let host = host.clone();
        let title = format!("generated configurations agree, seed {seed}");
        trials.push(Trial::test(title, move || {
            generated_agree(&host, seed, tier)
        }));
    }
    for name in SAMPLES {
        let host = host.clone();
        let title = format!("Shorewall's sample {name} agrees");
        trials.push(Trial::test(title, move || sample_agrees(&host, name)));
    }
    for case in regressions::cases() {
        let host = host.clone();
        let title = format!("mended: {}", case.name);
        trials.push(Trial::test(title, move || {
            regressions::stays_mended(&host, case)
        }));
    }
    for (name, case) in &regressions::WANTED_CASES {
        let host = host.clone();
        let title = format!("meant: {}", case.name);
        trials.push(Trial::test(title, move || {
            regressions::stays_wanted(&host, name, case)
        }));
    }
    for refusal in &regressions::REFUSALS {
        let host = host.clone();
        let title = format!("refused: {}", refusal.name);
        trials.push(Trial::test(title, move || {
            regressions::is_refused(&host, refusal)
        }));
    }
    for bug in BUGS {
        let host = host.clone();
        let title = format!("seeded: {}", bug.name);
        trials.push(Trial::test(title, move || bug_is_found(&host, bug, tier)));
    }
    trials
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Each waits for Linux much of its time.
    arguments.test_threads.get_or_insert(6);
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
