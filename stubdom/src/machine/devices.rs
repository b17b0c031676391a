//! Which devices a guest's computer has, and at which addresses.

use super::{Claim, Levels};
use crate::arguments::Description;
use crate::bus::Width;
use crate::device::ahci::{self, Ahci};
use crate::device::ata::Drive;
use crate::device::cmos::Cmos;
use crate::device::fw_cfg::{self, FwCfg};
use crate::device::i8042::I8042;
use crate::device::ide::{self, Ide};
use crate::device::pci::{Configuration, Space};
use crate::device::piix3::{self, Piix3};
use crate::device::piix4_pm::{Block, Piix4Pm};
use crate::device::platform::{self, Platform, Unplug};
use crate::device::uart::Uart;
use crate::device::{Action, i440fx};
use crate::hypervisor::Range;
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Functions on bus 0: device << 3 | function.
const BRIDGE: u8 = 0;
const ISA: u8 = 1 << 3;
const IDE: u8 = 1 << 3 | 1;
const POWER: u8 = 1 << 3 | 3;
const PLATFORM: u8 = 2 << 3;
const AHCI: u8 = 3 << 3;

/// Where RAM below 4 GiB ends at the latest, unless xl says otherwise.
const LOW_MEMORY_END: u64 = 0xf000_0000;

/// Serial ports a PC has places for.
pub const SERIALS_MAX: usize = 4;
/// First port and ISA line of each.
const SERIAL_PLACES: [(u16, u8); SERIALS_MAX] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
const SERIAL_PORTS: u16 = 8;

const KEYBOARD_DATA: u16 = 0x60;
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_LINE: u8 = 1;
const AUX_LINE: u8 = 12;
/// Index and data.
const CMOS: (u16, u16) = (0x70, 0x71);
/// The system control interrupt.
const SCI_LINE: u8 = 9;
const PLATFORM_PORTS: u16 = 16;
/// Where the function and register are named that the next four ports are. Xen follows what is written there, and has
/// nobody but the device model to read it from.
const CONFIG_ADDRESS: (u16, u16) = (0xcf8, 0xcfb);
/// Those that are not reserved.
const CONFIG_ADDRESS_BITS: u32 = 0x80ff_fffc;
const RESET_CONTROL: usize = (piix3::RESET_CONTROL - CONFIG_ADDRESS.0) as usize;
/// Command block, control block and line of each channel of the IDE function, which is in the mode
/// that the first of them were made for.
const IDE_PLACES: [(u16, u16, u8); 2] = [(0x1f0, 0x3f6, 14), (0x170, 0x376, 15)];

/// A serial port, from 0 on, which is COM1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(pub usize);

/// A block of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nobody's: Xen is only to hand over the configuration space.
    Function,
    Serial(usize),
    KeyboardData,
    KeyboardCommand,
    Cmos,
    /// From this port on.
    Isa(u16),
    /// The register, and the ISA bridge's reset control, whose port is one of its four.
    ConfigAddress,
    Power(Block),
    Platform,
    PlatformBar(usize),
    Firmware,
    IdeCommand(usize),
    IdeControl(usize),
    IdeBusMaster,
    Ahci,
    AhciPorts,
}

/// The drives of each controller.
#[derive(Clone, Debug, Default)]
pub struct Drives {
    /// Primary master and slave, secondary master and slave.
    pub ide: [Option<Drive>; ide::DRIVES],
    /// By port. Without an AHCI controller they are nowhere.
    pub ahci: [Option<Drive>; ahci::PORTS],
}

/// The devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Devices {
    bridge: Configuration,
    /// CONFADD of the host bridge (its datasheet, 3.1.1).
    config_address: u32,
    pub(super) isa: Piix3,
    pub(super) power: Option<Piix4Pm>,
    platform: Option<Platform>,
    cmos: Cmos,
    pub(super) keyboard: I8042,
    serials: heapless::Vec<Uart, SERIALS_MAX>,
    pub(super) ide: Ide,
    /// Its ports know many commands each: too much for a stack.
    pub(super) ahci: Option<Box<Ahci>>,
    /// What it holds was made of the description, and is not saved.
    #[serde(skip)]
    pub(super) firmware: Option<FwCfg>,
}

/// Where the guest's memory ends that is below 4 GiB.
pub(super) fn low_memory_end(description: &Description) -> u32 {
    let bytes = description.memory_mib.saturating_mul(1 << 20);
    let end = description.low_memory_end.unwrap_or(LOW_MEMORY_END);
    u32::try_from(bytes.min(end)).unwrap_or(u32::MAX)
}

