//! The network driver domain's image: wiring only.
#![no_std]
#![no_main]

use minios_rs::net::Backends;
use minios_rs::{Boot, Domain, entry};
use netdom::cards::Cards;
use netdom::nic::Config;
use netdom::switch::{OFFER, Switch};

entry!(main);

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["pci"]);
    domain.refuse_backends_except(&["vif"], "netdom serves network interfaces only");
    let Domain {
        xen,
        store,
        executor,
        ..
    } = &domain;
    let backends = Backends::start(xen, store, executor, OFFER);
    let cards = Cards::start(xen, store, executor, Config::default());
    let (backends, cards) = (
        backends.expect("the first tasks fit"),
        cards.expect("the first tasks fit"),
    );
    let mut switch = Switch::default();
    log::info!("netdom drives the cards of pci=[…] and serves vifs with backend= its name");
    domain.run(|now| {
        switch.admit(&backends);
        let cards = cards.turn(now, &mut switch);
        let bridges = switch.finish(now);
        [cards, bridges].into_iter().flatten().min()
    })
}
