//! Memory: page frames, page tables, the heap, pages shared with other domains.
//!
//! Virtual and physical addresses are the same numbers from 0 to the end of memory; everything
//! that is not our own memory (shared info, grant table) is mapped far above, so that the identity
//! map always shows exactly our own pages.

mod foreign;
mod frame;
mod guest;
mod heap;
mod page_table;
mod registers;
mod shared;

pub use foreign::Foreign;
pub use frame::{Usage, usage};
pub use guest::{Resource, Window};
pub use heap::{HeapUsage, heap_usage};
pub use page_table::map_foreign;
pub use registers::Registers;
pub use shared::Page;
pub(crate) use shared::SharedWords;

use crate::abi::xen::{SharedInfo, StartInfo};
use crate::xen::PAGE_SIZE;

/// Physical frame number: the domain's own numbering of its pages, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pfn(pub usize);

/// Machine frame number: Xen's numbering of the host's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mfn(pub u64);

/// Bytes that are left to the heap at least, by those who can bear to get no page. Where there is little
/// memory, a sixteenth of it.
const SPARED: usize = 512 * 1024;

/// Whether what is left is for the heap, whose users cannot bear to get none. How many pages devices take is
/// their other ends' doing, such as guests'; that must not end the domain.
pub(crate) fn is_scarce() -> bool {
    let (pages, heap) = (usage(), heap_usage());
    let left = ((pages.growth + pages.heap) * PAGE_SIZE).saturating_sub(heap.bytes);
    left < SPARED.min(pages.total * PAGE_SIZE / 16)
}

/// Takes over the domain's memory: maps all of it, each page with the rights its contents need,
/// and starts the heap. Called once, by the entry point.
pub(crate) fn init(info: &StartInfo) -> &'static SharedInfo {
    let free = page_table::init(info);
    frame::init(free);
    page_table::map_shared_info(Mfn(info.shared_info >> 12))
}
