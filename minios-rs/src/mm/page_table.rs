//! Page tables under Xen's eyes: read freely, changed only by hypercall.
//!
//! Rights after [`init`]: image text read and execute; constants read; page tables and the
//! physical-to-machine table read; everything else read and write; page 0 and the page below the
//! stack nothing. Only text is executable, and nothing is both writable and executable.
#![expect(unsafe_code, reason = "page tables")]

use super::{Mfn, Pfn, frame};
use crate::abi::xen::{
    MACH2PHYS_VIRT_START, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MmuUpdate, SharedInfo,
    StartInfo,
};
use crate::dm::WINDOW_PAGES;
use crate::hypercall;
use crate::xen::{DomId, Errno, OutOfMemory, PAGE_SIZE};
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::Once;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries of a table.
const ENTRIES: usize = 512;

/// Machine address bits of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Rights of a table in its parent's entry.
const TABLE: Flags = Flags::PRESENT
    .union(Flags::WRITABLE)
    .union(Flags::USER_ACCESSIBLE)
    .union(Flags::ACCESSED);

/// Rights of a table of what is not our own memory, in its parent's entry. Nothing there is ever executed;
/// said here, since Xen makes the entries of mapped grants itself, without saying so.
const FOREIGN_TABLE: Flags = TABLE.union(Flags::NO_EXECUTE);

/// Rights of read-only data.
const READ: Flags = Flags::PRESENT
    .union(Flags::USER_ACCESSIBLE)
    .union(Flags::ACCESSED)
    .union(Flags::NO_EXECUTE);

/// Rights of data.
const WRITE: Flags = READ.union(Flags::WRITABLE).union(Flags::DIRTY);

/// Rights of registers: every access goes to the bus at once, as it is.
const REGISTERS: Flags = WRITE.union(Flags::NO_CACHE).union(Flags::WRITE_THROUGH);

/// Rights of code.
const EXECUTE: Flags = Flags::PRESENT
    .union(Flags::USER_ACCESSIBLE)
    .union(Flags::ACCESSED);

/// What is not our own memory is mapped from here on (64 TiB).
const FOREIGN_BASE: usize = 1 << 46;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __stack_guard: u8;
}

/// Facts about our address space that never change after boot.
#[derive(Debug)]
struct Space {
    /// The root table.
    root: Pfn,
    /// The physical-to-machine table: `pages` words.
    p2m: usize,
    /// Pages it has words for, and the most this domain may have.
    pages: usize,
}

static SPACE: Once<Space> = Once::new();

/// Next free address for [`map_foreign`].
static NEXT_FOREIGN: AtomicUsize = AtomicUsize::new(FOREIGN_BASE);

fn space() -> &'static Space {
    SPACE.get().expect("used before memory was set up")
}

/// Machine frame of one of our pages.
pub(super) fn mfn_of(pfn: Pfn) -> Mfn {
    let space = space();
    assert!(pfn.0 < space.pages, "not a page of this domain");
    // SAFETY: inside the table, as just checked.
    Mfn(unsafe { ((space.p2m + pfn.0 * 8) as *const u64).read_volatile() })
}

/// Our number of a machine frame that is ours.
pub(super) fn pfn_of(mfn: Mfn) -> Pfn {
    let entry = (MACH2PHYS_VIRT_START + mfn.0 as usize * 8) as *const u64;
    // SAFETY: Xen maps this table for reading; frames named by Xen or found in our tables are in it.
    Pfn(unsafe { entry.read_volatile() } as usize)
}

fn entry(mfn: Mfn, flags: Flags) -> u64 {
    mfn.0 << 12 | flags.bits()
}

/// Which entry of a table of `level` (4: root, 1: leaves) an address falls in.
fn index(address: usize, level: usize) -> usize {
    address >> (12 + 9 * (level - 1)) & (ENTRIES - 1)
}

/// Reads entry `index` of a table of ours.
fn read(table: Pfn, index: usize) -> u64 {
    let entry = (table.0 * PAGE_SIZE + index * 8) as *const u64;
    // SAFETY: tables are pages of ours, mapped read-only; Xen may set accessed and dirty bits.
    unsafe { entry.read_volatile() }
}

