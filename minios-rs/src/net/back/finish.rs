//! What a frontend does not take as it is, is finished here: checksums are filled in, and frames cut into segments,
//! as the stack of a Linux backend does it ahead of its netback.
//!
//! Rare: all frontends of Linux and Windows take everything. A boot loader's or a unikernel's may not, and TCP
//! would hardly get on if their frames were dropped.

#![forbid(unsafe_code)]

use super::receive::buffers_max;
use super::{Back, flow};
use crate::net::frame::{FRAME_SLOTS_MAX, Memory, Slice};
use crate::net::front::TransmitError;
use crate::net::offload::{self, Place, Transport};
use crate::net::{Checksum, Gso, GsoKind, Offload};
use crate::xen::{CopyEnd, GrantCopy, GrantStatus, SharedPage, Xen};
use alloc::vec::Vec;

/// Segments of one frame, at most: those of a whole frame of 64 KiB where no smaller packet than IPv4's 576 bytes
/// is sent. Who asks for shorter ones gets none.
pub(super) const SEGMENTS_MAX: usize = 128;

/// There is no beginning unless there is room for so many, or for all if they are fewer.
const SEGMENTS_LEAST: usize = 16;

/// Nothing is left to do in what is sent instead.
const FINISHED: Offload = Offload {
    checksum: Checksum::Validated,
    gso: None,
};

/// What is sent in place of a frame.
struct Plan {
    found: Transport,
    /// Bytes of the headers, which each segment has.
    headers: usize,
    /// Bytes behind them in each but the last.
    each: usize,
    /// Where the packet ends.
    end: usize,
    segments: usize,
}

impl Plan {
    fn of(head: &[u8], size: usize, gso: Option<Gso>) -> Result<Self, TransmitError> {
        let asked = Offload {
            checksum: Checksum::Blank,
            gso,
        };
        let found = offload::transport(head).ok_or(TransmitError::NotOffered)?;
        if !offload::holds(head, size, asked) {
            return Err(TransmitError::Invalid);
        }
        let Some(gso) = gso else {
            return Ok(Self {
                found,
                headers: 0,
                each: size,
                end: size,
                segments: 1,
            });
        };
        let (headers, end) = (usize::from(found.payload), offload::end(head, &found));
        let each = usize::from(gso.size);
        let segments = (end - headers).div_ceil(each);
        if segments > SEGMENTS_MAX {
            return Err(TransmitError::NotOffered);
        }
        Ok(Self {
            found,
            headers,
            each,
            end,
            segments,
        })
    }

    /// Bytes of the longest.
    fn longest(&self) -> usize {
        (self.headers + self.each).min(self.end)
    }

    /// Writes segment `number` of `whole`, its checksum filled in.
    fn write<P: SharedPage>(&self, whole: &[u8], number: usize, into: &mut Vec<u8>) {
        let first = self.headers + number * self.each;
        let last = (first + self.each).min(self.end);
        into.clear();
        into.extend_from_slice(&whole[..self.headers]);
        into.extend_from_slice(&whole[first..last]);
        if self.headers > 0 {
            let place = Place {
                offset: number * self.each,
                number,
                is_last: number + 1 == self.segments,
            };
            offload::make_segment(into, &self.found, place);
        }
        // That it is a packet with a checksum was found out before.
        let _ = offload::fill::<P>(into, &[]);
    }
}

impl<X: Xen> Back<X> {
    /// Whether the frontend takes such a frame as it is.
    pub(super) fn takes_as_is(&self, head: &[u8], offload: Offload) -> bool {
        let features = &self.features;
        let takes_checksum = match offload.checksum {
            Checksum::Blank if offload::is_ipv6(head) => features.ipv6_checksum,
            Checksum::Blank => features.ipv4_checksum,
            Checksum::Validated | Checksum::Unknown => true,
        };
        takes_checksum
            && offload.gso.is_none_or(|gso| match gso.kind {
                GsoKind::TcpV4 => features.gso_tcpv4,
                GsoKind::TcpV6 => features.gso_tcpv6,
            })
    }

