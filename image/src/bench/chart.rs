//! Pictures as SVG text: bars and curves, the same bytes for the same samples, readable on a light
//! and on a dark page.

use std::fmt::Write as _;

use super::figure::{Spread, Unit};
use super::samples::System;

/// Width of every picture, in pixels.
const WIDTH: f64 = 760.0;

/// A bar for each system that has one.
pub struct Group<'a> {
    /// What they are of.
    pub label: &'a str,
    /// In the order of the systems.
    pub spreads: [Option<Spread>; 2],
}

/// A line through the medians of one system's samples.
pub struct Curve {
    /// Whose.
    pub system: System,
    /// Where, from left to right, and how much.
    pub points: Vec<(f64, Spread)>,
}

/// What an axis counts.
#[derive(Clone, Copy)]
pub struct Axis<'a> {
    /// In words.
    pub label: &'a str,
    /// In what unit its numbers are.
    pub unit: Unit,
}

const STYLE: &str = "\
<style>
.page{fill:#ffffff}
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:15px}
.quiet{fill:#59636e;font-size:12px}
.grid{stroke:#d1d9e0;stroke-width:1}
.firewalldom{fill:#0969da;stroke:#0969da}
.debian{fill:#c4432b;stroke:#c4432b}
.line{fill:none;stroke-width:2}
.range{stroke:#1f2328;stroke-width:1.5}
@media (prefers-color-scheme:dark){
.page{fill:#0d1117}
text{fill:#e6edf3}
.quiet{fill:#9198a1}
.grid{stroke:#3d444d}
.firewalldom{fill:#4493f8;stroke:#4493f8}
.debian{fill:#f0883e;stroke:#f0883e}
.range{stroke:#e6edf3}
}
</style>
";

fn class(system: System) -> &'static str {
    match system {
        // Never beside each other: the colour of ours.
        System::Firewalldom | System::Netdom => "firewalldom",
        System::Debian => "debian",
    }
}

/// Bars of medians, with a line from the smallest to the largest sample.
pub fn bars(title: &str, unit: Unit, systems: [System; 2], groups: &[Group<'_>]) -> String {
    const LEFT: f64 = 150.0;
    const RIGHT: f64 = 190.0;
    let largest = groups
        .iter()
        .flat_map(|group| group.spreads.iter().flatten())
        .fold(0.0_f64, |largest, spread| largest.max(spread.max));
    let scale = (WIDTH - LEFT - RIGHT) / if largest > 0.0 { largest } else { 1.0 };
    let mut body = String::new();
    let mut y = 40.0;
    for group in groups {
        y += 22.0;
        text(&mut body, (16.0, y), "", group.label);
        y += 8.0;
        for (system, spread) in systems.into_iter().zip(group.spreads) {
            let Some(Spread {
                min,
                median,
                max,
                samples,
            }) = spread
            else {
                continue;
            };
            text(&mut body, (32.0, y + 14.0), "quiet", system.name());
            let width = (median * scale).max(1.0);
            // Writing to a String cannot fail.
            let _ = writeln!(
                body,
                "<rect class=\"{}\" x=\"{LEFT:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\"/>",
                class(system)
            );
            let mut said = format!("{}{}", unit.number(median), unit.suffix());
            let mut end = LEFT + width;
            if samples > 1 {
                let (from, to) = (LEFT + min * scale, LEFT + max * scale);
                segment(&mut body, "range", (from, y + 9.0), (to, y + 9.0));
                let _ = write!(said, " ({} to {})", unit.number(min), unit.number(max));
                end = end.max(to);
            }
            text(&mut body, (end + 8.0, y + 14.0), "", &said);
            y += 24.0;
        }
    }
    picture(title, y + 12.0, &body)
}

/// Curves through medians, with a line from the smallest to the largest sample of each.
pub fn curves(title: &str, x: Axis<'_>, y: Axis<'_>, curves: &[Curve]) -> String {
    const LEFT: f64 = 80.0;
    const RIGHT: f64 = 24.0;
    const TOP: f64 = 70.0;
    const HEIGHT: f64 = 240.0;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x_end = points().fold(0.0_f64, |end, (at, _)| end.max(*at));
    let y_end = points().fold(0.0_f64, |end, (_, spread)| end.max(spread.max));
    let (x_ticks, y_ticks) = (ticks(x_end), ticks(y_end));
    let (x_end, y_end) = (last(&x_ticks), last(&y_ticks));
    let at_x = |value: f64| LEFT + value / x_end * (WIDTH - LEFT - RIGHT);
    let at_y = |value: f64| TOP + HEIGHT - value / y_end * HEIGHT;

    let mut body = String::new();
    for tick in &y_ticks {
        let height = at_y(*tick);
        segment(&mut body, "grid", (LEFT, height), (WIDTH - RIGHT, height));
        let number = tick_text(y.unit, *tick);
        anchored(&mut body, (LEFT - 8.0, height + 4.0), "end", &number);
    }
    for tick in &x_ticks {
        let number = tick_text(x.unit, *tick);
        anchored(
            &mut body,
            (at_x(*tick), TOP + HEIGHT + 18.0),
            "middle",
            &number,
        );
    }
    text(&mut body, (16.0, TOP - 14.0), "quiet", y.label);
    anchored(
        &mut body,
        (WIDTH - RIGHT, TOP + HEIGHT + 38.0),
        "end",
        x.label,
    );
    let mut legend = WIDTH - RIGHT;
    for curve in curves.iter().rev() {
        let class = class(curve.system);
        let mut path = String::new();
        for (at, spread) in &curve.points {
            let (at, height) = (at_x(*at), at_y(spread.median));
            let _ = write!(path, "{at:.1},{height:.1} ");
            segment(
                &mut body,
                "range",
                (at, at_y(spread.min)),
                (at, at_y(spread.max)),
            );
            let _ = writeln!(
                body,
                "<circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"4\"/>"
            );
        }
        let _ = writeln!(
            body,
            "<polyline class=\"{class} line\" style=\"fill:none\" points=\"{}\"/>",
            path.trim_end()
        );
        anchored(&mut body, (legend, TOP - 14.0), "end", curve.system.name());
        legend -= 8.0 * curve.system.name().len() as f64;
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{legend:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\"/>",
            TOP - 25.0
        );
        legend -= 24.0;
    }
    picture(title, TOP + HEIGHT + 54.0, &body)
}

/// Round numbers from nothing to at least `end`, at most seven of them.
fn ticks(end: f64) -> Vec<f64> {
    let end = if end > 0.0 { end } else { 1.0 };
    let power = 10_f64.powf((end / 6.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| step * 6.0 >= end)
        .unwrap_or(end);
    let count = (end / step).ceil() as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

fn last(ticks: &[f64]) -> f64 {
    ticks.last().copied().unwrap_or(1.0)
}

/// A tick's number: no more digits behind the point than a round number has.
fn tick_text(unit: Unit, value: f64) -> String {
    if value.fract() == 0.0 {
        return Unit::Bytes.number(value);
    }
    let text = unit.number(value);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn picture(title: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    text(&mut head, (16.0, 28.0), "title", title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" width=\"{WIDTH:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n{STYLE}<rect class=\"page\" width=\"{WIDTH:.0}\" \
         height=\"{height:.0}\"/>\n{head}{body}</svg>\n",
        escaped(title)
    )
}

fn text(body: &mut String, (x, y): (f64, f64), class: &str, words: &str) {
    let class = match class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    let _ = writeln!(
        body,
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(words)
    );
}

fn anchored(body: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(
        body,
        "<text class=\"quiet\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(words)
    );
}

fn segment(body: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        body,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread {
            min: median / 2.0,
            median,
            max: median * 2.0,
            samples: 3,
        }
    }

    #[test]
    fn ticks_are_round_few_and_reach_the_end() {
        assert_eq!(
            ticks(80_000.0),
            [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0]
        );
        for end in [0.0, 0.07, 1.0, 3.3, 26.0, 99.0, 1e6] {
            let ticks = ticks(end);
            assert!(ticks.len() <= 8 && last(&ticks) >= end, "{end}: {ticks:?}");
        }
    }

    #[test]
    fn the_longer_bar_is_the_larger_figure_and_says_its_number() {
        let group = Group {
            label: "first <packet>",
            spreads: [Some(spread(1.0)), Some(spread(10.0))],
        };
        let svg = bars("start", Unit::Seconds, System::BOTH, &[group]);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"18\""))
            .filter_map(|line| {
                line.split("width=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        assert!((widths[0] * 10.0 - widths[1]).abs() < 1.0, "{widths:?}");
        assert!(svg.contains("first &lt;packet&gt;"));
        assert!(svg.contains("10.00 s (5.00 to 20.00)"));
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn a_curve_rises_where_the_figure_does() {
        let curve = Curve {
            system: System::Debian,
            points: vec![(5_000.0, spread(1.0)), (20_000.0, spread(3.0))],
        };
        let axis = |label| Axis {
            label,
            unit: Unit::Count,
        };
        let svg = curves("cpu", axis("x"), axis("y"), &[curve]);
        let heights: Vec<f64> = svg
            .lines()
            .filter_map(|line| line.split("cy=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert!(
            heights[0] > heights[1],
            "{heights:?}: SVG counts from the top"
        );
    }

    #[test]
    fn nothing_measured_is_still_a_picture() {
        assert!(bars("empty", Unit::Bytes, System::BOTH, &[]).ends_with("</svg>\n"));
        let axis = Axis {
            label: "",
            unit: Unit::Count,
        };
        assert!(!curves("empty", axis, axis, &[]).contains("NaN"));
    }
}
