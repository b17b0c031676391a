//! A hard disk: what its commands mean.

use super::{
    Attachment, Direction, MULTIPLE_MAX, Protocol, Start, Task, Transfer, error, identify, smart,
};
use serde::{Deserialize, Serialize};

/// Set features: which. (7.45.)
mod feature {
    pub(super) const WRITE_CACHE: u16 = 0x02;
    pub(super) const TRANSFER_MODE: u16 = 0x03;
    pub(super) const NO_LOOK_AHEAD: u16 = 0x55;
    pub(super) const KEEP_SETTINGS: u16 = 0x66;
    pub(super) const NO_WRITE_CACHE: u16 = 0x82;
    pub(super) const LOOK_AHEAD: u16 = 0xaa;
    pub(super) const FORGET_SETTINGS: u16 = 0xcc;
}

/// What CHECK POWER MODE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Power {
    Active,
    Idle,
    Standby,
}

/// A hard disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardDisk {
    pub(super) attachment: Attachment,
    /// Of 512 bytes.
    pub(super) sectors: u64,
    /// Bytes of the disk's own, as a power of two of sectors.
    pub(super) physical: u8,
    pub(super) serial: [u8; 20],
    pub(super) trim: bool,
    /// As the driver said that it counts them.
    pub(super) heads: u16,
    pub(super) per_track: u16,
    /// Sectors of READ MULTIPLE; none: not set.
    pub(super) multiple: u8,
    /// What is written is reported before it is on the medium.
    pub(super) write_cache: bool,
    pub(super) look_ahead: bool,
    pub(super) smart: bool,
    /// The transfer mode that was chosen.
    pub(super) mode: u8,
    power: Power,
}

/// Heads and sectors of a track that a disk says it has.
pub(super) const GEOMETRY: (u16, u16) = (16, 63);

impl HardDisk {
    /// A disk of so many sectors of 512 bytes.
    pub fn new(attachment: Attachment, sectors: u64, serial: &str) -> Self {
        let mut text = [b' '; 20];
        for (place, byte) in text.iter_mut().zip(serial.bytes()) {
            *place = byte;
        }
        Self {
            attachment,
            // What 48 bits can say.
            sectors: sectors.min((1 << 48) - 1),
            physical: 0,
            serial: text,
            trim: false,
            heads: GEOMETRY.0,
            per_track: GEOMETRY.1,
            multiple: MULTIPLE_MAX,
            write_cache: true,
            look_ahead: true,
            smart: true,
            mode: 0x45,
            power: Power::Active,
        }
    }

    /// The same, which takes hints of what is no longer needed.
    pub fn with_trim(mut self) -> Self {
        self.trim = true;
        self
    }

    /// The same, whose own sectors have so many bytes: 512 or 4,096.
    pub fn with_physical_sector(mut self, bytes: u32) -> Self {
        self.physical = (bytes / 512).checked_ilog2().unwrap_or(0) as u8;
        self
    }

    /// How large it is, in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// After a reset by software, settings stay; only what has an effect on the protocol goes.
    pub(super) fn reset(&mut self) {
        self.multiple = MULTIPLE_MAX;
        (self.heads, self.per_track) = GEOMETRY;
        self.power = Power::Active;
    }

