//! The bus master of one channel: eight ports. (SFF-8038i, 3.)

use crate::device::scatter::Cursor;
use serde::{Deserialize, Serialize};

/// The command register.
const START: u8 = 1 << 0;
/// From the drive to memory.
const TO_MEMORY: u8 = 1 << 3;

/// The status register: a transfer is going on, an error in it, an interrupt of the drive.
pub(super) const ACTIVE: u8 = 1 << 0;
pub(super) const ERROR: u8 = 1 << 1;
pub(super) const INTERRUPT: u8 = 1 << 2;
/// Notes of the BIOS to the driver: which drives it has set up.
const NOTES: u8 = 0b11 << 5;

/// The registers, and where a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BusMaster {
    command: u8,
    pub(super) status: u8,
    table: u32,
    pub(super) cursor: Option<Cursor>,
}

impl BusMaster {
    pub(super) fn read(&self, offset: usize) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[offset - 4],
            _ => 0,
        }
    }

    /// True: what it was doing is to stop.
    pub(super) fn write(&mut self, offset: usize, value: u8) -> bool {
        match offset {
            0 => {
                let was = self.command & START != 0;
                self.command = value & (START | TO_MEMORY);
                match (was, value & START != 0) {
                    (false, true) => {
                        self.status |= ACTIVE;
                        self.cursor = Some(Cursor::prd(self.table));
                    }
                    (true, false) => {
                        self.status &= !ACTIVE;
                        self.cursor = None;
                        return true;
                    }
                    _ => {}
                }
            }
            2 => {
                let cleared = value & (ERROR | INTERRUPT);
                self.status = self.status & !NOTES & !cleared | value & NOTES;
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[offset - 4] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
        false
    }

    /// The drive has no more for it: it is done as well, unless the table has room for more.
    pub(super) fn end(&mut self) {
        if self.cursor.is_some_and(|cursor| cursor.is_at_end()) {
            self.status &= !ACTIVE;
        }
    }

    /// The table did not lead to memory.
    pub(super) fn fail(&mut self) {
        self.status = self.status & !ACTIVE | ERROR;
    }
}
