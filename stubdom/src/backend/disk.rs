//! Disks behind a controller: cuts its requests into pieces that a disk takes, keeps several of them
//! under way, and moves the bytes between the disk's buffers and the guest.
//!
//! A disk may carry out what it has been given in any order. So a piece waits as long as one is under
//! way that touches a sector of it, unless both only read; a flush waits for all that writes. What a
//! drive abandons goes on occupying its sectors until the disk has let go of them, so that a command
//! after a reset is not overtaken by one from before; but no byte of it reaches the guest any more.
//!
//! A drive's sectors have 512 bytes, since that is how a BIOS reads them; a disk's own may have more. Then
//! a piece is made of whole ones, and where it is to write a part of one, the disk is read first.

use crate::disk::{
    Controller, Failure, Operation, Place, REQUESTS_MAX, Reason, Request, SECTOR, Segment,
};
use crate::memory::{GuestMemory, Outside};
use alloc::vec::Vec;

/// Drives of one controller, at most.
pub const DRIVES_MAX: usize = 6;
/// Sectors of one piece, at most, if the disk takes as many.
pub const PIECE_SECTORS_MAX: u32 = 256;
/// Pieces of one disk under way at once, at most.
pub const PIECES_MAX: usize = 32;
/// Sectors of one disk that are on their way at once, at most: memory for as many is taken.
pub const FLYING_SECTORS_MAX: u32 = 1024;
/// Sectors that are discarded at once, at most.
const DISCARD_SECTORS_MAX: u32 = 1 << 20;

/// What a disk says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// How large it is, in sectors of 512 bytes.
    pub sectors: u64,
    /// The size of its own sectors: what is read and written has to be made of whole ones.
    pub sector_size: u32,
    /// It cannot be written.
    pub read_only: bool,
    /// It has a cache that can be flushed; without one, what it reports as written is.
    pub flush: bool,
    /// It takes hints of what is no longer needed.
    pub discard: bool,
    /// Sectors of one request, at most.
    pub request_max: u32,
}

impl Info {
    /// How many sectors of 512 bytes one of its own is.
    fn per_sector(&self) -> u32 {
        (self.sector_size / SECTOR as u32).max(1)
    }
}

/// Memory that a disk reads and writes.
pub trait Buffer {
    /// Copies out of it; what would be outside is left out.
    fn read(&self, offset: usize, into: &mut [u8]);
    /// Copies into it; what would be outside is left out.
    fn write(&mut self, offset: usize, from: &[u8]);
}

/// A request for a disk.
#[derive(Debug)]
pub struct Submission<B> {
    /// What is to be done.
    pub operation: Operation,
    /// The first sector, of 512 bytes.
    pub sector: u64,
    /// How many; none for a flush.
    pub sectors: u32,
    /// For reading and writing: as many bytes as there are.
    pub buffer: Option<B>,
    /// Comes back with the answer.
    pub tag: u64,
}

/// What a disk has done.
#[derive(Debug)]
pub struct Completion<B> {
    /// The submission's.
    pub tag: u64,
    /// Whether it worked.
    pub result: Result<(), Reason>,
    /// The submission's.
    pub buffer: Option<B>,
}

/// A disk, as minios-rs' block front end is one.
pub trait Disk {
    /// Memory that it reads and writes.
    type Buffer: Buffer;

    /// What it is. `None`: it is gone for good, and requests fail.
    fn info(&self) -> Option<Info>;
    /// Memory for so many bytes, if there is any.
    fn buffer(&mut self, bytes: usize) -> Option<Self::Buffer>;
    /// Gives it something to do, or gets it back if there is no room for it now.
    fn submit(
        &mut self,
        submission: Submission<Self::Buffer>,
    ) -> Result<(), Submission<Self::Buffer>>;
    /// What it has done since.
    fn poll(&mut self) -> Option<Completion<Self::Buffer>>;
    /// Tells it to look at what it was given.
    fn notify(&mut self);
}

/// A request under way.
#[derive(Debug)]
struct Active {
    request: Request,
    /// Which of the drive's requests it is, counted from the first: a tag may be another's by the time
    /// a piece comes back.
    serial: u64,
    /// Sectors that were given to the disk.
    given: u32,
    /// There is nothing left to give to it.
    all_given: bool,
    /// Pieces of it that the disk has.
    flying: usize,
    failure: Option<Failure>,
}

