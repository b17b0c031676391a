//! A card's life, which is the same whatever it is: brought up, looked after, reset when it hangs, left
//! alone when it does not answer, stopped.

use super::buffers::Buffers;
use super::device::{Common, Condition, Corrupt, Device, Reset};
use super::{Config, Error, Link, Nic, START_TIME, State, Statistics, offload, sound};
use core::time::Duration;
use minios_rs::hardware::{CARD, Hardware};
use minios_rs::net::front::{TransmitError, Wake};
use minios_rs::net::{Egress, FrontId, Interface, MacAddress, Offload, Received, RxBuffer, Slice};
use minios_rs::pci::{Command, Function, Interrupt, InterruptKind};
use minios_rs::ring::Pending;
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::DomId;

/// How long a reset may take.
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

/// A card that is driven: whatever is the same for every [`Device`].
pub(super) struct Driver<X: Hardware, D: Device<X>> {
    xen: X,
    id: FrontId,
    mac: MacAddress,
    device: D,
    common: Common<X>,
    interrupt: Interrupt<X>,
    /// It came, and was not ended yet.
    is_interrupted: bool,
    phase: Phase,
    link: Link,
    next_check: Instant,
    /// When something last left, while something is to leave.
    progress: Option<Instant>,
}

impl<X: Hardware, D: Device<X>> Driver<X, D> {
    /// Brings a card up that stands still and is no bus master.
    pub(super) async fn start(
        device: D,
        interrupt: Interrupt<X>,
        function: &Function<X>,
        executor: &Executor,
        config: Config,
    ) -> Result<Self, Error> {
        let xen = function.xen();
        let id = FrontId::next();
        let mut driver = Self {
            xen: xen.clone(),
            id,
            mac: MacAddress([0; 6]),
            device,
            common: Common {
                config,
                buffers: Buffers::new(xen, id, config.buffers)?,
                statistics: Statistics::default(),
            },
            interrupt,
            is_interrupted: false,
            phase: Phase::Up,
            link: Link::Down,
            next_check: executor.now(),
            progress: None,
        };
        function
            .command(Command::MEMORY | Command::MASTER, Command::empty())
            .await?;
        driver.begin_reset(executor.now());
        let deadline = executor.now().after(START_TIME);
        while driver.phase != Phase::Up {
            if matches!(driver.phase, Phase::Silent { .. }) || executor.now() >= deadline {
                return Err(Error::Silent);
            }
            executor.sleep(D::RESET_STEP).await;
            driver.poll(executor.now());
        }
        driver.common.statistics.resets = 0;
        match driver.mac.is_station() {
            true => Ok(driver),
            false => Err(Error::NoAddress),
        }
    }

    fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    fn begin_reset(&mut self, now: Instant) {
        self.device.order_reset();
        self.common.statistics.resets += 1;
        self.phase = Phase::Resetting { began: now };
    }

    /// A reset goes on.
    fn advance_reset(&mut self, began: Instant, now: Instant) {
        let passed = now.since(began);
        match self.device.reset_state(passed) {
            Reset::Over => self.begin(now),
            Reset::Failed => self.fall_silent(now),
            Reset::UnderWay if passed > RESET_TIME_MAX => self.fall_silent(now),
            Reset::UnderWay => {}
        }
    }

    /// A reset is over.
    fn begin(&mut self, now: Instant) {
        self.take_back();
        let Ok(mac) = self.device.program(&mut self.common) else {
            self.fall_silent(now);
            return;
        };
        if let Some(mac) = mac.filter(|mac| mac.is_station()) {
            self.mac = mac;
        }
        self.phase = Phase::Up;
        self.device.post(&mut self.common.buffers);
        self.device.show();
        self.device.arm();
        self.next_check = now;
        self.check(now);
    }

    /// What was with the card is with us again. It must have been reset.
    fn take_back(&mut self) {
        self.abandon();
        self.device.take_back(&mut self.common.buffers);
    }

    fn abandon(&mut self) {
        self.common.statistics.lost += self.device.abandon();
        self.progress = None;
    }

    fn fall_silent(&mut self, now: Instant) {
        let model = self.device.model();
        log::error!("{model} {}: the card does not answer", self.mac);
        self.device.give_up();
        self.set_link(Link::Down);
        self.abandon();
        self.phase = Phase::Silent {
            until: now.after(SILENT_TIME),
        };
    }

    fn set_link(&mut self, link: Link) {
        if link != self.link {
            self.link = link;
            self.common.statistics.link_changes += 1;
        }
    }

