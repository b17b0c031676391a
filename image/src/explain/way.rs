//! What a packet met, in words: the engine's trace with the places of the user's files.

use std::fmt;
use std::net::Ipv4Addr;

use firewalldom::policy::Origin;
use firewalldom::trace::{self, Outcome, Table};
use firewalldom::{Condition, Firewall};
use serde::Serialize;

/// Rules in a row that are not for the packet are shown up to so many, half of them before and half
/// after those left out.
const SHOWN_MAX: usize = 24;

/// One thing that was looked at on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A line was compared with the packet.
    Rule {
        /// What it is for: `dnat`, `rule` or `snat`.
        table: &'static str,
        /// Its place, such as `shorewall/rules:14`.
        place: String,
        /// `strikes`, `beyond its limit`, or `differs`.
        outcome: &'static str,
        /// What the packet has that the line does not ask for, if it differs.
        #[serde(skip_serializing_if = "Option::is_none")]
        differs_in: Option<&'static str>,
    },
    /// From here on it is about what the firewall itself sends in answer.
    Answer,
    /// Where the destination lies, after DNAT.
    Route {
        /// The address that was looked up.
        destination: Ipv4Addr,
        /// The interface it lies behind; none: it is the firewall's own.
        interface: Option<String>,
        /// The router that is asked; none: the address itself.
        gateway: Option<Ipv4Addr>,
    },
    /// The chain of rules that judges, by the zones.
    Chain {
        /// Shorewall's name of it.
        name: String,
        /// The zone the packet comes from; none: no zone claims its source.
        from: Option<String>,
        /// The zone it goes to.
        to: Option<String>,
    },
}

/// The engine's trace of the packet that came last. A line of the files may have become several
/// rules: it is there once, with what came of the one that got furthest.
pub(super) fn of(firewall: &Firewall, names: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut last: Option<(Table, Origin, Outcome)> = None;
    for step in firewall.trace() {
        match step {
            trace::Step::Rule {
                table,
                origin,
                outcome,
            } => {
                if let Some((of, at, known)) = last
                    && (of, at) == (*table, *origin)
                {
                    if rank(*outcome) <= rank(known) {
                        continue;
                    }
                    steps.pop();
                }
                last = Some((*table, *origin, *outcome));
                steps.push(rule(*table, firewall.place(*origin), *outcome));
            }
            trace::Step::Answer => steps.push(Step::Answer),
            trace::Step::Route {
                destination,
                egress,
                gateway,
            } => steps.push(Step::Route {
                destination: *destination,
                interface: egress.and_then(|egress| names.get(usize::from(egress.0)).cloned()),
                gateway: *gateway,
            }),
            trace::Step::Chain { name, zones } => {
                let [from, to] = zones.clone();
                steps.push(Step::Chain {
                    name: name.clone(),
                    from,
                    to,
                });
            }
        }
    }
    steps
}

fn rule(table: Table, place: String, outcome: Outcome) -> Step {
    Step::Rule {
        table: match table {
            Table::DestinationNat => "dnat",
            Table::Filter => "rule",
            Table::SourceNat => "snat",
        },
        place,
        outcome: match outcome {
            Outcome::Struck => "strikes",
            Outcome::BeyondLimit => "beyond its limit",
            Outcome::Unlike(_) => "differs",
        },
        differs_in: match outcome {
            Outcome::Unlike(condition) => Some(words(condition)),
            _ => None,
        },
    }
}

/// How far a comparison got.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Struck => u8::MAX,
        Outcome::BeyondLimit => u8::MAX - 1,
        // In the order in which they are asked.
        Outcome::Unlike(condition) => condition as u8,
    }
}

