//! Neighbours by interface and address.

use alloc::vec::Vec;

/// Where the entry of an interface's address is: ascending, at most as long as the table of entries.
#[derive(Debug, Default)]
pub(super) struct Index(Vec<(u64, u16)>);

/// An interface's address as one number.
const fn number(&(interface, address): &(u8, u32)) -> u64 {
    (interface as u64) << 32 | address as u64
}

impl Index {
    fn find(&self, key: &(u8, u32)) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number(key), |&(key, _)| key)
    }

    pub(super) fn get(&self, key: &(u8, u32)) -> Option<&u16> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn insert(&mut self, key: (u8, u32), number: u16) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = number,
            Err(at) => self.0.insert(at, (self::number(&key), number)),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn remove(&mut self, key: &(u8, u32)) {
        if let Ok(at) = self.find(key) {
            self.0.remove(at);
        }
    }
}
