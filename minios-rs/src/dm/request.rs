//! One access of the guest's that its device model answers (xen/hvm/ioreq.h).

#![forbid(unsafe_code)]

use crate::abi::hvm::ioreq::{
    BufIoreq, FLAGS_DATA_IS_PTR, FLAGS_DF, FLAGS_DIR, HEAD_ADDR_SHIFT, HEAD_DIR, HEAD_SIZE_SHIFT,
    HEAD_TYPE, IOREQ_TYPE_COPY, IOREQ_TYPE_INVALIDATE, IOREQ_TYPE_PCI_CONFIG, IOREQ_TYPE_PIO,
    IOREQ_TYPE_TIMEOFFSET, Ioreq,
};
use thiserror::Error;

/// How often one request repeats, at most: what Xen's emulator cuts an instruction off at.
pub const COUNT_MAX: u32 = 4096;

/// Bits of a physical address that a processor of this architecture can have.
const ADDRESS_BITS: u32 = 52;

/// Bytes of a PCI function's configuration space, the extended one included.
const CONFIG_BYTES: u64 = 4096;

/// What is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An I/O port: `address` is below 65,536 and so is the last byte. Repeated at the same port.
    Port,
    /// Memory that is no RAM: `address` is physical. Repeated upwards or downwards.
    Memory,
    /// Configuration space: `address` is the function (segment << 16 | bus << 8 | device << 3 | function)
    /// << 32 | register. Repeated at the same register.
    PciConfig,
    /// The guest has set its clock: `data` is the new offset in seconds, signed. Nobody waits.
    TimeOffset,
    /// Mappings of the guest's memory may be out of date.
    Invalidate,
}

/// Who gets the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The guest reads: the device's answer is for it.
    Read,
    /// The guest writes.
    Write,
}

/// A private, checked copy of a request.
///
/// What holds of each: `size` is 1, 2, 4 or 8, and 8 in [`Kind::Memory`] and [`Kind::TimeOffset`] only;
/// `count` is from 1 to [`COUNT_MAX`], and more than 1 at a port or register only with `data_is_pointer`;
/// no address that it reaches is beyond what `kind` can have, so that neither [`Request::address_of`] nor
/// [`Request::pointer_of`] wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is accessed.
    pub kind: Kind,
    /// Where.
    pub address: u64,
    /// What is written, in the low `size` bytes (the others are 0); with `data_is_pointer` the guest
    /// physical address of the first item.
    pub data: u64,
    /// How often.
    pub count: u32,
    /// Bytes each time.
    pub size: u32,
    /// Whether the guest reads or writes.
    pub direction: Direction,
    /// Whether repetition goes down in memory (the processor's direction flag).
    pub descending: bool,
    /// Whether the data lie in guest memory, `count` items of `size` bytes.
    pub data_is_pointer: bool,
}

/// Why a request is not served. Reads of such are answered with all bits set, as by an empty bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// A type that Xen's headers do not have.
    #[error("a request of an unknown type")]
    Kind,
    /// A size that no instruction has, or not there.
    #[error("a request of an impossible size")]
    Size,
    /// Never, or too often.
    #[error("a request that repeats impossibly often")]
    Count,
    /// An address beyond the end of ports, registers or memory.
    #[error("a request beyond the last address")]
    Address,
    /// A read that nobody waits for, or data elsewhere where there are none.
    #[error("a request with data where it cannot have them")]
    Data,
}

