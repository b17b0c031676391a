//! `docs/results.md`, made of the samples and nothing else.

use std::fmt::Write as _;

use super::Benchmark;
use super::chart::{self, Axis, Curve, Group};
use super::engine;
use super::figure::{self, Figure, Measured, Spread, Unit, Verdict};
use super::record::Record;
use super::samples::{Packets, System};
use super::{Results, stub};

const HEAD: &str = "\
<!-- Written by `cargo image bench` from the samples in results/*.json: a test compares. -->

# Results

Figures of this project with what was asked of them, of an emulated machine: real Xen with a real
dom0 in QEMU, without hardware help. That is ten to fifty times slower than hardware, and not evenly
so: **compare the two systems, not these numbers with those of other machines.** What counts is the
ratio, and what does not depend on the machine: bytes, hypercalls, instructions.

The other system is a Debian PV guest in the firewall's very place: Debian's kernel with one vCPU, the
same vifs on the same bridges with their default offloads, the same `tsc_mode` and weight, and the
rules that Debian's own Shorewall makes of the same folder,
[`examples/two-interfaces`](../examples/two-interfaces). It boots from an initrd that holds nothing but
what routes ([its init](../qemu-tests/src/dom0/router.sh)). Both are measured in one boot, in turn, and
who is first changes from run to run. Figures are medians; behind them in brackets the smallest and the
largest sample. A ratio is that of the medians.

To measure yourself, on a machine that does nothing else:

    cargo image bench                    # Debian 12's Xen and Linux
    cargo image bench --suite trixie     # Debian 13's
    cargo image bench --only guests      # guests behind the firewall, beside guests behind Debian
    cargo image bench --only stub        # a guest's device model: stubdom beside QEMU in dom0
    cargo image bench --only netdom      # the driver domain with a card, beside Debian's with another
    cargo image bench --only engine      # the engine beside the host's Linux: no Xen, a few minutes

This writes every sample to [`results/`](results), and this page from them.
";

const GUESTS: &str = "\
### Guests behind it

Guests whose vifs end in the firewall (`vif=['backend=…']`), and as many, just alike, whose vifs end in a Debian PV
guest: with Linux' netback and Xen's own `xl devd` and, in both, the rules of
[`qemu-tests/sites/gateway`](../qemu-tests/sites/gateway), which Debian's Shorewall compiles for the one. Its
hotplug script does what Xen's `vif-route` does ([it](../qemu-tests/src/dom0/vif-router.sh)). All of it is there in one boot, and measured in
turn. TCP is between Debian guests, and between one of them and a network of dom0's; small packets are sent and
counted by [guests of our own](../qemu-tests/guests), which cost so little that the gateway is what limits.";

const NETDOM: &str = "\
### The driver domain

netdom with a network card, and a Debian PV guest with another of the same model (an emulated Intel 82574L): Linux'
e1000e, a bridge with the card on it, netback and Xen's own `xl devd`, from an initrd that holds nothing else
([its init](../qemu-tests/src/dom0/driver.sh)). Behind each are two Debian guests, just alike. All of it is there in one
boot, and measured in turn. At the far end of each card's cable are QEMU's user network, for TCP, and for small packets
the program that measures, as one more host. An emulated wire is slow: of what passes there throughput is told and CPU
time judged. Small packets are sent and counted by [guests of our own](../qemu-tests/guests). The first reply is what
such a guest gets that is created as soon as the driver domain says that it is ready; neither was there before.";

/// Benchmarks with a section of their own, which is there when they were measured.
const SECTIONS: [(Benchmark, &str); 2] = [(Benchmark::Guests, GUESTS), (Benchmark::Netdom, NETDOM)];

/// The whole page.
pub fn render(results: &Results) -> String {
    let Results {
        suites,
        engine,
        stubs,
    } = results;
    let mut out = HEAD.to_owned();
    if suites.is_empty() && engine.is_none() && stubs.is_empty() {
        out.push_str("\nNothing has been measured yet.\n");
    }
    for record in suites {
        // Writing to a String cannot fail.
        let _ = suite(&mut out, record);
    }
    out.push_str(&stub::render(stubs));
    out.push_str(&engine::render(engine.as_ref()));
    out
}

