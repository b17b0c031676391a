//! Whether an image fits a PV domain, and what the domain builder puts beside it
//! (`tools/libs/guest/xg_dom_core.c` and `xg_dom_x86.c`).
//!
//! From `VIRT_BASE` upwards, each on its own pages: the image, the module (`ramdisk=`, left out
//! here), the list of the domain's frames, start info, xenstore's and the console's ring, the page
//! tables and the boot stack; then up to the end of what these tables map, a multiple of 4 MiB with
//! 512 KiB to spare.

use super::refusal::Refusal;

const PAGE: u64 = 4096;
/// Pages in a MiB.
const PAGES_PER_MIB: u64 = (1 << 20) / PAGE;
/// The initial mapping ends on such a boundary.
const MAPPING_ALIGNMENT: u64 = 4 << 20;
/// Pages that stay free in the initial mapping.
const SPARE_PAGES: u64 = (512 << 10) / PAGE;
/// Bytes of a frame number in the list that the domain gets.
const FRAME_NUMBER: u64 = 8;
/// The largest `memory=` that is tried, in MiB.
const MEMORY_MAX_MIB: u32 = 1 << 20;

/// Where an image wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// First address of the image.
    pub(super) start: u64,
    /// First address after it.
    pub(super) end: u64,
    /// Address of the domain's first byte.
    pub(super) base: u64,
    /// Where the list of frames is to be mapped, if not after the image.
    pub(super) frame_list: Option<u64>,
}

impl Placement {
    /// Whether all that the builder allocates fits `memory_mib`.
    fn fit(&self, memory_mib: u32) -> Result<(), &'static str> {
        let total = u64::from(memory_mib) * PAGES_PER_MIB;
        let mut used = 0_u64;
        let mut take = |what: &'static str, pages: u64| {
            used = used.checked_add(pages).ok_or(what)?;
            if used > total { Err(what) } else { Ok(used) }
        };
        take("image", (self.start - self.base) / PAGE)?;
        let image_pages = (self.end - self.start).div_ceil(PAGE);
        if image_pages == 0 {
            return Err("image");
        }
        take("image", image_pages)?;
        let list_pages = (total * FRAME_NUMBER).div_ceil(PAGE);
        // A list outside the image's mapping comes last.
        let separate = self
            .frame_list
            .is_some_and(|at| at < self.base && at.is_multiple_of(PAGE));
        if !separate {
            take("list of frames", list_pages)?;
        }
        let used_so_far = take("start info and rings", 3)?;

        let (tables, mapping_end) = self.page_tables(used_so_far).ok_or("page tables")?;
        if (mapping_end - 1 - self.base) / PAGE >= total {
            return Err("initial mapping");
        }
        let used_so_far = take("page tables", tables)? + 1;
        take("boot stack", 1)?;
        take(
            "initial mapping",
            (mapping_end - self.base) / PAGE - used_so_far,
        )?;
        if separate {
            take("list of frames", list_pages)?;
        }
        Ok(())
    }

    /// Pages of the page tables that map all up to them, and the address at which they end to map.
    fn page_tables(&self, used: u64) -> Option<(u64, u64)> {
        let allocated = self.base.checked_add(used * PAGE)?;
        // The boot stack takes one of the pages after the tables.
        let mut pages = SPARE_PAGES + 1;
        loop {
            let wanted = allocated.checked_add(pages * PAGE)?;
            let last = wanted | (MAPPING_ALIGNMENT - 1);
            // One table of the highest level, and of the three others as many as the range needs.
            let tables = 1 + [39, 30, 21]
                .map(|bits| (last >> bits) - (self.base >> bits) + 1)
                .iter()
                .sum::<u64>();
            pages = tables + SPARE_PAGES + 1;
            if allocated.checked_add(pages * PAGE)? <= last.checked_add(1)? {
                return Some((tables, last + 1));
            }
        }
    }

    /// The smallest `memory=` that does, in MiB.
    pub(super) fn needed_mib(&self) -> Option<u32> {
        self.fit(MEMORY_MAX_MIB).ok()?;
        let (mut too_small, mut enough) = (0, MEMORY_MAX_MIB);
        while enough - too_small > 1 {
            let middle = too_small + (enough - too_small) / 2;
            match self.fit(middle) {
                Ok(()) => enough = middle,
                Err(_) => too_small = middle,
            }
        }
        Some(enough)
    }

    /// Refuses what does not fit: `memory_mib`, or any domain when that is not said.
    pub(super) fn check(&self, memory_mib: Option<u32>) -> Result<(), Refusal> {
        if !self.start.is_multiple_of(PAGE) && self.start != 0 {
            return Err(Refusal::Unaligned(self.start));
        }
        match self.fit(memory_mib.unwrap_or(MEMORY_MAX_MIB)) {
            Ok(()) => Ok(()),
            Err(what) => Err(Refusal::Memory {
                what,
                needed_mib: self.needed_mib(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(start: u64, end: u64) -> Placement {
        Placement {
            start,
            end,
            base: 0,
            frame_list: None,
        }
    }

    #[test]
    fn a_small_image_needs_one_mapping_of_4_mib() {
        assert_eq!(image(0x10_0000, 0x16_0000).needed_mib(), Some(4));
    }

    #[test]
    fn an_image_that_leaves_no_spare_in_the_mapping_needs_the_next() {
        // 4 MiB less 512 KiB and some pages for what comes beside the image.
        assert_eq!(image(0x10_0000, 0x37_0000).needed_mib(), Some(4));
        assert_eq!(image(0x10_0000, 0x37_f000).needed_mib(), Some(8));
    }

    #[test]
    fn no_address_overflows() {
        for start in [0, 0x10_0000, u64::MAX - 0xfff] {
            for end in [start, start.saturating_add(1), u64::MAX] {
                for base in [0, start] {
                    let placement = Placement {
                        start,
                        end,
                        base,
                        frame_list: Some(0),
                    };
                    let _ = placement.check(Some(8));
                    let _ = placement.check(None);
                }
            }
        }
    }

    #[test]
    fn an_image_between_pages_is_refused() {
        assert_eq!(
            image(0x10_0010, 0x11_0000).check(Some(8)),
            Err(Refusal::Unaligned(0x10_0010))
        );
    }
}
