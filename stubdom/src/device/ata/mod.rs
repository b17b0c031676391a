//! Drives as ATA has them, behind whichever controller: what a command means, and what it asks for.
//! How registers and data reach a drive is the controller's.
//!
//! Sections are those of ACS-2 (T13/2015-D) unless they name another standard.

mod hard_disk;
mod identify;
mod optical;
mod smart;

use crate::disk::{Failure, Operation, Reason};
pub use hard_disk::HardDisk;
pub(super) use hard_disk::ranges;
pub use optical::Optical;
pub(super) use optical::Reply;
use serde::{Deserialize, Serialize};

/// The status register.
pub(super) mod status {
    /// Something went wrong; for a packet command, look at its sense data.
    pub(in crate::device) const ERR: u8 = 1 << 0;
    /// Data can be transferred.
    pub(in crate::device) const DRQ: u8 = 1 << 3;
    /// The seek is complete: always, as of late.
    pub(in crate::device) const DSC: u8 = 1 << 4;
    /// Ready for commands.
    pub(in crate::device) const DRDY: u8 = 1 << 6;
    /// Busy: the other bits say nothing.
    pub(in crate::device) const BSY: u8 = 1 << 7;

    /// What a drive says that has nothing to do.
    pub(in crate::device) const READY: u8 = DRDY | DSC;
}

/// The error register.
pub(super) mod error {
    /// Aborted: not supported, or not possible.
    pub(in crate::device) const ABRT: u8 = 1 << 2;
    /// There is no such sector.
    pub(in crate::device) const IDNF: u8 = 1 << 4;
    /// Data could not be read.
    pub(in crate::device) const UNC: u8 = 1 << 6;
}

/// Sectors that a disk is asked for at once, at most: what the longest command of ATA names.
pub(super) const REQUEST_SECTORS_MAX: u32 = 0x1_0000;

/// Sectors of one DRQ block of READ MULTIPLE, at most.
pub(super) const MULTIPLE_MAX: u8 = 16;

/// What a drive is attached to: it says so when it is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// A parallel cable.
    Parallel,
    /// A serial link, with native command queuing.
    Serial,
}

/// The registers of a command, whichever way they came, and of its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) command: u8,
    pub(super) features: u16,
    pub(super) count: u16,
    /// 48 bits.
    pub(super) lba: u64,
    pub(super) device: u8,
    pub(super) status: u8,
    pub(super) error: u8,
}

impl Task {
    pub(super) fn succeed(&mut self) {
        self.status = status::READY;
        self.error = 0;
    }

    pub(super) fn fail(&mut self, error: u8) {
        self.status = status::READY | status::ERR;
        self.error = error;
    }

    /// How a disk's failure is told. (6.2, 6.3.)
    pub(super) fn fail_with(&mut self, failure: Failure, operation: Operation) {
        self.fail(match failure.reason {
            Reason::Range => error::IDNF,
            Reason::Medium if operation == Operation::Read => error::UNC,
            _ => error::ABRT,
        });
        self.lba = failure.sector & 0xffff_ffff_ffff;
    }
}

/// How a transfer's data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Protocol {
    /// Through the data register, so many sectors to an interrupt.
    Pio {
        /// One or a power of two.
        block: u8,
    },
    /// To and from the guest's memory.
    Dma,
    /// The same, with other commands under way.
    Queued,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Direction {
    /// To the guest.
    In,
    /// From the guest.
    Out,
}

/// Sectors to be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) direction: Direction,
    pub(super) sector: u64,
    pub(super) sectors: u32,
    pub(super) protocol: Protocol,
    /// It is done only when it is on the medium.
    pub(super) through: bool,
}

/// What a command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: the task says how it ended.
    Done,
    /// The first 512 bytes of what the drive was lent are to be read by the guest, by PIO.
    Answer,
    /// Sectors.
    Transfer(Transfer),
    /// What was written is to reach the medium.
    Flush,
    /// The guest has 512 bytes of ranges that can be discarded, by DMA.
    Trim,
    /// A packet of 12 bytes is to come.
    Packet,
    /// Every drive of the cable is to say how it is.
    Diagnose,
    /// The page about the queued command that failed is to be read, by PIO.
    QueuedErrorLog,
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drive {
    /// A hard disk.
    Disk(HardDisk),
    /// A CD or DVD drive.
    Optical(Optical),
}

impl Drive {
    /// What it says of itself after a reset. (9.12, signature.)
    pub(super) fn reset(&mut self, task: &mut Task) {
        match self {
            Self::Disk(disk) => disk.reset(),
            Self::Optical(optical) => optical.reset(),
        }
        self.sign(task);
        task.error = 1;
        task.status = match self {
            Self::Disk(_) => status::READY,
            Self::Optical(_) => 0,
        };
    }

    /// Puts into the registers which kind of drive this is.
    pub(super) fn sign(&self, task: &mut Task) {
        task.count = 1;
        task.lba = match self {
            Self::Disk(_) => 0x00_00_01,
            Self::Optical(_) => 0xeb_14_01,
        };
        task.device &= 1 << 4;
    }

    /// Carries out a command, as far as the drive can by itself.
    pub(super) fn start(&mut self, task: &mut Task, answer: &mut [u8; 512]) -> Start {
        match self {
            Self::Disk(disk) => disk.start(task, answer),
            Self::Optical(optical) => {
                let start = optical.start(task, answer);
                if task.status & status::ERR != 0 && matches!(task.command, 0x20 | 0xec) {
                    // So that drivers that only know disks find out.
                    self.sign(task);
                }
                start
            }
        }
    }
}

/// Writes words as ATA has them, from a word on.
fn put_words(answer: &mut [u8; 512], at: usize, words: &[u16]) {
    for (place, word) in answer[2 * at..]
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(words)
    {
        *place = word.to_le_bytes();
    }
}

/// Writes text as ATA has it, padded with blanks: the first character of each word is its high byte.
fn put_text(answer: &mut [u8; 512], at: usize, length: usize, text: &[u8]) {
    for place in 0..length {
        answer[2 * at + (place ^ 1)] = text.get(place).copied().unwrap_or(b' ');
    }
}

/// Makes the sum of all bytes zero with the last one.
fn put_checksum(answer: &mut [u8; 512]) {
    answer[511] = 0;
    let sum = answer.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    answer[511] = sum.wrapping_neg();
}

#[cfg(test)]
mod tests;
