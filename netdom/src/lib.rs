//! The driver domain that owns the network card and serves it to the others.
//!
//! Not yet: today the image boots, says what it will be, and answers `xl shutdown`, so that the
//! tool chain around it can be tried.
#![no_std]
#![forbid(unsafe_code)]

/// What the domain says of itself when it starts.
pub const ANNOUNCEMENT: &str =
    "netdom will be the driver domain of a network card; it does nothing yet";
