//! What drivers ask of Xen, as one trait: the real thing (`arch`, feature `pv`) and the strict
//! simulation (`fake`) both give it, and the drivers above cannot tell them apart.

use crate::abi::grant_table::{GNTST_EAGAIN, GNTST_OKAY};
use crate::abi::xen::nr;
use crate::time::Instant;
use core::sync::atomic::AtomicU32;
use thiserror::Error;

/// Bytes in a page (`PAGE_SIZE`).
pub const PAGE_SIZE: usize = 4096;

/// A domain's number (`domid_t`); 0 is the control domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomId(pub u16);

/// A grant reference (`grant_ref_t`): an index into the granting domain's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantRef(pub u32);

/// An event-channel port (`evtchn_port_t`) of this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub u32);

/// A negative return value of a hypercall, as the positive number of xen/errno.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("Xen error {0}")]
pub struct Errno(pub i32);

/// What the other domain may do with a granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Map it read-only or copy from it (`GTF_readonly`).
    ReadOnly,
    /// Read and write it.
    ReadWrite,
}

/// Why a page could not be granted, or a grant not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum GrantError {
    /// The grant table is full.
    #[error("the grant table is full")]
    Full,
    /// The peer still maps the page or copies from or to it: its memory must not be used for
    /// anything else yet.
    #[error("the peer still uses the page")]
    InUse,
}

/// What Xen made of one entry of a grant operation (`GNTST_*`): an allegation about a peer's grant that
/// turned out right or wrong, not an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("grant status {0}")]
pub struct GrantStatus(pub i16);

impl GrantStatus {
    /// It was done.
    pub const OKAY: Self = Self(GNTST_OKAY);

    /// Whether it was done.
    pub fn is_okay(self) -> bool {
        self == Self::OKAY
    }

    /// Whether the same may succeed later: the page is paged out now.
    pub fn is_busy(self) -> bool {
        self.0 == GNTST_EAGAIN
    }
}

/// One end of a [`GrantCopy`].
#[derive(Clone, Debug)]
pub enum CopyEnd<P> {
    /// A page that another domain granted.
    Grant {
        /// The domain.
        domain: DomId,
        /// Its reference.
        reference: GrantRef,
    },
    /// A page of this domain.
    Page(P),
}

/// Bytes that Xen is to copy inside one page each side (`struct gnttab_copy`). Neither side need be
/// mapped, and both may be other domains' pages.
#[derive(Clone, Debug)]
pub struct GrantCopy<P> {
    /// Where from.
    pub source: CopyEnd<P>,
    /// Bytes from the source page's start.
    pub source_offset: u16,
    /// Where to.
    pub destination: CopyEnd<P>,
    /// Bytes from the destination page's start.
    pub destination_offset: u16,
    /// Bytes; with either offset at most 4096.
    pub len: u16,
    /// What became of it, once [`Xen::copy_grants`] has returned.
    pub status: GrantStatus,
}

/// How often an entry that is busy (`GNTST_eagain`) is tried again.
pub const COPY_RETRIES_MAX: usize = 8;

/// No page left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("out of memory")]
pub struct OutOfMemory;

/// How often a domain has called Xen since it started, by hypercall number
/// ([`nr`]), and how much it had Xen copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hypercalls {
    counts: [u64; nr::COUNT],
    copied_bytes: u64,
}

impl Hypercalls {
    /// From a counter for each number.
    #[cfg(any(feature = "pv", feature = "fake"))]
    pub(crate) fn new(counts: [u64; nr::COUNT], copied_bytes: u64) -> Self {
        Self {
            counts,
            copied_bytes,
        }
    }

    /// Bytes that Xen copied between grants, or to or from one ([`Xen::copy_grants`]).
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those of one number; 0 for a number Xen does not have.
    pub fn of(&self, number: usize) -> u64 {
        self.counts.get(number).copied().unwrap_or(0)
    }

    /// Name and count of each that was issued at all.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let issued = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        issued.map(|(number, count)| (nr::name(number).unwrap_or("unknown"), *count))
    }
}

