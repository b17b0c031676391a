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
    let cards = Cards::new();
    let serving = cards.clone().serve(
        domain.xen,
        domain.store.clone(),
        domain.executor.clone(),
        Config::default(),
    );
    let spawned = domain.executor.spawn(async move {
        if let Err(error) = serving.await {
            log::error!("cards are no longer looked for: {error}");
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    log::info!("netdom drives the cards of pci=[…]; it serves nobody yet");
    domain.run(|now| cards.turn(now, |nic, _| drain(nic)))
}
