//! The engine's section of the page, and its pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Engine, Figure, Rules, System};
use crate::bench::chart::{self, Axis, Curve};
use crate::bench::figure::{Spread, Unit};
use crate::bench::samples;

/// New flows that a picture is of.
struct Picture {
    /// Of a sample.
    picoseconds: fn(&Rules) -> u64,
    /// In that among fewest rules.
    times: fn(&Rules) -> f64,
    file: &'static str,
    title: &'static str,
}

const PICTURES: [Picture; 2] = [
    Picture {
        picoseconds: |sample| sample.last_rule_ps,
        times: |sample| sample.last_rule_times,
        file: "engine-last-rule",
        title: "a new flow that the last rule decides",
    },
    Picture {
        picoseconds: |sample| sample.no_rule_ps,
        times: |sample| sample.no_rule_times,
        file: "engine-no-rule",
        title: "a new flow that no rule decides",
    },
];

/// A row of the table.
struct Row {
    title: String,
    target: String,
    firewalldom: Option<Spread>,
    linux: Option<Spread>,
    unit: &'static str,
    /// `None`: that of the medians.
    ratio: Option<f64>,
    /// `None`: nothing to compare with.
    reached: Option<bool>,
}

/// What is asked: at most this part of Linux' cost, for so many flows.
const ESTABLISHED: [(u32, &str, f64); 3] = [
    (1, "1 flow", 20.0),
    (1 << 16, "65,536 flows", 20.0),
    (1 << 20, "1,048,576 flows", 10.0),
];

/// New flows each second, in Linux'.
const NEW_TIMES: f64 = 10.0;
const INSTRUCTIONS_MOST: u64 = 300;
const FLOW_BYTES_MOST: f64 = 96.0;
/// Of the rate of new flows, in a hundred.
const BLACKLIST_KEEPS: f64 = 90.0;
/// Seconds.
const LOAD_MOST_S: f64 = 1.0;
/// What 100,000 rules may cost in what 10 do.
const RULES_TIMES: f64 = 2.0;

fn spread(engine: &Engine, figure: Figure, system: System, flows: u32) -> Option<Spread> {
    let samples = engine.packets.iter().filter(|sample| {
        (sample.figure, sample.system) == (figure, system)
            && (figure != Figure::Established || sample.flows == flows)
    });
    let value = |sample: &super::Packet| match figure {
        Figure::FlowBytes => sample.value as f64,
        Figure::Established => sample.value as f64 / 1e3,
        // Of so many picoseconds each.
        Figure::New | Figure::NewListed => 1e12 / sample.value.max(1) as f64,
        // Of picoseconds.
        Figure::LoadListed => sample.value as f64 / 1e12,
    };
    Spread::of(samples.map(value).collect())
}

fn rows(engine: &Engine) -> Vec<Row> {
    let both = |figure, flows| {
        (
            spread(engine, figure, System::Firewalldom, flows),
            spread(engine, figure, System::Linux, flows),
        )
    };
    let medians = |ours: Option<Spread>, other: Option<Spread>| Some((ours?.median, other?.median));
    let mut rows = Vec::new();
    for (flows, words, part) in ESTABLISHED {
        let (firewalldom, linux) = both(Figure::Established, flows);
        rows.push(Row {
            title: format!(
                "rules, tracking and NAT of an established packet, {words} in random order"
            ),
            target: format!("1/{part} of Linux'"),
            firewalldom,
            linux,
            unit: " ns",
            ratio: None,
            reached: medians(firewalldom, linux).map(|(ours, other)| ours * part <= other),
        });
    }
    for one in &engine.instructions {
        let nat = match one.nat.as_str() {
            "nat" => "with NAT",
            _ => "without NAT",
        };
        rows.push(Row {
            title: format!(
                "the same, instructions: {}, {nat}",
                one.transport.to_uppercase()
            ),
            target: format!("at most {INSTRUCTIONS_MOST}"),
            firewalldom: Spread::of(vec![one.count as f64]),
            linux: None,
            unit: "",
            ratio: None,
            reached: Some(one.count <= INSTRUCTIONS_MOST),
        });
    }
    let (firewalldom, linux) = both(Figure::New, 0);
    let ratio = new_times(engine);
    rows.push(Row {
        title: "new flows each second".to_owned(),
        target: format!("{NEW_TIMES} times Linux'"),
        firewalldom,
        linux,
        unit: "/s",
        ratio,
        reached: ratio.map(|ratio| ratio >= NEW_TIMES),
    });
    let kept = engine.blacklists.iter();
    let kept = Spread::of(kept.map(|one| 100.0 / one.times).collect());
    rows.push(Row {
        title: "of that rate kept with 17,567 blrules".to_owned(),
        target: format!("{BLACKLIST_KEEPS} %"),
        firewalldom: kept,
        linux: kept_by_linux(engine),
        unit: " %",
        ratio: None,
        reached: kept.map(|kept| kept.median >= BLACKLIST_KEEPS),
    });
    let (firewalldom, linux) = both(Figure::LoadListed, 0);
    rows.push(Row {
        title: "17,567 blrules: from the files to a firewall that has them".to_owned(),
        target: format!("at most {LOAD_MOST_S} s"),
        firewalldom,
        linux,
        unit: " s",
        ratio: None,
        reached: firewalldom.map(|took| took.median <= LOAD_MOST_S),
    });
    for Picture { times, title, .. } in PICTURES {
        let times = self::times(engine, times);
        rows.push(Row {
            title: format!("{title}: 100,000 rules in 10"),
            target: format!("less than {RULES_TIMES} times"),
            firewalldom: times,
            linux: None,
            unit: " times",
            ratio: None,
            reached: times.map(|times| times.median < RULES_TIMES),
        });
    }
    let (firewalldom, linux) = both(Figure::FlowBytes, 0);
    rows.push(Row {
        title: "memory of a flow, NAT, both directions and index included".to_owned(),
        target: format!("at most {FLOW_BYTES_MOST} bytes"),
        firewalldom,
        linux,
        unit: " bytes",
        ratio: None,
        reached: firewalldom.map(|bytes| bytes.max <= FLOW_BYTES_MOST),
    });
    rows
}

