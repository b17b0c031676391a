//! xen/xen.h and xen/arch-x86/xen.h, as an x86-64 paravirtualized guest sees them.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Hypercall numbers (`__HYPERVISOR_*`).
pub mod nr {
    /// `set_trap_table`
    pub const SET_TRAP_TABLE: usize = 0;
    /// `mmu_update`
    pub const MMU_UPDATE: usize = 1;
    /// `memory_op`
    pub const MEMORY_OP: usize = 12;
    /// `update_va_mapping`
    pub const UPDATE_VA_MAPPING: usize = 14;
    /// `set_timer_op`
    pub const SET_TIMER_OP: usize = 15;
    /// `xen_version`
    pub const XEN_VERSION: usize = 17;
    /// `console_io`
    pub const CONSOLE_IO: usize = 18;
    /// `grant_table_op`
    pub const GRANT_TABLE_OP: usize = 20;
    /// `vcpu_op`
    pub const VCPU_OP: usize = 24;
    /// `mmuext_op`
    pub const MMUEXT_OP: usize = 26;
    /// `sched_op`
    pub const SCHED_OP: usize = 29;
    /// `callback_op`
    pub const CALLBACK_OP: usize = 30;
    /// `event_channel_op`
    pub const EVENT_CHANNEL_OP: usize = 32;
    /// `physdev_op`
    pub const PHYSDEV_OP: usize = 33;
    /// `hvm_op`
    pub const HVM_OP: usize = 34;
    /// `dm_op`
    pub const DM_OP: usize = 41;

    /// One more than the highest number that Xen's headers name.
    pub const COUNT: usize = 64;

    /// The name that Xen's headers give a number, without its prefix; `None` for one that is not
    /// used here, or by a device model only: the other images would grow by its name.
    pub const fn name(number: usize) -> Option<&'static str> {
        Some(match number {
            SET_TRAP_TABLE => "set_trap_table",
            MMU_UPDATE => "mmu_update",
            MEMORY_OP => "memory_op",
            UPDATE_VA_MAPPING => "update_va_mapping",
            SET_TIMER_OP => "set_timer_op",
            XEN_VERSION => "xen_version",
            CONSOLE_IO => "console_io",
            GRANT_TABLE_OP => "grant_table_op",
            VCPU_OP => "vcpu_op",
            MMUEXT_OP => "mmuext_op",
            SCHED_OP => "sched_op",
            CALLBACK_OP => "callback_op",
            EVENT_CHANNEL_OP => "event_channel_op",
            PHYSDEV_OP => "physdev_op",
            _ => return None,
        })
    }
}

/// `VIRQ_TIMER`: the virtual interrupt of [`nr::SET_TIMER_OP`].
pub const VIRQ_TIMER: u32 = 0;

/// "The domain that asks" (`DOMID_SELF`).
pub const DOMID_SELF: u16 = 0x7ff0;

/// "The machine's registers" (`DOMID_IO`): who owns them, and what cards write.
pub const DOMID_IO: u16 = 0x7ff1;

/// `XENVER_version`: answers major << 16 | minor.
pub const XENVER_VERSION: u64 = 0;

/// `CONSOLEIO_write`.
pub const CONSOLEIO_WRITE: u64 = 0;

/// `MMU_NORMAL_PT_UPDATE`: low bits of [`MmuUpdate::ptr`].
pub const MMU_NORMAL_PT_UPDATE: u64 = 0;

/// `MMU_PT_UPDATE_NO_TRANSLATE`: the entry names a machine frame, whoever's memory it is.
pub const MMU_PT_UPDATE_NO_TRANSLATE: u64 = 3;

/// `MMUEXT_TLB_FLUSH_LOCAL`: forget every translation on this CPU.
pub const MMUEXT_TLB_FLUSH_LOCAL: u32 = 6;

/// `UVMF_INVLPG`: flush this address on this CPU after the update.
pub const UVMF_INVLPG: u64 = 2;

/// Where a paravirtualized guest reads Xen's machine-to-physical table
/// (`MACH2PHYS_VIRT_START` of xen/arch-x86/xen-x86_64.h).
pub const MACH2PHYS_VIRT_START: usize = 0xffff_8000_0000_0000;

/// Code segment of the guest's kernel (`FLAT_KERNEL_CS`).
pub const FLAT_KERNEL_CS: u16 = 0xe033;

/// `TI_SET_IF`: enter the handler with event upcalls masked.
pub const TI_SET_IF: u8 = 4;

/// `mmu_update_t`: one page-table entry to change.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MmuUpdate {
    /// Machine address of the entry, with the command in its low bits.
    pub ptr: u64,
    /// The new entry.
    pub val: u64,
}

/// `struct mmuext_op`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MmuextOp {
    /// `MMUEXT_*`
    pub cmd: u32,
    /// What it is about; some commands have nothing here.
    pub arg1: u64,
    /// More of it.
    pub arg2: u64,
}

/// `trap_info_t`: a handler of [`nr::SET_TRAP_TABLE`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TrapInfo {
    /// Exception vector.
    pub vector: u8,
    /// Lowest privilege that may raise it (bits 0 and 1), and [`TI_SET_IF`].
    pub flags: u8,
    /// Code segment.
    pub cs: u16,
    /// Handler; 0 ends the table.
    pub address: u64,
}

