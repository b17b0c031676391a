//! The ISA bridge: Intel 82371SB (PIIX3), function 00:01.0, with the two ports that reset the machine.
//!
//! The interrupt controllers, their edge and level registers and the timers behind it are Xen's.

use super::Action;
use super::i440fx::CHIPSET;
use crate::bus::Width;
use crate::device::pci::{Configuration, Identity, STATUS_MEDIUM_TIMING};
use serde::{Deserialize, Serialize};

/// Where the interrupt links' routes begin in configuration space: PIRQRCA to PIRQRCD.
const PIRQ_ROUTES: u8 = 0x60;
/// This link leads nowhere.
const ROUTE_DISABLED: u8 = 1 << 7;

/// Reset control register, RCR.
pub const RESET_CONTROL: u16 = 0xcf9;
/// System control port A.
pub const CONTROL_A: u16 = 0x92;

const RESET_CPU: u8 = 1 << 2;
const RESET_WRITABLE: u8 = 0b1110;
const A_RESET: u8 = 1 << 0;
const A_ADDRESS_20: u8 = 1 << 1;

/// The bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piix3 {
    /// Its configuration space.
    pub configuration: Configuration,
    reset_control: u8,
    control_a: u8,
    action: Option<Action>,
}

impl Default for Piix3 {
    fn default() -> Self {
        Self::new()
    }
}

impl Piix3 {
    /// The bridge as it is after a reset.
    pub fn new() -> Self {
        let configuration = Configuration::new(Identity {
            id: (0x8086, 0x7000),
            revision: 0x00,
            class: 0x06_01_00,
            subsystem: CHIPSET,
        })
        .with_status(STATUS_MEDIUM_TIMING)
        .with_siblings()
        // IORT, XBCS.
        .with_register(0x4c, 0x0003_004d, 0xffff_00ff)
        .with_register(PIRQ_ROUTES, 0x8080_8080, 0xffff_ffff)
        // Top of memory; miscellaneous status.
        .with_register(0x68, 0x0000_0200, 0x00ff_ff00)
        // Motherboard interrupts.
        .with_register(0x70, 0x0000_0080, 0x0000_00ff)
        // Motherboard DMA; programmable chip select.
        .with_register(0x74, 0x0c0c_0000, 0xffff_0000)
        .with_register(0x78, 0x0000_0002, 0x0000_ffff)
        // APIC base address, which is Xen's to know; deterministic latency control, with passive release.
        .with_register(0x80, 0x0002_0000, 0x000f_0000)
        // System management: control, enable, event enable, timer, request.
        .with_register(0xa0, 0x0000_0008, 0x00ff_001f)
        .with_register(0xa4, 0, 0xffff_ffff)
        .with_register(0xa8, 0x0000_000f, 0x00ff_00ff);
        Self {
            configuration,
            reset_control: 0,
            control_a: A_ADDRESS_20,
            action: None,
        }
    }

    /// Where an interrupt link, 0 to 3, leads: an ISA line, or nowhere.
    pub fn route(&self, link: u8) -> Option<u8> {
        let route = self.configuration.register(PIRQ_ROUTES).to_le_bytes()[usize::from(link & 3)];
        let line = route & 0xf;
        (route & ROUTE_DISABLED == 0 && line != 0).then_some(line)
    }

    /// Reads [`RESET_CONTROL`] or [`CONTROL_A`].
    pub fn read(&self, port: u16, width: Width) -> u32 {
        width.gather(|at| match port.wrapping_add(at as u16) {
            RESET_CONTROL => self.reset_control,
            CONTROL_A => self.control_a,
            _ => 0xff,
        })
    }

    /// Writes them.
    pub fn write(&mut self, port: u16, width: Width, value: u32) {
        width.scatter(value, |at, byte| match port.wrapping_add(at as u16) {
            RESET_CONTROL => {
                if byte & !self.reset_control & RESET_CPU != 0 {
                    self.action = Some(Action::Reset);
                }
                self.reset_control = byte & RESET_WRITABLE;
            }
            CONTROL_A => {
                if byte & !self.control_a & A_RESET != 0 {
                    self.action = Some(Action::Reset);
                }
                self.control_a = byte & (A_RESET | A_ADDRESS_20);
            }
            _ => {}
        });
    }

    /// What a write asked for.
    pub fn take_action(&mut self) -> Option<Action> {
        self.action.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_finds_the_bridge_with_its_siblings() {
        let mut bridge = Piix3::new().configuration;
        assert_eq!(bridge.read(0x00, Width::Dword), 0x7000_8086);
        assert_eq!(bridge.read(0x06, Width::Word), 0x0200);
        assert_eq!(bridge.read(0x0a, Width::Word), 0x0601);
        assert_eq!(bridge.read(0x0e, Width::Byte), 0x80);
        assert_eq!(bridge.read(0x82, Width::Byte), 0x02);
        bridge.write(0x80, Width::Dword, 0xffff_ffff);
        assert_eq!(bridge.read(0x80, Width::Dword), 0x000f_0000);
    }

    #[test]
    fn a_link_leads_where_its_register_says() {
        let mut bridge = Piix3::new();
        assert_eq!([0, 1, 2, 3].map(|link| bridge.route(link)), [None; 4]);
        bridge.configuration.write(0x60, Width::Dword, 0x0b0a_8005);
        assert_eq!(
            [0, 1, 2, 3].map(|link| bridge.route(link)),
            [Some(5), None, Some(10), Some(11)]
        );
        bridge.configuration.write(0x61, Width::Byte, 0x00);
        assert_eq!(bridge.route(1), None, "line 0 is the timer's");
    }

    #[test]
    fn the_reset_register_resets_when_its_cpu_bit_rises() {
        let mut bridge = Piix3::new();
        bridge.write(RESET_CONTROL, Width::Byte, 0x02);
        assert_eq!(bridge.take_action(), None);
        assert_eq!(bridge.read(RESET_CONTROL, Width::Byte), 0x02);
        bridge.write(RESET_CONTROL, Width::Byte, 0x06);
        assert_eq!(bridge.take_action(), Some(Action::Reset));
        assert_eq!(bridge.take_action(), None);
        bridge.write(RESET_CONTROL, Width::Byte, 0x06);
        assert_eq!(bridge.take_action(), None);
    }

    #[test]
    fn control_port_a_resets_and_knows_address_line_20() {
        let mut bridge = Piix3::new();
        assert_eq!(bridge.read(CONTROL_A, Width::Byte), 0x02);
        bridge.write(CONTROL_A, Width::Byte, 0x02);
        assert_eq!(bridge.take_action(), None);
        bridge.write(CONTROL_A, Width::Byte, 0x01);
        assert_eq!(bridge.take_action(), Some(Action::Reset));
        assert_eq!(bridge.read(CONTROL_A, Width::Word), 0xff01);
    }
}
