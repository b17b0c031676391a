//! The other end of a card's cable, outside QEMU's machine.
//!
//! ```text
//!   card ─ QEMU's hub ─┬─ QEMU's user network: 10.0.2.2; TCP servers at 10.0.2.100
//!                      └─ UDP socket, a frame in each datagram: this program is the host 10.0.2.50
//! ```
//!
//! Nothing of it reaches the host's own network.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

/// Who answers ARP in every case.
pub(super) const GATEWAY: &str = "10.0.2.2";

/// Where a stream of [`STREAM_BYTES`] comes from at port 80, and goes to at port 81.
pub(super) const SERVER: &str = "10.0.2.100";

/// The host that small packets come from and go to.
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 50);

/// Its station.
const STATION: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x35, 1]);

/// Payload of a stream.
pub(super) const STREAM_BYTES: u64 = 8 << 20;

/// Where guests of ours send what they count.
const COUNTED_PORT: u16 = 7000;

/// Where what comes from here goes to: a guest that receives counts it apart.
const OTHER_PORT: u16 = 7001;

/// A datagram that is counted begins so; the end of a stream does not.
const NUMBERED: &[u8] = b"numbered";

/// Payload of a frame of 64 bytes.
const PAYLOAD: usize = 22;

/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// How often frames are sent.
const TICK: Duration = Duration::from_millis(1);

/// What a card's cable leads to.
pub(super) struct Wire {
    socket: UdpSocket,
    /// QEMU's end, known by what came from it.
    qemu: OnceLock<SocketAddr>,
}

/// What a frame is here.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Somebody asks for this host: the answer.
    Asked(Vec<u8>),
    /// One that is counted.
    Counted,
    /// Anything else.
    Other,
}

impl Wire {
    pub(super) fn new() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok(Self {
            socket,
            qemu: OnceLock::new(),
        })
    }

    /// QEMU's arguments for a card at this slot whose cable leads here.
    pub(super) fn qemu_arguments(&self, device: &str, slot: usize) -> Result<Vec<String>> {
        let port = self.socket.local_addr()?.port();
        // What it leaves unread of a question would be an error, and cost the answer's end.
        let serve = format!(
            "sh -c 'while read -r line && [ ${{#line}} -gt 1 ]; do :; done; \
             printf \"HTTP/1.0 200 OK\\r\\nContent-Length: {STREAM_BYTES}\\r\\n\\r\\n\"; \
             exec head -c {STREAM_BYTES} /dev/zero'"
        );
        let count = format!("sh -c 'head -c {STREAM_BYTES} | wc -c'");
        Ok([
            "-netdev",
            &format!(
                "user,id=user{slot},restrict=on,guestfwd=tcp:{SERVER}:80-cmd:{serve},guestfwd=tcp:{SERVER}:81-cmd:{count}"
            ),
            "-netdev",
            &format!("socket,id=peer{slot},udp=127.0.0.1:{port},localaddr=127.0.0.1:0"),
            "-netdev",
            &format!("hubport,id=hub{slot}user,hubid={slot},netdev=user{slot}"),
            "-netdev",
            &format!("hubport,id=hub{slot}peer,hubid={slot},netdev=peer{slot}"),
            "-netdev",
            &format!("hubport,id=hub{slot}card,hubid={slot}"),
            "-device",
            &format!("{device},netdev=hub{slot}card,mac=52:54:00:12:34:{slot:02x},addr={slot:02x}.0"),
        ]
        .map(str::to_owned)
        .into())
    }

    /// Is the host there while something is done, and counts what comes to it.
    pub(super) fn while_there<T>(&self, what: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let counting = scope.spawn(|| self.answer_until(&over));
            let done = what();
            over.store(true, Ordering::Relaxed);
            let counted = counting.join().expect("it does not panic");
            Ok((done?, counted?))
        })
    }

    /// Answers who asks for the host, and counts, until it is over.
    fn answer_until(&self, over: &AtomicBool) -> Result<u64> {
        let mut frame = [0; 2048];
        let mut counted = 0;
        // Of what waits there, some is from before.
        self.socket.set_nonblocking(true)?;
        while self.socket.recv_from(&mut frame).is_ok() {}
        self.socket.set_nonblocking(false)?;
        while !over.load(Ordering::Relaxed) {
            let (len, from) = match self.socket.recv_from(&mut frame) {
                Ok(received) => received,
                Err(error) if is_nothing_yet(error.kind()) => continue,
                Err(error) => return Err(error).context("the wire"),
            };
            let qemu = *self.qemu.get_or_init(|| from);
            match read(&frame[..len]) {
                Seen::Asked(answer) => {
                    self.socket.send_to(&answer, qemu)?;
                }
                Seen::Counted => counted += 1,
                Seen::Other => {}
            }
        }
        Ok(counted)
    }

    /// Sends a guest 64-byte packets of 16 connections: how many, and microseconds. It must have sent something to the
    /// wire before.
    pub(super) fn send(
        &self,
        station: [u8; 6],
        address: Ipv4Addr,
        rate: u32,
        time: Duration,
    ) -> Result<(u64, u64)> {
        let qemu = self.qemu.get().context("nothing has come from the wire")?;
        let frames: Vec<Vec<u8>> = (40_000..40_016)
            .map(|port| datagram(EthernetAddress(station), address, port))
            .collect();
        let begun = Instant::now();
        let mut sent = 0;
        let mut which = frames.iter().cycle();
        while begun.elapsed() < time {
            let due = begun.elapsed().as_secs_f64() * f64::from(rate);
            while sent < due as u64 {
                let frame = which.next().context("there are some")?;
                self.socket.send_to(frame, qemu)?;
                sent += 1;
            }
            thread::sleep(TICK);
        }
        Ok((sent, u64::try_from(begun.elapsed().as_micros())?))
    }
}