/// Of its rate of new flows, in a hundred, what Linux keeps with a long blacklist: each sample of the
/// median without one.
fn kept_by_linux(engine: &Engine) -> Option<Spread> {
    let without = spread(engine, Figure::New, System::Linux, 0)?;
    let with = spread(engine, Figure::NewListed, System::Linux, 0)?;
    let part = |rate: f64| rate * 100.0 / without.median;
    Some(Spread {
        median: part(with.median),
        min: part(with.min),
        max: part(with.max),
        ..with
    })
}

/// The engine's new flows each second in Linux', of samples that are neighbours.
fn new_times(engine: &Engine) -> Option<f64> {
    let of = |system| {
        let all = engine.packets.iter();
        all.filter(move |one| (one.figure, one.system) == (Figure::New, system))
    };
    let pairs = of(System::Firewalldom).zip(of(System::Linux));
    let times = pairs.map(|(ours, other)| other.value as f64 / ours.value.max(1) as f64);
    Spread::of(times.collect()).map(|times| times.median)
}

/// What a new flow among most rules costs in one among fewest: the median run's of each kind of rules.
fn times(engine: &Engine, times: fn(&Rules) -> f64) -> Option<Spread> {
    let most = engine.rules.iter().map(|sample| sample.rules).max()?;
    let among_most = engine.rules.iter().filter(|sample| sample.rules == most);
    let mut seeds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for sample in among_most {
        seeds.entry(&sample.seed).or_default().push(times(sample));
    }
    let each = seeds.into_values().filter_map(Spread::of);
    Spread::of(each.map(|times| times.median).collect())
}

/// The section; nothing, when nothing was measured.
pub(in crate::bench) fn render(engine: Option<&Engine>) -> String {
    let mut out = String::new();
    if let Some(engine) = engine {
        // Writing to a String cannot fail.
        let _ = section(&mut out, engine);
    }
    out
}

const HOW: &str = "
## The engine, on the host

Not in Xen: the engine as a program, built as the appliance is, beside the kernel of the same machine,
one processor each. Both take the same frames: UDP datagrams of 64 bytes through
[`examples/two-interfaces`](../examples/two-interfaces), masqueraded, which real Shorewall compiles and
loads into network namespaces ([how](../firewalldom/oracle)).

The engine's time is that from headers in the cache to headers rewritten, checksum verified. Linux' is a
difference: two gateways with the same veth pairs and routes, one with Shorewall's rules (iptables-nft),
one without any, take the same frames in turn from a packet socket, whose `send` returns when the packet
has left by the other pair. What both do is left out, what only the first does is rules, tracking and NAT.
Flows come in random order; those of a new flow are one packet each. The memory of both is in large
pages, as the kernel's own is.

