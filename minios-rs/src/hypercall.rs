//! One typed function per hypercall.
//!
//! Arguments go where xen/arch-x86/xen-x86_64.h says; a negative result is an [`Errno`]. Every
//! pointer passed is to a Rust value of the callee's type, so no caller needs unsafe code.
#![expect(
    unsafe_code,
    reason = "hypercalls are calls into a page that Xen wrote"
)]

use crate::abi::callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CallbackRegister};
use crate::abi::hvm::dm_op::{DmOp, DmOpBuf};
use crate::abi::hvm::hvm_op::Param;
use crate::abi::memory::AcquireResource;
use crate::abi::sched::{
    POLL_PORTS_MAX, Poll, SCHEDOP_BLOCK, SCHEDOP_POLL, SCHEDOP_SHUTDOWN, Shutdown, ShutdownReason,
};
use crate::abi::xen::{
    CONSOLEIO_WRITE, DOMID_SELF, MMUEXT_TLB_FLUSH_LOCAL, MmuUpdate, MmuextOp, TrapInfo,
    UVMF_INVLPG, XENVER_VERSION, nr,
};
use crate::abi::{memory, physdev, vcpu};
use crate::xen::{DomId, Errno, Hypercalls, Port};
use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

unsafe extern "C" {
    static hypercall_page: [[u8; 32]; 128];
}

/// Calls so far, by number.
static COUNTS: [AtomicU64; nr::COUNT] = [const { AtomicU64::new(0) }; nr::COUNT];

/// How often this domain has called Xen since it started.
pub fn counts() -> Hypercalls {
    let counts = core::array::from_fn(|number| COUNTS[number].load(Ordering::Relaxed));
    Hypercalls::new(counts, COPIED_BYTES.load(Ordering::Relaxed))
}

/// Bytes that Xen has copied by grant.
static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts bytes that Xen has copied by grant.
pub(crate) fn count_copied(bytes: u64) {
    let count = COPIED_BYTES.load(Ordering::Relaxed);
    COPIED_BYTES.store(count + bytes, Ordering::Relaxed);
}

/// Calls stub `N` of the hypercall page.
///
/// # Safety
/// The arguments are what hypercall `N` takes; memory they point to lives and may be written as it asks.
unsafe fn call<const N: usize>(arguments: [u64; 4]) -> Result<u64, Errno> {
    // One CPU and no handlers: a plain increment, which costs nothing beside what follows.
    let count = COUNTS[N].load(Ordering::Relaxed);
    COUNTS[N].store(count + 1, Ordering::Relaxed);
    let result: i64;
    // SAFETY: the caller's promise. The stub uses the stack (so no `nostack`), rcx and r11, and
    // may change the argument registers.
    unsafe {
        asm!(
            "call {page} + {offset}",
            page = sym hypercall_page,
            offset = const N * 32,
            inlateout("rdi") arguments[0] => _,
            inlateout("rsi") arguments[1] => _,
            inlateout("rdx") arguments[2] => _,
            inlateout("r10") arguments[3] => _,
            lateout("rax") result,
            out("rcx") _,
            out("r11") _,
        );
    }
    u64::try_from(result).map_err(|_| Errno(result.unsigned_abs() as i32))
}

fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

fn address_mut<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value) as u64
}

/// Version of Xen: major, minor.
pub fn xen_version() -> (u16, u16) {
    // SAFETY: takes no pointer.
    let version = unsafe { call::<{ nr::XEN_VERSION }>([XENVER_VERSION, 0, 0, 0]) }.unwrap_or(0);
    ((version >> 16) as u16, version as u16)
}

/// Installs exception handlers. The last entry must have address 0. Xen jumps to the others: only
/// `arch` has addresses that can be jumped to.
pub(crate) fn set_trap_table(table: &[TrapInfo]) {
    assert!(
        table.last().is_some_and(|end| end.address == 0),
        "the trap table has no end"
    );
    // SAFETY: Xen reads entries up to the one with address 0.
    let done = unsafe { call::<{ nr::SET_TRAP_TABLE }>([table.as_ptr() as u64, 0, 0, 0]) };
    done.unwrap_or_else(|error| panic!("Xen refused the trap table: {error}"));
}