impl Request {
    /// Checks the copy of a vCPU's request.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(copy: &Ioreq) -> Result<Self, Refusal> {
        let kind = Kind::parse(copy.kind)?;
        let flag = |bit| copy.flags & bit != 0;
        let mut request = Self {
            kind,
            address: copy.addr,
            data: copy.data,
            count: copy.count,
            size: copy.size,
            direction: match flag(FLAGS_DIR) {
                true => Direction::Read,
                false => Direction::Write,
            },
            descending: flag(FLAGS_DF),
            data_is_pointer: flag(FLAGS_DATA_IS_PTR),
        };
        match kind {
            Kind::Port | Kind::Memory | Kind::PciConfig => request.check()?,
            // These say nothing but that they are (Xen leaves even the count 0), and one number.
            Kind::TimeOffset | Kind::Invalidate => {
                if request.data_is_pointer || request.direction == Direction::Read {
                    return Err(Refusal::Data);
                }
                request.count = 1;
                request.size = 8;
                request.address = 0;
                request.descending = false;
            }
        }
        if request.direction == Direction::Write && !request.data_is_pointer {
            request.data &= mask(request.size);
        }
        Ok(request)
    }

    /// Checks the copy of a write from the buffered ring, and of the entry behind it where one of eight bytes
    /// takes two.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse_buffered(copy: BufIoreq, upper: Option<BufIoreq>) -> Result<Self, Refusal> {
        let upper = upper.map_or(0, |entry| u64::from(entry.data));
        Self::parse(&Ioreq {
            addr: u64::from(copy.head >> HEAD_ADDR_SHIFT),
            data: u64::from(copy.data) | upper << 32,
            count: 1,
            size: buffered_size(copy),
            kind: (copy.head & HEAD_TYPE) as u8,
            // Nobody could be given what a read brings.
            flags: match copy.head & HEAD_DIR {
                0 => 0,
                _ => return Err(Refusal::Data),
            },
            ..Ioreq::default()
        })
    }

    fn check(&self) -> Result<(), Refusal> {
        let is_size = match self.size {
            1 | 2 | 4 => true,
            8 => self.kind == Kind::Memory,
            _ => false,
        };
        if !is_size {
            return Err(Refusal::Size);
        }
        let repeats_alone = self.kind == Kind::Memory || self.data_is_pointer;
        if self.count == 0 || self.count > COUNT_MAX || (self.count > 1 && !repeats_alone) {
            return Err(Refusal::Count);
        }
        let size = u64::from(self.size);
        let is_within = match self.kind {
            Kind::Port => self.address <= (1 << 16) - size,
            Kind::PciConfig => self.address & u64::from(u32::MAX) <= CONFIG_BYTES - size,
            _ => self.stays_within(self.address),
        };
        let points_within = !self.data_is_pointer || self.stays_within(self.data);
        match is_within && points_within {
            true => Ok(()),
            false => Err(Refusal::Address),
        }
    }

    /// Whether every repetition from physical address `start` on is at one that there can be.
    fn stays_within(&self, start: u64) -> bool {
        let (size, repeats) = (u64::from(self.size), u64::from(self.count - 1));
        let limit = 1u64 << ADDRESS_BITS;
        let first = match self.descending {
            true => start.checked_sub(repeats * size),
            false => Some(start),
        };
        let last = match self.descending {
            true => Some(start),
            false => start.checked_add(repeats * size),
        };
        let end = last.and_then(|last| last.checked_add(size));
        first.is_some() && end.is_some_and(|end| end <= limit)
    }

    /// The address of repetition `index`, counted from 0.
    pub fn address_of(&self, index: u32) -> u64 {
        match self.kind {
            Kind::Memory => self.step(self.address, index),
            _ => self.address,
        }
    }

    /// Where the item of repetition `index` lies in guest memory, with `data_is_pointer`.
    pub fn pointer_of(&self, index: u32) -> u64 {
        self.step(self.data, index)
    }

    fn step(&self, start: u64, index: u32) -> u64 {
        let distance = u64::from(index) * u64::from(self.size);
        match self.descending {
            true => start.wrapping_sub(distance),
            false => start.wrapping_add(distance),
        }
    }
}

impl Kind {
    fn parse(kind: u8) -> Result<Self, Refusal> {
        Ok(match kind {
            IOREQ_TYPE_PIO => Self::Port,
            IOREQ_TYPE_COPY => Self::Memory,
            IOREQ_TYPE_PCI_CONFIG => Self::PciConfig,
            IOREQ_TYPE_TIMEOFFSET => Self::TimeOffset,
            IOREQ_TYPE_INVALIDATE => Self::Invalidate,
            _ => return Err(Refusal::Kind),
        })
    }
}

/// Bytes of a buffered write.
pub(super) fn buffered_size(entry: BufIoreq) -> u32 {
    1 << (entry.head >> HEAD_SIZE_SHIFT & 3)
}

