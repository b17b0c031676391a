//! What Intel's gigabit cards have in common: registers, and rings of "legacy" and "extended"
//! descriptors of 16 bytes, of four words each.

mod receive;
mod registers;
mod transmit;

use super::buffers::Buffers;
use super::device::{Common, Condition, Corrupt, Device, Reset, Unfit};
use super::life::Driver;
use super::{Config, Error, Filter, Link, State, Statistics, station};
use core::sync::atomic::Ordering;
use core::time::Duration;
use minios_rs::hardware::{Hardware, Registers};
use minios_rs::net::front::TransmitError;
use minios_rs::net::{MacAddress, Offload, Received, RxBuffer, Slice};
use minios_rs::pci::{Command, Function, InterruptKind};
use minios_rs::task::Executor;
use minios_rs::xen::{PAGE_SIZE, SharedPage};
use receive::ReceiveRing;
use registers::{
    CTRL_EXT_PENDING, GONE, ITR_INTERVAL, IVAR_FIRST, REGISTERS, RXCSUM_ON, TIPG_COPPER, cause,
    ctrl, rctl, register, status, tctl,
};
use transmit::TransmitRing;

/// Intel's number.
pub(super) const VENDOR: u16 = 0x8086;

/// What one of the families is like.
pub(super) struct Chip {
    pub(super) name: &'static str,
    pub(super) devices: &'static [u16],
    /// PCI Express: it may have interrupts by a table, and is to end its transfers before a reset.
    pub(super) is_express: bool,
}

/// How long a reset takes at least.
const RESET_TIME: Duration = Duration::from_millis(10);
/// How often a card is looked at while its transfers end.
const MASTER_LOOKS: usize = 1000;

/// One of Intel's gigabit cards.
pub(super) struct Intel<X: Hardware> {
    chip: &'static Chip,
    registers: X::Registers,
    /// Its interrupts are messages of a table.
    has_table: bool,
    receive: ReceiveRing<X>,
    transmit: TransmitRing<X>,
}

