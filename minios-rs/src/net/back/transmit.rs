//! The transmit ring: what the frontend sends.

#![forbid(unsafe_code)]

use super::credit::Credit;
use super::multicast::{Groups, NotJoined};
use super::parse::{Answer, Fault, Parsed, Part, Ring, answer};
use super::{Breach, Counters, FRAME_BITS, GRANT_FAULTS_MAX, HEAD_MAX, Rate};
use crate::abi::io::netif::{NETIF_RSP_ERROR, NETIF_RSP_OKAY};
use crate::net::frame::{FRAME_SLOTS_MAX, FrontId, Memory, Received, RxBuffer, Slice};
use crate::net::front::Wake;
use crate::net::{Checksum, Gso};
use crate::ring::{BackRing, Corrupt, Notify, Pending};
use crate::time::Instant;
use crate::xen::{CopyEnd, DomId, GrantCopy, GrantStatus, PAGE_SIZE, ResourceError, Xen};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Entries of the ring.
pub(super) const RING_ENTRIES: usize = 256;
/// Frames whose headers are copied at a time.
const BATCH_MAX: usize = 96;
/// Copies of one batch: one for each frame, unless headers are strewn over slots.
const COPIES_MAX: usize = BATCH_MAX + FRAME_SLOTS_MAX;
/// Headers in one page.
const HEADS_PER_PAGE: usize = PAGE_SIZE / HEAD_MAX;

/// A frame that was handed out, until all its slices are back.
#[derive(Default)]
struct Frame {
    answer: Answer,
    /// Slices that are out.
    slices: u8,
    /// Xen could not copy out of one of them.
    is_faulty: bool,
}

/// A frame whose header is being copied or has been.
struct Ready {
    frame: u16,
    head_len: u16,
    len: u32,
    checksum: Checksum,
    gso: Option<Gso>,
    /// Which of the batch's parts lie behind the header.
    parts: Range<usize>,
    /// Which of its copies are the header's.
    copies: Range<usize>,
}

pub(super) struct Transmitter<X: Xen> {
    xen: X,
    id: FrontId,
    queue: u16,
    frontend: DomId,
    ring: Ring<X::Foreign>,
    /// Where headers are copied to, by frame. No other domain may read them.
    heads: Vec<X::Page>,
    frames: Vec<Frame>,
    free: Vec<u16>,
    /// The frame that is being looked at.
    parsed: Box<Parsed>,
    /// The frames of a batch, and how many of them were handed out.
    ready: Vec<Ready>,
    handed_out: usize,
    parts: Vec<Part>,
    copies: Vec<GrantCopy<X::Page>>,
    credit: Option<Credit>,
    faults: u32,
}

impl<X: Xen> Transmitter<X> {
    pub(super) fn new(
        xen: &X,
        id: FrontId,
        queue: u16,
        frontend: DomId,
        ring: X::Foreign,
        credit: Option<Credit>,
    ) -> Result<Self, ResourceError> {
        const { assert!(Ring::<X::Foreign>::ENTRIES as usize == RING_ENTRIES) };
        const { assert!(RING_ENTRIES == 1 << FRAME_BITS) };
        let mut heads = Vec::with_capacity(RING_ENTRIES / HEADS_PER_PAGE);
        for _ in 0..RING_ENTRIES / HEADS_PER_PAGE {
            heads.push(xen.allocate_page()?);
        }
        Ok(Self {
            xen: xen.clone(),
            id,
            queue,
            frontend,
            ring: BackRing::new(ring),
            heads,
            frames: (0..RING_ENTRIES).map(|_| Frame::default()).collect(),
            free: (0..RING_ENTRIES as u16).rev().collect(),
            parsed: Box::default(),
            ready: Vec::with_capacity(BATCH_MAX),
            handed_out: 0,
            parts: Vec::with_capacity(RING_ENTRIES),
            copies: Vec::with_capacity(COPIES_MAX),
            credit,
            faults: 0,
        })
    }

