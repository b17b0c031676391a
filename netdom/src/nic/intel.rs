//! What Intel's gigabit cards have in common: registers, and rings of "legacy" and "extended"
//! descriptors of 16 bytes.
//!
//! A descriptor is four words. Receiving: the buffer's address in two, then length and checksum, then
//! status, errors and VLAN tag. Sending: the address, then command and length, then status and options;
//! or a context, which says where checksums are in the frames behind it.

use super::buffers::Buffers;
use super::offload::{self, Transport};
use super::outgoing::{Carried, Outgoing};
use super::{
    Config, Error, Filter, Link, Nic, RING, START_TIME, State, Statistics, sound, station,
};
use core::sync::atomic::Ordering;
use core::time::Duration;
use minios_rs::hardware::{CARD, Hardware, Registers};
use minios_rs::net::front::{TransmitError, Wake};
use minios_rs::net::{
    Checksum, ETHERNET_HEADER, Egress, FRAME_SLOTS_MAX, FrontId, Interface, MacAddress, Offload,
    Received, RxBuffer, Slice,
};
use minios_rs::pci::{Command, Function, Interrupt, InterruptKind};
use minios_rs::ring::Pending;
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::{DomId, PAGE_SIZE, SharedPage};

/// Intel's number.
pub(super) const VENDOR: u16 = 0x8086;

/// What one of the families is like.
pub(super) struct Chip {
    pub(super) name: &'static str,
    pub(super) devices: &'static [u16],
    /// PCI Express: it may have interrupts by a table, and is to end its transfers before a reset.
    pub(super) is_express: bool,
}

/// Bytes of registers that are used.
const REGISTERS: usize = 0x2_0000;

mod register {
    pub(super) const CTRL: usize = 0x0000;
    pub(super) const STATUS: usize = 0x0008;
    pub(super) const CTRL_EXT: usize = 0x0018;
    pub(super) const ICR: usize = 0x00c0;
    pub(super) const ITR: usize = 0x00c4;
    pub(super) const IMS: usize = 0x00d0;
    pub(super) const IMC: usize = 0x00d8;
    /// Of a card with a table: causes that are forgotten when their message goes; who has which message.
    pub(super) const EIAC: usize = 0x00dc;
    pub(super) const IVAR: usize = 0x00e4;
    pub(super) const RCTL: usize = 0x0100;
    pub(super) const TCTL: usize = 0x0400;
    pub(super) const TIPG: usize = 0x0410;
    /// Address (two), length in bytes, head and tail.
    pub(super) const RECEIVE_RING: usize = 0x2800;
    pub(super) const RDTR: usize = 0x2820;
    pub(super) const RADV: usize = 0x282c;
    pub(super) const TRANSMIT_RING: usize = 0x3800;
    pub(super) const TIDV: usize = 0x3820;
    /// Missed frames; reading clears it.
    pub(super) const MPC: usize = 0x4010;
    pub(super) const RXCSUM: usize = 0x5000;
    /// The table of groups: 128 words.
    pub(super) const MTA: usize = 0x5200;
    pub(super) const RAL: usize = 0x5400;
    pub(super) const RAH: usize = 0x5404;

    /// In a ring's registers.
    pub(super) const LOW: usize = 0x00;
    pub(super) const HIGH: usize = 0x04;
    pub(super) const LENGTH: usize = 0x08;
    pub(super) const HEAD: usize = 0x10;
    pub(super) const TAIL: usize = 0x18;
}

mod ctrl {
    /// No more transfers (PCI Express).
    pub(super) const NO_MASTER: u32 = 1 << 2;
    pub(super) const LINK_RESET: u32 = 1 << 3;
    pub(super) const AUTO_SPEED: u32 = 1 << 5;
    pub(super) const SET_LINK_UP: u32 = 1 << 6;
    pub(super) const INVERT_LOSS: u32 = 1 << 7;
    pub(super) const RESET: u32 = 1 << 26;
    pub(super) const VLAN_MODE: u32 = 1 << 30;
    pub(super) const PHY_RESET: u32 = 1 << 31;
}

mod status {
    pub(super) const LINK_UP: u32 = 1 << 1;
    /// Transfers may be under way (PCI Express).
    pub(super) const MASTER: u32 = 1 << 19;
}

