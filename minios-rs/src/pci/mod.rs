//! PCI functions that the toolstack passed to this domain (`pci=[…]`): their configuration space by way
//! of the backend (Linux' xen-pciback), their registers and interrupts by way of Xen.
//!
//! ```no_run
//! # use minios_rs::{hardware::Hardware, xenstore::Client, task::Executor, pci};
//! # async fn start<X: Hardware>(xen: &X, store: &Client<X>, executor: &Executor) -> Result<(), pci::Error> {
//! let (bus, mut link) = pci::Bus::connect(xen, store, executor, 0).await?;
//! for address in link.functions().await? {
//!     let function = bus.function(address);
//!     let identity = function.identity().await?;
//!     log::info!("{address}: {:04x}:{:04x}", identity.vendor, identity.device);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Somebody calls [`Bus::pump`] once a turn of the main loop: it wakes who waits for the backend, and
//! answers its reports of errors on the bus.
//!
//! # What the backend can do to us
//! Nothing but not do its work. There is one operation at a time; each has a time-out, and its answer is
//! copied once, checked and cut to the size that was asked for. Whatever configuration space says of
//! itself (capability lists, the place and size of registers and of the MSI-X table) is bounded and
//! checked before it is used; what lies at an address that it names, Xen decides
//! ([`Hardware::map_registers`](crate::hardware::Hardware::map_registers)).

#![forbid(unsafe_code)]

mod channel;
mod front;
mod function;
mod interrupt;

pub use channel::OPERATION_TIME;
pub use front::{Bus, CONNECT_TIME, Change, FUNCTIONS_MAX, Link};
pub use function::{Bar, Capability, Command, Function, Identity, capability};
pub use interrupt::{Interrupt, InterruptKind, VECTORS_MAX};

use crate::hardware::MapError;
use crate::task::TimedOut;
use crate::xen::{Errno, ResourceError};
use crate::{xenbus, xenstore};
use core::fmt;
use core::str::FromStr;
use thiserror::Error as ThisError;

/// Where a function is, as the backend numbers it for this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// PCI segment.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31, in the upper five bits, and function, 0 to 7.
    pub devfn: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, function) = (self.devfn >> 3, self.devfn & 7);
        let (segment, bus) = (self.segment, self.bus);
        write!(formatter, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// Not `dddd:bb:dd.f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("not the address of a PCI function")]
pub struct BadAddress;

impl FromStr for Address {
    type Err = BadAddress;

    /// As xen-pciback and `xl` write it: all hexadecimal.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        fn number(text: &str, digits_max: usize) -> Result<u16, BadAddress> {
            let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hexadecimal || text.len() > digits_max {
                return Err(BadAddress);
            }
            u16::from_str_radix(text, 16).map_err(|_| BadAddress)
        }
        let (segment, rest) = text.trim().split_once(':').ok_or(BadAddress)?;
        let (bus, rest) = rest.split_once(':').ok_or(BadAddress)?;
        let (device, function) = rest.split_once('.').ok_or(BadAddress)?;
        let (device, function) = (number(device, 2)?, number(function, 2)?);
        if device > 31 || function > 7 {
            return Err(BadAddress);
        }
        Ok(Self {
            segment: number(segment, 4)?,
            bus: number(bus, 2)? as u8,
            devfn: (device << 3 | function) as u8,
        })
    }
}

/// Why something could not be had of a function, or of the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The handshake, or xenstore.
    #[error(transparent)]
    Xenbus(#[from] xenbus::Error),
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The registers could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The backend did not do it in time.
    #[error("the PCI backend does not answer")]
    TimedOut,
    /// The backend refused (`XEN_PCI_ERR_*`, or a negative number of Linux').
    #[error("the PCI backend refuses: {0}")]
    Refused(i32),
    /// The function or the backend says what cannot be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The function has no such thing: a capability, registers, an interrupt.
    #[error("the function has no {0}")]
    Missing(&'static str),
}

impl From<xenstore::Error> for Error {
    fn from(error: xenstore::Error) -> Self {
        Self::Xenbus(error.into())
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        Self::Resource(error.into())
    }
}

impl From<TimedOut> for Error {
    fn from(_: TimedOut) -> Self {
        Self::TimedOut
    }
}

#[cfg(test)]
mod tests;
