//! Where firewalldom is meant to differ from Linux: each named, each stricter, each with its reason.

use crate::compare::Difference;
use crate::packet::View;
use crate::step::Output;

/// A difference that is meant.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its name, in reports.
    pub name: &'static str,
    /// What Linux does, and what the engine does instead.
    pub what: &'static str,
    /// The RFC or the attack that asks for it.
    pub reason: &'static str,
    /// Whether the packet that went in is one of those; its frame.
    applies: fn(&[u8]) -> bool,
}

/// All of them. At most twelve.
pub const WANTED: [Wanted; 6] = [
    Wanted {
        name: "land",
        what: "a packet whose source is its destination: Linux judges it and may answer; it is dropped",
        reason: "the LAND attack (CVE-1999-0016): no host sends such a packet over a router",
        applies: is_land,
    },
    Wanted {
        name: "malformed option",
        what: "an IPv4 option that contradicts itself: Linux answers with a parameter problem; it is \
               dropped in silence",
        reason: "RFC 7126: packets with options are dropped at a firewall; an answer tells a scanner \
                 who is there",
        applies: has_options,
    },
    Wanted {
        name: "recording option",
        what: "record route and timestamp: Linux writes itself into the option and forwards; it is \
               dropped",
        reason: "RFC 7126, 4.5 and 4.6: they tell outsiders the way through a network",
        applies: has_options,
    },
    Wanted {
        name: "this network",
        what: "0.0.0.0/8 as source or destination: Linux forwards and answers it like any other; it is \
               dropped",
        reason: "RFC 1122, 3.2.1.3 and RFC 6890: not forwardable, and never a destination",
        applies: is_this_network,
    },
    Wanted {
        name: "contradictory lengths",
        what: "a TCP, UDP or ICMP header that is cut or says another length than the packet has, or an \
               error that quotes less than a header and eight bytes (RFC 1122, 3.2.2): Linux lets the \
               rules decide about it; it is dropped",
        reason: "RFC 6274, 4.1.1: no host makes use of it; what parses it next may be less careful",
        applies: has_bad_lengths,
    },
    Wanted {
        name: "broadcast source",
        what: "a source that is a broadcast address: Linux answers it where it came by another link, or \
               without nosmurfs; it gets no answer",
        reason: "RFC 1122, 3.2.2 and RFC 9293, MUST-63: what is sent to many is multiplied",
        applies: is_from_broadcast,
    },
];

/// The wanted difference that this one is, if it is one: given the frame that went in.
///
/// None is ever weaker: the engine lets out nothing that Linux does not.
#[must_use]
pub fn wanted(frame: &[u8], difference: &Difference) -> Option<&'static Wanted> {
    if !is_stricter(difference) {
        return None;
    }
    WANTED.iter().find(|wanted| (wanted.applies)(frame))
}

/// Whether nothing came out of the engine that did not come out of Linux.
#[must_use]
pub fn is_stricter(difference: &Difference) -> bool {
    let mut left = difference.linux.clone();
    difference.engine.iter().all(|output| {
        let place = left.iter().position(|other| other == output);
        place.map(|place| left.remove(place)).is_some()
    })
}

/// Whether the same came out of both but for the source ports.
#[must_use]
pub fn is_same_but_for_ports(difference: &Difference) -> bool {
    let portless = |output: &Output| {
        let view = View::of_frame(&output.bytes)?;
        let header = view.bytes.len() - view.payload().len();
        // TCP's checksum, UDP's.
        let checksum = match view.protocol() {
            6 => 16,
            17 => 6,
            _ => return None,
        };
        let mut bytes = view.bytes.to_vec();
        for place in [0, checksum] {
            bytes.get_mut(header + place..header + place + 2)?.fill(0);
        }
        Some((output.link, bytes))
    };
    let outputs = |outputs: &[Output]| outputs.iter().map(portless).collect::<Option<Vec<_>>>();
    let linux = outputs(&difference.linux);
    linux.is_some() && linux == outputs(&difference.engine)
}

fn is_land(frame: &[u8]) -> bool {
    View::of_frame(frame).is_some_and(|view| view.source() == view.destination())
}

fn has_options(frame: &[u8]) -> bool {
    View::of_frame(frame).is_some_and(|view| view.bytes.len() - view.payload().len() > 20)
}

/// Whether the source may be a broadcast address: of networks of 64 hosts or more, it ends in ones.
fn is_from_broadcast(frame: &[u8]) -> bool {
    View::of_frame(frame).is_some_and(|view| view.source().octets()[3] & 0x3f == 0x3f)
}

fn is_this_network(frame: &[u8]) -> bool {
    let zero = |address: std::net::Ipv4Addr| address.octets()[0] == 0;
    View::of_frame(frame).is_some_and(|view| zero(view.source()) || zero(view.destination()))
}

fn has_bad_lengths(frame: &[u8]) -> bool {
    let Some(view) = View::of_frame(frame) else {
        return false;
    };
    let header = view.bytes.len() - view.payload().len();
    let total = usize::from(u16::from_be_bytes([view.bytes[2], view.bytes[3]]));
    let length = total.min(view.bytes.len()).saturating_sub(header);
    let payload = &view.payload()[..length.min(view.payload().len())];
    match view.protocol() {
        1 => length < 8 || quotes_too_little(payload),
        6 => length < 20 || usize::from(payload[12] >> 4) * 4 > length || payload[12] >> 4 < 5,
        17 => length < 8 || usize::from(u16::from_be_bytes([payload[4], payload[5]])) != length,
        _ => false,
    }
}

/// An ICMP error with the header of the packet it is about, and less than eight bytes of the rest.
fn quotes_too_little(message: &[u8]) -> bool {
    let quoted = &message[8..];
    let header = quoted
        .first()
        .map_or(0, |first| usize::from(first & 15) * 4);
    matches!(message[0], 3 | 4 | 5 | 11 | 12) && (header..header + 8).contains(&quoted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_engine_lets_out_is_never_wanted() {
        let output = |link| Output {
            link,
            bytes: vec![link; 60],
        };
        let difference = |linux: &[u8], engine: &[u8]| Difference {
            step: 0,
            linux: linux.iter().map(|link| output(*link)).collect(),
            engine: engine.iter().map(|link| output(*link)).collect(),
        };
        assert!(is_stricter(&difference(&[0, 1], &[1])));
        assert!(!is_stricter(&difference(&[0], &[0, 0])));
        assert!(!is_stricter(&difference(&[], &[1])));
    }

    #[test]
    fn each_has_a_name_of_its_own_and_a_reason() {
        assert!(WANTED.len() <= 12);
        for (number, wanted) in WANTED.iter().enumerate() {
            assert!(!wanted.what.is_empty() && !wanted.reason.is_empty());
            let others = &WANTED[..number];
            assert!(others.iter().all(|other| other.name != wanted.name));
        }
    }
}