    /// Sends a frame that the frontend does not take as it is. All of it is copied first.
    pub(super) fn transmit_finished(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        size: usize,
        gso: Option<Gso>,
    ) -> Result<(), TransmitError> {
        let plan = Plan::of(head, size, gso)?;
        let slots = buffers_max(plan.longest());
        if slots > 1 && !self.features.scatter_gather {
            return Err(TransmitError::NotOffered);
        }
        let number = flow(head) % self.queues.len();
        // A ring may never have room for all of many: then the last are lost, and TCP sends them again.
        let least = plan.segments.min(SEGMENTS_LEAST) * slots;
        // Pages to read it into, and later for what segments have beyond a page: together less than the frame.
        let pages = FRAME_SLOTS_MAX;
        let receiver = &mut self.queues[number].receiver;
        let has_room = receiver.has_room(least, tail.len() + pages, &mut self.counters);
        match has_room {
            Ok(true) if self.pool.holds(pages) => {}
            Ok(_) => return Err(TransmitError::Full),
            Err(breach) => {
                self.break_down(breach);
                return Err(TransmitError::NotOpen);
            }
        }
        let mut whole = core::mem::take(&mut self.whole);
        whole.clear();
        whole.extend_from_slice(head);
        let read = self.read_tail(tail, &mut whole);
        let mut segment = core::mem::take(&mut self.segment);
        let sent = read.and_then(|()| {
            for at in 0..plan.segments {
                plan.write::<X::Page>(&whole, at, &mut segment);
                match self.put_finished(number, &segment) {
                    // There was room for the first of them.
                    Err(TransmitError::Full) => break,
                    put => put?,
                }
            }
            Ok(())
        });
        (self.whole, self.segment) = (whole, segment);
        if sent.is_ok() {
            // They were read.
            tail.reverse();
            while let Some(slice) = tail.pop() {
                self.queues[number].receiver.complete(slice.buffer);
            }
        }
        sent
    }

    fn put_finished(&mut self, queue: usize, bytes: &[u8]) -> Result<(), TransmitError> {
        self.with_slices(bytes, |back, head, tail| {
            back.put(queue, head, tail, bytes.len(), FINISHED)
        })
    }

    /// Copies a frame's slices behind `whole`; what lies in a guest's pages Xen copies.
    fn read_tail(
        &mut self,
        tail: &mut heapless::VecView<Slice<X::Page>>,
        whole: &mut Vec<u8>,
    ) -> Result<(), TransmitError> {
        let mut buffers: heapless::Vec<_, FRAME_SLOTS_MAX> = heapless::Vec::new();
        let mut copies: heapless::Vec<GrantCopy<X::Page>, FRAME_SLOTS_MAX> = heapless::Vec::new();
        let is_foreign = |slice: &Slice<_>| matches!(slice.buffer.memory, Memory::Foreign(_));
        let mut is_full = false;
        for slice in tail.iter().filter(|slice| is_foreign(slice)) {
            let Some(buffer) = self.pool.take() else {
                is_full = true;
                break;
            };
            let copy = GrantCopy {
                source: slice.buffer.copy_source(),
                source_offset: slice.offset,
                destination: buffer.copy_source(),
                destination_offset: 0,
                len: slice.len,
                status: GrantStatus::OKAY,
            };
            // As many as a frame has, which fit.
            let _ = copies.push(copy);
            let _ = buffers.push(buffer);
        }
        let mut read = match is_full {
            true => Err(TransmitError::Full),
            false => Ok(()),
        };
        if read.is_ok() {
            self.xen.copy_grants_patiently(&mut copies);
            self.counters.copies += copies.len() as u64;
            let mut copied = copies.iter();
            for slice in tail.iter_mut() {
                let at = whole.len();
                whole.resize(at + usize::from(slice.len), 0);
                let (page, offset) = match &slice.buffer.memory {
                    Memory::Page(page) | Memory::Private(page) => (page, slice.offset),
                    Memory::Foreign(_) => {
                        match copied.next().map(|it| (it.status, &it.destination)) {
                            Some((GrantStatus::OKAY, CopyEnd::Page(page))) => (page, 0),
                            _ => {
                                // Counted, and held against the guest, when it is given back.
                                slice.buffer.is_faulty = true;
                                read = Err(TransmitError::Invalid);
                                continue;
                            }
                        }
                    }
                };
                page.read(usize::from(offset), &mut whole[at..]);
            }
        }
        for buffer in buffers {
            self.pool.give_back(buffer);
        }
        self.counters.lost_sender += u64::from(read == Err(TransmitError::Invalid));
        read
    }
}
