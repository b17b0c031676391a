//! The device models' section of the page.

use std::fmt::Write as _;

use super::samples::{Controller, DeviceModel, Pattern, Record};
use crate::bench::figure::{Spread, Target, Unit, Verdict};

const HEAD: &str = "\
## The device model

A guest whose computer is stubdom's, in a stub domain, and the same guest with Debian's QEMU in dom0, in turn in one
boot, both started by the same `xl create`. Disks are files in dom0's memory, read and written past the guest's page
cache with one request at a time.";

/// A row of the table.
struct Row {
    title: String,
    unit: Unit,
    target: Target,
    /// In the order of [`DeviceModel::BOTH`].
    spreads: [Option<Spread>; 2],
}

impl Row {
    fn new(
        title: impl Into<String>,
        unit: Unit,
        target: Target,
        values: impl Fn(DeviceModel) -> Vec<f64>,
    ) -> Self {
        Self {
            title: title.into(),
            unit,
            target,
            spreads: DeviceModel::BOTH.map(|model| Spread::of(values(model))),
        }
    }

    fn ratio(&self) -> Option<f64> {
        match self.spreads {
            [Some(ours), Some(theirs)] if theirs.median > 0.0 => Some(ours.median / theirs.median),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        self.target.verdict(self.spreads[0], self.ratio())
    }

    /// The median, and the ends where there is more than one sample.
    fn cell(&self, of: usize) -> String {
        let Some(spread) = self.spreads[of] else {
            return String::new();
        };
        let number = |value| self.unit.number(value);
        let median = format!("{}{}", number(spread.median), self.unit.suffix());
        match spread.samples {
            1 => median,
            _ => format!(
                "{median} ({} to {})",
                number(spread.min),
                number(spread.max)
            ),
        }
    }
}

/// Of those of one device model.
fn own<'a, T>(
    all: &'a [T],
    model_of: fn(&T) -> DeviceModel,
    value: impl Fn(&T) -> f64 + 'a,
) -> impl Fn(DeviceModel) -> Vec<f64> + 'a {
    move |model| {
        let own = all.iter().filter(|one| model_of(one) == model);
        own.map(&value).collect()
    }
}

fn rows(record: &Record) -> Vec<Row> {
    let at_most_theirs = Target::RatioAtMost(1.0);
    let seconds = |us: u64| us as f64 / 1e6;
    let ours = |value: f64| {
        move |model| match model {
            DeviceModel::Stubdom => vec![value],
            DeviceModel::Qemu => Vec::new(),
        }
    };
    let mut rows = vec![
        Row::new(
            "start of xl create to what the BIOS has read from a disk",
            Unit::Seconds,
            at_most_theirs,
            own(
                &record.starts,
                |one| one.model,
                |one| seconds(one.prompt_us),
            ),
        ),
        Row::new(
            "of this, until xl create returned",
            Unit::Seconds,
            Target::None,
            own(
                &record.starts,
                |one| one.model,
                |one| seconds(one.xl_create_us),
            ),
        ),
        Row::new(
            "start of xl create to Linux' shell, by GRUB from a SATA disk",
            Unit::Seconds,
            at_most_theirs,
            own(
                &record.linux_starts,
                |one| one.model,
                |one| seconds(one.shell_us),
            ),
        ),
        Row::new(
            "a million port reads",
            Unit::Seconds,
            at_most_theirs,
            own(
                &record.port_reads,
                |one| one.model,
                |one| one.us as f64 / (one.reads.max(1) as f64),
            ),
        ),
    ];
    for controller in Controller::BOTH {
        for pattern in Pattern::ALL {
            let least = match pattern {
                Pattern::Read | Pattern::Write => 1.0,
                // Two switches of domains more than a page cache in dom0.
                Pattern::RandomRead | Pattern::RandomWrite => 0.8,
            };
            rows.push(Row::new(
                format!("{}, {}", controller.name(), pattern.text()),
                Unit::MegabytesPerSecond,
                Target::RatioAtLeast(least),
                |model| {
                    let loads = record.disk_loads.iter().filter(|one| {
                        (one.model, one.controller, one.pattern) == (model, controller, pattern)
                    });
                    // Of bytes and microseconds.
                    loads
                        .map(|one| one.bytes as f64 / one.us.max(1) as f64)
                        .collect()
                },
            ));
        }
    }
    rows.extend([
        Row::new(
            "memory of the stub domain",
            Unit::Mebibytes,
            Target::AtMost(12.0),
            ours(f64::from(record.memory_mib)),
        ),
        Row::new(
            "stubdom.xen, stripped",
            Unit::Bytes,
            Target::AtMost(409_600.0),
            ours(record.image_bytes as f64),
        ),
        Row::new(
            "resident in dom0: QEMU, or the helper in its place; shared pages once",
            Unit::Kibibytes,
            Target::AtMost(2048.0),
            own(
                &record.starts,
                |one| one.model,
                |one| one.resident_kib as f64,
            ),
        ),
    ]);
    rows
}