/// `vcpu_time_info_t`. Xen writes it, under the version's seqlock.
#[derive(Debug)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Odd while Xen writes.
    pub version: AtomicU32,
    pad0: u32,
    /// TSC at `system_time`.
    pub tsc_timestamp: AtomicU64,
    /// Nanoseconds since Xen booted.
    pub system_time: AtomicU64,
    /// Nanoseconds per (shifted) tick, as a 0.32 fraction.
    pub tsc_to_system_mul: AtomicU32,
    /// Shift of the tick count, signed.
    pub tsc_shift: AtomicU8,
    /// `XEN_PVCLOCK_*`.
    pub flags: AtomicU8,
    pad1: [u8; 2],
}

/// `vcpu_info_t`.
#[derive(Debug)]
#[repr(C)]
pub struct VcpuInfo {
    /// Some event is pending.
    pub evtchn_upcall_pending: AtomicU8,
    /// No upcalls.
    pub evtchn_upcall_mask: AtomicU8,
    /// Which words of `evtchn_pending` to look at.
    pub evtchn_pending_sel: AtomicU64,
    /// `arch_vcpu_info`: faulting address of the last page fault.
    pub cr2: AtomicU64,
    pad: u64,
    /// Clock.
    pub time: VcpuTimeInfo,
}

/// `shared_info_t`. Xen and the toolstack write it at any moment: atomics only.
#[derive(Debug)]
#[repr(C)]
pub struct SharedInfo {
    /// `XEN_LEGACY_MAX_VCPUS` of them.
    pub vcpu_info: [VcpuInfo; 32],
    /// A bit per port.
    pub evtchn_pending: [AtomicU64; 64],
    /// A bit per port.
    pub evtchn_mask: [AtomicU64; 64],
    /// Odd while Xen writes the wall clock.
    pub wc_version: AtomicU32,
    /// Wall clock at Xen's boot: seconds since 1970.
    pub wc_sec: AtomicU32,
    /// And nanoseconds.
    pub wc_nsec: AtomicU32,
    /// Upper half of the seconds.
    pub wc_sec_hi: AtomicU32,
    /// `arch_shared_info`: one past the highest pfn, for save and dump-core. Left 0, as the next is: `xl save` then
    /// fails before it asks this domain for anything, rather than after a minute without an answer.
    pub max_pfn: AtomicU64,
    /// Machine frame of the list of lists of the physical-to-machine table's frames.
    pub pfn_to_mfn_frame_list_list: AtomicU64,
    /// `XEN_NMIREASON_*`
    pub nmi_reason: AtomicU64,
    /// Linear p2m, unused here.
    pub p2m_cr3: AtomicU64,
    /// Linear p2m, unused here.
    pub p2m_vaddr: AtomicU64,
    /// Linear p2m, unused here.
    pub p2m_generation: AtomicU64,
}

/// `start_info_t`: what the domain builder leaves for the guest, at the address in rsi.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct StartInfo {
    /// `xen-<version>-<platform>`.
    pub magic: [u8; 32],
    /// Pages of this domain.
    pub nr_pages: u64,
    /// Machine address of [`SharedInfo`].
    pub shared_info: u64,
    /// `SIF_*`
    pub flags: u32,
    /// Machine frame of xenstore's ring.
    pub store_mfn: u64,
    /// Event channel to xenstore.
    pub store_evtchn: u32,
    /// Machine frame of the console's ring.
    pub console_mfn: u64,
    /// Event channel to the console's backend.
    pub console_evtchn: u32,
    /// Virtual address of the page-table root.
    pub pt_base: u64,
    /// Bootstrap page tables.
    pub nr_pt_frames: u64,
    /// Virtual address of the physical-to-machine table.
    pub mfn_list: u64,
    /// Virtual address (with [`SIF_MOD_START_PFN`]: page frame) of the module.
    pub mod_start: u64,
    /// Its size in bytes.
    pub mod_len: u64,
    /// NUL-terminated command line.
    pub cmd_line: [u8; 1024],
    /// First page frame of the physical-to-machine table.
    pub first_p2m_pfn: u64,
    /// Its pages.
    pub nr_p2m_frames: u64,
}

/// `SIF_MOD_START_PFN`
pub const SIF_MOD_START_PFN: u32 = 1 << 3;

const _: () = {
    assert!(size_of::<MmuextOp>() == 24);
    assert!(size_of::<TrapInfo>() == 16);
    assert!(size_of::<VcpuTimeInfo>() == 32);
    assert!(size_of::<VcpuInfo>() == 64);
    assert!(core::mem::offset_of!(SharedInfo, evtchn_pending) == 2048);
    assert!(core::mem::offset_of!(SharedInfo, wc_version) == 3072);
    assert!(core::mem::offset_of!(SharedInfo, max_pfn) == 3088);
    assert!(core::mem::offset_of!(StartInfo, store_mfn) == 56);
    assert!(core::mem::offset_of!(StartInfo, console_mfn) == 72);
    assert!(core::mem::offset_of!(StartInfo, pt_base) == 88);
    assert!(core::mem::offset_of!(StartInfo, cmd_line) == 128);
    assert!(core::mem::offset_of!(StartInfo, first_p2m_pfn) == 1152);
};
