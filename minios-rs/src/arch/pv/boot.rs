//! From Xen's first instruction in the domain to the appliance's `main`.
#![expect(
    unsafe_code,
    reason = "the entry point gets a raw pointer from Xen and owns the machine"
)]

use crate::abi::xen::{SIF_MOD_START_PFN, StartInfo};
use crate::xen::PAGE_SIZE;
use crate::{arch::pv::trap, console, event, grant, hypercall, mm};
use core::arch::global_asm;

/// What the image was compiled for, as its note says.
#[cfg(target_os = "none")]
macro_rules! target {
    () => {
        " x86_64-unknown-none"
    };
}
#[cfg(not(target_os = "none"))]
macro_rules! target {
    () => {
        " x86_64-unknown-linux-gnu"
    };
}

// Xen enters with start_info's address in rsi, on a stack of its own making, events masked. We
// change to our stack, which has a guard page, at once.
//
// The notes are what xen/elfnote.h asks for; VIRT_BASE and PADDR_OFFSET of 0 make virtual and
// physical addresses the same numbers.
global_asm!(
    r#"
    .section .text.hypercall_page, "ax", @progbits
    .balign 4096
    .globl hypercall_page
    hypercall_page:
        .skip 4096

    .section .text.entry, "ax", @progbits
    .globl _start
    _start:
        cld
        lea rsp, [rip + __stack_top]
        xor ebp, ebp
        mov rdi, rsi
        call {start}
        ud2

    .macro XEN_NOTE_WORD kind, value
        .balign 4
        .long 4, 8, \kind
        .asciz "Xen"
        .quad \value
    .endm
    .macro XEN_NOTE_TEXT kind, text
        .balign 4
        .long 4, 9f - 8f, \kind
        .asciz "Xen"
    8:  .asciz "\text"
    9:
    .endm

    .section .note.Xen, "a", @note
    XEN_NOTE_WORD {entry}, _start
    XEN_NOTE_WORD {hypercall}, hypercall_page
    XEN_NOTE_WORD {virt_base}, 0
    XEN_NOTE_WORD {paddr_offset}, 0
    XEN_NOTE_TEXT {xen_version}, "xen-3.0"
    XEN_NOTE_TEXT {guest_os}, "minios-rs"
    XEN_NOTE_TEXT {loader}, "generic"
    "#,
    // Nobody but people and `xen-image inspect` reads this one.
    concat!(
        "XEN_NOTE_TEXT {guest_version}, \"",
        env!("CARGO_PKG_VERSION"),
        target!(),
        "\"",
    ),
    r#"
    .balign 4
    .text
    "#,
    start = sym start,
    entry = const crate::abi::elfnote::ENTRY,
    hypercall = const crate::abi::elfnote::HYPERCALL_PAGE,
    virt_base = const crate::abi::elfnote::VIRT_BASE,
    paddr_offset = const crate::abi::elfnote::PADDR_OFFSET,
    xen_version = const crate::abi::elfnote::XEN_VERSION,
    guest_os = const crate::abi::elfnote::GUEST_OS,
    guest_version = const crate::abi::elfnote::GUEST_VERSION,
    loader = const crate::abi::elfnote::LOADER,
);

unsafe extern "Rust" {
    /// Written by [`crate::entry!`] in the appliance.
    safe fn minios_main(boot: Boot) -> !;
}

/// What the domain builder handed over.
#[derive(Debug)]
pub struct Boot {
    /// `cmdline`/`extra` of the guest's configuration.
    pub command_line: &'static str,
    /// `ramdisk=` of the guest's configuration; empty without one.
    pub module: &'static [u8],
    /// Xenstore's ring.
    pub xenstore: mm::Page,
    /// Event channel to xenstore.
    pub xenstore_port: crate::xen::Port,
    /// Bytes of memory the domain started with.
    pub memory_bytes: usize,
}

/// A copy of the start info that outlives the boot: the module and the command line point into
/// memory that is never given away.
fn command_line(info: &'static StartInfo) -> &'static str {
    let length = info
        .cmd_line
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(info.cmd_line.len());
    core::str::from_utf8(&info.cmd_line[..length]).unwrap_or("")
}

extern "C" fn start(info: *const StartInfo) -> ! {
    // SAFETY: Xen passes the address of the page it filled; nobody writes that page any more.
    let info: &'static StartInfo = unsafe { &*info };
    trap::install();
    let shared = mm::init(info);
    event::init(shared);
    console::init(
        mm::Page::of_machine_frame(mm::Mfn(info.console_mfn)),
        crate::xen::Port(info.console_evtchn),
    );
    grant::init();
    hypercall::stop_periodic_timer();

    let module_start = if info.flags & SIF_MOD_START_PFN == 0 {
        info.mod_start
    } else {
        info.mod_start * PAGE_SIZE as u64
    };
    let module: &'static [u8] = if info.mod_len == 0 {
        &[]
    } else {
        // SAFETY: the domain builder put the module there, below the first page that `mm` gives out.
        unsafe { core::slice::from_raw_parts(module_start as *const u8, info.mod_len as usize) }
    };
    minios_main(Boot {
        command_line: command_line(info),
        module,
        xenstore: mm::Page::of_machine_frame(mm::Mfn(info.store_mfn)),
        xenstore_port: event::adopt(crate::xen::Port(info.store_evtchn)),
        memory_bytes: info.nr_pages as usize * PAGE_SIZE,
    })
}

/// Names the function an appliance starts with: `entry!(main)`, where `fn main(boot: Boot) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn minios_main(boot: $crate::Boot) -> ! {
            $main(boot)
        }
    };
}
