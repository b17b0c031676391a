//! An image that is nobody's backend.

use super::Work;
use alloc::string::String;
use minios_rs::Domain;

/// There are none.
pub(super) enum Backends {}

/// A policy for guests is not for this image.
pub(super) fn start(_: &Domain) -> Result<Backends, String> {
    Err(String::from(
        "the policy has an interface for guests' vifs, and this image serves none: build both together",
    ))
}

pub(super) fn serve(work: &mut Work) {
    if let Some(none) = &work.guests {
        match *none {}
    }
}
