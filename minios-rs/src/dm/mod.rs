//! What a device model needs: the requests of a guest's vCPUs, the guest's memory, and what it asks of Xen
//! about the guest.
//!
//! ```text
//!   guest's vCPU ─ accesses what is no RAM ─► Xen ─ ioreq page, event ─► Server ─ Request ─► devices
//!                                                                                              │
//!   guest's RAM ◄──────── foreign mappings, a bounded cache of them ──────── GuestMemory ◄─────┤
//!   guest's interrupts ◄───────────────────────── dm_op ───────────────────────── Guest ◄──────┘
//! ```
//!
//! A request is an allegation of what the guest did: it is copied once and checked whole, and what is
//! worked on is the copy ([`Request`]). The guest's memory is the guest's: it is copied out and in, and no
//! reference to it ever leaves [`GuestMemory`].

#![forbid(unsafe_code)]

pub mod guest;
pub mod memory;
pub mod request;
pub mod server;

pub use guest::{Guest, Level};
pub use memory::{GuestMemory, Outside};
pub use request::{Direction, Kind, Refusal, Request};
pub use server::{Broken, Range, Ranges, Server, ServerError};

use crate::abi::hvm::dm_op::DmOp;
use crate::xen::{DomId, Errno, OutOfMemory, SharedPage, Xen};
use thiserror::Error;

/// Pages that a [`Window`] can show at a time.
pub const WINDOW_PAGES: usize = 64;

/// Why a page that Xen keeps for an ioreq server could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// No page for a page table.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Xen does not let this domain.
    #[error("Xen does not give the page: {0}")]
    Refused(#[from] Errno),
}

/// Addresses at which up to [`WINDOW_PAGES`] pages of one guest can be shown, each for reading and
/// writing. They show nothing any more when dropped.
///
/// A page that is shown stays the one it was, even if the guest gives it back to Xen meanwhile; Xen gives
/// it to nobody else as long as it is shown.
pub trait Window {
    /// Shows the guest's frames `gfns` at `page` and those behind it, up to the first that there is not.
    ///
    /// # Errors
    /// Xen's on that one. Those before are shown.
    fn show(&mut self, page: usize, gfns: core::ops::Range<u64>) -> Result<(), Errno>;

    /// A bit for each page that is shown.
    fn shown(&self) -> u64;

    /// Shows nothing any more.
    fn clear(&mut self);

    /// Copies out of pages from byte `offset` of the window on. Panics if one of them is not shown.
    fn read(&self, offset: usize, into: &mut [u8]);

    /// Copies into pages from byte `offset` of the window on. Panics if one of them is not shown.
    fn write(&self, offset: usize, from: &[u8]);
}

/// What a domain that is the device model of an HVM guest asks of Xen.
pub trait DeviceModel: Xen {
    /// A page that Xen keeps for an ioreq server, mapped; unmapped with its last handle.
    type Resource: SharedPage;

    /// See [`Window`].
    type Window: Window;

    /// One operation on a guest (`dm_op`), with the bytes it has beside its argument.
    ///
    /// # Errors
    /// Xen's.
    fn dm_op(&self, guest: DomId, operation: &mut DmOp, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Reads a parameter (`HVM_PARAM_*`) of a guest.
    ///
    /// # Errors
    /// Xen's.
    fn parameter(&self, guest: DomId, index: u32) -> Result<u64, Errno>;

    /// Sets a parameter of a guest.
    ///
    /// # Errors
    /// Xen's.
    fn set_parameter(&self, guest: DomId, index: u32, value: u64) -> Result<(), Errno>;

    /// Maps a page of an ioreq server (`XENMEM_acquire_resource`). It is the guest's by owner, but lies at
    /// no address of the guest's: only Xen and this domain write it.
    ///
    /// # Errors
    /// [`MapError`].
    fn acquire_resource(
        &self,
        guest: DomId,
        server: u16,
        frame: u64,
    ) -> Result<Self::Resource, MapError>;

    /// Has the guest ended by a crash if this domain crashes: nobody would ever answer its vCPUs again.
    fn take_along(&self, guest: DomId);

    /// Addresses to show a guest's pages at.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    fn window(&self, guest: DomId) -> Result<Self::Window, OutOfMemory>;
}

#[cfg(test)]
mod tests;