fn is_nothing_yet(kind: ErrorKind) -> bool {
    // Nobody at the other end yet comes as an error of the socket.
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
    )
}

fn read(bytes: &[u8]) -> Seen {
    let seen = || {
        let frame = EthernetFrame::new_checked(bytes).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Arp => asked(frame.payload()).map(Seen::Asked),
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                if packet.next_header() != IpProtocol::Udp || packet.dst_addr() != PEER {
                    return None;
                }
                let udp = UdpPacket::new_checked(packet.payload()).ok()?;
                let is_counted =
                    udp.dst_port() == COUNTED_PORT && udp.payload().starts_with(NUMBERED);
                is_counted.then_some(Seen::Counted)
            }
            _ => None,
        }
    };
    seen().unwrap_or(Seen::Other)
}

/// The answer to a question for this host.
fn asked(arp: &[u8]) -> Option<Vec<u8>> {
    let question = ArpRepr::parse(&ArpPacket::new_checked(arp).ok()?).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: station,
        source_protocol_addr: address,
        target_protocol_addr: PEER,
        ..
    } = question
    else {
        return None;
    };
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: STATION,
        source_protocol_addr: PEER,
        target_hardware_addr: station,
        target_protocol_addr: address,
    };
    let mut bytes = framed(station, EthernetProtocol::Arp, answer.buffer_len());
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    answer.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    Some(bytes)
}

/// A datagram from one of this host's ports to a guest.
fn datagram(station: EthernetAddress, address: Ipv4Addr, port: u16) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: port,
        dst_port: OTHER_PORT,
    };
    let ip = Ipv4Repr {
        src_addr: PEER,
        dst_addr: address,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + PAYLOAD,
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let len = ip.buffer_len() + ip.payload_len;
    let mut bytes = framed(station, EthernetProtocol::Ipv4, len);
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let (from, to) = (PEER.into(), address.into());
    udp.emit(
        &mut datagram,
        &from,
        &to,
        PAYLOAD,
        |payload| payload.fill(7),
        &checksums,
    );
    bytes
}

/// A frame of this host's with room for a packet.
fn framed(to: EthernetAddress, ethertype: EthernetProtocol, payload: usize) -> Vec<u8> {
    let ethernet = EthernetRepr {
        src_addr: STATION,
        dst_addr: to,
        ethertype,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + payload];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: EthernetAddress = EthernetAddress([0, 0x16, 0x3e, 1, 2, 3]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 41);

    fn question(wanted: Ipv4Addr) -> Vec<u8> {
        let repr = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: GUEST,
            source_protocol_addr: ADDRESS,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: wanted,
        };
        let to = EthernetAddress::BROADCAST;
        let mut bytes = framed(to, EthernetProtocol::Arp, repr.buffer_len());
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        bytes
    }

    #[test]
    fn who_asks_for_this_host_is_told_its_station_and_nobody_else() {
        let Seen::Asked(answer) = read(&question(PEER)) else {
            panic!("no answer");
        };
        let frame = EthernetFrame::new_checked(&answer[..]).unwrap();
        assert_eq!((frame.dst_addr(), frame.src_addr()), (GUEST, STATION));
        let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 {
            operation,
            source_protocol_addr,
            ..
        } = arp
        else {
            panic!("{arp}");
        };
        assert_eq!(
            (operation, source_protocol_addr),
            (ArpOperation::Reply, PEER)
        );
        assert_eq!(read(&question(ADDRESS)), Seen::Other);
    }

    #[test]
    fn what_goes_to_a_guest_is_a_sound_frame_of_64_bytes() {
        let bytes = datagram(GUEST, ADDRESS, 40_000);
        assert_eq!(bytes.len(), 64);
        let frame = EthernetFrame::new_checked(&bytes[..]).unwrap();
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(packet.verify_checksum());
        let udp = UdpPacket::new_checked(packet.payload()).unwrap();
        assert!(udp.verify_checksum(&PEER.into(), &ADDRESS.into()));
        assert_eq!((udp.src_port(), udp.dst_port()), (40_000, OTHER_PORT));
    }

    #[test]
    fn of_a_stream_its_packets_are_counted_and_not_its_end() {
        let mut bytes = datagram(GUEST, PEER, 40_000);
        assert_eq!(read(&bytes), Seen::Other, "another port");
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        let mut udp = UdpPacket::new_unchecked(packet.payload_mut());
        udp.set_dst_port(COUNTED_PORT);
        udp.payload_mut()[..8].copy_from_slice(NUMBERED);
        assert_eq!(read(&bytes), Seen::Counted);
        bytes[42..50].copy_from_slice(b"the end.");
        assert_eq!(read(&bytes), Seen::Other);
        assert_eq!(read(&bytes[..41]), Seen::Other);
    }

    #[test]
    fn the_host_is_there_while_something_is_done() {
        let wire = Wire::new().unwrap();
        let qemu = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = wire.socket.local_addr().unwrap();
        let asked = wire.while_there(|| {
            let mut answer = [0; 64];
            // The first may be taken for one from before.
            qemu.set_read_timeout(Some(LOOK))?;
            while qemu.recv(&mut answer).is_err() {
                qemu.send_to(&question(PEER), to)?;
            }
            Ok(())
        });
        assert_eq!(asked.unwrap().1, 0);
        qemu.set_read_timeout(None).unwrap();
        let send = || wire.send(GUEST.0, ADDRESS, 1000, 4 * TICK).unwrap();
        while send().0 == 0 {}
        let mut frame = [0; 128];
        while qemu.recv(&mut frame).unwrap() != 64 {}
        assert_eq!(&frame[..64], &datagram(GUEST, ADDRESS, 40_000)[..]);
    }
}
