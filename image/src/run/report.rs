//! What a run found out, for programs (`--json`) and, through [`super::table`], for people.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Everything a run found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it ran on.
    pub platform: Platform,
    /// The traffic that was tried, in order.
    pub cases: Vec<Case>,
    /// The firewall domain's figures.
    pub firewalldom: Figures,
    /// Those of a Debian PV guest that does the same in the same boot.
    pub debian: Option<Figures>,
    /// The folder that holds the consoles' logs.
    pub logs: String,
}

impl Report {
    /// Whether every case came out as it should.
    pub fn as_expected(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(Case::as_expected)
    }
}

/// The Xen and dom0 of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// As `xl info` gives it (`4.17.5`).
    pub xen_version: String,
    /// dom0's kernel (`6.1.0-37-amd64`).
    pub dom0_kernel: String,
}

/// What can become of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It arrived, whole, and was answered.
    Passed,
    /// The sender was told at once that it is not wanted.
    Rejected,
    /// The sender heard nothing.
    Dropped,
    /// Anything else: damaged, half of it, an unexpected error.
    Broken,
}

/// Something sent through the firewall, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// What was tried.
    pub tried: String,
    /// Zone of the sender.
    pub from: String,
    /// Zone of the receiver.
    pub to: String,
    /// What the configuration asks for.
    pub expected: Outcome,
    /// What happened.
    pub outcome: Outcome,
    /// The same in words, with figures.
    pub detail: String,
    /// From the first byte sent to the result.
    #[serde(rename = "elapsed_ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// The lines of the configuration whose counters went up, in the order of the files.
    pub decided_by: Vec<Line>,
    /// What the deciding line has to begin with (`REJECT`), so that it was that rule and not
    /// another one with the same effect.
    pub expected_line: String,
}

impl Case {
    /// Whether it came out as the configuration says, and by the line that says so.
    pub fn as_expected(&self) -> bool {
        self.outcome == self.expected
            && self
                .decided_by
                .iter()
                .any(|line| line.says(&self.expected_line))
    }
}

/// A line of the site's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// File, as the policy names it (`shorewall/rules`).
    pub file: String,
    /// From 1.
    pub line: u32,
    /// What stands there, with single blanks and without comment.
    pub text: String,
}

impl Line {
    /// Whether the line begins with the words of `beginning`.
    pub fn says(&self, beginning: &str) -> bool {
        let mut words = self.text.split_whitespace();
        beginning
            .split_whitespace()
            .all(|word| words.next() == Some(word))
    }
}

/// The figures of one system in the firewall's place.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Bytes of `kernel=` and `ramdisk=`.
    pub kernel_bytes: u64,
    /// Bytes of `ramdisk=`.
    pub ramdisk_bytes: u64,
    /// `memory=`.
    pub memory_mib: u32,
    /// How long `xl create` took.
    #[serde(rename = "xl_create_ms", serialize_with = "milliseconds")]
    pub xl_create: Duration,
    /// From the start of `xl create` to the first packet forwarded.
    #[serde(rename = "first_packet_ms", serialize_with = "milliseconds")]
    pub first_packet: Duration,
    /// One TCP stream in each direction.
    pub throughput: Vec<Throughput>,
}

/// One iperf3 TCP stream.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// Zone of the sender.
    pub from: String,
    /// Zone of the receiver.
    pub to: String,
    /// Received payload.
    pub megabits_per_second: f64,
    /// Received payload.
    pub bytes: u64,
    /// CPU time of the domain in the middle meanwhile.
    pub cpu_seconds: f64,
}

impl Throughput {
    /// CPU time for each 10⁹ bytes. `None` when nothing arrived.
    pub fn cpu_seconds_per_gigabyte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.cpu_seconds * 1e9 / self.bytes as f64)
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(crate) fn case(outcome: Outcome, expected: Outcome, line: &str) -> Case {
        Case {
            tried: "TCP to port 25".to_owned(),
            from: "loc".to_owned(),
            to: "net".to_owned(),
            expected,
            outcome,
            detail: "refused after 1.4 ms".to_owned(),
            elapsed: Duration::from_micros(1_400),
            decided_by: vec![Line {
                file: "shorewall/rules".to_owned(),
                line: 14,
                text: line.to_owned(),
            }],
            expected_line: "REJECT loc".to_owned(),
        }
    }

    pub(crate) fn figures(scale: u64) -> Figures {
        let throughput = |from: &str, to: &str| Throughput {
            from: from.to_owned(),
            to: to.to_owned(),
            megabits_per_second: 512.34,
            bytes: 640_000_000,
            cpu_seconds: 1.6,
        };
        Figures {
            kernel_bytes: 200 * 1024 * scale,
            ramdisk_bytes: 700 * scale,
            memory_mib: 8 * scale as u32,
            xl_create: Duration::from_millis(480),
            first_packet: Duration::from_millis(610 * scale),
            throughput: vec![throughput("loc", "net"), throughput("net", "loc")],
        }
    }

    pub(crate) fn report() -> Report {
        Report {
            platform: Platform {
                xen_version: "4.17.5".to_owned(),
                dom0_kernel: "6.1.0-37-amd64".to_owned(),
            },
            cases: vec![case(
                Outcome::Rejected,
                Outcome::Rejected,
                "REJECT loc net tcp 25",
            )],
            firewalldom: figures(1),
            debian: Some(figures(24)),
            logs: "target/lab/runs/1".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{case, report};
    use super::*;

    #[test]
    fn a_case_counts_only_with_the_right_outcome_by_the_right_line() {
        use Outcome::{Dropped, Rejected};
        assert!(case(Rejected, Rejected, "REJECT loc net tcp 25").as_expected());
        assert!(!case(Dropped, Rejected, "REJECT loc net tcp 25").as_expected());
        assert!(!case(Rejected, Rejected, "REJECT net loc tcp 25").as_expected());
        assert!(!case(Rejected, Rejected, "REJECTED loc").as_expected());
        let mut nobody = case(Rejected, Rejected, "");
        nobody.decided_by.clear();
        assert!(!nobody.as_expected());
    }

    #[test]
    fn a_report_without_cases_proves_nothing() {
        let mut empty = report();
        assert!(empty.as_expected());
        empty.cases.clear();
        assert!(!empty.as_expected());
    }

    #[test]
    fn json_has_units_in_its_names() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["cases"][0]["elapsed_ms"], 1.4);
        assert_eq!(json["cases"][0]["outcome"], "rejected");
        assert_eq!(json["firewalldom"]["xl_create_ms"], 480.0);
        assert_eq!(json["debian"]["memory_mib"], 192);
    }

    #[test]
    fn cpu_is_counted_per_gigabyte() {
        let figures = samples::figures(1);
        assert_eq!(figures.throughput[0].cpu_seconds_per_gigabyte(), Some(2.5));
    }
}
