//! A strict simulated Xen: several domains in one process, for tests of drivers.
//!
//! It proves nothing about the real Xen; it makes what the real one forbids, or lets a guest find
//! out the hard way, fail loudly: a page freed while it is granted panics, so does ending a grant
//! that is not there; a copy or mapping after the grant's end, or a write to a read-only grant, is
//! refused; ending a grant that is mapped says so. The clock stands still until it is moved. Any
//! call can be made to fail ([`World::fail`]), and what a domain holds can be counted
//! ([`Domain::usage`]).

#![forbid(unsafe_code)]

extern crate std;

pub mod netback;
pub mod netfront;
mod page;
mod xenstored;

pub use page::{Foreign, Page};
pub use xenstored::Quirks;

use crate::abi::errno::{EACCES, EFAULT, EINVAL, ENOENT, ENOMEM};
use crate::abi::grant_table::{
    GNTST_BAD_GNTREF, GNTST_EAGAIN, GNTST_GENERAL_ERROR, GNTST_PERMISSION_DENIED,
};
use crate::abi::xen::nr;
use crate::time::Instant;
use crate::xen::{
    Access, CopyEnd, DomId, Errno, GrantCopy, GrantError, GrantRef, GrantStatus, Hypercalls,
    OutOfMemory, PAGE_SIZE, Port, ResourceError, Xen,
};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use page::{Memory, Owned};

/// Grants a domain may have at a time, unless [`Domain::limit_grants`] says otherwise.
pub const GRANTS_MAX: usize = 8192;
/// Ports a domain may have at a time.
pub const PORTS_MAX: usize = 4096;
/// Copies that one hypercall takes, as the real domain batches them.
pub const COPIES_PER_CALL: usize = 32;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// [`Xen::allocate_page`].
    Page,
    /// [`Xen::grant`].
    Grant,
    /// [`Xen::allocate_port`].
    Port,
    /// [`Xen::bind_port`].
    Bind,
    /// [`Xen::map_grant`].
    Map,
    /// One entry of [`Xen::copy_grants`], for good.
    Copy,
    /// One entry of [`Xen::copy_grants`], which may be tried again.
    CopyBusy,
    /// [`Xen::notify`].
    Notify,
    /// A request to xenstored, which answers `EIO`.
    Xenstore,
}

/// What a domain holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages allocated.
    pub pages: usize,
    /// Grants not ended.
    pub grants: usize,
    /// Mappings of other domains' pages.
    pub mapped: usize,
    /// Ports not closed.
    pub ports: usize,
    /// Watches set in xenstore.
    pub watches: usize,
}

struct Grant {
    to: DomId,
    memory: Weak<Memory>,
    access: Access,
    /// Mappings of it.
    mapped: usize,
}

#[derive(Clone, Copy, Debug)]
enum Binding {
    Unbound { remote: DomId },
    Interdomain { remote: DomId, port: Port },
}

struct Channel {
    binding: Binding,
    pending: bool,
    /// Events received since the port was made.
    received: u64,
}

struct DomainState {
    pages: usize,
    mapped: usize,
    grants: BTreeMap<u32, Grant>,
    grants_max: usize,
    next_grant: u32,
    channels: BTreeMap<u32, Channel>,
    hypercalls: [u64; nr::COUNT],
}

struct Inner {
    now: Cell<Instant>,
    domains: RefCell<BTreeMap<DomId, DomainState>>,
    faults: RefCell<BTreeMap<Fault, u64>>,
    calls: RefCell<BTreeMap<Fault, u64>>,
    store: RefCell<xenstored::Xenstored>,
}

