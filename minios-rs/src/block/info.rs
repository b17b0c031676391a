//! What the backend says of the disk and of itself.

#![forbid(unsafe_code)]

use super::{Error, RING_PAGES_MAX, SECTOR, SEGMENTS_MAX};
use crate::abi::io::blkif::{
    BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_WRITE_BARRIER, VDISK_CDROM,
    VDISK_READONLY, VDISK_REMOVABLE,
};
use crate::xen::{PAGE_SIZE, Xen};
use crate::xenstore::Client;
use alloc::string::String;
use core::str::FromStr;

/// What discarding is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Bytes that are given up together: of less nothing may come.
    pub granularity: u32,
    /// Bytes before the first such piece.
    pub alignment: u32,
}

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// How long it is, in sectors of 512 bytes. It may grow.
    pub sectors: u64,
    /// What is read or written at a time, at least: a power of two from 512 to 4096 bytes.
    pub sector_size: u32,
    /// What is best written at a time: `sector_size` or a multiple.
    pub physical_sector_size: u32,
    /// It cannot be written.
    pub read_only: bool,
    /// What is in it can be taken out.
    pub removable: bool,
    /// It is a CD-ROM.
    pub cdrom: bool,
    /// What was written may be lost until it is flushed. Without, a flush has nothing to do.
    pub flush: bool,
    /// Whether sectors can be given up.
    pub discard: Option<Discard>,
}

/// How the backend is asked to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// As it should be.
    Cache,
    /// By an empty write that no other passes.
    Barrier,
    /// Not at all: what it has done is where it stays, or there is no more to ask for.
    Nothing,
}

impl Flush {
    /// The request's code.
    pub(super) fn operation(self) -> Option<u8> {
        match self {
            Self::Cache => Some(BLKIF_OP_FLUSH_DISKCACHE),
            Self::Barrier => Some(BLKIF_OP_WRITE_BARRIER),
            Self::Nothing => None,
        }
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) info: Info,
    pub(super) flush: Flush,
    /// It takes barriers, whatever `flush` is.
    pub(super) has_barrier: bool,
    pub(super) segments_max: usize,
}

const KEYS: [&str; 10] = [
    "sectors",
    "sector-size",
    "physical-sector-size",
    "info",
    "feature-flush-cache",
    "feature-barrier",
    "feature-discard",
    "discard-granularity",
    "discard-alignment",
    "feature-max-indirect-segments",
];

fn number<T: FromStr>(
    value: &Option<String>,
    name: &'static str,
    otherwise: Option<T>,
) -> Result<T, Error> {
    let number = match value {
        Some(text) => text.trim().parse().ok(),
        None => otherwise,
    };
    number.ok_or(Error::Malformed(name))
}

/// As many sectors as there are, if their bytes can be counted.
fn sectors(value: &Option<String>) -> Result<u64, Error> {
    let sectors = number(value, KEYS[0], None)?;
    match sectors <= u64::MAX / SECTOR as u64 {
        true => Ok(sectors),
        false => Err(Error::Malformed(KEYS[0])),
    }
}

impl Offer {
    /// From the values of [`KEYS`].
    fn parse(values: &[Option<String>]) -> Result<Self, Error> {
        let value = |index: usize| values.get(index).unwrap_or(&None);
        let flag =
            |index: usize| Ok::<_, Error>(number(value(index), KEYS[index], Some(0_u32))? != 0);
        let sector_size = number(value(1), KEYS[1], Some(SECTOR as u32))?;
        let is_sector_size = |size: u32| {
            size.is_power_of_two() && size as usize >= SECTOR && size as usize <= PAGE_SIZE
        };
        if !is_sector_size(sector_size) {
            return Err(Error::Malformed(KEYS[1]));
        }
        let physical = number(value(2), KEYS[2], Some(sector_size))?;
        let bits: u32 = number(value(3), KEYS[3], Some(0))?;
        let has_barrier = flag(5)?;
        let flush = match (flag(4)?, has_barrier) {
            (true, _) => Flush::Cache,
            (false, true) => Flush::Barrier,
            (false, false) => Flush::Nothing,
        };
        let discard = match flag(6)? {
            true => Some(Discard {
                granularity: number(value(7), KEYS[7], Some(sector_size))?.max(sector_size),
                alignment: number(value(8), KEYS[8], Some(0))?,
            }),
            false => None,
        };
        let segments: usize = number(value(9), KEYS[9], Some(0))?;
        Ok(Self {
            info: Info {
                sectors: sectors(value(0))?,
                sector_size,
                // It is advice, and nonsense is none.
                physical_sector_size: match physical.is_multiple_of(sector_size) {
                    true => physical.max(sector_size),
                    false => sector_size,
                },
                read_only: bits & VDISK_READONLY != 0,
                removable: bits & VDISK_REMOVABLE != 0,
                cdrom: bits & VDISK_CDROM != 0,
                flush: flush != Flush::Nothing,
                discard,
            },
            flush,
            has_barrier,
            segments_max: segments.clamp(BLKIF_MAX_SEGMENTS_PER_REQUEST, SEGMENTS_MAX),
        })
    }