/// What a run came to, for a terminal.
pub fn summary(record: &Record) -> String {
    let mut out = String::new();
    for (figure, measured) in figure::figures().zip(record.figures()) {
        let verdict = match measured.verdict {
            Verdict::Pass => "pass",
            Verdict::Miss => "MISS",
            Verdict::NoTarget => "    ",
            Verdict::NotMeasured => continue,
        };
        let said =
            |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |one| cell(figure, one));
        let _ = writeln!(
            out,
            "{verdict}  {}: {}, Debian {}",
            figure.title,
            said(measured.ours),
            said(measured.debian)
        );
    }
    out
}

fn suite(out: &mut String, record: &Record) -> std::fmt::Result {
    let name = match record.suite.as_str() {
        "bookworm" => "Debian 12",
        "trixie" => "Debian 13",
        other => other,
    };
    let figures = record.figures();
    writeln!(out, "\n## {name}")?;
    if let Some(one) = record.conditions.values().next() {
        writeln!(out, "\nXen {}, Linux {}.", one.xen, one.linux)?;
    }
    let is_shown = |figure: &Figure| {
        !figure.benchmark.is_apart() || record.conditions.contains_key(&figure.benchmark)
    };
    let count = |verdict| {
        let shown = figure::figures().zip(&figures);
        let shown = shown.filter(|(figure, _)| is_shown(figure));
        shown.filter(|(_, one)| one.verdict == verdict).count()
    };
    writeln!(
        out,
        "\n{} targets reached, {} missed, {} not measured.\n",
        count(Verdict::Pass),
        count(Verdict::Miss),
        count(Verdict::NotMeasured)
    )?;
    let systems = System::BOTH;
    table(out, systems, &figures, |benchmark| !benchmark.is_apart())?;
    for (apart, text) in SECTIONS {
        if record.conditions.contains_key(&apart) {
            writeln!(out, "\n{text}\n")?;
            table(out, apart.systems(), &figures, |benchmark| {
                benchmark == apart
            })?;
        }
    }
    for picture in names_of_pictures(record) {
        writeln!(
            out,
            "\n![{}](results/{}-{picture}.svg)",
            picture.replace('-', " "),
            record.suite
        )?;
    }
    rates(out, record)?;
    conditions(out, record)?;
    configurations(out, record)
}

fn table(
    out: &mut String,
    [ours, theirs]: [System; 2],
    figures: &[Measured],
    is_in: impl Fn(Benchmark) -> bool,
) -> std::fmt::Result {
    writeln!(
        out,
        "| figure | target | {} | {} | ratio | |",
        ours.name(),
        theirs.name()
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (figure, measured) in figure::figures().zip(figures) {
        if !is_in(figure.benchmark) {
            continue;
        }
        let cell = |spread: Option<Spread>| spread.map_or(String::new(), |one| cell(figure, one));
        let ratio = measured.ratio.map_or(String::new(), |ratio| match ratio {
            0.0 => "0".to_owned(),
            ..0.3 => format!("1/{:.1}", 1.0 / ratio),
            _ => format!("{ratio:.2}"),
        });
        let verdict = match measured.verdict {
            Verdict::Pass => "pass",
            Verdict::Miss => "**miss**",
            Verdict::NoTarget => "",
            Verdict::NotMeasured => "not measured",
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {ratio} | {verdict} |",
            figure.title,
            figure.target.text(figure.unit),
            cell(measured.ours),
            cell(measured.debian),
        )?;
    }
    Ok(())
}

/// The median, and the ends where there is more than one sample.
fn cell(figure: &Figure, spread: Spread) -> String {
    let unit = figure.unit;
    let median = format!("{}{}", unit.number(spread.median), unit.suffix());
    match spread.samples {
        1 => median,
        _ => format!(
            "{median} ({} to {})",
            unit.number(spread.min),
            unit.number(spread.max)
        ),
    }
}

/// What each rate of small packets came to.
fn rates(out: &mut String, record: &Record) -> std::fmt::Result {
    let points = points(record, System::Firewalldom);
    if points.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n64-byte UDP packets of 16 established connections, sent by Linux' pktgen in dom0, from the inside \
         out and so with address translation. dom0 has one vCPU for the sender, both bridges and both \
         backends, so that what is lost at the higher rates may never have reached the domain.\n"
    )?;
    writeln!(
        out,
        "| asked for | system | sent | arrived | lost | CPU time for each | hypercalls for each |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for rate in rates_of(record) {
        for system in System::BOTH {
            let own = |of: &dyn Fn(&Packets) -> Option<f64>| {
                let samples = record.samples.packets.iter();
                let own =
                    samples.filter(|one| one.system == system && one.asked_per_second == rate);
                Spread::of(own.filter_map(of).collect()).map(|spread| spread.median)
            };
            let number = |unit: Unit, value: Option<f64>, suffix: &str| {
                value.map_or(String::new(), |value| {
                    format!("{}{suffix}", unit.number(value))
                })
            };
            writeln!(
                out,
                "| {}/s | {} | {} | {} | {} | {} | {} |",
                Unit::Bytes.number(f64::from(rate)),
                system.name(),
                number(
                    Unit::Bytes,
                    own(&|one| Some(one.offered_per_second())),
                    "/s"
                ),
                number(
                    Unit::Bytes,
                    own(&|one| Some(one.forwarded_per_second())),
                    "/s"
                ),
                number(Unit::Percent, own(&|one| Some(one.loss_percent())), " %"),
                number(Unit::Microseconds, own(&Packets::cpu_us_per_packet), " µs"),
                number(Unit::Count, own(&Packets::hypercalls_per_packet), ""),
            )?;
        }
    }
    Ok(())
}

