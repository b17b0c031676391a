//! Packets that nobody would send: each is dropped, counted by its reason, and shown by that reason's
//! name in the statistics that `xen-image stat` prints.

use crate::support::*;
use firewalldom::policy::blob::Identity;
use firewalldom::relay::Losses;
use firewalldom::stat::Statistics;
use firewalldom::{Checksum, Frame, Gso, GsoKind, Head, Reason, Tail, TailError, Verdict};

/// A datagram from loc with something wrong in it; its IPv4 checksum is made right again.
fn datagram(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = udp(LOC, (CLIENT, 4000), (FAR, 53), &[7; 64]);
    change(&mut frame);
    fix_header(&mut frame);
    frame
}

fn with_options(options: [u8; 4]) -> Vec<u8> {
    datagram(|frame| {
        frame.splice(34..34, options);
        frame[14] = 0x46;
        frame[17] += 4;
    })
}

fn from(source: [u8; 4]) -> Vec<u8> {
    datagram(|frame| frame[26..30].copy_from_slice(&source))
}

/// A fragment: 24 bytes of payload from 8 times `offset`, and whether more follow.
fn fragment(offset: u16, more: bool) -> Vec<u8> {
    datagram(|frame| {
        frame.truncate(34 + 24);
        frame[16..18].copy_from_slice(&44u16.to_be_bytes());
        let flags = offset | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&flags.to_be_bytes());
    })
}

/// Frames, and what is said of their checksum and size.
type Arrival = (Vec<Vec<u8>>, Checksum, Option<Gso>);

fn bare(frame: Vec<u8>) -> Arrival {
    (vec![frame], Checksum::Unknown, None)
}

fn pieces(frames: Vec<Vec<u8>>) -> Arrival {
    (frames, Checksum::Unknown, None)
}

/// Frames, of which the last is dropped for the reason beside it.
fn cases() -> Vec<(Reason, Arrival)> {
    let tcp_gso = Gso {
        kind: GsoKind::TcpV4,
        size: 1000,
    };
    vec![
        (Reason::Truncated, bare(vec![2, 0, 0, 0, 0, 0x11])),
        (Reason::BadHeader, bare(datagram(|frame| frame[14] = 0x44))),
        (Reason::BadHeader, bare(datagram(|frame| frame[14] = 0x65))),
        (Reason::BadHeader, bare(datagram(|frame| frame[16] = 9))),
        (
            Reason::BadHeader,
            bare(datagram(|frame| frame[16..18].copy_from_slice(&[0, 19]))),
        ),
        (
            Reason::BadHeaderChecksum,
            bare({
                let mut frame = datagram(|_| ());
                frame[24] ^= 1;
                frame
            }),
        ),
        (Reason::BadOption, bare(with_options([148, 40, 0, 0]))),
        (Reason::BadOption, bare(with_options([148, 1, 0, 0]))),
        (Reason::SourceRoute, bare(with_options([131, 3, 4, 0]))),
        (Reason::SourceRoute, bare(with_options([137, 3, 4, 0]))),
        (Reason::RecordOption, bare(with_options([7, 3, 4, 0]))),
        // LAND, with the victim's address and with the firewall's own.
        (Reason::Land, bare(from(FAR.octets()))),
        (Reason::OwnSource, bare(from(FW_LOC.octets()))),
        (Reason::Martian, bare(from([127, 0, 0, 1]))),
        (Reason::Martian, bare(from([224, 0, 0, 1]))),
        (Reason::Martian, bare(from([255; 4]))),
        (Reason::Smurf, bare(from([10, 0, 0, 255]))),
        (
            Reason::BadTransport,
            bare(datagram(|frame| frame[38..40].copy_from_slice(&[0, 7]))),
        ),
        (
            Reason::BadTransport,
            bare(datagram(|frame| frame[38..40].copy_from_slice(&[1, 7]))),
        ),
        (
            Reason::BadTransport,
            bare(ip(LOC, CLIENT, FAR, 17, &[0; 7])),
        ),
        (Reason::BadTransport, bare(ip(LOC, CLIENT, FAR, 1, &[8; 7]))),
        (
            Reason::BadTransport,
            bare({
                let mut segment = tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN);
                segment[46] = 0x40;
                fix_transport(&mut segment);
                segment
            }),
        ),
        // All flags at once, none, and a SYN from port 0.
        (
            Reason::TcpFlags,
            bare(tcp(LOC, (CLIENT, 4000), (FAR, 80), 0x3f)),
        ),
        (
            Reason::TcpFlags,
            bare(tcp(LOC, (CLIENT, 4000), (FAR, 80), 0)),
        ),
        (
            Reason::TcpFlags,
            bare(tcp(LOC, (CLIENT, 0), (FAR, 80), SYN)),
        ),
        // Teardrop: the second lies partly within the first.
        (
            Reason::FragmentOverlap,
            pieces(vec![fragment(0, true), fragment(2, false)]),
        ),
        (
            Reason::FragmentDuplicate,
            pieces(vec![fragment(0, true), fragment(0, true)]),
        ),
        // Ping of death: it ends beyond 65,535.
        (Reason::FragmentTooLong, bare(fragment(0x1fff, false))),
        (
            Reason::Fragment,
            pieces(vec![fragment(3, false), fragment(9, false)]),
        ),
        (
            Reason::BadOffload,
            (vec![datagram(|_| ())], Checksum::Blank, Some(tcp_gso)),
        ),
        (
            Reason::BadOffload,
            (
                vec![ip(LOC, CLIENT, FAR, 47, &[0; 40])],
                Checksum::Blank,
                None,
            ),
        ),
    ]
}

