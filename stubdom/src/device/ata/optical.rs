//! A CD or DVD drive: ATA's few commands for it, and the packets that it is really spoken to with.
//!
//! Sections are those of MMC-5 (T10/1675-D) and SPC-3 (T10/1416-D).

use super::{Attachment, Start, Task, error, identify, status};
use serde::{Deserialize, Serialize};

/// Sectors of 512 bytes in one of a CD.
pub(in crate::device) const CD_SECTORS: u32 = 4;
/// Bytes of one of a CD.
const CD_SECTOR: u32 = 2048;
/// CD sectors of 80 minutes: what is larger is no CD.
const CD_MAX: u32 = 80 * 60 * 75;

/// Why a packet was not carried out: sense key, additional code and its qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense(pub(super) u8, pub(super) u8, pub(super) u8);

mod sense {
    use super::Sense;
    pub(super) const NONE: Sense = Sense(0, 0, 0);
    pub(super) const NO_MEDIUM: Sense = Sense(2, 0x3a, 0);
    pub(super) const TRAY_OPEN: Sense = Sense(2, 0x3a, 2);
    pub(super) const UNREADABLE: Sense = Sense(3, 0x11, 0);
    pub(super) const COMMAND: Sense = Sense(5, 0x20, 0);
    pub(super) const RANGE: Sense = Sense(5, 0x21, 0);
    pub(super) const FIELD: Sense = Sense(5, 0x24, 0);
    pub(super) const SAVED: Sense = Sense(5, 0x39, 0);
    pub(super) const LOCKED: Sense = Sense(5, 0x53, 2);
    pub(super) const CHANGED: Sense = Sense(6, 0x28, 0);
    pub(super) const TRANSFER: Sense = Sense(11, 0x4b, 0);
}

/// What a driver is to be told of the tray when it asks for events. (6.6.2.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    None,
    Eject,
    New,
    Removed,
}

/// What a packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::device) enum Reply {
    /// Nothing; it was done.
    Good,
    /// So many of the first bytes of what the drive was lent go to the guest.
    Data(usize),
    /// Sectors of 512 bytes.
    Read {
        /// The first one.
        sector: u64,
        /// How many.
        sectors: u32,
    },
    /// It was not carried out; the reason waits to be asked for.
    Bad,
}

/// A CD or DVD drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Optical {
    pub(super) attachment: Attachment,
    pub(super) serial: [u8; 20],
    pub(super) mode: u8,
    /// What lies in the tray: how many sectors of a CD.
    medium: Option<u32>,
    open: bool,
    locked: bool,
    /// The medium was changed, and the driver not told.
    changed: bool,
    event: Event,
    sense: Sense,
}

impl Optical {
    /// A drive, and in it a medium of so many sectors of 512 bytes, or none.
    pub fn new(attachment: Attachment, medium: Option<u64>, serial: &str) -> Self {
        let mut text = [b' '; 20];
        for (place, byte) in text.iter_mut().zip(serial.bytes()) {
            *place = byte;
        }
        Self {
            attachment,
            serial: text,
            mode: 0x45,
            medium: medium.map(cd_sectors),
            open: false,
            locked: false,
            changed: false,
            event: Event::None,
            sense: sense::NONE,
        }
    }

    /// Puts in another medium, or takes it out.
    pub fn set_medium(&mut self, sectors: Option<u64>) {
        self.medium = sectors.map(cd_sectors);
        self.open = false;
        self.changed = self.medium.is_some();
        self.event = match self.medium {
            Some(_) => Event::New,
            None => Event::Removed,
        };
    }

    pub(super) fn reset(&mut self) {
        self.locked = false;
        self.sense = sense::NONE;
    }

