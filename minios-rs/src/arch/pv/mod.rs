//! Paravirtualized x86-64: entry, exceptions, clock. All assembly is here and in `hypercall`.

pub mod boot;
pub mod clock;
mod memory;
pub mod trap;
pub(crate) mod upcall;
