//! The answer for programs: one JSON object, whose shape the README shows.

use crate::domains::Domain;
use firewalldom::stat::{self, DecodeError, Statistics};
use minios_rs::stat::{Count, Direction, Interface, Memory, Report};
use serde::Serialize;
use std::collections::BTreeMap;

/// Sums and counts by name.
#[derive(Debug, PartialEq, Serialize)]
struct Counts {
    total: u64,
    by_name: BTreeMap<String, u64>,
}

impl Counts {
    fn of(counts: &[Count]) -> Self {
        let mut by_name = BTreeMap::new();
        for Count { name, count } in counts {
            let sum: &mut u64 = by_name.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        Self {
            total: total(counts),
            by_name,
        }
    }
}

/// The sum, which a liar may make as large as it can be.
pub(crate) fn total(counts: &[Count]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(count.count))
}

#[derive(Debug, Serialize)]
pub(crate) struct Document {
    domain: String,
    domid: u16,
    appliance: String,
    version: String,
    state: String,
    uptime_ns: u64,
    memory_bytes: Memory,
    hypercalls: Counts,
    interfaces: Vec<InterfaceDocument>,
    /// Absent unless the domain is a firewall whose statistics this program reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall: Option<FirewallDocument>,
    /// Why something that the domain told is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<String>,
}

#[derive(Debug, Serialize)]
struct InterfaceDocument {
    name: String,
    mac: String,
    backend_domid: u16,
    mtu: u16,
    state: String,
    received: DirectionDocument,
    transmitted: DirectionDocument,
    events_sent: u64,
    pages_lent: u16,
    pages_in_quarantine: u16,
}

#[derive(Debug, Serialize)]
struct DirectionDocument {
    frames: u64,
    bytes: u64,
    errors: Counts,
}

#[derive(Debug, Serialize)]
struct FirewallDocument {
    site: String,
    policy: PolicyDocument,
    forwarded: u64,
    local: u64,
    dropped: Counts,
    flows: stat::Flows,
    log_lines_suppressed: u64,
    rules: Vec<RuleDocument>,
    rules_left_out: u32,
}

#[derive(Debug, Serialize)]
struct PolicyDocument {
    version: u16,
    checksum: String,
}

#[derive(Debug, Serialize)]
struct RuleDocument {
    file: String,
    line: u32,
    hits: u64,
}

/// The firewall's part of a report; `None` if it has none.
pub(crate) fn firewall(report: &Report) -> Option<Result<Statistics, DecodeError>> {
    let detail = report.detail.as_ref()?;
    (report.appliance == stat::APPLIANCE).then(|| Statistics::decode(detail))
}

/// What is in the report and not understood here.
pub(crate) fn unread(report: &Report) -> Option<String> {
    match (&report.detail, firewall(report)) {
        (_, Some(Err(error))) => Some(error.to_string()),
        (Some(_), None) => Some("this program does not know the appliance".to_owned()),
        _ => None,
    }
}

/// The answer as a document.
pub(crate) fn document(domain: &Domain, report: &Report) -> Document {
    let statistics = firewall(report).and_then(Result::ok);
    Document {
        domain: domain.name.clone(),
        domid: domain.id.0,
        appliance: report.appliance.clone(),
        version: report.version.clone(),
        state: report.state.clone(),
        uptime_ns: report.uptime_ns,
        memory_bytes: report.memory,
        hypercalls: Counts::of(&report.hypercalls),
        interfaces: report.interfaces.iter().map(interface).collect(),
        firewall: statistics.map(|statistics| firewall_document(&statistics)),
        unread: unread(report),
    }
}

fn interface(interface: &Interface) -> InterfaceDocument {
    InterfaceDocument {
        name: interface.name.clone(),
        mac: mac(interface.mac),
        backend_domid: interface.backend,
        mtu: interface.mtu,
        state: interface.state.clone(),
        received: direction(&interface.received),
        transmitted: direction(&interface.transmitted),
        events_sent: interface.events_sent,
        pages_lent: interface.pages_lent,
        pages_in_quarantine: interface.pages_in_quarantine,
    }
}

/// As six hexadecimal bytes with colons between.
pub(crate) fn mac(mac: [u8; 6]) -> String {
    minios_rs::net::MacAddress(mac).to_string()
}

fn direction(direction: &Direction) -> DirectionDocument {
    DirectionDocument {
        frames: direction.frames,
        bytes: direction.bytes,
        errors: Counts::of(&direction.errors),
    }
}

fn firewall_document(statistics: &Statistics) -> FirewallDocument {
    let rule = |rule: &stat::RuleHits| RuleDocument {
        file: statistics.file(rule).to_owned(),
        line: rule.line,
        hits: rule.hits,
    };
    FirewallDocument {
        site: statistics.site.clone(),
        policy: PolicyDocument {
            version: statistics.policy.version,
            checksum: format!("{:016x}", statistics.policy.checksum),
        },
        forwarded: statistics.forwarded,
        local: statistics.local,
        dropped: Counts::of(&statistics.drops),
        flows: statistics.flows,
        log_lines_suppressed: statistics.log_lines_suppressed,
        rules: statistics.rules.iter().map(rule).collect(),
        rules_left_out: statistics.rules_left_out,
    }
}