    /// Carries out a command, as far as it goes without the disk.
    pub(super) fn start(&mut self, task: &mut Task, answer: &mut [u8; 512]) -> Start {
        use Direction::{In, Out};
        let one = Protocol::Pio { block: 1 };
        let multiple = Protocol::Pio {
            block: self.multiple.max(1),
        };
        let serial = self.attachment == Attachment::Serial;
        if touches_medium(task.command) {
            self.power = Power::Active;
        }
        match task.command {
            0x06 => self.data_set_management(task),
            // RECALIBRATE, and SEEK, which nothing has done for long.
            0x10..=0x1f | 0x70 => done(task),
            0x20 | 0x21 => self.short(task, In, one),
            0x24 => self.long(task, In, one, false),
            0x25 => self.long(task, In, Protocol::Dma, false),
            0x29 if self.multiple > 0 => self.long(task, In, multiple, false),
            0x2f if serial => read_log(task, answer),
            0x30 | 0x31 => self.short(task, Out, one),
            0x34 => self.long(task, Out, one, false),
            0x35 => self.long(task, Out, Protocol::Dma, false),
            0x39 if self.multiple > 0 => self.long(task, Out, multiple, false),
            0x3d => self.long(task, Out, Protocol::Dma, true),
            // READ VERIFY: what cannot be read is found when it is read.
            0x40 | 0x41 => verified(task, |task| self.short(task, In, one)),
            0x42 => verified(task, |task| self.long(task, In, one, false)),
            0x60 if serial => self.queued(task, In),
            0x61 if serial => self.queued(task, Out),
            0x90 => Start::Diagnose,
            0x91 => self.initialize_parameters(task),
            0xb0 => smart::start(&mut self.smart, task, answer),
            0xc4 if self.multiple > 0 => self.short(task, In, multiple),
            0xc5 if self.multiple > 0 => self.short(task, Out, multiple),
            0xc6 => self.set_multiple(task),
            0xc8 | 0xc9 => self.short(task, In, Protocol::Dma),
            0xca | 0xcb => self.short(task, Out, Protocol::Dma),
            // STANDBY IMMEDIATE, STANDBY, SLEEP; IDLE IMMEDIATE, IDLE; the older codes of each.
            0xe0 | 0xe2 | 0xe6 | 0x94 | 0x96 | 0x99 => {
                self.power = Power::Standby;
                // The cache goes to the medium first.
                Start::Flush
            }
            0xe1 | 0xe3 | 0x95 | 0x97 => {
                self.power = Power::Idle;
                done(task)
            }
            0xce if self.multiple > 0 => self.long(task, Out, multiple, true),
            0xe5 | 0x98 => {
                task.count = match self.power {
                    Power::Active => 0xff,
                    Power::Idle => 0x80,
                    Power::Standby => 0x00,
                };
                done(task)
            }
            0xe7 | 0xea => Start::Flush,
            0xec => {
                identify::disk(self, answer);
                Start::Answer
            }
            0xef => self.set_features(task),
            _ => refused(task),
        }
    }

    /// The first sector that the registers of a 28-bit command name. (ATA-6: or cylinder, head, sector.)
    fn address(&self, task: &Task) -> Option<u64> {
        let head = u64::from(task.device & 0xf);
        if task.device & 1 << 6 != 0 {
            return Some(head << 24 | task.lba & 0xff_ffff);
        }
        let cylinder = task.lba >> 8 & 0xffff;
        let sector = (task.lba & 0xff).checked_sub(1)?;
        let (heads, per_track) = (u64::from(self.heads), u64::from(self.per_track));
        (head < heads && sector < per_track)
            .then_some((cylinder * heads + head) * per_track + sector)
    }

    fn short(&self, task: &mut Task, direction: Direction, protocol: Protocol) -> Start {
        let sectors = match task.count & 0xff {
            0 => 0x100,
            count => count.into(),
        };
        let through = direction == Direction::Out && !self.write_cache;
        let Some(sector) = self.address(task) else {
            task.fail(error::IDNF);
            return Start::Done;
        };
        self.transfer(
            task,
            Transfer {
                direction,
                sector,
                sectors,
                protocol,
                through,
            },
        )
    }

    fn long(
        &self,
        task: &mut Task,
        direction: Direction,
        protocol: Protocol,
        through: bool,
    ) -> Start {
        let sectors = match task.count {
            0 => 0x1_0000,
            count => count.into(),
        };
        let through = direction == Direction::Out && (through || !self.write_cache);
        self.transfer(
            task,
            Transfer {
                direction,
                sector: task.lba,
                sectors,
                protocol,
                through,
            },
        )
    }

    /// The count is where the features are, and there is a bit for "on the medium". (13.6.4.)
    fn queued(&self, task: &mut Task, direction: Direction) -> Start {
        let sectors = match task.features {
            0 => 0x1_0000,
            count => count.into(),
        };
        let through =
            direction == Direction::Out && (task.device & 1 << 7 != 0 || !self.write_cache);
        self.transfer(
            task,
            Transfer {
                direction,
                sector: task.lba,
                sectors,
                protocol: Protocol::Queued,
                through,
            },
        )
    }

