//! Fragments (RFC 791, 3.2): put together as soon as all are there, judged as one packet, and taken
//! apart again on the way out as they came.
//!
//! As in Linux: a fragment that lies within what is there already is a duplicate and goes alone; one
//! that overlaps, or says another length than one before it, takes the whole packet with it; after 30
//! seconds what is incomplete is gone. Whatever comes, no more than [`Assembler::MAX_BYTES`] is held:
//! the oldest packet makes room.

mod cut;

pub(crate) use cut::cut_to;

use crate::checksum::{get16, get32};
use crate::frame::{Checksum, ETHERNET, Frame};
use crate::reason::Reason;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use cut::{cut, sum_header};

const MORE: u16 = 0x2000;
const DO_NOT: u16 = 0x4000;

/// Whether an IPv4 header is a fragment's.
#[inline(always)]
pub(crate) fn is_fragment(header: &[u8]) -> bool {
    get16(header, 6) & 0x3fff != 0
}

/// How a packet that was put together came, so that it can leave alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Payload bytes of each fragment, in order.
    pieces: Vec<u16>,
    /// Length of the largest fragment, header included.
    pub(crate) largest: u16,
    /// The largest one must not be fragmented further: nor may what goes out be larger.
    pub(crate) keeps_size: bool,
}

/// A packet put together.
#[derive(Debug)]
pub(crate) struct Assembled {
    /// The whole frame.
    pub(crate) bytes: Vec<u8>,
    pub(crate) checksum: Checksum,
    pub(crate) geometry: Geometry,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Added {
    /// Others are missing.
    Held,
    /// It was the last one missing.
    Complete(Assembled),
}

/// What fragments of one packet have in common (RFC 791).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    source: u32,
    destination: u32,
    ident: u16,
    protocol: u8,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    payload: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u32 {
        self.offset + self.payload.len() as u32
    }
}

#[derive(Debug)]
struct Pending {
    key: Key,
    began: Instant,
    /// Ascending, without overlaps.
    pieces: Vec<Piece>,
    /// Ethernet and IPv4 header of the first one.
    header: Option<Vec<u8>>,
    /// After the last byte known to be there.
    end: u32,
    has_last: bool,
    /// Bytes that are there.
    held: u32,
    largest: u16,
    largest_kept: u16,
    /// A bit for each codepoint of congestion notification that was seen (RFC 3168, 5.3).
    congestion: u8,
    checksum: Checksum,
}

/// A fragment as it was parsed.
struct Fragment {
    key: Key,
    offset: u32,
    more: bool,
    must_not: bool,
    header_len: usize,
    /// IPv4, header included.
    total: u16,
    congestion: u8,
}

/// Packets of which some fragments are there.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Oldest first.
    pending: VecDeque<Pending>,
    bytes: usize,
}

/// Fragments given up, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) fragments: u64,
    pub(crate) reason: Reason,
}