    pub(super) fn unanswered(&self) -> u32 {
        self.ring.unanswered()
    }

    pub(super) fn next_credit(&self) -> Option<Instant> {
        self.credit.as_ref().and_then(Credit::awaited)
    }

    /// Has the guest send no more than this from now on.
    pub(super) fn set_rate(&mut self, rate: Option<Rate>) {
        let now = self.xen.now();
        match (&mut self.credit, rate) {
            (Some(credit), Some(rate)) => credit.change(rate, now),
            (credit, rate) => *credit = rate.map(|rate| Credit::new(rate, now)),
        }
    }

    pub(super) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    pub(super) fn arm(&self, wake: Wake) -> Result<Pending, Breach> {
        if self.handed_out < self.ready.len() {
            return Ok(Pending::Work);
        }
        // What waits for credit waits for the clock.
        if self.next_credit().is_some() {
            return Ok(Pending::Nothing);
        }
        let left = match wake {
            Wake::FirstSlot => 0,
            Wake::Slots(slots) => u32::from(slots.saturating_sub(1)).min(RING_ENTRIES as u32 / 2),
        };
        self.ring
            .arm_after(left)
            .map_err(|Corrupt| Breach::TransmitIndex)
    }

    /// Puts the next frame that is right into `frame`, and says whether there was one.
    pub(super) fn receive(
        &mut self,
        groups: &mut Groups,
        counters: &mut Counters,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Breach> {
        if self.handed_out == self.ready.len() {
            self.gather(groups, counters)?;
        }
        let Some(ready) = self.ready.get(self.handed_out) else {
            return Ok(false);
        };
        self.handed_out += 1;
        let (page, offset) = self.head(ready.frame);
        let index = self.queue << FRAME_BITS | ready.frame;
        let buffer = |memory| RxBuffer {
            owner: self.id,
            backend: self.frontend,
            index,
            memory,
            is_faulty: false,
        };
        frame.slots.clear();
        frame.len = ready.len;
        frame.checksum = ready.checksum;
        frame.gso = ready.gso;
        // As many as fit: a frame of more was dropped.
        let _ = frame.slots.push(Slice {
            buffer: buffer(Memory::Private(page.clone())),
            offset,
            len: ready.head_len,
        });
        for part in &self.parts[ready.parts.clone()] {
            let _ = frame.slots.push(Slice {
                buffer: buffer(Memory::Foreign(part.reference)),
                offset: part.offset,
                len: part.len,
            });
        }
        self.frames[usize::from(ready.frame)].slices = frame.slots.len() as u8;
        counters.received_frames += 1;
        counters.received_bytes += u64::from(ready.len);
        Ok(true)
    }

    /// Takes a slice of a frame back, and answers the frame with its last one. Whether it is the frame's first
    /// that Xen could not copy out of.
    pub(super) fn recycle(&mut self, number: u16, is_faulty: bool) -> bool {
        let Some(frame) = self.frames.get_mut(usize::from(number)) else {
            return false;
        };
        // A token exists only for a slice that is out.
        let Some(left) = frame.slices.checked_sub(1) else {
            return false;
        };
        frame.slices = left;
        let is_first = is_faulty && !frame.is_faulty;
        frame.is_faulty |= is_faulty;
        self.faults += u32::from(is_faulty);
        if left == 0 {
            let status = match frame.is_faulty {
                true => NETIF_RSP_ERROR,
                false => NETIF_RSP_OKAY,
            };
            self.finish(number, status);
        }
        is_first
    }

    fn finish(&mut self, number: u16, status: i16) {
        let frame = core::mem::take(&mut self.frames[usize::from(number)]);
        answer(&mut self.ring, &frame.answer, status);
        self.free.push(number);
    }

    /// Where a frame's header lies.
    fn head(&self, frame: u16) -> (&X::Page, u16) {
        let number = usize::from(frame);
        let offset = number % HEADS_PER_PAGE * HEAD_MAX;
        (&self.heads[number / HEADS_PER_PAGE], offset as u16)
    }

    /// Takes requests from the ring and has Xen copy the headers of their frames.
    fn gather(&mut self, groups: &mut Groups, counters: &mut Counters) -> Result<(), Breach> {
        if self.faults > GRANT_FAULTS_MAX {
            return Err(Breach::Grants);
        }
        let now = self.credit.is_some().then(|| self.xen.now());
        self.ready.clear();
        self.handed_out = 0;
        self.parts.clear();
        self.copies.clear();
        // Wrong frames are answered at once, and a frontend may put others in their place meanwhile: the
        // ring is gone through once.
        let mut left = RING_ENTRIES as u32;
        while self.ready.len() < BATCH_MAX && self.copies.len() + FRAME_SLOTS_MAX <= COPIES_MAX {
            let available = self.ring.available();
            let available = available
                .map_err(|Corrupt| Breach::TransmitIndex)?
                .min(left);
            if available == 0 {
                self.credit.as_mut().map(Credit::forget);
                break;
            }
            match self.parsed.read(&self.ring, available) {
                // The end lies behind what this turn looks at, not behind what was published.
                Err(Breach::Truncated) if left < RING_ENTRIES as u32 => break,
                other => other?,
            }
            let parsed = &*self.parsed;
            if let (Some(credit), Some(now)) = (&mut self.credit, now)
                && !credit.take(u64::from(parsed.len), now)
            {
                break;
            }
            self.ring.consume(parsed.entries);
            left -= parsed.entries;
            match parsed.fault {
                _ if !parsed.changes.is_empty() => self.regroup(groups, counters),
                Some(fault) => self.refuse(fault, counters),
                None => self.begin(counters)?,
            }
        }
        self.xen.copy_grants_patiently(&mut self.copies);
        counters.copies += self.copies.len() as u64;
        if self.copies.iter().any(|copy| !copy.status.is_okay()) {
            self.drop_uncopied(counters);
        }
        Ok(())
    }

    /// Answers the frames whose headers Xen could not copy: nobody sees them.
    fn drop_uncopied(&mut self, counters: &mut Counters) {
        let mut ready = core::mem::take(&mut self.ready);
        ready.retain(|frame| {
            let mut copies = self.copies[frame.copies.clone()].iter();
            let is_copied = copies.all(|copy| copy.status.is_okay());
            if !is_copied {
                self.faults += 1;
                counters.dropped_grant += 1;
                self.finish(frame.frame, NETIF_RSP_ERROR);
            }
            is_copied
        });
        self.ready = ready;
    }

    /// Joins or leaves a group, if that was offered. Such a request carries no frame, so nothing else in it
    /// can be wrong.
    fn regroup(&mut self, groups: &mut Groups, counters: &mut Counters) {
        if !groups.is_offered() {
            return self.refuse(Fault::Extra, counters);
        }
        let asked = &self.parsed;
        let status = match asked
            .changes
            .iter()
            .try_for_each(|change| groups.change(*change))
        {
            Ok(()) => NETIF_RSP_OKAY,
            Err(NotJoined) => NETIF_RSP_ERROR,
        };
        answer(&mut self.ring, &asked.answer, status);
    }

    fn refuse(&mut self, fault: Fault, counters: &mut Counters) {
        let counter = match fault {
            Fault::Malformed => &mut counters.dropped_malformed,
            Fault::TooManySlots => &mut counters.dropped_slots,
            Fault::Extra => &mut counters.dropped_extra,
            Fault::Runt => &mut counters.dropped_runt,
        };
        *counter += 1;
        answer(&mut self.ring, &self.parsed.answer, NETIF_RSP_ERROR);
    }

    /// Asks for the copies of a frame's header, from as many slots as it lies in.
    ///
    /// From here on a part is a slice, which others rely on to keep within its page: that is looked at here as
    /// well as where it was read, so that a mistake there costs the frontend its connection and nobody more.
    fn begin(&mut self, counters: &mut Counters) -> Result<(), Breach> {
        if !self.parsed.parts.iter().all(Part::is_in_page) {
            return Err(Breach::CrossesPage);
        }
        let Some(number) = self.free.pop() else {
            // As many frames as the ring has entries can be out, and each has an entry at least.
            self.refuse(Fault::Malformed, counters);
            return Ok(());
        };
        let (first_part, first_copy) = (self.parts.len(), self.copies.len());
        let wanted = HEAD_MAX.min(self.parsed.len as usize) as u16;
        let mut head_len = 0;
        let (page, offset) = self.head(number);
        let page = page.clone();
        for &part in &self.parsed.parts {
            let count = part.len.min(wanted - head_len);
            if count > 0 {
                self.copies.push(GrantCopy {
                    source: CopyEnd::Grant {
                        domain: self.frontend,
                        reference: part.reference,
                    },
                    source_offset: part.offset,
                    destination: CopyEnd::Page(page.clone()),
                    destination_offset: offset + head_len,
                    len: count,
                    status: GrantStatus::OKAY,
                });
                head_len += count;
            }
            if part.len > count {
                self.parts.push(Part {
                    offset: part.offset + count,
                    len: part.len - count,
                    ..part
                });
            }
        }
        if self.parts.len() - first_part >= FRAME_SLOTS_MAX {
            // With the header's it has one slice more than fits.
            self.parts.truncate(first_part);
            self.copies.truncate(first_copy);
            self.free.push(number);
            self.refuse(Fault::TooManySlots, counters);
            return Ok(());
        }
        let parsed = &mut *self.parsed;
        self.frames[usize::from(number)].answer = core::mem::take(&mut parsed.answer);
        self.ready.push(Ready {
            frame: number,
            head_len,
            len: parsed.len,
            checksum: parsed.checksum,
            gso: parsed.gso,
            parts: first_part..self.parts.len(),
            copies: first_copy..self.copies.len(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;
    use crate::xen::{Access, GrantRef, Granted};

    const HOST: DomId = DomId(1);
    const GUEST: DomId = DomId(5);

    /// Whatever reads the ring lets it pass: a part beyond its page is no slice.
    #[test]
    fn a_part_beyond_its_page_is_a_breach_even_if_it_was_read_as_a_good_one() {
        let world = World::new();
        let (host, guest) = (world.domain(HOST), world.domain(GUEST));
        let page = || Granted::allocate(&guest, HOST, Access::ReadWrite).expect("a page is free");
        let (ring, payload) = (page(), page());
        for (offset, len, fits) in [
            (0, 4096, true),
            (4095, 1, true),
            (3996, 100, true),
            // In its header, behind it, and from outside.
            (3997, 100, false),
            (3800, 1000, false),
            (4096, 1, false),
            (u16::MAX, u16::MAX, false),
        ] {
            let mapped = host
                .map_grant(GUEST, ring.reference())
                .expect("it is granted");
            let transmitter = Transmitter::new(&host, FrontId::next(), 0, GUEST, mapped, None);
            let mut transmitter = transmitter.expect("pages are free");
            let part = |offset, len, reference| Part {
                reference,
                offset,
                len,
            };
            let parsed = &mut *transmitter.parsed;
            parsed.len = 300 + u32::from(len);
            let good = part(0, 300, payload.reference());
            let odd = part(offset, len, GrantRef(payload.reference().0));
            let _ = parsed.parts.push(good);
            let _ = parsed.parts.push(odd);
            let begun = transmitter.begin(&mut Counters::default());
            let expected = match fits {
                true => Ok(()),
                false => Err(Breach::CrossesPage),
            };
            assert_eq!(begun, expected, "{offset} {len}");
        }
    }
}
