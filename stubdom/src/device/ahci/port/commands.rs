//! The commands of a port's list (5.3): either one is under way or, with native queuing, as many as
//! there are slots.

use super::{
    DET, DET_OFF, DET_RESET, Job, PIO_SETUP_FIS, Phase, Port, QueuedError, REGISTER_FIS,
    SET_DEVICE_BITS_FIS, SLOTS, Slot, cmd, is,
};
use crate::device::ahci::fis;
use crate::device::ata::{
    Direction, Drive, Protocol, REQUEST_SECTORS_MAX, Reply, Start, error, ranges, status,
};
use crate::device::scatter::{self, Cursor};
use crate::disk::{Failure, Operation, Place, Reason, Request, SECTOR};
use crate::memory::GuestMemory;

impl Port {
    /// Puts a frame where the driver wants them.
    fn post<M: GuestMemory>(&mut self, offset: u64, fis: &[u8], memory: &mut M) {
        if self.cmd & cmd::FRE != 0 && memory.write(self.fb.wrapping_add(offset), fis).is_err() {
            self.is |= is::HBFS;
            self.halted = true;
        }
    }

    pub(in crate::device::ahci) fn next_request<M: GuestMemory>(
        &mut self,
        memory: &mut M,
    ) -> Option<Request> {
        self.drive.as_ref()?;
        if self.greets && self.cmd & cmd::FRE != 0 {
            self.greets = false;
            let greeting = fis::device_to_host(false, &self.task);
            self.post(REGISTER_FIS, &greeting, memory);
        }
        // Each slot once: a command that needs no disk is done when it has been looked at.
        for _ in 0..=2 * SLOTS {
            let is_linked = !matches!(self.sctl & DET, DET_RESET | DET_OFF);
            let runs = self.cmd & cmd::ST != 0 && !self.halted && is_linked;
            // What was dropped has to be forgotten first, or it would be taken for what comes now.
            if !runs || self.abandoned {
                return None;
            }
            if let Some(slot) = self.slots.iter().position(|slot| slot.phase == Phase::Ask) {
                if let Some(request) = self.ask(slot, memory) {
                    return Some(request);
                }
                continue;
            }
            let slot = self.next_command()?;
            self.next = (slot + 1) % SLOTS;
            self.fetch(slot, memory);
        }
        None
    }

    /// The next command that can be begun.
    fn next_command(&self) -> Option<usize> {
        // One that is not queued is alone; which are, the driver says beforehand.
        let mut busy = self.slots.iter().filter(|slot| slot.phase != Phase::Idle);
        let wanted = match busy.next() {
            None => self.ci,
            Some(slot) if slot.is_queued() => self.ci & self.sact,
            Some(_) => return None,
        };
        (self.next..self.next + SLOTS)
            .map(|slot| slot % SLOTS)
            .find(|&slot| wanted & 1 << slot != 0 && self.slots[slot].phase == Phase::Idle)
    }