impl Active {
    fn fail(&mut self, reason: Reason, sector: u64) {
        self.all_given = true;
        if self.failure.is_none_or(|before| sector < before.sector) {
            self.failure = Some(Failure { reason, sector });
        }
    }

    fn is_done(&self) -> bool {
        self.all_given && self.flying == 0
    }
}

/// What the disk has been given: whole sectors of its own.
#[derive(Clone, Copy, Debug)]
struct Piece {
    serial: u64,
    operation: Operation,
    sector: u64,
    sectors: u32,
    /// How many of them lie before those that are wanted.
    before: u32,
    /// How many are wanted.
    wanted: u32,
    /// Where in its request these begin.
    offset: u32,
    /// It writes, and is being read, as not all of it is wanted.
    is_read_first: bool,
}

impl Piece {
    /// Where in its buffer the first byte is that is wanted.
    fn begin(&self) -> usize {
        self.before as usize * SECTOR
    }

    /// What the disk is asked for next.
    fn submission<B>(&self, tag: u64, buffer: Option<B>) -> Submission<B> {
        Submission {
            operation: match self.is_read_first {
                true => Operation::Read,
                false => self.operation,
            },
            sector: self.sector,
            sectors: self.sectors,
            buffer,
            tag,
        }
    }

    fn writes(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::Discard)
    }

    /// Whether this has to wait until the other one has ended.
    fn waits_for(&self, other: &Self) -> bool {
        match self.operation {
            Operation::Flush => other.writes(),
            _ => {
                (self.writes() || other.writes())
                    && self.sector < other.sector.saturating_add(u64::from(other.sectors))
                    && other.sector < self.sector.saturating_add(u64::from(self.sectors))
            }
        }
    }
}

/// One disk and what its drive wants of it.
struct Queue<D: Disk> {
    disk: D,
    requests: Vec<Active>,
    pieces: [Option<Piece>; PIECES_MAX],
    /// Sectors of them that have memory.
    flying_sectors: u32,
    /// Pieces that were read and are to be written, and that the disk has had no room for.
    read: Vec<Submission<D::Buffer>>,
    serial: u64,
}

/// How far giving pieces to a disk came.
enum Given {
    Piece,
    Nothing,
}

impl<D: Disk> Queue<D> {
    fn new(disk: D) -> Self {
        Self {
            disk,
            requests: Vec::new(),
            pieces: [None; PIECES_MAX],
            flying_sectors: 0,
            read: Vec::new(),
            serial: 0,
        }
    }

    fn start(&mut self, mut request: Request) {
        assert!(
            self.requests.len() < REQUESTS_MAX,
            "a drive has fewer requests than that"
        );
        self.serial += 1;
        let info = self.disk.info();
        let refused = match info {
            None => Some(Reason::Gone),
            Some(info) => refuse(&info, &request),
        };
        if let (None, Some(info), Operation::Discard) = (refused, info, request.operation) {
            // Of a sector of which the rest is needed nothing is discarded.
            let per_sector = u64::from(info.per_sector());
            let end = request.sector + u64::from(request.sectors);
            let first = request.sector.next_multiple_of(per_sector);
            let whole = (end - end % per_sector).saturating_sub(first);
            (request.sector, request.sectors) = (first, whole as u32);
        }
        let mut active = Active {
            serial: self.serial,
            given: 0,
            all_given: is_nothing(&request, info),
            flying: 0,
            failure: None,
            request,
        };
        if let Some(reason) = refused {
            active.fail(reason, active.request.sector);
        }
        self.requests.push(active);
    }

    /// Nothing of it is looked at any more when it comes back.
    fn abandon(&mut self) {
        self.requests.clear();
    }