/// A page (4,096 bytes) of this domain that a peer may read or write at any moment.
///
/// Never a `&[u8]`: bytes are copied out or in, words are atomic. Cloning gives another handle to
/// the same page; the page is freed with its last handle (ending every grant of it first is the
/// caller's duty, and the simulation checks it).
pub trait SharedPage: Clone {
    /// The aligned 32-bit word at byte `offset`. Panics if `offset` is not a multiple of 4 below 4096.
    fn word(&self, offset: usize) -> &AtomicU32;
    /// Copies `into.len()` bytes from `offset` out of the page. Panics beyond the page's end.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Copies `from` into the page at `offset`. Panics beyond the page's end.
    fn write(&self, offset: usize, from: &[u8]);
    /// Sets `length` bytes from `offset` to 0. Panics beyond the page's end.
    fn zero(&self, offset: usize, length: usize);
}

/// What a domain asks of Xen. A handle: clones speak for the same domain.
pub trait Xen: Clone + 'static {
    /// A page that can be granted.
    type Page: SharedPage;

    /// Another domain's page, mapped; unmapped with its last handle.
    type Foreign: SharedPage;

    /// A zeroed page.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    fn allocate_page(&self) -> Result<Self::Page, OutOfMemory>;

    /// Grants `to` access to a page (grant table v1: memory writes, no hypercall).
    ///
    /// # Errors
    /// [`GrantError::Full`].
    fn grant(&self, to: DomId, page: &Self::Page, access: Access) -> Result<GrantRef, GrantError>;

    /// Takes a grant back.
    ///
    /// # Errors
    /// [`GrantError::InUse`]: the grant stands, and the page stays the peer's; ask again later.
    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError>;

    /// Keeps a page whose owner has let go of it, and whose grant the peer still uses: both come back at a later
    /// [`Xen::grant`], once it does not.
    fn keep(&self, reference: GrantRef, page: Self::Page);

    /// A port that `remote` may bind to (`EVTCHNOP_alloc_unbound`).
    ///
    /// # Errors
    /// Xen's.
    fn allocate_port(&self, remote: DomId) -> Result<Port, Errno>;

    /// Binds a port to one that `remote` allocated for this domain (`EVTCHNOP_bind_interdomain`).
    ///
    /// # Errors
    /// Xen's: there is none, or it is not for this domain.
    fn bind_port(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno>;

    /// Maps a page that `owner` granted to this domain, to read and write it
    /// (`GNTTABOP_map_grant_ref`). Only for what both ends look at all the time, such as rings: a
    /// domain that ends stays a zombie until the last handle is gone.
    ///
    /// # Errors
    /// [`ResourceError::Status`] if the grant is not there, not ours or read-only;
    /// [`ResourceError::Memory`] without a page for a page table.
    fn map_grant(&self, owner: DomId, reference: GrantRef) -> Result<Self::Foreign, ResourceError>;

    /// Copies (`GNTTABOP_copy`), and writes what became of each into its status. One that fails
    /// keeps no other from being done; one that reaches beyond a page's end fails (`GNTST_bad_copy_arg`).
    fn copy_grants(&self, copies: &mut [GrantCopy<Self::Page>]);

    /// As [`Xen::copy_grants`], trying those that are busy again, [`COPY_RETRIES_MAX`] times at most.
    fn copy_grants_patiently(&self, copies: &mut [GrantCopy<Self::Page>]) {
        self.copy_grants(copies);
        for copy in copies.iter_mut().filter(|copy| copy.status.is_busy()) {
            for _ in 0..COPY_RETRIES_MAX {
                self.copy_grants(core::slice::from_mut(copy));
                if !copy.status.is_busy() {
                    break;
                }
            }
        }
    }

    /// Sends an event (`EVTCHNOP_send`).
    ///
    /// # Errors
    /// Xen's.
    fn notify(&self, port: Port) -> Result<(), Errno>;

    /// Closes a port (`EVTCHNOP_close`).
    fn close_port(&self, port: Port);

    /// Time since the domain started. Monotonic; cheap enough for once a batch, not once a packet.
    fn now(&self) -> Instant;

    /// How often this domain has called Xen.
    fn hypercalls(&self) -> Hypercalls;
}

