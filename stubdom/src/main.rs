//! The stub domain's image: wiring only.
#![no_std]
#![no_main]

use minios_rs::{Boot, Domain, entry};

entry!(main);

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&[]);
    log::info!("{}", stubdom::ANNOUNCEMENT);
    domain.run(|_| None)
}
