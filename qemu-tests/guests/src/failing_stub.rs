//! stubdom's stub domain, which fails when it is told to: `xl shutdown` has it panic, `xl reboot` overflow its stack.
#![no_std]
#![no_main]

use core::hint::black_box;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::{Boot, entry};
use stubdom::appliance;

entry!(main);

fn main(boot: Boot) -> ! {
    appliance::run(boot, |reason| match reason {
        ShutdownReason::Reboot => log::error!("back from {}", recurse(1)),
        _ => panic!("as it was told"),
    })
}

/// Depth without end.
fn recurse(depth: u64) -> u64 {
    match black_box(depth) {
        0 => 0,
        depth => recurse(depth + 1).wrapping_add(black_box(depth)),
    }
}
