//! What an administrator can ask on the domain's console (`xl console`).

use crate::Firewall;
use crate::relay::Losses;
use crate::sort::sort;
use crate::time::Instant;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::Ipv4Addr;
use minios_rs::xen::Hypercalls;

/// Longest command line; what is typed beyond is dropped.
const LINE_MAX: usize = 128;

const HELP: &str = "commands:
  drops       frames dropped, by reason
  flows       connections now, at most so far, and room for
  help        this
  hypercalls  calls of this domain into Xen, by kind, packets forwarded and bytes that Xen copied so far
  interfaces  packets and bytes of each interface
  ping ADDR   one echo request from the firewall itself, judged by the rules like any other packet
  rules       how often each line of the configuration decided
";

/// Collects what is typed into lines.
#[derive(Debug, Default)]
pub struct Editor {
    line: heapless::String<LINE_MAX>,
}

impl Editor {
    /// Takes a byte; the whole line when it was the end of one.
    pub fn key(&mut self, byte: u8) -> Option<heapless::String<LINE_MAX>> {
        match byte {
            b'\r' | b'\n' if self.line.is_empty() => None,
            b'\r' | b'\n' => Some(core::mem::take(&mut self.line)),
            8 | 127 => {
                self.line.pop();
                None
            }
            b' '..=b'~' => {
                let _ = self.line.push(char::from(byte));
                None
            }
            _ => None,
        }
    }
}

/// Carries out one line; what there is to say goes to `out`.
///
/// # Errors
/// Those of `out`.
pub fn execute(
    line: &str,
    now: Instant,
    firewall: &mut Firewall,
    losses: Losses,
    hypercalls: &Hypercalls,
    out: &mut impl Write,
) -> fmt::Result {
    let mut words = line.split_ascii_whitespace();
    match (words.next().unwrap_or(""), words.next(), words.next()) {
        ("", None, None) => Ok(()),
        ("help", None, None) => out.write_str(HELP),
        ("drops", None, None) => drops(firewall, losses, out),
        ("flows", None, None) => {
            let flows = firewall.flows();
            writeln!(
                out,
                "flows {} peak {} capacity {}",
                flows.now, flows.peak, flows.capacity
            )
        }
        ("hypercalls", None, None) => {
            for (name, count) in hypercalls.iter() {
                writeln!(out, "hypercalls {name} {count}")?;
            }
            let forwarded = firewall.counters().forwarded;
            writeln!(
                out,
                "hypercalls in all {}, packets forwarded {forwarded}, bytes copied {}",
                hypercalls.total(),
                hypercalls.copied_bytes()
            )
        }
        ("interfaces", None, None) => interfaces(firewall, out),
        ("rules", None, None) => rules(firewall, out),
        ("ping", Some(address), None) => match address.parse::<Ipv4Addr>() {
            Ok(address) => {
                firewall.ping(now, address);
                Ok(())
            }
            Err(_) => writeln!(out, "ping: {address} is not an IPv4 address"),
        },
        _ => writeln!(out, "{line}: no such command; try help"),
    }
}

fn drops(firewall: &Firewall, losses: Losses, out: &mut impl Write) -> fmt::Result {
    for (reason, count) in firewall.counters().drops.iter() {
        writeln!(out, "dropped {count} {reason}")?;
    }
    for (reason, count) in losses.iter() {
        if count > 0 {
            writeln!(out, "dropped {count} {reason}")?;
        }
    }
    writeln!(out, "end of drops")
}

fn interfaces(firewall: &Firewall, out: &mut impl Write) -> fmt::Result {
    for (interface, counters) in firewall
        .policy()
        .interfaces
        .iter()
        .zip(&firewall.counters().interfaces)
    {
        writeln!(
            out,
            "{} in {} packets {} bytes, out {} packets {} bytes",
            interface.name,
            counters.ingress.packets,
            counters.ingress.bytes,
            counters.egress.packets,
            counters.egress.bytes
        )?;
    }
    writeln!(out, "end of interfaces")
}

fn rules(firewall: &Firewall, out: &mut impl Write) -> fmt::Result {
    let mut lines: alloc::vec::Vec<(&str, u32, u64)> = firewall
        .hits()
        .map(|(origin, hits)| {
            let file = firewall
                .policy()
                .files
                .get(usize::from(origin.file))
                .map_or("?", String::as_str);
            (file, origin.line, hits)
        })
        .collect();
    sort(&mut lines);
    for (file, line, hits) in lines {
        writeln!(out, "hits {file}:{line} {hits}")?;
    }
    writeln!(out, "end of rules")
}
