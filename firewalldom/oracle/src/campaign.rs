//! Many configurations, much traffic: what differed, and what of that is meant.

use crate::bugs::Bug;
use crate::class::Class;
use crate::configuration::Configuration;
use crate::describe;
use crate::generate;
use crate::linux::Host;
use crate::shrink;
use crate::step::Step;
use crate::traffic::{Kind, Stations, sequence};
use crate::trial::{Comparison, Haste, Started, Trial};
use crate::wanted::{WANTED, Wanted, is_same_but_for_ports, is_stricter, wanted};
use anyhow::{Result, anyhow, bail};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

/// How much is tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where chance begins.
    pub seed: u64,
    /// Configurations that both sides must have run.
    pub configurations: usize,
    /// Frames that must have been sent, over all configurations.
    pub frames: usize,
    /// Kinds of traffic.
    pub kinds: Vec<Kind>,
    /// Configurations at once, one or more. What comes of each depends on `seed` and its number alone.
    pub jobs: usize,
}

/// Shrinking takes time; what a site shows after so many is seldom more telling.
const MOST_SHRUNK: usize = 12;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Configurations that both sides ran.
    pub configurations: usize,
    /// Configurations that Shorewall refused and ours did not.
    pub only_shorewall_refused: Vec<String>,
    /// Configurations that ours refused, in its words.
    pub refusals: Vec<String>,
    /// Sequences, by kind.
    pub sequences: BTreeMap<Kind, usize>,
    /// Frames that were sent into both.
    pub frames: usize,
    /// Frames that came out of Linux.
    pub outputs: usize,
    /// Wanted differences, by name.
    pub wanted: BTreeMap<&'static str, usize>,
    /// Everything else, one of each class.
    pub unexplained: Vec<Unexplained>,
}

/// A difference that nobody wants or knows.
#[derive(Clone, Debug)]
pub struct Unexplained {
    /// The site.
    pub configuration: Configuration,
    /// The smallest sequence that shows it.
    pub steps: Vec<Step>,
    /// The same in words, with what came out.
    pub text: String,
    /// What it shares with others.
    pub class: Class,
    /// How many sequences differed like this, in all configurations.
    pub count: usize,
    /// The fault that was seeded.
    pub bug: Option<Bug>,
}

/// What a sequence's differences are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There are none.
    None,
    /// Wanted ones, by their names.
    Explained(Vec<&'static str>),
    /// The number of the first difference that nobody wants.
    Unexplained(usize),
}

/// Sets the differences of a run apart. What follows a wanted one may be its consequence, as
/// long as the engine lets out nothing more than Linux, or the same by another port: one that the
/// packet holds in Linux which the engine dropped.
#[must_use]
pub fn judge(comparison: &Comparison) -> Finding {
    let mut meant = Vec::new();
    for (number, difference) in comparison.differences.iter().enumerate() {
        let frame = comparison.frames[difference.step].as_deref();
        let frame = frame.unwrap_or_default();
        if let Some(wanted) = wanted(frame, difference) {
            meant.push(wanted.name);
        } else if meant.is_empty()
            || !(is_stricter(difference) || is_same_but_for_ports(difference))
        {
            return Finding::Unexplained(number);
        }
    }
    match meant.is_empty() {
        true => Finding::None,
        false => Finding::Explained(meant),
    }
}

fn is_unexplained(comparison: &Comparison) -> bool {
    matches!(judge(comparison), Finding::Unexplained(_))
}

/// How often Linux is asked again where nothing but ports differ. Once in a while a port that it
/// chose by chance is in a range that some other rule names, and then seems to be that rule's.
const TRIES: usize = 4;

