//! The loader of images that are no ELF files: a table near their begin says where everything goes
//! (`tools/libs/guest/xg_dom_binloader.c`). Nobody builds them any more, but Xen takes them.

use super::refusal::Refusal;

/// Where the table may be.
const SEARCHED: usize = 8192;
const MAGIC: u32 = 0x336e_c578;
const WORDS: usize = 8;
const TABLE: usize = WORDS * 4;
/// The addresses in the table are to be used.
const ADDRESSES_VALID: u32 = 0x1_0000;
/// Flags of no consequence: alignment, and the guest's word size.
const FLAGS_IGNORED: u32 = 1 | WIDTH_MASK;
const WIDTH_MASK: u32 = 3 << 14;
const WIDTH_64: u32 = 2 << 14;

/// Where such an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// First address that is loaded.
    pub(super) start: u64,
    /// First address after the image.
    pub(super) end: u64,
    /// Address of the file's first byte.
    pub(super) base: u64,
    /// Entry point.
    pub(super) entry: u64,
}

/// Whether there is a table; and if so, what it says.
pub(super) fn find(file: &[u8]) -> Option<Result<Table, Refusal>> {
    let searched = file.len().checked_sub(TABLE)?.min(SEARCHED);
    (0..searched).step_by(4).find_map(|at| {
        let mut words = [0_u32; WORDS];
        for (word, bytes) in words.iter_mut().zip(file[at..at + TABLE].chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        let sum = words[..3]
            .iter()
            .fold(0_u32, |sum, &word| sum.wrapping_add(word));
        (words[0] == MAGIC && sum == 0).then(|| read(words, at as u32, file.len() as u32))
    })
}

/// All sums are of 32 bits and wrap, as in the loader.
fn read(words: [u32; WORDS], at: u32, length: u32) -> Result<Table, Refusal> {
    let [_, flags, _, header, load, load_end, bss_end, entry] = words;
    if flags & !FLAGS_IGNORED != ADDRESSES_VALID {
        return Err(Refusal::Multiboot("it does not give addresses"));
    }
    if header < load || at < header - load {
        return Err(Refusal::Multiboot("header_addr is wrong"));
    }
    let base = header.wrapping_sub(at);
    let file_end = base.wrapping_add(length);
    let load_end = if load_end == 0 { file_end } else { load_end };
    let bss_end = if bss_end == 0 { load_end } else { bss_end };
    if file_end < load_end {
        return Err(Refusal::Multiboot("load_end_addr is wrong"));
    }
    if bss_end < load_end {
        return Err(Refusal::Multiboot("bss_end_addr is wrong"));
    }
    if flags & WIDTH_MASK != WIDTH_64 {
        return Err(Refusal::NoThirtyTwoBitGuests("xen-3.0-x86_32"));
    }
    Ok(Table {
        start: u64::from(load),
        end: u64::from(bss_end),
        base: u64::from(base),
        entry: u64::from(entry),
    })
}
