//! One port: its registers (3.3), and what it knows of the commands of its list.

mod commands;

use super::Write;
use crate::device::ata::{Direction, Drive, Protocol, Task, status};
use crate::device::scatter::Cursor;
use crate::disk::{Operation, REQUESTS_MAX};
use crate::state;
use serde::{Deserialize, Serialize};

/// Commands of a list.
const SLOTS: usize = REQUESTS_MAX;

mod register {
    pub(super) const CLB: usize = 0x00;
    pub(super) const CLBU: usize = 0x04;
    pub(super) const FB: usize = 0x08;
    pub(super) const FBU: usize = 0x0c;
    pub(super) const IS: usize = 0x10;
    pub(super) const IE: usize = 0x14;
    pub(super) const CMD: usize = 0x18;
    pub(super) const TFD: usize = 0x20;
    pub(super) const SIG: usize = 0x24;
    pub(super) const SSTS: usize = 0x28;
    pub(super) const SCTL: usize = 0x2c;
    pub(super) const SERR: usize = 0x30;
    pub(super) const SACT: usize = 0x34;
    pub(super) const CI: usize = 0x38;
}

/// Of PxCMD.
mod cmd {
    pub(super) const ST: u32 = 1 << 0;
    /// Spun up, and powered: always.
    pub(super) const SUD_POD: u32 = 0b11 << 1;
    pub(super) const CLO: u32 = 1 << 3;
    pub(super) const FRE: u32 = 1 << 4;
    pub(super) const FR: u32 = 1 << 14;
    pub(super) const CR: u32 = 1 << 15;
    pub(super) const ATAPI: u32 = 1 << 24;
    pub(super) const WRITABLE: u32 = ST | FRE | ATAPI;
}

/// Of PxIS: what has happened.
mod is {
    pub(super) const DHRS: u32 = 1 << 0;
    pub(super) const PSS: u32 = 1 << 1;
    pub(super) const SDBS: u32 = 1 << 3;
    /// The table was too short.
    pub(super) const OFS: u32 = 1 << 24;
    /// What should be a frame is none.
    pub(super) const IFS: u32 = 1 << 27;
    /// Data, or what describes it, is not in memory.
    pub(super) const HBDS: u32 = 1 << 28;
    pub(super) const HBFS: u32 = 1 << 29;
    pub(super) const TFES: u32 = 1 << 30;
    pub(super) const ALL: u32 = 0xfdc0_00ff;
}

/// Where frames of the drive go, from PxFB on.
const PIO_SETUP_FIS: u64 = 0x20;
const REGISTER_FIS: u64 = 0x40;
const SET_DEVICE_BITS_FIS: u64 = 0x58;

/// Connected, at 3 Gbit/s, awake.
const CONNECTED: u32 = 0x123;
/// Of PxSCTL.DET: a reset of the link; switched off.
const DET: u32 = 0xf;
const DET_RESET: u32 = 1;
const DET_OFF: u32 = 4;

/// What is being done in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Job {
    Sectors {
        direction: Direction,
        protocol: Protocol,
        through: bool,
    },
    /// A CD's.
    Read,
    Flush,
    /// How many of the ranges were done.
    Trim {
        done: usize,
    },
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Idle,
    /// The disk's: something is to be asked of it.
    Ask,
    /// The disk's.
    Asked,
}

/// A slot of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    phase: Phase,
    job: Job,
    cursor: Cursor,
    sector: u64,
    left: u32,
    asked: u32,
    /// Bytes that went across.
    moved: u32,
}

impl Slot {
    const IDLE: Self = Self {
        phase: Phase::Idle,
        job: Job::Flush,
        cursor: Cursor::prdt(0, 0),
        sector: 0,
        left: 0,
        asked: 0,
        moved: 0,
    };

    fn is_queued(&self) -> bool {
        let job = &self.job;
        matches!(job, Job::Sectors { protocol, .. } if *protocol == Protocol::Queued)
    }

    fn operation(&self) -> Operation {
        match self.job {
            Job::Read => Operation::Read,
            Job::Sectors { direction, .. } if self.left > 0 => match direction {
                Direction::In => Operation::Read,
                Direction::Out => Operation::Write,
            },
            Job::Trim { .. } => Operation::Discard,
            _ => Operation::Flush,
        }
    }
}

/// A queued command that failed, for the log that the driver reads then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct QueuedError {
    slot: u8,
    task: Task,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Port {
    pub(super) drive: Option<Drive>,
    /// The drive's registers.
    task: Task,
    clb: u64,
    fb: u64,
    is: u32,
    ie: u32,
    cmd: u32,
    sctl: u32,
    sact: u32,
    ci: u32,
    signature: u32,
    slots: [Slot; SLOTS],
    /// Where it looks for the next command.
    next: usize,
    /// A command failed: nothing more is done until the driver has stopped the list.
    halted: bool,
    /// The drive is held in reset by a frame.
    held: bool,
    /// The drive has said what it is, and nobody took it in yet.
    greets: bool,
    queued_error: Option<QueuedError>,
    /// The ranges of a trim.
    #[serde(with = "state::bytes")]
    block: [u8; 512],
    pub(super) abandoned: bool,
}

