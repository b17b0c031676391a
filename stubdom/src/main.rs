//! The stub domain's image: wiring only.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;
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
            Ok(model) => {
                log::info!("ready");
                *place.borrow_mut() = Some(model);
            }
            Err(error) => log::error!("no device model: {error}"),
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    domain.run(|now| {
        let mut model = model.borrow_mut();
        let model = model.as_mut()?;
        // `xl shutdown -a` asks every domain there is: a guest needs its computer until it has shut down.
        if domain.go_on().is_some() {
            log::warn!("a stub domain ends with its guest, and not before");
        }
        model.turn(now)
    })
}
