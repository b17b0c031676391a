//! A virtio-net card, as its standard has it; correct unless told otherwise.

use crate::nic::model::Wired;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use minios_rs::fake::pci::{BarSpec, CardBus, Configuration, Model};

/// Its address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0xab, 0xcd, 0xef];

/// Checksums both ways, MAC, TSO both ways, merged buffers, status, version 1, platform access.
pub const OFFERS: u64 = 1 | 2 | 1 << 5 | 3 << 7 | 3 << 11 | 1 << 15 | 1 << 16 | 1 << 32 | 1 << 33;

/// Changes the header of a received frame, or what comes back in the used ring.
pub type TamperHeader = Box<dyn FnMut(&mut [u8; 12])>;
/// See [`TamperHeader`].
pub type TamperUsed = Box<dyn FnMut(&mut [u32; 2])>;

#[derive(Clone, Copy, Default)]
struct Queue {
    size: u16,
    enabled: bool,
    addresses: [u64; 3],
    /// Of the available ring, taken; of the used ring, given.
    taken: u16,
    given: u16,
}

/// A descriptor: where, how long, whether the card writes.
type Piece = (u64, usize, bool);

/// The card.
pub struct VirtioNet {
    /// Features that it offers.
    pub offers: u64,
    /// Features that its driver takes.
    pub driver_features: u64,
    selects: [u32; 3],
    status: u8,
    queues: [Queue; 2],
    vectors: [u16; 3],
    isr: u8,
    /// It has a table of messages.
    pub has_table: bool,
    /// Its cable is in.
    pub has_cable: bool,
    /// It takes frames to send, and never sends them.
    pub hangs: bool,
    /// It does not come back from a reset.
    pub stays_in_reset: bool,
    /// It has scribbled over its own rings.
    pub is_mad: bool,
    /// Its own address.
    pub mac: [u8; 6],
    /// What went out on the wire: what was said of it, and the frame.
    pub sent: Vec<([u8; 12], Vec<u8>)>,
    /// How often it was reset.
    pub resets: u32,
    /// What it does to headers.
    pub tamper_header: Option<TamperHeader>,
    /// What it does to its used ring.
    pub tamper_used: Option<TamperUsed>,
    /// Comes out of a queue's notification place: numbers that were written.
    pub notifications: u64,
}

impl VirtioNet {
    /// One with a table of messages.
    pub(crate) fn new() -> Self {
        Self {
            offers: OFFERS,
            driver_features: 0,
            selects: [0; 3],
            status: 0,
            queues: [Queue::default(); 2],
            vectors: [0xffff; 3],
            isr: 0,
            has_table: true,
            has_cable: true,
            hangs: false,
            stays_in_reset: false,
            is_mad: false,
            mac: MAC,
            sent: Vec::new(),
            resets: 0,
            tamper_header: None,
            tamper_used: None,
            notifications: 0,
        }
    }

    fn reset(&mut self) {
        self.queues = [Queue {
            size: 1024,
            ..Queue::default()
        }; 2];
        self.vectors = [0xffff; 3];
        self.driver_features = 0;
        self.isr = 0;
        self.is_mad = false;
        self.resets += 1;
    }

    fn interrupt(&mut self, which: usize, bus: &CardBus) {
        if self.has_table {
            bus.message(self.vectors[which].into());
        } else {
            self.isr |= 1;
        }
    }

    /// Its cable is put in, or pulled.
    pub fn cable(&mut self, is_in: bool, bus: &CardBus) {
        self.has_cable = is_in;
        self.interrupt(2, bus);
    }

    fn word(&self, address: u64, bus: &CardBus) -> u32 {
        let mut bytes = [0; 4];
        assert!(bus.read(address, &mut bytes), "its own rings");
        u32::from_le_bytes(bytes)
    }

    fn half(&self, address: u64, bus: &CardBus) -> u16 {
        let mut bytes = [0; 2];
        assert!(bus.read(address, &mut bytes), "its own rings");
        u16::from_le_bytes(bytes)
    }

    /// The next chain that was given: its first descriptor, and its pieces.
    fn take(&mut self, number: usize, bus: &CardBus) -> Option<(u32, Vec<Piece>)> {
        let queue = self.queues[number];
        let index = self.half(queue.addresses[1] + 2, bus);
        if index == queue.taken {
            return None;
        }
        let slot = u64::from(queue.taken % queue.size);
        let head = self.half(queue.addresses[1] + 4 + 2 * slot, bus);
        self.queues[number].taken = queue.taken.wrapping_add(1);
        let mut pieces = vec![];
        let mut at = head;
        loop {
            if at >= queue.size || pieces.len() > 64 {
                assert!(self.is_mad, "chains have an end, inside the ring");
                break;
            }
            let descriptor = queue.addresses[0] + 16 * u64::from(at);
            let low = u64::from(self.word(descriptor, bus));
            let high = u64::from(self.word(descriptor + 4, bus));
            let len = self.word(descriptor + 8, bus) as usize;
            let flags = self.word(descriptor + 12, bus);
            pieces.push((high << 32 | low, len, flags & 2 != 0));
            if flags & 1 == 0 {
                break;
            }
            at = (flags >> 16) as u16;
        }
        Some((head.into(), pieces))
    }

