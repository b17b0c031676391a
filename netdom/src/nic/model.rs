//! An 82540EM or 82574L, as their manuals and QEMU have them; correct unless told otherwise.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use minios_rs::fake::pci::{BarSpec, CardBus, Configuration, Model};

/// Its address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// Changes what is written back to a receive descriptor: words 2 and 3.
pub type Tamper = Box<dyn FnMut(&mut [u32; 2])>;

/// The card.
pub struct E1000 {
    registers: Vec<u32>,
    /// What went out on the wire.
    pub sent: Vec<Vec<u8>>,
    /// Its cable is in.
    pub has_cable: bool,
    /// It takes frames to send, and never sends them.
    pub hangs: bool,
    /// It does not come back from a reset.
    pub stays_in_reset: bool,
    /// Its own address, after the next reset.
    pub mac: [u8; 6],
    /// What it does to what it writes.
    pub tamper: Option<Tamper>,
    /// How often it was reset.
    pub resets: u32,
    /// It has scribbled over its own rings: what it finds there is no longer the driver's fault.
    pub is_mad: bool,
    /// It is the 82574L, with a table of messages.
    is_express: bool,
    context: [u32; 4],
    frame: Vec<u8>,
}

const CTRL: usize = 0;
const STATUS: usize = 8;
const ICR: usize = 0xc0;
const IMS: usize = 0xd0;
const IMC: usize = 0xd8;
const RCTL: usize = 0x100;
const TCTL: usize = 0x400;
const MPC: usize = 0x4010;
const RING: usize = 256;

impl E1000 {
    /// The one without a table of messages.
    pub(crate) fn new() -> Self {
        let mut card = Self {
            registers: Vec::new(),
            sent: Vec::new(),
            has_cable: true,
            hangs: false,
            stays_in_reset: false,
            mac: MAC,
            tamper: None,
            resets: 0,
            is_mad: false,
            is_express: false,
            context: [0; 4],
            frame: Vec::new(),
        };
        card.reset();
        card
    }

    /// The one with the table.
    pub fn express() -> Self {
        let mut card = Self::new();
        card.is_express = true;
        card.reset();
        card
    }

    /// Something happened: a line is pulled by what is wanted; a message goes, and takes the wish with it.
    fn cause(&mut self, causes: u32, bus: &CardBus) {
        *self.at(ICR) |= causes;
        if !self.is_express {
            return;
        }
        if causes & (1 << 7 | 1 << 6) != 0 {
            *self.at(ICR) |= 1 << 20;
        }
        if causes & 1 << 2 != 0 {
            *self.at(ICR) |= 1 << 24;
        }
        self.message(bus);
    }

    fn message(&mut self, bus: &CardBus) {
        let wanted = self.get(ICR) & self.get(IMS) & self.get(0xdc);
        if wanted != 0 {
            assert_eq!(self.get(0xe4), 0x8_0808, "all have the first message");
            bus.message(0);
            *self.at(IMS) &= !wanted;
            *self.at(ICR) &= !wanted;
        }
    }

    fn reset(&mut self) {
        self.registers = vec![0; 0x2_0000 / 4];
        self.resets += 1;
        self.is_mad = false;
        let [a, b, c, d, e, f] = self.mac;
        *self.at(0x5400) = u32::from_le_bytes([a, b, c, d]);
        *self.at(0x5404) = u32::from_le_bytes([e, f, 0, 0x80]);
        self.frame.clear();
    }

    fn at(&mut self, register: usize) -> &mut u32 {
        &mut self.registers[register / 4]
    }

    fn get(&self, register: usize) -> u32 {
        self.registers[register / 4]
    }

    fn descriptor(&self, base: usize, index: u32) -> u64 {
        let address = u64::from(self.get(base)) | u64::from(self.get(base + 4)) << 32;
        assert_eq!(self.get(base + 8), (16 * RING) as u32);
        address + 16 * u64::from(index)
    }

    /// Its cable is put in, or pulled.
    pub fn cable(&mut self, is_in: bool, bus: &CardBus) {
        self.has_cable = is_in;
        self.cause(1 << 2, bus);
    }

    /// A frame comes on the wire; false: there is no room for it.
    pub fn receive(&mut self, frame: &[u8], bus: &CardBus) -> bool {
        if self.get(RCTL) & 2 == 0 || !self.has_cable {
            return false;
        }
        let (first, tail) = (self.get(0x2810), self.get(0x2818));
        let mut head = first;
        for (number, part) in frame.chunks(4096).enumerate() {
            if head == tail {
                *self.at(MPC) += 1;
                self.cause(1 << 6, bus);
                return false;
            }
            let descriptor = self.descriptor(0x2800, head);
            let mut words = [0; 16];
            assert!(bus.read(descriptor, &mut words));
            let buffer = u64::from_le_bytes(words[..8].try_into().unwrap());
            assert!(bus.write(buffer, part) || self.is_mad);
            let is_last = (number + 1) * 4096 >= frame.len();
            let mut back = [part.len() as u32, 1 | 4 | u32::from(is_last) << 1];
            if let Some(tamper) = &mut self.tamper {
                tamper(&mut back);
            }
            assert!(bus.write(descriptor + 8, &back[0].to_le_bytes()));
            assert!(bus.write(descriptor + 12, &back[1].to_le_bytes()));
            head = (head + 1) % RING as u32;
        }
        *self.at(0x2810) = head;
        self.cause(1 << 7, bus);
        true
    }

