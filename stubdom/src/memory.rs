//! The guest's memory, as a device reaches it.

use thiserror::Error;

/// Some of the range is not the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("outside the guest's memory")]
pub struct Outside;

/// The guest's memory by guest physical address.
///
/// Any range may be asked for, wherever a guest's descriptor pointed: one that wraps, or of which a
/// page is missing, is [`Outside`]. What was copied until that was found stays copied, as it does when
/// a card's transfer is aborted on its bus.
///
/// The guest's vCPUs write while this reads: two reads of one address may differ, so whatever is
/// decided on is read once.
pub trait GuestMemory {
    /// Copies out of the guest.
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Outside>;
    /// Copies into the guest.
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Outside>;
}

#[cfg(any(test, feature = "fake"))]
mod ram {
    use super::{GuestMemory, Outside};
    use alloc::vec;
    use alloc::vec::Vec;
    use core::ops::Range;

    /// Memory for tests: from a first address on, and nothing else.
    #[derive(Clone, Debug)]
    pub struct Ram {
        first: u64,
        /// What is in it.
        pub bytes: Vec<u8>,
    }

    impl Ram {
        /// Zeroed memory from address 0 on.
        pub fn new(length: usize) -> Self {
            Self::at(0, length)
        }

        /// Zeroed memory from `first` on.
        pub fn at(first: u64, length: usize) -> Self {
            Self {
                first,
                bytes: vec![0; length],
            }
        }

        fn range(&self, address: u64, length: usize) -> Result<Range<usize>, Outside> {
            let start = address.checked_sub(self.first).ok_or(Outside)?;
            let start = usize::try_from(start).map_err(|_| Outside)?;
            let end = start.checked_add(length).ok_or(Outside)?;
            (end <= self.bytes.len())
                .then_some(start..end)
                .ok_or(Outside)
        }
    }

    impl GuestMemory for Ram {
        fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
            let range = self.range(address, into.len())?;
            into.copy_from_slice(&self.bytes[range]);
            Ok(())
        }

        fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Outside> {
            let range = self.range(address, from.len())?;
            self.bytes[range].copy_from_slice(from);
            Ok(())
        }
    }
}

#[cfg(any(test, feature = "fake"))]
pub use ram::Ram;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_outside_is_refused_wherever_it_lies() {
        let mut ram = Ram::at(0x1000, 0x1000);
        ram.write(0x1ffc, &[1, 2, 3, 4]).unwrap();
        let mut read = [0; 4];
        ram.read(0x1ffc, &mut read).unwrap();
        assert_eq!(read, [1, 2, 3, 4]);
        for address in [0xfff, 0x1ffd, 0x2000, u64::MAX, u64::MAX - 3] {
            assert_eq!(ram.read(address, &mut read), Err(Outside), "{address:#x}");
            assert_eq!(ram.write(address, &read), Err(Outside), "{address:#x}");
        }
    }
}