impl Assembler {
    /// Most bytes of all packets that are incomplete, their bookkeeping included.
    pub(crate) const MAX_BYTES: usize = 512 * 1024;
    /// Most fragments of one packet; a packet of 64 KiB has 119 on a link of 576 bytes.
    const MAX_PIECES: usize = 128;
    /// What a fragment costs besides its payload.
    const PIECE_COST: usize = 64;
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Takes the fragment that `frame` is; its header was found good. `lost` hears of others that go.
    ///
    /// # Errors
    /// It can be part of no packet, or not with what is there already.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        mut lost: impl FnMut(Lost),
    ) -> Result<Added, Reason> {
        let fragment = Fragment::parse(frame.head.bytes());
        let mut len = usize::from(fragment.total) - fragment.header_len;
        if fragment.more {
            len &= !7;
        }
        let end = fragment.offset + len as u32;
        if end + fragment.header_len as u32 > u32::from(u16::MAX) {
            return Err(Reason::FragmentTooLong);
        }
        if frame.gso.is_some() || frame.checksum == Checksum::Blank {
            return Err(Reason::BadOffload);
        }
        let number = match self.pending.iter().position(|one| one.key == fragment.key) {
            Some(number) => number,
            None => {
                self.pending.push_back(Pending::new(fragment.key, now));
                self.pending.len() - 1
            }
        };
        let pending = &mut self.pending[number];
        let place = match pending.place(&fragment, end, len) {
            Ok(place) => place,
            Err(Reason::FragmentDuplicate) => return Err(Reason::FragmentDuplicate),
            Err(reason) => {
                self.give_up(number, reason, &mut lost);
                return Err(reason);
            }
        };
        let start = ETHERNET + fragment.header_len;
        let mut payload = alloc::vec![0; len];
        if let Err(reason) = frame.read(start, &mut payload) {
            self.drop_if_empty(number);
            return Err(reason);
        }
        let pending = &mut self.pending[number];
        pending.insert(place, &fragment, payload, frame);
        self.bytes += len + Self::PIECE_COST;
        if !pending.is_complete() {
            self.make_room(fragment.key, &mut lost);
            return Ok(Added::Held);
        }
        let Some(pending) = self.pending.remove(number) else {
            return Ok(Added::Held);
        };
        self.bytes -= pending.cost();
        pending.assemble().map(Added::Complete)
    }

    /// Forgets packets that stayed incomplete.
    pub(crate) fn expire(&mut self, now: Instant, mut lost: impl FnMut(Lost)) {
        while self
            .pending
            .front()
            .is_some_and(|pending| now >= pending.began + Self::PATIENCE)
        {
            self.give_up(0, Reason::FragmentTimeout, &mut lost);
        }
    }

    /// When [`Assembler::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.pending.front()?.began + Self::PATIENCE)
    }

    fn give_up(&mut self, number: usize, reason: Reason, lost: &mut impl FnMut(Lost)) {
        if let Some(pending) = self.pending.remove(number) {
            self.bytes -= pending.cost();
            lost(Lost {
                fragments: pending.pieces.len() as u64,
                reason,
            });
        }
    }

    fn drop_if_empty(&mut self, number: usize) {
        if self.pending[number].pieces.is_empty() {
            self.pending.remove(number);
        }
    }

    /// The oldest go, but not the one that was added to last unless it alone is too much.
    fn make_room(&mut self, newest: Key, lost: &mut impl FnMut(Lost)) {
        while self.bytes > Self::MAX_BYTES {
            let oldest = self.pending.iter().position(|one| one.key != newest);
            self.give_up(oldest.unwrap_or(0), Reason::FragmentsFull, lost);
        }
    }
}

impl Fragment {
    fn parse(head: &[u8]) -> Self {
        let ip = &head[ETHERNET..];
        let flags = get16(ip, 6);
        Self {
            key: Key {
                source: get32(ip, 12),
                destination: get32(ip, 16),
                ident: get16(ip, 4),
                protocol: ip[9],
            },
            offset: u32::from(flags & 0x1fff) * 8,
            more: flags & MORE != 0,
            must_not: flags & DO_NOT != 0,
            header_len: usize::from(ip[0] & 0x0f) * 4,
            total: get16(ip, 2),
            congestion: 1 << (ip[1] & 3),
        }
    }
}

impl Pending {
    fn new(key: Key, began: Instant) -> Self {
        Self {
            key,
            began,
            pieces: Vec::new(),
            header: None,
            end: 0,
            has_last: false,
            held: 0,
            largest: 0,
            largest_kept: 0,
            congestion: 0,
            checksum: Checksum::Validated,
        }
    }

    fn cost(&self) -> usize {
        self.held as usize + self.pieces.len() * Assembler::PIECE_COST
    }

    /// Where among the others the fragment belongs. Where the packet ends is known even from one that
    /// says nothing else that is new.
    fn place(&mut self, fragment: &Fragment, end: u32, len: usize) -> Result<usize, Reason> {
        let contradicts = if fragment.more {
            self.has_last && end > self.end
        } else {
            end < self.end || self.has_last && end != self.end
        };
        if contradicts || len == 0 || self.pieces.len() >= Assembler::MAX_PIECES {
            return Err(Reason::Fragment);
        }
        self.end = self.end.max(end);
        self.has_last |= !fragment.more;
        let place = self
            .pieces
            .partition_point(|piece| piece.end() <= fragment.offset);
        let is_free = self.pieces.get(place).is_none_or(|next| end <= next.offset);
        if is_free {
            return Ok(place);
        }
        // Within a stretch without gaps it says nothing new.
        let (mut at, mut covered) = (place, self.pieces[place].offset);
        if covered > fragment.offset {
            return Err(Reason::FragmentOverlap);
        }
        while let Some(piece) = self.pieces.get(at).filter(|piece| piece.offset == covered) {
            covered = piece.end();
            at += 1;
        }
        if end <= covered {
            Err(Reason::FragmentDuplicate)
        } else {
            Err(Reason::FragmentOverlap)
        }
    }