mod cause {
    pub(super) const LINK: u32 = 1 << 2;
    pub(super) const RECEIVE_LOW: u32 = 1 << 4;
    pub(super) const RECEIVE_OVERRUN: u32 = 1 << 6;
    pub(super) const RECEIVED: u32 = 1 << 7;
    pub(super) const WANTED: u32 = LINK | RECEIVE_LOW | RECEIVE_OVERRUN | RECEIVED;
    /// With a table: the first queue received; anything else.
    pub(super) const QUEUE_RECEIVED: u32 = 1 << 20;
    pub(super) const OTHER: u32 = 1 << 24;
    pub(super) const TABLE: u32 = QUEUE_RECEIVED | OTHER;
}

/// All have the table's first message: receiving, sending, the rest.
const IVAR_FIRST: u32 = 1 << 3 | 1 << 11 | 1 << 19;
/// Messages that wait are shown in the table's own bits.
const CTRL_EXT_PENDING: u32 = 1 << 31;
/// How often a card is looked at while its transfers end.
const MASTER_LOOKS: usize = 1000;

mod rctl {
    pub(super) const ENABLE: u32 = 1 << 1;
    pub(super) const ALL_STATIONS: u32 = 1 << 3;
    pub(super) const ALL_GROUPS: u32 = 1 << 4;
    pub(super) const LONG: u32 = 1 << 5;
    pub(super) const BROADCAST: u32 = 1 << 15;
    /// Buffers of 4,096 bytes.
    pub(super) const BUFFER_4096: u32 = 3 << 16 | 1 << 25;
    pub(super) const STRIP_CRC: u32 = 1 << 26;
}

mod tctl {
    pub(super) const ENABLE: u32 = 1 << 1;
    pub(super) const PAD_SHORT: u32 = 1 << 3;
    /// Collisions: tried 15 times, distance of a full-duplex link.
    pub(super) const COLLISIONS: u32 = 15 << 4 | 64 << 12;
}

/// The gaps between frames that the manual recommends for copper.
const TIPG_COPPER: u32 = 8 | 8 << 10 | 6 << 20;
/// Checks the checksums of IPv4, TCP and UDP.
const RXCSUM_ON: u32 = 1 << 8 | 1 << 9;
/// Between interrupts, in units of 256 ns: at most some 20,000 a second.
const ITR_INTERVAL: u32 = 200;

/// Word 3 of a receive descriptor.
mod received {
    pub(super) const DONE: u32 = 1 << 0;
    pub(super) const LAST: u32 = 1 << 1;
    pub(super) const IGNORE_CHECKSUM: u32 = 1 << 2;
    pub(super) const TRANSPORT_CHECKED: u32 = 1 << 5;
    /// Of a damaged frame: CRC, symbol, sequence, carrier, data.
    pub(super) const DAMAGED: u32 = 0x97 << 8;
    pub(super) const TRANSPORT_WRONG: u32 = 1 << 13;
}

/// Word 2 of a transmit descriptor.
mod command {
    pub(super) const DATA: u32 = 1 << 20;
    pub(super) const LAST: u32 = 1 << 24;
    pub(super) const ADD_CRC: u32 = 1 << 25;
    pub(super) const REPORT: u32 = 1 << 27;
    pub(super) const EXTENDED: u32 = 1 << 29;
    /// Of a context: the transport is TCP, the network IPv4.
    pub(super) const CONTEXT_TCP: u32 = 1 << 24;
    pub(super) const CONTEXT_IPV4: u32 = 1 << 25;
}

/// Word 3 of a transmit descriptor: the card is done with it.
const SENT: u32 = 1 << 0;
/// And its option: put the transport's checksum in.
const FILL_TRANSPORT: u32 = 2 << 8;

/// What a card that is gone reads as.
const GONE: u32 = u32::MAX;

/// How long a reset takes at least, and at most.
const RESET_TIME: Duration = Duration::from_millis(10);
const RESET_TIME_MAX: Duration = Duration::from_secs(1);
/// How often a card is looked after.
const CHECK_TIME: Duration = Duration::from_secs(1);
/// How long a frame may take to leave before the card is reset.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// When to look for what was sent, if no interrupt comes meanwhile.
const REAP_TIME: Duration = Duration::from_millis(5);
/// How long a silent card is left alone.
const SILENT_TIME: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Resetting { began: Instant },
    Silent { until: Instant },
    Stopped,
}

