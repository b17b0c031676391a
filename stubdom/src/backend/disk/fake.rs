//! A disk in memory: with a cache, with sectors that cannot be read, and as slow as a test wants it.

use super::{Buffer, Completion, Disk, Info, Submission};
use crate::disk::{Operation, Reason, SECTOR};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

impl Buffer for Vec<u8> {
    fn read(&self, offset: usize, into: &mut [u8]) {
        if let Some(bytes) = self.get(offset..offset + into.len()) {
            into.copy_from_slice(bytes);
        }
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        if let Some(bytes) = self.get_mut(offset..offset + from.len()) {
            bytes.copy_from_slice(from);
        }
    }
}

/// A disk in memory.
#[derive(Debug)]
pub struct MemoryDisk {
    /// What it says of itself.
    pub info: Info,
    /// It is there.
    pub present: bool,
    /// What is read.
    pub bytes: Vec<u8>,
    /// What would be left after a power failure.
    pub medium: Vec<u8>,
    /// Sectors that can be neither read nor written.
    pub bad: Range<u64>,
    /// It works only as often as [`MemoryDisk::release`] lets it.
    pub is_slow: bool,
    /// How many requests it takes at once.
    pub slots: usize,
    /// Bytes of memory that it has.
    pub memory: usize,
    /// It does the last first.
    pub is_backwards: bool,
    /// What it was asked to do.
    pub log: Vec<(Operation, u64, u32)>,
    /// What it was not told of.
    submitted: VecDeque<Submission<Vec<u8>>>,
    pending: VecDeque<Submission<Vec<u8>>>,
    released: usize,
}

impl MemoryDisk {
    /// Zeroed, with a cache and discards.
    pub fn new(sectors: u64) -> Self {
        let bytes = vec![0; sectors as usize * SECTOR];
        Self {
            info: Info {
                sectors,
                sector_size: SECTOR as u32,
                read_only: false,
                flush: true,
                discard: true,
                request_max: 88,
            },
            present: true,
            medium: bytes.clone(),
            bytes,
            bad: 0..0,
            is_slow: false,
            slots: 32,
            memory: 1 << 20,
            is_backwards: false,
            log: Vec::new(),
            submitted: VecDeque::new(),
            pending: VecDeque::new(),
            released: 0,
        }
    }

    /// One whose sectors differ from each other.
    pub fn patterned(sectors: u64) -> Self {
        let mut new = Self::new(sectors);
        for (at, byte) in new.bytes.iter_mut().enumerate() {
            *byte = (at ^ (at / SECTOR * 7)) as u8;
        }
        new.medium.clone_from(&new.bytes);
        new
    }

    /// Lets it do so many requests.
    pub fn release(&mut self, requests: usize) {
        self.released += requests;
    }

    /// How many requests it was told of and has not done.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn all(&self) -> impl Iterator<Item = &Submission<Vec<u8>>> {
        self.pending.iter().chain(&self.submitted)
    }

    fn carry_out(&mut self, submission: &mut Submission<Vec<u8>>) -> Result<(), Reason> {
        let Submission {
            operation,
            sector,
            sectors,
            ..
        } = *submission;
        if !self.present {
            return Err(Reason::Gone);
        }
        let end = sector + u64::from(sectors);
        if end > self.info.sectors || sector < self.bad.end && self.bad.start < end {
            return Err(Reason::Medium);
        }
        let range = sector as usize * SECTOR..end as usize * SECTOR;
        match (operation, &mut submission.buffer) {
            (Operation::Read, Some(buffer)) => buffer.copy_from_slice(&self.bytes[range]),
            (Operation::Write, Some(buffer)) => self.bytes[range].copy_from_slice(buffer),
            (Operation::Flush, None) => self.medium.clone_from(&self.bytes),
            (Operation::Discard, None) => self.bytes[range].fill(0),
            other => panic!("a submission that no disk takes: {other:?}"),
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    type Buffer = Vec<u8>;

    fn info(&self) -> Option<Info> {
        self.present.then_some(self.info)
    }

    fn buffer(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let buffers = self.all().flat_map(|known| &known.buffer);
        let lent: usize = buffers.map(Vec::len).sum();
        (lent + bytes <= self.memory).then(|| vec![0xa5; bytes])
    }

    fn submit(&mut self, submission: Submission<Vec<u8>>) -> Result<(), Submission<Vec<u8>>> {
        if self.all().count() >= self.slots {
            return Err(submission);
        }
        if matches!(submission.operation, Operation::Read | Operation::Write) {
            let whole = self.info.sector_size / SECTOR as u32;
            assert!(submission.sectors <= self.info.request_max.max(whole));
            assert!(submission.sectors.is_multiple_of(whole));
            assert!(submission.sector.is_multiple_of(whole.into()));
            let bytes = submission.buffer.as_ref().map(Vec::len);
            assert_eq!(bytes, Some(submission.sectors as usize * SECTOR));
        }
        self.log
            .push((submission.operation, submission.sector, submission.sectors));
        self.submitted.push_back(submission);
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion<Vec<u8>>> {
        if self.is_slow && !self.pending.is_empty() {
            self.released = self.released.checked_sub(1)?;
        }
        let mut submission = if self.is_backwards {
            self.pending.pop_back()?
        } else {
            self.pending.pop_front()?
        };
        let result = self.carry_out(&mut submission);
        Some(Completion {
            tag: submission.tag,
            result,
            buffer: submission.buffer,
        })
    }

    fn notify(&mut self) {
        self.pending.append(&mut self.submitted);
    }
}
