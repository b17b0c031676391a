//! The table itself: words in memory that Xen reads, and changes at any moment. No hypercalls.

#![forbid(unsafe_code)]

use crate::abi::grant_table::{
    GNTTAB_NR_RESERVED_ENTRIES, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_TYPE_MASK,
    GTF_WRITING,
};
use crate::xen::{Access, DomId, GrantError, GrantRef, PAGE_SIZE};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

/// Entries in a page of the table.
pub(super) const ENTRIES_PER_FRAME: usize = PAGE_SIZE / 8;

/// Pages of the table at most, as many as libxl grants by default: 32,768 grants.
pub(super) const FRAMES_MAX: usize = 64;

/// A page of the table as 1,024 words: entry i is words 2i (flags, domain) and 2i + 1 (frame).
pub(super) trait Frame {
    /// Word `index`.
    fn word(&self, index: usize) -> &AtomicU32;
}

/// The pages that Xen gave for the table, and which of their entries are free.
#[derive(Debug)]
pub(super) struct Table<F> {
    frames: Vec<F>,
    free: Vec<u32>,
}

impl<F: Frame> Table<F> {
    pub(super) const fn new() -> Self {
        Self {
            frames: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number of pages that the table has to have for one grant more: `None` if it has them.
    ///
    /// # Errors
    /// [`GrantError::Full`]: Xen gives no more.
    pub(super) fn wants(&self) -> Result<Option<usize>, GrantError> {
        match self.frames.len() {
            _ if !self.free.is_empty() => Ok(None),
            FRAMES_MAX.. => Err(GrantError::Full),
            frames => Ok(Some(frames + 1)),
        }
    }

    /// Takes the table's next page, whose entries are all free.
    pub(super) fn add(&mut self, frame: F) {
        self.frames.push(frame);
        let end = self.frames.len() * ENTRIES_PER_FRAME;
        let first = (end - ENTRIES_PER_FRAME).max(GNTTAB_NR_RESERVED_ENTRIES as usize);
        // Room for all, so that ending a grant never allocates.
        self.free.reserve(end - GNTTAB_NR_RESERVED_ENTRIES as usize);
        self.free.extend((first as u32..end as u32).rev());
    }

    fn entry(&self, reference: u32) -> (&AtomicU32, &AtomicU32) {
        let frame = &self.frames[reference as usize / ENTRIES_PER_FRAME];
        let at = reference as usize % ENTRIES_PER_FRAME * 2;
        (frame.word(at), frame.word(at + 1))
    }

    /// Lets `to` use the machine frame `number`.
    ///
    /// # Errors
    /// [`GrantError::Full`]: no entry is free.
    pub(super) fn grant(
        &mut self,
        to: DomId,
        number: u32,
        access: Access,
    ) -> Result<GrantRef, GrantError> {
        let reference = self.free.pop().ok_or(GrantError::Full)?;
        let (flags_and_domain, frame) = self.entry(reference);
        let flags = match access {
            Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
            Access::ReadWrite => GTF_PERMIT_ACCESS,
        };
        frame.store(number, Ordering::Relaxed);
        // Last, and after the frame: from here on the other domain may use it.
        flags_and_domain.store(u32::from(flags) | u32::from(to.0) << 16, Ordering::Release);
        Ok(GrantRef(reference))
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// [`GrantError::InUse`]: the peer still maps the page or copies from or to it; the grant stands.
    ///
    /// # Panics
    /// If there is no such grant: its entry would be given out twice.
    pub(super) fn end_access(&mut self, reference: GrantRef) -> Result<(), GrantError> {
        let (flags_and_domain, _) = self.entry(reference.0);
        let mut value = flags_and_domain.load(Ordering::Acquire);
        loop {
            let kind = value & u32::from(GTF_TYPE_MASK);
            assert!(
                kind == u32::from(GTF_PERMIT_ACCESS),
                "a grant is ended once"
            );
            if value & u32::from(GTF_READING | GTF_WRITING) != 0 {
                return Err(GrantError::InUse);
            }
            // Xen may set the bits for "in use" at this moment: then the exchange fails, and we
            // look again.
            match flags_and_domain.compare_exchange_weak(
                value,
                0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(seen) => value = seen,
            }
        }
        self.free.push(reference.0);
        Ok(())
    }

    /// Grants that stand.
    pub(super) fn in_use(&self) -> usize {
        let entries = self.frames.len() * ENTRIES_PER_FRAME;
        entries.saturating_sub(GNTTAB_NR_RESERVED_ENTRIES as usize) - self.free.len()
    }
}

#[cfg(test)]
mod tests;