/// Takes the steps on both sides. Where something comes out that nobody can explain, Linux is asked
/// again, and waited for: what remains is a difference.
fn compare(trial: &mut Trial, steps: &[Step]) -> Result<Comparison> {
    let mut comparison = trial.compare(steps, Haste::Hasty)?;
    for _ in 0..TRIES {
        if !is_unexplained(&comparison) {
            break;
        }
        comparison = trial.compare(steps, Haste::Patient)?;
        if !comparison.differences.iter().all(is_same_but_for_ports) {
            break;
        }
    }
    // Linux may have counted what the engine drops on purpose, and have come to a limit: both are
    // tried without it.
    let meant = { comparison.differences.iter() }.filter(|difference| {
        let frame = comparison.frames[difference.step].as_deref();
        wanted(frame.unwrap_or_default(), difference).is_some()
    });
    let meant: Vec<usize> = meant.map(|difference| difference.step).collect();
    if !meant.is_empty() && is_unexplained(&comparison) {
        let mut without = steps.to_vec();
        for step in meant {
            without[step] = Step::Pause(0);
        }
        let again = trial.compare(&without, Haste::Patient)?;
        if !is_unexplained(&again) {
            return Ok(again);
        }
    }
    Ok(comparison)
}

/// Runs generated configurations; `progress` sees what came of them so far, in their order.
///
/// # Errors
/// When the oracle fails; differences are results.
pub fn run(host: &Host, plan: &Plan, progress: &mut dyn FnMut(&Summary)) -> Result<Summary> {
    let mut summary = Summary::default();
    let next = Mutex::new((0, Rng::with_seed(plan.seed)));
    // How many have been merged, or `usize::MAX` once there are enough.
    let merged = (Mutex::new(0usize), Condvar::new());
    let (results, received) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let (next, merged, results) = (&next, &merged, results.clone());
            scope.spawn(move || {
                loop {
                    let (number, mut rng) = {
                        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                        let number = next.0;
                        next.0 += 1;
                        (number, next.1.fork())
                    };
                    // Nobody runs far ahead of the slowest: what is not needed would be lost.
                    let ahead = merged.0.lock().unwrap_or_else(PoisonError::into_inner);
                    let done = merged.1.wait_while(ahead, |merged| {
                        number > merged.saturating_add(plan.jobs * 2)
                    });
                    if *done.unwrap_or_else(PoisonError::into_inner) == usize::MAX {
                        return;
                    }
                    let result = try_generated(host, plan, &mut rng);
                    if results.send((number, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut early = BTreeMap::new();
        let merge = |until: usize| {
            *merged.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
            merged.1.notify_all();
        };
        let mut wanted = 0;
        let outcome = loop {
            if summary.configurations >= plan.configurations && summary.frames >= plan.frames {
                break Ok(());
            }
            let Ok((number, result)) = received.recv() else {
                break Err(anyhow!("nobody runs configurations any more"));
            };
            early.insert(number, result);
            let mut failed = None;
            while let Some(result) = early.remove(&wanted) {
                wanted += 1;
                let is_enough =
                    summary.configurations >= plan.configurations && summary.frames >= plan.frames;
                match result {
                    Ok(_) if is_enough => {}
                    Ok(one) => {
                        summary.merge(one);
                        progress(&summary);
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            merge(wanted);
            if let Some(error) = failed {
                break Err(error);
            }
        };
        merge(usize::MAX);
        drop(received);
        outcome
    })?;
    Ok(summary)
}

/// What comes of one generated configuration.
fn try_generated(host: &Host, plan: &Plan, rng: &mut Rng) -> Result<Summary> {
    let share = plan.frames.div_ceil(plan.configurations.max(1));
    let mut summary = Summary::default();
    let configuration = generate::configuration(rng).configuration;
    summary.try_site(host, &configuration, rng, share, &plan.kinds)?;
    Ok(summary)
}

/// What a shell prints on Linux with this configuration.
///
/// # Errors
/// When the oracle or the command fails, or one side refuses the configuration.
pub fn shell(host: &Host, configuration: &Configuration, command: &str) -> Result<String> {
    let policy = configuration.compile()?.policy;
    let stations = Stations::of(configuration, &policy);
    match Trial::start(host, configuration, policy, stations.neighbours())? {
        Started::Running(mut trial) => trial.linux().shell(command),
        Started::OnlyShorewallRefuses(words) => bail!("Shorewall refuses it: {words}"),
    }
}

/// Looks for a seeded fault with at most so many frames: the smallest sequence that shows it.
///
/// # Errors
/// When the oracle fails, or one side refuses the configuration.
pub fn find(
    host: &Host,
    configuration: &Configuration,
    bug: Bug,
    frames: usize,
) -> Result<Option<Unexplained>> {
    let policy = configuration.compile()?.policy;
    let stations = Stations::of(configuration, &policy);
    let mut trial = match Trial::start(host, configuration, policy, stations.neighbours())? {
        Started::Running(trial) => trial,
        Started::OnlyShorewallRefuses(words) => bail!("Shorewall refuses it: {words}"),
    };
    trial.seed(Some(bug));
    let mut rng = Rng::with_seed(1);
    let mut sent = 0;
    while sent < frames {
        let sequence = sequence(&mut rng, &stations, &Kind::ALL);
        let comparison = compare(&mut trial, &sequence.steps)?;
        sent += comparison.frames.iter().flatten().count();
        // What differs without the fault as well does not show it.
        if let Finding::Unexplained(number) = judge(&comparison)
            && agrees(&mut trial, bug, &sequence.steps)?
        {
            let class = class(&trial, &sequence.steps, &comparison, number)?;
            let (steps, text) = explain(&mut trial, sequence.kind, &sequence.steps)?;
            return Ok(Some(Unexplained {
                configuration: configuration.clone(),
                steps,
                text,
                class,
                count: 1,
                bug: Some(bug),
            }));
        }
    }
    Ok(None)
}

/// Whether both sides agree about the steps once the fault is out, which is then put back.
fn agrees(trial: &mut Trial, bug: Bug, steps: &[Step]) -> Result<bool> {
    trial.seed(None);
    let comparison = compare(trial, steps)?;
    trial.seed(Some(bug));
    Ok(!is_unexplained(&comparison))
}

impl fmt::Display for Summary {
    /// As a section of Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} configurations, {} frames into both, {} out of Linux.\n",
            self.configurations, self.frames, self.outputs
        )?;
        let kinds = self.sequences.iter();
        let kinds: Vec<_> = kinds
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "Sequences: {}.\n", kinds.join(", "))?;
        let refused = self.only_shorewall_refused.len();
        writeln!(
            f,
            "Besides, {} configurations were refused by our compiler, and {refused} only by Shorewall.",
            self.refusals.len()
        )?;
        let mut reasons = BTreeMap::<_, usize>::new();
        for report in &self.refusals {
            // The first line says what, the others where.
            let reason = report.lines().next().unwrap_or_default();
            *reasons.entry(reason).or_default() += 1;
        }
        if !reasons.is_empty() {
            writeln!(f, "Ours said:\n")?;
            for (reason, count) in reasons {
                writeln!(f, "- {count} times: {reason}")?;
            }
        }
        writeln!(f)?;
        writeln!(
            f,
            "| wanted difference | times | what | reason |\n|---|---|---|---|"
        )?;
        for wanted in WANTED {
            let count = self.wanted.get(wanted.name).copied().unwrap_or(0);
            let Wanted {
                name, what, reason, ..
            } = wanted;
            writeln!(f, "| {name} | {count} | {what} | {reason} |")?;
        }
        let unexplained: usize = self.unexplained.iter().map(|found| found.count).sum();
        writeln!(f, "\nUnexplained differences: {unexplained}.")
    }
}

impl Unexplained {
    /// The smallest configuration in which its steps still differ without an explanation.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn shrink(&mut self, host: &Host) -> Result<()> {
        let steps = self.steps.clone();
        self.configuration = shrink::configuration(&self.configuration, |smaller| {
            let Ok(compiled) = smaller.compile() else {
                return Ok(false);
            };
            let links = compiled.policy.interfaces.len();
            let sent = steps.iter().filter_map(|step| match step {
                Step::Send { link, .. } => Some(usize::from(*link)),
                _ => None,
            });
            if sent.max().is_some_and(|link| link >= links) {
                return Ok(false);
            }
            // The stations of all of the configuration: the smaller one names fewer.
            let stations = Stations::of(&self.configuration, &compiled.policy);
            let started = Trial::start(host, smaller, compiled.policy, stations.neighbours())?;
            Ok(match started {
                Started::Running(mut trial) => {
                    trial.seed(self.bug);
                    is_unexplained(&compare(&mut trial, &steps)?)
                }
                Started::OnlyShorewallRefuses(_) => false,
            })
        })?;
        Ok(())
    }
}

impl Summary {
    /// Adds what came of others.
    fn merge(&mut self, other: Self) {
        self.configurations += other.configurations;
        self.only_shorewall_refused
            .extend(other.only_shorewall_refused);
        self.refusals.extend(other.refusals);
        for (kind, count) in other.sequences {
            *self.sequences.entry(kind).or_default() += count;
        }
        self.frames += other.frames;
        self.outputs += other.outputs;
        for (name, count) in other.wanted {
            *self.wanted.entry(name).or_default() += count;
        }
        for found in other.unexplained {
            let mut known = self.unexplained.iter_mut();
            match known.find(|known| known.class == found.class) {
                Some(known) => known.count += found.count,
                None => self.unexplained.push(found),
            }
        }
    }

    /// Tries one site with so many frames.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn try_site(
        &mut self,
        host: &Host,
        configuration: &Configuration,
        rng: &mut Rng,
        frames: usize,
        kinds: &[Kind],
    ) -> Result<()> {
        let compiled = match configuration.compile() {
            Ok(compiled) => compiled,
            Err(report) => {
                self.refusals.push(report.to_string());
                return Ok(());
            }
        };
        let policy = compiled.policy;
        let stations = Stations::of(configuration, &policy);
        let started = Trial::start(host, configuration, policy, stations.neighbours())?;
        let mut trial = match started {
            Started::Running(trial) => trial,
            Started::OnlyShorewallRefuses(words) => {
                self.only_shorewall_refused
                    .push(format!("{words}\n{configuration}"));
                return Ok(());
            }
        };
        self.configurations += 1;
        let enough = self.frames + frames;
        while self.frames < enough {
            let sequence = sequence(rng, &stations, kinds);
            let mut comparison = compare(&mut trial, &sequence.steps)?;
            if is_unexplained(&comparison) {
                let again = trial.compare(&sequence.steps, Haste::MorePatient)?;
                if !is_unexplained(&again) {
                    comparison = again;
                }
            }
            *self.sequences.entry(sequence.kind).or_default() += 1;
            self.frames += comparison.frames.iter().flatten().count();
            self.outputs += comparison.linux.iter().map(Vec::len).sum::<usize>();
            match judge(&comparison) {
                Finding::None => {}
                Finding::Explained(meant) => {
                    for name in meant {
                        *self.wanted.entry(name).or_default() += 1;
                    }
                }
                Finding::Unexplained(number) => {
                    let class = class(&trial, &sequence.steps, &comparison, number)?;
                    let mut known = self.unexplained.iter_mut();
                    match known.find(|known| known.class == class) {
                        Some(known) => known.count += 1,
                        None => {
                            let (steps, text) = match self.unexplained.len() < MOST_SHRUNK {
                                true => explain(&mut trial, sequence.kind, &sequence.steps)?,
                                false => (sequence.steps, "not shrunk\n".to_owned()),
                            };
                            self.unexplained.push(Unexplained {
                                configuration: configuration.clone(),
                                steps,
                                text,
                                class,
                                count: 1,
                                bug: None,
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// That of one of a run's differences.
fn class(trial: &Trial, steps: &[Step], comparison: &Comparison, number: usize) -> Result<Class> {
    let found = &comparison.differences[number];
    let frame = comparison.frames[found.step].as_deref();
    let decisions = trial.decisions(steps)?;
    Ok(Class::of(
        frame.unwrap_or_default(),
        found,
        &decisions[found.step],
    ))
}

/// The smallest part of the steps that still differs without an explanation, and that in words.
fn explain(trial: &mut Trial, kind: Kind, steps: &[Step]) -> Result<(Vec<Step>, String)> {
    let smallest = shrink::sequence(steps, |steps| {
        let differs = is_unexplained(&compare(trial, steps)?);
        Ok(differs
            && match trial.bug() {
                Some(bug) => agrees(trial, bug, steps)?,
                None => true,
            })
    })?;
    let comparison = compare(trial, &smallest)?;
    let decisions = trial.decisions(&smallest)?;
    let mut text = format!("{kind}\n");
    for (number, step) in smallest.iter().enumerate() {
        let step = describe::step(step);
        writeln!(text, "  {number} {step}   [{}]", decisions[number])?;
        let found = comparison.differences.iter();
        for difference in found.filter(|difference| difference.step == number) {
            write!(text, "{difference}")?;
        }
    }
    Ok((smallest, text))
}
