//! The few packets that a test guest writes and reads: Ethernet, ARP, IPv4, UDP, ICMP echo.

use core::net::Ipv4Addr;
use minios_rs::net::MacAddress;

/// Where the payload of a UDP datagram begins in a frame.
pub const UDP_PAYLOAD: usize = 42;

/// Bytes of an ARP packet in a frame.
pub const ARP_FRAME: usize = 42;

/// The address of every station.
pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);

const ETHERNET: usize = 14;
const TRANSPORT: usize = 34;
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// Between whom a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The sender's addresses.
    pub from: (MacAddress, Ipv4Addr),
    /// The station the frame is for, and the host the packet is for.
    pub to: (MacAddress, Ipv4Addr),
}

/// What is done about a datagram's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpChecksum {
    /// The sum of the pseudo-header only, as a frame with a blank checksum has it.
    Blank,
    /// All of it.
    Whole,
}

/// What a frame is to a test guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Somebody asks for the station of an address.
    ArpRequest {
        /// Who asks.
        from: (MacAddress, Ipv4Addr),
        /// Whose station.
        wanted: Ipv4Addr,
    },
    /// A station has an address.
    ArpReply {
        /// Which has which.
        from: (MacAddress, Ipv4Addr),
    },
    /// A datagram.
    Udp {
        /// Its addresses.
        path: Path,
        /// The ports it comes from and goes to.
        ports: (u16, u16),
        /// What it carries.
        payload: &'a [u8],
    },
    /// A ping.
    EchoRequest {
        /// Its addresses.
        path: Path,
    },
    /// An answer to a ping.
    EchoReply,
    /// Anything else.
    Other,
}

/// Writes the headers of a datagram before the payload that `frame` has already.
///
/// # Panics
/// If `frame` is shorter than the headers, or longer than a packet can be.
pub fn write_udp(frame: &mut [u8], path: Path, ports: (u16, u16), checksum: UdpChecksum) {
    let len = (frame.len() - TRANSPORT) as u16;
    write_ip(frame, path, UDP);
    let udp = &mut frame[TRANSPORT..];
    put16(udp, 0, ports.0);
    put16(udp, 2, ports.1);
    put16(udp, 4, len);
    put16(udp, 6, 0);
    let pseudo = sum_addresses(path) + u32::from(UDP) + u32::from(len);
    let sum = match checksum {
        UdpChecksum::Blank => fold(pseudo),
        // 0 would say that there is none (RFC 768).
        UdpChecksum::Whole => match !fold(pseudo + sum(udp)) {
            0 => 0xffff,
            sum => sum,
        },
    };
    put16(udp, 6, sum);
}

/// Writes a ping around the payload that `frame` has already, behind 42 bytes.
///
/// # Panics
/// As [`write_udp`].
pub fn write_echo(frame: &mut [u8], path: Path, number: u16) {
    write_ip(frame, path, ICMP);
    let icmp = &mut frame[TRANSPORT..];
    icmp[..8].fill(0);
    icmp[0] = 8;
    put16(icmp, 6, number);
    let sum = !fold(sum(icmp));
    put16(icmp, 2, sum);
}

/// Makes a ping its own answer.
///
/// # Panics
/// If `frame` is none.
pub fn answer_echo(frame: &mut [u8], path: Path) {
    frame[..6].copy_from_slice(&path.from.0.0);
    frame[6..12].copy_from_slice(&path.to.0.0);
    frame[26..30].copy_from_slice(&path.to.1.octets());
    frame[30..34].copy_from_slice(&path.from.1.octets());
    let icmp = &mut frame[TRANSPORT..];
    icmp[0] = 0;
    // As much more as the type is less (RFC 1624).
    let sum = u16::from_be_bytes([icmp[2], icmp[3]]);
    put16(icmp, 2, fold(u32::from(sum) + 0x0800));
}

/// A question for the station of an address, or, with `to`, the answer to one.
pub fn arp(
    from: (MacAddress, Ipv4Addr),
    to: Option<MacAddress>,
    address: Ipv4Addr,
) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    frame[..6].copy_from_slice(&to.unwrap_or(BROADCAST).0);
    frame[6..12].copy_from_slice(&from.0.0);
    // Ethernet type, hardware type, protocol type, lengths.
    frame[12..20].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4]);
    frame[21] = if to.is_some() { 2 } else { 1 };
    frame[22..28].copy_from_slice(&from.0.0);
    frame[28..32].copy_from_slice(&from.1.octets());
    frame[32..38].copy_from_slice(&to.unwrap_or(MacAddress([0; 6])).0);
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// What a frame is. Checksums are not looked at: whoever needs to know checks the payload.
pub fn read(frame: &[u8]) -> Seen<'_> {
    match frame.get(12..14) {
        Some([8, 6]) => read_arp(frame).unwrap_or(Seen::Other),
        Some([8, 0]) => read_ip(frame).unwrap_or(Seen::Other),
        _ => Seen::Other,
    }
}

fn read_arp(frame: &[u8]) -> Option<Seen<'_>> {
    let from = (mac(frame, 22)?, address(frame, 28)?);
    match frame.get(14..22)? {
        [0, 1, 8, 0, 6, 4, 0, 1] => Some(Seen::ArpRequest {
            from,
            wanted: address(frame, 38)?,
        }),
        [0, 1, 8, 0, 6, 4, 0, 2] => Some(Seen::ArpReply { from }),
        _ => None,
    }
}

