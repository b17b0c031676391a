//! One TCP segment as the tracker reads it (RFC 9293, 3.1; options of RFC 7323 and RFC 2018).

use super::Kind;
use crate::checksum::{get16, get32};
use crate::packet::flags::{ACK, FIN, SYN};
use crate::packet::{Packet, TCP};

/// Length of a TCP header without options.
const HEADER: usize = 20;

const OPTION_END: u8 = 0;
const OPTION_NONE: u8 = 1;
const OPTION_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;

/// Two bytes of padding and a timestamp: what nearly every segment with options carries.
const ALIGNED_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];

/// Largest shift count of a window (RFC 7323, 2.3).
const SCALE_MAX: u8 = 14;

/// The numbers of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// As in the header, not scaled.
    pub(crate) window: u16,
    /// Sequence numbers it takes: payload, SYN and FIN.
    pub(crate) length: u16,
    options: &'a [u8],
}

/// What the options of a SYN say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Shift count for the windows that its sender will announce.
    pub(crate) scale: Option<u8>,
    pub(crate) sack: bool,
}

impl<'a> Segment<'a> {
    /// The segment in a parsed packet; `None` if that is not TCP.
    pub(crate) fn of(head: &'a [u8], packet: &Packet) -> Option<Self> {
        if packet.tuple.protocol != TCP {
            return None;
        }
        let tcp = head.get(packet.transport..)?;
        let header = usize::from(tcp.get(12)? >> 4) * 4;
        let options = tcp.get(HEADER..header)?;
        let flags = packet.tcp_flags;
        let payload = packet.payload_len().saturating_sub(header as u16);
        Some(Self {
            flags,
            sequence: get32(tcp, 4),
            acknowledgement: get32(tcp, 8),
            window: get16(tcp, 14),
            length: payload + u16::from(flags & SYN != 0) + u16::from(flags & FIN != 0),
            options,
        })
    }

    pub(crate) const fn kind(&self) -> Kind {
        Kind::of(self.flags)
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The sequence number after its last.
    pub(crate) const fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.length as u32)
    }

    /// Whether there are any, if only padding.
    pub(crate) const fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// What a SYN offers. A malformed option ends the list.
    pub(crate) fn offer(&self) -> Offer {
        let mut offer = Offer::default();
        for (kind, data) in options(self.options) {
            match (kind, data) {
                (OPTION_SCALE, &[scale]) => offer.scale = Some(scale.min(SCALE_MAX)),
                (OPTION_SACK_PERMITTED, []) => offer.sack = true,
                _ => {}
            }
        }
        offer
    }

    /// The highest sequence number it acknowledges, selectively or not.
    pub(crate) fn highest_acknowledged(&self) -> u32 {
        let mut highest = self.acknowledgement;
        if !self.has(ACK) || self.options.first_chunk() == Some(&ALIGNED_TIMESTAMP) {
            return highest;
        }
        let blocks = options(self.options).find(|(kind, data)| {
            *kind == OPTION_SACK && !data.is_empty() && data.len().is_multiple_of(8)
        });
        for block in blocks.map_or(&[][..], |(_, data)| data.as_chunks::<8>().0) {
            let right = get32(block, 4);
            if super::after(right, highest) {
                highest = right;
            }
        }
        highest
    }
}

/// Kind and data of each option, up to the end or the first that is malformed.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        loop {
            match *rest {
                [] | [OPTION_END, ..] => return None,
                [OPTION_NONE, ref tail @ ..] => rest = tail,
                [kind, length, ref tail @ ..] => {
                    let data = tail.get(..usize::from(length).checked_sub(2)?)?;
                    rest = &tail[data.len()..];
                    return Some((kind, data));
                }
                [_] => return None,
            }
        }
    })
}

#[cfg(test)]
impl Segment<'_> {
    pub(super) const fn bare(flags: u8, sequence: u32, acknowledgement: u32) -> Self {
        Self {
            flags,
            sequence,
            acknowledgement,
            window: 1000,
            length: (flags & SYN != 0) as u16 + (flags & FIN != 0) as u16,
            options: &[],
        }
    }

    pub(super) const fn carrying(self, payload: u16) -> Self {
        Self {
            length: self.length + payload,
            ..self
        }
    }

    pub(super) const fn offering(self, window: u16) -> Self {
        Self { window, ..self }
    }
}

#[cfg(test)]
impl<'a> Segment<'a> {
    pub(super) const fn with_options(self, options: &'a [u8]) -> Self {
        Self { options, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_syn_offers_is_read_up_to_the_first_malformed_option() {
        let syn = Segment::bare(SYN, 1, 0);
        let offer = |options: &[u8]| syn.with_options(options).offer();
        let both = Offer {
            scale: Some(7),
            sack: true,
        };
        assert_eq!(offer(&[2, 4, 5, 180, 4, 2, 1, 3, 3, 7]), both);
        assert_eq!(offer(&[3, 3, 15]).scale, Some(14));
        assert_eq!(offer(&[0, 4, 2]), Offer::default());
        assert_eq!(offer(&[2, 1, 4, 2]), Offer::default());
        assert_eq!(offer(&[2, 40, 4, 2]), Offer::default());
        assert_eq!(offer(&[3, 4, 7, 7, 4, 2]).scale, None);
        assert_eq!(offer(&[4]), Offer::default());
    }

    #[test]
    fn the_right_edge_of_the_last_block_is_the_highest_acknowledged() {
        let ack = Segment::bare(ACK, 1, 100);
        let of = |options: &[u8]| ack.with_options(options).highest_acknowledged();
        assert_eq!(of(&[]), 100);
        let blocks = [
            1, 1, 5, 18, 0, 0, 0, 120, 0, 0, 0, 150, 0, 0, 0, 110, 0, 0, 0, 115,
        ];
        assert_eq!(of(&blocks), 150);
        assert_eq!(of(&[5, 10, 0, 0, 0, 1, 0, 0, 0, 50, 0, 0]), 100);
        assert_eq!(of(&[5, 9, 0, 0, 0, 1, 0, 0, 0, 200, 0, 0]), 100);
    }
}