    /// Writes a descriptor back without a frame, whether or not it has it: a card gone mad.
    pub fn scribble(&mut self, ring: usize, index: u32, words: [u32; 4], bus: &CardBus) {
        self.is_mad = true;
        for (at, word) in (self.descriptor(ring, index)..).step_by(4).zip(words) {
            assert!(bus.write(at, &word.to_le_bytes()));
        }
    }

    /// It hung, and does no longer.
    pub fn goes_on(&mut self, bus: &CardBus) {
        self.hangs = false;
        self.transmit(bus);
    }

    fn transmit(&mut self, bus: &CardBus) {
        if self.get(TCTL) & 2 == 0 || self.hangs || !self.has_cable {
            return;
        }
        while self.get(0x3810) != self.get(0x3818) {
            let head = self.get(0x3810);
            let descriptor = self.descriptor(0x3800, head);
            let mut raw = [0; 16];
            assert!(bus.read(descriptor, &mut raw), "its own ring");
            let word = |at: usize| u32::from_le_bytes(raw[4 * at..4 * at + 4].try_into().unwrap());
            let words = [word(0), word(1), word(2), word(3)];
            let is_extended = words[2] & 1 << 29 != 0;
            assert!(is_extended || self.is_mad, "no others are used");
            if words[2] >> 20 & 0xf == 0 {
                self.context = words;
            } else {
                let address = u64::from(words[0]) | u64::from(words[1]) << 32;
                let mut part = vec![0; (words[2] & 0xf_ffff) as usize];
                let has_read = bus.read(address, &mut part);
                assert!(has_read || self.is_mad, "what it was told to send");
                self.frame.extend(part);
                if words[2] & 1 << 24 != 0 {
                    match words[2] & 1 << 26 != 0 {
                        true => self.cut(words[3]),
                        false => self.finish(words[3]),
                    }
                }
            }
            if words[2] & 1 << 27 != 0 {
                assert!(bus.write(descriptor + 12, &(words[3] | 1).to_le_bytes()));
            }
            *self.at(0x3810) = (head + 1) % RING as u32;
        }
    }

