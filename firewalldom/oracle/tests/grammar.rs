//! The grammar uses what it says it uses, often enough, and our compiler takes what it writes.

use fastrand::Rng;
use oracle::generate::{FEATURES, configuration};
use std::collections::BTreeMap;

const CONFIGURATIONS: usize = 1000;

#[test]
fn every_feature_is_used_by_a_twentieth_of_the_configurations() {
    let mut rng = Rng::with_seed(1);
    let mut counts: BTreeMap<&str, usize> = FEATURES.map(|feature| (feature, 0)).into();
    for _ in 0..CONFIGURATIONS {
        for feature in configuration(&mut rng).used {
            *counts.entry(feature).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), FEATURES.len(), "a feature that is not listed");
    let rare: Vec<_> = counts
        .into_iter()
        .filter(|(_, count)| count * 20 < CONFIGURATIONS)
        .collect();
    assert_eq!(rare, []);
}

#[test]
fn our_compiler_takes_what_the_grammar_writes() {
    let mut rng = Rng::with_seed(1);
    let mut refusals = BTreeMap::new();
    let mut taken = 0;
    for _ in 0..CONFIGURATIONS {
        let generated = configuration(&mut rng);
        match generated.configuration.compile() {
            Ok(_) => taken += 1,
            Err(report) => {
                let first = report.to_string();
                let first = first.lines().next().unwrap_or_default().to_owned();
                refusals.entry(first).or_insert((0, report.to_string())).0 += 1;
            }
        }
    }
    for (message, (count, report)) in &refusals {
        println!("{count} x {message}\n{report}");
    }
    assert!(taken * 10 >= CONFIGURATIONS * 9, "only {taken} are taken");
}