    fn give_back(&mut self, number: usize, entry: [u32; 2], bus: &CardBus) {
        let mut entry = entry;
        if number == 0
            && let Some(tamper) = &mut self.tamper_used
        {
            tamper(&mut entry);
        }
        let queue = &mut self.queues[number];
        let slot = u64::from(queue.given % queue.size);
        queue.given = queue.given.wrapping_add(1);
        let place = queue.addresses[2] + 4 + 8 * slot;
        assert!(bus.write(place, &entry[0].to_le_bytes()));
        assert!(bus.write(place + 4, &entry[1].to_le_bytes()));
    }

    fn show(&self, number: usize, bus: &CardBus) {
        let queue = self.queues[number];
        assert!(bus.write(queue.addresses[2] + 2, &queue.given.to_le_bytes()));
    }

    /// A frame comes on the wire, with what is said of it (flags, GSO type and size); false: there is no
    /// room for it.
    pub fn receive(&mut self, frame: &[u8], said: (u8, u8, u16), bus: &CardBus) -> bool {
        if self.status & 4 == 0 || !self.has_cable {
            return false;
        }
        let mut whole = vec![0; 12];
        (whole[0], whole[1]) = (said.0, said.1);
        whole[4..6].copy_from_slice(&said.2.to_le_bytes());
        whole.extend(frame);
        let before = self.queues[0];
        let mut buffers = vec![];
        let mut room = 0;
        while room < whole.len() {
            let Some((head, pieces)) = self.take(0, bus) else {
                self.queues[0] = before;
                return false;
            };
            let Some(&(address, len, writable)) = pieces.first() else {
                continue;
            };
            assert!(writable || self.is_mad);
            room += len;
            buffers.push((head, address, len));
        }
        let mut header: [u8; 12] = whole[..12].try_into().unwrap();
        header[10..12].copy_from_slice(&(buffers.len() as u16).to_le_bytes());
        if let Some(tamper) = &mut self.tamper_header {
            tamper(&mut header);
        }
        whole[..12].copy_from_slice(&header);
        for (head, address, len) in buffers {
            let part: Vec<u8> = whole.drain(..len.min(whole.len())).collect();
            assert!(bus.write(address, &part) || self.is_mad);
            self.give_back(0, [head, part.len() as u32], bus);
        }
        self.show(0, bus);
        self.interrupt(0, bus);
        true
    }

    fn transmit(&mut self, bus: &CardBus) {
        if self.status & 4 == 0 || self.hangs || !self.has_cable {
            return;
        }
        while let Some((head, pieces)) = self.take(1, bus) {
            let mut whole = vec![];
            for (address, len, writable) in pieces {
                assert!(!writable || self.is_mad);
                let mut part = vec![0; len.min(0x1_0000)];
                let has_read = bus.read(address, &mut part);
                assert!(has_read || self.is_mad, "what it was told to send");
                whole.extend(part);
            }
            self.give_back(1, [head, 0], bus);
            if whole.len() > 12 {
                let header = whole[..12].try_into().unwrap();
                self.sent.push((header, whole.split_off(12)));
            }
        }
        self.show(1, bus);
    }

    /// Writes anywhere in a ring: page 0 descriptors, 1 available, 2 used.
    pub fn scribble(&mut self, queue: usize, page: usize, at: u64, word: u32, bus: &CardBus) {
        self.is_mad = true;
        let place = self.queues[queue].addresses[page] + at % 1024 * 4;
        assert!(bus.write(place, &word.to_le_bytes()));
    }
}

