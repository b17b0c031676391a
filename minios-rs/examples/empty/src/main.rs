//! The image: wiring only.
#![no_std]
#![no_main]

use empty::{Order, order};
use minios_rs::{Boot, Domain, entry};

entry!(main);

fn main(boot: Boot) -> ! {
    let memory_kib = boot.memory_bytes / 1024;
    // From here on `xl shutdown` and `xl reboot` are answered.
    let domain = Domain::start(boot);
    log::info!("empty: up, with {memory_kib} KiB of memory and nothing to do");
    if order(domain.command_line) == Some(Order::Panic) {
        panic!("told to");
    }
    // Called after every event. An appliance does its work here and says when it wants to be called
    // again if no event comes before.
    domain.run(|_now| None)
}
