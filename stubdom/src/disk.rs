//! What a controller asks of the disks behind it.
//!
//! A controller knows registers and descriptors, and never waits: what a command needs of its disk it
//! asks for as a [`Request`], and goes on when it is told how that ended. It touches no data: a request
//! says where in the guest the bytes lie, and whoever carries it out moves them there and back.

use crate::memory::GuestMemory;
use alloc::vec::Vec;

/// Bytes of a sector, in which all of this counts, whatever the disk's own are.
pub const SECTOR: usize = 512;

/// Pieces of guest memory in one request: a sector may be scattered over as many, of two bytes each.
pub const SEGMENTS_MAX: usize = SECTOR / 2;

/// Requests of one drive that are under way at once, at most: what a queue of native commands is deep.
pub const REQUESTS_MAX: usize = 32;

/// A run of guest memory, as a descriptor claims it: not yet known to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Where in the guest a request's bytes lie, in their order: at most [`SEGMENTS_MAX`] runs, and memory
/// for as many as there are, since most requests have few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    pieces: Vec<Segment>,
    bytes: usize,
}

impl Segments {
    /// Adds a run behind the others; one that follows on from the last becomes part of it. False: there
    /// is no room for another.
    pub fn push(&mut self, segment: Segment) -> bool {
        if let Some(last) = self.pieces.last_mut()
            && last.address.wrapping_add(u64::from(last.length)) == segment.address
            && let Some(length) = last.length.checked_add(segment.length)
        {
            last.length = length;
        } else if self.pieces.len() < SEGMENTS_MAX {
            self.pieces.push(segment);
        } else {
            return false;
        }
        self.bytes += segment.length as usize;
        true
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leaves the first `bytes`.
    pub fn truncate(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(last) = self.pieces.last_mut() else {
                return;
            };
            let over = self.bytes - bytes;
            if last.length as usize > over {
                last.length -= over as u32;
                self.bytes = bytes;
            } else {
                self.bytes -= last.length as usize;
                self.pieces.pop();
            }
        }
    }

    /// The runs that `length` bytes from `offset` on lie in.
    pub fn runs(&self, offset: usize, length: usize) -> impl Iterator<Item = Segment> + '_ {
        let mut skip = offset;
        let mut left = length;
        self.pieces.iter().filter_map(move |piece| {
            let here = piece.length as usize;
            if skip >= here {
                skip -= here;
                return None;
            }
            let length = (here - skip).min(left);
            let address = piece.address.wrapping_add(skip as u64);
            skip = 0;
            left -= length;
            (length > 0).then_some(Segment {
                address,
                length: length as u32,
            })
        })
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From the disk.
    Read,
    /// To the disk, or its cache.
    Write,
    /// What was written and reported is to be on the medium.
    Flush,
    /// The sectors' contents are of no use any more.
    Discard,
}

/// Where the bytes come from, or go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// There are none.
    Nowhere,
    /// The drive's own buffer, from its start: [`Controller::buffer`].
    Device,
    /// The guest's memory.
    Guest(Segments),
}

/// One thing to be done by a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which of the controller's drives.
    pub drive: u8,
    /// The controller's name for it, below [`REQUESTS_MAX`]: no two of a drive at once.
    pub tag: u8,
    /// What.
    pub operation: Operation,
    /// The first sector.
    pub sector: u64,
    /// How many; none for a flush.
    pub sectors: u32,
    /// Where its bytes are: as many as the sectors have.
    pub place: Place,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The disk says that it could not.
    Medium,
    /// It may not be written.
    ReadOnly,
    /// It has no such sector.
    Range,
    /// The guest's descriptors point outside its memory.
    Memory,
    /// There is no disk any more.
    Gone,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The first sector known to be concerned, or one before it.
    pub sector: u64,
}

/// Something with drives, to which disks are attached.
pub trait Controller {
    /// What is to be done next, if anything is. Descriptors are read, and commands that need no disk
    /// carried out, on the way: so nothing is left to do for the controller itself once this is `None`.
    fn next_request<M: GuestMemory>(&mut self, memory: &mut M) -> Option<Request>;

    /// A drive all of whose requests are to be forgotten: it was reset, or is no more. No byte reaches
    /// the guest's memory for them from now on, and [`Controller::complete`] is not called. Until it
    /// was asked for, the drive has no further request.
    fn take_abandoned(&mut self) -> Option<u8>;

    /// A drive's own buffer, for [`Place::Device`].
    fn buffer(&mut self, drive: u8) -> &mut [u8];

    /// How a request ended.
    fn complete<M: GuestMemory>(
        &mut self,
        drive: u8,
        tag: u8,
        result: Result<(), Failure>,
        memory: &mut M,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(address: u64, length: u32) -> Segment {
        Segment { address, length }
    }

    #[test]
    fn neighbours_become_one_and_runs_are_cut_where_they_are_asked_for() {
        let mut segments = Segments::default();
        assert!(segments.push(segment(0x1000, 0x1000)));
        assert!(segments.push(segment(0x2000, 0x1000)));
        assert!(segments.push(segment(0x8000, 0x200)));
        assert_eq!(segments.bytes(), 0x2200);
        let runs = |offset, length| segments.runs(offset, length).collect::<Vec<_>>();
        assert_eq!(
            runs(0, 0x2200),
            [segment(0x1000, 0x2000), segment(0x8000, 0x200)]
        );
        assert_eq!(runs(0x1fff, 2), [segment(0x2fff, 1), segment(0x8000, 1)]);
        assert_eq!(runs(0x2000, 4), [segment(0x8000, 4)]);
        assert_eq!(runs(0x2200, 4), []);
        let mut cut = segments.clone();
        cut.truncate(0x800);
        assert_eq!(cut.bytes(), 0x800);
        assert_eq!(
            cut.runs(0, 0x2200).collect::<Vec<_>>(),
            [segment(0x1000, 0x800)]
        );
    }

    #[test]
    fn there_is_an_end_to_pieces_and_the_address_space() {
        let mut segments = Segments::default();
        for at in 0..SEGMENTS_MAX {
            assert!(segments.push(segment(at as u64 * 4, 2)));
        }
        assert!(!segments.push(segment(0x10_0000, 2)));
        assert_eq!(segments.bytes(), SECTOR);
        let mut segments = Segments::default();
        assert!(segments.push(segment(u64::MAX, 4)));
        assert_eq!(
            segments.runs(2, 2).collect::<Vec<_>>(),
            [segment(1, 2)],
            "it wraps here, and is refused where memory is"
        );
        assert!(segments.push(segment(3, u32::MAX)));
        assert_eq!(segments.runs(0, usize::MAX).count(), 2);
    }
}
