//! Guests' vifs: taken when they come, let go of when they end.

use super::Work;
use alloc::string::{String, ToString};
use firewalldom::relay::OFFER;
use minios_rs::{Domain, Pv};

/// Those that have come.
pub(super) type Backends = minios_rs::net::Backends<Pv>;

/// Lets the toolstack attach them from now on.
pub(super) fn start(domain: &Domain) -> Result<Backends, String> {
    Backends::start(&domain.xen, &domain.store, &domain.executor, OFFER)
        .map_err(|error| error.to_string())
}

/// Lets go of those that end, and takes those that have come.
pub(super) fn serve(work: &mut Work) {
    let Some(guests) = &work.guests else {
        return;
    };
    while let Some(name) = work.relay.detach_ended() {
        log::info!("{name} is gone");
    }
    while let Some(back) = guests.arrived() {
        match work.relay.attach(back) {
            Ok((name, interface)) => log::info!("{name} is here, behind {interface}"),
            Err((name, error)) => log::error!("{name} is not served: {error}"),
        }
    }
}
