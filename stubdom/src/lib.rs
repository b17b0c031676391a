#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "xen")]
pub mod appliance;
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
pub mod model;
pub mod qmp;
mod state;