/// The table of `level` that `address` goes through, if it exists.
fn find(root: Pfn, address: usize, level: usize) -> Option<Pfn> {
    let mut table = root;
    for above in (level + 1..=4).rev() {
        let value = read(table, index(address, above));
        if value & Flags::PRESENT.bits() == 0 {
            return None;
        }
        table = pfn_of(Mfn((value & ADDRESS) >> 12));
    }
    Some(table)
}

/// Changes to entries, sent to Xen in batches.
struct Batch {
    updates: [MmuUpdate; 64],
    count: usize,
}

impl Batch {
    fn new() -> Self {
        Self {
            updates: [MmuUpdate::default(); 64],
            count: 0,
        }
    }

    /// Sets entry `index` of `table`, whose machine frame is `mfn`.
    fn set(&mut self, mfn: Mfn, index: usize, value: u64) {
        let ptr = mfn.0 << 12 | (index as u64 * 8) | MMU_NORMAL_PT_UPDATE;
        self.updates[self.count] = MmuUpdate { ptr, val: value };
        self.count += 1;
        if self.count == self.updates.len() {
            self.send();
        }
    }

    fn send(&mut self) {
        // SAFETY: the callers in this module set only entries whose rights follow the module's rules.
        let done = unsafe { hypercall::mmu_update(&self.updates[..self.count]) };
        done.unwrap_or_else(|error| panic!("Xen refused page-table entries: {error}"));
        self.count = 0;
    }
}

/// Boot: the identity map grows page by page, and the pages for its own tables come out of what
/// it has mapped so far.
struct Growth {
    root: Pfn,
    p2m: usize,
    /// Next page that nobody uses.
    next: usize,
    /// Pages below are mapped.
    mapped: usize,
}

impl Growth {
    fn mfn(&self, pfn: usize) -> Mfn {
        // SAFETY: `pfn` is below the number of pages of the domain builder's table.
        Mfn(unsafe { ((self.p2m + pfn * 8) as *const u64).read() })
    }

    /// A page as a table: filled, then read-only, as Xen demands before it is hooked in.
    fn table(&mut self, fill: impl Fn(usize) -> u64) -> Mfn {
        let pfn = self.next;
        self.next += 1;
        assert!(pfn < self.mapped, "memory= is too small to map itself");
        for index in 0..ENTRIES {
            let slot = (pfn * PAGE_SIZE + index * 8) as *mut u64;
            // SAFETY: a mapped page that nobody uses.
            unsafe { slot.write(fill(index)) };
        }
        let mfn = self.mfn(pfn);
        // SAFETY: only takes the right to write away from a page nobody uses.
        let done = unsafe { hypercall::update_va_mapping(pfn * PAGE_SIZE, entry(mfn, READ)) };
        done.unwrap_or_else(|error| panic!("Xen refused to make a page table read-only: {error}"));
        mfn
    }

    /// Tables above `level` for `address`; the one of `level + 1`.
    fn parents(&mut self, address: usize, level: usize) -> Pfn {
        let mut table = self.root;
        for above in (level + 2..=4).rev() {
            let at = index(address, above);
            let value = read(table, at);
            table = if value & Flags::PRESENT.bits() == 0 {
                let mfn = self.table(|_| 0);
                let parent = self.mfn(table.0);
                let mut batch = Batch::new();
                batch.set(parent, at, entry(mfn, TABLE));
                batch.send();
                pfn_of(mfn)
            } else {
                pfn_of(Mfn((value & ADDRESS) >> 12))
            };
        }
        table
    }
}

