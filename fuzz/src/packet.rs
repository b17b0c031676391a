//! For targets of the engine: packets as other hosts make them, and whether their checksums are right.

use crate::engine::sum;
use firewalldom::Checksum;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// What the checksum behind an IPv4 header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Right,
    Wrong,
    /// It cannot be told: of a fragment, or of a packet too short.
    Unknown,
    /// None, or of a protocol that is not looked at: all but TCP, UDP and ICMP.
    Other,
}

/// The 16-bit word at an offset.
pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Where a whole IPv4 packet in an Ethernet frame carries what; `None`: it is none, or a fragment.
struct Carried {
    protocol: u8,
    /// Offset of the transport header.
    start: usize,
    /// Offset of the packet's end.
    end: usize,
    /// Offset of the checksum, if the protocol is one that is looked at.
    field: Option<usize>,
}

fn carried(frame: &[u8]) -> Option<Carried> {
    if frame.len() < 34 || frame[12..14] != [8, 0] || word(frame, 20) & 0x3fff != 0 {
        return None;
    }
    let start = 14 + usize::from(frame[14] & 15) * 4;
    let end = 14 + usize::from(word(frame, 16));
    if start < 34 || start > end || end > frame.len() {
        return None;
    }
    let (field, header) = match frame[23] {
        ICMP => (Some(start + 2), 8),
        TCP => (Some(start + 16), 20),
        UDP => (Some(start + 6), 8),
        _ => (None, 0),
    };
    let carried = Carried {
        protocol: frame[23],
        start,
        end,
        field,
    };
    let is_whole = start + header <= end
        && (carried.protocol != UDP || usize::from(word(frame, start + 4)) == end - start);
    is_whole.then_some(carried)
}

impl Carried {
    /// What a checksum covers besides the packet's own bytes (RFC 9293, 3.1; RFC 768).
    fn pseudo_header(&self, frame: &[u8]) -> Vec<u8> {
        let length = (self.end - self.start) as u16;
        let mut bytes = frame[26..34].to_vec();
        bytes.extend([0, self.protocol]);
        bytes.extend(length.to_be_bytes());
        bytes
    }

    /// The checksum of the segment, over whatever its field holds.
    fn sum(&self, frame: &[u8]) -> u16 {
        let segment = &frame[self.start..self.end];
        if self.protocol == ICMP {
            return sum(segment);
        }
        let mut bytes = self.pseudo_header(frame);
        bytes.extend(segment);
        sum(&bytes)
    }
}

/// Judges the checksum of what an Ethernet frame carries, which is only begun if it is blank.
pub fn transport(frame: &[u8], checksum: Checksum) -> Transport {
    let Some(carried) = carried(frame) else {
        return Transport::Unknown;
    };
    let Some(field) = carried.field else {
        return Transport::Other;
    };
    let value = word(frame, field);
    let is_right = match (carried.protocol, checksum) {
        (TCP | UDP, Checksum::Blank) => {
            // As one's complement has it, in which 0 is 0xffff too.
            let wanted = !sum(&carried.pseudo_header(frame));
            value % 0xffff == wanted % 0xffff
        }
        (UDP, _) if value == 0 => return Transport::Other,
        _ => carried.sum(frame) == 0,
    };
    if is_right {
        Transport::Right
    } else {
        Transport::Wrong
    }
}

/// Puts the checksum of TCP, UDP or ICMP right; of the first two, only begins it if it is blank. Of UDP,
/// none stays none.
pub fn seal(frame: &mut [u8], checksum: Checksum) {
    if frame.len() >= 34 && frame[23] == UDP {
        // Random bytes rarely have a right length.
        let start = 14 + usize::from(frame[14] & 15) * 4;
        let length = (frame.len().saturating_sub(start) as u16).to_be_bytes();
        if let Some(field) = frame.get_mut(start + 4..start + 6) {
            field.copy_from_slice(&length);
        }
    }
    let Some(carried) = carried(frame) else {
        return;
    };
    let Some(field) = carried.field else {
        return;
    };
    let is_blank = checksum == Checksum::Blank && carried.protocol != ICMP;
    if carried.protocol == UDP && !is_blank && word(frame, field) == 0 {
        return;
    }
    frame[field..field + 2].fill(0);
    let right = match carried.sum(frame) {
        _ if is_blank => !sum(&carried.pseudo_header(frame)),
        0 if carried.protocol == UDP => 0xffff,
        right => right,
    };
    frame[field..field + 2].copy_from_slice(&right.to_be_bytes());
}

/// The answer that the receiver of `left` sends to the station `to`, its transport checksum not yet
/// right. `input`: of TCP, flags that differ from those of an honest answer, and data; else data.
pub fn answer(left: &[u8], to: [u8; 6], identification: u16, input: &[u8]) -> Vec<u8> {
    let protocol = left[23];
    let start = (14 + usize::from(left[14] & 15) * 4).min(left.len());
    let segment = &left[start..];
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 0x20, 8, 0, 0x45, 0, 0, 0]);
    // With it, the header's checksum is any.
    frame.extend(identification.to_be_bytes());
    frame.extend([0x40, 0]);
    frame.extend([64, protocol, 0, 0]);
    frame.extend(&left[30..34]);
    frame.extend(&left[26..30]);
    match protocol {
        TCP if segment.len() >= 20 => {
            let (flip, data) = input.split_first().unwrap_or((&0, &[]));
            let flags = segment[13];
            let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
            let header = usize::from(segment[12] >> 4) * 4;
            // SYN and FIN count as a byte each.
            let length = segment.len().saturating_sub(header) as u32
                + u32::from(flags >> 1 & 1)
                + u32::from(flags & 1);
            let greets_back = flags & (SYN | ACK) == SYN;
            let honest = if greets_back { SYN | ACK } else { ACK };
            frame.extend(&segment[2..4]);
            frame.extend(&segment[..2]);
            frame.extend(number(8).to_be_bytes());
            frame.extend(number(4).wrapping_add(length).to_be_bytes());
            frame.extend([0x50, honest ^ (flip & 0x3f), 0xff, 0xff, 0, 0, 0, 0]);
            frame.extend(data);
        }
        UDP if segment.len() >= 8 => {
            frame.extend(&segment[2..4]);
            frame.extend(&segment[..2]);
            // The length is put right with the checksum, of which there is one.
            frame.extend([0, 0, 0xff, 0xff]);
            frame.extend(input);
        }
        ICMP if segment.len() >= 8 => {
            frame.extend([0, 0, 0, 0]);
            frame.extend(&segment[4..8]);
            frame.extend(input);
        }
        _ => frame.extend(input),
    }
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    let right = sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&right.to_be_bytes());
    frame
}

/// A host asks for an address (RFC 826), and so makes itself known.
pub fn arp(host: [u8; 4], asked: [u8; 4]) -> Vec<u8> {
    let mac = [2, 0, 0, 0, 0, 0x20];
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(host);
    frame.extend([0; 6]);
    frame.extend(asked);
    frame
}
