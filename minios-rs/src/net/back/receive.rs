//! The receive ring: what the frontend gets.

#![forbid(unsafe_code)]

use super::{Breach, Counters, GRANT_FAULTS_MAX};
use crate::abi::io::netif::{
    ExtraInfo, NETIF_RSP_ERROR, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO,
    NETRXF_MORE_DATA, RxRequest, RxResponse, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4,
    XEN_NETIF_GSO_TYPE_TCPV6, XEN_NETIF_MAX_TX_SIZE,
};
use crate::net::frame::{FRAME_SLOTS_MAX, Memory, RxBuffer, Slice};
use crate::net::front::TransmitError;
use crate::net::{Checksum, GsoKind, Offload};
use crate::ring::{BackRing, Corrupt, Notify, Pending};
use crate::time::Instant;
use crate::xen::{
    CopyEnd, DomId, GrantCopy, GrantRef, GrantStatus, PAGE_SIZE, ResourceError, SharedPage, Xen,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

type Ring<X> = BackRing<<X as Xen>::Foreign, RxRequest, RxResponse>;

/// Entries of the ring.
const RING_ENTRIES: usize = 256;
/// Pages in which headers wait to be copied: 64 of 256 bytes.
const STAGING_PAGES: usize = 4;
/// Copies of one batch. One frame has at most a header, its slices, and a cut for each buffer's end.
const COPIES_MAX: usize = 128;
/// Others' buffers that wait to be copied, or to be given back: two for each entry of the ring.
const HELD_MAX: usize = 2 * RING_ENTRIES;
/// Copies that failed whose sender is asked after, in one batch.
const PROBES_MAX: usize = 8;

/// One slot that the frontend gets, once its copies are done.
struct Slot {
    id: u16,
    /// The buffer.
    reference: GrantRef,
    flags: u16,
    len: u16,
    /// The first of its copies, and how many they are.
    copies: (usize, usize),
    /// In a frame's first slot, its bytes and how to cut it.
    first: Option<(usize, Option<ExtraInfo>)>,
}

/// Too few buffers.
struct Starved {
    /// As many there were.
    posted: u32,
    since: Instant,
}

/// A copy's source, for when it fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Ours,
    /// One of the buffers held, by number.
    Held(usize),
}

pub(super) struct Receiver<X: Xen> {
    xen: X,
    frontend: DomId,
    ring: Ring<X>,
    staging: Vec<X::Page>,
    /// Bytes of the staging pages in use.
    staged: usize,
    copies: Vec<GrantCopy<X::Page>>,
    origins: Vec<Origin>,
    slots: Vec<Slot>,
    /// Others' buffers that the copies read.
    held: Vec<RxBuffer<X::Page>>,
    /// Others' buffers that were read.
    completed: VecDeque<RxBuffer<X::Page>>,
    /// The last frame found too few buffers.
    starved: Option<Starved>,
    faults: u32,
}

impl<X: Xen> Receiver<X> {
    pub(super) fn new(xen: &X, frontend: DomId, ring: X::Foreign) -> Result<Self, ResourceError> {
        const { assert!(Ring::<X>::ENTRIES as usize == RING_ENTRIES) };
        const { assert!(2 * FRAME_SLOTS_MAX < COPIES_MAX) };
        let mut staging = Vec::with_capacity(STAGING_PAGES);
        for _ in 0..STAGING_PAGES {
            staging.push(xen.allocate_page()?);
        }
        Ok(Self {
            xen: xen.clone(),
            frontend,
            ring: BackRing::new(ring),
            staging,
            staged: 0,
            copies: Vec::with_capacity(COPIES_MAX),
            origins: Vec::with_capacity(COPIES_MAX),
            slots: Vec::with_capacity(RING_ENTRIES),
            held: Vec::with_capacity(HELD_MAX),
            completed: VecDeque::with_capacity(HELD_MAX),
            starved: None,
            faults: 0,
        })
    }

