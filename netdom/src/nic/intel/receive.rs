//! The ring of what is received. A descriptor is the buffer's address in two words, then length and
//! checksum, then status, errors and VLAN tag.

use super::registers::{received, register};
use super::{announce, store};
use crate::nic::buffers::Buffers;
use crate::nic::device::Common;
use crate::nic::{RING, Statistics};
use core::sync::atomic::Ordering;
use minios_rs::hardware::{Hardware, Registers};
use minios_rs::net::{Checksum, ETHERNET_HEADER, FRAME_SLOTS_MAX, Received, Slice};
use minios_rs::xen::{OutOfMemory, PAGE_SIZE, SharedPage};

pub(super) struct ReceiveRing<X: Hardware> {
    ring: X::Page,
    address: u64,
    /// The buffer of each descriptor.
    posted: [u16; RING],
    /// The oldest posted descriptor, and how many there are.
    first: usize,
    count: usize,
    /// Where the card has been told of.
    shown: usize,
    /// In the middle of a frame that is dropped.
    skipping: bool,
}

/// What lies at the oldest descriptors.
enum Found {
    /// No frame that has come whole.
    Nothing,
    /// A frame: its descriptors, and what the last one says.
    Frame(usize, u32),
    /// More descriptors than a frame can have, without an end.
    Endless,
}

impl<X: Hardware> ReceiveRing<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        let ring = xen.allocate_page()?;
        Ok(Self {
            address: xen.machine_address(&ring),
            ring,
            posted: [0; RING],
            first: 0,
            count: 0,
            shown: 0,
            skipping: false,
        })
    }

    pub(super) fn program(&self, registers: &X::Registers) {
        self.ring.zero(0, PAGE_SIZE);
        announce(registers, register::RECEIVE_RING, self.address);
    }

    /// Takes back all that the card had.
    pub(super) fn take_back(&mut self, buffers: &mut Buffers<X>) {
        self.drop_buffers(self.count, buffers);
        self.first = 0;
        self.shown = 0;
        self.skipping = false;
    }

    /// Gives the card every free page.
    pub(super) fn post(&mut self, buffers: &mut Buffers<X>) {
        while self.count < RING - 1
            && let Some((index, address)) = buffers.post()
        {
            let at = (self.first + self.count) % RING;
            self.posted[at] = index;
            let words = [address as u32, (address >> 32) as u32, 0, 0];
            store(&self.ring, at, words);
            self.count += 1;
        }
    }

    /// Shows the card what was posted.
    pub(super) fn show(&mut self, registers: &X::Registers) {
        let end = (self.first + self.count) % RING;
        if end != self.shown {
            self.shown = end;
            registers.write32(register::RECEIVE_RING + register::TAIL, end as u32);
        }
    }

    pub(super) fn has_frame(&self) -> bool {
        !matches!(self.peek(&mut [0; FRAME_SLOTS_MAX]), Found::Nothing)
    }

    fn peek(&self, lengths: &mut [u16; FRAME_SLOTS_MAX]) -> Found {
        for (count, length) in lengths.iter_mut().enumerate() {
            if count == self.count {
                return Found::Nothing;
            }
            let at = (self.first + count) % RING;
            let status = self.ring.word(16 * at + 12).load(Ordering::Acquire);
            if status & received::DONE == 0 {
                return Found::Nothing;
            }
            // One copy, that is checked and used.
            *length = self.ring.word(16 * at + 8).load(Ordering::Relaxed) as u16;
            if status & received::LAST != 0 {
                return Found::Frame(count + 1, status);
            }
        }
        Found::Endless
    }

    /// Takes the oldest descriptor's buffer.
    fn take_buffer(&mut self) -> u16 {
        let index = self.posted[self.first];
        self.first = (self.first + 1) % RING;
        self.count -= 1;
        index
    }

    /// Drops what lies at the oldest descriptors.
    fn drop_buffers(&mut self, count: usize, buffers: &mut Buffers<X>) {
        for _ in 0..count {
            buffers.unpost(self.take_buffer());
        }
    }

    /// Puts the next frame into `frame`. False: there is none.
    pub(super) fn take(&mut self, common: &mut Common<X>, frame: &mut Received<X::Page>) -> bool {
        // Each turn of this takes a descriptor at least, and nothing is posted meanwhile.
        for _ in 0..RING {
            let mut lengths = [0; FRAME_SLOTS_MAX];
            let (count, status) = match self.peek(&mut lengths) {
                Found::Frame(count, status) => (count, status),
                Found::Nothing => return false,
                Found::Endless => {
                    self.drop_buffers(FRAME_SLOTS_MAX, &mut common.buffers);
                    self.skipping = true;
                    continue;
                }
            };
            if self.skipping {
                // The end of one that was too long for its descriptors.
                self.skipping = false;
                common.statistics.dropped_size += 1;
                self.drop_buffers(count, &mut common.buffers);
                continue;
            }
            let lengths = &lengths[..count];
            let frame_max = common.frame_max();
            if let Some(counter) = fault(lengths, status, frame_max, &mut common.statistics) {
                *counter += 1;
                self.drop_buffers(count, &mut common.buffers);
                continue;
            }
            frame.len = 0;
            for &len in lengths {
                let slice = Slice {
                    buffer: common.buffers.lend(self.take_buffer()),
                    offset: 0,
                    len,
                };
                assert!(frame.slots.push(slice).is_ok(), "the frame was empty");
                frame.len += u32::from(len);
            }
            frame.checksum = checksum(status);
            frame.gso = None;
            return true;
        }
        false
    }
}

/// What is wrong with a frame, if anything: what counts it.
fn fault<'a>(
    lengths: &[u16],
    status: u32,
    frame_max: usize,
    statistics: &'a mut Statistics,
) -> Option<&'a mut u64> {
    let sound = |length: &u16| (1..=PAGE_SIZE).contains(&usize::from(*length));
    let total: usize = lengths.iter().map(|&length| usize::from(length)).sum();
    if status & received::DAMAGED != 0 {
        Some(&mut statistics.dropped_error)
    } else if !lengths.iter().all(sound) {
        Some(&mut statistics.dropped_malformed)
    } else if !(ETHERNET_HEADER..=frame_max).contains(&total) {
        Some(&mut statistics.dropped_size)
    } else {
        None
    }
}

/// What the card says of the transport's checksum.
fn checksum(status: u32) -> Checksum {
    let said = received::IGNORE_CHECKSUM | received::TRANSPORT_CHECKED | received::TRANSPORT_WRONG;
    match status & said == received::TRANSPORT_CHECKED {
        true => Checksum::Validated,
        false => Checksum::Unknown,
    }
}
