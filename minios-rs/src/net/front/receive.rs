//! The receive ring: buffers out, frames in.

#![forbid(unsafe_code)]

use super::{Breach, Counters, Wake};
use crate::abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETRXF_EXTRA_INFO, NETRXF_GSO_PREFIX,
    NETRXF_MORE_DATA, RxRequest, RxResponse, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_EXTRA_TYPE_MAX, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
};
use crate::net::frame::{FRAME_SLOTS_MAX, FrontId, Memory, Received, RxBuffer, Slice};
use crate::net::{Checksum, ETHERNET_HEADER, Gso, GsoKind};
use crate::nospec;
use crate::ring::{Corrupt, FrontRing, Notify, Pending};
use crate::xen::{Access, DomId, Granted, PAGE_SIZE, ResourceError, Xen};
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

type Ring<X> = FrontRing<<X as Xen>::Page, RxRequest, RxResponse>;

/// Entries of the ring.
pub(super) const RING_ENTRIES: usize = 256;
/// Extra infos of one frame: one of each type.
const EXTRAS_MAX: u8 = XEN_NETIF_EXTRA_TYPE_MAX - 1;
/// Responses of one frame that is right, at most. A longer one is consumed as it comes.
const FRAME_RESPONSES_MAX: u32 = FRAME_SLOTS_MAX as u32 + EXTRAS_MAX as u32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Waits to be posted.
    Free,
    /// The backend may fill it.
    Posted,
    /// Holds part of a frame that someone still has.
    Lent,
}

struct Buffer<X: Xen> {
    granted: Granted<X>,
    place: Place,
}

pub(super) struct Receiver<X: Xen> {
    id: FrontId,
    backend: DomId,
    ring: Ring<X>,
    /// Empty once released.
    ring_page: Option<Granted<X>>,
    buffers: Vec<Buffer<X>>,
    /// Indices of the free ones; its capacity is that of `buffers`.
    free: Vec<u16>,
    /// Which buffer lies in which ring slot.
    posted: [u16; RING_ENTRIES],
    /// What is left of a frame too long to be one, which is consumed as it comes.
    discarding: Option<Parser>,
    /// Responses of a frame whose end has not come yet.
    incomplete: u32,
}

impl<X: Xen> Receiver<X> {
    pub(super) fn new(
        xen: &X,
        backend: DomId,
        id: FrontId,
        buffers: u16,
    ) -> Result<Self, ResourceError> {
        const { assert!(Ring::<X>::ENTRIES as usize == RING_ENTRIES) };
        let ring_page = Granted::allocate(xen, backend, Access::ReadWrite)?;
        let mut all = Vec::with_capacity(usize::from(buffers));
        for _ in 0..buffers {
            let granted = Granted::allocate(xen, backend, Access::ReadWrite)?;
            all.push(Buffer {
                granted,
                place: Place::Free,
            });
        }
        Ok(Self {
            id,
            backend,
            ring: FrontRing::new(ring_page.page().clone()),
            ring_page: Some(ring_page),
            buffers: all,
            free: (0..buffers).rev().collect(),
            posted: [0; RING_ENTRIES],
            discarding: None,
            incomplete: 0,
        })
    }

    pub(super) fn reference(&self) -> u32 {
        self.ring_page.as_ref().map_or(0, |page| page.reference().0)
    }

    /// Posts what is free and shows it.
    pub(super) fn publish(&mut self) -> Notify {
        while self.ring.free() > 0
            && let Some(index) = self.free.pop()
        {
            let slot = self.ring.next_slot();
            let buffer = &mut self.buffers[usize::from(index)];
            let request = RxRequest {
                id: slot,
                pad: 0,
                gref: buffer.granted.reference().0,
            };
            // There is room: it was asked for above.
            let _ = self.ring.push(&request);
            buffer.place = Place::Posted;
            self.posted[usize::from(slot)] = index;
        }
        self.ring.publish()
    }

    pub(super) fn arm(&self, wake: Wake) -> Result<Pending, Corrupt> {
        let more = match wake {
            Wake::FirstSlot => 0,
            // An event for more slots than the backend has buffers would never come.
            Wake::Slots(slots) => {
                u32::from(slots.saturating_sub(1)).min(self.ring.outstanding() / 2)
            }
        };
        self.ring.arm(self.incomplete + more)
    }

