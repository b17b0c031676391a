#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;

pub mod abi;
pub mod block;
pub mod consoles;
#[cfg(feature = "fake")]
pub mod counting;
pub mod dm;
#[cfg(feature = "fake")]
pub mod fake;
pub mod hardware;
pub mod net;
pub mod nospec;
pub mod pci;
pub mod prefetch;
pub mod ring;
pub mod stat;
pub mod task;
pub mod time;
pub mod vchan;
pub mod xen;
pub mod xenbus;
pub mod xenstore;

#[cfg(feature = "pv")]
pub mod arch;
#[cfg(feature = "pv")]
pub mod console;
#[cfg(feature = "pv")]
pub mod domain;
#[cfg(feature = "pv")]
pub mod entropy;
#[cfg(feature = "pv")]
pub mod event;
#[cfg(any(feature = "pv", feature = "fake", test))]
pub mod grant;
#[cfg(feature = "pv")]
pub mod hypercall;
#[cfg(feature = "pv")]
pub mod mm;

#[cfg(feature = "pv")]
pub use arch::pv::boot::Boot;
#[cfg(feature = "pv")]
pub use domain::Domain;
#[cfg(feature = "pv")]
pub use grant::Pv;
