//! Power management: Intel 82371AB (PIIX4), function 00:01.3, with what the ACPI tables of Xen's
//! firmware expect beside it: general-purpose events, and the registers of PCI and processor hotplug.
//!
//! The event registers PM1a_EVT and the timer are Xen's, which takes their ports before we see them.

use super::Action;
use super::i440fx::CHIPSET;
use crate::bus::Width;
use crate::device::pci::{Configuration, Identity, Pin, STATUS_BACK_TO_BACK, STATUS_MEDIUM_TIMING};
use serde::{Deserialize, Serialize};

/// A block of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The function's own, PMBA.
    Pm,
    /// Advanced power management: SMI_CMD and its status.
    Apm,
    /// General-purpose events 0.
    Gpe0,
    /// PCI hotplug: what came, what goes, what can be ejected.
    PciHotplug,
    /// Processor hotplug: a bit for each that is there.
    CpuHotplug,
}

impl Block {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pm,
        Self::Apm,
        Self::Gpe0,
        Self::PciHotplug,
        Self::CpuHotplug,
    ];

    /// Its first and its last port.
    pub const fn ports(self) -> (u16, u16) {
        match self {
            Self::Pm => (0xb000, 0xb03f),
            Self::Apm => (0xb2, 0xb3),
            Self::Gpe0 => (0xafe0, 0xafe3),
            Self::PciHotplug => (0xae00, 0xae13),
            Self::CpuHotplug => (0xaf00, 0xaf1f),
        }
    }
}

/// Byte of PM1a_CNT in [`Block::Pm`].
const PM1A_CNT: usize = 4;
const SCI_ENABLE: u16 = 1 << 0;
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_TYPE: u16 = 0b111 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;
/// BM_RLD and SLP_TYP; SCI_EN is changed by SMI_CMD, and the others act once.
const CNT_WRITABLE: u16 = SLEEP_TYPE | 1 << 1;

/// DEVACTB: what is written to SMI_CMD causes a system management interrupt (APMC_EN). It is set from the start, as QEMU
/// sets it where there is no system management mode: firmware that finds it set has nothing to set up.
const SMI_COMMAND_ENABLE: u32 = 1 << 25;
/// DEVRESA: the chip decodes the keyboard controller's ports (device 11).
const KEYBOARD_ENABLE: u32 = 1 << 28;
/// DEVRESB: as QEMU's has it, whatever else there is.
const DEVRESB: u32 = 0b11 << 29;
/// DEVRESC: serial port A is decoded, at 0x3f8.
const SERIAL_A_ENABLE: u32 = 1 << 27;
/// The same: serial port B, where the three bits below say it is: 1 is 0x2f8.
const SERIAL_B_ENABLE: u32 = 1 << 31 | 1 << 28;

/// SMBBA: where the SMBus' host controller would be. It is not enabled (SMBHSTCFG is 0): no bus hangs off it.
const SMBUS_BASE: u32 = 0xb100 | 1;

/// What the firmware's `_S5`, `_S3` and `_S4` have in SLP_TYP.
const TYPE_S5: u16 = 0;
const TYPE_S3: u16 = 1;
const TYPE_S4: u16 = 6;

const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;

/// The event that has the firmware's AML look which processors there are.
const EVENT_CPU: u16 = 1 << 2;

/// Processors that the registers of [`Block::CpuHotplug`] have bits for.
pub const VCPUS_MAX: usize = 256;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piix4Pm {
    /// Its configuration space.
    pub configuration: Configuration,
    control: u16,
    apm: [u8; 2],
    gpe_status: u16,
    gpe_enable: u16,
    vcpus: [u8; VCPUS_MAX / 8],
    pci_bus: u32,
    action: Option<Action>,
}

impl Piix4Pm {
    /// The function as it is after a reset, for a guest that starts with so many processors and has so many serial
    /// ports.
    pub fn new(vcpus: usize, serials: usize) -> Self {
        let serials = match serials {
            0 => 0,
            1 => SERIAL_A_ENABLE,
            _ => SERIAL_A_ENABLE | SERIAL_B_ENABLE,
        };
        let configuration = Configuration::new(Identity {
            id: (0x8086, 0x7113),
            revision: 0x03,
            class: 0x06_80_00,
            subsystem: CHIPSET,
        })
        .with_pin(Pin::A)
        .with_status(STATUS_BACK_TO_BACK | STATUS_MEDIUM_TIMING)
        // PMBA: where the firmware's tables say, and nowhere else.
        .with_register(0x40, 0xb001, 0)
        // What else of the board the chip decodes, which nobody here goes by.
        .with_register(0x58, SMI_COMMAND_ENABLE, u32::MAX)
        .with_register(0x5c, KEYBOARD_ENABLE, u32::MAX)
        .with_register(0x60, DEVRESB, u32::MAX)
        .with_register(0x64, serials, u32::MAX)
        // PMREGMISC: it is enabled.
        .with_register(0x80, 0x01, 0)
        .with_register(0x90, SMBUS_BASE, 0);
        let mut new = Self {
            configuration,
            control: 0,
            apm: [0; 2],
            gpe_status: 0,
            gpe_enable: 0,
            vcpus: [0; VCPUS_MAX / 8],
            pci_bus: 0,
            action: None,
        };
        for vcpu in 0..vcpus.min(VCPUS_MAX) {
            new.vcpus[vcpu / 8] |= 1 << (vcpu % 8);
        }
        new
    }

