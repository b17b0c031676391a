//! virtio-net behind PCI: version 1 ("modern"), split rings, behind an IOMMU if it says so. Checksums and
//! segmentation are left to the other end, both ways. (Virtual I/O Device Version 1.2, 2.7, 4.1 and 5.1.)

use super::buffers::Buffers;
use super::offload;
use super::outgoing::{Carried, Heads};
use super::{Config, Error, Link, Nic, RING, START_TIME, State, Statistics, sound};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;
use minios_rs::hardware::{CARD, Hardware, REGISTERS_MAX, Registers};
use minios_rs::net::front::{HEAD_MAX, TransmitError, Wake};
use minios_rs::net::{
    Checksum, ETHERNET_HEADER, Egress, FRAME_SLOTS_MAX, FrontId, Gso, GsoKind, Interface,
    MacAddress, Offload, Received, RxBuffer, Slice,
};
use minios_rs::pci::{Command, Function, Interrupt, InterruptKind, capability};
use minios_rs::ring::Pending;
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::{DomId, PAGE_SIZE, SharedPage};

/// Red Hat's number, which virtio has.
pub(super) const VENDOR: u16 = 0x1af4;
/// A network card that is nothing else: 0x1040 and the device's number, 1.
pub(super) const DEVICE: u16 = 0x1041;

/// Places of the common registers.
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0;
    pub(super) const DEVICE_FEATURE: usize = 4;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 8;
    pub(super) const DRIVER_FEATURE: usize = 12;
    pub(super) const CONFIG_VECTOR: usize = 16;
    pub(super) const STATUS: usize = 20;
    pub(super) const QUEUE_SELECT: usize = 22;
    pub(super) const QUEUE_SIZE: usize = 24;
    pub(super) const QUEUE_VECTOR: usize = 26;
    pub(super) const QUEUE_ENABLE: usize = 28;
    pub(super) const QUEUE_NOTIFY: usize = 30;
    pub(super) const QUEUE_DESCRIPTORS: usize = 32;
    pub(super) const QUEUE_AVAILABLE: usize = 40;
    pub(super) const QUEUE_USED: usize = 48;
    pub(super) const LENGTH: usize = 56;
}

mod status {
    pub(super) const ACKNOWLEDGE: u8 = 1;
    pub(super) const DRIVER: u8 = 2;
    pub(super) const DRIVER_OK: u8 = 4;
    pub(super) const FEATURES_OK: u8 = 8;
    pub(super) const NEEDS_RESET: u8 = 0x40;
    /// What one that is gone reads as.
    pub(super) const GONE: u8 = 0xff;
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const CHECKSUM = 1 << 0;
        const GUEST_CHECKSUM = 1 << 1;
        const MAC = 1 << 5;
        const GUEST_TSO4 = 1 << 7;
        const GUEST_TSO6 = 1 << 8;
        const HOST_TSO4 = 1 << 11;
        const HOST_TSO6 = 1 << 12;
        const MERGED_BUFFERS = 1 << 15;
        const STATUS = 1 << 16;
        const VERSION_1 = 1 << 32;
        const ACCESS_PLATFORM = 1 << 33;
    }
}

/// What is said of each frame: `struct virtio_net_hdr` with the number of buffers.
const PREFIX: usize = 12;
/// In its flags: the checksum is to be filled in; it is right.
const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;
/// Its kinds of segmentation.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// And a bit of them that changes nothing here.
const GSO_ECN: u8 = 0x80;

/// A descriptor's flags: another one follows; the card writes.
const NEXT: u32 = 1;
const WRITE: u32 = 2;
/// Of the available ring: no interrupts.
const NO_INTERRUPT: u32 = 1;
/// Of the used ring: no notifications.
const NO_NOTIFY: u32 = 1;

/// No interrupt of the table.
const NO_VECTOR: u16 = 0xffff;

/// How long a reset may take.
const RESET_TIME_MAX: Duration = Duration::from_secs(1);
const RESET_STEP: Duration = Duration::from_millis(5);
/// How often a card is looked after.
const CHECK_TIME: Duration = Duration::from_secs(1);
/// How long a frame may take to leave before the card is reset.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// When to look for what was sent.
const REAP_TIME: Duration = Duration::from_millis(5);
/// How long a silent card is left alone.
const SILENT_TIME: Duration = Duration::from_secs(10);

