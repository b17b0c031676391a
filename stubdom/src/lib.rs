//! The device model of one HVM guest, in a domain of its own.
//!
//! Not yet: today the image boots, says what it will be, and answers `xl shutdown`, so that the
//! tool chain around it can be tried.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arguments;
pub mod backend;
pub mod bundle;
pub mod bus;
pub mod control;
pub mod device;
pub mod disk;
pub mod hypervisor;
pub mod ioreq;
pub mod machine;
pub mod memory;
pub mod qmp;
mod state;

/// What the domain says of itself when it starts.
pub const ANNOUNCEMENT: &str =
    "stubdom will be the device model of an HVM guest; it does nothing yet";
