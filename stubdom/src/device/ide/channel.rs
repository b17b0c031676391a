//! One channel: the registers that its two drives share, and the one command that may be under way.

mod requests;

use super::bus_master::{self, BusMaster};
use crate::bus::Width;
use crate::device::ata::{Direction, Drive, Optical, Protocol, Reply, Start, Task, error, status};
use crate::disk::SECTOR;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Sectors that the data register's buffer holds: a multiple of what is transferred at once, and of a
/// CD's sectors.
const BUFFER_SECTORS: u32 = 64;
/// Bytes of a packet.
const PACKET: usize = 12;

/// The device control register: no interrupts; reset; show what was written before.
const NIEN: u8 = 1 << 1;
const SRST: u8 = 1 << 2;
const HOB: u8 = 1 << 7;

/// The count register during a packet command says what the transfer is: of the packet or the outcome,
/// not of data; to the guest.
const COMMAND: u16 = 1 << 0;
const TO_GUEST: u16 = 1 << 1;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Job {
    /// Nothing.
    None,
    /// An answer of the drive's own is read.
    Answer,
    /// Sectors go to and fro.
    Sectors {
        direction: Direction,
        protocol: Protocol,
        through: bool,
    },
    /// The cache goes to the medium.
    Flush,
    /// Ranges are discarded: how many of the block's were done.
    Trim {
        done: usize,
    },
    /// A packet is on its way, which wants its data like this.
    Packet {
        dma: bool,
        limit: u16,
    },
    /// What a packet asked for is on its way: the drive's own, or the medium's.
    Reply {
        dma: bool,
        limit: u16,
    },
    Read {
        dma: bool,
        limit: u16,
    },
}

impl Job {
    fn is_packet(self) -> bool {
        matches!(
            self,
            Self::Packet { .. } | Self::Reply { .. } | Self::Read { .. }
        )
    }

    /// Whether its data goes by the bus master.
    fn is_dma(self) -> bool {
        match self {
            Self::Sectors { protocol, .. } => protocol == Protocol::Dma,
            Self::Trim { .. } => true,
            Self::Reply { dma, .. } | Self::Read { dma, .. } => dma,
            _ => false,
        }
    }