    /// Carries out a command, as far as it is ATA's.
    pub(super) fn start(&mut self, task: &mut Task, answer: &mut [u8; 512]) -> Start {
        match task.command {
            0xa0 => return Start::Packet,
            0xa1 => {
                identify::optical(self, answer);
                return Start::Answer;
            }
            0x90 => return Start::Diagnose,
            // STANDBY IMMEDIATE, IDLE IMMEDIATE and the like.
            0xe0..=0xe3 | 0xe6 => task.succeed(),
            0xe5 => {
                task.count = 0xff;
                task.succeed();
            }
            0xef if task.features & 0xff == 0x03 => match task.count as u8 {
                0x00 | 0x01 | 0x08..=0x0c => task.succeed(),
                mode @ (0x20..=0x22 | 0x40..=0x45) => {
                    self.mode = mode;
                    task.succeed();
                }
                _ => task.fail(error::ABRT),
            },
            0xef if matches!(task.features & 0xff, 0x66 | 0xcc) => task.succeed(),
            _ => task.fail(error::ABRT),
        }
        Start::Done
    }

    /// What a failed packet leaves in the registers.
    pub(in crate::device) fn blame(&self, task: &mut Task) {
        task.status = status::READY | status::ERR;
        task.error = self.sense.0 << 4 | error::ABRT;
    }

    /// The medium could not be read.
    pub(in crate::device) fn read_failed(&mut self) {
        self.sense = sense::UNREADABLE;
    }

    /// The data did not get across.
    pub(in crate::device) fn transfer_failed(&mut self) {
        self.sense = sense::TRANSFER;
    }

    /// There was no way to give the guest what it asked for.
    pub(in crate::device) fn refuse(&mut self) {
        self.sense = sense::FIELD;
    }

    /// Carries out a packet.
    pub(in crate::device) fn packet(&mut self, packet: &[u8; 12], reply: &mut [u8; 512]) -> Reply {
        let asks_about_drive = matches!(packet[0], 0x03 | 0x12 | 0x46 | 0x4a);
        if self.changed && !asks_about_drive {
            self.changed = false;
            self.sense = sense::CHANGED;
            return Reply::Bad;
        }
        if packet[0] != 0x03 {
            self.sense = sense::NONE;
        }
        match self.carry_out(packet, reply) {
            Ok(reply) => reply,
            Err(sense) => {
                self.sense = sense;
                Reply::Bad
            }
        }
    }

    fn carry_out(&mut self, packet: &[u8; 12], reply: &mut [u8; 512]) -> Result<Reply, Sense> {
        let short = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let long = |at: usize| {
            u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        };
        reply.fill(0);
        let (length, room) = match packet[0] {
            // TEST UNIT READY.
            0x00 => {
                self.medium()?;
                return Ok(Reply::Good);
            }
            0x03 => (self.request_sense(reply), packet[4].into()),
            0x12 => (inquiry(packet, reply)?, short(3)),
            0x1a => (mode_sense(packet, reply, 4)?, packet[4].into()),
            0x1b => return self.start_stop(packet[4]),
            0x1e => {
                self.locked = packet[4] & 1 != 0;
                return Ok(Reply::Good);
            }
            0x25 => (read_capacity(self.medium()?, reply), 8),
            0x28 => return self.read(long(2), short(7).into()),
            // SEEK, VERIFY.
            0x2b => return self.verify(long(2), 1),
            0x2f => return self.verify(long(2), short(7).into()),
            0x43 => (read_toc(packet, self.medium()?, reply)?, short(7)),
            0x46 => (self.configuration(packet, reply)?, short(7)),
            0x4a => (self.events(packet, reply)?, short(7)),
            0x51 => {
                self.medium()?;
                (disc_information(packet, reply)?, short(7))
            }
            0x5a => (mode_sense(packet, reply, 8)?, short(7)),
            0xa8 => return self.read(long(2), long(6)),
            // SET CD SPEED: as fast as it goes.
            0xbb => return Ok(Reply::Good),
            0xbd => {
                // MECHANISM STATUS: one slot, door open or not.
                reply[1] = u8::from(self.open) << 4;
                reply[5] = 1;
                (8, short(8))
            }
            0xbe => return self.read_cd(packet, long(2)),
            _ => return Err(sense::COMMAND),
        };
        match length.min(room.into()) {
            0 => Ok(Reply::Good),
            length => Ok(Reply::Data(length)),
        }
    }

