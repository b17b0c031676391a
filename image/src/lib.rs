//! The host side: everything between a site's configuration and a running domain.
//!
//! ```text
//!   DIR/shorewall, DIR/network ─ check ─► policy ─┐
//!   minios-rs + appliance ─ cargo, linker ─► elf ─┴─ build ─► .xen .policy .cfg ─ xl create
//! ```
//!
//! The binary `xen-image` is a thin skin over this library, so that the system tests build and run
//! exactly what a user does.

pub mod appliance;
pub mod bench;
pub mod build;
pub mod config;
pub mod device;
pub mod elf;
pub mod findings;
pub mod inspect;
pub mod loader;
pub mod options;
pub mod output;
pub mod run;
pub mod site;
pub mod symbolize;
pub mod verify;
pub mod vif;
pub mod workspace;