    /// Takes what the disk has done.
    fn collect<C: Controller, M: GuestMemory>(
        &mut self,
        drive: u8,
        controller: &mut C,
        memory: &mut M,
    ) -> bool {
        let mut any = false;
        while let Some(completion) = self.disk.poll() {
            any = true;
            let slot = usize::try_from(completion.tag).ok();
            let Some((slot, piece)) = slot
                .and_then(|slot| self.pieces.get_mut(slot))
                .and_then(|slot| slot.take().map(|piece| (slot, piece)))
            else {
                continue;
            };
            if matches!(piece.operation, Operation::Read | Operation::Write) {
                self.flying_sectors -= piece.sectors;
            }
            let Some(active) = self
                .requests
                .iter_mut()
                .find(|active| active.serial == piece.serial)
            else {
                continue;
            };
            active.flying -= 1;
            let place = &active.request.place;
            let moved = match (completion.result, completion.buffer) {
                (Err(reason), _) => Err(reason),
                (Ok(()), Some(buffer)) if piece.operation == Operation::Read => {
                    give_back(&buffer, &piece, place, || controller.buffer(drive), memory)
                        .map_err(|Outside| Reason::Memory)
                }
                (Ok(()), Some(mut buffer)) if piece.is_read_first => fill(
                    &mut buffer,
                    &piece,
                    place,
                    || controller.buffer(drive),
                    memory,
                )
                .map_err(|Outside| Reason::Memory)
                .map(|()| {
                    let piece = slot.insert(Piece {
                        is_read_first: false,
                        ..piece
                    });
                    self.flying_sectors += piece.sectors;
                    active.flying += 1;
                    let submission = piece.submission(completion.tag, Some(buffer));
                    self.read.push(submission);
                }),
                (Ok(()), _) => Ok(()),
            };
            if let Err(reason) = moved {
                active.fail(reason, active.request.sector + u64::from(piece.offset));
            }
        }
        any
    }

    /// Gives the disk what it takes. Whether that was anything: a disk may be done with it at once, and no
    /// event tells of it then.
    fn give<C: Controller, M: GuestMemory>(
        &mut self,
        drive: u8,
        controller: &mut C,
        memory: &mut M,
    ) -> bool {
        let any = self.give_what_was_read() | self.give_requests(drive, controller, memory);
        if any {
            self.disk.notify();
        }
        any
    }

    fn give_what_was_read(&mut self) -> bool {
        let mut any = false;
        while let Some(submission) = self.read.pop() {
            if let Err(submission) = self.disk.submit(submission) {
                self.read.push(submission);
                break;
            }
            any = true;
        }
        any
    }

    fn give_requests<C: Controller, M: GuestMemory>(
        &mut self,
        drive: u8,
        controller: &mut C,
        memory: &mut M,
    ) -> bool {
        if !self.read.is_empty() {
            // The first come is served first, and there is no room.
            return false;
        }
        let mut any = false;
        for at in 0..self.requests.len() {
            while !self.requests[at].all_given {
                match self.give_piece(at, drive, controller, memory) {
                    Given::Piece => any = true,
                    Given::Nothing => return any,
                }
            }
        }
        any
    }

    fn give_piece<C: Controller, M: GuestMemory>(
        &mut self,
        at: usize,
        drive: u8,
        controller: &mut C,
        memory: &mut M,
    ) -> Given {
        let active = &mut self.requests[at];
        let request = &active.request;
        let sector = request.sector + u64::from(active.given);
        let Some(info) = self.disk.info() else {
            active.fail(Reason::Gone, sector);
            return Given::Nothing;
        };
        let per_sector = info.per_sector();
        let most = match request.operation {
            Operation::Discard => DISCARD_SECTORS_MAX,
            _ => PIECE_SECTORS_MAX.min(info.request_max),
        };
        let most = (most - most % per_sector).max(per_sector);
        let before = (sector % u64::from(per_sector)) as u32;
        let wanted = (request.sectors - active.given).min(most - before);
        let sectors = (before + wanted).next_multiple_of(per_sector);
        let piece = Piece {
            serial: active.serial,
            operation: request.operation,
            sector: sector - u64::from(before),
            sectors,
            before,
            wanted,
            offset: active.given,
            is_read_first: request.operation == Operation::Write && sectors != wanted,
        };
        let Some(slot) = self.pieces.iter().position(Option::is_none) else {
            return Given::Nothing;
        };
        if self
            .pieces
            .iter()
            .flatten()
            .any(|other| piece.waits_for(other))
        {
            return Given::Nothing;
        }
        let has_bytes = matches!(request.operation, Operation::Read | Operation::Write);
        let buffer = if has_bytes {
            if self.flying_sectors != 0 && self.flying_sectors + piece.sectors > FLYING_SECTORS_MAX
            {
                return Given::Nothing;
            }
            let bytes = piece.sectors as usize * SECTOR;
            let Some(mut buffer) = self.disk.buffer(bytes) else {
                // Something under way has what this needs; if nothing is, it will never be there.
                if self.pieces.iter().all(Option::is_none) {
                    active.fail(Reason::Medium, sector);
                }
                return Given::Nothing;
            };
            if request.operation == Operation::Write
                && !piece.is_read_first
                && fill(
                    &mut buffer,
                    &piece,
                    &request.place,
                    || controller.buffer(drive),
                    memory,
                )
                .is_err()
            {
                active.fail(Reason::Memory, sector);
                return Given::Nothing;
            }
            Some(buffer)
        } else {
            None
        };
        let submission = piece.submission(slot as u64, buffer);
        if self.disk.submit(submission).is_err() {
            return Given::Nothing;
        }
        if has_bytes {
            self.flying_sectors += piece.sectors;
        }
        active.flying += 1;
        active.given += piece.wanted;
        active.all_given = active.given == active.request.sectors;
        self.pieces[slot] = Some(piece);
        Given::Piece
    }

