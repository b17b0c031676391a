//! The figures that the project is judged by: what each is, how it follows from the samples, and
//! what was asked of it.

use serde::{Deserialize, Serialize};

use super::Benchmark;
use super::samples::{Samples, System};

mod netdom;
mod table;

/// Packets each second at which both systems are compared.
pub const COMPARED_RATE: u32 = 20_000;

/// The same over a driver domain's wire, which is emulated.
pub const WIRE_RATE: u32 = 5_000;

/// MiB of memory that the driver domain is to serve so many vifs with.
pub const CROWDS: [(u32, u32); 2] = [(8, 16), (16, 64)];

/// The middle and the ends of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub samples: usize,
}

impl Spread {
    /// `None` without samples.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let (min, max) = (*samples.first()?, *samples.last()?);
        let middle = samples.len() / 2;
        let median = if samples.len().is_multiple_of(2) {
            f64::midpoint(samples[middle - 1], samples[middle])
        } else {
            samples[middle]
        };
        Some(Self {
            min: rounded(min),
            median: rounded(median),
            max: rounded(max),
            samples: samples.len(),
        })
    }
}

/// Six digits behind the point: no figure is known better, and a file reads the better.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// KiB of memory.
    Kibibytes,
    /// MiB of memory.
    Mebibytes,
    /// 10⁶ bytes a second.
    MegabytesPerSecond,
    /// Seconds.
    Seconds,
    /// Megabits a second.
    Megabits,
    /// CPU seconds for each 10⁹ bytes.
    CpuPerGigabyte,
    /// Packets in a hundred.
    Percent,
    /// Microseconds.
    Microseconds,
    /// Guests.
    Guests,
    /// A plain number.
    Count,
}

impl Unit {
    /// Its name behind a number, with the blank between.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Bytes => " bytes",
            Self::Kibibytes => " KiB",
            Self::Mebibytes => " MiB",
            Self::MegabytesPerSecond => " MB/s",
            Self::Seconds | Self::CpuPerGigabyte => " s",
            Self::Megabits => " Mbit/s",
            Self::Percent => " %",
            Self::Microseconds => " µs",
            Self::Guests => " guests",
            Self::Count => "",
        }
    }

    /// A number of it as people write it.
    pub fn number(self, value: f64) -> String {
        match self {
            Self::Bytes | Self::Kibibytes => grouped(value),
            Self::Mebibytes | Self::Megabits | Self::Guests => format!("{value:.0}"),
            Self::Seconds | Self::CpuPerGigabyte => format!("{value:.2}"),
            Self::MegabytesPerSecond if value < 1.0 => format!("{value:.3}"),
            Self::Microseconds | Self::MegabytesPerSecond => format!("{value:.1}"),
            Self::Percent if value == 0.0 => "0".to_owned(),
            Self::Percent => format!("{value:.3}"),
            Self::Count if value >= 100.0 => grouped(value),
            Self::Count => format!("{value:.3}"),
        }
    }
}

/// A whole number with a comma before each three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The median, at most so much.
    AtMost(f64),
    /// The median, at least so much.
    AtLeast(f64),
    /// A median of 0: in single runs the emulated machine itself may be held up.
    Zero,
    /// The ratio of the medians, ours to Debian's, at most one in so many.
    OneIn(f64),
    /// The ratio of the medians, ours to Debian's, at least this.
    RatioAtLeast(f64),
    /// The same, at most this.
    RatioAtMost(f64),
    /// Nothing: shown because it explains others.
    None,
}

/// How a figure stands to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Reached.
    Pass,
    /// Not reached.
    Miss,
    /// Nothing was asked.
    NoTarget,
    /// There are no samples to tell by.
    NotMeasured,
}

/// One of the figures.
#[derive(Clone, Copy)]
pub struct Figure {
    /// Its name in files.
    pub id: &'static str,
    /// The benchmark whose samples it is made of.
    pub benchmark: Benchmark,
    /// What it is.
    pub title: &'static str,
    /// In what.
    pub unit: Unit,
    /// What was asked.
    pub target: Target,
    /// Its picture of bars, shared with others of the same unit.
    pub picture: &'static str,
    /// The samples of one system.
    pub values: Values,
}

/// What the samples of one system say.
type Values = fn(&Samples, System) -> Vec<f64>;

/// A figure with what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// [`Figure::id`].
    pub figure: String,
    /// Ours.
    pub ours: Option<Spread>,
    /// The Debian guest's.
    pub debian: Option<Spread>,
    /// The median of ours for one of Debian's.
    pub ratio: Option<f64>,
    /// How it stands to its target.
    pub verdict: Verdict,
}

/// All figures, in the order of the page.
pub fn figures() -> impl Iterator<Item = &'static Figure> {
    table::FIGURES.iter().chain(netdom::FIGURES)
}

impl Figure {
    /// What the samples say.
    pub fn measured(&self, samples: &Samples) -> Measured {
        let systems = self.benchmark.systems();
        let [ours, theirs] = systems.map(|system| Spread::of((self.values)(samples, system)));
        let ratio = match (ours, theirs) {
            (Some(ours), Some(theirs)) if theirs.median > 0.0 => {
                Some(rounded(ours.median / theirs.median))
            }
            _ => None,
        };
        Measured {
            figure: self.id.to_owned(),
            ours,
            debian: theirs,
            ratio,
            verdict: self.target.verdict(ours, ratio),
        }
    }

    /// Every figure of every benchmark, measured or not.
    pub fn all_measured(samples: &Samples) -> Vec<Measured> {
        figures().map(|figure| figure.measured(samples)).collect()
    }
}

impl Target {
    pub(super) fn verdict(self, ours: Option<Spread>, ratio: Option<f64>) -> Verdict {
        let reached = match self {
            Self::None => None,
            Self::AtMost(limit) => ours.map(|ours| ours.median <= limit),
            Self::AtLeast(limit) => ours.map(|ours| ours.median >= limit),
            Self::Zero => ours.map(|ours| ours.median == 0.0),
            Self::OneIn(parts) => ratio.map(|ratio| ratio <= 1.0 / parts),
            Self::RatioAtLeast(limit) => ratio.map(|ratio| ratio >= limit),
            Self::RatioAtMost(limit) => ratio.map(|ratio| ratio <= limit),
        };
        match (self, reached) {
            (_, Some(true)) => Verdict::Pass,
            (_, Some(false)) => Verdict::Miss,
            (Self::None, None) if ours.is_some() => Verdict::NoTarget,
            (_, None) => Verdict::NotMeasured,
        }
    }

    /// The target in words.
    pub fn text(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}{}", unit.number(limit), unit.suffix()),
            Self::AtLeast(limit) => format!("≥ {}{}", unit.number(limit), unit.suffix()),
            Self::Zero => "none, in the median run".to_owned(),
            Self::OneIn(parts) => format!("≤ 1/{parts:.0} of Debian's"),
            Self::RatioAtLeast(limit) => format!("≥ {limit:.2} of Debian's"),
            Self::RatioAtMost(limit) => format!("≤ {limit:.2} of Debian's"),
            Self::None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
