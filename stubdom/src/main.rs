//! The stub domain's image: wiring only.
#![no_std]
#![no_main]

use minios_rs::{Boot, entry};
use stubdom::appliance;

entry!(main);

fn main(boot: Boot) -> ! {
    // `xl shutdown -a` asks every domain there is: a guest needs its computer until it has shut down.
    appliance::run(boot, |_| {
        log::warn!("a stub domain ends with its guest, and not before");
    })
}