/// When, on what and how quietly; benchmarks that share a run stand together.
fn conditions(out: &mut String, record: &Record) -> std::fmt::Result {
    writeln!(
        out,
        "\n| measured | when | commit | runs | others' share of the host | stolen |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let mut noisy = false;
    for benchmark in Benchmark::ALL {
        let Some(one) = record.conditions.get(&benchmark) else {
            continue;
        };
        noisy |= !one.load.is_quiet();
        writeln!(
            out,
            "| {} | {} | `{}` | {} | {} % | {} % |",
            benchmark.name(),
            one.date,
            one.commit,
            match one.repeated {
                0 => one.runs.to_string(),
                repeated => format!("{} ({repeated} failed and were repeated)", one.runs),
            },
            one.load.others_percent,
            one.load.steal_percent
        )?;
    }
    if noisy {
        writeln!(
            out,
            "\n**The machine was not quiet:** somebody else used its processors meanwhile. Figures of time \
             above are worth little."
        )?;
    }
    if let Some(one) = record.conditions.values().next() {
        writeln!(
            out,
            "\n{}, {}, Shorewall {}, on {}.",
            one.qemu, one.rustc, one.shorewall, one.processor
        )?;
    }
    Ok(())
}

fn configurations(out: &mut String, record: &Record) -> std::fmt::Result {
    if record.configurations.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n<details><summary>What <code>xl create</code> was given</summary>"
    )?;
    for (name, text) in &record.configurations {
        writeln!(out, "\n{name}:\n\n```python\n{text}```")?;
    }
    writeln!(out, "\n</details>")
}

/// Every picture of a suite: name and text.
pub fn pictures(record: &Record) -> Vec<(String, String)> {
    names_of_pictures(record)
        .into_iter()
        .map(|name| {
            let file = format!("{}-{name}.svg", record.suite);
            (file, picture(record, name))
        })
        .collect()
}

/// Curves over the rate of small packets: name, title, the axis, and what of a sample.
type OverRate = (
    &'static str,
    &'static str,
    Axis<'static>,
    fn(&Packets) -> Option<f64>,
);

const OVER_RATE: [OverRate; 4] = [
    (
        "forwarded",
        "64-byte packets: forwarded at each rate",
        Axis {
            label: "packets arrived each second",
            unit: Unit::Bytes,
        },
        |one| Some(one.forwarded_per_second()),
    ),
    (
        "loss-rates",
        "64-byte packets: lost at each rate",
        Axis {
            label: "lost packets in a hundred",
            unit: Unit::Percent,
        },
        |one| Some(one.loss_percent()),
    ),
    (
        "packet-cpu-rates",
        "64-byte packets: the domain's CPU time for each",
        Axis {
            label: "microseconds",
            unit: Unit::Microseconds,
        },
        Packets::cpu_us_per_packet,
    ),
    (
        "hypercalls-rates",
        "64-byte packets: hypercalls for each",
        Axis {
            label: "hypercalls for each packet forwarded",
            unit: Unit::Count,
        },
        Packets::hypercalls_per_packet,
    ),
];

/// Those for which there are samples, in the order of the page.
fn names_of_pictures(record: &Record) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (figure, measured) in figure::figures().zip(record.figures()) {
        let any = measured.ours.is_some() || measured.debian.is_some();
        if any && !names.contains(&figure.picture) {
            names.push(figure.picture);
        }
    }
    if !points(record, System::Firewalldom).is_empty() {
        names.extend(OVER_RATE.iter().map(|(name, ..)| *name));
    }
    names
}

