//! The stub domain at work: the model, started and turned by the domain's main loop.

use crate::model::{Model, Place};
use alloc::rc::Rc;
use core::cell::RefCell;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::{Boot, Domain};

/// Runs it. `asked` is called when the toolstack wants the domain itself to shut down.
///
/// # Panics
/// If the first tasks do not fit.
pub fn run(boot: Boot, mut asked: impl FnMut(ShutdownReason)) -> ! {
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
        if let Some(reason) = domain.go_on() {
            asked(reason);
        }
        model.turn(now)
    })
}
