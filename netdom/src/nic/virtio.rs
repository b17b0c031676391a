//! virtio-net behind PCI: version 1 ("modern"), split rings, behind an IOMMU if it says so. Checksums and
//! segmentation are left to the other end, both ways. (Virtual I/O Device Version 1.2, 2.7, 4.1 and 5.1.)

mod prefix;
mod queue;
mod receive;
mod registers;
mod transmit;

use super::buffers::Buffers;
use super::device::{Common, Condition, Corrupt, Device, Reset, Unfit};
use super::life::Driver;
use super::{Config, Error, Link, State};
use core::time::Duration;
use minios_rs::hardware::Hardware;
use minios_rs::net::front::TransmitError;
use minios_rs::net::{MacAddress, Offload, Received, RxBuffer, Slice};
use minios_rs::pci::{Command, Function, InterruptKind};
use minios_rs::task::Executor;
use receive::Receiver;
use registers::{Features, NO_VECTOR, Windows, common, status};
use transmit::Transmitter;

/// Red Hat's number, which virtio has.
pub(super) const VENDOR: u16 = 0x1af4;
/// A network card that is nothing else: 0x1040 and the device's number, 1.
pub(super) const DEVICE: u16 = 0x1041;

/// How often a card that is being reset is looked at.
const RESET_STEP: Duration = Duration::from_millis(5);

/// A virtio-net card.
pub(super) struct Virtio<X: Hardware> {
    windows: Windows<X>,
    kind: InterruptKind,
    features: Features,
    receiver: Receiver<X>,
    transmitter: Transmitter<X>,
}

/// Brings a card up.
pub(super) async fn start<X: Hardware>(
    function: &Function<X>,
    executor: &Executor,
    config: Config,
) -> Result<Driver<X, Virtio<X>>, Error> {
    let xen = function.xen();
    function.command(Command::MEMORY, Command::MASTER).await?;
    let windows = Windows::find(function).await?;
    // Whoever had it before may have left it running; it is no bus master before it stands still.
    windows.common.write8(common::STATUS, 0);
    executor.sleep(RESET_STEP).await;
    let interrupt = function.interrupt().await?;
    let card = Virtio {
        windows,
        kind: interrupt.kind(),
        features: Features::empty(),
        receiver: Receiver::new(xen)?,
        transmitter: Transmitter::new(xen)?,
    };
    Driver::start(card, interrupt, function, executor, config).await
}

impl<X: Hardware> Virtio<X> {
    fn status(&self) -> u8 {
        self.windows.common.read8(common::STATUS)
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
}

impl<X: Hardware> Device<X> for Virtio<X> {
    const RESET_STEP: Duration = RESET_STEP;

    fn model(&self) -> &'static str {
        "virtio-net"
    }

    fn order_reset(&self) {
        self.windows.common.write8(common::STATUS, 0);
    }

    fn reset_state(&self, _: Duration) -> Reset {
        match self.status() {
            0 => Reset::Over,
            status::GONE => Reset::Failed,
            _ => Reset::UnderWay,
        }
    }

    fn give_up(&self) {
        self.order_reset();
    }

    fn program(&mut self, _: &mut Common<X>) -> Result<Option<MacAddress>, Unfit> {
        let common = &self.windows.common;
        let started = status::ACKNOWLEDGE | status::DRIVER;
        common.write8(common::STATUS, status::ACKNOWLEDGE);
        common.write8(common::STATUS, started);
        let features = Self::wanted(self.offered());
        if !features.contains(Features::VERSION_1) {
            return Err(Unfit);
        }
        common.write32(common::DRIVER_FEATURE_SELECT, 0);
        common.write32(common::DRIVER_FEATURE, features.bits() as u32);
        common.write32(common::DRIVER_FEATURE_SELECT, 1);
        common.write32(common::DRIVER_FEATURE, (features.bits() >> 32) as u32);
        common.write8(common::STATUS, started | status::FEATURES_OK);
        if common.read8(common::STATUS) & status::FEATURES_OK == 0 {
            return Err(Unfit);
        }
        self.features = features;
        let vector = match self.kind {
            InterruptKind::MsiX => 0,
            _ => NO_VECTOR,
        };
        common.write16(common::CONFIG_VECTOR, vector);
        let windows = &self.windows;
        if !self.receiver.program(windows, vector, features)
            || !self.transmitter.program(windows, features)
        {
            return Err(Unfit);
        }
        let running = started | status::FEATURES_OK | status::DRIVER_OK;
        common.write8(common::STATUS, running);
        Ok(features.contains(Features::MAC).then(|| {
            let bytes = core::array::from_fn(|at| windows.device.read8(at));
            MacAddress(bytes)
        }))
    }

    fn interrupted(&mut self, _: State) -> bool {
        if self.kind == InterruptKind::Line {
            // Reading lets go of the line.
            self.windows.interrupt.read8(0);
        }
        true
    }

    fn look(&self) -> Condition {
        let status = self.status();
        if status == status::GONE {
            return Condition::Gone;
        }
        if status & status::NEEDS_RESET != 0 {
            return Condition::Broken;
        }
        let is_up =
            !self.features.contains(Features::STATUS) || self.windows.device.read16(6) & 1 != 0;
        Condition::Works(match is_up {
            true => Link::Up(0),
            false => Link::Down,
        })
    }

    fn post(&mut self, buffers: &mut Buffers<X>) {
        self.receiver.post(buffers);
    }

    fn show(&mut self) {
        self.receiver.show(&self.windows);
        self.transmitter.show(&self.windows);
    }

    fn has_frame(&self) -> bool {
        self.receiver.has_frame()
    }

    fn receive(
        &mut self,
        common: &mut Common<X>,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Corrupt> {
        self.receiver.take(common, frame)
    }

    fn transmit(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        self.transmitter.send(head, tail, offload)
    }

    fn has_room(&self) -> bool {
        self.transmitter.has_room()
    }

    fn is_sending(&self) -> bool {
        self.transmitter.is_sending()
    }

    fn reap(&mut self) -> Result<bool, Corrupt> {
        self.transmitter.reap()
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.transmitter.completed()
    }

    fn has_completed(&self) -> bool {
        self.transmitter.has_completed()
    }

    fn abandon(&mut self) -> u64 {
        self.transmitter.abandon()
    }

    fn take_back(&mut self, buffers: &mut Buffers<X>) {
        self.receiver.take_back(buffers);
    }
}