fn picture(record: &Record, name: &str) -> String {
    if let Some((_, title, y, of)) = OVER_RATE.iter().find(|(known, ..)| *known == name) {
        let curves: Vec<Curve> = System::BOTH
            .into_iter()
            .map(|system| curve(record, system, *of))
            .filter(|curve| !curve.points.is_empty())
            .collect();
        let x = Axis {
            label: "packets sent each second",
            unit: Unit::Bytes,
        };
        return chart::curves(title, x, *y, &curves);
    }
    let own: Vec<(&Figure, Measured)> = figure::figures()
        .filter(|figure| figure.picture == name)
        .map(|figure| (figure, figure.measured(&record.samples)))
        .collect();
    let groups: Vec<Group<'_>> = own
        .iter()
        .map(|(figure, measured)| Group {
            label: figure.title,
            spreads: [measured.ours, measured.debian],
        })
        .collect();
    let unit = own.first().map_or(Unit::Count, |(figure, _)| figure.unit);
    let systems = own
        .first()
        .map_or(System::BOTH, |(figure, _)| figure.benchmark.systems());
    chart::bars(&name.replace('-', " "), unit, systems, &groups)
}

fn rates_of(record: &Record) -> Vec<u32> {
    let mut rates: Vec<u32> = record
        .samples
        .packets
        .iter()
        .map(|one| one.asked_per_second)
        .collect();
    rates.sort_unstable();
    rates.dedup();
    rates
}

fn points(record: &Record, system: System) -> Vec<u32> {
    let own = record
        .samples
        .packets
        .iter()
        .filter(|one| one.system == system);
    own.map(|one| one.asked_per_second).collect()
}

/// One point for each rate that was asked for, where it was really sent.
fn curve(record: &Record, system: System, of: fn(&Packets) -> Option<f64>) -> Curve {
    let mut points = Vec::new();
    for rate in rates_of(record) {
        let own = || {
            let all = record.samples.packets.iter();
            all.filter(|one| one.system == system && one.asked_per_second == rate)
        };
        let sent = Spread::of(own().map(Packets::offered_per_second).collect());
        let what = Spread::of(own().filter_map(of).collect());
        if let (Some(sent), Some(what)) = (sent, what) {
            points.push((sent.median, what));
        }
    }
    Curve { system, points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::samples::Start;

    fn record() -> Record {
        let mut record = Record::new("bookworm");
        for (system, first_packet_us) in [
            (System::Firewalldom, 2_000_000),
            (System::Debian, 22_000_000),
        ] {
            record.samples.starts.push(Start {
                system,
                run: 0,
                xl_create_us: 1_900_000,
                first_packet_us,
            });
            record.samples.packets.push(Packets {
                system,
                run: 0,
                asked_per_second: 20_000,
                sent: 80_000,
                sent_us: 4_000_000,
                received: 60_000,
                cpu_us: 1_000_000,
                hypercalls: None,
            });
        }
        record
    }

    fn of(record: Record) -> Results {
        Results {
            suites: vec![record],
            ..Results::default()
        }
    }

    #[test]
    fn a_missed_target_is_said_as_clearly_as_one_that_was_reached() {
        let page = render(&of(record()));
        let row = |title: &str| {
            let found = page.lines().find(|line| line.contains(title));
            found
                .unwrap_or_else(|| panic!("{title}: {page}"))
                .to_owned()
        };
        let first = row("| start of xl create to first forwarded packet");
        assert!(
            first.contains("| 2.00 s | 22.00 s | 1/11.0 | pass |"),
            "{first}"
        );
        assert!(row("at 20,000/s: lost").contains("| **miss** |"));
        assert!(row("iperf3 TCP from the inside out").contains("not measured"));
    }

    #[test]
    fn every_picture_on_the_page_is_made_and_the_other_way_round() {
        let record = record();
        let page = render(&of(record.clone()));
        let pictures = pictures(&record);
        for (name, svg) in &pictures {
            assert!(page.contains(&format!("](results/{name})")), "{name}");
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{name}");
        }
        assert_eq!(page.matches(".svg)").count(), pictures.len());
    }

    #[test]
    fn a_page_without_results_says_so() {
        assert!(render(&Results::default()).contains("Nothing has been measured yet"));
    }
}
