//! A report as tables that a person reads at a glance.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Case, Figures, Report, Throughput};

/// Whether the output may hold terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// ANSI colours.
    Colour,
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[1;31m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

impl Style {
    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("{colour}{text}{RESET}"),
        }
    }
}

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let platform = &report.platform;
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "Xen {}, dom0 Linux {}\n",
        platform.xen_version, platform.dom0_kernel
    );
    out.push_str(&cases(&report.cases, style));
    out.push('\n');
    out.push_str(&figures(&report.firewalldom, report.debian.as_ref(), style));
    out.push('\n');
    out.push_str(&verdict(report, style));
    out
}

fn verdict(report: &Report, style: Style) -> String {
    let wrong = report
        .cases
        .iter()
        .filter(|case| !case.as_expected())
        .count();
    let text = told(report.as_expected(), wrong, report.cases.len(), style);
    format!("{text} Consoles and logs: {}\n", report.logs)
}

/// The sentence for all of a report, of which so much was looked at and so much is wrong.
pub(super) fn told(as_expected: bool, wrong: usize, of: usize, style: Style) -> String {
    match (as_expected, wrong) {
        (true, _) => style.paint(GREEN, "All as expected."),
        (false, 0) => style.paint(RED, "Nothing was tried."),
        (false, wrong) => {
            let text = format!("{wrong} of {of} did not come out as expected.");
            style.paint(RED, &text)
        }
    }
}

/// Figures of two systems side by side, some of which have to be as they are.
pub(super) fn compared(
    heads: [&str; 4],
    rows: &[(Option<bool>, &str, &str, &str)],
    style: Style,
) -> String {
    let mut table = Table::new(heads);
    for (as_expected, what, ours, theirs) in rows {
        let mark = as_expected.map_or_else(|| Cell::text(""), mark);
        table.row([mark, Cell::text(what), Cell::text(ours), Cell::text(theirs)]);
    }
    table.render(style)
}

fn mark(as_expected: bool) -> Cell {
    match as_expected {
        true => Cell::painted("ok", GREEN),
        false => Cell::painted("FAILED", RED),
    }
}

pub(super) fn cases(cases: &[Case], style: Style) -> String {
    let mut table = Table::new(["", "tried", "from -> to", "what came of it", "decided by"]);
    for case in cases {
        let lines: Vec<String> = case
            .decided_by
            .iter()
            .map(|line| format!("{}:{}  {}", line.file, line.line, line.text))
            .collect();
        let first = lines
            .first()
            .cloned()
            .unwrap_or_else(|| "no line's counter went up".to_owned());
        table.row([
            mark(case.as_expected()),
            Cell::text(&case.tried),
            Cell::text(&format!("{} -> {}", case.from, case.to)),
            Cell::text(&case.detail),
            Cell::text(&first),
        ]);
        for line in lines.iter().skip(1) {
            let blank = || Cell::text("");
            table.row([blank(), blank(), blank(), blank(), Cell::text(line)]);
        }
        if !case.as_expected() {
            let wanted = format!(
                "expected: {:?} by a line \"{} …\"",
                case.expected, case.expected_line
            );
            let blank = || Cell::text("");
            table.row([blank(), blank(), blank(), Cell::text(&wanted), blank()]);
        }
    }
    table.render(style)
}