/// Its part of the page: nothing, if nothing was measured.
pub(in crate::bench) fn render(records: &[Record]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{HEAD}\n");
    for record in records {
        // Writing to a String cannot fail.
        let _ = suite(&mut out, record);
    }
    out
}

fn suite(out: &mut String, record: &Record) -> std::fmt::Result {
    let conditions = &record.conditions;
    writeln!(
        out,
        "\nXen {}, Linux {}, {}; commit `{}`, {}, {} runs; others had {} % of the host.",
        conditions.xen,
        conditions.linux,
        conditions.qemu,
        conditions.commit,
        conditions.date,
        conditions.runs,
        conditions.load.others_percent
    )?;
    if !conditions.load.is_quiet() {
        writeln!(
            out,
            "**The machine was not quiet:** figures of time are worth little."
        )?;
    }
    writeln!(
        out,
        "\n| figure | target | stubdom | QEMU in dom0 | ratio | |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for row in rows(record) {
        let ratio = row
            .ratio()
            .map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let verdict = match row.verdict() {
            Verdict::Pass => "pass",
            Verdict::Miss => "**miss**",
            Verdict::NoTarget => "",
            Verdict::NotMeasured => "not measured",
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {ratio} | {verdict} |",
            row.title,
            row.target.text(row.unit),
            row.cell(0),
            row.cell(1),
        )?;
    }
    Ok(())
}

/// What a run came to, for a terminal.
pub fn summary(record: &Record) -> String {
    let mut out = String::new();
    for row in rows(record) {
        let verdict = match row.verdict() {
            Verdict::Pass => "pass",
            Verdict::Miss => "MISS",
            Verdict::NoTarget => "    ",
            Verdict::NotMeasured => continue,
        };
        let _ = writeln!(
            out,
            "{verdict}  {}: {}, QEMU {}",
            row.title,
            row.cell(0),
            match row.cell(1) {
                none if none.is_empty() => "-".to_owned(),
                cell => cell,
            }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::conditions::{Conditions, Load};
    use crate::bench::stub::samples::{DiskLoad, PortReads, Start};

    fn record() -> Record {
        let text = String::new;
        let mut record = Record {
            suite: "bookworm".to_owned(),
            conditions: Conditions {
                commit: text(),
                date: text(),
                runs: 1,
                repeated: 0,
                rustc: text(),
                qemu: text(),
                xen: text(),
                linux: text(),
                shorewall: text(),
                processor: text(),
                load: Load {
                    average: [0.0; 2],
                    others_percent: 0.0,
                    steal_percent: 0.0,
                },
            },
            image_bytes: 400_000,
            memory_mib: 12,
            starts: Vec::new(),
            port_reads: Vec::new(),
            linux_starts: Vec::new(),
            disk_loads: Vec::new(),
        };
        for (model, more) in [(DeviceModel::Stubdom, 0), (DeviceModel::Qemu, 1)] {
            record.starts.push(Start {
                model,
                xl_create_us: 1_000_000,
                prompt_us: 3_000_000 - 500_000 * more,
                resident_kib: 1_500 + 30_000 * more,
            });
            record.port_reads.push(PortReads {
                model,
                reads: 100_000,
                us: 4_000_000 + 4_000_000 * more,
            });
            let line = format!("random_read 2097152 {}", 100_000 - 10_000 * more);
            let load = DiskLoad::parse(model, Controller::Ahci, &line);
            record.disk_loads.extend(load);
        }
        record
    }

    #[test]
    fn figures_follow_from_the_samples_and_misses_are_said() {
        let record = record();
        assert_eq!(
            serde_json::from_str::<Record>(&record.text().unwrap()).unwrap(),
            record
        );
        let page = render(&[record]);
        let row = |title: &str| {
            let found = page.lines().find(|line| line.contains(title));
            found
                .unwrap_or_else(|| panic!("{title}: {page}"))
                .to_owned()
        };
        let reads = row("| a million port reads");
        assert!(
            reads.contains("| 40.00 s | 80.00 s | 0.50 | pass |"),
            "{reads}"
        );
        let start = row("| start of xl create to what the BIOS");
        assert!(
            start.contains("| 3.00 s | 2.50 s | 1.20 | **miss** |"),
            "{start}"
        );
        let random = row("| AHCI, random reads");
        assert!(
            random.contains("| 21.0 MB/s | 23.3 MB/s | 0.90 | pass |"),
            "{random}"
        );
        let resident = row("| resident in dom0");
        assert!(
            resident.contains("| 1,500 KiB | 31,500 KiB | 0.05 | pass |"),
            "{resident}"
        );
        assert!(row("| IDE, sequential reads").contains("not measured"));
        assert_eq!(render(&[]), "");
    }

    #[test]
    fn what_a_guest_says_that_is_no_sample_is_none() {
        let parse = |line| DiskLoad::parse(DeviceModel::Qemu, Controller::Ide, line);
        assert!(parse("write 33554432 1000").is_some());
        for line in ["", "write", "write much 1", "wrote 1 1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