/// One of Intel's gigabit cards.
pub(super) struct Intel<X: Hardware> {
    chip: &'static Chip,
    xen: X,
    id: FrontId,
    mac: MacAddress,
    config: Config,
    registers: X::Registers,
    interrupt: Interrupt<X>,
    /// It came, and was not ended yet.
    interrupted: bool,
    phase: Phase,
    link: Link,
    statistics: Statistics,
    next_check: Instant,

    receive_ring: X::Page,
    receive_address: u64,
    buffers: Buffers<X>,
    /// The buffer of each descriptor.
    posted: [u16; RING],
    /// The oldest posted descriptor, and how many there are.
    receive_first: usize,
    receive_count: usize,
    /// Where the card has been told of.
    receive_shown: usize,
    /// In the middle of a frame that is dropped.
    skipping: bool,

    transmit_ring: X::Page,
    transmit_address: u64,
    outgoing: Outgoing<X>,
    /// The oldest descriptor in use.
    transmit_first: usize,
    transmit_shown: usize,
    /// When something last left, while something is to leave.
    progress: Option<Instant>,
}

/// Brings a card up.
pub(super) async fn start<X: Hardware>(
    chip: &'static Chip,
    function: &Function<X>,
    executor: &Executor,
    config: Config,
) -> Result<Intel<X>, Error> {
    let xen = function.xen();
    function.command(Command::MEMORY, Command::MASTER).await?;
    let registers = function.map(0, REGISTERS, REGISTERS).await?;
    // Whoever had it before may have left it running; it is no bus master before it stands still.
    order_reset(chip, &registers);
    executor.sleep(RESET_TIME).await;
    silence(&registers);
    let interrupt = function.interrupt().await?;

    let id = FrontId::next();
    let (receive_ring, transmit_ring) = (xen.allocate_page()?, xen.allocate_page()?);
    let (receive_address, transmit_address) = (
        xen.machine_address(&receive_ring),
        xen.machine_address(&transmit_ring),
    );
    let mut card = Intel {
        chip,
        xen: xen.clone(),
        id,
        mac: MacAddress([0; 6]),
        config,
        registers,
        interrupt,
        interrupted: false,
        phase: Phase::Up,
        link: Link::Down,
        statistics: Statistics::default(),
        next_check: executor.now(),
        receive_ring,
        receive_address,
        buffers: Buffers::new(xen, id, config.buffers)?,
        posted: [0; RING],
        receive_first: 0,
        receive_count: 0,
        receive_shown: 0,
        skipping: false,
        transmit_ring,
        transmit_address,
        outgoing: Outgoing::new(xen)?,
        transmit_first: 0,
        transmit_shown: 0,
        progress: None,
    };
    function
        .command(Command::MEMORY | Command::MASTER, Command::empty())
        .await?;
    card.begin_reset(executor.now());
    let deadline = executor.now().after(START_TIME);
    while card.phase != Phase::Up {
        if matches!(card.phase, Phase::Silent { .. }) || executor.now() >= deadline {
            return Err(Error::Silent);
        }
        executor.sleep(RESET_TIME).await;
        card.poll(executor.now());
    }
    card.statistics.resets = 0;
    match card.mac.is_station() {
        true => Ok(card),
        false => {
            card.stop();
            Err(Error::NoAddress)
        }
    }
}

/// No interrupts, no frames in, none out.
fn silence(registers: &impl Registers) {
    registers.write32(register::IMC, u32::MAX);
    registers.write32(register::RCTL, 0);
    registers.write32(register::TCTL, tctl::PAD_SHORT);
}

/// Has a card reset itself.
fn order_reset(chip: &Chip, registers: &impl Registers) {
    silence(registers);
    let control = registers.read32(register::CTRL);
    if chip.is_express {
        registers.write32(register::CTRL, control | ctrl::NO_MASTER);
        // One that does not end them is reset all the same.
        let goes_on = |_: &usize| registers.read32(register::STATUS) & status::MASTER != 0;
        (0..MASTER_LOOKS).take_while(goes_on).for_each(drop);
    }
    registers.write32(register::CTRL, control | ctrl::RESET);
}

impl<X: Hardware> Intel<X> {
    fn read(&self, register: usize) -> u32 {
        self.registers.read32(register)
    }

