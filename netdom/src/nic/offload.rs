//! What is left for a card to do in a frame, and how its headers are prepared for that.

pub(crate) use minios_rs::net::offload::holds;
pub(super) use minios_rs::net::offload::{Transport, fill, segments_fit, transport};

use minios_rs::net::offload::pseudo_header;

/// Prepares the headers of a frame for a card that cuts it: the packet's length, which each segment has of its
/// own, is left out, of the pseudo-header in the checksum's place as well; so is the network's checksum.
pub(super) fn blank_lengths(head: &mut [u8], found: &Transport) {
    let network = usize::from(found.network);
    match found.is_ipv4 {
        true => {
            head[network + 2..network + 4].fill(0);
            head[network + 10..network + 12].fill(0);
        }
        false => head[network + 4..network + 6].fill(0),
    }
    let place = usize::from(found.checksum);
    let sum = pseudo_header(head, found, 0);
    head[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}
