//! Who may use which of our pages: the grant table, version 1.

pub(crate) mod kept;
#[cfg(feature = "pv")]
mod pv;
#[cfg(any(feature = "pv", test))]
mod table;

#[cfg(feature = "pv")]
pub(crate) use pv::init;
#[cfg(feature = "pv")]
pub use pv::{Pv, in_use};