    fn write(&self, register: usize, value: u32) {
        self.registers.write32(register, value);
    }

    /// Bytes of the longest frame: with header and a VLAN tag.
    fn frame_max(&self) -> usize {
        usize::from(self.config.mtu) + ETHERNET_HEADER + 4
    }

    fn begin_reset(&mut self, now: Instant) {
        order_reset(self.chip, &self.registers);
        self.statistics.resets += 1;
        self.phase = Phase::Resetting { began: now };
    }

    /// A reset goes on: whether it is over.
    fn advance_reset(&mut self, began: Instant, now: Instant) {
        let passed = now.since(began);
        if passed < RESET_TIME {
            return;
        }
        let control = self.read(register::CTRL);
        if control == GONE || control & ctrl::RESET != 0 {
            if control == GONE || passed > RESET_TIME_MAX {
                self.fall_silent(now);
            }
            return;
        }
        self.take_back();
        self.program(control, now);
    }

    /// What was with the card is with us again. It must have been reset.
    fn take_back(&mut self) {
        self.abandon();
        while self.receive_count > 0 {
            self.buffers.unpost(self.posted[self.receive_first]);
            self.receive_first = (self.receive_first + 1) % RING;
            self.receive_count -= 1;
        }
        self.receive_first = 0;
        self.receive_shown = 0;
        self.skipping = false;
    }

    /// What was to be sent is not. Its pages are others'.
    fn abandon(&mut self) {
        self.statistics.lost += self.outgoing.abandon() as u64;
        self.transmit_first = 0;
        self.transmit_shown = 0;
        self.progress = None;
    }

    fn fall_silent(&mut self, now: Instant) {
        log::error!("{} {}: the card does not answer", self.chip.name, self.mac);
        self.set_link(Link::Down);
        self.abandon();
        self.phase = Phase::Silent {
            until: now.after(SILENT_TIME),
        };
    }

    /// Tells a card that was reset all that it has to know, and lets it run.
    fn program(&mut self, control: u32, now: Instant) {
        silence(&self.registers);
        // Reading clears what came before.
        self.read(register::ICR);
        if let Some(mac) = station(self.read(register::RAL), self.read(register::RAH)) {
            self.mac = mac;
        }
        let off = ctrl::LINK_RESET | ctrl::INVERT_LOSS | ctrl::VLAN_MODE | ctrl::PHY_RESET;
        let on = ctrl::AUTO_SPEED | ctrl::SET_LINK_UP;
        self.write(register::CTRL, control & !off | on);
        for word in 0..128 {
            self.write(register::MTA + 4 * word, 0);
        }
        self.write(register::RXCSUM, RXCSUM_ON);
        self.write(register::RDTR, 0);
        self.write(register::RADV, 0);
        self.write(register::TIDV, 0);
        self.write(register::ITR, ITR_INTERVAL);
        self.write(register::TIPG, TIPG_COPPER);

        self.receive_ring.zero(0, PAGE_SIZE);
        self.transmit_ring.zero(0, PAGE_SIZE);
        for (base, address) in [
            (register::RECEIVE_RING, self.receive_address),
            (register::TRANSMIT_RING, self.transmit_address),
        ] {
            self.write(base + register::LOW, address as u32);
            self.write(base + register::HIGH, (address >> 32) as u32);
            self.write(base + register::LENGTH, PAGE_SIZE as u32);
            self.write(base + register::HEAD, 0);
            self.write(base + register::TAIL, 0);
        }
        self.phase = Phase::Up;
        self.write(
            register::TCTL,
            tctl::ENABLE | tctl::PAD_SHORT | tctl::COLLISIONS,
        );
        let filter = match self.config.filter {
            Filter::All => rctl::ALL_STATIONS | rctl::ALL_GROUPS,
            Filter::Own => rctl::ALL_GROUPS,
        };
        let long = match self.config.mtu > 1500 {
            true => rctl::LONG,
            false => 0,
        };
        let receive = rctl::ENABLE | rctl::BROADCAST | rctl::BUFFER_4096 | rctl::STRIP_CRC;
        self.write(register::RCTL, receive | filter | long);
        self.post();
        self.show();
        if self.has_table() {
            let extended = self.read(register::CTRL_EXT);
            self.write(register::CTRL_EXT, extended | CTRL_EXT_PENDING);
            self.write(register::IVAR, IVAR_FIRST);
            self.write(register::EIAC, cause::TABLE);
        }
        self.arm();
        self.next_check = now;
        self.check(now);
    }