/// Changes page-table entries.
///
/// # Errors
/// EINVAL when Xen finds an entry that would break its own rules.
///
/// # Safety
/// The new mappings do not take away, or make aliases of, memory that Rust values live in.
pub unsafe fn mmu_update(updates: &[MmuUpdate]) -> Result<(), Errno> {
    let mut done = 0u32;
    // SAFETY: Xen reads the updates and writes `done`; what they map is the caller's promise.
    unsafe {
        call::<{ nr::MMU_UPDATE }>([
            updates.as_ptr() as u64,
            updates.len() as u64,
            address_mut(&mut done),
            u64::from(DOMID_SELF),
        ])
    }?;
    Ok(())
}

/// Changes page-table entries, new ones to pages of `owner`'s, one after the other up to the first that Xen
/// refuses.
///
/// # Errors
/// How many were changed, and Xen's reason for the one behind them: EINVAL if there is no such page, EPERM if
/// this domain may not map it.
///
/// # Safety
/// As [`mmu_update`].
pub unsafe fn mmu_update_foreign(
    updates: &[MmuUpdate],
    owner: DomId,
) -> Result<(), (usize, Errno)> {
    let mut done = 0u32;
    // SAFETY: Xen reads the updates and writes `done`; what they map is the caller's promise.
    let called = unsafe {
        call::<{ nr::MMU_UPDATE }>([
            updates.as_ptr() as u64,
            updates.len() as u64,
            address_mut(&mut done),
            u64::from(owner.0),
        ])
    };
    match called {
        Ok(_) => Ok(()),
        Err(error) => Err((updates.len().min(done as usize), error)),
    }
}

/// Has this CPU forget every translation of addresses.
pub fn flush_translations() {
    let operation = MmuextOp {
        cmd: MMUEXT_TLB_FLUSH_LOCAL,
        ..MmuextOp::default()
    };
    let own = u64::from(DOMID_SELF);
    // SAFETY: Xen reads one operation, and writes no count where there is none to write it to.
    let done = unsafe { call::<{ nr::MMUEXT_OP }>([address(&operation), 1, 0, own]) };
    done.unwrap_or_else(|error| panic!("Xen refused to flush the TLB: {error}"));
}

/// Changes the last-level entry of one address, and flushes it.
///
/// # Errors
/// EINVAL when Xen finds that the entry would break its own rules.
///
/// # Safety
/// As [`mmu_update`].
pub unsafe fn update_va_mapping(virtual_address: usize, entry: u64) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe { call::<{ nr::UPDATE_VA_MAPPING }>([virtual_address as u64, entry, UVMF_INVLPG, 0]) }?;
    Ok(())
}

/// The most pages this domain may ever have (`maxmem`).
///
/// # Errors
/// Xen's.
pub fn maximum_reservation() -> Result<usize, Errno> {
    let domain = DOMID_SELF;
    // SAFETY: Xen reads a domid_t.
    let pages = unsafe {
        call::<{ nr::MEMORY_OP }>([memory::XENMEM_MAXIMUM_RESERVATION, address(&domain), 0, 0])
    }?;
    Ok(pages as usize)
}

/// The machine frame of a page that Xen keeps for an ioreq server of a guest.
///
/// # Errors
/// Xen's.
pub(crate) fn acquire_ioreq_page(guest: DomId, server: u16, frame: u64) -> Result<u64, Errno> {
    let mut machine_frame = 0u64;
    let mut argument = AcquireResource {
        domid: guest.0,
        kind: memory::XENMEM_RESOURCE_IOREQ_SERVER,
        id: u32::from(server),
        nr_frames: 1,
        pad: 0,
        frame,
        frame_list: address_mut(&mut machine_frame),
    };
    // SAFETY: the operation's own argument type, whose list has room for the one frame that it asks for.
    unsafe {
        call::<{ nr::MEMORY_OP }>([
            memory::XENMEM_ACQUIRE_RESOURCE,
            address_mut(&mut argument),
            0,
            0,
        ])
    }?;
    Ok(machine_frame)
}