impl Devices {
    pub(super) fn new(description: &Description, drives: Drives) -> Self {
        let vcpus = description.vcpus as usize;
        let serials = description.serials.len();
        Self {
            bridge: i440fx::configuration(description.memory_mib),
            config_address: 0,
            isa: Piix3::new(),
            power: description.has_acpi.then(|| Piix4Pm::new(vcpus, serials)),
            platform: description.has_platform_device.then(Platform::new),
            cmos: Cmos::new(&description.boot, vcpus),
            keyboard: I8042::new(),
            serials: description
                .serials
                .iter()
                .take(SERIALS_MAX)
                .map(|_| Uart::new())
                .collect(),
            ide: Ide::new(drives.ide),
            ahci: description
                .has_ahci
                .then(|| Box::new(Ahci::new(drives.ahci))),
            firmware: None,
        }
    }

    pub(super) fn serial(&mut self, serial: Serial) -> Option<&mut Uart> {
        self.serials.get_mut(serial.0)
    }

    /// The configuration space of a function.
    pub(super) fn function(&mut self, function: u8) -> Option<&mut Configuration> {
        match function {
            BRIDGE => Some(&mut self.bridge),
            ISA => Some(&mut self.isa.configuration),
            IDE => Some(&mut self.ide.configuration),
            POWER => Some(&mut self.power.as_mut()?.configuration),
            PLATFORM => Some(&mut self.platform.as_mut()?.configuration),
            AHCI => Some(&mut self.ahci.as_mut()?.configuration),
            _ => None,
        }
    }

    /// What they answer to now: what is where it always is comes first.
    pub(super) fn claims(&self) -> Vec<Claim<Target>> {
        let mut claims = Vec::new();
        let mut ports = |(first, last), target| {
            let range = Range::Port(first, last);
            claims.push(Claim { range, target });
        };
        for (index, (first, _)) in SERIAL_PLACES.into_iter().enumerate() {
            if index < self.serials.len() {
                ports((first, first + SERIAL_PORTS - 1), Target::Serial(index));
            }
        }
        ports((KEYBOARD_DATA, KEYBOARD_DATA), Target::KeyboardData);
        ports(
            (KEYBOARD_COMMAND, KEYBOARD_COMMAND),
            Target::KeyboardCommand,
        );
        ports(CMOS, Target::Cmos);
        ports(
            (piix3::CONTROL_A, piix3::CONTROL_A),
            Target::Isa(piix3::CONTROL_A),
        );
        ports(CONFIG_ADDRESS, Target::ConfigAddress);
        if self.power.is_some() {
            for block in Block::ALL {
                ports(block.ports(), Target::Power(block));
            }
        }
        if self.platform.is_some() {
            let last = platform::PORTS + PLATFORM_PORTS - 1;
            ports((platform::PORTS, last), Target::Platform);
        }
        if self.firmware.is_some() {
            ports(fw_cfg::PORTS, Target::Firmware);
        }
        for (channel, (command, control, _)) in IDE_PLACES.into_iter().enumerate() {
            ports((command, command + 7), Target::IdeCommand(channel));
            ports((control, control), Target::IdeControl(channel));
        }
        let there = [
            (BRIDGE, true),
            (ISA, true),
            (IDE, true),
            (POWER, self.power.is_some()),
            (PLATFORM, self.platform.is_some()),
            (AHCI, self.ahci.is_some()),
        ];
        claims.extend(
            there
                .into_iter()
                .filter(|(_, is_there)| *is_there)
                .map(|(function, _)| Claim {
                    range: Range::Function(function),
                    target: Target::Function,
                }),
        );
        let mut bar = |configuration: &Configuration, index, target| {
            if let Some(region) = configuration.region(index) {
                let range = match region.space {
                    // Such a region ends before the last port.
                    Space::Port => Range::Port(region.first as u16, region.last as u16),
                    Space::Memory => Range::Memory(region.first.into(), region.last.into()),
                };
                claims.push(Claim { range, target });
            }
        };
        bar(
            &self.ide.configuration,
            ide::BUS_MASTER_BAR,
            Target::IdeBusMaster,
        );
        if let Some(platform) = &self.platform {
            for index in [platform::BAR_PORTS, platform::BAR_MEMORY] {
                bar(&platform.configuration, index, Target::PlatformBar(index));
            }
        }
        if let Some(ahci) = &self.ahci {
            bar(&ahci.configuration, ahci::REGISTERS_BAR, Target::Ahci);
            bar(&ahci.configuration, ahci::PORTS_BAR, Target::AhciPorts);
        }
        claims
    }

    /// Reads registers of a block: all ones, if the device is not there.
    pub(super) fn read(&mut self, target: Target, offset: usize, width: Width) -> u32 {
        self.read_block(target, offset, width)
            .unwrap_or(width.ones())
    }