    fn transfer(&self, task: &mut Task, transfer: Transfer) -> Start {
        let end = transfer.sector.checked_add(transfer.sectors.into());
        if end.is_none_or(|end| end > self.sectors) {
            task.fail(error::IDNF);
            return Start::Done;
        }
        Start::Transfer(transfer)
    }

    fn data_set_management(&self, task: &mut Task) -> Start {
        // TRIM, and as many blocks of ranges as IDENTIFY says.
        if self.trim && task.features & 0xff == 1 && task.count == 1 {
            Start::Trim
        } else {
            refused(task)
        }
    }

    fn initialize_parameters(&mut self, task: &mut Task) -> Start {
        if task.count & 0xff == 0 {
            return refused(task);
        }
        self.heads = u16::from(task.device & 0xf) + 1;
        self.per_track = task.count & 0xff;
        done(task)
    }

    fn set_multiple(&mut self, task: &mut Task) -> Start {
        let count = (task.count & 0xff) as u8;
        if count > MULTIPLE_MAX || !(count == 0 || count.is_power_of_two()) {
            return refused(task);
        }
        self.multiple = count;
        done(task)
    }

    fn set_features(&mut self, task: &mut Task) -> Start {
        match task.features & 0xff {
            feature::WRITE_CACHE => self.write_cache = true,
            feature::NO_WRITE_CACHE => {
                self.write_cache = false;
                return Start::Flush;
            }
            feature::LOOK_AHEAD => self.look_ahead = true,
            feature::NO_LOOK_AHEAD => self.look_ahead = false,
            feature::KEEP_SETTINGS | feature::FORGET_SETTINGS => {}
            feature::TRANSFER_MODE => match task.count as u8 {
                // PIO to mode 4, multiword DMA to mode 2, Ultra DMA to mode 5.
                0x00 | 0x01 | 0x08..=0x0c => {}
                mode @ (0x20..=0x22 | 0x40..=0x45) => self.mode = mode,
                _ => return refused(task),
            },
            _ => return refused(task),
        }
        done(task)
    }
}

/// The ranges of a block of DATA SET MANAGEMENT that name something: first sector and how many. (7.5.)
pub(in crate::device) fn ranges(block: &[u8; 512]) -> impl Iterator<Item = (u64, u32)> + '_ {
    block.as_chunks::<8>().0.iter().filter_map(|bytes| {
        let range = u64::from_le_bytes(*bytes);
        let sectors = (range >> 48) as u32;
        (sectors > 0).then_some((range & 0xffff_ffff_ffff, sectors))
    })
}

fn touches_medium(command: u8) -> bool {
    matches!(command, 0x06 | 0x20..=0x61 | 0xc4 | 0xc5 | 0xc8..=0xcb)
}

fn done(task: &mut Task) -> Start {
    task.succeed();
    Start::Done
}

fn refused(task: &mut Task) -> Start {
    task.fail(error::ABRT);
    Start::Done
}

/// A transfer that only has to be possible.
fn verified(task: &mut Task, transfer: impl FnOnce(&mut Task) -> Start) -> Start {
    match transfer(task) {
        Start::Transfer(_) => done(task),
        start => start,
    }
}

/// READ LOG EXT: the directory, and the log of the queue. (7.25, A.)
fn read_log(task: &mut Task, answer: &mut [u8; 512]) -> Start {
    let page = task.lba >> 8 & 0xff | (task.lba >> 40 & 0xff) << 8;
    if task.count != 1 || page != 0 {
        return refused(task);
    }
    match task.lba & 0xff {
        0x00 => {
            answer.fill(0);
            super::put_words(answer, 0, &[1]);
            super::put_words(answer, 0x10, &[1]);
            Start::Answer
        }
        0x10 => Start::QueuedErrorLog,
        _ => refused(task),
    }
}