    fn has_table(&self) -> bool {
        self.interrupt.kind() == InterruptKind::MsiX
    }

    /// Lets interrupts come. A message takes the right to the next one with it.
    fn arm(&self) {
        let causes = match self.has_table() {
            true => cause::TABLE | cause::LINK,
            false => cause::WANTED,
        };
        self.write(register::IMS, causes);
    }

    /// Gives the card every free page.
    fn post(&mut self) {
        while self.receive_count < RING - 1
            && let Some((index, address)) = self.buffers.post()
        {
            let at = (self.receive_first + self.receive_count) % RING;
            self.posted[at] = index;
            let words = [address as u32, (address >> 32) as u32, 0, 0];
            store(&self.receive_ring, at, words);
            self.receive_count += 1;
        }
    }

    /// Shows the card what was posted and what is to be sent.
    fn show(&mut self) {
        let receive = (self.receive_first + self.receive_count) % RING;
        if receive != self.receive_shown {
            self.receive_shown = receive;
            self.write(register::RECEIVE_RING + register::TAIL, receive as u32);
        }
        let transmit = (self.transmit_first + self.outgoing.used()) % RING;
        if transmit != self.transmit_shown {
            self.transmit_shown = transmit;
            self.write(register::TRANSMIT_RING + register::TAIL, transmit as u32);
        }
    }

    fn set_link(&mut self, link: Link) {
        if link != self.link {
            self.link = link;
            self.statistics.link_changes += 1;
        }
    }

    /// Looks after the card: is it there, how is its cable, does it send.
    fn check(&mut self, now: Instant) {
        let status = self.read(register::STATUS);
        if status == GONE {
            self.fall_silent(now);
            return;
        }
        self.set_link(match status & status::LINK_UP != 0 {
            false => Link::Down,
            true => Link::Up(match status >> 6 & 3 {
                0 => 10,
                1 => 100,
                _ => 1000,
            }),
        });
        if now >= self.next_check {
            self.next_check = now.after(CHECK_TIME);
            self.statistics.missed += u64::from(self.read(register::MPC));
        }
        let since = self.progress.map_or(Duration::ZERO, |then| now.since(then));
        if self.link == Link::Down {
            // What waits for a cable is not late.
            self.progress = self.progress.map(|_| now);
        } else if since > SEND_TIME_MAX {
            log::error!("{} {}: sends nothing; reset", self.chip.name, self.mac);
            self.begin_reset(now);
        }
    }

    /// Takes back what was sent.
    fn reap(&mut self) {
        while let Some(count) = self.outgoing.oldest() {
            let last = (self.transmit_first + count - 1) % RING;
            let word = self.transmit_ring.word(16 * last + 12);
            if word.load(Ordering::Acquire) & SENT == 0 {
                return;
            }
            self.outgoing.finish_oldest();
            self.transmit_first = (self.transmit_first + count) % RING;
            // A new chance for the rest; its time is counted from when it is next looked at.
            self.progress = None;
        }
    }

    /// The frame that lies at the oldest descriptors: how many of them it has, and what the last one
    /// says. `Ok(None)`: it has not come whole. An error: so many descriptors hold no frame.
    fn peek(&self, lengths: &mut [u16; FRAME_SLOTS_MAX]) -> Result<Option<(usize, u32)>, usize> {
        for (count, length) in lengths.iter_mut().enumerate() {
            if count == self.receive_count {
                return Ok(None);
            }
            let at = (self.receive_first + count) % RING;
            let status = self.receive_ring.word(16 * at + 12).load(Ordering::Acquire);
            if status & received::DONE == 0 {
                return Ok(None);
            }
            // One copy, that is checked and used.
            *length = self.receive_ring.word(16 * at + 8).load(Ordering::Relaxed) as u16;
            if status & received::LAST != 0 {
                return Ok(Some((count + 1, status)));
            }
        }
        Err(FRAME_SLOTS_MAX)
    }

    /// Takes the oldest descriptor's buffer.
    fn take_buffer(&mut self) -> u16 {
        let index = self.posted[self.receive_first];
        self.receive_first = (self.receive_first + 1) % RING;
        self.receive_count -= 1;
        index
    }