Processors change their speed from one moment to the next. So what is compared closely is timed in turn,
some ten milliseconds or more each, and the ratio is the median of those of neighbours: the engine's new
flows, 65,536 of them, and 8,192 of Linux'; new flows of firewalls with few rules and with many, or with a
blacklist and without, in one process, each with 16,384 flows before those that are timed, so that it
finds in the caches what it left there, not what another did.

What a blacklist of 17,567 lines leaves of the rate of new flows is that of flows that no line of it is
about; Linux' are fewer with `blrules` than without. Loading it is compiling the files and building tables;
of Linux, `shorewall compile` and `start`.

Rules for the curves are made as ClassBench makes them, of three kinds; a line on a point goes from the
best kind and run to the worst, and of the ratios the brackets hold the best kind and the worst.
Instructions are valgrind's.

";

fn section(out: &mut String, engine: &Engine) -> std::fmt::Result {
    out.push_str(HOW);
    writeln!(out, "| figure | target | engine | Linux | ratio | |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for row in rows(engine) {
        let said = |spread: Option<Spread>| spread.map_or(String::new(), |one| cell(one, row.unit));
        let ratio = row.ratio.or_else(|| {
            let (ours, other) = (row.firewalldom?, row.linux?);
            Some(ours.median / other.median)
        });
        let ratio = match ratio {
            Some(ratio @ ..1.0) => format!("1/{:.1}", 1.0 / ratio),
            Some(ratio) => format!("{ratio:.1}"),
            None => String::new(),
        };
        let verdict = match row.reached {
            Some(true) => "pass",
            Some(false) => "**miss**",
            None => "not measured",
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {ratio} | {verdict} |",
            row.title,
            row.target,
            said(row.firewalldom),
            said(row.linux)
        )?;
    }
    for Picture { file, title, .. } in PICTURES {
        writeln!(out, "\n![{title}](results/{file}.svg)")?;
    }
    for what in &engine.missing {
        writeln!(out, "\nNot measured: {what}.")?;
    }
    let one = &engine.conditions;
    writeln!(
        out,
        "\n{}, commit `{}`, {} runs; Linux {}, {}, {}. Load average {} before, {} after.",
        one.date,
        one.commit,
        one.runs,
        one.linux,
        one.processor,
        one.rustc,
        one.load_average[0],
        one.load_average[1]
    )
}

fn cell(spread: Spread, unit: &str) -> String {
    let number = |value: f64| match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => Unit::Bytes.number(value.round()),
    };
    let whole = |value: f64| match unit {
        "" | " bytes" => Unit::Bytes.number(value),
        _ => number(value),
    };
    match spread.samples {
        1 => format!("{}{unit}", whole(spread.median)),
        _ => format!(
            "{}{unit} ({} to {})",
            whole(spread.median),
            whole(spread.min),
            whole(spread.max)
        ),
    }
}

/// What it came to, for a terminal.
pub(in crate::bench) fn summary(engine: &Engine) -> String {
    let mut out = String::new();
    for row in rows(engine) {
        let verdict = match row.reached {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => continue,
        };
        let said = |spread: Option<Spread>| {
            spread.map_or_else(|| "-".to_owned(), |one| cell(one, row.unit))
        };
        let _ = writeln!(
            out,
            "{verdict}  {}: {}, Linux {}",
            row.title,
            said(row.firewalldom),
            said(row.linux)
        );
    }
    out
}

