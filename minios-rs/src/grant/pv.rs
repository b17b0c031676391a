//! Our grant table (version 1): who may use which of our pages. Words in memory, no hypercalls.
#![expect(unsafe_code, reason = "setting the table up")]

use crate::abi::grant_table::{
    GNTTAB_NR_RESERVED_ENTRIES, GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY,
    GTF_WRITING, SetupTable,
};
use crate::abi::xen::DOMID_SELF;
use crate::mm::{self, Mfn, SharedWords};
use crate::xen::{Access, DomId, GrantError, GrantRef, PAGE_SIZE};
use crate::{hypercall, xen};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Entries in a page of the table.
const ENTRIES_PER_FRAME: usize = PAGE_SIZE / 8;

/// Pages of the table at most, as many as libxl grants by default: 32,768 grants.
const FRAMES_MAX: usize = 64;

#[derive(Debug)]
struct Table {
    /// Mapped pages of the table, as words: entry i is words 2i (flags, domain) and 2i + 1 (frame).
    frames: Vec<SharedWords>,
    /// References that are free.
    free: Vec<u32>,
}

static TABLE: Mutex<Table> = Mutex::new(Table {
    frames: Vec::new(),
    free: Vec::new(),
});

pub(crate) fn init() {
    let grown = TABLE.lock().grow();
    assert!(grown.is_ok(), "the first page of the grant table");
}

impl Table {
    /// Asks Xen for one page more.
    fn grow(&mut self) -> Result<(), GrantError> {
        let wanted = self.frames.len() + 1;
        if wanted > FRAMES_MAX {
            return Err(GrantError::Full);
        }
        let mut list = [0u64; FRAMES_MAX];
        let mut setup = SetupTable {
            dom: DOMID_SELF,
            nr_frames: wanted as u32,
            frame_list: list.as_mut_ptr() as u64,
            ..SetupTable::default()
        };
        // SAFETY: the operation's own argument type; Xen writes `wanted` words of `list`.
        unsafe { hypercall::grant_table_op(GNTTABOP_SETUP_TABLE, &mut setup) }
            .map_err(|_| GrantError::Full)?;
        if setup.status != 0 {
            return Err(GrantError::Full);
        }
        let base = mm::map_foreign(&[Mfn(list[wanted - 1])]).map_err(|_| GrantError::Full)?;
        // SAFETY: just mapped, for ever, for this table alone.
        self.frames
            .push(unsafe { SharedWords::new(base, PAGE_SIZE / 4) });
        let first = ((wanted - 1) * ENTRIES_PER_FRAME).max(GNTTAB_NR_RESERVED_ENTRIES as usize);
        let end = wanted * ENTRIES_PER_FRAME;
        self.free.reserve(end - GNTTAB_NR_RESERVED_ENTRIES as usize);
        self.free.extend((first as u32..end as u32).rev());
        Ok(())
    }

    fn entry(
        &self,
        reference: u32,
    ) -> (
        &'static core::sync::atomic::AtomicU32,
        &'static core::sync::atomic::AtomicU32,
    ) {
        let frame = &self.frames[reference as usize / ENTRIES_PER_FRAME];
        let at = reference as usize % ENTRIES_PER_FRAME * 2;
        (frame.get(at), frame.get(at + 1))
    }
}

/// Lets `to` use a page.
///
/// # Errors
/// [`GrantError::Full`].
pub(crate) fn grant(to: DomId, page: &mm::Page, access: Access) -> Result<GrantRef, GrantError> {
    let frame =
        u32::try_from(page.mfn().0).expect("grant table v1 reaches 16 TiB of machine memory");
    let mut table = TABLE.lock();
    if table.free.is_empty() {
        table.grow()?;
    }
    let reference = table.free.pop().ok_or(GrantError::Full)?;
    let (flags_and_domain, frame_word) = table.entry(reference);
    let flags = match access {
        Access::ReadOnly => GTF_PERMIT_ACCESS | GTF_READONLY,
        Access::ReadWrite => GTF_PERMIT_ACCESS,
    };
    frame_word.store(frame, Ordering::Relaxed);
    flags_and_domain.store(u32::from(flags) | u32::from(to.0) << 16, Ordering::Release);
    Ok(GrantRef(reference))
}

/// Takes a grant back.
///
/// # Errors
/// [`GrantError::InUse`]: the peer still maps the page or copies from it; the grant stands.
pub(crate) fn end_access(reference: GrantRef) -> Result<(), GrantError> {
    let mut table = TABLE.lock();
    let (flags_and_domain, _) = table.entry(reference.0);
    let mut value = flags_and_domain.load(Ordering::Acquire);
    loop {
        if value & u32::from(GTF_READING | GTF_WRITING) != 0 {
            return Err(GrantError::InUse);
        }
        // Xen may set the bits for "in use" at this moment: then the exchange fails, and we look again.
        match flags_and_domain.compare_exchange_weak(value, 0, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => break,
            Err(seen) => value = seen,
        }
    }
    table.free.push(reference.0);
    Ok(())
}

/// Grants that stand.
pub fn in_use() -> usize {
    let table = TABLE.lock();
    table.frames.len() * ENTRIES_PER_FRAME - GNTTAB_NR_RESERVED_ENTRIES as usize - table.free.len()
}

/// The real Xen, for drivers written against [`xen::Xen`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Pv;

impl xen::Xen for Pv {
    type Page = mm::Page;

    fn allocate_page(&self) -> Result<mm::Page, xen::OutOfMemory> {
        mm::Page::allocate()
    }

    fn grant(&self, to: DomId, page: &mm::Page, access: Access) -> Result<GrantRef, GrantError> {
        grant(to, page, access)
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        end_access(reference)
    }

    fn allocate_port(&self, remote: DomId) -> Result<xen::Port, xen::Errno> {
        crate::event::allocate_unbound(remote)
    }

    fn notify(&self, port: xen::Port) -> Result<(), xen::Errno> {
        crate::event::notify(port)
    }

    fn close_port(&self, port: xen::Port) {
        crate::event::close(port);
    }

    fn now(&self) -> crate::time::Instant {
        crate::time::Instant(crate::arch::pv::clock::system_time_ns())
    }

    fn hypercalls(&self) -> xen::Hypercalls {
        hypercall::counts()
    }
}