    /// Drops what lies at the oldest descriptors.
    fn drop_buffers(&mut self, count: usize) {
        for _ in 0..count {
            let index = self.take_buffer();
            self.buffers.unpost(index);
        }
    }

    /// What is wrong with a frame, if anything.
    fn fault(&mut self, lengths: &[u16], status: u32) -> bool {
        let sound = |length: &u16| (1..=PAGE_SIZE).contains(&usize::from(*length));
        let total: usize = lengths.iter().map(|&length| usize::from(length)).sum();
        let counter = if status & received::DAMAGED != 0 {
            &mut self.statistics.dropped_error
        } else if !lengths.iter().all(sound) {
            &mut self.statistics.dropped_malformed
        } else if total < ETHERNET_HEADER || total > self.frame_max() {
            &mut self.statistics.dropped_size
        } else {
            return false;
        };
        *counter += 1;
        true
    }

    fn write_descriptor(&mut self, words: [u32; 4], carried: Carried<X::Page>) {
        let at = (self.transmit_first + self.outgoing.used()) % RING;
        store(&self.transmit_ring, at, words);
        self.outgoing.carry(carried);
    }
}

/// Writes descriptor `at`, its last word last.
fn store(ring: &impl SharedPage, at: usize, words: [u32; 4]) {
    for (number, word) in words.into_iter().enumerate() {
        let order = match number {
            3 => Ordering::Release,
            _ => Ordering::Relaxed,
        };
        ring.word(16 * at + 4 * number).store(word, order);
    }
}

/// The context that says where the checksum of the frame behind it is.
fn context(transport: Transport) -> [u32; 4] {
    let Transport {
        network,
        start,
        checksum,
        payload,
        is_ipv4,
    } = transport;
    let (network, start) = (u32::from(network), u32::from(start));
    // The network's own sum is never asked for, but its place has to make sense.
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
    [words[0], words[1], kind, 0]
}

impl<X: Hardware> Interface<X> for Intel<X> {
    fn id(&self) -> FrontId {
        self.id
    }

    fn peer(&self) -> DomId {
        CARD
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.config.mtu
    }

    fn is_open(&self) -> bool {
        self.phase == Phase::Up
    }

    fn egress(&self) -> Egress {
        Egress::Lends
    }

    fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        if self.phase != Phase::Up {
            return false;
        }
        // Each turn of this takes a descriptor at least, and nothing is posted meanwhile.
        for _ in 0..RING {
            let mut lengths = [0; FRAME_SLOTS_MAX];
            let (count, status) = match self.peek(&mut lengths) {
                Ok(Some(found)) => found,
                Ok(None) => return false,
                Err(count) => {
                    self.drop_buffers(count);
                    self.skipping = true;
                    continue;
                }
            };
            if self.skipping {
                // The end of one that was too long for its descriptors.
                self.skipping = false;
                self.statistics.dropped_size += 1;
                self.drop_buffers(count);
                continue;
            }
            if self.fault(&lengths[..count], status) {
                self.drop_buffers(count);
                continue;
            }
            frame.len = 0;
            for &len in &lengths[..count] {
                let index = self.take_buffer();
                let buffer = self.buffers.lend(index);
                let slice = Slice {
                    buffer,
                    offset: 0,
                    len,
                };
                assert!(frame.slots.push(slice).is_ok(), "the frame was empty");
                frame.len += u32::from(len);
            }
            let is_checked = status & (received::IGNORE_CHECKSUM | received::TRANSPORT_CHECKED)
                == received::TRANSPORT_CHECKED
                && status & received::TRANSPORT_WRONG == 0;
            frame.checksum = match is_checked {
                true => Checksum::Validated,
                false => Checksum::Unknown,
            };
            frame.gso = None;
            self.statistics.received_frames += 1;
            self.statistics.received_bytes += u64::from(frame.len);
            return true;
        }
        false
    }

    fn fetch(
        &mut self,
        slots: &mut heapless::VecView<Slice<X::Page>>,
    ) -> Result<(), TransmitError> {
        // What a card receives lies in pages of ours already.
        match slots.iter().all(|slice| slice.buffer.is_lendable()) {
            true => Ok(()),
            false => Err(TransmitError::Invalid),
        }
    }

    fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        if self.phase != Phase::Up {
            return Err(TransmitError::NotOpen);
        }
        let total = sound(head, tail, self.frame_max())?;
        if offload.gso.is_some() {
            return Err(TransmitError::NotOffered);
        }
        let transport = match offload.checksum {
            Checksum::Blank => Some(offload::transport(head).ok_or(TransmitError::NotOffered)?),
            _ => None,
        };
        let count = usize::from(transport.is_some()) + 1 + tail.len();
        if !self.outgoing.fits(count) {
            self.reap();
        }
        if !self.outgoing.fits(count) {
            return Err(TransmitError::Full);
        }
        let (place, address) = self.outgoing.place(head).ok_or(TransmitError::Full)?;

        let mut options = 0;
        if let Some(transport) = transport {
            self.write_descriptor(context(transport), Carried::Nothing);
            options = FILL_TRANSPORT;
        }
        let data = command::DATA | command::EXTENDED | command::ADD_CRC;
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
        self.statistics.transmitted_frames += 1;
        self.statistics.transmitted_bytes += total as u64;
        Ok(())
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        if self.phase == Phase::Up {
            self.reap();
        }
        self.outgoing.completed()
    }

    fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        if !self.buffers.recycle(&buffer) {
            self.statistics.foreign_tokens += 1;
        }
    }

    fn flush(&mut self) {
        if self.phase == Phase::Up {
            self.post();
            self.show();
        }
    }

    fn park_until(&mut self, _: Wake) -> Pending {
        if core::mem::take(&mut self.interrupted) {
            self.interrupt.end();
            if self.phase == Phase::Up && self.has_table() {
                self.arm();
            }
        }
        if self.phase == Phase::Up {
            self.reap();
        }
        let mut lengths = [0; FRAME_SLOTS_MAX];
        let has_frame = self.phase == Phase::Up && !matches!(self.peek(&mut lengths), Ok(None));
        match has_frame || self.outgoing.has_completed() {
            true => Pending::Work,
            false => Pending::Nothing,
        }
    }
}

impl<X: Hardware> Drop for Intel<X> {
    fn drop(&mut self) {
        if self.phase != Phase::Stopped {
            self.stop();
        }
    }
}

impl<X: Hardware> Nic<X> for Intel<X> {
    fn model(&self) -> &'static str {
        self.chip.name
    }

    fn interrupt_kind(&self) -> InterruptKind {
        self.interrupt.kind()
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Up => State::Up,
            Phase::Resetting { .. } => State::Resetting,
            Phase::Silent { .. } => State::Silent,
            Phase::Stopped => State::Stopped,
        }
    }

    fn link(&self) -> Link {
        self.link
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        if self.interrupt.take() {
            self.interrupted = true;
            self.statistics.interrupts += 1;
            if self.phase == Phase::Up {
                // Reading lets go of the line; with a table, writing forgets.
                let causes = self.read(register::ICR);
                if self.has_table() {
                    self.write(register::ICR, causes);
                }
                if causes == GONE || causes & cause::LINK != 0 {
                    self.check(now);
                }
            }
        }
        match self.phase {
            Phase::Up => {
                if self.outgoing.used() == 0 {
                    self.progress = None;
                } else if self.progress.is_none() {
                    self.progress = Some(now);
                }
                if now >= self.next_check {
                    self.check(now);
                }
            }
            Phase::Resetting { began } => self.advance_reset(began, now),
            Phase::Silent { until } if now >= until => self.begin_reset(now),
            Phase::Silent { .. } | Phase::Stopped => {}
        }
        match self.phase {
            Phase::Up if self.outgoing.used() > 0 => {
                Some(now.after(REAP_TIME).min(self.next_check))
            }
            Phase::Up => Some(self.next_check),
            Phase::Resetting { .. } => Some(now.after(RESET_TIME)),
            Phase::Silent { until } => Some(until),
            Phase::Stopped => None,
        }
    }

    fn reset(&mut self, now: Instant) {
        if self.phase != Phase::Stopped {
            self.begin_reset(now);
        }
    }

    fn stop(&mut self) {
        order_reset(self.chip, &self.registers);
        self.take_back();
        self.set_link(Link::Down);
        self.phase = Phase::Stopped;
        if core::mem::take(&mut self.interrupted) {
            self.interrupt.end();
        }
    }
}
