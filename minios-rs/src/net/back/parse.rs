//! What a frontend writes to its transmit ring: the requests of one frame, each copied once, and checked.

#![forbid(unsafe_code)]

use super::Breach;
use super::multicast::Change;
use crate::abi::io::netif::{
    NETIF_RSP_NULL, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA,
    TxExtraInfo, TxRequest, TxResponse, XEN_NETIF_EXTRA_FLAG_MORE, XEN_NETIF_EXTRA_TYPE_GSO,
    XEN_NETIF_EXTRA_TYPE_HASH, XEN_NETIF_EXTRA_TYPE_MAX, XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
    XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
};
use crate::net::frame::FRAME_SLOTS_MAX;
use crate::net::{Checksum, ETHERNET_HEADER, Gso, GsoKind, MacAddress};
use crate::ring::{BackRing, RingMemory};
use crate::xen::{GrantRef, PAGE_SIZE};
use zerocopy::{FromBytes, IntoBytes};

pub(super) type Ring<M> = BackRing<M, TxRequest, TxResponse>;

/// Data slots of a frame that is only dropped. More than that no frontend sends that means well.
const SLOTS_SUFFERED: usize = 21;

/// What a frame's answer consists of.
#[derive(Default)]
pub(super) struct Answer {
    /// Its requests' ids, extra infos left out.
    pub(super) ids: heapless::Vec<u16, SLOTS_SUFFERED>,
    /// Requests behind the first that were extra infos.
    pub(super) extras: u8,
}

/// Bytes in a page of the frontend's.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) reference: GrantRef,
    pub(super) offset: u16,
    pub(super) len: u16,
}

impl Part {
    /// Whether it does not reach beyond its page.
    pub(super) fn is_in_page(&self) -> bool {
        usize::from(self.offset) + usize::from(self.len) <= PAGE_SIZE
    }
}

/// Answers a frame's requests.
pub(super) fn answer<M: RingMemory>(ring: &mut Ring<M>, answer: &Answer, status: i16) {
    for (number, &id) in answer.ids.iter().enumerate() {
        ring.push(&TxResponse { id, status });
        if number == 0 {
            for _ in 0..answer.extras {
                let status = NETIF_RSP_NULL;
                ring.push(&TxResponse { id: 0, status });
            }
        }
    }
}

/// What one request asks for: to join a group, to leave one.
pub(super) type Changes = heapless::Vec<Change, 2>;

/// Why a frame was dropped.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Malformed,
    TooManySlots,
    Extra,
    Runt,
}

/// The requests of one frame, each copied once. Large: to be read into again and again, not to be moved.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) answer: Answer,
    /// Entries of the ring.
    pub(super) entries: u32,
    pub(super) len: u32,
    pub(super) parts: heapless::Vec<Part, FRAME_SLOTS_MAX>,
    pub(super) checksum: Checksum,
    pub(super) gso: Option<Gso>,
    /// If any, it is no frame, but asks for these.
    pub(super) changes: Changes,
    pub(super) fault: Option<Fault>,
}

impl Parsed {
    /// Reads the next frame of `ring`, which has `available` entries, at least one, in place of the one before.
    ///
    /// Of what asks for a multicast group only the chain is checked: it is not read.
    pub(super) fn read<M: RingMemory>(
        &mut self,
        ring: &Ring<M>,
        available: u32,
    ) -> Result<(), Breach> {
        self.entries = 1;
        self.answer.ids.clear();
        self.parts.clear();
        self.fault = None;
        let first: TxRequest = ring.peek(0);
        self.len = u32::from(first.size);
        self.checksum = if first.flags & NETTXF_CSUM_BLANK != 0 {
            Checksum::Blank
        } else if first.flags & NETTXF_DATA_VALIDATED != 0 {
            Checksum::Validated
        } else {
            Checksum::Unknown
        };
        let mut next = || {
            if self.entries == available {
                return Err(Breach::Truncated);
            }
            let request = ring.peek(self.entries);
            self.entries += 1;
            Ok(request)
        };
        let mut extras = Extras::default();
        let mut is_extra = first.flags & NETTXF_EXTRA_INFO != 0;
        while is_extra {
            is_extra = extras.take(next()?)?;
        }
        // The first request's size is the frame's: its own is what the others leave of it.
        let mut slots: heapless::Vec<TxRequest, SLOTS_SUFFERED> = heapless::Vec::new();
        let _ = slots.push(first);
        let mut rest = 0_u32;
        let mut more = first.flags & NETTXF_MORE_DATA != 0;
        while more {
            let request = next()?;
            rest += u32::from(request.size);
            more = request.flags & NETTXF_MORE_DATA != 0;
            if request.flags & NETTXF_EXTRA_INFO != 0 {
                self.fault = Some(Fault::Malformed);
            }
            slots.push(request).map_err(|_| Breach::TooManySlots)?;
        }
        self.answer.extras = extras.count;
        self.gso = extras.gso;
        self.changes = extras.changes;
        let own = self.len.checked_sub(rest);
        for (number, request) in slots.iter().enumerate() {
            let _ = self.answer.ids.push(request.id);
            let len = match number {
                0 => own.unwrap_or(0) as u16,
                _ => request.size,
            };
            self.add(request, len)?;
        }
        // The first fault is the one that counts.
        if (self.len as usize) < ETHERNET_HEADER {
            self.fault.get_or_insert(Fault::Runt);
        }
        if own.is_none_or(|own| own == 0) {
            self.fault.get_or_insert(Fault::Malformed);
        }
        // Whoever cuts the frame up has to fill the checksums in: a whole one makes no sense.
        if self.gso.is_some() && self.checksum != Checksum::Blank {
            self.fault.get_or_insert(Fault::Malformed);
        }
        Ok(())
    }