/// Maps all memory with the rights it needs, and moves the physical-to-machine table to where it
/// has room for `maxmem`. Returns what is left for others.
pub(super) fn init(info: &StartInfo) -> frame::Free {
    let pages = info.nr_pages as usize;
    let boot_tables = info.pt_base as usize / PAGE_SIZE
        ..(info.pt_base / PAGE_SIZE as u64 + info.nr_pt_frames) as usize;
    let root = Pfn(boot_tables.start);
    let maximum = hypercall::maximum_reservation().unwrap_or(pages).max(pages);

    let mut mapped = boot_tables.end;
    while mapped < pages && leaf_present(root, mapped) {
        mapped += 1;
    }
    // Behind the tables lies only the stack that Xen entered us on, which we left.
    let mut growth = Growth {
        root,
        p2m: info.mfn_list as usize,
        next: boot_tables.end,
        mapped,
    };

    protect_bootstrap(&growth, &boot_tables);
    grow(&mut growth, pages);
    let p2m = move_p2m(&mut growth, pages, maximum);
    reserve_tables(&mut growth, pages, maximum);

    let low = 1..&raw const __text_start as usize / PAGE_SIZE;
    let free = frame::Free {
        low,
        high: growth.next..pages,
    };
    SPACE.call_once(|| Space {
        root,
        p2m,
        pages: maximum,
    });
    free
}

fn leaf_present(root: Pfn, pfn: usize) -> bool {
    let address = pfn * PAGE_SIZE;
    find(root, address, 1)
        .is_some_and(|table| read(table, index(address, 1)) & Flags::PRESENT.bits() != 0)
}

/// Narrows the rights of what the domain builder mapped: it maps everything writable and executable.
fn protect_bootstrap(growth: &Growth, boot_tables: &core::ops::Range<usize>) {
    let page = |symbol: *const u8| symbol as usize / PAGE_SIZE;
    let text = page(&raw const __text_start)..page(&raw const __text_end);
    let constants = text.end..page(&raw const __rodata_end);
    let guard = page(&raw const __stack_guard);
    let mut batch = Batch::new();
    for pfn in 0..growth.mapped {
        let address = pfn * PAGE_SIZE;
        let Some(table) = find(growth.root, address, 1) else {
            continue;
        };
        let old = read(table, index(address, 1));
        if old & Flags::PRESENT.bits() == 0 {
            continue;
        }
        let new = if pfn == 0 || pfn == guard {
            0
        } else {
            let flags = if text.contains(&pfn) {
                EXECUTE
            } else if constants.contains(&pfn) || boot_tables.contains(&pfn) {
                READ
            } else {
                WRITE
            };
            old & ADDRESS | flags.bits()
        };
        batch.set(growth.mfn(table.0), index(address, 1), new);
    }
    batch.send();
}

/// Maps the rest of `pages`.
fn grow(growth: &mut Growth, pages: usize) {
    while growth.mapped < pages {
        let address = growth.mapped * PAGE_SIZE;
        let end = pages.min((growth.mapped / ENTRIES + 1) * ENTRIES);
        if let Some(table) = find(growth.root, address, 1) {
            let mfn = growth.mfn(table.0);
            let mut batch = Batch::new();
            for pfn in growth.mapped..end {
                batch.set(
                    mfn,
                    index(pfn * PAGE_SIZE, 1),
                    entry(growth.mfn(pfn), WRITE),
                );
            }
            batch.send();
        } else {
            let first = growth.mapped / ENTRIES * ENTRIES;
            let p2m = growth.p2m;
            let leaves = growth.table(|index| {
                let pfn = first + index;
                if pfn < end {
                    // SAFETY: below the number of pages of the domain builder's table.
                    let mfn = Mfn(unsafe { ((p2m + pfn * 8) as *const u64).read() });
                    entry(mfn, WRITE)
                } else {
                    0
                }
            });
            hook_leaves(growth, address, leaves);
        }
        growth.mapped = end;
    }
}

fn hook_leaves(growth: &mut Growth, address: usize, leaves: Mfn) {
    let parent = growth.parents(address, 1);
    let mut batch = Batch::new();
    batch.set(
        growth.mfn(parent.0),
        index(address, 2),
        entry(leaves, TABLE),
    );
    batch.send();
}

