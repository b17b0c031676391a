//! Log lines as netfilter writes them, with Shorewall's prefix, within Shorewall's limit.

use crate::checksum::{get16, get32};
use crate::limit::{Bucket, Buckets, Limiter, Tokens};
use crate::packet::{ICMP, Packet, TCP, Tuple, UDP, UDP_LITE};
use crate::policy::{Log, LogLimit};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::fmt::Write;
use core::net::Ipv4Addr;

/// A line for the console or a log host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// 0 (emerg) to 7 (debug), as syslog counts.
    pub level: u8,
    /// `Shorewall:net-fw:DROP:IN=eth0 OUT= MAC=…`
    pub text: String,
}

/// The packet a line is about.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) packet: &'a Packet,
    /// Addresses and ports as the rules saw them.
    pub(crate) tuple: Tuple,
    pub(crate) ttl: u8,
    /// Names of the interfaces; empty for the firewall itself.
    pub(crate) ingress: &'a str,
    pub(crate) egress: &'a str,
}

/// Lines that wait to be taken.
#[derive(Debug)]
pub(crate) struct Logger {
    format: String,
    limiter: Option<Limiter>,
    lines: VecDeque<LogLine>,
    pub(crate) suppressed: u64,
}

impl Logger {
    /// Most lines that wait.
    const MAX_LINES: usize = 256;
    /// Sources that have a limit of their own.
    const SOURCES: usize = 1024;

    pub(crate) fn new(format: &str, limit: Option<LogLimit>) -> Self {
        Self {
            format: format.into(),
            limiter: limit.map(limiter),
            lines: VecDeque::new(),
            suppressed: 0,
        }
    }

    /// Writes a line, unless the limit or the queue forbids; `hash` is the source's.
    pub(crate) fn log(
        &mut self,
        now: Instant,
        hash: u64,
        chain: &str,
        log: &Log,
        subject: &Subject<'_>,
    ) {
        let source = subject.tuple.source;
        let allowed = self.lines.len() < Self::MAX_LINES
            && self
                .limiter
                .as_mut()
                .is_none_or(|limiter| limiter.take(now, source, hash));
        if !allowed {
            self.suppressed += 1;
            return;
        }
        let mut text = prefix(&self.format, chain, log);
        // Writing to a string cannot fail.
        let _ = describe(&mut text, subject);
        self.lines.push_back(LogLine {
            level: log.level,
            text,
        });
    }

    pub(crate) fn take(&mut self) -> Option<LogLine> {
        self.lines.pop_front()
    }
}

fn limiter(limit: LogLimit) -> Limiter {
    let period_ns = u64::from(limit.period_ms) * 1_000_000;
    let tokens = Tokens::new(limit.rate, period_ns, limit.burst);
    if limit.per_source {
        Limiter::Each(Buckets::new(tokens, Logger::SOURCES))
    } else {
        Limiter::All(Bucket::new(tokens))
    }
}

/// LOGFORMAT with chain and disposition in its two places; the tag, if any, behind them.
fn prefix(format: &str, chain: &str, log: &Log) -> String {
    let mut text = String::with_capacity(256);
    let mut words = [chain, log.disposition.as_str()].into_iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once("%s") {
        text.push_str(before);
        text.push_str(words.next().unwrap_or_default());
        rest = after;
    }
    text.push_str(rest);
    if let Some(tag) = &log.tag {
        text.push_str(tag);
        text.push(' ');
    }
    text
}

fn describe(text: &mut String, subject: &Subject<'_>) -> core::fmt::Result {
    let Subject {
        head,
        packet,
        tuple,
        ttl,
        ingress,
        egress,
    } = *subject;
    write!(text, "IN={ingress} OUT={egress} ")?;
    if !ingress.is_empty() {
        text.push_str("MAC=");
        for (position, byte) in head[..14].iter().enumerate() {
            let colon = if position == 0 { "" } else { ":" };
            write!(text, "{colon}{byte:02x}")?;
        }
        text.push(' ');
    }
    let ip = &head[crate::frame::ETHERNET..];
    describe_ip(text, ip, tuple.source, tuple.destination, ttl)?;
    let bytes = &head[packet.transport..];
    match tuple.protocol {
        TCP => {
            let window = get16(bytes, 14);
            write!(
                text,
                "PROTO=TCP SPT={} DPT={} ",
                tuple.source_port, tuple.destination_port
            )?;
            write!(
                text,
                "WINDOW={window} RES=0x{:02x} ",
                (bytes[12] & 0x0f) << 2
            )?;
            for (bit, name) in [
                (0x80, "CWR "),
                (0x40, "ECE "),
                (0x20, "URG "),
                (0x10, "ACK "),
                (0x08, "PSH "),
                (0x04, "RST "),
                (0x02, "SYN "),
                (0x01, "FIN "),
            ] {
                if bytes[13] & bit != 0 {
                    text.push_str(name);
                }
            }
            write!(text, "URGP={} ", get16(bytes, 18))
        }
        UDP | UDP_LITE => {
            let name = if tuple.protocol == UDP {
                "UDP"
            } else {
                "UDPLITE"
            };
            write!(
                text,
                "PROTO={name} SPT={} DPT={} ",
                tuple.source_port, tuple.destination_port
            )?;
            write!(text, "LEN={} ", get16(bytes, 4))
        }
        ICMP => describe_icmp(text, bytes),
        other => write!(text, "PROTO={other} "),
    }
}

fn describe_ip(
    text: &mut String,
    ip: &[u8],
    source: u32,
    destination: u32,
    ttl: u8,
) -> core::fmt::Result {
    let (source, destination) = (
        Ipv4Addr::from_bits(source),
        Ipv4Addr::from_bits(destination),
    );
    write!(text, "SRC={source} DST={destination} LEN={} ", get16(ip, 2))?;
    write!(
        text,
        "TOS=0x{:02X} PREC=0x{:02X} ",
        ip[1] & 0x1e,
        ip[1] & 0xe0
    )?;
    write!(text, "TTL={ttl} ID={} ", get16(ip, 4))?;
    for (bit, name) in [(0x8000, "CE "), (0x4000, "DF "), (0x2000, "MF ")] {
        if get16(ip, 6) & bit != 0 {
            text.push_str(name);
        }
    }
    Ok(())
}

fn describe_icmp(text: &mut String, bytes: &[u8]) -> core::fmt::Result {
    write!(text, "PROTO=ICMP TYPE={} CODE={} ", bytes[0], bytes[1])?;
    match bytes[0] {
        0 | 8 | 13 | 14 | 15 | 16 | 17 | 18 => {
            write!(text, "ID={} SEQ={} ", get16(bytes, 4), get16(bytes, 6))
        }
        3 | 4 | 5 | 11 => {
            let inner = &bytes[8..];
            if inner.len() >= 20 {
                text.push('[');
                describe_ip(text, inner, get32(inner, 12), get32(inner, 16), inner[8])?;
                write!(text, "PROTO={} ] ", inner[9])?;
            }
            if bytes[0] == 3 && bytes[1] == 4 {
                write!(text, "MTU={} ", get16(bytes, 6))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_and_disposition_take_their_places() {
        let log = Log {
            level: 6,
            disposition: "DROP".into(),
            tag: None,
        };
        assert_eq!(
            prefix("Shorewall:%s:%s:", "net-fw", &log),
            "Shorewall:net-fw:DROP:"
        );
        assert_eq!(prefix("%s %s ", "net-fw", &log), "net-fw DROP ");
        assert_eq!(prefix("fixed", "net-fw", &log), "fixed");
    }
}