/// All bits of so many bytes.
fn mask(size: u32) -> u64 {
    match size {
        0..8 => (1 << (8 * size)) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READ: u8 = FLAGS_DIR;

    fn ioreq(kind: u8, addr: u64, size: u32, count: u32, flags: u8) -> Ioreq {
        Ioreq {
            addr,
            data: 0x1122_3344_5566_7788,
            count,
            size,
            flags,
            kind,
            ..Ioreq::default()
        }
    }

    #[test]
    fn what_a_guest_writes_is_cut_to_its_size() {
        let request = Request::parse(&ioreq(IOREQ_TYPE_PIO, 0x3f8, 2, 1, 0)).unwrap();
        let expected = Request {
            kind: Kind::Port,
            address: 0x3f8,
            data: 0x7788,
            count: 1,
            size: 2,
            direction: Direction::Write,
            descending: false,
            data_is_pointer: false,
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_port_access_ends_with_the_last_port() {
        for (address, size, is_within) in [
            (0xffff, 1, true),
            (0xfffe, 2, true),
            (0xffff, 2, false),
            (0xfffd, 4, false),
            (0x1_0000, 1, false),
            (u64::MAX, 1, false),
            (u64::MAX - 3, 4, false),
        ] {
            let parsed = Request::parse(&ioreq(IOREQ_TYPE_PIO, address, size, 1, READ));
            assert_eq!(
                parsed.err(),
                (!is_within).then_some(Refusal::Address),
                "{address:#x}"
            );
        }
    }

    #[test]
    fn a_register_of_configuration_space_is_within_it() {
        let function = 0x0b_u64 << 32;
        for (register, size, is_within) in [
            (0xff, 1, true),
            (0xffc, 4, true),
            (0xffd, 4, false),
            (0x1000, 1, false),
            (0xffff_ffff, 1, false),
        ] {
            let copy = ioreq(IOREQ_TYPE_PCI_CONFIG, function | register, size, 1, READ);
            assert_eq!(Request::parse(&copy).is_ok(), is_within, "{register:#x}");
        }
    }

    #[test]
    fn sizes_are_those_that_instructions_have() {
        for kind in [IOREQ_TYPE_PIO, IOREQ_TYPE_COPY, IOREQ_TYPE_PCI_CONFIG] {
            for size in (0..=9).chain([16, 64, 4096, u32::MAX]) {
                let is_size = matches!(size, 1 | 2 | 4) || size == 8 && kind == IOREQ_TYPE_COPY;
                let parsed = Request::parse(&ioreq(kind, 0, size, 1, READ));
                assert_eq!(
                    parsed.err(),
                    (!is_size).then_some(Refusal::Size),
                    "{kind} {size}"
                );
            }
        }
    }

    #[test]
    fn repetition_is_bounded_and_needs_somewhere_to_go() {
        for (kind, flags, count, is_count) in [
            (IOREQ_TYPE_COPY, READ, 0, false),
            (IOREQ_TYPE_COPY, READ, 4096, true),
            (IOREQ_TYPE_COPY, READ, 4097, false),
            (IOREQ_TYPE_COPY, READ, u32::MAX, false),
            (IOREQ_TYPE_PIO, READ, 2, false),
            (IOREQ_TYPE_PIO, READ | FLAGS_DATA_IS_PTR, 2, true),
            (IOREQ_TYPE_PIO, READ | FLAGS_DATA_IS_PTR, 0, false),
        ] {
            let mut copy = ioreq(kind, 0x170, 1, count, flags);
            copy.data = 0x1000;
            assert_eq!(
                Request::parse(&copy).err(),
                (!is_count).then_some(Refusal::Count),
                "{count}"
            );
        }
    }

    #[test]
    fn a_string_instruction_steps_through_memory_and_stays_at_its_port() {
        let flags = READ | FLAGS_DATA_IS_PTR;
        let mut copy = ioreq(IOREQ_TYPE_PIO, 0x1f0, 2, 3, flags);
        copy.data = 0x1000;
        let up = Request::parse(&copy).unwrap();
        assert_eq!(
            [0, 1, 2].map(|index| up.pointer_of(index)),
            [0x1000, 0x1002, 0x1004]
        );
        assert_eq!([0, 1, 2].map(|index| up.address_of(index)), [0x1f0; 3]);
        copy.flags |= FLAGS_DF;
        let down = Request::parse(&copy).unwrap();
        assert_eq!(
            [0, 1, 2].map(|index| down.pointer_of(index)),
            [0x1000, 0xffe, 0xffc]
        );
        copy.kind = IOREQ_TYPE_COPY;
        let memory = Request::parse(&copy).unwrap();
        assert_eq!(
            [0, 1, 2].map(|index| memory.address_of(index)),
            [0x1f0, 0x1ee, 0x1ec]
        );
    }

    #[test]
    fn nothing_reaches_around_the_end_of_memory() {
        let top = 1u64 << 52;
        for (start, count, flags, is_within) in [
            (0, 1, 0, true),
            (0, 2, FLAGS_DF, false),
            (7, 2, FLAGS_DF, false),
            (8, 2, FLAGS_DF, true),
            (top - 8, 1, 0, true),
            (top - 7, 1, 0, false),
            (top - 8, 2, 0, false),
            (top - 8, 2, FLAGS_DF, true),
            (u64::MAX, 1, 0, false),
            (u64::MAX - 7, 4096, 0, false),
        ] {
            let direct = ioreq(IOREQ_TYPE_COPY, start, 8, count, flags);
            assert_eq!(Request::parse(&direct).is_ok(), is_within, "{start:#x}");
            let mut pointer = ioreq(IOREQ_TYPE_COPY, 0x8000, 8, count, flags | FLAGS_DATA_IS_PTR);
            pointer.data = start;
            assert_eq!(Request::parse(&pointer).is_ok(), is_within, "{start:#x}");
        }
    }

    #[test]
    fn what_is_no_access_is_taken_without_a_count() {
        // As Xen sends it: no count, four bytes of nothing.
        let mut copy = ioreq(IOREQ_TYPE_INVALIDATE, 0, 4, 0, 0);
        copy.data = u64::MAX;
        assert_eq!(Request::parse(&copy).unwrap().kind, Kind::Invalidate);
        let mut copy = ioreq(IOREQ_TYPE_TIMEOFFSET, 0, 8, 1, 0);
        copy.data = -3600i64 as u64;
        assert_eq!(Request::parse(&copy).unwrap().data as i64, -3600);
        copy.flags = READ;
        assert_eq!(Request::parse(&copy), Err(Refusal::Data));
    }

    #[test]
    fn types_that_are_not_are_refused() {
        for kind in [3, 4, 5, 6, 9, 255] {
            assert_eq!(Request::parse(&ioreq(kind, 0, 1, 1, 0)), Err(Refusal::Kind));
        }
    }

    #[test]
    fn a_buffered_write_is_a_write() {
        let head = |kind: u8, log: u32, address: u32| {
            u32::from(kind) | log << HEAD_SIZE_SHIFT | address << HEAD_ADDR_SHIFT
        };
        let entry = |head, data| BufIoreq { head, data };
        let word = entry(head(IOREQ_TYPE_COPY, 1, 0xb_8000), 0xffff_0741);
        let request = Request::parse_buffered(word, None).unwrap();
        assert_eq!(
            (request.address, request.size, request.data),
            (0xb_8000, 2, 0x741)
        );
        let lower = entry(head(IOREQ_TYPE_TIMEOFFSET, 3, 0), -2i32 as u32);
        let upper = entry(0, u32::MAX);
        let request = Request::parse_buffered(lower, Some(upper)).unwrap();
        assert_eq!(request.data as i64, -2);
        let read = entry(word.head | HEAD_DIR, 0);
        assert_eq!(Request::parse_buffered(read, None), Err(Refusal::Data));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_it_promises(
            (addr, data, count, size, flags) in (any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u8>()),
            kind in 0u8..10,
            shift in 0u32..64,
        ) {
            // Small numbers as well as any.
            let copy = Ioreq {
                addr: addr >> shift, data: data >> shift, count: count >> (shift / 2), size: size % 17, flags, kind,
                ..Ioreq::default()
            };
            if let Ok(request) = Request::parse(&copy) {
                prop_assert!((1..=COUNT_MAX).contains(&request.count));
                prop_assert!(matches!(request.size, 1 | 2 | 4 | 8));
                for index in [0, request.count - 1] {
                    let last = request.address_of(index).checked_add(u64::from(request.size));
                    match request.kind {
                        Kind::Port => prop_assert!(last.is_some_and(|last| last <= 1 << 16)),
                        Kind::Memory => prop_assert!(last.is_some_and(|last| last <= 1 << 52)),
                        _ => {}
                    }
                    if request.data_is_pointer {
                        let last = request.pointer_of(index).checked_add(u64::from(request.size));
                        prop_assert!(last.is_some_and(|last| last <= 1 << 52));
                    }
                }
            }
        }
    }
}