/// Copies the physical-to-machine table to where it has a word for every page up to `maximum`.
fn move_p2m(growth: &mut Growth, pages: usize, maximum: usize) -> usize {
    if maximum == pages {
        return growth.p2m;
    }
    let new = growth.next * PAGE_SIZE;
    let table_pages = (maximum * 8).div_ceil(PAGE_SIZE);
    growth.next += table_pages;
    assert!(
        growth.next < pages,
        "memory= is too small for the tables that maxmem= needs"
    );
    for pfn in 0..table_pages * PAGE_SIZE / 8 {
        let mfn = if pfn < pages {
            growth.mfn(pfn).0
        } else {
            u64::MAX
        };
        // SAFETY: mapped pages that nobody uses, just taken.
        unsafe { ((new + pfn * 8) as *mut u64).write(mfn) };
    }
    new
}

/// Empty leaf tables for the pages that a balloon may bring: when memory is short is a bad time
/// to need pages for tables.
fn reserve_tables(growth: &mut Growth, pages: usize, maximum: usize) {
    let mut pfn = pages.next_multiple_of(ENTRIES);
    while pfn < maximum {
        let address = pfn * PAGE_SIZE;
        if find(growth.root, address, 1).is_none() {
            let leaves = growth.table(|_| 0);
            hook_leaves(growth, address, leaves);
        }
        pfn += ENTRIES;
    }
}

/// Maps machine frames that are not our own memory, one after the other; the address of the first.
///
/// # Errors
/// [`OutOfMemory`]: no page for a table.
pub fn map_foreign(frames: &[Mfn]) -> Result<usize, OutOfMemory> {
    let base = NEXT_FOREIGN.fetch_add(frames.len() * PAGE_SIZE, Ordering::Relaxed);
    for (number, &mfn) in frames.iter().enumerate() {
        let address = base + number * PAGE_SIZE;
        let table = leaf_table(address)?;
        let mut batch = Batch::new();
        batch.set(mfn_of(table), index(address, 1), entry(mfn, WRITE));
        batch.send();
    }
    Ok(base)
}

/// The first of `pages` addresses far above our own memory that show nothing, and have the page tables for
/// a grant or registers to be mapped there.
///
/// # Errors
/// [`OutOfMemory`]: no page for a table.
pub(super) fn reserve_foreign(pages: usize) -> Result<usize, OutOfMemory> {
    let base = NEXT_FOREIGN.fetch_add(pages * PAGE_SIZE, Ordering::Relaxed);
    for page in 0..pages {
        leaf_table(base + page * PAGE_SIZE)?;
    }
    Ok(base)
}

/// Where in machine memory the last-level entry of a reserved address is.
fn leaf_entry(address: usize) -> u64 {
    let table = find(space().root, address, 1).expect("reserved with its tables");
    mfn_of(table).0 << 12 | (index(address, 1) as u64 * 8)
}

/// Shows pages of a guest's, by the guest's own numbers, at addresses that were reserved and show nothing: up
/// to the first that there is not.
///
/// # Errors
/// How many are shown, and Xen's reason for the one behind them.
pub(super) fn map_guest(
    base: usize,
    gfns: core::ops::Range<u64>,
    guest: DomId,
) -> Result<(), (usize, Errno)> {
    let mut updates = [MmuUpdate::default(); WINDOW_PAGES];
    let mut count = 0;
    for (update, gfn) in updates.iter_mut().zip(gfns) {
        let ptr = leaf_entry(base + count * PAGE_SIZE) | MMU_NORMAL_PT_UPDATE;
        *update = MmuUpdate {
            ptr,
            val: entry(Mfn(gfn), WRITE),
        };
        count += 1;
    }
    // SAFETY: the addresses were reserved for this and show nothing. Xen takes the numbers for the guest's
    // own and maps none but pages of that guest's, of which none is memory of ours.
    unsafe { hypercall::mmu_update_foreign(&updates[..count], guest) }
}

/// Shows a page that Xen keeps for a guest's ioreq server at an address that was reserved and shows nothing.
///
/// # Errors
/// Xen's.
pub(super) fn map_resource(address: usize, mfn: Mfn, guest: DomId) -> Result<(), Errno> {
    let update = MmuUpdate {
        ptr: leaf_entry(address) | MMU_PT_UPDATE_NO_TRANSLATE,
        val: entry(mfn, WRITE),
    };
    // SAFETY: as above; Xen named the frame, and maps it only if it is that guest's.
    let done = unsafe { hypercall::mmu_update_foreign(&[update], guest) };
    done.map_err(|(_, error)| error)
}