    /// Bytes between two interrupts.
    fn block(self) -> usize {
        match self {
            Self::Sectors {
                protocol: Protocol::Pio { block },
                ..
            } => usize::from(block) * SECTOR,
            Self::Reply { limit, .. } | Self::Read { limit, .. } => {
                // All but the last are even.
                usize::from(limit & !1).max(2)
            }
            _ => usize::MAX,
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Nobody's.
    Idle,
    /// The guest's: it reads from the buffer.
    In,
    /// The guest's: it writes to the buffer.
    Out,
    /// The bus master's, as soon as it is started.
    Dma,
    /// The disk's: something is to be asked of it.
    Ask,
    /// The disk's.
    Asked,
    /// Nobody's, and nothing but a reset ends it: the bus master stopped early.
    Stuck,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub(super) drives: [Option<Drive>; 2],
    tasks: [Task; 2],
    selected: usize,
    control: u8,
    intrq: bool,
    pub(super) master: BusMaster,
    job: Job,
    phase: Phase,
    /// What is left of the job's sectors, from which on, and how many the disk was asked for.
    sector: u64,
    left: u32,
    asked: u32,
    /// Where the guest is, where it is interrupted next, and how much there is.
    buffer: Vec<u8>,
    at: usize,
    block_end: usize,
    filled: usize,
    abandoned: [bool; 2],
}

impl Channel {
    pub(super) fn new(drives: [Option<Drive>; 2]) -> Self {
        let mut new = Self {
            drives,
            tasks: [Task::default(); 2],
            selected: 0,
            control: 0,
            intrq: false,
            master: BusMaster::default(),
            job: Job::None,
            phase: Phase::Idle,
            sector: 0,
            left: 0,
            asked: 0,
            buffer: Vec::new(),
            at: 0,
            block_end: 0,
            filled: 0,
            abandoned: [false; 2],
        };
        new.reset_drives();
        new
    }

    pub(super) fn irq(&self) -> bool {
        self.intrq && self.control & NIEN == 0
    }

    pub(super) fn take_abandoned(&mut self) -> Option<u8> {
        let drive = self.abandoned.iter().position(|is| *is)?;
        self.abandoned[drive] = false;
        Some(drive as u8)
    }

    /// Room for what is read and written by the guest: taken when there is first a drive to use it.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        let length = BUFFER_SECTORS as usize * SECTOR;
        if self.buffer.len() != length {
            self.buffer = vec![0; length];
        }
        &mut self.buffer
    }

    pub(super) fn unplug_disks(&mut self) {
        for number in 0..2 {
            if matches!(self.drives[number], Some(Drive::Disk(_))) {
                if self.selected == number {
                    self.stop();
                    self.intrq = false;
                }
                self.drives[number] = None;
                self.tasks[number] = Task::default();
            }
        }
    }

    pub(super) fn hard_reset(&mut self) {
        self.stop();
        self.control = 0;
        self.master = BusMaster::default();
        self.reset_drives();
    }

    fn reset_drives(&mut self) {
        self.selected = 0;
        self.intrq = false;
        for (drive, task) in self.drives.iter_mut().zip(&mut self.tasks) {
            if let Some(drive) = drive {
                task.device = 0;
                drive.reset(task);
            }
        }
    }

    /// Drops what is being done.
    fn stop(&mut self) {
        if self.phase == Phase::Asked {
            self.abandoned[self.selected] = true;
        }
        self.phase = Phase::Idle;
        self.job = Job::None;
        (self.at, self.block_end, self.filled) = (0, 0, 0);
    }

    pub(super) fn alternate_status(&self) -> u8 {
        if self.drives[self.selected].is_none() {
            0
        } else if self.control & SRST != 0 {
            status::BSY
        } else {
            self.tasks[self.selected].status
        }
    }

    pub(super) fn write_control(&mut self, value: u8) {
        let was = self.control;
        self.control = value & (NIEN | SRST | HOB);
        if value & SRST != 0 {
            self.stop();
            self.intrq = false;
        } else if was & SRST != 0 {
            self.reset_drives();
        }
    }

    pub(super) fn write_master(&mut self, offset: usize, value: u8) {
        let stops = self.master.write(offset, value);
        if stops && self.job.is_dma() && matches!(self.phase, Phase::Dma | Phase::Asked) {
            // The drive has no way to know, and waits.
            let job = self.job;
            self.stop();
            self.job = job;
            self.phase = Phase::Stuck;
        }
    }

    pub(super) fn read_register(&mut self, offset: usize) -> u8 {
        if self.drives[self.selected].is_none() {
            return 0;
        }
        let task = &self.tasks[self.selected];
        let before = self.control & HOB != 0;
        let lba = |byte: u32| (task.lba >> (8 * (byte + if before { 3 } else { 0 }))) as u8;
        match offset {
            1 => task.error,
            2 => (task.count >> if before { 8 } else { 0 }) as u8,
            3 => lba(0),
            4 => lba(1),
            5 => lba(2),
            6 => task.device | 0xa0,
            7 => {
                self.intrq = false;
                self.alternate_status()
            }
            _ => 0xff,
        }
    }

    pub(super) fn write_register(&mut self, offset: usize, value: u8) {
        if self.control & SRST != 0 || !(1..=7).contains(&offset) {
            return;
        }
        self.control &= !HOB;
        if self.tasks[self.selected].status & (status::BSY | status::DRQ) != 0 {
            // Only a packet drive listens while it is busy, to one command.
            if (offset, value) == (7, 0x08) {
                self.reset_optical();
            }
            return;
        }
        if offset == 7 {
            self.start(value);
            return;
        }
        for task in &mut self.tasks {
            match offset {
                1 => task.features = task.features << 8 | u16::from(value),
                2 => task.count = task.count << 8 | u16::from(value),
                6 => task.device = value & !0xa0,
                _ => {
                    // What was there goes to the higher three bytes.
                    let low = 8 * (offset as u32 - 3);
                    let high = low + 24;
                    let before = task.lba >> low & 0xff;
                    let rest = task.lba & !(0xff << low) & !(0xff << high);
                    task.lba = rest | before << high | u64::from(value) << low;
                }
            }
        }
        if offset == 6 {
            self.selected = usize::from(value >> 4 & 1);
        }
    }

    /// DEVICE RESET. (7.8.)
    fn reset_optical(&mut self) {
        if !matches!(self.drives[self.selected], Some(Drive::Optical(_))) {
            return;
        }
        self.stop();
        self.intrq = false;
        let task = &mut self.tasks[self.selected];
        if let Some(drive) = &mut self.drives[self.selected] {
            drive.reset(task);
        }
    }

    fn start(&mut self, command: u8) {
        let selected = self.selected;
        let Some(drive) = &mut self.drives[selected] else {
            return;
        };
        self.intrq = false;
        (self.at, self.block_end, self.filled) = (0, 0, 0);
        self.phase = Phase::Idle;
        let task = &mut self.tasks[selected];
        task.command = command;
        if command == 0x08 && matches!(drive, Drive::Optical(_)) {
            self.reset_optical();
            return;
        }
        let mut answer = [0; 512];
        let start = drive.start(task, &mut answer);
        match start {
            Start::Done => self.interrupt(),
            Start::Answer => {
                self.buffer()[..SECTOR].copy_from_slice(&answer);
                self.filled = SECTOR;
                self.job = Job::Answer;
                self.offer();
            }
            Start::Transfer(transfer) => {
                self.job = Job::Sectors {
                    direction: transfer.direction,
                    protocol: transfer.protocol,
                    through: transfer.through,
                };
                (self.sector, self.left) = (transfer.sector, transfer.sectors);
                match (transfer.protocol, transfer.direction) {
                    (Protocol::Pio { .. }, Direction::In) => self.wait(Phase::Ask),
                    (Protocol::Pio { .. }, Direction::Out) => self.collect(),
                    _ => self.wait(Phase::Dma),
                }
            }
            Start::Flush => {
                self.job = Job::Flush;
                self.wait(Phase::Ask);
            }
            Start::Trim => {
                self.job = Job::Trim { done: 0 };
                self.wait(Phase::Dma);
            }
            Start::Packet => {
                let task = &mut self.tasks[selected];
                let limit = (task.lba >> 8) as u16;
                let dma = task.features & 1 != 0;
                task.count = task.count & !0xff | COMMAND;
                self.job = Job::Packet { dma, limit };
                self.collect();
            }
            Start::Diagnose => {
                self.reset_drives();
                self.interrupt();
            }
            Start::QueuedErrorLog => self.fail(error::ABRT),
        }
    }

    fn task(&mut self) -> &mut Task {
        &mut self.tasks[self.selected]
    }

    fn optical(&mut self) -> Option<&mut Optical> {
        match &mut self.drives[self.selected] {
            Some(Drive::Optical(optical)) => Some(optical),
            _ => None,
        }
    }

    fn interrupt(&mut self) {
        if !self.intrq && self.control & NIEN == 0 {
            self.master.status |= bus_master::INTERRUPT;
        }
        self.intrq = true;
    }

    fn wait(&mut self, phase: Phase) {
        self.phase = phase;
        self.task().status = status::BSY | status::DSC;
    }

    /// Ends the command.
    fn end(&mut self) {
        self.phase = Phase::Idle;
        if self.job.is_dma() {
            self.master.end();
        }
        if self.job.is_packet() {
            self.task().count = COMMAND | TO_GUEST;
        }
        self.job = Job::None;
    }

    fn succeed(&mut self) {
        self.task().succeed();
        self.end();
        self.interrupt();
    }

    fn fail(&mut self, error: u8) {
        self.task().fail(error);
        self.end();
        self.interrupt();
    }

    /// Ends a packet that failed, with what its drive says.
    fn fail_packet(&mut self) {
        if let Some(Drive::Optical(optical)) = &self.drives[self.selected] {
            optical.blame(&mut self.tasks[self.selected]);
        }
        self.end();
        self.interrupt();
    }

    /// The table of the bus master did not lead to memory.
    fn fail_dma(&mut self) {
        self.master.fail();
        if self.job.is_packet() {
            if let Some(optical) = self.optical() {
                optical.transfer_failed();
            }
            self.fail_packet();
        } else {
            self.fail(error::ABRT);
        }
    }

    /// Has the guest read the next block of the buffer.
    fn offer(&mut self) {
        let length = self.job.block().min(self.filled - self.at);
        self.block_end = self.at + length;
        self.phase = Phase::In;
        let is_packet = self.job.is_packet();
        let task = self.task();
        if is_packet {
            task.count = TO_GUEST;
            task.lba = task.lba & !0xff_ff00 | (length as u64) << 8;
        }
        task.status = status::READY | status::DRQ;
        self.interrupt();
    }

    /// Has the guest write the next block to the buffer.
    fn collect(&mut self) {
        let length = match self.job {
            Job::Packet { .. } => PACKET,
            job => {
                let room = self.left.min(BUFFER_SECTORS) as usize * SECTOR - self.at;
                job.block().min(room)
            }
        };
        self.buffer();
        self.block_end = self.at + length;
        self.phase = Phase::Out;
        self.task().status = status::READY | status::DRQ;
    }

    pub(super) fn read_data(&mut self, width: Width) -> u32 {
        if self.phase != Phase::In {
            return 0;
        }
        let (at, end) = (self.at, self.block_end);
        let value = width.gather(|byte| match at + byte < end {
            true => self.buffer.get(at + byte).copied().unwrap_or(0),
            false => 0,
        });
        self.at = (at + width.bytes()).min(end);
        if self.at == end {
            self.was_read();
        }
        value
    }

    /// The guest has read a block.
    fn was_read(&mut self) {
        if self.at < self.filled {
            self.offer();
        } else if self.left > 0 && matches!(self.job, Job::Sectors { .. } | Job::Read { .. }) {
            self.wait(Phase::Ask);
        } else if self.job.is_packet() {
            self.succeed();
        } else {
            // It has been interrupted for the last block already.
            self.task().succeed();
            self.end();
        }
    }

    pub(super) fn write_data(&mut self, width: Width, value: u32) {
        if self.phase != Phase::Out {
            return;
        }
        let (at, end) = (self.at, self.block_end);
        width.scatter(value, |byte, part| {
            if at + byte < end
                && let Some(place) = self.buffer.get_mut(at + byte)
            {
                *place = part;
            }
        });
        self.at = (at + width.bytes()).min(end);
        if self.at == end {
            self.was_written();
        }
    }

    /// The guest has written a block.
    fn was_written(&mut self) {
        if let Job::Packet { dma, limit } = self.job {
            self.carry_out(dma, limit);
        } else if self.at < self.left.min(BUFFER_SECTORS) as usize * SECTOR {
            self.collect();
            self.interrupt();
        } else {
            self.wait(Phase::Ask);
        }
    }

    /// Carries out a packet that has arrived.
    fn carry_out(&mut self, dma: bool, limit: u16) {
        let mut packet = [0; PACKET];
        packet.copy_from_slice(&self.buffer()[..PACKET]);
        (self.at, self.block_end, self.filled) = (0, 0, 0);
        let mut reply = [0; 512];
        let Some(optical) = self.optical() else {
            return self.fail(error::ABRT);
        };
        let asked = optical.packet(&packet, &mut reply);
        if limit == 0 && !dma && matches!(asked, Reply::Data(_) | Reply::Read { .. }) {
            // No byte at a time is no way to get any.
            optical.refuse();
            return self.fail_packet();
        }
        match asked {
            Reply::Good => self.succeed(),
            Reply::Bad => self.fail_packet(),
            Reply::Data(length) => {
                self.buffer()[..length].copy_from_slice(&reply[..length]);
                self.filled = length;
                self.left = 0;
                self.job = Job::Reply { dma, limit };
                if dma {
                    self.wait(Phase::Dma);
                } else {
                    self.offer();
                }
            }
            Reply::Read { sector, sectors } => {
                (self.sector, self.left) = (sector, sectors);
                self.job = Job::Read { dma, limit };
                self.wait(if dma { Phase::Dma } else { Phase::Ask });
            }
        }
    }
}
