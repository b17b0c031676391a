//! Who a frame says that it is from, beyond the station: what a guest is held to.

#![forbid(unsafe_code)]

use super::ETHERNET_HEADER;

/// Where an ARP packet's sender is said: its hardware address, then its protocol address.
const ARP_SENDER: usize = ETHERNET_HEADER + 8;

/// Where an IPv4 packet's source is.
const IPV4_SOURCE: usize = ETHERNET_HEADER + 12;

/// Who a frame says its sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This IPv4 address, or by ARP this one with the hardware address that the frame has.
    Address(u32),
    /// None: a host that looks whether an address is taken (RFC 5227), or asks a DHCP server for one.
    Nobody,
    /// It speaks neither IPv4 nor ARP.
    Unknown,
}

impl Claim {
    /// Reads a frame's beginning. None: it is cut short, or says two things.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let at = |offset: usize| frame.get(offset..);
        let address = |offset: usize| {
            let bytes = at(offset)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let claim = match at(12)?.first_chunk()? {
            [0x08, 0x00] => address(IPV4_SOURCE)?,
            [0x08, 0x06] => {
                let is_one = at(ARP_SENDER)?.first_chunk::<6>() == at(6)?.first_chunk();
                address(ARP_SENDER + 6).filter(|_| is_one)?
            }
            _ => return Some(Self::Unknown),
        };
        let is_arp = frame[13] == 0x06;
        match claim {
            0 if is_arp || asks_for_address(frame) => Some(Self::Nobody),
            address => Some(Self::Address(address)),
        }
    }
}

/// Whether an IPv4 packet is from a DHCP client to a server.
fn asks_for_address(frame: &[u8]) -> bool {
    let udp = |ip: &[u8]| {
        let is_whole = ip[0] == 0x45 && ip[6] & 0x3f == 0 && ip[7] == 0;
        is_whole && ip[9] == 17 && ip[20..24] == [0, 68, 0, 67]
    };
    frame
        .get(ETHERNET_HEADER..ETHERNET_HEADER + 24)
        .is_some_and(udp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const OWN: [u8; 6] = [0, 0x16, 0x3e, 0, 0, 1];

    fn frame(kind: [u8; 2], payload: &[&[u8]]) -> Vec<u8> {
        [&[0xff; 6], &OWN[..], &kind, &payload.concat()].concat()
    }

    fn arp(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
        frame(
            [8, 6],
            &[&[0, 1, 8, 0, 6, 4, 0, 1], &mac, &address, &[0; 10]],
        )
    }

    #[test]
    fn a_frame_says_who_it_is_from_or_that_it_is_nobody_yet() {
        let ip = |source: [u8; 4], more: &[u8]| {
            let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            frame([8, 0], &[&header, &source, &[255; 4], more])
        };
        let own = Claim::Address(0x0a00_0302);
        let dhcp = [0, 68, 0, 67, 0, 8, 0, 0];
        for (bytes, claim) in [
            (ip([10, 0, 3, 2], &dhcp), Some(own)),
            (ip([0; 4], &dhcp), Some(Claim::Nobody)),
            (
                ip([0; 4], &[0, 68, 0, 68, 0, 8, 0, 0]),
                Some(Claim::Address(0)),
            ),
            (arp(OWN, [10, 0, 3, 2]), Some(own)),
            (arp(OWN, [0; 4]), Some(Claim::Nobody)),
            (arp([2; 6], [10, 0, 3, 2]), None),
            (frame([0x86, 0xdd], &[&[0; 40]]), Some(Claim::Unknown)),
            (frame([8, 0], &[&[0x45; 15]]), None),
            (Vec::from([0; 13]), None),
        ] {
            assert_eq!(Claim::of(&bytes), claim, "{bytes:x?}");
        }
    }
}
