//! A stub domain as stubdom's is, which fails when it is told to: `xl shutdown` has it panic, `xl reboot` overflow its
//! stack.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::hint::black_box;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::{Boot, Domain, entry};
use stubdom::model::{Model, Place};

entry!(main);

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["console", "vbd"]);
    let model = Rc::new(RefCell::new(None));
    let (place, starting) = (model.clone(), domain.clone());
    let spawned = domain.executor.spawn(async move {
        let started = Model::start(Place {
            xen: starting.xen,
            store: starting.store.clone(),
            executor: starting.executor.clone(),
            bundle: starting.module,
        });
        match started.await {
            Ok(model) => *place.borrow_mut() = Some(model),
            Err(error) => log::error!("no device model: {error}"),
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    domain.run(|now| {
        match domain.go_on() {
            None => {}
            Some(ShutdownReason::Reboot) => log::error!("back from {}", recurse(1)),
            Some(_) => panic!("as it was told"),
        }
        model.borrow_mut().as_mut()?.turn(now)
    })
}

/// Depth without end.
fn recurse(depth: u64) -> u64 {
    match black_box(depth) {
        0 => 0,
        depth => recurse(depth + 1).wrapping_add(black_box(depth)),
    }
}