impl Inner {
    /// Counts a call, and says whether it is the one that was made to fail.
    fn fails(&self, fault: Fault) -> bool {
        *self.calls.borrow_mut().entry(fault).or_default() += 1;
        let mut faults = self.faults.borrow_mut();
        match faults.get_mut(&fault) {
            Some(0) => {
                faults.remove(&fault);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

/// The simulated machine.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A machine with domain 0 and an empty xenstore.
    pub fn new() -> Self {
        let world = Self {
            inner: Rc::new(Inner {
                now: Cell::new(Instant(0)),
                domains: RefCell::default(),
                faults: RefCell::default(),
                calls: RefCell::default(),
                store: RefCell::default(),
            }),
        };
        world.domain(DomId(0));
        world
    }

    /// The domain of that number, created if there is none.
    pub fn domain(&self, id: DomId) -> Domain {
        self.inner
            .domains
            .borrow_mut()
            .entry(id)
            .or_insert_with(|| DomainState {
                pages: 0,
                mapped: 0,
                grants: BTreeMap::new(),
                grants_max: GRANTS_MAX,
                // As in Xen, the first ones are the toolstack's.
                next_grant: crate::abi::grant_table::GNTTAB_NR_RESERVED_ENTRIES,
                channels: BTreeMap::new(),
                hypercalls: [0; nr::COUNT],
            });
        Domain {
            world: self.clone(),
            id,
        }
    }

    /// Moves the clock.
    pub fn advance(&self, duration: Duration) {
        self.inner.now.set(self.inner.now.get().after(duration));
    }

    /// Makes one call fail: the next one if `skip` is 0, else after `skip` others.
    pub fn fail(&self, fault: Fault, skip: u64) {
        self.inner.faults.borrow_mut().insert(fault, skip);
    }

    /// Makes no further call fail, and says whether one was still to.
    pub fn clear_fault(&self, fault: Fault) -> bool {
        self.inner.faults.borrow_mut().remove(&fault).is_some()
    }

    /// Calls of a kind so far.
    pub fn calls(&self, fault: Fault) -> u64 {
        self.inner.calls.borrow().get(&fault).copied().unwrap_or(0)
    }
}

/// One domain's view of the simulated machine, with what a backend or an attacker in it can do.
#[derive(Clone)]
pub struct Domain {
    world: World,
    id: DomId,
}

impl Domain {
    /// Its number.
    pub fn id(&self) -> DomId {
        self.id
    }

    /// The machine it runs on.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What it holds now.
    pub fn usage(&self) -> Usage {
        let watches = self.world.inner.store.borrow().watches_of(self.id);
        self.with(self.id, |domain| Usage {
            pages: domain.pages,
            grants: domain.grants.len(),
            mapped: domain.mapped,
            ports: domain.channels.len(),
            watches,
        })
    }

    /// Hypercalls so far.
    pub fn usage_hypercalls(&self) -> u64 {
        self.hypercalls().total()
    }

    /// Shrinks or widens its grant table.
    pub fn limit_grants(&self, grants_max: usize) {
        self.with(self.id, |domain| domain.grants_max = grants_max);
    }

    /// Whether the port has a pending event, which it no longer has then.
    pub fn take_event(&self, port: Port) -> bool {
        self.with(self.id, |domain| {
            domain
                .channels
                .get_mut(&port.0)
                .is_some_and(|channel| core::mem::take(&mut channel.pending))
        })
    }

    /// Events that have come in at a port.
    pub fn events_received(&self, port: Port) -> u64 {
        self.with(self.id, |domain| {
            domain
                .channels
                .get(&port.0)
                .map_or(0, |channel| channel.received)
        })
    }

    /// Maps a page that `owner` granted to this domain.
    ///
    /// # Errors
    /// `ENOENT` if there is no such grant, `EACCES` if it is not this domain's or read-only.
    pub fn map(&self, owner: DomId, reference: GrantRef, access: Access) -> Result<Foreign, Errno> {
        let memory = self.granted(owner, reference, access)?;
        self.with(owner, |domain| {
            if let Some(grant) = domain.grants.get_mut(&reference.0) {
                grant.mapped += 1;
            }
        });
        self.with(self.id, |domain| domain.mapped += 1);
        Ok(Foreign::new(
            self.world.clone(),
            self.id,
            owner,
            reference,
            memory,
            access,
        ))
    }

    /// Copies out of a granted page (`GNTTABOP_copy`).
    ///
    /// # Errors
    /// As [`Domain::map`]; `EFAULT` beyond the page's end.
    pub fn copy_from(
        &self,
        owner: DomId,
        reference: GrantRef,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), Errno> {
        let memory = self.granted(owner, reference, Access::ReadOnly)?;
        if offset + into.len() > PAGE_SIZE {
            return Err(EFAULT);
        }
        memory.read(offset, into);
        Ok(())
    }

    /// Copies into a granted page.
    ///
    /// # Errors
    /// As [`Domain::copy_from`].
    pub fn copy_to(
        &self,
        owner: DomId,
        reference: GrantRef,
        offset: usize,
        from: &[u8],
    ) -> Result<(), Errno> {
        let memory = self.granted(owner, reference, Access::ReadWrite)?;
        if offset + from.len() > PAGE_SIZE {
            return Err(EFAULT);
        }
        memory.write(offset, from);
        Ok(())
    }

    /// Every page `owner` lets this domain read, as one who guesses references would find them.
    pub fn readable_grants(&self, owner: DomId) -> alloc::vec::Vec<GrantRef> {
        self.with(owner, |domain| {
            let mine = domain
                .grants
                .iter()
                .filter(|(_, grant)| grant.to == self.id);
            mine.map(|(reference, _)| GrantRef(*reference)).collect()
        })
    }

    fn granted(
        &self,
        owner: DomId,
        reference: GrantRef,
        access: Access,
    ) -> Result<Rc<Memory>, Errno> {
        self.with(owner, |domain| {
            let grant = domain.grants.get(&reference.0).ok_or(ENOENT)?;
            if grant.to != self.id
                || (access == Access::ReadWrite && grant.access == Access::ReadOnly)
            {
                return Err(EACCES);
            }
            grant.memory.upgrade().ok_or(ENOENT)
        })
    }

    fn count_hypercall(&self, number: usize) {
        self.with(self.id, |domain| domain.hypercalls[number] += 1);
    }

    fn free_port(&self) -> Result<Port, Errno> {
        self.with(self.id, |domain| {
            let free = (1..PORTS_MAX as u32).find(|port| !domain.channels.contains_key(port));
            free.map(Port).ok_or(crate::abi::errno::ENOSPC)
        })
    }

    fn with<T>(&self, id: DomId, what: impl FnOnce(&mut DomainState) -> T) -> T {
        self.world.domain(id);
        let mut domains = self.world.inner.domains.borrow_mut();
        what(domains.get_mut(&id).expect("made above"))
    }

    /// A page that no injected fault concerns.
    pub(crate) fn builder_page(&self) -> Page {
        self.with(self.id, |domain| domain.pages += 1);
        Page(Rc::new(Owned::new(&self.world, self.id)))
    }
}

/// What Xen says of a grant that cannot be used.
fn status_of(error: Errno) -> GrantStatus {
    GrantStatus(if error == EACCES {
        GNTST_PERMISSION_DENIED
    } else {
        GNTST_BAD_GNTREF
    })
}

impl Domain {
    /// One entry of [`Xen::copy_grants`]. Reaching beyond a page is our own mistake, and panics.
    fn copy_one(&self, copy: &GrantCopy<Page>) -> Result<(), GrantStatus> {
        let len = usize::from(copy.len);
        let (from, to) = (
            usize::from(copy.source_offset),
            usize::from(copy.destination_offset),
        );
        assert!(
            from + len <= PAGE_SIZE && to + len <= PAGE_SIZE,
            "a copy reaches beyond its page"
        );
        if self.world.inner.fails(Fault::Copy) {
            return Err(GrantStatus(GNTST_GENERAL_ERROR));
        }
        if self.world.inner.fails(Fault::CopyBusy) {
            return Err(GrantStatus(GNTST_EAGAIN));
        }
        let memory = |end: &CopyEnd<Page>, access| match end {
            CopyEnd::Page(page) => {
                assert_eq!(page.0.owner, self.id, "a domain copies its own pages");
                Ok(page.0.memory.clone())
            }
            CopyEnd::Grant { domain, reference } => {
                self.granted(*domain, *reference, access).map_err(status_of)
            }
        };
        let source = memory(&copy.source, Access::ReadOnly)?;
        let destination = memory(&copy.destination, Access::ReadWrite)?;
        let mut bytes = [0; PAGE_SIZE];
        source.read(from, &mut bytes[..len]);
        destination.write(to, &bytes[..len]);
        Ok(())
    }
}

impl Xen for Domain {
    type Page = Page;
    type Foreign = Foreign;

    fn allocate_page(&self) -> Result<Page, OutOfMemory> {
        if self.world.inner.fails(Fault::Page) {
            return Err(OutOfMemory);
        }
        Ok(self.builder_page())
    }

    fn grant(&self, to: DomId, page: &Page, access: Access) -> Result<GrantRef, GrantError> {
        if self.world.inner.fails(Fault::Grant) {
            return Err(GrantError::Full);
        }
        assert_eq!(page.0.owner, self.id, "a domain grants its own pages");
        self.with(self.id, |domain| {
            if domain.grants.len() >= domain.grants_max {
                return Err(GrantError::Full);
            }
            // References are used again as late as can be, so that a stale one finds nothing.
            let reference = domain.next_grant;
            domain.next_grant += 1;
            let grant = Grant {
                to,
                memory: Rc::downgrade(&page.0.memory),
                access,
                mapped: 0,
            };
            domain.grants.insert(reference, grant);
            Ok(GrantRef(reference))
        })
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        self.with(self.id, |domain| {
            let grant = domain
                .grants
                .get(&reference.0)
                .expect("a grant is ended once");
            if grant.mapped > 0 {
                return Err(GrantError::InUse);
            }
            domain.grants.remove(&reference.0);
            Ok(())
        })
    }

    fn allocate_port(&self, remote: DomId) -> Result<Port, Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Port) {
            return Err(ENOMEM);
        }
        let port = self.free_port()?;
        self.with(self.id, |domain| {
            let binding = Binding::Unbound { remote };
            domain.channels.insert(
                port.0,
                Channel {
                    binding,
                    pending: false,
                    received: 0,
                },
            );
        });
        Ok(port)
    }

    fn bind_port(&self, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Bind) {
            return Err(EINVAL);
        }
        let ours = self.free_port()?;
        self.with(remote, |domain| match domain.channels.get_mut(&remote_port.0) {
            Some(channel) if matches!(channel.binding, Binding::Unbound { remote } if remote == self.id) => {
                channel.binding = Binding::Interdomain { remote: self.id, port: ours };
                Ok(())
            }
            _ => Err(EINVAL),
        })?;
        let binding = Binding::Interdomain {
            remote,
            port: remote_port,
        };
        self.with(self.id, |domain| {
            domain.channels.insert(
                ours.0,
                Channel {
                    binding,
                    // As in Xen: what was sent before is not lost.
                    pending: true,
                    received: 0,
                },
            );
        });
        Ok(ours)
    }