/// Names and contents of the pictures.
pub(in crate::bench) fn pictures(engine: &Engine) -> Vec<(String, String)> {
    let mut counts: Vec<u32> = engine.rules.iter().map(|sample| sample.rules).collect();
    counts.sort_unstable();
    counts.dedup();
    let picture = |picture: Picture| {
        let Picture {
            picoseconds,
            file,
            title,
            ..
        } = picture;
        let point = |&rules: &u32| {
            let own = engine.rules.iter().filter(|one| one.rules == rules);
            let spread = Spread::of(own.map(|one| picoseconds(one) as f64 / 1e3).collect())?;
            Some((f64::from(rules.max(1)).log10(), spread))
        };
        let curve = Curve {
            system: samples::System::Firewalldom,
            points: counts.iter().filter_map(point).collect(),
        };
        let x = Axis {
            label: "rules: 10 to the power of",
            unit: Unit::Bytes,
        };
        let y = Axis {
            label: "nanoseconds",
            unit: Unit::Bytes,
        };
        (format!("{file}.svg"), chart::curves(title, x, y, &[curve]))
    };
    PICTURES.into_iter().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Blacklist, Conditions, Instructions, Packet};
    use super::*;

    fn engine() -> Engine {
        let packet = |figure, system, flows, value| Packet {
            figure,
            system,
            flows,
            value,
        };
        let rules = |rules, last_rule_times, no_rule_times| Rules {
            seed: "acl".into(),
            rules,
            last_rule_ps: 400_000,
            no_rule_ps: 500_000,
            last_rule_times,
            no_rule_times,
        };
        Engine {
            conditions: Conditions {
                commit: "0".into(),
                date: "2026-01-01T00:00:00Z".into(),
                runs: 1,
                rustc: "rustc".into(),
                linux: "6.1".into(),
                processor: "2 × some".into(),
                load_average: [0.5, 1.5],
            },
            packets: vec![
                packet(Figure::Established, System::Firewalldom, 1, 50_000),
                packet(Figure::Established, System::Linux, 1, 1_000_000),
                packet(Figure::Established, System::Firewalldom, 65_536, 60_000),
                packet(Figure::Established, System::Linux, 65_536, 1_000_000),
                packet(Figure::New, System::Firewalldom, 65_536, 400_000),
                packet(Figure::New, System::Linux, 65_536, 4_000_000),
                packet(Figure::New, System::Firewalldom, 65_536, 800_000),
                packet(Figure::New, System::Linux, 65_536, 9_000_000),
                // Something held it up: that is one of three.
                packet(Figure::New, System::Firewalldom, 65_536, 1_000_000),
                packet(Figure::New, System::Linux, 65_536, 4_000_000),
                packet(Figure::NewListed, System::Linux, 4096, 200_000_000),
                packet(Figure::LoadListed, System::Firewalldom, 0, 500_000_000_000),
                packet(Figure::LoadListed, System::Linux, 0, 199_000_000_000_000),
                packet(Figure::FlowBytes, System::Firewalldom, 65_536, 96),
                packet(Figure::FlowBytes, System::Linux, 65_536, 256),
            ],
            rules: vec![rules(10, 1.0, 1.0), rules(100_000, 1.75, 2.0)],
            blacklists: vec![Blacklist {
                lines: 17_567,
                without_ps: 90_000,
                with_ps: 110_000,
                times: 1.0 / 0.9,
                load_us: 30_000,
            }],
            instructions: vec![Instructions {
                transport: "tcp".into(),
                nat: "nat".into(),
                count: 301,
            }],
            missing: vec!["something".into()],
        }
    }

    #[test]
    fn each_target_is_reached_or_missed_by_its_samples() {
        let page = render(Some(&engine()));
        let row = |title: &str| {
            let found = page.lines().find(|line| line.contains(title));
            found
                .unwrap_or_else(|| panic!("{title}: {page}"))
                .to_owned()
        };
        assert!(row("packet, 1 flow").ends_with("| 50.0 ns | 1,000 ns | 1/20.0 | pass |"));
        assert!(row("packet, 65,536 flows").ends_with("| 1/16.7 | **miss** |"));
        assert!(row("packet, 1,048,576 flows").ends_with("| not measured |"));
        assert!(row("instructions: TCP, with NAT").contains("| 301 |"));
        assert!(row("instructions: TCP, with NAT").ends_with("| **miss** |"));
        assert!(row("new flows each second").ends_with("| 10.0 | pass |"));
        assert!(row("kept with 17,567 blrules").ends_with("| 90.0 % | 2.00 % | 45.0 | pass |"));
        assert!(row("blrules: from the files").ends_with("| 0.50 s | 199 s | 1/398.0 | pass |"));
        assert!(row("the last rule decides: 100,000").contains("| 1.75 times |"));
        assert!(row("no rule decides: 100,000").ends_with("| **miss** |"));
        assert!(row("memory of a flow").ends_with("| 96 bytes | 256 bytes | 1/2.7 | pass |"));
        assert!(page.contains("Not measured: something."));
    }

    #[test]
    fn the_pictures_are_those_on_the_page() {
        let page = render(Some(&engine()));
        let pictures = pictures(&engine());
        for (name, svg) in &pictures {
            assert!(page.contains(&format!("](results/{name})")), "{name}");
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{name}");
        }
        assert_eq!(page.matches(".svg)").count(), pictures.len());
        assert!(render(None).is_empty());
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = engine().text().unwrap();
        assert_eq!(serde_json::from_str::<Engine>(&text).unwrap(), engine());
    }
}
