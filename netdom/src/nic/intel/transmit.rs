//! The ring of what is sent. A descriptor is the address in two words, then command and length, then
//! status and options; or a context, which says where checksums are in the frames behind it.

use super::registers::{FILL_NETWORK, FILL_TRANSPORT, SENT, command, register};
use super::{announce, store};
use crate::nic::RING;
use crate::nic::offload::{self, Transport};
use crate::nic::outgoing::{Carried, Outgoing};
use core::sync::atomic::Ordering;
use minios_rs::hardware::{Hardware, Registers};
use minios_rs::net::front::{HEAD_MAX, TransmitError};
use minios_rs::net::{Checksum, FRAME_SLOTS_MAX, Gso, GsoKind, Offload, Slice};
use minios_rs::xen::{OutOfMemory, PAGE_SIZE, SharedPage};

/// Bytes of headers that a context can speak of.
const HEADERS_MAX: usize = 255;

pub(super) struct TransmitRing<X: Hardware> {
    xen: X,
    ring: X::Page,
    address: u64,
    pub(super) outgoing: Outgoing<X>,
    /// The oldest descriptor in use.
    first: usize,
    /// Where the card has been told of.
    shown: usize,
}

impl<X: Hardware> TransmitRing<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        let ring = xen.allocate_page()?;
        Ok(Self {
            xen: xen.clone(),
            address: xen.machine_address(&ring),
            ring,
            outgoing: Outgoing::new(xen)?,
            first: 0,
            shown: 0,
        })
    }

    pub(super) fn program(&self, registers: &X::Registers) {
        self.ring.zero(0, PAGE_SIZE);
        announce(registers, register::TRANSMIT_RING, self.address);
    }

    /// What was to be sent is not: how many frames.
    pub(super) fn abandon(&mut self) -> u64 {
        self.first = 0;
        self.shown = 0;
        self.outgoing.abandon() as u64
    }

    /// The next free descriptor.
    fn end(&self) -> usize {
        (self.first + self.outgoing.used()) % RING
    }

    /// Shows the card what is to be sent.
    pub(super) fn show(&mut self, registers: &X::Registers) {
        let end = self.end();
        if end != self.shown {
            self.shown = end;
            registers.write32(register::TRANSMIT_RING + register::TAIL, end as u32);
        }
    }

    /// Takes back what was sent: whether there was any.
    pub(super) fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some(count) = self.outgoing.oldest() {
            let last = (self.first + count - 1) % RING;
            let word = self.ring.word(16 * last + 12);
            if word.load(Ordering::Acquire) & SENT == 0 {
                break;
            }
            self.outgoing.finish_oldest();
            self.first = (self.first + count) % RING;
            any = true;
        }
        any
    }

    /// Whether a frame of any number of pieces fits, with its context.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.fits(FRAME_SLOTS_MAX + 1)
    }

    fn write_descriptor(&mut self, words: [u32; 4], carried: Carried<X::Page>) {
        store(&self.ring, self.end(), words);
        self.outgoing.carry(carried);
    }

    pub(super) fn send(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        let transport = match offload.checksum {
            Checksum::Blank => Some(offload::transport(head).ok_or(TransmitError::NotOffered)?),
            _ => None,
        };
        let count = usize::from(transport.is_some()) + 1 + tail.len();
        if !self.outgoing.fits(count) {
            return Err(TransmitError::Full);
        }
        let mut own = [0; HEAD_MAX];
        let own = &mut own[..head.len()];
        own.copy_from_slice(head);
        let tail_len: usize = tail.iter().map(|slice| usize::from(slice.len)).sum();
        let cut = match (offload.gso, transport) {
            (Some(gso), Some(found)) => {
                let headers = usize::from(found.payload);
                let is_tcp = (1..=head.len().min(HEADERS_MAX)).contains(&headers);
                let is_of_kind = (gso.kind == GsoKind::TcpV4) == found.is_ipv4;
                let payload = (head.len() + tail_len).saturating_sub(headers);
                if !is_tcp || !is_of_kind || gso.size == 0 || payload == 0 {
                    return Err(TransmitError::Invalid);
                }
                offload::blank_lengths(own, &found);
                Some((gso, payload))
            }
            (Some(_), None) => return Err(TransmitError::Invalid),
            (None, _) => None,
        };
        let (place, address) = self.outgoing.place(own).ok_or(TransmitError::Full)?;

        let mut options = 0;
        if let Some(transport) = transport {
            self.write_descriptor(context(transport, cut), Carried::Nothing);
            options = FILL_TRANSPORT;
        }
        let mut data = command::DATA | command::EXTENDED | command::ADD_CRC;
        if let (Some(_), Some(transport)) = (cut, transport) {
            data |= command::SEGMENT;
            if transport.is_ipv4 {
                options |= FILL_NETWORK;
            }
        }
        let last = command::LAST | command::REPORT;
        let descriptor = |address: u64, length: usize, is_last: bool| {
            let end = if is_last { last } else { 0 };
            [
                address as u32,
                (address >> 32) as u32,
                length as u32 | data | end,
                options,
            ]
        };
        let words = descriptor(address, head.len(), tail.is_empty());
        self.write_descriptor(words, Carried::Head(place));
        let pieces = tail.len();
        for number in 0..pieces {
            let slice = tail.remove(0);
            let Some(page) = slice.buffer.page() else {
                unreachable!("each was found lendable");
            };
            let address = self.xen.machine_address(page) + u64::from(slice.offset);
            let words = descriptor(address, slice.len.into(), number + 1 == pieces);
            self.write_descriptor(words, Carried::Tail(slice.buffer));
        }
        self.outgoing.end_frame(count);
        Ok(())
    }
}

/// The context that says where the checksum of the frame behind it is, and into what it is to be cut: so many
/// bytes of payload.
fn context(transport: Transport, cut: Option<(Gso, usize)>) -> [u32; 4] {
    let Transport {
        network,
        start,
        checksum,
        payload,
        is_ipv4,
    } = transport;
    let (network, start) = (u32::from(network), u32::from(start));
    // Without segments the network's own sum is never asked for, but its place has to make sense.
    let words = [
        network | (network + 10) << 8 | (start - 1) << 16,
        start | u32::from(checksum) << 8,
    ];
    let mut kind = command::EXTENDED;
    if payload != 0 {
        kind |= command::CONTEXT_TCP;
    }
    if is_ipv4 {
        kind |= command::CONTEXT_IPV4;
    }
    let Some((gso, bytes)) = cut else {
        return [words[0], words[1], kind, 0];
    };
    let segments = u32::from(payload) << 8 | u32::from(gso.size) << 16;
    kind |= command::SEGMENT | bytes as u32;
    [words[0], words[1], kind, segments]
}
