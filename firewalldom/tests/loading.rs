//! What loading a policy takes of memory: a domain of 8 MiB has room for a long blacklist.
//!
//! The example `load` counts; it is built as the appliance is, without what only `xen-image explain`
//! wants to know and other packages of the workspace ask for.

mod appliance;

use std::process::Command;

#[test]
fn a_rule_of_a_long_blacklist_takes_an_eighth_of_a_kilobyte_to_load_and_half_of_that_to_keep() {
    let output = Command::new(appliance::example("load"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<usize> = text
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let [few, few_most, few_kept, many, most, kept] = numbers[..] else {
        panic!("{text}");
    };
    let lines = many - few;
    let (most, kept) = (most - few_most, kept - few_kept);
    println!("{lines} blrules: {most} bytes at most, {kept} bytes kept");
    assert!(most <= 128 * lines, "{most} bytes");
    assert!(kept <= 64 * lines, "{kept} bytes");
}