fn figures(ours: &Figures, debian: Option<&Figures>, style: Style) -> String {
    let mut table = Table::new(["", "firewalldom", "Debian PV guest"]);
    table.right_align_from(1);
    let mut row = |name: &str, value: &dyn Fn(&Figures) -> String| {
        let theirs = debian.map_or_else(|| "not measured".to_owned(), value);
        table.row([
            Cell::text(name),
            Cell::text(&value(ours)),
            Cell::text(&theirs),
        ]);
    };
    row("kernel=", &|figures| bytes(figures.kernel_bytes));
    row("ramdisk=", &|figures| bytes(figures.ramdisk_bytes));
    row("memory=", &|figures| format!("{} MiB", figures.memory_mib));
    row("start of xl create to first forwarded packet", &|figures| {
        seconds(figures.first_packet)
    });
    row("  of this, xl create itself", &|figures| {
        seconds(figures.xl_create)
    });
    for (index, stream) in ours.throughput.iter().enumerate() {
        row(
            &format!("iperf3 TCP, {} -> {}", stream.from, stream.to),
            &|figures| {
                figures
                    .throughput
                    .get(index)
                    .map_or_else(String::new, |stream| {
                        format!("{:.0} Mbit/s", stream.megabits_per_second)
                    })
            },
        );
        row("  domain's CPU time for each GB", &|figures| {
            let cpu = figures
                .throughput
                .get(index)
                .and_then(Throughput::cpu_seconds_per_gigabyte);
            cpu.map_or_else(String::new, |cpu| format!("{cpu:.1} s"))
        });
    }
    table.render(style)
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} bytes"),
        10_240..10_485_760 => format!("{} KiB", count.div_ceil(1024)),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

struct Cell {
    text: String,
    colour: Option<&'static str>,
}

impl Cell {
    fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            colour: None,
        }
    }

    fn painted(text: &str, colour: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            colour: Some(colour),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Columns as wide as their widest cell, two blanks apart.
struct Table<const N: usize> {
    rows: Vec<[Cell; N]>,
    first_right_aligned: usize,
}

impl<const N: usize> Table<N> {
    fn new(heads: [&str; N]) -> Self {
        let rows = vec![heads.map(|head| Cell::painted(head, BOLD))];
        Self {
            rows,
            first_right_aligned: N,
        }
    }

    fn right_align_from(&mut self, column: usize) {
        self.first_right_aligned = column;
    }

    fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    fn render(&self, style: Style) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let padding = " ".repeat(width - cell.width());
                let text = match cell.colour {
                    Some(colour) if !cell.text.is_empty() => style.paint(colour, &cell.text),
                    _ => cell.text.clone(),
                };
                let gap = if column == 0 { "" } else { "  " };
                let cell = if column >= self.first_right_aligned {
                    format!("{gap}{padding}{text}")
                } else {
                    format!("{gap}{text}{padding}")
                };
                line.push_str(&cell);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::super::report::samples::{case, report};
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["a", "b"]);
        table.right_align_from(1);
        table.row([Cell::text("long name"), Cell::text("5")]);
        table.row([Cell::text("ñ"), Cell::text("5,000")]);
        assert_eq!(
            table.render(Style::Plain),
            "a              b\nlong name      5\nñ          5,000\n"
        );
    }

    #[test]
    fn a_good_run_reads_at_a_glance() {
        let text = render(&report(), Style::Plain);
        assert!(text.contains(
            "ok  TCP to port 25  loc -> net  refused after 1.4 ms  shorewall/rules:14  REJECT loc net tcp 25"
        ), "{text}");
        assert!(
            text.contains("All as expected. Consoles and logs: target/lab/runs/1"),
            "{text}"
        );
        assert!(text.contains("200 KiB"), "{text}");
        assert!(text.contains("0.61 s"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_bad_case_says_what_was_expected() {
        let mut bad = report();
        bad.cases.push(case(
            Outcome::Dropped,
            Outcome::Rejected,
            "REJECT loc net tcp 25",
        ));
        let text = render(&bad, Style::Plain);
        assert!(text.contains("FAILED"), "{text}");
        assert!(
            text.contains("expected: Rejected by a line \"REJECT loc …\""),
            "{text}"
        );
        assert!(
            text.contains("1 of 2 did not come out as expected."),
            "{text}"
        );
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let plain = render(&report(), Style::Plain);
        let mut coloured = render(&report(), Style::Colour);
        for code in [GREEN, RED, BOLD, RESET] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(plain, coloured);
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!(bytes(712), "712 bytes");
        assert_eq!(bytes(204_801), "201 KiB");
        assert_eq!(bytes(42_000_000), "40.1 MiB");
    }
}
