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

pub mod blkback;
pub mod console;
pub mod hvm;
mod hypercalls;
pub mod netback;
pub mod netfront;
mod page;
pub mod pci;
pub mod pciback;
pub mod vchan;
mod xenstored;

pub use page::{Foreign, Page};
pub use xenstored::Quirks;

use crate::abi::errno::{EACCES, EFAULT, ENOENT};
use crate::abi::xen::nr;
use crate::grant::kept::Kept;
use crate::hardware::Pirq;
use crate::time::Instant;
use crate::xen::{Access, DomId, Errno, GrantRef, PAGE_SIZE, Port, Xen};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use page::{Frames, Memory, Owned};

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
    /// [`Hardware::map_registers`](crate::hardware::Hardware::map_registers).
    Registers,
    /// [`Hardware::bind_interrupt`](crate::hardware::Hardware::bind_interrupt).
    Interrupt,
    /// [`DeviceModel::dm_op`](crate::dm::DeviceModel::dm_op).
    DeviceModel,
    /// [`DeviceModel::acquire_resource`](crate::dm::DeviceModel::acquire_resource).
    Resource,
    /// [`DeviceModel::window`](crate::dm::DeviceModel::window).
    Window,
    /// One page of a guest's that a window is to show.
    GuestPage,
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
    /// Registers of cards mapped.
    pub registers: usize,
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
    Pirq { pirq: Pirq },
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
    registers: usize,
    grants: BTreeMap<u32, Grant>,
    grants_max: usize,
    next_grant: u32,
    channels: BTreeMap<u32, Channel>,
    hypercalls: [u64; nr::COUNT],
    copied_bytes: u64,
}

struct Inner {
    now: Cell<Instant>,
    domains: RefCell<BTreeMap<DomId, DomainState>>,
    kept: RefCell<BTreeMap<DomId, Kept<Page>>>,
    faults: RefCell<BTreeMap<Fault, u64>>,
    calls: RefCell<BTreeMap<Fault, u64>>,
    store: RefCell<xenstored::Xenstored>,
    frames: RefCell<Frames>,
    cards: RefCell<pci::Cards>,
    guests: RefCell<BTreeMap<DomId, hvm::State>>,
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
                kept: RefCell::default(),
                faults: RefCell::default(),
                calls: RefCell::default(),
                store: RefCell::default(),
                frames: RefCell::default(),
                cards: RefCell::default(),
                guests: RefCell::default(),
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
                registers: 0,
                grants: BTreeMap::new(),
                grants_max: GRANTS_MAX,
                // As in Xen, the first ones are the toolstack's.
                next_grant: crate::abi::grant_table::GNTTAB_NR_RESERVED_ENTRIES,
                channels: BTreeMap::new(),
                hypercalls: [0; nr::COUNT],
                copied_bytes: 0,
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
            registers: domain.registers,
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

#[cfg(test)]
mod tests;
