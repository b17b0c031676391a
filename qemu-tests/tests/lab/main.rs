//! System tests: what only real Xen can show. Those of a suite share one boot, or two side by side.
//!
//! A module has `pub fn tests() -> Vec<LabTest>` and is named in [`modules`].

mod appliances;
mod backend;
mod behind;
mod bench;
mod cards;
mod channel;
mod columns;
mod crowd;
mod death;
mod devices;
mod disks;
mod dom0;
mod empty;
mod firewall;
mod guests;
mod helper;
mod holdings;
mod hostile;
mod house;
mod hvm;
mod images;
mod inventory;
mod loader;
mod minios;
mod netdom;
mod router;
mod save;
mod stat;
mod stubdom;
mod stubdom_life;
mod twin;
mod verdict;

use bench::{Bench, LabTest};
use libtest_mimic::Arguments;
use qemu_tests::{Suite, Tier};
use std::process::exit;

fn modules() -> Vec<LabTest> {
    let mut tests = Vec::new();
    tests.extend(dom0::tests());
    tests.extend(channel::tests());
    tests.extend(death::tests());
    tests.extend(verdict::tests());
    tests.extend(minios::tests());
    tests.extend(loader::tests());
    tests.extend(appliances::tests());
    tests.extend(cards::tests());
    tests.extend(netdom::tests());
    tests.extend(disks::tests());
    tests.extend(empty::tests());
    tests.extend(firewall::tests());
    tests.extend(guests::tests());
    tests.extend(hvm::tests());
    tests.extend(helper::tests());
    tests.extend(backend::tests());
    tests.extend(hostile::tests());
    tests.extend(twin::tests());
    tests.extend(crowd::tests());
    tests.extend(columns::tests());
    tests.extend(stat::tests());
    tests.extend(router::tests());
    tests.extend(save::tests());
    tests.extend(stubdom::tests());
    tests.extend(stubdom_life::tests());
    tests.extend(house::tests());
    tests.extend(inventory::tests());
    tests.extend(devices::tests());
    tests.retain(|test| test.is_of(Tier::current()));
    // At the end, so that nothing waits for them in between but what runs then.
    tests.sort_by_key(LabTest::is_alone);
    tests
}

/// How many machines to use at a time, each by one test, where `--test-threads` does not say it: a
/// second one where the host has the processors and the memory, as tests mostly wait.
fn machines() -> usize {
    const OF_TWO_KIB: u64 = 10 << 20;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    match processors > 1 && available.is_some_and(|kib: u64| kib >= OF_TWO_KIB) {
        true => 2,
        false => 1,
    }
}

fn main() {
    if std::env::var_os(death::VICTIM).is_some() {
        death::be_the_victim();
    }
    let mut line: Vec<String> = std::env::args().collect();
    let suites = Suite::asked_for(&mut line).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        exit(2);
    });
    let mut arguments = Arguments::from_iter(line);
    arguments.test_threads.get_or_insert_with(machines);
    let tier = Tier::current();
    let suites = suites.map_or_else(|| Suite::of_tier(tier), |suite| vec![suite]);
    if !arguments.list {
        println!(
            "tier: {tier:?}, at most {} repetitions (XEN_TESTS=full for all)",
            tier.repetitions(u32::MAX)
        );
        for suite in &suites {
            println!("suite: {suite}, Xen {}", suite.xen_version());
        }
    }
    let bench = Bench::default();
    let trials = suites
        .into_iter()
        .flat_map(|suite| {
            let trial = |test| bench.trial(suite, test);
            modules().into_iter().map(trial).collect::<Vec<_>>()
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    bench.stop();
    conclusion.exit();
}
