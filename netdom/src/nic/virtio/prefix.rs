//! What stands before each frame: what is known of it, or to be done with it. (5.1.6.)

use crate::nic::offload;
use minios_rs::net::front::TransmitError;
use minios_rs::net::{Checksum, Gso, GsoKind, Offload};

/// What is said of each frame: `struct virtio_net_hdr` with the number of buffers.
pub(super) const PREFIX: usize = 12;
/// In its flags: the checksum is to be filled in; it is right.
const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;
/// Its kinds of segmentation.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// And a bit of them that changes nothing here.
const GSO_ECN: u8 = 0x80;

/// What the card says of a frame it received; `None` if that cannot be.
pub(super) fn describe(prefix: &[u8; PREFIX]) -> Option<(Checksum, Option<Gso>)> {
    let checksum = match prefix[0] {
        flags if flags & NEEDS_CHECKSUM != 0 => Checksum::Blank,
        flags if flags & CHECKSUM_VALID != 0 => Checksum::Validated,
        _ => Checksum::Unknown,
    };
    let kind = match prefix[1] & !GSO_ECN {
        GSO_NONE => return Some((checksum, None)),
        GSO_TCPV4 => GsoKind::TcpV4,
        GSO_TCPV6 => GsoKind::TcpV6,
        _ => return None,
    };
    let size = u16::from_le_bytes([prefix[4], prefix[5]]);
    match checksum {
        Checksum::Blank if size != 0 => Some((checksum, Some(Gso { kind, size }))),
        _ => None,
    }
}

/// What the card is to do with a frame.
pub(super) fn prefix_of(head: &[u8], offload: Offload) -> Result<[u8; PREFIX], TransmitError> {
    let mut prefix = [0; PREFIX];
    if offload.checksum != Checksum::Blank {
        return match offload.gso {
            None => Ok(prefix),
            Some(_) => Err(TransmitError::Invalid),
        };
    }
    let transport = offload::transport(head).ok_or(TransmitError::NotOffered)?;
    prefix[0] = NEEDS_CHECKSUM;
    prefix[6..8].copy_from_slice(&transport.start.to_le_bytes());
    let place = transport.checksum - transport.start;
    prefix[8..10].copy_from_slice(&place.to_le_bytes());
    if let Some(gso) = offload.gso {
        let is_tcp = transport.payload != 0 && usize::from(transport.payload) <= head.len();
        let fits = (gso.kind == GsoKind::TcpV4) == transport.is_ipv4;
        if !is_tcp || !fits || gso.size == 0 {
            return Err(TransmitError::Invalid);
        }
        prefix[1] = match gso.kind {
            GsoKind::TcpV4 => GSO_TCPV4,
            GsoKind::TcpV6 => GSO_TCPV6,
        };
        prefix[2..4].copy_from_slice(&transport.payload.to_le_bytes());
        prefix[4..6].copy_from_slice(&gso.size.to_le_bytes());
    }
    Ok(prefix)
}