fn capability(kind: u8, offset: u32, length: u32, more: &[u8]) -> (u8, Vec<u8>) {
    let mut body = vec![16 + more.len() as u8, kind, 4, 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(more);
    (9, body)
}

impl Model for VirtioNet {
    fn configuration(&self) -> Configuration {
        let mut capabilities = vec![
            // One of a kind that is nothing to us, as QEMU has it first.
            capability(5, 0, 0, &[0; 4]),
            capability(1, 0, 0x1000, &[]),
            capability(3, 0x1000, 0x1000, &[]),
            capability(4, 0x2000, 0x1000, &[]),
            capability(2, 0x3000, 0x1000, &4u32.to_le_bytes()),
        ];
        if self.has_table {
            capabilities.push((0x11, vec![3, 0, 1, 0, 0, 0, 1, 8, 0, 0]));
        }
        Configuration {
            id: (0x1af4, 0x1041),
            class: 0x02_00_00,
            bars: [
                BarSpec::Unused,
                BarSpec::Memory(0x1000),
                BarSpec::Unused,
                BarSpec::Unused,
                BarSpec::Memory64(0x4000),
                BarSpec::Unused,
            ],
            capabilities,
            has_line: true,
        }
    }

    fn read(&mut self, bar: usize, offset: usize, size: usize, _: &CardBus) -> u32 {
        assert_eq!(bar, 4);
        let queue = self.queues.get(self.selects[2] as usize).copied();
        let queue = queue.unwrap_or_default();
        match (offset, size) {
            (4, 4) => (self.offers >> (32 * self.selects[0])) as u32,
            (20, 1) => self.status.into(),
            (24, 2) => queue.size.into(),
            (30, 2) => self.selects[2],
            (0x1000, 1) => core::mem::take(&mut self.isr).into(),
            (0x2000..0x2006, 1) => self.mac[offset - 0x2000].into(),
            (0x2006, 2) => self.has_cable.into(),
            _ => panic!("register {offset:x} of {size} bytes is read"),
        }
    }

    fn write(&mut self, bar: usize, offset: usize, size: usize, value: u32, bus: &CardBus) {
        assert_eq!(bar, 4);
        let select = self.selects[2] as usize;
        let half = |old: u64, is_high: bool| match is_high {
            true => old & 0xffff_ffff | u64::from(value) << 32,
            false => old & !0xffff_ffff | u64::from(value),
        };
        match (offset, size) {
            (0, 4) => self.selects[0] = value,
            (8, 4) => self.selects[1] = value,
            (12, 4) => {
                self.driver_features = half(self.driver_features, self.selects[1] == 1);
            }
            (16, 2) => self.vectors[2] = value as u16,
            (20, 1) => {
                if value == 0 {
                    self.reset();
                    if self.stays_in_reset {
                        return;
                    }
                }
                let is_taken = self.driver_features & !self.offers == 0;
                let refused = if is_taken { 0 } else { 8 };
                self.status = value as u8 & !refused;
            }
            (22, 2) => self.selects[2] = value,
            (24, 2) => {
                assert!(value.is_power_of_two());
                self.queues[select].size = value as u16;
            }
            (26, 2) => self.vectors[select] = value as u16,
            (28, 2) => self.queues[select].enabled = value == 1,
            (32..56, 4) => {
                let address = &mut self.queues[select].addresses[(offset - 32) / 8];
                *address = half(*address, offset % 8 == 4);
            }
            (0x3000.., 2) => {
                assert_eq!(offset, 0x3000 + 4 * value as usize, "each has its place");
                assert!(self.queues[value as usize].enabled);
                self.notifications += 1;
                if value == 1 {
                    self.transmit(bus);
                }
            }
            _ => panic!("register {offset:x} of {size} bytes is written"),
        }
    }

    fn line(&self) -> bool {
        self.isr != 0
    }
}

impl Wired for VirtioNet {
    fn correct() -> Self {
        Self::new()
    }
    fn comes(&mut self, frame: &[u8], bus: &CardBus) -> bool {
        self.receive(frame, (0, 0, 0), bus)
    }
    fn sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop().map(|(_, frame)| frame)
    }
    fn hangs(&mut self) -> &mut bool {
        &mut self.hangs
    }
    fn cable(&mut self, is_in: bool, bus: &CardBus) {
        VirtioNet::cable(self, is_in, bus);
    }
    fn goes_mad(&mut self, at: u32, word: u32, bus: &CardBus) {
        let (queue, page) = ((at & 1) as usize, (at >> 1) as usize % 3);
        // Before its driver has told it where they are there is nothing to write to.
        if self.queues[queue].addresses[page] != 0 {
            self.scribble(queue, page, u64::from(at >> 3), word, bus);
        }
    }
    fn lies(&mut self, lie: [u32; 2]) {
        let words = lie.map(u32::to_le_bytes);
        self.tamper_header = Some(Box::new(move |header| {
            let bytes = header.iter_mut().zip(words.as_flattened());
            bytes.for_each(|(byte, lie)| *byte ^= lie);
        }));
        self.tamper_used = Some(Box::new(move |entry| {
            // Mostly what it says of the header is enough.
            if lie[1] & 1 != 0 {
                entry[0] ^= lie[0] >> 16;
                entry[1] ^= lie[1] >> 16;
            }
        }));
    }
}