    /// One that has ended, and how.
    fn take_done(&mut self) -> Option<(u8, Result<(), Failure>)> {
        let at = self.requests.iter().position(Active::is_done)?;
        let done = self.requests.remove(at);
        Some((done.request.tag, done.failure.map_or(Ok(()), Err)))
    }
}

/// Why a disk is not even asked.
fn refuse(info: &Info, request: &Request) -> Option<Reason> {
    let writes = matches!(request.operation, Operation::Write | Operation::Discard);
    let end = request.sector.checked_add(u64::from(request.sectors));
    let bytes = request.sectors as usize * SECTOR;
    if writes && info.read_only {
        Some(Reason::ReadOnly)
    } else if end.is_none_or(|end| end > info.sectors) {
        Some(Reason::Range)
    } else if matches!(&request.place, Place::Guest(segments) if segments.bytes() != bytes) {
        Some(Reason::Memory)
    } else {
        None
    }
}

/// Whether it is done without the disk.
fn is_nothing(request: &Request, info: Option<Info>) -> bool {
    match request.operation {
        Operation::Flush => info.is_some_and(|info| !info.flush),
        Operation::Discard => request.sectors == 0 || info.is_some_and(|info| !info.discard),
        _ => request.sectors == 0,
    }
}

/// Calls with each part of a piece: where in the buffer it begins, and where in the guest.
fn each_run(
    piece: &Piece,
    place: &Place,
    mut run: impl FnMut(usize, Segment) -> Result<(), Outside>,
) -> Result<(), Outside> {
    let Place::Guest(segments) = place else {
        return Ok(());
    };
    let mut at = piece.begin();
    let offset = piece.offset as usize * SECTOR;
    for segment in segments.runs(offset, piece.wanted as usize * SECTOR) {
        run(at, segment)?;
        at += segment.length as usize;
    }
    Ok(())
}

/// Copies in steps of this.
const STEP: usize = 4096;

fn each_step(
    (mut at, segment): (usize, Segment),
    mut step: impl FnMut(usize, u64, usize) -> Result<(), Outside>,
) -> Result<(), Outside> {
    let mut address = segment.address;
    let mut left = segment.length as usize;
    while left > 0 {
        // Up to the end of a page, so that a step lies in one mapping.
        let length = left.min(STEP - (address as usize % STEP));
        step(at, address, length)?;
        at += length;
        left -= length;
        if left > 0 {
            address = address.checked_add(length as u64).ok_or(Outside)?;
        }
    }
    Ok(())
}

/// What part of the drive's own buffer a piece is.
fn own<'a>(buffer: &'a mut [u8], piece: &Piece) -> &'a mut [u8] {
    let start = (piece.offset as usize * SECTOR).min(buffer.len());
    let end = (start + piece.wanted as usize * SECTOR).min(buffer.len());
    &mut buffer[start..end]
}