    /// Looks after the card: is it there, how is its cable, does it send.
    fn check(&mut self, now: Instant) {
        match self.device.look() {
            Condition::Works(link) => self.set_link(link),
            Condition::Broken => {
                log::error!("{} {}: asks for a reset", self.device.model(), self.mac);
                self.begin_reset(now);
                return;
            }
            Condition::Gone => {
                self.fall_silent(now);
                return;
            }
        }
        if now >= self.next_check {
            self.next_check = now.after(CHECK_TIME);
            self.device.count(&mut self.common.statistics);
        }
        let since = self.progress.map_or(Duration::ZERO, |then| now.since(then));
        if self.link == Link::Down {
            // What waits for a cable is not late.
            self.progress = self.progress.map(|_| now);
        } else if since > SEND_TIME_MAX {
            let model = self.device.model();
            log::error!("{model} {}: sends nothing; reset", self.mac);
            self.begin_reset(now);
        }
    }

    /// The card's rings cannot be believed any more.
    fn break_down(&mut self) {
        let model = self.device.model();
        log::error!("{model} {}: its rings contradict themselves", self.mac);
        self.common.statistics.dropped_malformed += 1;
        let now = self.xen.now();
        self.begin_reset(now);
    }

    /// Takes back what was sent.
    fn reap(&mut self) {
        if !self.is_up() {
            return;
        }
        match self.device.reap() {
            // A new chance for the rest; its time is counted from when it is next looked at.
            Ok(true) => self.progress = None,
            Ok(false) => {}
            Err(Corrupt) => self.break_down(),
        }
    }
}

impl<X: Hardware, D: Device<X>> Interface<X> for Driver<X, D> {
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
        self.common.config.mtu
    }

    fn is_open(&self) -> bool {
        self.is_up()
    }

    fn egress(&self) -> Egress {
        Egress::Lends
    }

    fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        if !self.is_up() {
            return false;
        }
        match self.device.receive(&mut self.common, frame) {
            Ok(true) => {
                self.common.statistics.received_frames += 1;
                self.common.statistics.received_bytes += u64::from(frame.len);
                true
            }
            Ok(false) => false,
            Err(Corrupt) => {
                self.break_down();
                false
            }
        }
    }

    fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        if !self.is_up() {
            return Err(TransmitError::NotOpen);
        }
        let frame_max = match offload.gso {
            Some(gso) if !offload::segments_fit(head, gso, self.common.config.mtu) => {
                return Err(TransmitError::Size);
            }
            Some(_) => usize::from(u16::MAX),
            None => self.common.frame_max(),
        };
        let total = sound(head, tail, frame_max)?;
        let mut sent = self.device.transmit(head, tail, offload);
        if sent == Err(TransmitError::Full) {
            self.reap();
            sent = match self.is_up() {
                true => self.device.transmit(head, tail, offload),
                false => Err(TransmitError::NotOpen),
            };
        }
        if sent.is_ok() {
            self.common.statistics.transmitted_frames += 1;
            self.common.statistics.transmitted_bytes += total as u64;
        }
        sent
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.reap();
        self.device.completed()
    }

    fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        if !self.common.buffers.recycle(&buffer) {
            self.common.statistics.foreign_tokens += 1;
        }
    }

    fn flush(&mut self) {
        if self.is_up() {
            self.device.post(&mut self.common.buffers);
            self.device.show();
        }
    }

    fn park_until(&mut self, _: Wake) -> Pending {
        if core::mem::take(&mut self.is_interrupted) {
            self.interrupt.end();
            if self.is_up() {
                self.device.arm_again();
            }
        }
        self.reap();
        let has_frame = self.is_up() && self.device.has_frame();
        match has_frame || self.device.has_completed() {
            true => Pending::Work,
            false => Pending::Nothing,
        }
    }
}

impl<X: Hardware, D: Device<X>> Drop for Driver<X, D> {
    fn drop(&mut self) {
        if self.phase != Phase::Stopped {
            self.stop();
        }
    }
}

impl<X: Hardware, D: Device<X>> Nic<X> for Driver<X, D> {
    fn model(&self) -> &'static str {
        self.device.model()
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
        self.common.statistics
    }

    fn has_room(&mut self) -> bool {
        if !self.device.has_room() {
            self.reap();
        }
        !self.is_up() || self.device.has_room()
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        if self.interrupt.take() {
            self.is_interrupted = true;
            self.common.statistics.interrupts += 1;
            let state = self.state();
            if self.device.interrupted(state) && self.is_up() {
                self.check(now);
            }
        }
        match self.phase {
            Phase::Up => {
                if !self.device.is_sending() {
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
            Phase::Up if self.device.is_sending() => {
                Some(now.after(REAP_TIME).min(self.next_check))
            }
            Phase::Up => Some(self.next_check),
            Phase::Resetting { .. } => Some(now.after(D::RESET_STEP)),
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
        self.device.order_reset();
        self.take_back();
        self.set_link(Link::Down);
        self.phase = Phase::Stopped;
        if core::mem::take(&mut self.is_interrupted) {
            self.interrupt.end();
        }
    }
}
