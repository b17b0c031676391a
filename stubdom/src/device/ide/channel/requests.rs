//! What a channel's command needs of its disk and of its bus master, and how it goes on when it has it.

use super::{BUFFER_SECTORS, Channel, Job, Phase};
use crate::device::ata::{Direction, Drive, Protocol, REQUEST_SECTORS_MAX, error, ranges, status};
use crate::device::ide::bus_master;
use crate::device::scatter;
use crate::disk::{Failure, Operation, Place, Reason, Request, SECTOR};
use crate::memory::GuestMemory;

impl Channel {
    pub(in crate::device::ide) fn next_request<M: GuestMemory>(
        &mut self,
        may_master: bool,
        memory: &mut M,
    ) -> Option<Request> {
        match self.phase {
            Phase::Ask => Some(self.ask(None)),
            Phase::Dma if may_master => self.go_on(memory),
            _ => None,
        }
    }

    /// What the job needs of the disk now.
    fn ask(&mut self, place: Option<Place>) -> Request {
        self.phase = Phase::Asked;
        let mut request = Request {
            drive: self.selected as u8,
            tag: 0,
            operation: Operation::Flush,
            sector: 0,
            sectors: 0,
            place: Place::Nowhere,
        };
        match self.job {
            Job::Sectors { direction, .. } if self.left > 0 => {
                request.operation = match direction {
                    Direction::In => Operation::Read,
                    Direction::Out => Operation::Write,
                };
            }
            Job::Read { .. } => request.operation = Operation::Read,
            Job::Trim { done } => {
                request.operation = Operation::Discard;
                if let Some((sector, sectors)) = ranges(&self.block()).nth(done) {
                    (request.sector, request.sectors) = (sector, sectors);
                }
                return request;
            }
            _ => return request,
        }
        if place.is_none() {
            self.asked = self.left.min(BUFFER_SECTORS);
        }
        request.sector = self.sector;
        request.sectors = self.asked;
        request.place = place.unwrap_or(Place::Device);
        request
    }

    /// The ranges of a trim.
    fn block(&mut self) -> [u8; 512] {
        let mut block = [0; 512];
        block.copy_from_slice(&self.buffer()[..512]);
        block
    }

    /// Goes on with a transfer by the bus master, if that was started.
    fn go_on<M: GuestMemory>(&mut self, memory: &mut M) -> Option<Request> {
        let mut cursor = self.master.cursor?;
        let outcome = match self.job {
            Job::Sectors { .. } | Job::Read { .. } => {
                let most = self.left.min(REQUEST_SECTORS_MAX) as usize * SECTOR;
                cursor.take(most, memory)
            }
            .map(|mut segments| {
                let sectors = segments.bytes() / SECTOR;
                segments.truncate(sectors * SECTOR);
                self.asked = sectors as u32;
                (sectors > 0).then_some(Some(Place::Guest(segments)))
            }),
            Job::Reply { .. } => {
                let reply = &self.buffer[..self.filled.min(self.buffer.len())];
                let given = scatter::give(reply, &mut cursor, memory);
                given.map(|given| (given == reply.len()).then_some(None))
            }
            _ => {
                let given = scatter::fetch(&mut self.buffer()[..SECTOR], &mut cursor, memory);
                given.map(|given| (given == SECTOR).then_some(None))
            }
        };
        self.master.cursor = Some(cursor);
        match outcome {
            Err(_) => self.fail_dma(),
            Ok(None) => {
                // The table is too short. The drive goes on waiting for the bus master.
                self.master.status &= !bus_master::ACTIVE;
                self.phase = Phase::Stuck;
                self.task().status = status::READY | status::DRQ;
            }
            Ok(Some(Some(place))) => return Some(self.ask(Some(place))),
            Ok(Some(None)) if matches!(self.job, Job::Reply { .. }) => self.succeed(),
            Ok(Some(None)) => return self.trim(),
        }
        None
    }

    /// Begins with the ranges that have arrived.
    fn trim(&mut self) -> Option<Request> {
        let sectors = match &self.drives[self.selected] {
            Some(Drive::Disk(disk)) => disk.sectors(),
            _ => 0,
        };
        let block = self.block();
        let fits = |(sector, count): (u64, u32)| sector + u64::from(count) <= sectors;
        if !ranges(&block).all(fits) {
            self.fail(error::IDNF | error::ABRT);
            None
        } else if ranges(&block).next().is_none() {
            self.succeed();
            None
        } else {
            Some(self.ask(None))
        }
    }

    /// The disk has done what it was asked for.
    pub(in crate::device::ide) fn complete(&mut self, drive: usize, result: Result<(), Failure>) {
        if self.phase != Phase::Asked || drive != self.selected {
            return;
        }
        if let Err(failure) = result {
            return self.fail_with(failure);
        }
        match self.job {
            Job::Sectors {
                direction,
                protocol,
                through,
            } if self.left > 0 => {
                self.advance();
                match (protocol, direction) {
                    (Protocol::Pio { .. }, Direction::In) => self.offer(),
                    _ if self.left == 0 && through => self.wait(Phase::Ask),
                    _ if self.left == 0 => self.succeed(),
                    (Protocol::Pio { .. }, Direction::Out) => {
                        self.at = 0;
                        self.collect();
                        self.interrupt();
                    }
                    _ => self.wait(Phase::Dma),
                }
            }
            Job::Read { dma, .. } => {
                self.advance();
                match dma {
                    false => self.offer(),
                    true if self.left == 0 => self.succeed(),
                    true => self.wait(Phase::Dma),
                }
            }
            Job::Trim { done } => {
                let done = done + 1;
                self.job = Job::Trim { done };
                if ranges(&self.block()).nth(done).is_some() {
                    self.wait(Phase::Ask);
                } else {
                    self.succeed();
                }
            }
            _ => self.succeed(),
        }
    }

    /// What was asked for is there.
    fn advance(&mut self) {
        self.sector += u64::from(self.asked);
        self.left = self.left.saturating_sub(self.asked);
        self.at = 0;
        self.filled = self.asked.min(BUFFER_SECTORS) as usize * SECTOR;
    }

    fn fail_with(&mut self, failure: Failure) {
        if failure.reason == Reason::Memory {
            return self.fail_dma();
        }
        if self.job.is_packet() {
            if let Some(optical) = self.optical() {
                optical.read_failed();
            }
            return self.fail_packet();
        }
        let operation = match self.job {
            Job::Sectors {
                direction: Direction::In,
                ..
            } => Operation::Read,
            _ => Operation::Write,
        };
        self.task().fail_with(failure, operation);
        self.end();
        self.interrupt();
    }
}