const fn words(condition: Condition) -> &'static str {
    match condition {
        Condition::State => "state of the connection",
        Condition::Zone => "zone it comes from",
        Condition::Ingress => "interface it comes in by",
        Condition::Egress => "interface it goes out by",
        Condition::Protocol => "protocol",
        Condition::DestinationPort => "destination port",
        Condition::SourcePort => "source port",
        Condition::Source => "source",
        Condition::Destination => "destination",
        Condition::OriginalDestination => "destination before DNAT",
        Condition::OriginalPort => "destination port before DNAT",
        Condition::Mac => "hardware address",
        Condition::Kind => "kind of destination",
        Condition::TcpFlags => "TCP flags",
    }
}

/// Rows of a table: a name and what is to be said. `line` gives the text of a place.
pub(super) fn rows(
    steps: &[Step],
    line: impl Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        let length = steps[at..].iter().take_while(|step| step.differs()).count();
        if length > SHOWN_MAX {
            let (first, last) = (SHOWN_MAX / 2, at + length - SHOWN_MAX / 2);
            rows.extend(steps[at..at + first].iter().map(|step| row(step, &line)));
            rows.push((
                "",
                format!("and {} lines more that differ", length - SHOWN_MAX),
            ));
            rows.extend(steps[last..at + length].iter().map(|step| row(step, &line)));
            at += length;
        } else {
            rows.push(row(step, &line));
            at += 1;
        }
    }
    rows
}

fn row(step: &Step, line: impl Fn(&str) -> Option<String>) -> (&'static str, String) {
    match step {
        Step::Rule { table, place, .. } => {
            let text = line(place)
                .map(|text| format!("  {text}"))
                .unwrap_or_default();
            (table, format!("{place}{text}: {step}"))
        }
        Step::Answer => ("answer", step.to_string()),
        Step::Route { .. } => ("route", step.to_string()),
        Step::Chain { .. } => ("chain", step.to_string()),
    }
}

impl Step {
    fn differs(&self) -> bool {
        matches!(
            self,
            Self::Rule {
                differs_in: Some(_),
                ..
            }
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule {
                outcome,
                differs_in: None,
                ..
            } => f.write_str(outcome),
            Self::Rule {
                differs_in: Some(what),
                ..
            } => write!(f, "another {what}"),
            Self::Answer => f.write_str("of the firewall itself"),
            Self::Route {
                destination,
                interface,
                gateway,
            } => match (interface, gateway) {
                (None, _) => write!(f, "{destination} is the firewall itself"),
                (Some(interface), None) => write!(f, "{destination} lies behind {interface}"),
                (Some(interface), Some(gateway)) => {
                    write!(
                        f,
                        "{destination} lies behind {interface}, by way of {gateway}"
                    )
                }
            },
            Self::Chain { name, from, to } => {
                let [from, to] = [from, to].map(|zone| match zone {
                    Some(zone) => format!("zone {zone}"),
                    None => "no zone".to_owned(),
                });
                write!(f, "{name}, from {from} to {to}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_that_differ_the_first_and_the_last_are_shown() {
        let differs = |number: usize| Step::Rule {
            table: "rule",
            place: format!("shorewall/blrules:{number}"),
            outcome: "differs",
            differs_in: Some("source"),
        };
        let route = Step::Route {
            destination: Ipv4Addr::new(10, 0, 3, 9),
            interface: None,
            gateway: None,
        };
        let mut steps: Vec<Step> = (1..=SHOWN_MAX).map(differs).collect();
        steps.push(route.clone());
        assert_eq!(rows(&steps, |_| None).len(), SHOWN_MAX + 1);

        let mut steps: Vec<Step> = (1..=1000).map(differs).collect();
        steps.push(route);
        let rows = rows(&steps, |place| Some(format!("({place})")));
        assert_eq!(rows.len(), SHOWN_MAX + 2);
        let half = SHOWN_MAX / 2;
        assert!(
            rows[half - 1]
                .1
                .starts_with("shorewall/blrules:12  (shorewall")
        );
        assert_eq!(rows[half].1, "and 976 lines more that differ");
        assert!(rows[half + 1].1.starts_with("shorewall/blrules:989 "));
        assert_eq!(rows[SHOWN_MAX + 1].0, "route");
    }
}