/// The card's ring says what cannot be.
struct Corrupt;

/// A stretch of registers that a capability names.
struct Window<X: Hardware> {
    registers: Rc<X::Registers>,
    offset: usize,
}

impl<X: Hardware> Window<X> {
    fn read8(&self, at: usize) -> u8 {
        self.registers.read8(self.offset + at)
    }
    fn read16(&self, at: usize) -> u16 {
        self.registers.read16(self.offset + at)
    }
    fn read32(&self, at: usize) -> u32 {
        self.registers.read32(self.offset + at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.registers.write8(self.offset + at, value);
    }
    fn write16(&self, at: usize, value: u16) {
        self.registers.write16(self.offset + at, value);
    }
    fn write32(&self, at: usize, value: u32) {
        self.registers.write32(self.offset + at, value);
    }
    fn write64(&self, at: usize, value: u64) {
        self.write32(at, value as u32);
        self.write32(at + 4, (value >> 32) as u32);
    }
}

/// The four stretches that are used.
struct Windows<X: Hardware> {
    common: Window<X>,
    notify: Window<X>,
    notify_length: usize,
    notify_step: usize,
    interrupt: Window<X>,
    device: Window<X>,
}

/// What one of the capabilities says.
struct Stretch {
    bar: u16,
    offset: usize,
    length: usize,
}

impl<X: Hardware> Windows<X> {
    /// Finds and maps the first capability of each kind.
    async fn find(function: &Function<X>) -> Result<Self, Error> {
        let mut stretches: [Option<Stretch>; 4] = [None, None, None, None];
        let mut notify_step = 0;
        for place in function.capabilities().await? {
            if place.id != capability::VENDOR {
                continue;
            }
            let at = u16::from(place.offset);
            let kind = usize::from(function.read8(at + 3).await?);
            let Some(stretch) = kind.checked_sub(1).and_then(|kind| stretches.get_mut(kind)) else {
                continue;
            };
            let bar = u16::from(function.read8(at + 4).await?);
            // Others are reserved, and to be ignored.
            if stretch.is_some() || bar > 5 {
                continue;
            }
            *stretch = Some(Stretch {
                bar,
                offset: function.read32(at + 8).await? as usize,
                length: function.read32(at + 12).await? as usize,
            });
            if kind == 2 {
                notify_step = function.read32(at + 16).await? as usize;
            }
        }
        let mut bars: Vec<(u16, Rc<X::Registers>)> = Vec::new();
        let [common, notify, interrupt, device] = stretches;
        let notify_length = notify.as_ref().map_or(0, |stretch| stretch.length);
        let mut windows: Vec<Window<X>> = Vec::new();
        // The device's own: address and status.
        let lengths = [common::LENGTH, 2, 1, 8];
        for (stretch, least) in [common, notify, interrupt, device].into_iter().zip(lengths) {
            let missing = minios_rs::pci::Error::Missing("virtio registers");
            let stretch = stretch.ok_or(missing)?;
            let known = bars.iter().find(|(bar, _)| *bar == stretch.bar);
            let registers = match known {
                Some((_, registers)) => registers.clone(),
                None => {
                    let mapped = function.map(stretch.bar, least, REGISTERS_MAX).await?;
                    let mapped = Rc::new(mapped);
                    bars.push((stretch.bar, mapped.clone()));
                    mapped
                }
            };
            let end = stretch.offset.checked_add(stretch.length);
            let is_inside = end.is_some_and(|end| end <= registers.length());
            if !is_inside || stretch.length < least || !stretch.offset.is_multiple_of(4) {
                return Err(missing.into());
            }
            windows.push(Window {
                registers,
                offset: stretch.offset,
            });
        }
        let mut windows = windows.into_iter();
        let mut next = || windows.next().expect("four were pushed");
        Ok(Self {
            common: next(),
            notify: next(),
            notify_length,
            notify_step,
            interrupt: next(),
            device: next(),
        })
    }
}

/// A ring of descriptors, and the two in which they are given and come back: a page each.
struct Queue<X: Hardware> {
    number: u16,
    pages: [X::Page; 3],
    addresses: [u64; 3],
    /// Descriptors of it, as many as the card takes.
    size: usize,
    /// What the available ring holds, two numbers to a word: written here first.
    available: Vec<u32>,
    available_index: u16,
    shown_index: u16,
    used_index: u16,
    /// Where the card is told.
    notify: usize,
}

impl<X: Hardware> Queue<X> {
    fn new(xen: &X, number: u16) -> Result<Self, Error> {
        let pages = [
            xen.allocate_page()?,
            xen.allocate_page()?,
            xen.allocate_page()?,
        ];
        let addresses = [0, 1, 2].map(|page| xen.machine_address(&pages[page]));
        Ok(Self {
            number,
            pages,
            addresses,
            size: 0,
            available: Vec::new(),
            available_index: 0,
            shown_index: 0,
            used_index: 0,
            notify: 0,
        })
    }

