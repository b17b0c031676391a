//! The answer for people.

use crate::document::{firewall, mac, total, unread};
use crate::domains::{Clean, Domain};
use firewalldom::stat::Statistics;
use minios_rs::stat::{Count, Direction, Interface, Report};
use std::fmt::{self, Write as _};
use std::time::Duration;

/// The answer as text; every word of the domain's is cleaned.
pub(crate) fn table(domain: &Domain, report: &Report) -> String {
    let mut out = String::new();
    // A string takes whatever is written to it.
    let _ = write(&mut out, domain, report);
    out
}

fn write(out: &mut String, domain: &Domain, report: &Report) -> fmt::Result {
    writeln!(
        out,
        "{} (domain {}), {} {}: {}",
        Clean(&domain.name),
        domain.id.0,
        Clean(&report.appliance),
        Clean(&report.version),
        Clean(&report.state)
    )?;
    line(out, "up", &uptime(Duration::from_nanos(report.uptime_ns)))?;
    let memory = &report.memory;
    line(
        out,
        "memory",
        &format!(
            "{} after boot, {} free; heap {}, of which {} used (at most {})",
            size(memory.total),
            size(memory.free),
            size(memory.heap),
            size(memory.heap_used),
            size(memory.heap_used_max)
        ),
    )?;
    let calls = list(&report.hypercalls);
    line(
        out,
        "hypercalls",
        &format!("{}{calls}", thousands(total(&report.hypercalls))),
    )?;
    let statistics = firewall(report).and_then(Result::ok);
    if let Some(statistics) = &statistics {
        write_firewall(out, statistics)?;
    }
    if let Some(unread) = unread(report) {
        line(out, "not shown", &unread)?;
    }
    write_interfaces(out, &report.interfaces)?;
    if let Some(statistics) = &statistics {
        write_drops(out, statistics)?;
        write_rules(out, statistics)?;
    }
    Ok(())
}

fn line(out: &mut String, name: &str, text: &str) -> fmt::Result {
    writeln!(out, "  {name:<11} {text}")
}

fn write_firewall(out: &mut String, statistics: &Statistics) -> fmt::Result {
    let policy = statistics.policy;
    let site = format!(
        "{}, policy version {}, checksum {:016x}",
        Clean(&statistics.site),
        policy.version,
        policy.checksum
    );
    line(out, "site", &site)?;
    let packets = format!(
        "{} forwarded, {} for the firewall itself",
        thousands(statistics.forwarded),
        thousands(statistics.local)
    );
    line(out, "packets", &packets)?;
    let flows = statistics.flows;
    let flows = format!(
        "{} now, {} at most so far, room for {}; {} evicted",
        thousands(flows.now),
        thousands(flows.peak),
        thousands(flows.capacity),
        thousands(flows.evicted)
    );
    line(out, "flows", &flows)?;
    let suppressed = thousands(statistics.log_lines_suppressed);
    line(out, "log", &format!("{suppressed} lines suppressed"))
}

fn write_interfaces(out: &mut String, interfaces: &[Interface]) -> fmt::Result {
    for interface in interfaces {
        writeln!(
            out,
            "\n{}: {}, {}, MTU {}, backend in domain {}",
            Clean(&interface.name),
            Clean(&interface.state),
            mac(interface.mac),
            interface.mtu,
            interface.backend
        )?;
        write_direction(out, "received", &interface.received)?;
        write_direction(out, "transmitted", &interface.transmitted)?;
        if interface.pages_in_quarantine > 0 {
            let pages = interface.pages_in_quarantine;
            line(out, "quarantine", &format!("{pages} pages"))?;
        }
    }
    Ok(())
}

fn write_direction(out: &mut String, name: &str, direction: &Direction) -> fmt::Result {
    let text = format!(
        "{:>15} frames {:>19} bytes{}",
        thousands(direction.frames),
        thousands(direction.bytes),
        list(&direction.errors)
    );
    line(out, name, &text)
}

fn write_drops(out: &mut String, statistics: &Statistics) -> fmt::Result {
    writeln!(out, "\ndropped {}", thousands(total(&statistics.drops)))?;
    for drop in &statistics.drops {
        writeln!(out, "{:>15}  {}", thousands(drop.count), Clean(&drop.name))?;
    }
    Ok(())
}

fn write_rules(out: &mut String, statistics: &Statistics) -> fmt::Result {
    if statistics.rules.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nlines that decided about the first packet of a flow")?;
    for rule in &statistics.rules {
        let hits = thousands(rule.hits);
        let file = Clean(statistics.file(rule));
        match rule.line {
            0 => writeln!(out, "{hits:>15}  (Shorewall's default)")?,
            line => writeln!(out, "{hits:>15}  {file}:{line}")?,
        }
    }
    if statistics.rules_left_out > 0 {
        let left_out = thousands(statistics.rules_left_out.into());
        writeln!(
            out,
            "                 and {left_out} lines that decided less often"
        )?;
    }
    Ok(())
}

/// `: 3 of one kind, 2 of another`, or nothing.
fn list(counts: &[Count]) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|count| format!("{} {}", thousands(count.count), Clean(&count.name)))
        .collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!(": {}", counts.join(", "))
    }
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that fits.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The two largest units.
fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{:.1} s", uptime.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