    fn add(&mut self, request: &TxRequest, len: u16) -> Result<(), Breach> {
        let part = Part {
            reference: GrantRef(request.gref),
            offset: request.offset,
            len,
        };
        if !part.is_in_page() {
            return Err(Breach::CrossesPage);
        }
        if len == 0 {
            self.fault.get_or_insert(Fault::Malformed);
            return Ok(());
        }
        if self.parts.push(part).is_err() {
            self.fault.get_or_insert(Fault::TooManySlots);
        }
        Ok(())
    }
}

/// The extra infos of one frame.
#[derive(Default)]
struct Extras {
    count: u8,
    /// A bit for each kind that came.
    kinds: u8,
    gso: Option<Gso>,
    changes: Changes,
}

impl Extras {
    /// Takes a copy of the next one, and says whether another follows.
    fn take(&mut self, entry: TxRequest) -> Result<bool, Breach> {
        let Ok(extra) = TxExtraInfo::read_from_bytes(entry.as_bytes()) else {
            return Err(Breach::ExtraInfo);
        };
        let info = extra.info;
        if info.kind == 0 || info.kind >= XEN_NETIF_EXTRA_TYPE_MAX {
            return Err(Breach::ExtraInfo);
        }
        // Of each kind one, so that they have an end.
        let bit = 1 << info.kind;
        if self.kinds & bit != 0 {
            return Err(Breach::ExtraInfo);
        }
        self.kinds |= bit;
        self.count += 1;
        match info.kind {
            XEN_NETIF_EXTRA_TYPE_GSO => {
                let kind = match info.gso_type {
                    XEN_NETIF_GSO_TYPE_TCPV4 => GsoKind::TcpV4,
                    XEN_NETIF_GSO_TYPE_TCPV6 => GsoKind::TcpV6,
                    _ => return Err(Breach::Gso),
                };
                if info.gso_size == 0 {
                    return Err(Breach::Gso);
                }
                self.gso = Some(Gso {
                    kind,
                    size: info.gso_size,
                });
            }
            // A hash is advice, and nobody here takes it.
            XEN_NETIF_EXTRA_TYPE_HASH => {}
            kind => {
                // The address lies where a GSO would be described.
                let mut group = MacAddress([0; 6]);
                group.0.copy_from_slice(&info.as_bytes()[2..]);
                let change = match kind {
                    XEN_NETIF_EXTRA_TYPE_MCAST_ADD => Change::Join(group),
                    _ => Change::Leave(group),
                };
                // One of each kind, at most.
                let _ = self.changes.push(change);
            }
        }
        Ok(info.flags & XEN_NETIF_EXTRA_FLAG_MORE != 0)
    }
}

/// Reads every frame of a ring whose words change between one look and the next, and checks what came of it.
#[cfg(test)]
pub(super) fn parse_restless(memory: impl RingMemory) {
    let mut ring = Ring::new(memory);
    let mut left = 256;
    let mut parsed = Parsed::default();
    while left > 0 {
        if parsed.read(&ring, left).is_err() {
            return;
        }
        assert!(parsed.entries >= 1 && parsed.entries <= left);
        assert_eq!(
            parsed.answer.ids.len() + usize::from(parsed.answer.extras),
            parsed.entries as usize,
            "every entry has its answer"
        );
        if parsed.fault.is_none() {
            let lengths = parsed.parts.iter().map(|part| u32::from(part.len));
            assert_eq!(lengths.sum::<u32>(), parsed.len, "the parts are the whole");
        }
        for part in &parsed.parts {
            assert!(usize::from(part.offset) + usize::from(part.len) <= PAGE_SIZE);
        }
        ring.consume(parsed.entries);
        answer(
            &mut ring,
            &parsed.answer,
            crate::abi::io::netif::NETIF_RSP_ERROR,
        );
        left -= parsed.entries;
    }
}