fn give_back<'a, B: Buffer, M: GuestMemory>(
    buffer: &B,
    piece: &Piece,
    place: &Place,
    device: impl FnOnce() -> &'a mut [u8],
    memory: &mut M,
) -> Result<(), Outside> {
    if *place == Place::Device {
        buffer.read(piece.begin(), own(device(), piece));
        return Ok(());
    }
    let mut page = [0; STEP];
    each_run(piece, place, |at, segment| {
        each_step((at, segment), |at, address, length| {
            buffer.read(at, &mut page[..length]);
            memory.write(address, &page[..length])
        })
    })
}

fn fill<'a, B: Buffer, M: GuestMemory>(
    buffer: &mut B,
    piece: &Piece,
    place: &Place,
    device: impl FnOnce() -> &'a mut [u8],
    memory: &mut M,
) -> Result<(), Outside> {
    if *place == Place::Device {
        buffer.write(piece.begin(), own(device(), piece));
        return Ok(());
    }
    let mut page = [0; STEP];
    each_run(piece, place, |at, segment| {
        each_step((at, segment), |at, address, length| {
            memory.read(address, &mut page[..length])?;
            buffer.write(at, &page[..length]);
            Ok(())
        })
    })
}

/// The disks behind one controller.
pub struct Disks<D: Disk> {
    /// By drive. Each knows many pieces: too much for a stack.
    queues: Vec<Option<Queue<D>>>,
}

impl<D: Disk> Default for Disks<D> {
    fn default() -> Self {
        Self {
            queues: (0..DRIVES_MAX).map(|_| None).collect(),
        }
    }
}

impl<D: Disk> Disks<D> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a disk behind a drive.
    ///
    /// # Panics
    /// If no controller has a drive of that number.
    pub fn attach(&mut self, drive: u8, disk: D) {
        self.queues[usize::from(drive)] = Some(Queue::new(disk));
    }

    /// The disk behind a drive.
    pub fn disk_mut(&mut self, drive: u8) -> Option<&mut D> {
        let queue = self.queues.get_mut(usize::from(drive))?.as_mut()?;
        Some(&mut queue.disk)
    }

    /// Nothing is under way: neither a request nor what is left of one that was abandoned.
    pub fn is_idle(&self) -> bool {
        let mut queues = self.queues.iter().flatten();
        queues.all(|queue| queue.requests.is_empty() && queue.pieces.iter().all(Option::is_none))
    }

    /// Takes what the controller wants, and what the disks have done, until both have to wait.
    ///
    /// It ends: a disk that answers at once goes through one command at a time, and a command has an
    /// end; the next one needs the guest.
    pub fn turn<C: Controller, M: GuestMemory>(&mut self, controller: &mut C, memory: &mut M) {
        loop {
            let mut any = self.abandon(controller);
            for (drive, queue) in self.queues.iter_mut().enumerate() {
                if let Some(queue) = queue {
                    any |= queue.collect(drive as u8, controller, memory);
                }
            }
            while let Some(request) = controller.next_request(memory) {
                any = true;
                let (drive, tag, sector) = (request.drive, request.tag, request.sector);
                match self.queues.get_mut(usize::from(drive)) {
                    Some(Some(queue)) => queue.start(request),
                    _ => {
                        let failure = Failure {
                            reason: Reason::Gone,
                            sector,
                        };
                        controller.complete(drive, tag, Err(failure), memory);
                    }
                }
            }
            for (drive, queue) in self.queues.iter_mut().enumerate() {
                let Some(queue) = queue else {
                    continue;
                };
                any |= queue.give(drive as u8, controller, memory);
                while let Some((tag, result)) = queue.take_done() {
                    any = true;
                    controller.complete(drive as u8, tag, result, memory);
                }
            }
            // A drive that was reset by a command goes on only when its requests are forgotten.
            any |= self.abandon(controller);
            if !any {
                return;
            }
        }
    }

    fn abandon<C: Controller>(&mut self, controller: &mut C) -> bool {
        let mut any = false;
        while let Some(drive) = controller.take_abandoned() {
            any = true;
            if let Some(Some(queue)) = self.queues.get_mut(usize::from(drive)) {
                queue.abandon();
            }
        }
        any
    }
}

#[cfg(any(test, feature = "fake"))]
pub mod fake;

#[cfg(test)]
mod tests;
