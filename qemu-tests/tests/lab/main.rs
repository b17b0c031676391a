//! System tests: what only real Xen can show. They share one boot.
//!
//! A module has `pub fn tests() -> Vec<LabTest>` and is named in [`modules`].

mod appliances;
mod bench;
mod channel;
mod death;
mod dom0;
mod firewall;
mod images;
mod minios;
mod router;
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
    tests.extend(appliances::tests());
    tests.extend(firewall::tests());
    tests.extend(router::tests());
    tests
}

fn main() {
    if std::env::var_os(death::VICTIM).is_some() {
        death::be_the_victim();
    }
    let mut arguments = Arguments::from_args();
    // The tests share one emulated machine, and some measure it.
    arguments.test_threads.get_or_insert(1);
    if !arguments.list {
        let tier = Tier::current();
        println!(
            "tier: {tier:?}, at most {} repetitions (XEN_TESTS=full for all)",
            tier.repetitions(u32::MAX)
        );
        match Suite::current() {
            Ok(suite) => println!("suite: {suite}, Xen {}", suite.xen_version()),
            Err(error) => {
                eprintln!("{error}");
                exit(2);
            }
        }
    }
    let bench = Bench::default();
    let trials = modules()
        .into_iter()
        .map(|test| bench.trial(test))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    bench.stop();
    conclusion.exit();
}
