//! Pages, as their owner and as a peer that mapped them sees them.

#![forbid(unsafe_code)]

extern crate std;

use super::{Inner, World};
use crate::xen::{Access, DomId, GrantRef, PAGE_SIZE, SharedPage};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};

/// 4,096 bytes.
pub(super) struct Memory {
    words: Vec<AtomicU32>,
    /// A word that is one more each time a peer looks at it.
    rising: Cell<Option<usize>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            words: (0..PAGE_SIZE / 4).map(|_| AtomicU32::new(0)).collect(),
            rising: Cell::new(None),
        }
    }

    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "words are aligned");
        &self.words[offset / 4]
    }

    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into) {
            *byte = self.words[at / 4].load(Ordering::Relaxed).to_ne_bytes()[at % 4];
        }
    }

    pub(super) fn write(&self, offset: usize, from: &[u8]) {
        for (at, byte) in (offset..).zip(from) {
            let word = &self.words[at / 4];
            let mut bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            bytes[at % 4] = *byte;
            word.store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }

    pub(super) fn zero(&self, offset: usize, length: usize) {
        for at in offset..offset + length {
            self.write(at, &[0]);
        }
    }
}

/// The owner's side of a page; when the last handle goes, the page is free.
pub(super) struct Owned {
    /// Weak: the world itself holds the pages that xenstored shares.
    world: Weak<Inner>,
    pub(super) owner: DomId,
    pub(super) memory: Rc<Memory>,
    /// Its machine frame, which no other page ever has.
    pub(super) frame: u64,
}

impl Owned {
    pub(super) fn new(world: &World, owner: DomId) -> Self {
        let memory = Rc::new(Memory::new());
        let mut frames = world.inner.frames.borrow_mut();
        let frame = frames.next;
        frames.next += 1;
        frames.pages.insert(frame, (owner, Rc::downgrade(&memory)));
        Self {
            world: Rc::downgrade(&world.inner),
            owner,
            memory,
            frame,
        }
    }
}

/// Every page there is, by its machine frame.
pub(super) struct Frames {
    pub(super) pages: BTreeMap<u64, (DomId, Weak<Memory>)>,
    next: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            next: 0x1000,
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        world.frames.borrow_mut().pages.remove(&self.frame);
        let mut domains = world.domains.borrow_mut();
        let Some(domain) = domains.get_mut(&self.owner) else {
            return;
        };
        domain.pages -= 1;
        let own = Rc::as_ptr(&self.memory);
        let granted = domain
            .grants
            .iter()
            .find(|(_, grant)| core::ptr::eq(grant.memory.as_ptr(), own));
        let found = granted.map(|(reference, grant)| (*reference, grant.to));
        drop(domains);
        if let Some((reference, to)) = found
            && !std::thread::panicking()
        {
            panic!(
                "{:?} frees a page that {to:?} may still use by reference {reference}",
                self.owner
            );
        }
    }
}

/// A page of a simulated domain's own.
#[derive(Clone)]
pub struct Page(pub(super) Rc<Owned>);

impl Page {
    /// From now on whoever maps the page finds this word one more each time it looks at it: its owner runs
    /// at the same time, and is as fast.
    pub fn raise_when_read(&self, offset: usize) {
        self.0.memory.rising.set(Some(offset));
    }
}

impl SharedPage for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.0.memory.word(offset)
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.0.memory.read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.0.memory.write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        self.0.memory.zero(offset, length);
    }
}

impl core::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Page of {:?}", self.0.owner)
    }
}

struct Mapping {
    world: World,
    mapper: DomId,
    owner: DomId,
    reference: GrantRef,
    memory: Rc<Memory>,
    access: Access,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut domains = self.world.inner.domains.borrow_mut();
        if let Some(mapper) = domains.get_mut(&self.mapper) {
            mapper.mapped -= 1;
        }
        let grant = domains
            .get_mut(&self.owner)
            .and_then(|domain| domain.grants.get_mut(&self.reference.0));
        if let Some(grant) = grant {
            grant.mapped -= 1;
        }
    }
}

/// Another domain's page, mapped; unmapped with its last handle.
#[derive(Clone)]
pub struct Foreign(Rc<Mapping>);

impl Foreign {
    pub(super) fn new(
        world: World,
        mapper: DomId,
        owner: DomId,
        reference: GrantRef,
        memory: Rc<Memory>,
        access: Access,
    ) -> Self {
        Self(Rc::new(Mapping {
            world,
            mapper,
            owner,
            reference,
            memory,
            access,
        }))
    }

    fn assert_writable(&self) {
        assert_eq!(
            self.0.access,
            Access::ReadWrite,
            "a write to a read-only mapping faults"
        );
    }
}

impl SharedPage for Foreign {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.assert_writable();
        let word = self.0.memory.word(offset);
        if self.0.memory.rising.get() == Some(offset) {
            word.fetch_add(1, Ordering::Relaxed);
        }
        word
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.0.memory.read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.assert_writable();
        self.0.memory.write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        self.assert_writable();
        self.0.memory.zero(offset, length);
    }
}
