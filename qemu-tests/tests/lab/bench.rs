//! The shared machine, and how a test gets it.

use anyhow::{Result, anyhow};
use libtest_mimic::{Completion, Failed, Trial};
use qemu_tests::{Impossible, Lab, Machine, Options, Suite, lab_is_required, to_stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A test of the lab: it gets a machine whose dom0 is up, and leaves it as it
/// found it.
pub(crate) struct LabTest {
    name: &'static str,
    run: fn(&Setup) -> Result<()>,
}

impl LabTest {
    pub(crate) fn new(name: &'static str, run: fn(&Setup) -> Result<()>) -> Self {
        Self { name, run }
    }
}

/// What a test works with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) lab: Lab,
    pub(crate) machine: Arc<Machine>,
}

enum State {
    Unused,
    Ready(Setup),
    Impossible(String),
    Broken(String),
}

/// The one boot all tests of a suite share, made when the first of them runs.
///
/// There is one machine at a time: the first test of another suite ends it.
#[derive(Clone)]
pub(crate) struct Bench(Arc<Mutex<(Suite, State)>>);

impl Default for Bench {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((Suite::default(), State::Unused))))
    }
}

impl Bench {
    pub(crate) fn trial(&self, suite: Suite, test: LabTest) -> Trial {
        let bench = self.clone();
        Trial::ignorable_test(test.name, move || bench.run(suite, &test))
            .with_kind(suite.code_name())
    }

    fn run(&self, suite: Suite, test: &LabTest) -> Result<Completion, Failed> {
        let setup = {
            let mut bench = self.lock();
            let (current, state) = &mut *bench;
            if *current != suite {
                stop(state);
                *current = suite;
            }
            prepare(suite, state);
            match &*state {
                State::Ready(setup) => setup.clone(),
                State::Impossible(why) if lab_is_required() => {
                    return Err(format!("the lab is required here, but {why}").into());
                }
                State::Impossible(why) => return Ok(Completion::ignored_with(why)),
                State::Broken(why) => return Err(why.into()),
                State::Unused => return Err("the lab was not prepared".into()),
            }
        };
        let logs = setup.machine.folder().display().to_string();
        let outcome = catch_unwind(AssertUnwindSafe(|| (test.run)(&setup)));
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

    /// Ends the machine, so that its logs are complete.
    pub(crate) fn stop(&self) {
        stop(&mut self.lock().1);
    }

    fn lock(&self) -> MutexGuard<'_, (Suite, State)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(state: &mut State) {
    if let State::Ready(setup) = std::mem::replace(state, State::Unused)
        && let Some(machine) = Arc::into_inner(setup.machine)
        && let Err(error) = machine.stop()
    {
        eprintln!("stopping the lab's machine: {error:#}");
    }
}

/// Makes `state` ready, or says why it cannot be. A machine that a test has
/// brought down is replaced: the tests after it are not to blame.
fn prepare(suite: Suite, state: &mut State) {
    let dead = |setup: &Setup| setup.machine.dom0("true").is_err();
    if !matches!(state, State::Unused) && !matches!(&*state, State::Ready(setup) if dead(setup)) {
        return;
    }
    *state = match start(suite) {
        Ok(setup) => State::Ready(setup),
        Err(error) => match error.downcast::<Impossible>() {
            Ok(Impossible(why)) => {
                eprintln!("no lab on this host: {why}");
                State::Impossible(why)
            }
            Err(error) => State::Broken(format!("{error:#}")),
        },
    };
}

fn start(suite: Suite) -> Result<Setup> {
    let lab = Lab::prepare_suite(suite, &to_stderr())?;
    let options = Options {
        name: "tests".to_owned(),
        ..Options::default()
    };
    let machine = Machine::start(&lab, &options)?;
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