/// An operation of a device model on its guest. Xen reads and writes nothing of this domain's but the
/// operation and `bytes`.
///
/// # Errors
/// Xen's.
pub fn dm_op(guest: DomId, operation: &mut DmOp, bytes: &mut [u8]) -> Result<(), Errno> {
    let buffers = [
        DmOpBuf {
            h: address_mut(operation),
            size: size_of::<DmOp>() as u64,
        },
        DmOpBuf {
            h: bytes.as_mut_ptr() as u64,
            size: bytes.len() as u64,
        },
    ];
    let count = if bytes.is_empty() { 1 } else { 2 };
    let arguments = [u64::from(guest.0), count, buffers.as_ptr() as u64, 0];
    // SAFETY: as many buffers as `count` says, each of as many writable bytes as it says.
    unsafe { call::<{ nr::DM_OP }>(arguments) }?;
    Ok(())
}

/// Reads (`HVMOP_get_param`) or sets a parameter of a guest; its value.
///
/// # Errors
/// Xen's.
pub(crate) fn hvm_parameter(
    operation: u64,
    guest: DomId,
    index: u32,
    value: u64,
) -> Result<u64, Errno> {
    let mut argument = Param {
        domid: guest.0,
        pad: 0,
        index,
        value,
    };
    // SAFETY: what both operations that have this argument read and write.
    unsafe { call::<{ nr::HVM_OP }>([operation, address_mut(&mut argument), 0, 0]) }?;
    Ok(argument.value)
}

/// A grant-table operation on one argument.
///
/// # Errors
/// Xen's; most operations report through a status field of the argument instead.
///
/// # Safety
/// `argument` is what `operation` takes, and what it points to lives.
pub unsafe fn grant_table_op<T>(operation: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe { grant_table_ops(operation, core::slice::from_mut(argument)) }
}

/// A grant-table operation on many arguments at once. Xen does one after the other, and goes on behind
/// one that fails.
///
/// # Errors
/// Xen's; most operations report through a status field of each argument instead.
///
/// # Safety
/// The arguments are what `operation` takes, and what they point to lives.
pub unsafe fn grant_table_ops<T>(operation: u32, arguments: &mut [T]) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe {
        call::<{ nr::GRANT_TABLE_OP }>([
            u64::from(operation),
            arguments.as_mut_ptr() as u64,
            arguments.len() as u64,
            0,
        ])
    }?;
    Ok(())
}

/// An event-channel operation. None of their arguments holds a pointer.
///
/// # Errors
/// Xen's.
///
/// # Safety
/// `T` is the argument of `operation`.
pub unsafe fn event_channel_op<T>(operation: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe {
        call::<{ nr::EVENT_CHANNEL_OP }>([u64::from(operation), address_mut(argument), 0, 0])
    }?;
    Ok(())
}

/// Says that a physical interrupt was served.
///
/// # Errors
/// EINVAL: it is not this domain's.
pub fn end_of_interrupt(pirq: u32) -> Result<(), Errno> {
    let argument = physdev::Eoi { irq: pirq };
    // SAFETY: Xen reads `argument`.
    unsafe { call::<{ nr::PHYSDEV_OP }>([physdev::PHYSDEVOP_EOI, address(&argument), 0, 0]) }?;
    Ok(())
}

/// Sleeps until one of `ports` is pending or Xen's clock reaches `timeout_ns` (0: no time-out).
///
/// # Errors
/// EINVAL: a port that is not bound.
pub fn poll(ports: &[Port], timeout_ns: u64) -> Result<(), Errno> {
    let mut numbers = [0u32; POLL_PORTS_MAX];
    assert!(
        ports.len() <= numbers.len(),
        "more ports than SCHEDOP_poll takes"
    );
    for (number, port) in numbers.iter_mut().zip(ports) {
        *number = port.0;
    }
    let poll = Poll {
        ports: numbers.as_ptr() as u64,
        nr_ports: ports.len() as u32,
        timeout: timeout_ns,
    };
    // SAFETY: Xen reads `poll` and as many port numbers as it says.
    unsafe { call::<{ nr::SCHED_OP }>([SCHEDOP_POLL, address(&poll), 0, 0]) }?;
    Ok(())
}

