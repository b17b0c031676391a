//! The shared machines, and how a test gets one.

use anyhow::{Result, anyhow};
use libtest_mimic::{Completion, Failed, Trial};
use qemu_tests::{
    Command, Impossible, Lab, Machine, Options, Suite, Tier, Xenstored, lab_is_required, to_stderr,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A test of the lab.
pub(crate) struct LabTest {
    name: &'static str,
    run: Run,
    /// Whether it runs while no other does.
    is_alone: bool,
    /// Whether it takes part in the short tier.
    is_short: bool,
}

#[derive(Clone, Copy)]
enum Run {
    /// It gets a machine whose dom0 is up, and leaves it as it found it.
    Shared(fn(&Setup) -> Result<()>),
    /// It starts a machine of its own.
    Own(fn(&Lab) -> Result<()>),
}

impl LabTest {
    /// A test on a machine that it leaves as it found it.
    pub(crate) fn new(name: &'static str, run: fn(&Setup) -> Result<()>) -> Self {
        Self::of(name, Run::Shared(run))
    }

    /// A test that starts a machine of its own, as it wants hardware that the shared ones have not.
    pub(crate) fn own(name: &'static str, run: fn(&Lab) -> Result<()>) -> Self {
        Self::of(name, Run::Own(run))
    }

    fn of(name: &'static str, run: Run) -> Self {
        Self {
            name,
            run,
            is_alone: false,
            is_short: true,
        }
    }

    /// Has it wait for the full tier: it is long, and others of the short tier go most of its way.
    pub(crate) fn long(self) -> Self {
        Self {
            is_short: false,
            ..self
        }
    }

    /// Whether it takes part in a tier.
    pub(crate) fn is_of(&self, tier: Tier) -> bool {
        self.is_short || tier == Tier::Full
    }

    /// Has it run while no other does: many domains that are busy at once, on half of the host, leave dom0 too
    /// little for the toolstack's limits.
    pub(crate) fn alone(self) -> Self {
        Self {
            is_alone: true,
            ..self
        }
    }

    /// Whether it runs while no other does.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }
}

/// How long is waited for what comes, if the host is not too busy for anything: waiting longer than it takes costs
/// nothing, and no test is about how long that is.
pub(crate) const PATIENCE: Duration = Command::DEFAULT_LIMIT;

/// How long a test takes that is named at the end.
const WORTH_TELLING: Duration = Duration::from_secs(10);

/// What Xen's scheduler weighs a domain with that goes before the others, which have 256.
pub(crate) const FIRST: u16 = 4096;

/// What a test works with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) lab: Lab,
    pub(crate) machine: Arc<Machine>,
}

/// The machines that tests share. Each test has one to itself while it runs: there are as many as
/// tests run at a time, each booted when the first test finds none idle.
#[derive(Clone, Default)]
pub(crate) struct Bench {
    shared: Arc<Mutex<Shared>>,
    /// Written by a test that runs alone, read by each other.
    host: Arc<RwLock<()>>,
}

#[derive(Default)]
struct Shared {
    idle: Vec<Setup>,
    /// Why a suite has no machine.
    refused: Vec<(Suite, Refusal)>,
    took: Vec<(Duration, String)>,
}

#[derive(Clone)]
enum Refusal {
    Impossible(String),
    Broken(String),
}

impl Refusal {
    /// What becomes of a test.
    fn outcome(self) -> Result<Completion, Failed> {
        match self {
            Self::Impossible(why) if lab_is_required() => {
                Err(format!("the lab is required here, but {why}").into())
            }
            Self::Impossible(why) => Ok(Completion::ignored_with(why)),
            Self::Broken(why) => Err(why.into()),
        }
    }
}

impl Bench {
    pub(crate) fn trial(&self, suite: Suite, test: LabTest) -> Trial {
        let bench = self.clone();
        Trial::ignorable_test(test.name, move || bench.run(suite, &test))
            .with_kind(suite.code_name())
    }

