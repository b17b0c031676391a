//! The network driver domain's image: wiring only.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::ToString;
use core::cell::RefCell;
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
    let switch = Rc::new(RefCell::new(Switch::default()));
    domain.answer_statistics({
        let (cards, switch) = (cards.clone(), switch.clone());
        move |report| {
            report.appliance = env!("CARGO_PKG_NAME").to_string();
            report.version = env!("CARGO_PKG_VERSION").to_string();
            cards.fill(report);
            switch.borrow().fill(report);
        }
    });
    log::info!("netdom drives the cards of pci=[…] and serves vifs with backend= its name");
    domain.run(|now| {
        let switch = &mut *switch.borrow_mut();
        switch.admit(&backends);
        let cards = cards.turn(now, switch);
        let bridges = switch.finish(now);
        [cards, bridges].into_iter().flatten().min()
    })
}
