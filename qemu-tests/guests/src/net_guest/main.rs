//! A guest with a vif: it sends, receives, or lies.
#![no_std]
#![no_main]

extern crate alloc;

mod hostile;
mod receive;
mod send;
mod station;

use alloc::format;
use alloc::string::String;
use core::cell::RefCell;
use core::str::FromStr;
use minios_rs::time::Instant;
use minios_rs::{Boot, Domain, entry};
use station::Station;

entry!(main);

/// What is done once the vif is connected.
trait Role {
    /// Does what there is to do, and says when to be called again if no event comes before.
    fn turn(&mut self, station: &mut Station, now: Instant) -> Option<Instant>;
}

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["vif"]);
    let words = domain.command_line;
    match guests::argument(words, "role") {
        Some("send") => match send::Sender::new(words) {
            Ok(sender) => run(&domain, sender),
            Err(reason) => refuse(&domain, &reason),
        },
        Some("receive") => match receive::Receiver::new(words) {
            Ok(receiver) => run(&domain, receiver),
            Err(reason) => refuse(&domain, &reason),
        },
        Some("hostile") => hostile::run(&domain),
        _ => refuse(&domain, "role= is send, receive or hostile"),
    }
}

/// A word of the command line.
fn word<T: FromStr>(words: &str, key: &str) -> Result<T, String> {
    let text = guests::argument(words, key).ok_or_else(|| format!("{key}= is missing"))?;
    text.parse().map_err(|_| format!("{key}={text}"))
}

/// A word of the command line that need not be there.
fn word_or<T: FromStr>(words: &str, key: &str, otherwise: T) -> Result<T, String> {
    match guests::argument(words, key) {
        None => Ok(otherwise),
        Some(_) => word(words, key),
    }
}

fn refuse(domain: &Domain, reason: &str) -> ! {
    log::error!("Test result: ERROR: {reason}");
    domain.run(|_| None)
}

/// Connects the vif, and does as `role` says from then on.
fn run(domain: &Domain, mut role: impl Role) -> ! {
    let station: &RefCell<Option<Station>> = alloc::boxed::Box::leak(Default::default());
    let connecting = domain.clone();
    let spawned = domain.executor.spawn(async move {
        match Station::connect(&connecting).await {
            Ok(mut connected) => {
                connected.say_so();
                core::mem::forget(station.replace(Some(connected)));
            }
            Err(reason) => log::error!("Test result: ERROR: {reason}"),
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    domain.run(|now| role.turn(station.borrow_mut().as_mut()?, now))
}