    pub(super) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    pub(super) fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.completed.pop_front()
    }

    /// Gives back what was not copied, and will not be.
    pub(super) fn abandon(&mut self) -> Option<RxBuffer<X::Page>> {
        self.completed.pop_front().or_else(|| self.held.pop())
    }

    /// Asks for an event if a frame found too few buffers; [`Pending::Work`] if there are more now.
    pub(super) fn arm(&mut self) -> Result<Pending, Breach> {
        if !self.completed.is_empty() {
            return Ok(Pending::Work);
        }
        let Some(starved) = &self.starved else {
            return Ok(Pending::Nothing);
        };
        let pending = self.ring.arm_after(starved.posted);
        let pending = pending.map_err(|Corrupt| Breach::ReceiveIndex)?;
        if pending == Pending::Work {
            self.starved = None;
        }
        Ok(pending)
    }

    /// Since when frames have found too few buffers, and none was posted.
    pub(super) fn starved_since(&self) -> Option<Instant> {
        self.starved.as_ref().map(|starved| starved.since)
    }

    /// Notes that a frame found only `posted` buffers.
    fn starve(&mut self, posted: u32) {
        match &self.starved {
            Some(starved) if starved.posted == posted => {}
            _ => {
                let since = self.xen.now();
                self.starved = Some(Starved { posted, since });
            }
        }
    }

    /// Takes a frame of `size` bytes for the next batch.
    pub(super) fn send(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        size: usize,
        offload: Offload,
        counters: &mut Counters,
    ) -> Result<Result<(), TransmitError>, Breach> {
        // Parts are pages as a rule, and one that is cut takes two copies: each has a buffer of its own where one
        // buffer more saves two copies.
        let packed = size.div_ceil(PAGE_SIZE);
        let is_by_parts = tail.len() <= packed && cuts(head.len(), tail) >= 2;
        let buffers = match is_by_parts {
            true => 1 + tail.len(),
            false => packed,
        };
        // A header that does not fit into a page's rest goes to the next page, which holds any: only the
        // last one's rest can be too short.
        if self.copies.len() + 1 + tail.len() + buffers > COPIES_MAX
            || self.staged + head.len() > STAGING_PAGES * PAGE_SIZE
        {
            self.run(counters)?;
        }
        let entries = buffers + usize::from(offload.gso.is_some());
        if !self.has_room(entries, tail.len(), counters)? {
            return Ok(Err(TransmitError::Full));
        }
        let len_of = |number: usize| {
            if !is_by_parts {
                return (size - number * PAGE_SIZE).min(PAGE_SIZE) as u16;
            }
            let slice = tail.get(number.wrapping_sub(1));
            slice.map_or(head.len() as u16, |slice| slice.len)
        };
        let mut frame = self.open(buffers, len_of, size, offload);
        let (page, offset) = self.stage(head);
        let source = CopyEnd::Page(page);
        self.add(&mut frame, source, offset, head.len() as u16, Origin::Ours);
        // Taken from the end, which is cheap.
        tail.reverse();
        while let Some(slice) = tail.pop() {
            let source = slice.buffer.copy_source();
            if matches!(slice.buffer.memory, Memory::Foreign(_)) {
                counters.granted_bytes += u64::from(slice.len);
            }
            let origin = Origin::Held(self.held.len());
            self.add(&mut frame, source, slice.offset, slice.len, origin);
            self.held.push(slice.buffer);
        }
        Ok(Ok(()))
    }

    /// Whether as many buffers are posted, and as many of others' can be held.
    pub(super) fn has_room(
        &mut self,
        entries: usize,
        others: usize,
        counters: &mut Counters,
    ) -> Result<bool, Breach> {
        if self.completed.len() + self.held.len() + others > HELD_MAX {
            return Ok(false);
        }
        let available = self.ring.available();
        let available = available.map_err(|Corrupt| Breach::ReceiveIndex)?;
        if (available as usize) < entries {
            counters.refused_full += 1;
            self.starve(available);
            return Ok(false);
        }
        self.starved = None;
        Ok(true)
    }

    /// Takes another's buffer that was read already.
    pub(super) fn complete(&mut self, buffer: RxBuffer<X::Page>) {
        self.completed.push_back(buffer);
    }

    /// Copies a header to where Xen copies it from. One that would cross a page's end goes to the next page.
    fn stage(&mut self, head: &[u8]) -> (X::Page, u16) {
        let left_in_page = PAGE_SIZE - self.staged % PAGE_SIZE;
        if head.len() > left_in_page {
            self.staged += left_in_page;
        }
        let (page, offset) = (self.staged / PAGE_SIZE, self.staged % PAGE_SIZE);
        self.staged += head.len();
        self.staging[page].write(offset, head);
        (self.staging[page].clone(), offset as u16)
    }

    /// Takes the requests of a frame, which are there: so many bytes go to each.
    fn open(
        &mut self,
        buffers: usize,
        len_of: impl Fn(usize) -> u16,
        size: usize,
        offload: Offload,
    ) -> Filling {
        let checksum = match offload.checksum {
            Checksum::Blank => NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED,
            Checksum::Validated => NETRXF_DATA_VALIDATED,
            Checksum::Unknown => 0,
        };
        let extra = offload.gso.map(|gso| ExtraInfo {
            kind: XEN_NETIF_EXTRA_TYPE_GSO,
            gso_size: gso.size,
            gso_type: match gso.kind {
                GsoKind::TcpV4 => XEN_NETIF_GSO_TYPE_TCPV4,
                GsoKind::TcpV6 => XEN_NETIF_GSO_TYPE_TCPV6,
            },
            ..ExtraInfo::default()
        });
        let filling = Filling {
            slot: self.slots.len(),
            filled: 0,
        };
        for number in 0..buffers {
            let is_first = number == 0;
            let request = self.ring.peek(0);
            self.ring.consume(1);
            let mut flags = 0;
            if number + 1 < buffers {
                flags |= NETRXF_MORE_DATA;
            }
            if is_first {
                flags |= checksum;
                if extra.is_some() {
                    flags |= NETRXF_EXTRA_INFO;
                    // The extra info lies in the place of a buffer, which stays empty.
                    self.ring.consume(1);
                }
            }
            self.slots.push(Slot {
                id: request.id,
                reference: GrantRef(request.gref),
                flags,
                len: len_of(number),
                copies: (self.copies.len(), 0),
                first: is_first.then_some((size, extra)),
            });
        }
        filling
    }

    /// Asks for the copies of `len` bytes to where the frame has come.
    fn add(
        &mut self,
        frame: &mut Filling,
        source: CopyEnd<X::Page>,
        offset: u16,
        len: u16,
        origin: Origin,
    ) {
        let mut done = 0;
        while done < len {
            if frame.filled == self.slots[frame.slot].len {
                frame.slot += 1;
                frame.filled = 0;
            }
            let slot = &mut self.slots[frame.slot];
            let count = (len - done).min(slot.len - frame.filled);
            if slot.copies.1 == 0 {
                slot.copies.0 = self.copies.len();
            }
            slot.copies.1 += 1;
            self.copies.push(GrantCopy {
                source: source.clone(),
                source_offset: offset + done,
                destination: CopyEnd::Grant {
                    domain: self.frontend,
                    reference: slot.reference,
                },
                destination_offset: frame.filled,
                len: count,
                status: GrantStatus::OKAY,
            });
            self.origins.push(origin);
            frame.filled += count;
            done += count;
        }
    }

    /// Has Xen do the batch's copies and answers the buffers they went to, in the order of their requests.
    pub(super) fn run(&mut self, counters: &mut Counters) -> Result<(), Breach> {
        if self.slots.is_empty() {
            return Ok(());
        }
        self.xen.copy_grants_patiently(&mut self.copies);
        counters.copies += self.copies.len() as u64;
        self.blame();
        let mut frame = None;
        for slot in self.slots.drain(..) {
            if let Some((size, _)) = slot.first {
                count(frame.replace(Verdict::of(size)), counters);
            }
            let (first, number) = slot.copies;
            let copies = first..first + number;
            let failed = copies.clone().find(|&at| !self.copies[at].status.is_okay());
            if let (Some(at), Some(frame)) = (failed, &mut frame) {
                let by_sender = match self.origins[at] {
                    Origin::Held(held) => self.held[held].is_faulty,
                    Origin::Ours => false,
                };
                frame.fail(by_sender);
            }
            let status = match failed {
                Some(_) => NETIF_RSP_ERROR,
                None => slot.len as i16,
            };
            self.ring.push(&RxResponse {
                id: slot.id,
                offset: 0,
                flags: slot.flags,
                status,
            });
            if let Some((_, Some(extra))) = slot.first {
                self.ring.push_as(&extra);
            }
        }
        count(frame, counters);
        self.copies.clear();
        self.origins.clear();
        self.staged = 0;
        self.completed.extend(self.held.drain(..));
        if self.faults > GRANT_FAULTS_MAX {
            return Err(Breach::Grants);
        }
        Ok(())
    }

    /// Finds out whose grant a failed copy failed at: Xen does not say which of two. Each is tried alone, with
    /// one byte. Who has taken a grant back and given it again meanwhile is not found out, and then nobody is
    /// blamed: a sender could otherwise have its receiver lose the connection.
    fn blame(&mut self) {
        let mut probes = 0;
        for at in 0..self.copies.len() {
            if self.copies[at].status.is_okay() {
                continue;
            }
            let foreign = match self.origins[at] {
                Origin::Held(held) => {
                    matches!(self.held[held].memory, Memory::Foreign(_)).then_some(held)
                }
                Origin::Ours => None,
            };
            let Some(held) = foreign else {
                self.faults += 1;
                continue;
            };
            // Who is not found out in this batch will be in another.
            if probes == PROBES_MAX {
                continue;
            }
            probes += 1;
            let copy = GrantCopy {
                len: 1,
                ..self.copies[at].clone()
            };
            let page = CopyEnd::Page(self.staging[0].clone());
            let mut probe = [
                GrantCopy {
                    destination: page.clone(),
                    destination_offset: 0,
                    ..copy.clone()
                },
                GrantCopy {
                    source: page,
                    source_offset: 0,
                    ..copy
                },
            ];
            self.xen.copy_grants_patiently(&mut probe);
            let [sender, receiver] = probe.map(|copy| !copy.status.is_okay());
            self.held[held].is_faulty |= sender;
            self.faults += u32::from(receiver);
        }
    }
}