fn read_ip(frame: &[u8]) -> Option<Seen<'_>> {
    let ip = frame.get(ETHERNET..)?;
    let total = usize::from(get16(ip, 2)?);
    // No options, no fragment.
    if *ip.first()? != 0x45 || get16(ip, 6)? & 0x3fff != 0 {
        return None;
    }
    let transport = ip.get(20..total)?;
    let path = Path {
        from: (mac(frame, 6)?, address(frame, 26)?),
        to: (mac(frame, 0)?, address(frame, 30)?),
    };
    match *ip.get(9)? {
        UDP => {
            let len = usize::from(get16(transport, 4)?);
            Some(Seen::Udp {
                path,
                ports: (get16(transport, 0)?, get16(transport, 2)?),
                payload: transport.get(8..len)?,
            })
        }
        ICMP => match transport.first_chunk::<8>()?[0] {
            0 => Some(Seen::EchoReply),
            8 => Some(Seen::EchoRequest { path }),
            _ => None,
        },
        _ => None,
    }
}

fn write_ip(frame: &mut [u8], path: Path, protocol: u8) {
    frame[..6].copy_from_slice(&path.to.0.0);
    frame[6..12].copy_from_slice(&path.from.0.0);
    frame[12..14].copy_from_slice(&[8, 0]);
    let total = (frame.len() - ETHERNET) as u16;
    let ip = &mut frame[ETHERNET..TRANSPORT];
    ip.fill(0);
    ip[0] = 0x45;
    put16(ip, 2, total);
    // Not to be cut.
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&path.from.1.octets());
    ip[16..20].copy_from_slice(&path.to.1.octets());
    let checksum = !fold(sum(ip));
    put16(ip, 10, checksum);
}

/// The addresses' part of the pseudo-header's sum.
fn sum_addresses(path: Path) -> u32 {
    sum(&path.from.1.octets()) + sum(&path.to.1.octets())
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(pair[0]) << 8 | u32::from(low)
    });
    words.sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn mac(frame: &[u8], at: usize) -> Option<MacAddress> {
    frame.get(at..)?.first_chunk().copied().map(MacAddress)
}

fn address(frame: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: &[u8; 4] = frame.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (MacAddress, Ipv4Addr) = (
        MacAddress([0, 0x16, 0x3e, 0, 0, 1]),
        Ipv4Addr::new(10, 0, 3, 2),
    );
    const TWO: (MacAddress, Ipv4Addr) = (
        MacAddress([0, 0x16, 0x3e, 0, 0, 2]),
        Ipv4Addr::new(10, 0, 4, 2),
    );
    const PATH: Path = Path { from: ONE, to: TWO };

    #[test]
    fn a_datagram_reads_back_as_it_was_written() {
        for len in [UDP_PAYLOAD, 60, 1514] {
            let mut frame = alloc::vec![7; len];
            write_udp(&mut frame, PATH, (1000, 2000), UdpChecksum::Whole);
            let payload = &alloc::vec![7; len - UDP_PAYLOAD][..];
            let (path, ports) = (PATH, (1000, 2000));
            let seen = Seen::Udp {
                path,
                ports,
                payload,
            };
            assert_eq!(read(&frame), seen);
            // The sums over what they are of are all ones (RFC 1071).
            assert_eq!(fold(sum(&frame[14..34])), 0xffff);
            let transport = &frame[34..];
            let pseudo = sum_addresses(PATH) + 17 + transport.len() as u32;
            assert_eq!(fold(pseudo + sum(transport)), 0xffff);
            write_udp(&mut frame, PATH, (1000, 2000), UdpChecksum::Blank);
            assert_eq!(get16(&frame, 40), Some(fold(pseudo)));
        }
    }

    #[test]
    fn arp_says_who_asks_and_who_answers() {
        let wanted = TWO.1;
        let request = arp(ONE, None, wanted);
        assert_eq!(request[..6], BROADCAST.0);
        assert_eq!(read(&request), Seen::ArpRequest { from: ONE, wanted });
        let reply = arp(TWO, Some(ONE.0), ONE.1);
        assert_eq!(reply[..6], ONE.0.0);
        assert_eq!(read(&reply), Seen::ArpReply { from: TWO });
    }

    #[test]
    fn a_ping_has_its_checksum_and_its_answer_is_known() {
        let mut frame = [3; 60];
        write_echo(&mut frame, PATH, 5);
        assert_eq!(fold(sum(&frame[34..])), 0xffff);
        assert_eq!(read(&frame), Seen::EchoRequest { path: PATH });
        for number in [5, 0xf7ff] {
            write_echo(&mut frame, PATH, number);
            answer_echo(&mut frame, PATH);
            assert_eq!(fold(sum(&frame[34..])), 0xffff);
            assert_eq!(read(&frame), Seen::EchoReply);
            assert_eq!((&frame[..6], &frame[6..12]), (&ONE.0.0[..], &TWO.0.0[..]));
            assert_eq!(address(&frame, 30), Some(ONE.1));
            assert_eq!(fold(sum(&frame[14..34])), 0xffff);
        }
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let mut frame = [7; 80];
        write_udp(&mut frame, PATH, (1, 2), UdpChecksum::Whole);
        for len in 0..80 {
            assert_eq!(read(&frame[..len]), Seen::Other);
        }
        let request = arp(ONE, None, TWO.1);
        for len in 0..ARP_FRAME {
            assert_eq!(read(&request[..len]), Seen::Other);
        }
    }
}