    /// Sets it up with a card that was reset. False: the card has no such queue.
    fn program(&mut self, windows: &Windows<X>, vector: u16, flags: u32) -> bool {
        let common = &windows.common;
        common.write16(common::QUEUE_SELECT, self.number);
        let size = usize::from(common.read16(common::QUEUE_SIZE)).min(RING);
        // The largest power of two, as it has to be.
        let Some(size) = size.checked_ilog2().map(|log| 1usize << log) else {
            return false;
        };
        let place =
            usize::from(common.read16(common::QUEUE_NOTIFY)).checked_mul(windows.notify_step);
        let Some(place) = place.filter(|place| {
            place.is_multiple_of(2)
                && place
                    .checked_add(2)
                    .is_some_and(|end| end <= windows.notify_length)
        }) else {
            return false;
        };
        self.notify = place;
        self.size = size;
        self.available = alloc::vec![0; size / 2 + 1];
        self.available_index = 0;
        self.shown_index = 0;
        self.used_index = 0;
        for page in &self.pages {
            page.zero(0, PAGE_SIZE);
        }
        self.pages[1].word(0).store(flags, Ordering::Relaxed);
        common.write16(common::QUEUE_SIZE, size as u16);
        common.write16(common::QUEUE_VECTOR, vector);
        common.write64(common::QUEUE_DESCRIPTORS, self.addresses[0]);
        common.write64(common::QUEUE_AVAILABLE, self.addresses[1]);
        common.write64(common::QUEUE_USED, self.addresses[2]);
        common.write16(common::QUEUE_ENABLE, 1);
        true
    }

