//! Exceptions: none is expected, each prints registers and a backtrace, then the domain crashes.
#![expect(unsafe_code, reason = "exception entry and stack walking")]

use crate::abi::sched::ShutdownReason;
use crate::abi::xen::{FLAT_KERNEL_CS, TI_SET_IF, TrapInfo};
use crate::{console, event, hypercall};
use core::arch::global_asm;
use core::fmt::Write as _;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU8, Ordering};
use spin::Once;

/// Vectors 0 to 31 but 2 (NMI, which Xen does not pass on this way) and the reserved ones.
const VECTORS: [u8; 19] = [
    0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21,
];

/// Names of the vectors above, in their order.
const NAMES: [&str; VECTORS.len()] = [
    "divide error",
    "debug",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection exception",
];

const PAGE_FAULT: u64 = 14;

// Xen leaves rcx and r11 on top of the hardware frame. Stubs are 16 bytes apart, in the order of
// VECTORS; those whose exception has no error code push a 0 in its place.
global_asm!(
    r#"
    .macro TRAP vector, has_error
        .balign 16
        pop rcx
        pop r11
        .if \has_error == 0
        push 0
        .endif
        push \vector
        jmp trap_common
    .endm

    .text
    .balign 16
    trap_stubs:
        TRAP 0, 0
        TRAP 1, 0
        TRAP 3, 0
        TRAP 4, 0
        TRAP 5, 0
        TRAP 6, 0
        TRAP 7, 0
        TRAP 8, 1
        TRAP 10, 1
        TRAP 11, 1
        TRAP 12, 1
        TRAP 13, 1
        TRAP 14, 1
        TRAP 16, 0
        TRAP 17, 1
        TRAP 18, 0
        TRAP 19, 0
        TRAP 20, 0
        TRAP 21, 1

    trap_common:
        push rax
        push rbx
        push rcx
        push rdx
        push rsi
        push rdi
        push rbp
        push r8
        push r9
        push r10
        push r11
        push r12
        push r13
        push r14
        push r15
        mov rdi, rsp
        and rsp, -16
        call {report}
        ud2
    "#,
    report = sym report,
);

unsafe extern "C" {
    static trap_stubs: [[u8; 16]; VECTORS.len()];
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __build_id_start: u8;
    static __build_id_end: u8;
}

/// Bytes of a GNU note before its value: name length, value length, type, `GNU\0`.
const NOTE_HEADER: usize = 16;

/// The linker's hash of the image, which tells its debug file from all others. Empty if the linker
/// was told to leave it out.
fn build_id() -> &'static [u8] {
    let start = &raw const __build_id_start;
    let length = &raw const __build_id_end as usize - start as usize;
    // SAFETY: the linker script puts both symbols around the note, in read-only data.
    let note = unsafe { core::slice::from_raw_parts(start, length) };
    note.get(NOTE_HEADER..).unwrap_or(&[])
}

/// Says which image the addresses below belong to, and announces them.
fn announce_backtrace(out: &mut impl core::fmt::Write) {
    let _ = write!(out, "  build-id ");
    for byte in build_id() {
        let _ = write!(out, "{byte:02x}");
    }
    let _ = writeln!(out, "\n  backtrace:");
}

/// Registers as the stubs push them.
#[repr(C)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl Frame {
    /// The general registers and their names, in the order of a report.
    fn registers(&self) -> [(&'static str, u64); 16] {
        [
            ("rax", self.rax),
            ("rbx", self.rbx),
            ("rcx", self.rcx),
            ("rdx", self.rdx),
            ("rsi", self.rsi),
            ("rdi", self.rdi),
            ("rbp", self.rbp),
            ("rsp", self.rsp),
            ("r8", self.r8),
            ("r9", self.r9),
            ("r10", self.r10),
            ("r11", self.r11),
            ("r12", self.r12),
            ("r13", self.r13),
            ("r14", self.r14),
            ("r15", self.r15),
        ]
    }
}