fn drops(site: &Site) -> Vec<(String, u64)> {
    let identity = Identity {
        version: 1,
        checksum: 0,
    };
    let statistics = Statistics::of(&site.firewall, Losses::default(), identity);
    let drops = statistics.drops.into_iter();
    drops.map(|count| (count.name, count.count)).collect()
}

#[test]
fn each_is_dropped_and_shown_by_its_reason() {
    for (number, (reason, (frames, checksum, gso))) in cases().into_iter().enumerate() {
        let mut site = Site::new(policy());
        let [before @ .., last] = &frames[..] else {
            panic!("case {number} has no frame");
        };
        for frame in before {
            let outcome = site.send_with(LOC, frame, checksum, gso);
            assert_eq!(outcome, Outcome::Other(Verdict::Parked), "case {number}");
        }
        let outcome = site.send_with(LOC, last, checksum, gso);
        assert_eq!(
            outcome,
            Outcome::Other(Verdict::Drop(reason)),
            "case {number}"
        );
        assert_eq!(site.outputs(), [], "case {number}: nobody is answered");
        let shown = drops(&site);
        assert_eq!(shown.len(), 1, "case {number}: {shown:?}");
        assert_eq!(shown[0].0, reason.name());
        assert_eq!(site.firewall.flows().now, 0, "case {number}");
    }
}

/// A sender that takes its pages away.
struct Gone;

impl Tail for Gone {
    fn read(&self, _: usize, _: &mut [u8]) -> Result<(), TailError> {
        Err(TailError)
    }
}

#[test]
fn what_its_sender_took_away_is_dropped_and_shown() {
    let mut site = Site::new(policy());
    let bytes = udp(LOC, (CLIENT, 4000), (FAR, 53), &[7; 1000]);
    let mut head = Head::new();
    head.load(&bytes[..128]);
    let mut frame = Frame {
        head: &mut head,
        len: bytes.len(),
        tail: &Gone,
        checksum: Checksum::Unknown,
        gso: None,
    };
    let verdict = site.firewall.ingress(site.now, LOC, &mut frame);
    assert_eq!(verdict, Verdict::Drop(Reason::Unreadable));
    assert_eq!(drops(&site), [("unreadable payload".to_owned(), 1)]);
}