    /// Cuts what it was given into TCP segments.
    fn cut(&mut self, options: u32) {
        let whole = core::mem::take(&mut self.frame);
        let [first, second, kind, sizes] = self.context;
        let (network, start) = ((first & 0xff) as usize, (second & 0xff) as usize);
        let (headers, size) = ((sizes >> 8 & 0xff) as usize, (sizes >> 16) as usize);
        let is_possible = kind >> 24 & 5 == 5
            && network < start
            && start + 20 <= headers
            && headers < whole.len()
            && size > 0
            && options & 2 << 8 != 0;
        if !is_possible {
            assert!(self.is_mad, "it is told what to cut");
            return;
        }
        let is_ipv4 = kind & 1 << 25 != 0;
        assert_eq!((kind & 0xf_ffff) as usize, whole.len() - headers);
        let count = (whole.len() - headers).div_ceil(size);
        for (number, part) in whole[headers..].chunks(size).enumerate() {
            let mut frame = [&whole[..headers], part].concat();
            let mut put = |at: usize, value: u16| {
                frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
            };
            let read = |at: usize| u16::from_be_bytes([whole[at], whole[at + 1]]);
            let said = headers - network + part.len();
            match is_ipv4 {
                true => {
                    assert_eq!((read(network + 2), read(network + 10)), (0, 0));
                    put(network + 2, said as u16);
                    put(network + 4, read(network + 4).wrapping_add(number as u16));
                }
                false => put(network + 4, (said - 40) as u16),
            }
            let sequence = u32::from(read(start + 4)) << 16 | u32::from(read(start + 6));
            let sequence = sequence.wrapping_add((number * size) as u32);
            put(start + 4, (sequence >> 16) as u16);
            put(start + 6, sequence as u16);
            let segment = u32::from(read(start + 16)) + (headers - start + part.len()) as u32;
            put(start + 16, ((segment & 0xffff) + (segment >> 16)) as u16);
            if number + 1 < count {
                // FIN and PSH are the last one's.
                frame[start + 13] &= !9;
            }
            if options & 1 << 8 != 0 {
                let sum = checksum(&frame[network..start]);
                frame[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
            }
            self.frame = frame;
            self.finish(options);
        }
    }

    fn finish(&mut self, options: u32) {
        let mut frame = core::mem::take(&mut self.frame);
        if options & 2 << 8 != 0 {
            let start = (self.context[1] & 0xff) as usize;
            let place = (self.context[1] >> 8 & 0xff) as usize;
            if start > frame.len() || place + 2 > frame.len() {
                assert!(self.is_mad, "a checksum lies in its frame");
                return;
            }
            let sum = checksum(&frame[start..]);
            frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if frame.len() < 60 {
            frame.resize(60, 0);
        }
        self.sent.push(frame);
    }
}

/// The Internet's checksum.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Model for E1000 {
    fn configuration(&self) -> Configuration {
        Configuration {
            id: (0x8086, if self.is_express { 0x10d3 } else { 0x100e }),
            class: 0x02_00_00,
            bars: [
                BarSpec::Memory(0x2_0000),
                BarSpec::Ports(64),
                BarSpec::Unused,
                BarSpec::Unused,
                BarSpec::Unused,
                BarSpec::Unused,
            ],
            capabilities: match self.is_express {
                true => vec![(0x11, vec![4, 0, 3, 0, 0, 0, 3, 0x20, 0, 0])],
                false => vec![],
            },
            has_line: true,
        }
    }

    fn read(&mut self, _: usize, offset: usize, size: usize, _: &CardBus) -> u32 {
        assert_eq!(size, 4, "its registers are of four bytes");
        match offset {
            STATUS => {
                let is_master = self.is_express && self.get(CTRL) & 4 == 0;
                0x80 | u32::from(self.has_cable) << 1 | 1 | u32::from(is_master) << 19
            }
            ICR if self.is_express => self.get(ICR),
            ICR | MPC => core::mem::take(self.at(offset)),
            _ => self.get(offset),
        }
    }

    fn write(&mut self, _: usize, offset: usize, _: usize, value: u32, bus: &CardBus) {
        match offset {
            CTRL if value & 1 << 26 != 0 => {
                let was_quiet = self.get(CTRL) & 4 != 0 || !self.is_express;
                assert!(was_quiet, "transfers end before a reset");
                self.reset();
                *self.at(CTRL) = match self.stays_in_reset {
                    true => value,
                    false => value & !(1 << 26),
                };
            }
            ICR => *self.at(ICR) &= !value,
            STATUS => {}
            IMS => {
                *self.at(IMS) |= value;
                if self.is_express {
                    self.message(bus);
                }
            }
            IMC => *self.at(IMS) &= !value,
            0x3818 => {
                *self.at(offset) = value;
                self.transmit(bus);
            }
            _ => *self.at(offset) = value,
        }
    }

    fn line(&self) -> bool {
        !self.is_express && self.get(ICR) & self.get(IMS) != 0
    }
}

/// What the models of all cards can do.
pub trait Wired: Model + Sized + 'static {
    /// A card that does all as it should.
    fn correct() -> Self;
    /// A frame comes on the wire; false: there is no room for it.
    fn comes(&mut self, frame: &[u8], bus: &CardBus) -> bool;
    /// What last went out on the wire.
    fn sent(&mut self) -> Option<Vec<u8>>;
    /// Whether it takes frames to send, and never sends them.
    fn hangs(&mut self) -> &mut bool;
    /// Its cable is put in, or pulled.
    fn cable(&mut self, is_in: bool, bus: &CardBus);
    /// It goes mad: writes a word somewhere in its rings, receiving or sending.
    fn goes_mad(&mut self, at: u32, word: u32, bus: &CardBus);
    /// Changes, from now on, what it says of each frame that it received.
    fn lies(&mut self, lie: [u32; 2]);
}

impl Wired for E1000 {
    fn correct() -> Self {
        Self::new()
    }
    fn comes(&mut self, frame: &[u8], bus: &CardBus) -> bool {
        self.receive(frame, bus)
    }
    fn sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop()
    }
    fn hangs(&mut self) -> &mut bool {
        &mut self.hangs
    }
    fn cable(&mut self, is_in: bool, bus: &CardBus) {
        E1000::cable(self, is_in, bus);
    }
    fn goes_mad(&mut self, at: u32, word: u32, bus: &CardBus) {
        let ring = [0x2800, 0x3800][(at & 1) as usize];
        // Before its driver has told it where they are there is nothing to write to.
        if self.get(ring + 8) != 0 {
            self.scribble(ring, at / 2 % RING as u32, [word, word >> 16, word, 3], bus);
        }
    }
    fn lies(&mut self, lie: [u32; 2]) {
        self.tamper = Some(Box::new(move |back| {
            back.iter_mut()
                .zip(lie)
                .for_each(|(word, lie)| *word ^= lie);
        }));
    }
}