/// Brings a card up.
pub(super) async fn start<X: Hardware>(
    chip: &'static Chip,
    function: &Function<X>,
    executor: &Executor,
    config: Config,
) -> Result<Driver<X, Intel<X>>, Error> {
    let xen = function.xen();
    function.command(Command::MEMORY, Command::MASTER).await?;
    let registers = function.map(0, REGISTERS, REGISTERS).await?;
    // Whoever had it before may have left it running; it is no bus master before it stands still.
    order_reset(chip, &registers);
    executor.sleep(RESET_TIME).await;
    silence(&registers);
    let interrupt = function.interrupt().await?;
    let card = Intel {
        chip,
        registers,
        has_table: interrupt.kind() == InterruptKind::MsiX,
        receive: ReceiveRing::new(xen)?,
        transmit: TransmitRing::new(xen)?,
    };
    Driver::start(card, interrupt, function, executor, config).await
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

/// Tells a card where a ring is, which is empty.
fn announce(registers: &impl Registers, base: usize, address: u64) {
    registers.write32(base + register::LOW, address as u32);
    registers.write32(base + register::HIGH, (address >> 32) as u32);
    registers.write32(base + register::LENGTH, PAGE_SIZE as u32);
    registers.write32(base + register::HEAD, 0);
    registers.write32(base + register::TAIL, 0);
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

impl<X: Hardware> Intel<X> {
    fn read(&self, register: usize) -> u32 {
        self.registers.read32(register)
    }

    fn write(&self, register: usize, value: u32) {
        self.registers.write32(register, value);
    }
}

impl<X: Hardware> Device<X> for Intel<X> {
    const RESET_STEP: Duration = RESET_TIME;

    fn model(&self) -> &'static str {
        self.chip.name
    }

    fn order_reset(&self) {
        order_reset(self.chip, &self.registers);
    }

    fn reset_state(&self, passed: Duration) -> Reset {
        if passed < RESET_TIME {
            return Reset::UnderWay;
        }
        match self.read(register::CTRL) {
            GONE => Reset::Failed,
            control if control & ctrl::RESET != 0 => Reset::UnderWay,
            _ => Reset::Over,
        }
    }

    fn program(&mut self, common: &mut Common<X>) -> Result<Option<MacAddress>, Unfit> {
        silence(&self.registers);
        // Reading clears what came before.
        self.read(register::ICR);
        let mac = station(self.read(register::RAL), self.read(register::RAH));
        let off = ctrl::LINK_RESET | ctrl::INVERT_LOSS | ctrl::VLAN_MODE | ctrl::PHY_RESET;
        let on = ctrl::AUTO_SPEED | ctrl::SET_LINK_UP;
        let control = self.read(register::CTRL);
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
        if self.has_table {
            let extended = self.read(register::CTRL_EXT);
            self.write(register::CTRL_EXT, extended | CTRL_EXT_PENDING);
            self.write(register::IVAR, IVAR_FIRST);
            self.write(register::EIAC, cause::TABLE);
        }
        self.receive.program(&self.registers);
        self.transmit.program(&self.registers);
        let transmit = tctl::ENABLE | tctl::PAD_SHORT | tctl::COLLISIONS;
        self.write(register::TCTL, transmit);
        let filter = match common.config.filter {
            Filter::All => rctl::ALL_STATIONS | rctl::ALL_GROUPS,
            Filter::Own => rctl::ALL_GROUPS,
        };
        let long = match common.config.mtu > 1500 {
            true => rctl::LONG,
            false => 0,
        };
        let receive = rctl::ENABLE | rctl::BROADCAST | rctl::BUFFER_4096 | rctl::STRIP_CRC;
        self.write(register::RCTL, receive | filter | long);
        Ok(mac)
    }

    fn arm(&self) {
        let causes = match self.has_table {
            true => cause::TABLE | cause::LINK,
            false => cause::WANTED,
        };
        self.write(register::IMS, causes);
    }

    fn arm_again(&self) {
        // A message takes the right to the next one with it; a line does not.
        if self.has_table {
            self.arm();
        }
    }

    fn interrupted(&mut self, state: State) -> bool {
        if state != State::Up {
            return false;
        }
        // Reading lets go of the line; with a table, writing forgets.
        let causes = self.read(register::ICR);
        if self.has_table {
            self.write(register::ICR, causes);
        }
        causes == GONE || causes & cause::LINK != 0
    }

    fn look(&self) -> Condition {
        let status = self.read(register::STATUS);
        if status == GONE {
            return Condition::Gone;
        }
        Condition::Works(match status & status::LINK_UP != 0 {
            false => Link::Down,
            true => Link::Up(match status >> 6 & 3 {
                0 => 10,
                1 => 100,
                _ => 1000,
            }),
        })
    }

    fn count(&self, statistics: &mut Statistics) {
        statistics.missed += u64::from(self.read(register::MPC));
    }

    fn post(&mut self, buffers: &mut Buffers<X>) {
        self.receive.post(buffers);
    }

    fn show(&mut self) {
        self.receive.show(&self.registers);
        self.transmit.show(&self.registers);
    }

    fn has_frame(&self) -> bool {
        self.receive.has_frame()
    }

    fn receive(
        &mut self,
        common: &mut Common<X>,
        frame: &mut Received<X::Page>,
    ) -> Result<bool, Corrupt> {
        Ok(self.receive.take(common, frame))
    }

    fn transmit(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        self.transmit.send(head, tail, offload)
    }

    fn has_room(&self) -> bool {
        self.transmit.has_room()
    }

    fn is_sending(&self) -> bool {
        self.transmit.outgoing.used() > 0
    }

    fn reap(&mut self) -> Result<bool, Corrupt> {
        Ok(self.transmit.reap())
    }

    fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.transmit.outgoing.completed()
    }

    fn has_completed(&self) -> bool {
        self.transmit.outgoing.has_completed()
    }

    fn abandon(&mut self) -> u64 {
        self.transmit.abandon()
    }

    fn take_back(&mut self, buffers: &mut Buffers<X>) {
        self.receive.take_back(buffers);
    }
}
