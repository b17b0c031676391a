//! Our grant table: set up with Xen, and behind [`Pv`].
#![expect(unsafe_code, reason = "setting the table up")]

use super::table::{FRAMES_MAX, Frame, Table};
use crate::abi::grant_table::{GNTTABOP_SETUP_TABLE, SetupTable};
use crate::abi::xen::DOMID_SELF;
use crate::mm::{self, Mfn, SharedWords};
use crate::xen::{Access, DomId, GrantError, GrantRef, PAGE_SIZE};
use crate::{hypercall, xen};
use core::sync::atomic::AtomicU32;
use spin::Mutex;

static TABLE: Mutex<Table<SharedWords>> = Mutex::new(Table::new());

impl Frame for SharedWords {
    fn word(&self, index: usize) -> &AtomicU32 {
        self.get(index)
    }
}

pub(crate) fn init() {
    let first = frame(1).expect("the first page of the grant table");
    TABLE.lock().add(first);
}

/// Asks Xen for a table of `pages`, one more than before; that page.
fn frame(pages: usize) -> Result<SharedWords, GrantError> {
    let mut list = [0u64; FRAMES_MAX];
    let mut setup = SetupTable {
        dom: DOMID_SELF,
        nr_frames: pages as u32,
        frame_list: list.as_mut_ptr() as u64,
        ..SetupTable::default()
    };
    // SAFETY: the operation's own argument type; Xen writes `pages` words of `list`, which has
    // `FRAMES_MAX` at least that many.
    unsafe { hypercall::grant_table_op(GNTTABOP_SETUP_TABLE, &mut setup) }
        .map_err(|_| GrantError::Full)?;
    if setup.status != 0 {
        return Err(GrantError::Full);
    }
    let base = mm::map_foreign(&[Mfn(list[pages - 1])]).map_err(|_| GrantError::Full)?;
    // SAFETY: just mapped, for ever, for this table alone.
    Ok(unsafe { SharedWords::new(base, PAGE_SIZE / 4) })
}

/// Grants that stand.
pub fn in_use() -> usize {
    TABLE.lock().in_use()
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
        let number =
            u32::try_from(page.mfn().0).expect("grant table v1 reaches 16 TiB of machine memory");
        let mut table = TABLE.lock();
        if let Some(pages) = table.wants()? {
            let next = frame(pages)?;
            table.add(next);
        }
        table.grant(to, number, access)
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        TABLE.lock().end_access(reference)
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