/// Where the next bytes of a frame go whose copies are being asked for.
struct Filling {
    slot: usize,
    /// Bytes of the slot that are spoken for.
    filled: u16,
}

/// How many buffers a frame of `size` bytes takes at the most.
pub(super) fn buffers_max(size: usize) -> usize {
    // Two cuts lie behind two pages. No frame is so long that there are more than a frame may have.
    const { assert!(XEN_NETIF_MAX_TX_SIZE.div_ceil(PAGE_SIZE) < FRAME_SLOTS_MAX) };
    size.div_ceil(PAGE_SIZE) + usize::from(size > 2 * PAGE_SIZE)
}

/// Parts of a frame that are cut because a buffer ends, if all are filled.
fn cuts<P>(head: usize, tail: &[Slice<P>]) -> usize {
    let (mut at, mut cuts) = (head, 0);
    for slice in tail {
        let len = usize::from(slice.len);
        cuts += usize::from(at % PAGE_SIZE + len > PAGE_SIZE);
        at += len;
    }
    cuts
}

/// What became of a frame.
struct Verdict {
    size: usize,
    is_lost: bool,
    by_sender: bool,
}

impl Verdict {
    fn of(size: usize) -> Self {
        Self {
            size,
            is_lost: false,
            by_sender: false,
        }
    }

    fn fail(&mut self, by_sender: bool) {
        self.is_lost = true;
        self.by_sender |= by_sender;
    }
}

fn count(frame: Option<Verdict>, counters: &mut Counters) {
    match frame {
        None => {}
        Some(frame) if frame.by_sender => counters.lost_sender += 1,
        Some(frame) if frame.is_lost => counters.lost_grant += 1,
        Some(frame) => {
            counters.transmitted_frames += 1;
            counters.transmitted_bytes += frame.size as u64;
        }
    }
}