/// Where Xen enters when an event comes while upcalls are not masked.
///
/// # Errors
/// Xen's.
///
/// # Safety
/// `entry` is the address of code that may run on the stack in use at any instruction at which upcalls
/// are not masked, and that returns as one of Xen's upcalls must.
pub unsafe fn set_event_callback(entry: u64) -> Result<(), Errno> {
    let callback = CallbackRegister {
        kind: CALLBACKTYPE_EVENT,
        flags: 0,
        address: entry,
    };
    // SAFETY: Xen reads `callback`; what it jumps to is the caller's promise.
    unsafe { call::<{ nr::CALLBACK_OP }>([CALLBACKOP_REGISTER, address(&callback), 0, 0]) }?;
    Ok(())
}

/// Makes `VIRQ_TIMER` fire once, when Xen's clock reaches `deadline_ns`; 0: not at all.
///
/// # Errors
/// Xen's.
pub fn set_timer(deadline_ns: u64) -> Result<(), Errno> {
    // SAFETY: takes no pointer.
    unsafe { call::<{ nr::SET_TIMER_OP }>([deadline_ns, 0, 0, 0]) }?;
    Ok(())
}

/// Sleeps until an event comes at a port that is not masked, or is there already.
///
/// Xen lets upcalls through from inside this call on, and masks them again when it makes one. The upcall
/// comes on the stack in use, at an instruction of the assembly below or in the hypercall page: the
/// assembly owns the stack there (no `nostack`), so no red zone is in use. `upcall_mask` is set again
/// before the assembly ends, for a wake-up without an upcall.
///
/// # Errors
/// Xen's.
pub(crate) fn block(upcall_mask: &AtomicU8) -> Result<(), Errno> {
    let count = COUNTS[nr::SCHED_OP].load(Ordering::Relaxed);
    COUNTS[nr::SCHED_OP].store(count + 1, Ordering::Relaxed);
    let result: i64;
    // SAFETY: takes no pointer but the mask's, which lives. The entry point preserves every register.
    unsafe {
        asm!(
            "call {page} + {offset}",
            "mov byte ptr [{mask}], 1",
            page = sym hypercall_page,
            offset = const nr::SCHED_OP * 32,
            mask = in(reg) upcall_mask.as_ptr(),
            inlateout("rdi") SCHEDOP_BLOCK => _,
            inlateout("rsi") 0u64 => _,
            inlateout("rdx") 0u64 => _,
            inlateout("r10") 0u64 => _,
            out("rax") result,
            out("rcx") _,
            out("r11") _,
        );
    }
    u64::try_from(result)
        .map(drop)
        .map_err(|_| Errno(result.unsigned_abs() as i32))
}

/// Ends the domain.
pub fn shutdown(reason: ShutdownReason) -> ! {
    let shutdown = Shutdown {
        reason: reason as u32,
    };
    loop {
        // SAFETY: Xen reads `shutdown`.
        let _ = unsafe { call::<{ nr::SCHED_OP }>([SCHEDOP_SHUTDOWN, address(&shutdown), 0, 0]) };
    }
}

/// Stops the 10 ms timer that every domain starts with: the executor sleeps until there is work.
pub fn stop_periodic_timer() {
    // SAFETY: takes no pointer.
    let _ = unsafe { call::<{ nr::VCPU_OP }>([vcpu::VCPUOP_STOP_PERIODIC_TIMER, 0, 0, 0]) };
}

/// Writes to Xen's own console, which a release build of Xen ignores: for what happens before
/// the domain's console works.
pub fn xen_console(bytes: &[u8]) {
    // SAFETY: Xen reads `bytes`.
    let _ = unsafe {
        call::<{ nr::CONSOLE_IO }>([
            CONSOLEIO_WRITE,
            bytes.len() as u64,
            bytes.as_ptr() as u64,
            0,
        ])
    };
}
