//! Memory that will be wanted soon.
//!
//! A look-up in a large table waits for memory at each step. Whoever has several of them before him can ask
//! for what all of them will read before he does the first, and waits once.
#![cfg_attr(
    not(miri),
    expect(
        unsafe_code,
        reason = "stable Rust has no such hint for a processor whose vector registers are not used"
    )
)]

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Has the processor read the element `index` of `table`, of up to 128 bytes, into its caches without
/// waiting for it: all lines that it lies in. Beyond the end of the table this does nothing of use, and
/// no harm.
#[inline(always)]
pub fn prefetch<T>(table: &[T], index: usize) {
    const { assert!(size_of::<T>() <= 2 * LINE) };
    let first = table.as_ptr().wrapping_add(index).cast::<u8>();
    hint(first);
    // It need not begin where a line does.
    if size_of::<T>() > LINE {
        hint(first.wrapping_add(LINE));
    }
    if size_of::<T>() > align_of::<T>() {
        hint(first.wrapping_add(size_of::<T>() - 1));
    }
}

#[cfg(not(miri))]
#[inline(always)]
fn hint(address: *const u8) {
    // SAFETY: whatever the address, this neither faults nor changes anything that a program can see.
    unsafe {
        core::arch::asm!(
            "prefetcht0 [{}]",
            in(reg) address,
            options(readonly, nostack, preserves_flags),
        );
    }
}

/// An interpreter has no caches, and knows no assembly.
#[cfg(miri)]
fn hint(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn nothing_changes_and_nothing_faults() {
        let table = [[7u8; 84]; 3];
        for index in [0, 2, 3, usize::MAX / 2, usize::MAX] {
            prefetch(&table, index);
        }
        prefetch::<u32>(&[], 0);
        assert_eq!(table, [[7; 84]; 3]);
    }
}