    fn medium(&self) -> Result<u32, Sense> {
        match self.medium {
            _ if self.open => Err(sense::TRAY_OPEN),
            Some(sectors) => Ok(sectors),
            None => Err(sense::NO_MEDIUM),
        }
    }

    fn verify(&self, first: u32, sectors: u32) -> Result<Reply, Sense> {
        let end = first.checked_add(sectors);
        if end.is_none_or(|end| end > self.medium().unwrap_or(0)) {
            self.medium()?;
            return Err(sense::RANGE);
        }
        Ok(Reply::Good)
    }

    fn read(&self, first: u32, sectors: u32) -> Result<Reply, Sense> {
        self.verify(first, sectors)?;
        let Some(number) = sectors.checked_mul(CD_SECTORS) else {
            // Two terabytes in one go.
            return Err(sense::FIELD);
        };
        Ok(match number {
            0 => Reply::Good,
            sectors => Reply::Read {
                sector: u64::from(first) * u64::from(CD_SECTORS),
                sectors,
            },
        })
    }

    /// READ CD: of the kinds of data that it could name, only a sector's own.
    fn read_cd(&self, packet: &[u8; 12], first: u32) -> Result<Reply, Sense> {
        let sectors = u32::from_be_bytes([0, packet[6], packet[7], packet[8]]);
        match packet[9] & 0xf8 {
            0x00 => self.verify(first, sectors),
            0x10 => self.read(first, sectors),
            _ => Err(sense::FIELD),
        }
    }

    fn request_sense(&mut self, reply: &mut [u8; 512]) -> usize {
        let mut sense = core::mem::take(&mut self.sense);
        if sense == sense::NONE && self.changed {
            self.changed = false;
            sense = sense::CHANGED;
        }
        reply[0] = 0x70;
        reply[2] = sense.0;
        reply[7] = 10;
        reply[12] = sense.1;
        reply[13] = sense.2;
        18
    }

    fn start_stop(&mut self, what: u8) -> Result<Reply, Sense> {
        match what & 0b11 {
            // Eject.
            0b10 => {
                if self.locked {
                    return Err(sense::LOCKED);
                }
                if !self.open {
                    self.event = Event::Eject;
                }
                self.open = true;
            }
            // Load.
            0b11 => {
                if self.open && self.medium.is_some() {
                    self.changed = true;
                    self.event = Event::New;
                }
                self.open = false;
            }
            _ => {}
        }
        Ok(Reply::Good)
    }