    fn map_grant(&self, owner: DomId, reference: GrantRef) -> Result<Foreign, ResourceError> {
        self.count_hypercall(nr::GRANT_TABLE_OP);
        if self.world.inner.fails(Fault::Map) {
            return Err(GrantStatus(GNTST_GENERAL_ERROR).into());
        }
        let mapped = self.map(owner, reference, Access::ReadWrite);
        mapped.map_err(|error| status_of(error).into())
    }

    fn copy_grants(&self, copies: &mut [GrantCopy<Page>]) {
        for _ in copies.chunks(COPIES_PER_CALL) {
            self.count_hypercall(nr::GRANT_TABLE_OP);
        }
        for copy in copies {
            copy.status = match self.copy_one(copy) {
                Ok(()) => GrantStatus::OKAY,
                Err(status) => status,
            };
        }
    }

    fn notify(&self, port: Port) -> Result<(), Errno> {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        if self.world.inner.fails(Fault::Notify) {
            return Err(EINVAL);
        }
        let binding = self
            .with(self.id, |domain| {
                domain.channels.get(&port.0).map(|channel| channel.binding)
            })
            .ok_or(EINVAL)?;
        if let Binding::Interdomain { remote, port } = binding {
            self.with(remote, |domain| {
                if let Some(channel) = domain.channels.get_mut(&port.0) {
                    channel.pending = true;
                    channel.received += 1;
                }
            });
        }
        // Xen drops what is sent to an unbound port without a word.
        Ok(())
    }

    fn close_port(&self, port: Port) {
        self.count_hypercall(nr::EVENT_CHANNEL_OP);
        let channel = self.with(self.id, |domain| domain.channels.remove(&port.0));
        let channel = channel.expect("a port is closed once");
        if let Binding::Interdomain {
            remote,
            port: other,
        } = channel.binding
        {
            self.with(remote, |domain| {
                if let Some(channel) = domain.channels.get_mut(&other.0) {
                    channel.binding = Binding::Unbound { remote: self.id };
                }
            });
        }
    }

    fn now(&self) -> Instant {
        self.world.inner.now.get()
    }

    fn hypercalls(&self) -> Hypercalls {
        self.with(self.id, |domain| Hypercalls::new(domain.hypercalls))
    }
}

#[cfg(test)]
mod tests;
