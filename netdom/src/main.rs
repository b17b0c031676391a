//! The network driver domain's image: wiring only.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::RefCell;
use minios_rs::net::Backends;
use minios_rs::xen::Xen;
use minios_rs::{Boot, Domain, entry};
use netdom::cards::Cards;
use netdom::config;
use netdom::nic;
use netdom::switch::{OFFER, Switch};

entry!(main);

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["pci"]);
    domain.refuse_backends_except(&["vif"], "netdom serves network interfaces only");
    // A wrong one is no reason to serve anybody otherwise than was wanted: then there is no bridge at all.
    let config = config::open(domain.module).unwrap_or_else(|error| {
        log::error!("the configuration (ramdisk=) cannot be used: {error}; there are no bridges");
        config::Config {
            bridges: Vec::new(),
            vifs: Vec::new(),
        }
    });
    let cards = nic::Config {
        mtu: config.mtu(),
        ..nic::Config::default()
    };
    let switch = match domain.module {
        [] => Switch::default(),
        _ => Switch::new(config),
    };
    let Domain {
        xen,
        store,
        executor,
        ..
    } = &domain;
    let backends = Backends::start(xen, store, executor, OFFER);
    let cards = Cards::start(xen, store, executor, cards);
    let (backends, cards) = (
        backends.expect("the first tasks fit"),
        cards.expect("the first tasks fit"),
    );
    let switch = Rc::new(RefCell::new(switch));
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
        switch.took(xen.now().since(now));
        [cards, bridges].into_iter().flatten().min()
    })
}