    fn read_block(&mut self, target: Target, offset: usize, width: Width) -> Option<u32> {
        Some(match target {
            Target::Function => return None,
            Target::Serial(index) => self.serials.get_mut(index)?.read(offset, width),
            Target::KeyboardData => self.keyboard.read_data(width),
            Target::KeyboardCommand => self.keyboard.read_status(width),
            Target::Cmos => self.cmos.read(offset, width),
            Target::Isa(port) => self.isa.read(port, width),
            Target::ConfigAddress => match (offset, width) {
                (0, Width::Dword) => self.config_address,
                (RESET_CONTROL, Width::Byte) => self.isa.read(piix3::RESET_CONTROL, width),
                _ => return None,
            },
            Target::Power(block) => self.power.as_ref()?.read(block, offset, width),
            Target::Platform => self.platform.as_ref()?.read(offset, width),
            Target::PlatformBar(platform::BAR_PORTS) => {
                self.platform.as_ref()?.read_bar(offset, width)
            }
            Target::PlatformBar(_) => 0,
            Target::Firmware => self.firmware.as_mut()?.read(offset, width),
            Target::IdeCommand(channel) => self.ide.read_command(channel, offset, width),
            Target::IdeControl(channel) => self.ide.read_control(channel).into(),
            Target::IdeBusMaster => self.ide.read_bus_master(offset, width),
            Target::Ahci => self.ahci.as_ref()?.read(offset, width),
            Target::AhciPorts => self.ahci.as_ref()?.read_ports(offset, width),
        })
    }

    /// Writes registers of a block.
    pub(super) fn write(&mut self, target: Target, offset: usize, width: Width, value: u32) {
        // Who is not there is not written.
        let _ = self.write_block(target, offset, width, value);
    }

    fn write_block(
        &mut self,
        target: Target,
        offset: usize,
        width: Width,
        value: u32,
    ) -> Option<()> {
        match target {
            Target::Function => {}
            Target::Serial(index) => self.serials.get_mut(index)?.write(offset, width, value),
            Target::KeyboardData => self.keyboard.write_data(value),
            Target::KeyboardCommand => self.keyboard.write_command(value),
            Target::Cmos => self.cmos.write(offset, width, value),
            Target::Isa(port) => self.isa.write(port, width, value),
            Target::ConfigAddress => match (offset, width) {
                (0, Width::Dword) => self.config_address = value & CONFIG_ADDRESS_BITS,
                (RESET_CONTROL, Width::Byte) => {
                    self.isa.write(piix3::RESET_CONTROL, width, value);
                }
                // It is written whole or not at all.
                _ => {}
            },
            Target::Power(block) => self.power.as_mut()?.write(block, offset, width, value),
            Target::Platform => self.platform.as_mut()?.write(offset, width, value),
            Target::PlatformBar(platform::BAR_PORTS) => {
                self.platform.as_mut()?.write_bar(offset, width, value);
            }
            Target::PlatformBar(_) => {}
            Target::Firmware => self.firmware.as_mut()?.write(offset, width, value),
            Target::IdeCommand(channel) => {
                self.ide.write_command(channel, offset, width, value);
            }
            Target::IdeControl(channel) => {
                self.ide.write_control(channel, value.to_le_bytes()[0]);
            }
            Target::IdeBusMaster => self.ide.write_bus_master(offset, width, value),
            Target::Ahci => self.ahci.as_mut()?.write(offset, width, value),
            Target::AhciPorts => self.ahci.as_mut()?.write_ports(offset, width, value),
        }
        Some(())
    }

    /// How they drive their interrupt lines.
    pub(super) fn levels(&self) -> Levels {
        let mut levels = Levels::default();
        for (port, (_, line)) in self.serials.iter().zip(SERIAL_PLACES) {
            levels.isa(line, port.irq());
        }
        levels.isa(KEYBOARD_LINE, self.keyboard.irq());
        levels.isa(AUX_LINE, self.keyboard.aux_irq());
        if let Some(power) = &self.power {
            levels.isa(SCI_LINE, power.irq());
        }
        for (channel, (_, _, line)) in IDE_PLACES.into_iter().enumerate() {
            levels.isa(line, self.ide.irq(channel));
        }
        if let Some(ahci) = &self.ahci {
            levels.intx(AHCI >> 3, 0, ahci.irq());
        }
        levels
    }

    /// What a guest asked for that is not one device's.
    pub(super) fn take_action(&mut self) -> Option<Action> {
        let power = self.power.as_mut().and_then(Piix4Pm::take_action);
        power
            .or_else(|| self.isa.take_action())
            .or_else(|| self.keyboard.take_action())
    }

    /// Takes away what the guest wants to have taken away.
    pub(super) fn take_unplug(&mut self) -> Option<Unplug> {
        let unplug = self.platform.as_mut()?.take_unplug()?;
        if unplug.disks {
            self.ide.unplug_disks();
            if let Some(ahci) = &mut self.ahci {
                ahci.unplug_disks();
            }
        }
        Some(unplug)
    }

    /// A line of the guest's for our log.
    pub(super) fn take_line(&mut self) -> Option<platform::Line> {
        self.platform.as_mut()?.take_line()
    }

    /// Whether they are the same devices, whatever their state.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.power.is_some() == other.power.is_some()
            && self.platform.is_some() == other.platform.is_some()
            && self.ahci.is_some() == other.ahci.is_some()
            && self.serials.len() == other.serials.len()
    }
}
