//! Our grant table: set up with Xen, and behind [`Pv`].
#![expect(unsafe_code, reason = "setting the table up")]

use super::kept::Kept;
use super::table::{FRAMES_MAX, Frame, Table};
use crate::abi::grant_table::{
    Copy, CopyPointer, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_GENERAL_ERROR, GNTTABOP_COPY,
    GNTTABOP_SETUP_TABLE, SetupTable,
};
use crate::abi::hvm::dm_op::DmOp;
use crate::abi::hvm::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM};
use crate::abi::sched::ShutdownReason;
use crate::abi::xen::DOMID_SELF;
use crate::arch::pv::trap;
use crate::dm::{self, DeviceModel, Guest};
use crate::hardware::{Hardware, MapError, Pirq, Sharing};
use crate::mm::{self, Mfn, SharedWords};
use crate::xen::{
    Access, CopyEnd, DomId, GrantCopy, GrantError, GrantRef, GrantStatus, PAGE_SIZE, ResourceError,
};
use crate::{hypercall, xen};
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use spin::Mutex;

/// Copies that one hypercall is asked for: 1,280 bytes of stack.
const COPIES_PER_CALL: usize = 32;

static TABLE: Mutex<Table<SharedWords>> = Mutex::new(Table::new());

static KEPT: Mutex<Kept<mm::Page>> = Mutex::new(Kept::new());

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
    type Foreign = mm::Foreign;

    fn allocate_page(&self) -> Result<mm::Page, xen::OutOfMemory> {
        match mm::is_scarce() {
            true => Err(xen::OutOfMemory),
            false => mm::Page::allocate(),
        }
    }

    fn grant(&self, to: DomId, page: &mm::Page, access: Access) -> Result<GrantRef, GrantError> {
        let number =
            u32::try_from(page.mfn().0).expect("grant table v1 reaches 16 TiB of machine memory");
        let mut table = TABLE.lock();
        KEPT.lock().retry(|reference| table.end_access(reference));
        if let Some(pages) = table.wants()? {
            let next = frame(pages)?;
            table.add(next);
        }
        table.grant(to, number, access)
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        TABLE.lock().end_access(reference)
    }

    fn keep(&self, reference: GrantRef, page: mm::Page) {
        KEPT.lock().add(reference, page);
    }

    fn allocate_port(&self, remote: DomId) -> Result<xen::Port, xen::Errno> {
        crate::event::allocate_unbound(remote)
    }

    fn bind_port(&self, remote: DomId, remote_port: xen::Port) -> Result<xen::Port, xen::Errno> {
        crate::event::bind_interdomain(remote, remote_port)
    }

    fn map_grant(&self, owner: DomId, reference: GrantRef) -> Result<mm::Foreign, ResourceError> {
        mm::Foreign::map(owner, reference)
    }

    fn copy_grants(&self, copies: &mut [GrantCopy<mm::Page>]) {
        for part in copies.chunks_mut(COPIES_PER_CALL) {
            copy(part);
        }
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

impl Hardware for Pv {
    type Registers = mm::Registers;

    fn map_registers(&self, address: u64, length: usize) -> Result<mm::Registers, MapError> {
        mm::Registers::map(address, length)
    }

    fn machine_address(&self, page: &mm::Page) -> u64 {
        page.machine_address()
    }

    fn bind_interrupt(&self, pirq: Pirq, sharing: Sharing) -> Result<xen::Port, xen::Errno> {
        crate::event::bind_pirq(pirq, sharing)
    }

    fn take_interrupt(&self, port: xen::Port) -> bool {
        crate::event::take_interrupt(port)
    }

    fn end_interrupt(&self, pirq: Pirq) {
        // One that is not ours any more has nothing to end.
        let _ = hypercall::end_of_interrupt(pirq.0);
    }
}

/// The guest that is ended if this domain crashes; no domain has the number it starts with.
static TAKEN_ALONG: AtomicU16 = AtomicU16::new(DOMID_SELF);

/// The last act of a device model.
fn end_guest() {
    let guest = DomId(TAKEN_ALONG.load(Ordering::Relaxed));
    // What else could be done?
    let _ = Guest::new(Pv, guest).remote_shutdown(ShutdownReason::Crash);
}

impl DeviceModel for Pv {
    type Resource = mm::Resource;
    type Window = mm::Window;

    fn dm_op(
        &self,
        guest: DomId,
        operation: &mut DmOp,
        bytes: &mut [u8],
    ) -> Result<(), xen::Errno> {
        hypercall::dm_op(guest, operation, bytes)
    }

    fn parameter(&self, guest: DomId, index: u32) -> Result<u64, xen::Errno> {
        hypercall::hvm_parameter(HVMOP_GET_PARAM, guest, index, 0)
    }

    fn set_parameter(&self, guest: DomId, index: u32, value: u64) -> Result<(), xen::Errno> {
        hypercall::hvm_parameter(HVMOP_SET_PARAM, guest, index, value).map(drop)
    }

    fn acquire_resource(
        &self,
        guest: DomId,
        server: u16,
        frame: u64,
    ) -> Result<mm::Resource, dm::MapError> {
        mm::Resource::map(guest, server, frame)
    }

    fn take_along(&self, guest: DomId) {
        TAKEN_ALONG.store(guest.0, Ordering::Relaxed);
        trap::at_crash(end_guest);
    }

    fn window(&self, guest: DomId) -> Result<mm::Window, xen::OutOfMemory> {
        match mm::is_scarce() {
            true => Err(xen::OutOfMemory),
            false => mm::Window::reserve(guest),
        }
    }
}

/// One end of a copy as Xen takes it, and the flag that says whether it is a grant.
fn pointer(end: &CopyEnd<mm::Page>, offset: u16, grant: u16) -> (CopyPointer, u16) {
    let (reference_or_frame, domid, flag) = match end {
        CopyEnd::Grant { domain, reference } => (u64::from(reference.0), domain.0, grant),
        CopyEnd::Page(page) => (page.mfn().0, DOMID_SELF, 0),
    };
    let pointer = CopyPointer {
        reference_or_frame,
        domid,
        offset,
        pad: 0,
    };
    (pointer, flag)
}

/// One hypercall for at most [`COPIES_PER_CALL`] copies.
fn copy(copies: &mut [GrantCopy<mm::Page>]) {
    let mut arguments = [Copy::default(); COPIES_PER_CALL];
    for (argument, copy) in arguments.iter_mut().zip(&*copies) {
        let (source, from) = pointer(&copy.source, copy.source_offset, GNTCOPY_SOURCE_GREF);
        let (dest, to) = pointer(
            &copy.destination,
            copy.destination_offset,
            GNTCOPY_DEST_GREF,
        );
        *argument = Copy {
            source,
            dest,
            len: copy.len,
            flags: from | to,
            // What an entry says that Xen did not come to.
            status: GNTST_GENERAL_ERROR,
            pad: 0,
        };
    }
    let arguments = &mut arguments[..copies.len()];
    // SAFETY: the operation's own argument type. Frames of ours are pages that the entries hold handles
    // of, in which no Rust value lies; Xen checks every grant, and that an entry keeps within its pages
    // (gnttab_copy_buf). A call that fails leaves the statuses of
    // what was not done as they are.
    let _ = unsafe { hypercall::grant_table_ops(GNTTABOP_COPY, arguments) };
    let mut copied = 0;
    for (argument, copy) in arguments.iter().zip(copies) {
        copy.status = GrantStatus(argument.status);
        if copy.status.is_okay() {
            copied += u64::from(copy.len);
        }
    }
    hypercall::count_copied(copied);
}