    fn describe(&self, at: usize, address: u64, len: usize, flags: u32, next: usize) {
        let words = [
            address as u32,
            (address >> 32) as u32,
            len as u32,
            flags | (next as u32) << 16,
        ];
        for (number, word) in words.into_iter().enumerate() {
            let place = self.pages[0].word(16 * at + 4 * number);
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Gives the card the chain that begins at a descriptor.
    fn give(&mut self, head: usize) {
        let slot = usize::from(self.available_index) % self.size;
        let shift = 16 * (slot % 2);
        let word = &mut self.available[slot / 2];
        *word = *word & !(0xffff << shift) | (head as u32) << shift;
        let place = self.pages[1].word(4 + 4 * (slot / 2));
        place.store(*word, Ordering::Relaxed);
        self.available_index = self.available_index.wrapping_add(1);
    }

    /// Shows the card what it was given, and tells it if it wants to be told.
    fn show(&mut self, windows: &Windows<X>) {
        if self.shown_index == self.available_index {
            return;
        }
        self.shown_index = self.available_index;
        let word = self.pages[1].word(0);
        let flags = word.load(Ordering::Relaxed) & 0xffff;
        word.store(
            flags | u32::from(self.available_index) << 16,
            Ordering::Release,
        );
        // What is shown has to be there before its wish is read.
        fence(Ordering::SeqCst);
        if self.pages[2].word(0).load(Ordering::Relaxed) & NO_NOTIFY == 0 {
            windows.notify.write16(self.notify, self.number);
        }
    }

    /// How many chains have come back that were not taken yet.
    fn came_back(&self, given: usize) -> Result<usize, Corrupt> {
        let index = (self.pages[2].word(0).load(Ordering::Acquire) >> 16) as u16;
        let count = usize::from(index.wrapping_sub(self.used_index));
        match count <= given {
            true => Ok(count),
            false => Err(Corrupt),
        }
    }

    /// The chain that came back `ahead` of the next one: its first descriptor and the bytes written.
    fn back(&self, ahead: usize) -> (usize, usize) {
        let slot = (usize::from(self.used_index) + ahead) % self.size;
        let read = |at: usize| self.pages[2].word(at).load(Ordering::Relaxed) as usize;
        (read(4 + 8 * slot), read(8 + 8 * slot))
    }

    fn advance(&mut self, count: usize) {
        self.used_index = self.used_index.wrapping_add(count as u16);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up,
    Resetting { began: Instant },
    Silent { until: Instant },
    Stopped,
}

/// A frame on its way out.
struct Chain<P> {
    carried: heapless::Vec<Carried<P>, FRAME_SLOTS_MAX>,
    descriptors: heapless::Vec<u16, FRAME_SLOTS_MAX>,
}

/// A virtio-net card.
pub(super) struct Virtio<X: Hardware> {
    xen: X,
    id: FrontId,
    mac: MacAddress,
    config: Config,
    windows: Windows<X>,
    interrupt: Interrupt<X>,
    interrupted: bool,
    phase: Phase,
    features: Features,
    link: Link,
    statistics: Statistics,
    next_check: Instant,

    receive: Queue<X>,
    buffers: Buffers<X>,
    /// The buffer of each descriptor that the card has.
    posted: Vec<Option<u16>>,
    receive_free: Vec<u16>,

    transmit: Queue<X>,
    heads: Heads<X>,
    /// By their first descriptor.
    chains: Vec<Option<Chain<X::Page>>>,
    transmit_free: Vec<u16>,
    in_flight: usize,
    completed: VecDeque<RxBuffer<X::Page>>,
    progress: Option<Instant>,
}

/// Brings a card up.
pub(super) async fn start<X: Hardware>(
    function: &Function<X>,
    executor: &Executor,
    config: Config,
) -> Result<Virtio<X>, Error> {
    let xen = function.xen();
    function.command(Command::MEMORY, Command::MASTER).await?;
    let windows = Windows::find(function).await?;
    // Whoever had it before may have left it running; it is no bus master before it stands still.
    windows.common.write8(common::STATUS, 0);
    executor.sleep(RESET_STEP).await;
    let interrupt = function.interrupt().await?;
    let id = FrontId::next();
    let mut card = Virtio {
        xen: xen.clone(),
        id,
        mac: MacAddress([0; 6]),
        config,
        windows,
        interrupt,
        interrupted: false,
        phase: Phase::Up,
        features: Features::empty(),
        link: Link::Down,
        statistics: Statistics::default(),
        next_check: executor.now(),
        receive: Queue::new(xen, 0)?,
        buffers: Buffers::new(xen, id, config.buffers)?,
        posted: alloc::vec![None; RING],
        receive_free: Vec::new(),
        transmit: Queue::new(xen, 1)?,
        heads: Heads::new(xen)?,
        chains: (0..RING).map(|_| None).collect(),
        transmit_free: Vec::new(),
        in_flight: 0,
        completed: VecDeque::with_capacity(RING),
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
        executor.sleep(RESET_STEP).await;
        card.poll(executor.now());
    }
    card.statistics.resets = 0;
    match card.mac.is_station() {
        true => Ok(card),
        false => Err(Error::NoAddress),
    }
}

impl<X: Hardware> Virtio<X> {
    fn status(&self) -> u8 {
        self.windows.common.read8(common::STATUS)
    }

    fn begin_reset(&mut self, now: Instant) {
        self.windows.common.write8(common::STATUS, 0);
        self.statistics.resets += 1;
        self.phase = Phase::Resetting { began: now };
    }

    fn advance_reset(&mut self, began: Instant, now: Instant) {
        match self.status() {
            0 => {
                self.take_back();
                if !self.program(now) {
                    self.fall_silent(now);
                }
            }
            status::GONE => self.fall_silent(now),
            _ if now.since(began) > RESET_TIME_MAX => self.fall_silent(now),
            _ => {}
        }
    }

    /// What was with the card is with us again. It must have been reset.
    fn take_back(&mut self) {
        self.abandon();
        for posted in &mut self.posted {
            if let Some(index) = posted.take() {
                self.buffers.unpost(index);
            }
        }
    }

    /// What was to be sent is not. Its pages are others'.
    fn abandon(&mut self) {
        for head in 0..RING {
            if self.chains[head].is_some() {
                self.statistics.lost += 1;
                self.finish(head);
            }
        }
        self.progress = None;
    }

    fn fall_silent(&mut self, now: Instant) {
        log::error!("virtio-net {}: the card does not answer", self.mac);
        self.windows.common.write8(common::STATUS, 0);
        self.set_link(Link::Down);
        self.abandon();
        self.phase = Phase::Silent {
            until: now.after(SILENT_TIME),
        };
    }

    fn set_link(&mut self, link: Link) {
        if link != self.link {
            self.link = link;
            self.statistics.link_changes += 1;
        }
    }

    fn offered(&self) -> Features {
        let common = &self.windows.common;
        common.write32(common::DEVICE_FEATURE_SELECT, 0);
        let low = common.read32(common::DEVICE_FEATURE);
        common.write32(common::DEVICE_FEATURE_SELECT, 1);
        let high = common.read32(common::DEVICE_FEATURE);
        Features::from_bits_truncate(u64::from(high) << 32 | u64::from(low))
    }

    /// What of it is taken: none without what it stands on.
    fn wanted(mut offered: Features) -> Features {
        if !offered.contains(Features::CHECKSUM) {
            offered.remove(Features::HOST_TSO4 | Features::HOST_TSO6);
        }
        // Without merged buffers a page would have to hold the longest frame.
        if !offered.contains(Features::GUEST_CHECKSUM | Features::MERGED_BUFFERS) {
            offered.remove(Features::GUEST_TSO4 | Features::GUEST_TSO6);
        }
        offered
    }

    /// Tells a card that was reset all that it has to know, and lets it run. False: it cannot be had.
    fn program(&mut self, now: Instant) -> bool {
        let common = &self.windows.common;
        let started = status::ACKNOWLEDGE | status::DRIVER;
        common.write8(common::STATUS, status::ACKNOWLEDGE);
        common.write8(common::STATUS, started);
        let features = Self::wanted(self.offered());
        if !features.contains(Features::VERSION_1) {
            return false;
        }
        common.write32(common::DRIVER_FEATURE_SELECT, 0);
        common.write32(common::DRIVER_FEATURE, features.bits() as u32);
        common.write32(common::DRIVER_FEATURE_SELECT, 1);
        common.write32(common::DRIVER_FEATURE, (features.bits() >> 32) as u32);
        common.write8(common::STATUS, started | status::FEATURES_OK);
        if common.read8(common::STATUS) & status::FEATURES_OK == 0 {
            return false;
        }
        self.features = features;
        if features.contains(Features::MAC) {
            let bytes = core::array::from_fn(|at| self.windows.device.read8(at));
            self.mac = MacAddress(bytes);
        }
        let vector = match self.interrupt.kind() {
            InterruptKind::MsiX => 0,
            _ => NO_VECTOR,
        };
        common.write16(common::CONFIG_VECTOR, vector);
        // What was sent is looked for by time.
        let programmed = self.receive.program(&self.windows, vector, 0)
            && self
                .transmit
                .program(&self.windows, NO_VECTOR, NO_INTERRUPT);
        if !programmed {
            return false;
        }
        self.receive_free = (0..self.receive.size as u16).rev().collect();
        self.transmit_free = (0..self.transmit.size as u16).rev().collect();
        self.in_flight = 0;
        let running = started | status::FEATURES_OK | status::DRIVER_OK;
        self.windows.common.write8(common::STATUS, running);
        self.phase = Phase::Up;
        self.post();
        self.receive.show(&self.windows);
        self.next_check = now;
        self.check(now);
        true
    }

    /// Gives the card every free page.
    fn post(&mut self) {
        while let Some(&at) = self.receive_free.last() {
            let Some((index, address)) = self.buffers.post() else {
                return;
            };
            self.receive_free.pop();
            let at = usize::from(at);
            self.posted[at] = Some(index);
            self.receive.describe(at, address, PAGE_SIZE, WRITE, 0);
            self.receive.give(at);
        }
    }

    fn check(&mut self, now: Instant) {
        let status = self.status();
        if status == status::GONE {
            self.fall_silent(now);
            return;
        }
        if status & status::NEEDS_RESET != 0 {
            log::error!("virtio-net {}: asks for a reset", self.mac);
            self.begin_reset(now);
            return;
        }
        if now >= self.next_check {
            self.next_check = now.after(CHECK_TIME);
        }
        let is_up =
            !self.features.contains(Features::STATUS) || self.windows.device.read16(6) & 1 != 0;
        self.set_link(match is_up {
            true => Link::Up(0),
            false => Link::Down,
        });
        let since = self.progress.map_or(Duration::ZERO, |then| now.since(then));
        if self.link == Link::Down {
            // What waits for a cable is not late.
            self.progress = self.progress.map(|_| now);
        } else if since > SEND_TIME_MAX {
            log::error!("virtio-net {}: sends nothing; reset", self.mac);
            self.begin_reset(now);
        }
    }

    /// The card's rings cannot be believed any more.
    fn break_down(&mut self) {
        log::error!("virtio-net {}: its rings contradict themselves", self.mac);
        self.statistics.dropped_malformed += 1;
        let now = self.xen.now();
        self.begin_reset(now);
    }

    /// Gives back what the chain that begins at a descriptor carried.
    fn finish(&mut self, head: usize) {
        let Some(chain) = self.chains.get_mut(head).and_then(Option::take) else {
            return;
        };
        for carried in chain.carried {
            match carried {
                Carried::Head(place) => self.heads.free(place),
                Carried::Tail(buffer) => self.completed.push_back(buffer),
                Carried::Nothing => {}
            }
        }
        self.transmit_free.extend(chain.descriptors);
        self.in_flight -= 1;
    }

    fn reap(&mut self) {
        let Ok(count) = self.transmit.came_back(self.in_flight) else {
            self.break_down();
            return;
        };
        for _ in 0..count {
            let (head, _) = self.transmit.back(0);
            if self.chains.get(head).is_none_or(Option::is_none) {
                self.break_down();
                return;
            }
            self.finish(head);
            self.transmit.advance(1);
            self.progress = None;
        }
    }

    fn with_card(&self) -> usize {
        self.receive.size - self.receive_free.len()
    }

    /// Takes the next buffer that came back, and how much of it is written.
    fn take_buffer(&mut self) -> Result<(u16, usize), Corrupt> {
        let (at, len) = self.receive.back(0);
        let posted = self.posted.get_mut(at).and_then(Option::take);
        let index = posted.ok_or(Corrupt)?;
        self.receive.advance(1);
        self.receive_free.push(at as u16);
        Ok((index, len))
    }

    /// Drops `count` buffers that came back.
    fn drop_buffers(&mut self, count: usize) -> Result<(), Corrupt> {
        for _ in 0..count {
            let (index, _) = self.take_buffer()?;
            self.buffers.unpost(index);
        }
        Ok(())
    }

    /// Takes the next frame. `Ok(false)`: none has come.
    fn take_frame(&mut self, frame: &mut Received<X::Page>) -> Result<bool, Corrupt> {
        // Each turn takes a buffer at least, and none is given meanwhile.
        for _ in 0..RING {
            let ready = self.receive.came_back(self.with_card())?;
            if ready == 0 {
                return Ok(false);
            }
            let (index, len) = self.take_buffer()?;
            let first = self.buffers.lend(index);
            let mut prefix = [0; PREFIX];
            if let Some(page) = first.page() {
                page.read(0, &mut prefix);
            }
            let count = match self.features.contains(Features::MERGED_BUFFERS) {
                true => usize::from(u16::from_le_bytes([prefix[10], prefix[11]])),
                false => 1,
            };
            if count == 0
                || count > ready
                || count > FRAME_SLOTS_MAX
                || !(PREFIX + 1..=PAGE_SIZE).contains(&len)
            {
                self.buffers.recycle(&first);
                self.statistics.dropped_malformed += 1;
                self.drop_buffers(count.clamp(1, ready) - 1)?;
                continue;
            }
            frame.len = (len - PREFIX) as u32;
            let slice = Slice {
                buffer: first,
                offset: PREFIX as u16,
                len: (len - PREFIX) as u16,
            };
            assert!(frame.slots.push(slice).is_ok(), "the frame was empty");
            let mut is_sound = true;
            for _ in 1..count {
                let (index, len) = match self.take_buffer() {
                    Ok(taken) => taken,
                    Err(corrupt) => {
                        self.give_up(frame);
                        return Err(corrupt);
                    }
                };
                is_sound &= (1..=PAGE_SIZE).contains(&len);
                frame.len += len.min(PAGE_SIZE) as u32;
                let slice = Slice {
                    buffer: self.buffers.lend(index),
                    offset: 0,
                    len: len.min(PAGE_SIZE) as u16,
                };
                assert!(frame.slots.push(slice).is_ok(), "no more than fit");
            }
            let described = describe(&prefix);
            let plain_max = usize::from(self.config.mtu) + ETHERNET_HEADER + 4;
            match described {
                Some((checksum, gso)) if is_sound => {
                    let len = frame.len as usize;
                    let len_max = if gso.is_some() {
                        usize::from(u16::MAX)
                    } else {
                        plain_max
                    };
                    if (ETHERNET_HEADER..=len_max).contains(&len) {
                        frame.checksum = checksum;
                        frame.gso = gso;
                        self.statistics.received_frames += 1;
                        self.statistics.received_bytes += len as u64;
                        return Ok(true);
                    }
                    self.statistics.dropped_size += 1;
                }
                _ => self.statistics.dropped_malformed += 1,
            }
            self.give_up(frame);
        }
        Ok(false)
    }

    /// Takes a frame's buffers back that nobody is to see.
    fn give_up(&mut self, frame: &mut Received<X::Page>) {
        while let Some(slice) = frame.slots.pop() {
            self.buffers.recycle(&slice.buffer);
        }
        frame.len = 0;
    }
}

/// What the card says of a frame it received; `None` if that cannot be.
fn describe(prefix: &[u8; PREFIX]) -> Option<(Checksum, Option<Gso>)> {
    let checksum = match prefix[0] {
        flags if flags & NEEDS_CHECKSUM != 0 => Checksum::Blank,
        flags if flags & CHECKSUM_VALID != 0 => Checksum::Validated,
        _ => Checksum::Unknown,
    };
    let kind = match prefix[1] & !GSO_ECN {
        GSO_NONE => return Some((checksum, None)),
        GSO_TCPV4 => GsoKind::TcpV4,
        GSO_TCPV6 => GsoKind::TcpV6,
        _ => return None,
    };
    let size = u16::from_le_bytes([prefix[4], prefix[5]]);
    match checksum {
        Checksum::Blank if size != 0 => Some((checksum, Some(Gso { kind, size }))),
        _ => None,
    }
}

/// What the card is to do with a frame.
fn prefix_of(head: &[u8], offload: Offload) -> Result<[u8; PREFIX], TransmitError> {
    let mut prefix = [0; PREFIX];
    if offload.checksum != Checksum::Blank {
        return match offload.gso {
            None => Ok(prefix),
            Some(_) => Err(TransmitError::Invalid),
        };
    }
    let transport = offload::transport(head).ok_or(TransmitError::NotOffered)?;
    prefix[0] = NEEDS_CHECKSUM;
    prefix[6..8].copy_from_slice(&transport.start.to_le_bytes());
    let place = transport.checksum - transport.start;
    prefix[8..10].copy_from_slice(&place.to_le_bytes());
    if let Some(gso) = offload.gso {
        let is_tcp = transport.payload != 0 && usize::from(transport.payload) <= head.len();
        let fits = (gso.kind == GsoKind::TcpV4) == transport.is_ipv4;
        if !is_tcp || !fits || gso.size == 0 {
            return Err(TransmitError::Invalid);
        }
        prefix[1] = match gso.kind {
            GsoKind::TcpV4 => GSO_TCPV4,
            GsoKind::TcpV6 => GSO_TCPV6,
        };
        prefix[2..4].copy_from_slice(&transport.payload.to_le_bytes());
        prefix[4..6].copy_from_slice(&gso.size.to_le_bytes());
    }
    Ok(prefix)
}

impl<X: Hardware> Interface<X> for Virtio<X> {
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
        match self.take_frame(frame) {
            Ok(came) => came,
            Err(Corrupt) => {
                self.break_down();
                false
            }
        }
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
        let frame_max = match offload.gso {
            Some(_) => usize::from(u16::MAX),
            None => usize::from(self.config.mtu) + ETHERNET_HEADER + 4,
        };
        let total = sound(head, tail, frame_max)?;
        // QEMU offers none where what is behind it cannot fill them in.
        let mut own = [0; HEAD_MAX];
        let own = &mut own[..head.len()];
        let (head, offload) = match offload {
            Offload {
                checksum: Checksum::Blank,
                gso: None,
            } if !self.features.contains(Features::CHECKSUM) => {
                own.copy_from_slice(head);
                match offload::fill(own, tail) {
                    true => (&*own, Offload::default()),
                    false => return Err(TransmitError::NotOffered),
                }
            }
            offload => (head, offload),
        };
        let needed = match offload {
            Offload { gso: Some(gso), .. } if gso.kind == GsoKind::TcpV4 => Features::HOST_TSO4,
            Offload { gso: Some(_), .. } => Features::HOST_TSO6,
            _ => Features::empty(),
        };
        if !self.features.contains(needed) {
            return Err(TransmitError::NotOffered);
        }
        let prefix = prefix_of(head, offload)?;
        let count = 1 + tail.len();
        if self.transmit_free.len() < count || self.heads.is_empty() {
            self.reap();
        }
        if self.phase != Phase::Up {
            return Err(TransmitError::NotOpen);
        }
        if self.transmit_free.len() < count {
            return Err(TransmitError::Full);
        }
        let (place, address) = self.heads.place(&prefix, head).ok_or(TransmitError::Full)?;
        let mut chain = Chain {
            carried: heapless::Vec::new(),
            descriptors: heapless::Vec::new(),
        };
        let mut pieces = heapless::Vec::<(u64, usize), FRAME_SLOTS_MAX>::new();
        let _ = pieces.push((address, PREFIX + head.len()));
        let _ = chain.carried.push(Carried::Head(place));
        while !tail.is_empty() {
            let slice = tail.remove(0);
            let Some(page) = slice.buffer.page() else {
                unreachable!("each was found lendable");
            };
            let address = self.xen.machine_address(page) + u64::from(slice.offset);
            let _ = pieces.push((address, slice.len.into()));
            let _ = chain.carried.push(Carried::Tail(slice.buffer));
        }
        for _ in 0..count {
            let free = self.transmit_free.pop().expect("so many are free");
            let _ = chain.descriptors.push(free);
        }
        for (number, (address, len)) in pieces.into_iter().enumerate() {
            let at = usize::from(chain.descriptors[number]);
            match chain.descriptors.get(number + 1) {
                Some(&next) => self.transmit.describe(at, address, len, NEXT, next.into()),
                None => self.transmit.describe(at, address, len, 0, 0),
            }
        }
        let first = usize::from(chain.descriptors[0]);
        self.chains[first] = Some(chain);
        self.in_flight += 1;
        self.transmit.give(first);
        self.statistics.transmitted_frames += 1;
        self.statistics.transmitted_bytes += total as u64;
        Ok(())
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        if self.phase == Phase::Up {
            self.reap();
        }
        self.completed.pop_front()
    }

    fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        if !self.buffers.recycle(&buffer) {
            self.statistics.foreign_tokens += 1;
        }
    }

    fn flush(&mut self) {
        if self.phase == Phase::Up {
            self.post();
            self.receive.show(&self.windows);
            self.transmit.show(&self.windows);
        }
    }

    fn park_until(&mut self, _: Wake) -> Pending {
        if core::mem::take(&mut self.interrupted) {
            self.interrupt.end();
        }
        if self.phase == Phase::Up {
            self.reap();
        }
        let has_frame =
            self.phase == Phase::Up && !matches!(self.receive.came_back(self.with_card()), Ok(0));
        match has_frame || !self.completed.is_empty() {
            true => Pending::Work,
            false => Pending::Nothing,
        }
    }
}

impl<X: Hardware> Drop for Virtio<X> {
    fn drop(&mut self) {
        if self.phase != Phase::Stopped {
            self.stop();
        }
    }
}

impl<X: Hardware> Nic<X> for Virtio<X> {
    fn model(&self) -> &'static str {
        "virtio-net"
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
            if self.interrupt.kind() == InterruptKind::Line {
                // Reading lets go of the line.
                self.windows.interrupt.read8(0);
            }
            if self.phase == Phase::Up {
                self.check(now);
            }
        }
        match self.phase {
            Phase::Up => {
                if self.in_flight == 0 {
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
            Phase::Up if self.in_flight > 0 => Some(now.after(REAP_TIME).min(self.next_check)),
            Phase::Up => Some(self.next_check),
            Phase::Resetting { .. } => Some(now.after(RESET_STEP)),
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
        self.windows.common.write8(common::STATUS, 0);
        self.take_back();
        self.set_link(Link::Down);
        self.phase = Phase::Stopped;
        if core::mem::take(&mut self.interrupted) {
            self.interrupt.end();
        }
    }
}
