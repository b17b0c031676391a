//! Taking a packet apart (RFC 791, 3.2).

use crate::checksum::{Sum, put16};
use crate::frame::ETHERNET;
use alloc::vec::Vec;

const MORE: u16 = 0x2000;

/// Cuts a packet into frames of at most `mtu` bytes of IPv4 each; none if not even a word fits.
pub(crate) fn cut_to(bytes: &[u8], mtu: u16) -> Vec<Vec<u8>> {
    let header_len = usize::from(bytes[ETHERNET] & 0x0f) * 4;
    let room = usize::from(mtu).saturating_sub(header_len) & !7;
    if room == 0 {
        return Vec::new();
    }
    let payload = bytes.len() - ETHERNET - header_len;
    let sizes = core::iter::repeat_n(room, payload.div_ceil(room));
    cut(bytes, sizes, 0)
}

/// Cuts a packet into frames with so many bytes of payload each, all but the last multiples of 8;
/// `flags` are set in each.
pub(super) fn cut(bytes: &[u8], sizes: impl Iterator<Item = usize>, flags: u16) -> Vec<Vec<u8>> {
    let header_len = usize::from(bytes[ETHERNET] & 0x0f) * 4;
    let (header, mut payload) = bytes.split_at(ETHERNET + header_len);
    let mut offset = 0;
    sizes
        .map(|size| {
            let (chunk, rest) = payload.split_at(size.min(payload.len()));
            payload = rest;
            let mut fragment = Vec::with_capacity(header.len() + chunk.len());
            fragment.extend_from_slice(header);
            if offset > 0 {
                blank_uncopied_options(&mut fragment[ETHERNET + 20..]);
            }
            let ip = &mut fragment[ETHERNET..];
            let more = if rest.is_empty() { 0 } else { MORE };
            put16(ip, 2, (header_len + chunk.len()) as u16);
            put16(ip, 6, flags | more | (offset / 8) as u16);
            sum_header(ip);
            fragment.extend_from_slice(chunk);
            offset += chunk.len();
            fragment
        })
        .collect()
}

/// Makes the checksum of an IPv4 header right.
pub(super) fn sum_header(header: &mut [u8]) {
    put16(header, 10, 0);
    let checksum = Sum::default().bytes(header).finish();
    put16(header, 10, checksum);
}

/// Options without the copied bit belong to the first fragment only.
fn blank_uncopied_options(mut options: &mut [u8]) {
    while let Some(&kind) = options.first() {
        let length = match kind {
            0 => return,
            1 => 1,
            _ => usize::from(options.get(1).copied().unwrap_or(0)).clamp(2, options.len().max(2)),
        };
        let length = length.min(options.len());
        if kind & 0x80 == 0 {
            options[..length].fill(1);
        }
        options = &mut options[length..];
    }
}