    /// Reads from a block.
    pub fn read(&self, block: Block, offset: usize, width: Width) -> u32 {
        width.gather(|at| {
            let offset = offset.wrapping_add(at);
            match block {
                Block::Pm => match offset {
                    PM1A_CNT | 5 => self.control.to_le_bytes()[offset - PM1A_CNT],
                    _ => 0,
                },
                Block::Apm => self.apm.get(offset).copied().unwrap_or(0xff),
                Block::Gpe0 => match offset {
                    0 | 1 => self.gpe_status.to_le_bytes()[offset],
                    2 | 3 => self.gpe_enable.to_le_bytes()[offset - 2],
                    _ => 0xff,
                },
                // Nothing came, nothing goes, nothing can be ejected.
                Block::PciHotplug => match offset {
                    0x10..0x14 => self.pci_bus.to_le_bytes()[offset - 0x10],
                    _ => 0,
                },
                Block::CpuHotplug => self.vcpus.get(offset).copied().unwrap_or(0),
            }
        })
    }

    /// Writes to a block.
    pub fn write(&mut self, block: Block, offset: usize, width: Width, value: u32) {
        width.scatter(value, |at, byte| {
            let offset = offset.wrapping_add(at);
            match block {
                Block::Pm => self.write_control(offset, byte),
                Block::Apm => self.write_apm(offset, byte),
                Block::Gpe0 => self.write_gpe(offset, byte),
                Block::PciHotplug => {
                    if let 0x10..0x14 = offset {
                        let mut bytes = self.pci_bus.to_le_bytes();
                        bytes[offset - 0x10] = byte;
                        self.pci_bus = u32::from_le_bytes(bytes);
                    }
                }
                Block::CpuHotplug => {}
            }
        });
    }

    fn write_control(&mut self, offset: usize, byte: u8) {
        let (PM1A_CNT | 5) = offset else { return };
        let mut bytes = self.control.to_le_bytes();
        bytes[offset - PM1A_CNT] = byte;
        let written = u16::from_le_bytes(bytes);
        self.control = self.control & !CNT_WRITABLE | written & CNT_WRITABLE;
        if written & SLEEP_ENABLE != 0 {
            self.action = match (written & SLEEP_TYPE) >> SLEEP_TYPE_SHIFT {
                // A machine that hibernates has written its memory, and is off.
                TYPE_S5 | TYPE_S4 => Some(Action::PowerOff),
                TYPE_S3 => Some(Action::Suspend),
                _ => self.action,
            };
        }
    }

    fn write_apm(&mut self, offset: usize, byte: u8) {
        let Some(register) = self.apm.get_mut(offset) else {
            return;
        };
        *register = byte;
        match (offset, byte) {
            (0, ACPI_ENABLE) => self.control |= SCI_ENABLE,
            (0, ACPI_DISABLE) => self.control &= !SCI_ENABLE,
            _ => {}
        }
    }

    fn write_gpe(&mut self, offset: usize, byte: u8) {
        let placed = u16::from(byte) << (8 * (offset % 2));
        match offset {
            // Status bits are cleared by writing ones.
            0 | 1 => self.gpe_status &= !placed,
            2 | 3 => self.gpe_enable = self.gpe_enable & !(0xff << (8 * (offset % 2))) | placed,
            _ => {}
        }
    }

    /// How many processors there are from now on; the guest's ACPI looks for them.
    pub fn set_vcpus(&mut self, there: &[u8]) {
        self.vcpus.fill(0);
        for (to, from) in self.vcpus.iter_mut().zip(there) {
            *to = *from;
        }
        self.gpe_status |= EVENT_CPU;
    }

    /// The level of the system control interrupt, ISA line 9.
    pub fn irq(&self) -> bool {
        self.gpe_status & self.gpe_enable != 0
    }

