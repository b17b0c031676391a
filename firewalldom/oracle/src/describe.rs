//! Frames in words, for whoever reads a difference.

use crate::packet::{View, flag};
use crate::step::{Answer, Output, Step};
use std::fmt::Write as _;

/// One line about a frame.
#[must_use]
pub fn frame(bytes: &[u8]) -> String {
    match (View::of_frame(bytes), bytes.get(12..14)) {
        (Some(view), _) => packet(&view),
        (None, Some([8, 6])) => format!("ARP {:02x?}", &bytes[14..]),
        (None, _) => format!("{bytes:02x?}"),
    }
}

/// One line about what came out.
#[must_use]
pub fn output(output: &Output) -> String {
    format!("link {}: {}", output.link, frame(&output.bytes))
}

/// One line about a step.
#[must_use]
pub fn step(step: &Step) -> String {
    match step {
        Step::Send { link, bytes } => format!("link {link}: {}", frame(bytes)),
        Step::Answer { to, with } => format!("answer to {to}: {}", answer(with)),
        Step::Pause(micros) => format!("{micros} us pass"),
        Step::Elapse(seconds) => format!("{seconds} s pass for connections"),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Tcp(segment) => format!(
            "TCP {} seq {} ack {} win {} + {}",
            flags(segment.flags),
            segment.sequence,
            segment.acknowledgement,
            segment.window,
            segment.payload.len()
        ),
        Answer::Udp(data) => format!("UDP + {}", data.len()),
        Answer::Sctp(tag, chunks) => format!("SCTP tag {tag:08x} {chunks:02x?}"),
        Answer::Echo(kind, code) => format!("ICMP {kind}/{code}"),
        Answer::Mirror => "the same".to_owned(),
        Answer::Error {
            from,
            kind,
            code,
            quoted,
            ..
        } => {
            let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
            format!("ICMP error {kind}/{code}{from}, quoting {quoted}")
        }
    }
}

fn packet(view: &View<'_>) -> String {
    let (source, destination) = (view.source(), view.destination());
    let payload = view.payload();
    let mut text = match (view.protocol(), view.ports()) {
        (6, Some(ports)) if payload.len() >= 20 => format!(
            "TCP {source}:{} > {destination}:{} {} seq {} ack {} win {} + {}",
            ports.source,
            ports.destination,
            flags(payload[13]),
            word(payload, 4),
            word(payload, 8),
            u16::from_be_bytes([payload[14], payload[15]]),
            payload
                .len()
                .saturating_sub(usize::from(payload[12] >> 4) * 4)
        ),
        (17, Some(ports)) => format!(
            "UDP {source}:{} > {destination}:{} + {}",
            ports.source,
            ports.destination,
            payload.len().saturating_sub(8)
        ),
        (1, _) if payload.len() >= 8 && view.fragment() & 0x1fff == 0 => {
            let mut text = format!(
                "ICMP {source} > {destination} {}/{} word {:08x} + {}",
                payload[0],
                payload[1],
                word(payload, 4),
                payload.len() - 8
            );
            if let Some(quoted) = view.quoted() {
                let _ = write!(text, " [{}]", packet(&quoted));
            }
            text
        }
        (protocol, _) => format!(
            "protocol {protocol} {source} > {destination} + {}",
            payload.len()
        ),
    };
    let _ = write!(text, " ttl {} id {:04x}", view.bytes[8], view.ident());
    match view.fragment() {
        0 => {}
        0x4000 => text.push_str(" DF"),
        other => {
            let more = if other & 0x2000 == 0 { "" } else { "+" };
            let _ = write!(text, " fragment {}{more}", (other & 0x1fff) * 8);
        }
    }
    if view.bytes[1] != 0 {
        let _ = write!(text, " tos {:02x}", view.bytes[1]);
    }
    text
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Names of TCP's flags.
pub(crate) fn flags(flags: u8) -> String {
    let names = [
        (flag::SYN, "SYN"),
        (flag::ACK, "ACK"),
        (flag::FIN, "FIN"),
        (flag::RST, "RST"),
        (flag::PSH, "PSH"),
        (flag::URG, "URG"),
    ];
    let set = names.iter().filter(|(bit, _)| flags & bit != 0);
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    match set.is_empty() {
        true => "no flags".to_owned(),
        false => set.join("/"),
    }
}