    /// Reads a command and begins with it.
    fn fetch<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        let mut header = [0; 16];
        let mut command = [0; fis::COMMAND];
        let mut packet = [0; 12];
        let list = self.clb.wrapping_add(32 * slot as u64);
        let mut read = memory.read(list, &mut header);
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let table = u64::from(word(12)) << 32 | u64::from(word(8) & !0x7f);
        read = read.and_then(|()| memory.read(table, &mut command));
        if word(0) & 1 << 5 != 0 {
            read = read.and_then(|()| memory.read(table.wrapping_add(0x40), &mut packet));
        }
        if read.is_err() {
            self.is |= is::HBFS;
            self.halted = true;
            return;
        }
        let length = word(0) & 0x1f;
        let Some(host) = fis::parse(&command).filter(|_| length >= 5) else {
            self.is |= is::IFS;
            self.halted = true;
            return;
        };
        match host {
            fis::Host::Control(reset) => self.control(slot, reset, memory),
            fis::Host::Command(task) => {
                if self.held {
                    // Whoever is held in reset does not listen.
                    self.ci &= !(1 << slot);
                    return;
                }
                self.task = task;
                let is_queued = matches!(task.command, 0x60 | 0x61);
                let mut busy = self.slots.iter().filter(|slot| slot.phase != Phase::Idle);
                if !is_queued && busy.next().is_some() {
                    // The driver said that it was one of the queued ones. (ACS-2, 4.16.1.)
                    self.task.fail(error::ABRT);
                    return self.fail_queued(slot, memory);
                }
                self.slots[slot] = Slot {
                    cursor: Cursor::prdt(table.wrapping_add(0x80), (word(0) >> 16) as u16),
                    ..Slot::IDLE
                };
                self.start(slot, &packet, memory);
            }
        }
    }

    /// A reset by frames: one that begins it, one that ends it.
    fn control<M: GuestMemory>(&mut self, slot: usize, reset: bool, memory: &mut M) {
        self.ci &= !(1 << slot);
        if reset {
            self.drop_slots();
            self.sact = 0;
            self.held = true;
            self.task.status = status::BSY;
        } else if self.held {
            self.reset_drive();
            self.greets = false;
            let greeting = fis::device_to_host(false, &self.task);
            self.post(REGISTER_FIS, &greeting, memory);
        }
    }

    fn start<M: GuestMemory>(&mut self, slot: usize, packet: &[u8; 12], memory: &mut M) {
        let Some(drive) = &mut self.drive else {
            return;
        };
        let mut answer = [0; 512];
        let start = drive.start(&mut self.task, &mut answer);
        let is_queued = matches!(self.task.command, 0x60 | 0x61);
        match start {
            Start::Done if is_queued && self.task.status & status::ERR != 0 => {
                self.ci &= !(1 << slot);
                self.fail_queued(slot, memory);
            }
            Start::Done => self.end(slot, memory),
            Start::Answer => self.answer(slot, &answer, memory),
            Start::Transfer(transfer) => {
                let entry = &mut self.slots[slot];
                entry.job = Job::Sectors {
                    direction: transfer.direction,
                    protocol: transfer.protocol,
                    through: transfer.through,
                };
                (entry.sector, entry.left) = (transfer.sector, transfer.sectors);
                entry.phase = Phase::Ask;
                match transfer.protocol {
                    Protocol::Queued => self.accept(slot),
                    _ => self.task.status = status::BSY | status::DSC,
                }
            }
            Start::Flush => self.wait(slot, Job::Flush),
            Start::Trim => self.trim(slot, memory),
            Start::Packet => self.packet(slot, packet, memory),
            Start::Diagnose => {
                drive.reset(&mut self.task);
                self.end(slot, memory);
            }
            Start::QueuedErrorLog => {
                let log = self.queued_error_log();
                self.answer(slot, &log, memory);
            }
        }
    }

    /// A queued command is in the drive's hands, and its slot's bit is clear.
    fn accept(&mut self, slot: usize) {
        self.task.succeed();
        self.ci &= !(1 << slot);
    }

    fn wait(&mut self, slot: usize, job: Job) {
        self.slots[slot].job = job;
        self.slots[slot].phase = Phase::Ask;
        self.task.status = status::BSY | status::DSC;
    }

    /// Tells the driver how many bytes went across.
    fn tell_moved<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        let place = self.clb.wrapping_add(32 * slot as u64 + 4);
        let moved = self.slots[slot].moved;
        if memory.write(place, &moved.to_le_bytes()).is_err() {
            self.is |= is::HBFS;
            self.halted = true;
        }
    }

    /// Ends a command that is not queued, with what the task says.
    fn end<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        self.tell_moved(slot, memory);
        self.slots[slot] = Slot::IDLE;
        let frame = fis::device_to_host(true, &self.task);
        self.post(REGISTER_FIS, &frame, memory);
        self.is |= is::DHRS;
        if self.task.status & status::ERR != 0 {
            self.is |= is::TFES;
            self.halted = true;
        } else {
            self.ci &= !(1 << slot);
        }
    }

    fn fail<M: GuestMemory>(&mut self, slot: usize, error: u8, memory: &mut M) {
        self.task.fail(error);
        self.end(slot, memory);
    }

    /// Ends a command whose data went to the guest by PIO: the last frame before it was the last.
    fn end_pio<M: GuestMemory>(&mut self, slot: usize, bytes: u16, memory: &mut M) {
        self.task.succeed();
        self.tell_moved(slot, memory);
        self.slots[slot] = Slot::IDLE;
        let frame = fis::pio_setup(&self.task, bytes);
        self.post(PIO_SETUP_FIS, &frame, memory);
        self.is |= is::PSS;
        self.ci &= !(1 << slot);
    }

    /// Copies into the guest. False: it could not be, and the port has stopped.
    fn give<M: GuestMemory>(&mut self, slot: usize, bytes: &[u8], memory: &mut M) -> bool {
        let entry = &mut self.slots[slot];
        match scatter::give(bytes, &mut entry.cursor, memory) {
            Ok(given) => {
                entry.moved = given as u32;
                true
            }
            Err(_) => {
                self.stop_for_memory();
                false
            }
        }
    }

    /// The guest's table did not lead to memory: the port stops, and the driver has to reset it.
    fn stop_for_memory(&mut self) {
        self.is |= is::HBDS;
        self.halted = true;
        self.drop_slots();
    }

    fn answer<M: GuestMemory>(&mut self, slot: usize, answer: &[u8; 512], memory: &mut M) {
        if self.give(slot, answer, memory) {
            self.end_pio(slot, SECTOR as u16, memory);
        }
    }

    fn packet<M: GuestMemory>(&mut self, slot: usize, packet: &[u8; 12], memory: &mut M) {
        let Some(Drive::Optical(optical)) = &mut self.drive else {
            return self.fail(slot, error::ABRT, memory);
        };
        let mut reply = [0; 512];
        match optical.packet(packet, &mut reply) {
            Reply::Good => self.end_packet(slot, memory),
            Reply::Bad => {
                optical.blame(&mut self.task);
                self.end_packet_as_it_is(slot, memory);
            }
            Reply::Data(length) => {
                if self.give(slot, &reply[..length], memory) {
                    self.end_packet(slot, memory);
                }
            }
            Reply::Read { sector, sectors } => {
                let entry = &mut self.slots[slot];
                (entry.sector, entry.left) = (sector, sectors);
                self.wait(slot, Job::Read);
            }
        }
    }

    fn end_packet<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        self.task.succeed();
        self.end_packet_as_it_is(slot, memory);
    }

    fn end_packet_as_it_is<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        // Not data, and to the guest.
        self.task.count = self.task.count & !0xff | 0b11;
        self.end(slot, memory);
    }

    /// Begins with ranges that are to be discarded.
    fn trim<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        let cursor = &mut self.slots[slot].cursor;
        match scatter::fetch(&mut self.block, cursor, memory) {
            Err(_) => self.stop_for_memory(),
            Ok(fetched) if fetched < SECTOR => self.overflow(slot),
            Ok(_) => {
                self.slots[slot].moved = SECTOR as u32;
                let sectors = match &self.drive {
                    Some(Drive::Disk(disk)) => disk.sectors(),
                    _ => 0,
                };
                let fits = |(sector, count): (u64, u32)| sector + u64::from(count) <= sectors;
                if !ranges(&self.block).all(fits) {
                    self.fail(slot, error::IDNF | error::ABRT, memory);
                } else if ranges(&self.block).next().is_none() {
                    self.task.succeed();
                    self.end(slot, memory);
                } else {
                    self.wait(slot, Job::Trim { done: 0 });
                }
            }
        }
    }

    /// The table has no room for what the command moves.
    fn overflow(&mut self, slot: usize) {
        self.is |= is::OFS;
        self.halted = true;
        self.drop_slots();
        if self.sact & 1 << slot == 0 {
            self.task.status = status::READY | status::DRQ;
        }
    }

    /// What a slot needs of the disk now. `None`: it cannot be asked, and the port has stopped.
    fn ask<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) -> Option<Request> {
        let entry = &mut self.slots[slot];
        let mut request = Request {
            drive: 0,
            tag: slot as u8,
            operation: entry.operation(),
            sector: 0,
            sectors: 0,
            place: Place::Nowhere,
        };
        match (request.operation, entry.job) {
            (Operation::Read | Operation::Write, _) => {
                let most = entry.left.min(REQUEST_SECTORS_MAX) as usize * SECTOR;
                let Ok(mut segments) = entry.cursor.take(most, memory) else {
                    self.stop_for_memory();
                    return None;
                };
                let sectors = segments.bytes() / SECTOR;
                if sectors == 0 {
                    self.overflow(slot);
                    return None;
                }
                segments.truncate(sectors * SECTOR);
                entry.asked = sectors as u32;
                (request.sector, request.sectors) = (entry.sector, entry.asked);
                request.place = Place::Guest(segments);
            }
            (_, Job::Trim { done }) => {
                let range = ranges(&self.block).nth(done);
                (request.sector, request.sectors) = range.unwrap_or_default();
            }
            _ => {}
        }
        entry.phase = Phase::Asked;
        Some(request)
    }

    /// The disk has done what a slot asked for.
    pub(in crate::device::ahci) fn complete<M: GuestMemory>(
        &mut self,
        slot: usize,
        result: Result<(), Failure>,
        memory: &mut M,
    ) {
        let Some(entry) = self.slots.get_mut(slot) else {
            return;
        };
        if entry.phase != Phase::Asked {
            return;
        }
        if let Err(failure) = result {
            return self.fail_with(slot, failure, memory);
        }
        if matches!(entry.operation(), Operation::Read | Operation::Write) {
            entry.sector += u64::from(entry.asked);
            entry.left = entry.left.saturating_sub(entry.asked);
            entry.moved = entry.moved.wrapping_add(entry.asked * SECTOR as u32);
            let through = matches!(entry.job, Job::Sectors { through: true, .. });
            if entry.left > 0 || through {
                entry.phase = Phase::Ask;
                return;
            }
        } else if let Job::Trim { done } = entry.job {
            let done = done + 1;
            if ranges(&self.block).nth(done).is_some() {
                entry.job = Job::Trim { done };
                entry.phase = Phase::Ask;
                return;
            }
        }
        match entry.job {
            Job::Sectors {
                protocol: Protocol::Queued,
                ..
            } => self.end_queued(slot, memory),
            Job::Sectors {
                direction: Direction::In,
                protocol: Protocol::Pio { block },
                ..
            } => self.end_pio(slot, u16::from(block) * SECTOR as u16, memory),
            Job::Read => self.end_packet(slot, memory),
            _ => {
                self.task.succeed();
                self.end(slot, memory);
            }
        }
    }

    fn end_queued<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        self.slots[slot] = Slot::IDLE;
        self.task.succeed();
        let frame = fis::set_device_bits(&self.task, 1 << slot);
        self.post(SET_DEVICE_BITS_FIS, &frame, memory);
        self.sact &= !(1 << slot);
        self.is |= is::SDBS;
    }

    fn fail_with<M: GuestMemory>(&mut self, slot: usize, failure: Failure, memory: &mut M) {
        if failure.reason == Reason::Memory {
            return self.stop_for_memory();
        }
        let entry = &self.slots[slot];
        let operation = entry.operation();
        if entry.is_queued() {
            self.task.fail_with(failure, operation);
            return self.fail_queued(slot, memory);
        }
        if let (Job::Read, Some(Drive::Optical(optical))) = (entry.job, &mut self.drive) {
            optical.read_failed();
            optical.blame(&mut self.task);
            return self.end_packet_as_it_is(slot, memory);
        }
        self.task.fail_with(failure, operation);
        self.end(slot, memory);
    }

    /// A queued command failed: all others are off as well, and the drive keeps what it was.
    fn fail_queued<M: GuestMemory>(&mut self, slot: usize, memory: &mut M) {
        self.queued_error = Some(QueuedError {
            slot: slot as u8,
            task: self.task,
        });
        self.drop_slots();
        let frame = fis::set_device_bits(&self.task, 0);
        self.post(SET_DEVICE_BITS_FIS, &frame, memory);
        self.is |= is::SDBS | is::TFES;
        self.halted = true;
    }

    /// The page of the log that says which queued command failed, and how. (ACS-2, A.13.)
    fn queued_error_log(&mut self) -> [u8; 512] {
        let mut log = [0; 512];
        match self.queued_error.take() {
            // None was queued.
            None => log[0] = 1 << 7,
            Some(QueuedError { slot, task }) => {
                let lba = task.lba.to_le_bytes();
                let count = task.count.to_le_bytes();
                log[0] = slot;
                log[2..4].copy_from_slice(&[task.status, task.error]);
                log[4..7].copy_from_slice(&lba[..3]);
                log[7] = task.device;
                log[8..11].copy_from_slice(&lba[3..6]);
                log[12..14].copy_from_slice(&count);
            }
        }
        let sum = log.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        log[511] = sum.wrapping_neg();
        log
    }
}