/// Tells Xen where exceptions go.
pub fn install() {
    let mut table = [TrapInfo::default(); VECTORS.len() + 1];
    for (index, (entry, &vector)) in table.iter_mut().zip(&VECTORS).enumerate() {
        *entry = TrapInfo {
            vector,
            // Breakpoint and overflow may be raised by ring 3, which is where we run.
            flags: TI_SET_IF | if matches!(vector, 3 | 4) { 3 } else { 0 },
            cs: FLAT_KERNEL_CS,
            // SAFETY: only the address is taken, of a symbol of the assembly above.
            address: unsafe { &raw const trap_stubs[index] } as u64,
        };
    }
    hypercall::set_trap_table(&table);
}

/// How deep in trouble we are: reports of reports stop after the first.
static REPORTS: AtomicU8 = AtomicU8::new(0);

/// What is done first when the domain crashes.
static LAST_ACT: Once<fn()> = Once::new();

/// Has `act` called when this domain crashes, before it is reported and whatever state things are in: a hypercall at
/// the most. The first one stays.
pub fn at_crash(act: fn()) {
    LAST_ACT.call_once(|| act);
}

/// Whether this is the first trouble, which is to be reported. Then the last act is done.
fn is_first() -> bool {
    let is_first = REPORTS.fetch_add(1, Ordering::Relaxed) == 0;
    if is_first && let Some(act) = LAST_ACT.get() {
        act();
    }
    is_first
}

extern "C" fn report(frame: &Frame) -> ! {
    if is_first() {
        let name = VECTORS
            .iter()
            .position(|&v| u64::from(v) == frame.vector)
            .map_or("exception", |at| NAMES[at]);
        let mut out = console::Emergency;
        let _ = writeln!(
            out,
            "CRASH: {name} (vector {}, error {:#x}) at {:#018x}",
            frame.vector, frame.error, frame.rip
        );
        if frame.vector == PAGE_FAULT {
            let address = event::fault_address();
            let what = if frame.error & 16 != 0 {
                "executing"
            } else if frame.error & 2 != 0 {
                "writing"
            } else {
                "reading"
            };
            let _ = writeln!(
                out,
                "  {what} {address:#018x}{}",
                if address < 4096 {
                    " (page 0 is never mapped)"
                } else {
                    ""
                }
            );
        }
        for row in frame.registers().chunks(4) {
            for (name, value) in row {
                let _ = write!(out, "  {name:3} {value:016x}");
            }
            let _ = writeln!(out);
        }
        let _ = writeln!(
            out,
            "  rflags {:x} cs {:x} ss {:x}",
            frame.rflags, frame.cs, frame.ss
        );
        announce_backtrace(&mut out);
        let _ = writeln!(out, "    {:#018x}", frame.rip);
        backtrace(frame.rbp, &mut out);
    }
    console::drain();
    hypercall::shutdown(ShutdownReason::Crash)
}

/// Prints return addresses by following the chain of frame pointers, as long as it stays on our
/// stack and moves up: a smashed stack ends the walk, it does not fault it.
fn backtrace(mut frame_pointer: u64, out: &mut impl core::fmt::Write) {
    let stack = (&raw const __stack_bottom as u64)..=(&raw const __stack_top as u64 - 16);
    let text = (&raw const __text_start as u64)..(&raw const __text_end as u64);
    for _ in 0..48 {
        if !stack.contains(&frame_pointer) || !frame_pointer.is_multiple_of(8) {
            return;
        }
        let pair = frame_pointer as *const [u64; 2];
        // SAFETY: aligned, and both words lie on the stack, as checked above; the stack is ours.
        let [caller, return_address] = unsafe { pair.read() };
        if !text.contains(&return_address) {
            return;
        }
        let _ = writeln!(out, "    {return_address:#018x}");
        if caller <= frame_pointer {
            return;
        }
        frame_pointer = caller;
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if is_first() {
        let mut out = console::Emergency;
        let _ = writeln!(out, "CRASH: {info}");
        announce_backtrace(&mut out);
        let frame_pointer: u64;
        // SAFETY: reads a register.
        unsafe {
            core::arch::asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack, preserves_flags));
        }
        backtrace(frame_pointer, &mut out);
    }
    console::drain();
    hypercall::shutdown(ShutdownReason::Crash)
}