    /// Reads what stands in the backend's directory once it is connected.
    pub(super) async fn read<X: Xen>(xenstore: &Client<X>, other: &str) -> Result<Self, Error> {
        Self::parse(&xenstore.read_all(other, &KEYS).await?)
    }
}

/// How long the disk is now.
pub(super) async fn read_sectors<X: Xen>(xenstore: &Client<X>, other: &str) -> Result<u64, Error> {
    sectors(&xenstore.read_all(other, &KEYS[..1]).await?[0])
}

/// Pages of a ring that both ends take.
pub(super) async fn ring_pages<X: Xen>(
    xenstore: &Client<X>,
    other: &str,
    pages_max: usize,
) -> Result<usize, Error> {
    let keys = ["max-ring-page-order", "max-ring-pages"];
    let values = xenstore.read_all(other, &keys).await?;
    let order: u32 = number(&values[0], keys[0], Some(0))?;
    let pages: usize = number(&values[1], keys[1], Some(1))?;
    let theirs = pages.max(1_usize.checked_shl(order).unwrap_or(RING_PAGES_MAX));
    let both = theirs.min(pages_max).clamp(1, RING_PAGES_MAX);
    Ok(1 << both.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Offer, Error> {
        let value = |key: &&str| {
            let found = pairs.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| value.to_string())
        };
        Offer::parse(&KEYS.iter().map(value).collect::<Vec<_>>())
    }

    #[test]
    fn what_the_backend_does_not_say_has_its_default() {
        let offer = parse(&[("sectors", "2048")]).expect("enough");
        assert_eq!(
            offer.info,
            Info {
                sectors: 2048,
                sector_size: 512,
                physical_sector_size: 512,
                read_only: false,
                removable: false,
                cdrom: false,
                flush: false,
                discard: None,
            }
        );
        assert_eq!((offer.flush, offer.segments_max), (Flush::Nothing, 11));
    }

    #[test]
    fn what_it_says_is_understood() {
        let offer = parse(&[
            ("sectors", "4096"),
            ("sector-size", "4096"),
            ("physical-sector-size", "16384"),
            ("info", "7"),
            ("feature-flush-cache", "1"),
            ("feature-barrier", "1"),
            ("feature-discard", "1"),
            ("discard-granularity", "65536"),
            ("discard-alignment", "512"),
            ("feature-max-indirect-segments", "100000"),
        ]);
        let offer = offer.expect("all of it makes sense");
        let info = offer.info;
        assert_eq!((info.sector_size, info.physical_sector_size), (4096, 16384));
        assert!(info.read_only && info.removable && info.cdrom && info.flush);
        let discard = Discard {
            granularity: 65536,
            alignment: 512,
        };
        assert_eq!(info.discard, Some(discard));
        assert_eq!((offer.flush, offer.segments_max), (Flush::Cache, 256));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let disk = ("sectors", "8");
        for (pairs, name) in [
            (&[][..], "sectors"),
            (&[("sectors", "-1")], "sectors"),
            (&[("sectors", "36028797018963968")], "sectors"),
            (&[disk, ("sector-size", "0")], "sector-size"),
            (&[disk, ("sector-size", "256")], "sector-size"),
            (&[disk, ("sector-size", "768")], "sector-size"),
            (&[disk, ("sector-size", "8192")], "sector-size"),
            (&[disk, ("info", "x")], "info"),
            (&[disk, ("feature-discard", "yes")], "feature-discard"),
        ] {
            assert_eq!(parse(pairs), Err(Error::Malformed(name)), "{pairs:?}");
        }
        assert!(parse(&[("sectors", "36028797018963967")]).is_ok());
        // What is only advice may be nonsense.
        let offer = parse(&[disk, ("physical-sector-size", "700")]).expect("as without");
        assert_eq!(offer.info.physical_sector_size, 512);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, ..ProptestConfig::default() })]
        #[test]
        fn any_values_are_refused_or_within_bounds(
            values in prop::collection::vec(prop::option::of("[0-9]{1,20}|[ -~]{0,8}"), KEYS.len()),
        ) {
            if let Ok(offer) = Offer::parse(&values) {
                prop_assert!(offer.segments_max <= SEGMENTS_MAX);
                prop_assert!(offer.info.sectors.checked_mul(512).is_some());
                prop_assert!((512..=4096).contains(&offer.info.sector_size));
            }
        }
    }
}