    /// GET CONFIGURATION. (6.5.)
    fn configuration(&self, packet: &[u8; 12], reply: &mut [u8; 512]) -> Result<usize, Sense> {
        /// Profiles: which kinds of medium there are.
        const CD_ROM: u16 = 0x08;
        const DVD_ROM: u16 = 0x10;
        let profile = match self.medium() {
            Err(_) => 0,
            Ok(sectors) if sectors > CD_MAX => DVD_ROM,
            Ok(_) => CD_ROM,
        };
        let has = |of: u16| u8::from(profile == of);
        let profiles = [0, 0x10, has(DVD_ROM), 0, 0, 0x08, has(CD_ROM), 0];
        // Code, version and whether it is current, and what it holds.
        let features: [(u16, u8, &[u8]); 6] = [
            (0x0000, 0b0011, &profiles),
            // The core: ATAPI.
            (0x0001, 0b1011, &[0, 0, 0, 2, 1, 0, 0, 0]),
            // A tray that can be locked, and opened by a command.
            (0x0003, 0b1011, &[0b0010_1001, 0, 0, 0]),
            // Sectors of 2,048 bytes can be read, one by one.
            (0x0010, u8::from(profile != 0), &[0, 0, 8, 0, 0, 1, 0, 0]),
            (0x001e, 0b1000 | has(CD_ROM), &[0, 0, 0, 0]),
            (0x001f, has(DVD_ROM), &[0, 0, 0, 0]),
        ];
        let first = u16::from_be_bytes([packet[2], packet[3]]);
        let kind = packet[1] & 0b11;
        if kind == 0b11 {
            return Err(sense::FIELD);
        }
        let mut length = 8;
        for (code, state, holds) in features {
            let wanted = match kind {
                0b00 => code >= first,
                0b01 => code >= first && state & 1 != 0,
                _ => code == first,
            };
            if wanted {
                reply[length..length + 2].copy_from_slice(&code.to_be_bytes());
                reply[length + 2] = state;
                reply[length + 3] = holds.len() as u8;
                reply[length + 4..length + 4 + holds.len()].copy_from_slice(holds);
                length += 4 + holds.len();
            }
        }
        reply[..4].copy_from_slice(&(length as u32 - 4).to_be_bytes());
        reply[6..8].copy_from_slice(&profile.to_be_bytes());
        Ok(length)
    }

    /// GET EVENT STATUS NOTIFICATION, of the only kind that there is: asked for, about the medium.
    fn events(&mut self, packet: &[u8; 12], reply: &mut [u8; 512]) -> Result<usize, Sense> {
        const MEDIA: u8 = 4;
        if packet[1] & 1 == 0 {
            return Err(sense::FIELD);
        }
        reply[3] = 1 << MEDIA;
        if packet[4] & 1 << MEDIA == 0 {
            reply[1] = 2;
            reply[2] = 1 << 7;
            return Ok(4);
        }
        reply[1] = 6;
        reply[2] = MEDIA;
        reply[4] = match core::mem::replace(&mut self.event, Event::None) {
            Event::None => 0,
            Event::Eject => 1,
            Event::New => 2,
            Event::Removed => 3,
        };
        reply[5] = u8::from(self.medium.is_some() && !self.open) << 1 | u8::from(self.open);
        Ok(8)
    }
}

fn cd_sectors(sectors: u64) -> u32 {
    u32::try_from(sectors / u64::from(CD_SECTORS)).unwrap_or(u32::MAX)
}

/// INQUIRY. (SPC-3, 6.4.)
fn inquiry(packet: &[u8; 12], reply: &mut [u8; 512]) -> Result<usize, Sense> {
    if packet[1] & 1 != 0 {
        // The only page of vital product data is the list of them.
        if packet[2] != 0 {
            return Err(sense::FIELD);
        }
        reply[..5].copy_from_slice(&[5, 0, 0, 1, 0]);
        return Ok(5);
    }
    if packet[2] != 0 {
        return Err(sense::FIELD);
    }
    // CD/DVD, removable, as ATAPI has it.
    reply[..5].copy_from_slice(&[5, 0x80, 0, 0x21, 31]);
    reply[8..36].copy_from_slice(b"Xen     Virtual DVD-ROM 1   ");
    Ok(36)
}

fn read_capacity(sectors: u32, reply: &mut [u8; 512]) -> usize {
    reply[..4].copy_from_slice(&sectors.saturating_sub(1).to_be_bytes());
    reply[4..8].copy_from_slice(&CD_SECTOR.to_be_bytes());
    8
}

/// READ DISC INFORMATION: one session of one track, finished. (6.24.)
fn disc_information(packet: &[u8; 12], reply: &mut [u8; 512]) -> Result<usize, Sense> {
    if packet[1] & 0b111 != 0 {
        return Err(sense::FIELD);
    }
    reply[..7].copy_from_slice(&[0, 32, 0b1110, 1, 1, 1, 1]);
    // It may be used as it is.
    reply[7] = 1 << 5;
    // There is no place for more.
    reply[16..24].fill(0xff);
    Ok(34)
}