    /// What a write asked for.
    pub fn take_action(&mut self) -> Option<Action> {
        self.action.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pm() -> Piix4Pm {
        Piix4Pm::new(2, 1)
    }

    #[test]
    fn firmware_finds_it_at_its_ports() {
        let mut pm = pm();
        pm.configuration.write(0x40, Width::Dword, 0xffff_ffff);
        assert_eq!(pm.configuration.read(0x00, Width::Dword), 0x7113_8086);
        assert_eq!(pm.configuration.read(0x40, Width::Dword), 0x0000_b001);
        assert_eq!(pm.configuration.read(0x80, Width::Byte), 0x01);
        assert_eq!(pm.configuration.read(0x3d, Width::Byte), 0x01);
        assert_eq!(pm.configuration.read(0x06, Width::Word), 0x0280);
        assert_eq!(pm.configuration.read(0x0e, Width::Byte), 0x00);
    }

    #[test]
    fn the_chip_says_what_else_it_decodes() {
        let pm = pm().configuration;
        let registers = [0x58, 0x5c, 0x60].map(|offset| pm.register(offset));
        assert_eq!(registers, [0x0200_0000, 0x1000_0000, 0x6000_0000]);
        let serials = |count| Piix4Pm::new(1, count).configuration.register(0x64);
        assert_eq!(
            [0, 1, 2, 4].map(serials),
            [0, 0x0800_0000, 0x9800_0000, 0x9800_0000]
        );
    }

    #[test]
    fn there_is_a_place_for_an_smbus_and_none_in_it() {
        let mut pm = pm();
        pm.configuration.write(0x90, Width::Dword, 0);
        assert_eq!(pm.configuration.register(0x90), 0xb101);
        assert_eq!(pm.configuration.read(0xd2, Width::Byte), 0);
    }

    #[test]
    fn acpi_is_enabled_and_disabled_by_the_smi_command_only() {
        let mut pm = pm();
        pm.write(Block::Pm, PM1A_CNT, Width::Word, 0x0001);
        assert_eq!(pm.read(Block::Pm, PM1A_CNT, Width::Word), 0);
        pm.write(Block::Apm, 0, Width::Byte, 0xf1);
        assert_eq!(pm.read(Block::Pm, PM1A_CNT, Width::Word), 1);
        pm.write(Block::Pm, PM1A_CNT, Width::Word, 0);
        assert_eq!(pm.read(Block::Pm, PM1A_CNT, Width::Word), 1);
        pm.write(Block::Apm, 0, Width::Byte, 0xf0);
        assert_eq!(pm.read(Block::Pm, PM1A_CNT, Width::Word), 0);
        pm.write(Block::Apm, 1, Width::Byte, 0x5a);
        assert_eq!(pm.read(Block::Apm, 0, Width::Word), 0x5af0);
    }

    #[test]
    fn a_sleep_state_is_entered_when_its_enable_bit_is_written() {
        for (sleep_type, action) in [
            (0, Some(Action::PowerOff)),
            (1, Some(Action::Suspend)),
            (2, None),
            (6, Some(Action::PowerOff)),
        ] {
            let mut pm = pm();
            pm.write(Block::Pm, PM1A_CNT, Width::Word, sleep_type << 10);
            assert_eq!(pm.take_action(), None);
            pm.write(Block::Pm, PM1A_CNT, Width::Word, sleep_type << 10 | 1 << 13);
            assert_eq!(pm.take_action(), action, "{sleep_type}");
            assert_eq!(pm.take_action(), None);
            // SLP_EN always reads as 0.
            assert_eq!(pm.read(Block::Pm, PM1A_CNT, Width::Word), sleep_type << 10);
        }
        // The lower byte alone asks for nothing, whatever is in it.
        let mut pm = pm();
        pm.write(Block::Pm, PM1A_CNT, Width::Byte, 0x20);
        assert_eq!(pm.take_action(), None);
        // As GRUB does it, by the upper byte alone.
        pm.write(Block::Pm, PM1A_CNT + 1, Width::Byte, 0x20);
        assert_eq!(pm.take_action(), Some(Action::PowerOff));
    }

    #[test]
    fn an_event_interrupts_while_it_is_enabled_and_until_it_is_cleared() {
        let mut pm = pm();
        assert_eq!(pm.read(Block::Gpe0, 0, Width::Dword), 0);
        pm.set_vcpus(&[0b111]);
        assert!(!pm.irq());
        pm.write(Block::Gpe0, 2, Width::Word, 0x0004);
        assert!(pm.irq());
        assert_eq!(pm.read(Block::Gpe0, 0, Width::Dword), 0x0004_0004);
        pm.write(Block::Gpe0, 0, Width::Byte, 0xfb);
        assert!(pm.irq());
        pm.write(Block::Gpe0, 0, Width::Byte, 0x04);
        assert!(!pm.irq());
        // A byte of the enable register leaves the other.
        pm.write(Block::Gpe0, 3, Width::Byte, 0x81);
        pm.write(Block::Gpe0, 2, Width::Byte, 0x02);
        assert_eq!(pm.read(Block::Gpe0, 2, Width::Word), 0x8102);
    }

    #[test]
    fn hotplug_registers_say_which_processors_there_are_and_that_no_card_moves() {
        let mut pm = pm();
        assert_eq!(pm.read(Block::CpuHotplug, 0, Width::Dword), 0b11);
        assert_eq!(pm.read(Block::CpuHotplug, 31, Width::Dword), 0);
        pm.set_vcpus(&[0b1111, 1]);
        assert_eq!(pm.read(Block::CpuHotplug, 0, Width::Word), 0x010f);
        pm.write(Block::PciHotplug, 0, Width::Dword, 0xffff_ffff);
        for register in (0..0x10).step_by(4) {
            assert_eq!(pm.read(Block::PciHotplug, register, Width::Dword), 0);
        }
    }
}
