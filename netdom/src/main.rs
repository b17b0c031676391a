//! The network driver domain's image: wiring only.
#![no_std]
#![no_main]

use minios_rs::{Boot, Domain, entry};
use netdom::cards::{Cards, drain};
use netdom::nic::Config;

entry!(main);

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["pci"]);
    domain.refuse_backends_except(&[], "netdom serves nobody yet");
    let cards = Cards::start(
        &domain.xen,
        &domain.store,
        &domain.executor,
        Config::default(),
    );
    let cards = cards.expect("the first tasks fit");
    log::info!("netdom drives the cards of pci=[…]; it serves nobody yet");
    domain.run(|now| cards.turn(now, |nic, _| drain(nic)))
}