    pub(super) fn recycle(&mut self, index: u16) {
        // A token exists only for a lent buffer; after a release there are none left.
        if let Some(buffer) = self.buffers.get_mut(usize::from(index))
            && buffer.place == Place::Lent
        {
            buffer.place = Place::Free;
            self.free.push(index);
        }
    }

    /// Puts the next frame that is right into `frame`, and says whether there was one. Wrong ones are
    /// counted and dropped; no more are than the ring has entries.
    pub(super) fn receive(
        &mut self,
        counters: &mut Counters,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Breach> {
        self.incomplete = 0;
        for _ in 0..RING_ENTRIES {
            let available = self
                .ring
                .available()
                .map_err(|Corrupt| Breach::ReceiveIndex)?;
            if available == 0 {
                return Ok(false);
            }
            let discarding = self.discarding.take();
            let resumed = discarding.is_some();
            let mut parser = discarding.unwrap_or_default();
            let mut count = 0;
            let mut whole = false;
            while count < available && !whole {
                whole = parser.step(self.ring.peek(count), self.ring.slot(count));
                count += 1;
            }
            if !whole && !resumed && count < FRAME_RESPONSES_MAX {
                self.incomplete = count;
                return Ok(false);
            }
            if whole && let Ok(parsed) = parser.verdict() {
                self.take(count, parsed, counters, frame);
                return Ok(true);
            }
            self.drop_responses(count);
            if whole {
                parser.count(counters);
            } else {
                parser.fault.get_or_insert(Fault::TooManySlots);
                self.discarding = Some(parser);
            }
        }
        Ok(false)
    }

    /// Consumes the responses of a frame and lends its buffers out.
    fn take(
        &mut self,
        count: u32,
        parsed: &Parser,
        counters: &mut Counters,
        frame: &mut Received<X::Page>,
    ) {
        frame.slots.clear();
        frame.len = parsed.len;
        frame.checksum = parsed.checksum();
        frame.gso = parsed.gso;
        let mut parts = parsed.slots.iter().peekable();
        for ahead in 0..count {
            let slot = self.ring.slot(ahead);
            let index = self.posted[usize::from(slot)];
            match parts.next_if(|part| part.ring_slot == slot) {
                Some(part) => {
                    let buffer = &mut self.buffers[usize::from(index)];
                    buffer.place = Place::Lent;
                    let page = buffer.granted.page().clone();
                    let buffer = RxBuffer {
                        owner: self.id,
                        backend: self.backend,
                        index,
                        memory: Memory::Page(page),
                        is_faulty: false,
                    };
                    // As many as the parser kept, and it keeps no more than fit.
                    let _ = frame.slots.push(Slice {
                        buffer,
                        offset: part.offset,
                        len: part.len,
                    });
                }
                // Under an extra info lies a buffer that was not filled.
                None => self.free_buffer(index),
            }
        }
        self.ring.consume(count);
        counters.received_frames += 1;
        counters.received_bytes += u64::from(parsed.len);
    }

    fn drop_responses(&mut self, count: u32) {
        for ahead in 0..count {
            let index = self.posted[usize::from(self.ring.slot(ahead))];
            self.free_buffer(index);
        }
        self.ring.consume(count);
    }

    fn free_buffer(&mut self, index: u16) {
        self.buffers[usize::from(index)].place = Place::Free;
        self.free.push(index);
    }

    /// Ends every grant that can be ended, and says how many could not.
    pub(super) fn release(&mut self) -> usize {
        self.free.clear();
        let mut kept = Vec::new();
        for buffer in self.buffers.drain(..) {
            if let Err(granted) = buffer.granted.end() {
                kept.push(Buffer {
                    granted,
                    place: Place::Free,
                });
            }
        }
        self.buffers = kept;
        self.ring_page = self.ring_page.take().and_then(|page| page.end().err());
        self.buffers.len() + usize::from(self.ring_page.is_some())
    }
}

/// Why a frame was dropped.
#[derive(Clone, Copy)]
enum Fault {
    PeerError,
    Malformed,
    TooManySlots,
    Extra,
    WildId,
    Runt,
}

#[derive(Clone, Copy)]
struct Part {
    ring_slot: u16,
    offset: u16,
    len: u16,
}

/// Puts the responses of one frame together. After a fault it goes on to the frame's end, so that
/// the next frame starts where it should.
#[derive(Default)]
struct Parser {
    slots: heapless::Vec<Part, FRAME_SLOTS_MAX>,
    len: u32,
    /// The first response's flags, once there was one.
    first: Option<u16>,
    /// The next response is an extra info.
    extra: bool,
    extras: u8,
    /// Data follows, after the extra infos if any.
    more: bool,
    gso: Option<Gso>,
    fault: Option<Fault>,
}

impl Parser {
    /// Takes a copy of the response in `ring_slot`, and says whether the frame ends with it.
    fn step(&mut self, response: RxResponse, ring_slot: u16) -> bool {
        if self.extra {
            self.step_extra(response);
        } else {
            self.step_data(response, ring_slot);
        }
        !self.extra && !self.more
    }