impl Port {
    pub(super) fn new(drive: Option<Drive>) -> Self {
        let mut new = Self {
            drive,
            task: Task::default(),
            clb: 0,
            fb: 0,
            is: 0,
            ie: 0,
            cmd: 0,
            sctl: 0,
            sact: 0,
            ci: 0,
            signature: u32::MAX,
            slots: [Slot::IDLE; SLOTS],
            next: 0,
            halted: false,
            held: false,
            greets: false,
            queued_error: None,
            block: [0; 512],
            abandoned: false,
        };
        new.reset_drive();
        new
    }

    pub(super) fn interrupts(&self) -> bool {
        self.is & self.ie != 0
    }

    pub(super) fn unplug_disk(&mut self) {
        if matches!(self.drive, Some(Drive::Disk(_))) {
            self.stop();
            self.drive = None;
            self.reset_drive();
        }
    }

    pub(super) fn hard_reset(&mut self) {
        self.stop();
        // Where its list and its frames are is all that a reset leaves.
        let (clb, fb, abandoned) = (self.clb, self.fb, self.abandoned);
        *self = Self {
            clb,
            fb,
            abandoned,
            ..Self::new(self.drive.take())
        };
    }

    /// Drops what is being done.
    fn stop(&mut self) {
        self.drop_slots();
        (self.ci, self.sact) = (0, 0);
        self.halted = false;
    }

    fn drop_slots(&mut self) {
        self.abandoned |= self.slots.iter().any(|slot| slot.phase == Phase::Asked);
        self.slots = [Slot::IDLE; SLOTS];
    }

    fn reset_drive(&mut self) {
        self.task = Task::default();
        self.held = false;
        self.queued_error = None;
        match &mut self.drive {
            Some(drive) => {
                drive.reset(&mut self.task);
                self.signature = (self.task.lba as u32) << 8 | 1;
                self.greets = true;
            }
            None => {
                self.task.status = 0x7f;
                self.signature = u32::MAX;
                self.greets = false;
            }
        }
    }

    pub(super) fn read(&self, offset: usize) -> u32 {
        match offset {
            register::CLB => self.clb as u32,
            register::CLBU => (self.clb >> 32) as u32,
            register::FB => self.fb as u32,
            register::FBU => (self.fb >> 32) as u32,
            register::IS => self.is,
            register::IE => self.ie,
            register::CMD => {
                let runs = |bit, shown| if self.cmd & bit != 0 { shown } else { 0 };
                self.cmd | cmd::SUD_POD | runs(cmd::FRE, cmd::FR) | runs(cmd::ST, cmd::CR)
            }
            register::TFD => u32::from(self.task.error) << 8 | u32::from(self.task.status),
            register::SIG => self.signature,
            register::SSTS => match self.sctl & DET {
                DET_OFF => DET_OFF,
                DET_RESET => 0,
                _ if self.drive.is_some() => CONNECTED,
                _ => 0,
            },
            register::SCTL => self.sctl,
            register::SACT => self.sact,
            register::CI => self.ci,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: usize, write: Write) {
        let low = |old: u64, align: u32| {
            old & !0xffff_ffff | u64::from(write.over(old as u32) & !(align - 1))
        };
        let high = |old: u64| old & 0xffff_ffff | u64::from(write.over((old >> 32) as u32)) << 32;
        match offset {
            register::CLB => self.clb = low(self.clb, 1024),
            register::CLBU => self.clb = high(self.clb),
            register::FB => self.fb = low(self.fb, 256),
            register::FBU => self.fb = high(self.fb),
            register::IS => self.is &= !write.ones(),
            register::IE => self.ie = write.over(self.ie) & is::ALL,
            register::CMD => {
                let was = self.cmd;
                self.cmd = write.over(was) & cmd::WRITABLE;
                if write.ones() & cmd::CLO != 0 {
                    self.task.status &= !(status::BSY | status::DRQ);
                }
                if was & !self.cmd & cmd::ST != 0 {
                    self.stop();
                    self.next = 0;
                }
            }
            register::SCTL => {
                let was = self.sctl & DET;
                self.sctl = write.over(self.sctl) & 0xfff;
                match (was, self.sctl & DET) {
                    (_, DET_RESET | DET_OFF) => {
                        self.stop();
                        self.task.status = status::BSY;
                    }
                    (DET_RESET | DET_OFF, _) => self.reset_drive(),
                    _ => {}
                }
            }
            // Of these, none is ever set.
            register::SERR => {}
            register::SACT if self.cmd & cmd::ST != 0 => self.sact |= write.ones(),
            register::CI if self.cmd & cmd::ST != 0 => self.ci |= write.ones(),
            _ => {}
        }
    }
}