    fn insert(&mut self, place: usize, fragment: &Fragment, payload: Vec<u8>, frame: &Frame<'_>) {
        let len = payload.len() as u32;
        self.held += len;
        let size = fragment.header_len as u16 + len as u16;
        self.largest = self.largest.max(size);
        if fragment.must_not {
            self.largest_kept = self.largest_kept.max(size);
        }
        self.congestion |= fragment.congestion;
        if frame.checksum == Checksum::Unknown {
            self.checksum = Checksum::Unknown;
        }
        if fragment.offset == 0 {
            let headers = ETHERNET + fragment.header_len;
            self.header = Some(frame.head.bytes()[..headers].to_vec());
        }
        let offset = fragment.offset;
        self.pieces.insert(place, Piece { offset, payload });
    }

    fn is_complete(&self) -> bool {
        self.header.is_some() && self.has_last && self.held == self.end
    }

    fn assemble(self) -> Result<Assembled, Reason> {
        let mut bytes = self.header.unwrap_or_default();
        let header_len = bytes.len() - ETHERNET;
        let total = header_len as u32 + self.end;
        let total = u16::try_from(total).map_err(|_| Reason::FragmentTooLong)?;
        let keeps_size = self.largest_kept == self.largest;
        let ip = &mut bytes[ETHERNET..];
        ip[1] |= congestion(self.congestion).ok_or(Reason::Fragment)?;
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        let flags = if keeps_size { DO_NOT } else { 0 };
        ip[6..8].copy_from_slice(&flags.to_be_bytes());
        sum_header(ip);
        let pieces = self.pieces.iter().map(|piece| piece.payload.len() as u16);
        let geometry = Geometry {
            pieces: pieces.collect(),
            largest: self.largest,
            keeps_size,
        };
        bytes.reserve(self.end as usize);
        for piece in &self.pieces {
            bytes.extend_from_slice(&piece.payload);
        }
        Ok(Assembled {
            bytes,
            checksum: self.checksum,
            geometry,
        })
    }
}

/// What the whole packet says of congestion, to be added to the first fragment's (RFC 3168, 5.3).
/// `None`: some fragments were capable of notification and some were not.
fn congestion(seen: u8) -> Option<u8> {
    const NOT_CAPABLE: u8 = 1;
    const EXPERIENCED: u8 = 1 << 3;
    if seen & NOT_CAPABLE != 0 && seen != NOT_CAPABLE {
        None
    } else if seen & EXPERIENCED != 0 {
        Some(3)
    } else {
        Some(0)
    }
}

impl Geometry {
    /// Takes a packet of at most `mtu` bytes a piece apart: as it came if that still fits, else into
    /// pieces no larger than the largest that came.
    pub(crate) fn cut(&self, bytes: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let header_len = usize::from(bytes[ETHERNET] & 0x0f) * 4;
        let mtu = mtu.min(self.largest);
        let room = usize::from(mtu).saturating_sub(header_len);
        let payload = bytes.len() - ETHERNET - header_len;
        let as_it_came = self
            .pieces
            .iter()
            .map(|&len| usize::from(len))
            .sum::<usize>()
            == payload
            && self.pieces.iter().all(|&len| usize::from(len) <= room);
        if as_it_came {
            let sizes = self.pieces.iter().map(|&len| usize::from(len));
            return cut(bytes, sizes, 0);
        }
        let flags = if self.keeps_size { DO_NOT } else { 0 };
        let room = room & !7;
        if room == 0 {
            return Vec::new();
        }
        let sizes = core::iter::repeat_n(room, payload.div_ceil(room));
        cut(bytes, sizes, flags)
    }
}
