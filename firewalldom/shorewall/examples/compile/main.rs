//! How long a long blacklist takes to compile: `cargo run --release -p shorewall --example compile
//! [LINES]`. Without an argument it has as many lines as the list that Shorewall 5.2.8 took 199 s for.

mod blacklist;

use std::time::Instant;

use firewalldom::policy::blob;

fn main() {
    let lines = std::env::args()
        .nth(1)
        .map_or(blacklist::LINES, |argument| {
            argument.parse().expect("a number of lines")
        });
    let site = blacklist::site(lines);
    let begin = Instant::now();
    let compiled = match shorewall::compile(&site) {
        Ok(compiled) => compiled,
        Err(report) => panic!("{report}"),
    };
    let compiling = begin.elapsed();
    let bytes = blob::encode(&compiled.policy)
        .expect("what compiles is written")
        .len();
    let rules: usize = compiled
        .policy
        .rule_lists
        .iter()
        .map(|list| list.rules.len())
        .sum();
    println!(
        "{lines} lines of blrules: {rules} rules in lists, {bytes} bytes of policy, {} warnings, \
         compiled in {:.3} s",
        compiled.warnings.warnings(),
        compiling.as_secs_f64()
    );
}