    fn run(&self, suite: Suite, test: &LabTest) -> Result<Completion, Failed> {
        let (_alone, _beside);
        match test.is_alone {
            true => _alone = self.host.write().unwrap_or_else(PoisonError::into_inner),
            false => _beside = self.host.read().unwrap_or_else(PoisonError::into_inner),
        }
        let started;
        let (outcome, logs) = match test.run {
            Run::Shared(run) => {
                let setup = match self.machine(suite) {
                    Ok(setup) => setup,
                    Err(refusal) => return refusal.outcome(),
                };
                let logs = setup.machine.folder().display().to_string();
                started = Instant::now();
                let outcome = catch_unwind(AssertUnwindSafe(|| run(&setup)));
                self.lock().idle.push(setup);
                (outcome, logs)
            }
            Run::Own(run) => {
                let lab = match self.attempt(suite, prepare) {
                    Ok(lab) => lab,
                    Err(refusal) => return refusal.outcome(),
                };
                started = Instant::now();
                let outcome = catch_unwind(AssertUnwindSafe(|| run(&lab)));
                (outcome, "of its own machine".to_owned())
            }
        };
        let name = format!("[{}] {}", suite.code_name(), test.name);
        self.lock().took.push((started.elapsed(), name));
        match outcome {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(error)) => {
                let reason = format!("{error:#}\n(logs: {logs})");
                // Now as well as in the summary, which a log that is cut off does not reach.
                eprintln!("{}: {reason}", test.name);
                Err(reason.into())
            }
            Err(panic) => {
                eprintln!("{}: logs in {logs}", test.name);
                resume_unwind(panic)
            }
        }
    }

    /// An idle machine, or a new one. One that a test has brought down is replaced: the tests after
    /// it are not to blame. Those of another suite are ended, as its tests are over.
    fn machine(&self, suite: Suite) -> Result<Setup, Refusal> {
        let mut shared = self.lock();
        let mut found = None;
        while found.is_none()
            && let Some(setup) = shared.idle.pop()
        {
            match setup.lab.suite() == suite && setup.machine.dom0("true").is_ok() {
                true => found = Some(setup),
                false => stop(setup),
            }
        }
        drop(shared);
        match found {
            Some(setup) => Ok(setup),
            None => self.attempt(suite, start),
        }
    }

    /// Makes what a suite's tests need, unless it is known why that cannot be.
    fn attempt<T>(&self, suite: Suite, make: fn(Suite) -> Result<T>) -> Result<T, Refusal> {
        let refused = self.lock().refused.clone();
        if let Some((_, refusal)) = refused.into_iter().find(|(of, _)| *of == suite) {
            return Err(refusal);
        }
        make(suite).map_err(|error| {
            let refusal = match error.downcast::<Impossible>() {
                Ok(Impossible(why)) => {
                    eprintln!("no lab on this host: {why}");
                    Refusal::Impossible(why)
                }
                Err(error) => Refusal::Broken(format!("{error:#}")),
            };
            self.lock().refused.push((suite, refusal.clone()));
            refusal
        })
    }

    /// Ends the machines, so that their logs are complete, and says which tests took long.
    pub(crate) fn stop(&self) {
        let mut shared = self.lock();
        shared.idle.drain(..).for_each(stop);
        shared.took.retain(|(time, _)| *time >= WORTH_TELLING);
        shared.took.sort_by(|a, b| b.cmp(a));
        for (time, name) in &shared.took {
            eprintln!("lab: {:4} s for {name}", time.as_secs());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(setup: Setup) {
    if let Some(machine) = Arc::into_inner(setup.machine)
        && let Err(error) = machine.stop()
    {
        eprintln!("stopping the lab's machine: {error:#}");
    }
}

fn prepare(suite: Suite) -> Result<Lab> {
    Lab::prepare_suite(suite, &to_stderr())
}

fn start(suite: Suite) -> Result<Setup> {
    let lab = prepare(suite)?;
    let options = Options {
        name: "tests".to_owned(),
        xenstored: Xenstored::asked_for()?,
        ..Options::default()
    };
    let machine = Machine::start(&lab, &options)?;
    // As Xen's manual advises where guests are busy: all of them wait for dom0.
    machine.dom0(&format!("xl sched-credit2 -d Domain-0 -w {FIRST}"))?;
    eprintln!(
        "lab: {suite}'s dom0 is up, logs in {}",
        machine.folder().display()
    );
    Ok(Setup {
        lab,
        machine: Arc::new(machine),
    })
}

/// An error unless `condition` holds, saying what was found instead.
pub(crate) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    match condition {
        true => Ok(()),
        false => Err(anyhow!(otherwise())),
    }
}