/// MODE SENSE of 6 or 10 bytes: after a header of `header` bytes, the pages. (7.)
fn mode_sense(packet: &[u8; 12], reply: &mut [u8; 512], header: usize) -> Result<usize, Sense> {
    const ERROR_RECOVERY: (u8, &[u8]) = (0x01, &[0x01, 6, 0, 5, 0, 0, 0, 0]);
    // Reads DVD-ROM and CDs of all kinds; no sound; locks and opens, from a tray; buffer of 512 KiB.
    const CAPABILITIES: (u8, &[u8]) = (
        0x2a,
        &[
            0x2a, 18, 0x0b, 0, 0x70, 0, 0x29, 0, 0x02, 0xc2, 0, 2, 2, 0, 0x02, 0xc2, 0, 0, 0, 0,
        ],
    );
    let page = packet[2] & 0x3f;
    match packet[2] >> 6 {
        // What could be changed: nothing.
        0b01 => return Err(sense::FIELD),
        0b11 => return Err(sense::SAVED),
        _ => {}
    }
    let mut length = header;
    for (code, bytes) in [ERROR_RECOVERY, CAPABILITIES] {
        if page == code || page == 0x3f {
            reply[length..length + bytes.len()].copy_from_slice(bytes);
            length += bytes.len();
        }
    }
    if length == header {
        return Err(sense::FIELD);
    }
    // Without the bytes of the length itself.
    if header == 4 {
        reply[0] = length as u8 - 1;
    } else {
        reply[..2].copy_from_slice(&(length as u16 - 2).to_be_bytes());
    }
    Ok(length)
}

/// An address as minute, second and frame, or as it is.
fn position(sector: u32, in_minutes: bool) -> [u8; 4] {
    if !in_minutes {
        return sector.to_be_bytes();
    }
    // The first two seconds come before the first sector.
    let frames = u64::from(sector) + 150;
    let minute = (frames / (60 * 75)).min(255);
    [
        0,
        minute as u8,
        (frames / 75 % 60) as u8,
        (frames % 75) as u8,
    ]
}

/// READ TOC/PMA/ATIP: one track of data. (6.26.)
fn read_toc(packet: &[u8; 12], sectors: u32, reply: &mut [u8; 512]) -> Result<usize, Sense> {
    const DATA: u8 = 0x14;
    const LEAD_OUT: u8 = 0xaa;
    let in_minutes = packet[1] & 0b10 != 0;
    // Where it stands now, and where it stood once.
    let format = match packet[2] & 0xf {
        0 => packet[9] >> 6,
        format => format,
    };
    let mut length = 4;
    let mut put = |bytes: &[u8]| {
        reply[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    match format {
        0 => {
            let from = packet[6];
            if from > 1 && from != LEAD_OUT {
                return Err(sense::FIELD);
            }
            for (track, sector) in [(1, 0), (LEAD_OUT, sectors)] {
                if track >= from {
                    put(&[0, DATA, track, 0]);
                    put(&position(sector, in_minutes));
                }
            }
        }
        // The first track of the last session.
        1 => {
            put(&[0, DATA, 1, 0]);
            put(&position(0, in_minutes));
        }
        // As it is written on the disc: first and last track, lead-out, the track.
        2 => {
            let [_, minute, second, frame] = position(sectors, true);
            for (point, at) in [
                (0xa0, [1, 0, 0]),
                (0xa1, [1, 0, 0]),
                (0xa2, [minute, second, frame]),
                (0x01, [0, 2, 0]),
            ] {
                put(&[1, DATA, 0, point, 0, 0, 0, 0]);
                put(&at);
            }
        }
        _ => return Err(sense::FIELD),
    }
    reply[..2].copy_from_slice(&(length as u16 - 2).to_be_bytes());
    reply[2..4].copy_from_slice(&[1, 1]);
    Ok(length)
}