/// Has those of the addresses from `base` on that `pages` has a bit for show nothing again.
pub(super) fn unmap_pages(base: usize, pages: u64) {
    if pages == 0 {
        return;
    }
    let mut updates = [MmuUpdate::default(); WINDOW_PAGES];
    let mut count = 0;
    for page in (0..WINDOW_PAGES).filter(|page| pages >> page & 1 != 0) {
        updates[count].ptr = leaf_entry(base + page * PAGE_SIZE) | MMU_NORMAL_PT_UPDATE;
        count += 1;
    }
    // SAFETY: whoever reserved the addresses says that nobody uses what they showed.
    let done = unsafe { hypercall::mmu_update(&updates[..count]) };
    done.unwrap_or_else(|error| panic!("Xen refused to take page-table entries back: {error}"));
    hypercall::flush_translations();
}

/// Whether any of these machine frames is memory of ours.
pub(super) fn is_own_memory(frames: &core::ops::Range<u64>) -> bool {
    (0..space().pages).any(|pfn| frames.contains(&mfn_of(Pfn(pfn)).0))
}

/// Maps registers, one frame after the other, at addresses that were reserved.
///
/// # Errors
/// Xen's: the domain may not have them. Some may be mapped then; [`unmap`] all of them.
pub(super) fn map_registers(base: usize, frames: impl Iterator<Item = Mfn>) -> Result<(), Errno> {
    for (page, frame) in frames.enumerate() {
        let address = base + page * PAGE_SIZE;
        // SAFETY: the addresses were reserved for this and show nothing; the frames are none of our own
        // memory, so that no Rust value gets an alias.
        unsafe { hypercall::update_va_mapping(address, entry(frame, REGISTERS)) }?;
    }
    Ok(())
}

/// Has `pages` addresses from `base` on, which were reserved, show nothing again.
///
/// # Errors
/// Xen's.
pub(super) fn unmap(base: usize, pages: usize) -> Result<(), Errno> {
    for page in 0..pages {
        // SAFETY: whoever reserved the addresses says that nobody uses what they showed.
        unsafe { hypercall::update_va_mapping(base + page * PAGE_SIZE, 0) }?;
    }
    Ok(())
}

/// The last-level table that `address` goes through, made with those above it where they are missing.
fn leaf_table(address: usize) -> Result<Pfn, OutOfMemory> {
    let mut table = space().root;
    for level in (2..=4).rev() {
        let at = index(address, level);
        let value = read(table, at);
        table = if value & Flags::PRESENT.bits() == 0 {
            let new = new_table()?;
            let mut batch = Batch::new();
            batch.set(mfn_of(table), at, entry(mfn_of(new), FOREIGN_TABLE));
            batch.send();
            new
        } else {
            pfn_of(Mfn((value & ADDRESS) >> 12))
        };
    }
    Ok(table)
}

fn new_table() -> Result<Pfn, OutOfMemory> {
    let pfn = frame::take().ok_or(OutOfMemory)?;
    let page = (pfn.0 * PAGE_SIZE) as *mut u8;
    // SAFETY: the page was just taken, and is mapped writable.
    unsafe { page.write_bytes(0, PAGE_SIZE) };
    // SAFETY: only takes the right to write away from a page that only we know.
    let done = unsafe { hypercall::update_va_mapping(pfn.0 * PAGE_SIZE, entry(mfn_of(pfn), READ)) };
    done.unwrap_or_else(|error| panic!("Xen refused to make a page table read-only: {error}"));
    Ok(pfn)
}

/// Maps the page that Xen shares with every domain.
pub(super) fn map_shared_info(mfn: Mfn) -> &'static SharedInfo {
    let address =
        map_foreign(&[mfn]).unwrap_or_else(|error| panic!("no page for the first tables: {error}"));
    // SAFETY: just mapped, for ever; all its fields are atomics.
    unsafe { &*(address as *const SharedInfo) }
}