/// A page and the one grant of it, ended when this is dropped.
///
/// A page that the peer still maps by then is never used again: it is leaked on purpose, with its
/// grant. [`Granted::end`] gives it back for another attempt instead.
pub struct Granted<X: Xen> {
    xen: X,
    /// Away only between ending the grant and dropping.
    page: Option<X::Page>,
    reference: GrantRef,
}

impl<X: Xen> Granted<X> {
    /// Allocates a zeroed page and grants it.
    ///
    /// # Errors
    /// [`ResourceError`].
    pub fn allocate(xen: &X, to: DomId, access: Access) -> Result<Self, ResourceError> {
        let page = xen.allocate_page()?;
        Ok(Self::new(xen, to, page, access)?)
    }

    /// Grants a page.
    ///
    /// # Errors
    /// [`GrantError::Full`].
    pub fn new(xen: &X, to: DomId, page: X::Page, access: Access) -> Result<Self, GrantError> {
        let reference = xen.grant(to, &page, access)?;
        Ok(Self {
            xen: xen.clone(),
            page: Some(page),
            reference,
        })
    }

    /// The reference the peer uses.
    pub fn reference(&self) -> GrantRef {
        self.reference
    }

    /// The page.
    pub fn page(&self) -> &X::Page {
        self.page
            .as_ref()
            .expect("the page leaves only with the grant")
    }

    /// Ends the grant and gives the page back.
    ///
    /// # Errors
    /// `self`, if the peer still uses the page.
    pub fn end(mut self) -> Result<X::Page, Self> {
        match self.xen.end_access(self.reference) {
            Ok(()) => Ok(self
                .page
                .take()
                .expect("the page leaves only with the grant")),
            Err(_) => Err(self),
        }
    }
}

impl<X: Xen> Drop for Granted<X> {
    fn drop(&mut self) {
        if let Some(page) = self.page.take()
            && self.xen.end_access(self.reference).is_err()
        {
            self.xen.keep(self.reference, page);
        }
    }
}

/// A port, closed when this is dropped.
pub struct BoundPort<X: Xen> {
    xen: X,
    port: Port,
}

impl<X: Xen> BoundPort<X> {
    /// A port that `remote` may bind to.
    ///
    /// # Errors
    /// Xen's.
    pub fn allocate(xen: &X, remote: DomId) -> Result<Self, Errno> {
        Ok(Self {
            xen: xen.clone(),
            port: xen.allocate_port(remote)?,
        })
    }

    /// A port bound to one that `remote` allocated for this domain.
    ///
    /// # Errors
    /// Xen's.
    pub fn bind(xen: &X, remote: DomId, remote_port: Port) -> Result<Self, Errno> {
        Ok(Self {
            xen: xen.clone(),
            port: xen.bind_port(remote, remote_port)?,
        })
    }

    /// A port that was bound otherwise, to be closed with this.
    pub(crate) fn adopt(xen: &X, port: Port) -> Self {
        Self {
            xen: xen.clone(),
            port,
        }
    }

    /// Its number.
    pub fn number(&self) -> Port {
        self.port
    }

    /// Sends an event.
    ///
    /// # Errors
    /// Xen's.
    pub fn notify(&self) -> Result<(), Errno> {
        self.xen.notify(self.port)
    }
}

impl<X: Xen> Drop for BoundPort<X> {
    fn drop(&mut self) {
        self.xen.close_port(self.port);
    }
}

/// What a device could not get from Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResourceError {
    /// No page.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// No grant.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// No port.
    #[error("no event channel: {0}")]
    Port(#[from] Errno),
    /// The peer's grant is not what it should be.
    #[error("the peer's grant cannot be used: {0}")]
    Status(#[from] GrantStatus),
}
