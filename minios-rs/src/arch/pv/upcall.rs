//! Where Xen enters while the domain sleeps in `SCHEDOP_block`.
//!
//! Upcalls are masked everywhere else, so this runs at one place only: inside the assembly of
//! [`hypercall::block`](crate::hypercall). It does nothing: Xen has masked upcalls again and marked in
//! shared info what came, and the main loop looks there.
#![expect(unsafe_code, reason = "an entry point")]

use crate::hypercall;
use crate::xen::Errno;
use core::arch::global_asm;

// Xen leaves rcx and r11 on top of a frame as the processor's own. Interrupted code and this one have
// the same privilege, so the processor's own return will do: it cannot change the interrupt flag there,
// and needs the selectors with the privilege they run with, which Xen shows as 0 to a guest's kernel.
global_asm!(
    r#"
    .text
    .balign 16
    upcall_entry:
        pop rcx
        pop r11
        or byte ptr [rsp + 8], 3
        or byte ptr [rsp + 32], 3
        iretq
    "#
);

unsafe extern "C" {
    static upcall_entry: u8;
}

/// Tells Xen where to enter.
///
/// # Errors
/// Xen's.
pub(crate) fn register() -> Result<(), Errno> {
    let entry = &raw const upcall_entry as u64;
    // SAFETY: the code above preserves every register and touches nothing but Xen's own frame on the
    // stack; upcalls are let through only where the assembly owns the stack.
    unsafe { hypercall::set_event_callback(entry) }
}