    fn step_data(&mut self, response: RxResponse, ring_slot: u16) {
        self.more = response.flags & NETRXF_MORE_DATA != 0;
        let extra = response.flags & NETRXF_EXTRA_INFO != 0;
        if self.first.is_none() {
            self.first = Some(response.flags);
            self.extra = extra;
        } else if extra {
            self.fail(Fault::Malformed);
        }
        if response.id != ring_slot {
            self.fail(Fault::WildId);
        }
        if response.flags & NETRXF_GSO_PREFIX != 0 {
            self.fail(Fault::Malformed);
        }
        let Ok(len) = u16::try_from(response.status) else {
            self.fail(Fault::PeerError);
            return;
        };
        if len == 0 || usize::from(response.offset) + usize::from(len) > PAGE_SIZE {
            self.fail(Fault::Malformed);
            return;
        }
        let offset = nospec::below(usize::from(response.offset), PAGE_SIZE);
        let len = nospec::below(usize::from(len), PAGE_SIZE - offset + 1);
        self.len = self.len.saturating_add(len as u32);
        if self
            .slots
            .push(Part {
                ring_slot,
                offset: offset as u16,
                len: len as u16,
            })
            .is_err()
        {
            self.fail(Fault::TooManySlots);
        }
    }

    fn step_extra(&mut self, response: RxResponse) {
        let Ok(info) = ExtraInfo::read_from_bytes(response.as_bytes()) else {
            return;
        };
        self.extra = info.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0;
        self.extras = self.extras.saturating_add(1);
        if self.extras > EXTRAS_MAX || info.kind == 0 || info.kind >= XEN_NETIF_EXTRA_TYPE_MAX {
            self.fail(Fault::Extra);
        }
        if info.kind != XEN_NETIF_EXTRA_TYPE_GSO {
            return;
        }
        let kind = match info.gso_type {
            XEN_NETIF_GSO_TYPE_TCPV4 => GsoKind::TcpV4,
            XEN_NETIF_GSO_TYPE_TCPV6 => GsoKind::TcpV6,
            _ => return self.fail(Fault::Extra),
        };
        if info.gso_size == 0 || self.gso.is_some() {
            self.fail(Fault::Extra);
        }
        self.gso = Some(Gso {
            kind,
            size: info.gso_size,
        });
    }

    /// The first fault is the one that counts.
    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn checksum(&self) -> Checksum {
        let flags = self.first.unwrap_or(0);
        if flags & NETRXF_CSUM_BLANK != 0 {
            Checksum::Blank
        } else if flags & NETRXF_DATA_VALIDATED != 0 {
            Checksum::Validated
        } else {
            Checksum::Unknown
        }
    }

    fn verdict(&mut self) -> Result<&Self, Fault> {
        if (self.len as usize) < ETHERNET_HEADER {
            self.fail(Fault::Runt);
        }
        // Whoever cuts the frame up has to fill the checksums in: a whole one makes no sense.
        if self.gso.is_some() && self.checksum() != Checksum::Blank {
            self.fail(Fault::Malformed);
        }
        self.fault.map_or(Ok(self), Err)
    }

    fn count(&self, counters: &mut Counters) {
        let counter = match self.fault {
            Some(Fault::PeerError) => &mut counters.dropped_error,
            Some(Fault::TooManySlots) => &mut counters.dropped_slots,
            Some(Fault::Extra) => &mut counters.dropped_extra,
            Some(Fault::WildId) => &mut counters.dropped_id,
            Some(Fault::Runt) => &mut counters.dropped_runt,
            Some(Fault::Malformed) | None => &mut counters.dropped_malformed,
        };
        *counter += 1;
    }
}
