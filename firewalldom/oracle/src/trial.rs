//! One site on both sides, and sequences that are tried on it.

use crate::compare::{Difference, differences};
use crate::configuration::Configuration;
use crate::engine::Engine;
use crate::linux::{Host, Linux, Loaded};
use crate::packet::View;
use crate::protocol::Neighbour;
use crate::step::Step;
use anyhow::{Result, bail};
use firewalldom::policy::Policy;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a frame's output is waited for before it counts as missing.
const PATIENCE: Duration = Duration::from_millis(3);

/// A site that both sides run.
pub struct Trial<'a> {
    host: &'a Host,
    configuration: Configuration,
    policy: Policy,
    neighbours: BTreeSet<Neighbour>,
    linux: Linux,
}

/// What came of giving a site to both.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Started<'a> {
    /// Both run it.
    Running(Trial<'a>),
    /// Shorewall refuses what our compiler took, in these words.
    OnlyShorewallRefuses(String),
}

/// A sequence's run on both sides.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What was sent into Linux at each step.
    pub frames: Vec<Option<Vec<u8>>>,
    /// How many frames came out of Linux.
    pub outputs: usize,
    /// Where something else came out.
    pub differences: Vec<Difference>,
}

impl<'a> Trial<'a> {
    /// Gives a site to both sides. `neighbours` must hold every station on a link that the
    /// sequences will name.
    ///
    /// # Errors
    /// When the oracle fails; a refused site is a result.
    pub fn start(
        host: &'a Host,
        configuration: &Configuration,
        policy: Policy,
        neighbours: &BTreeSet<Neighbour>,
    ) -> Result<Started<'a>> {
        let mut linux = Linux::start(host)?;
        let setup = configuration.setup(&policy, neighbours);
        Ok(match linux.load(setup)? {
            Loaded::Refused(words) => Started::OnlyShorewallRefuses(words),
            Loaded::Running => Started::Running(Self {
                host,
                configuration: configuration.clone(),
                policy,
                neighbours: neighbours.clone(),
                linux,
            }),
        })
    }

    /// Linux, for a look inside.
    pub fn linux(&mut self) -> &mut Linux {
        &mut self.linux
    }

    /// The policy the engine runs.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes the steps on both sides. Where something else came out, Linux is asked again, and waited
    /// for: what remains is a difference.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn compare(&mut self, steps: &[Step]) -> Result<Comparison> {
        let engine = Engine::new(self.policy.clone())?.run(steps);
        let mut linux = self.linux.run(steps, Duration::ZERO)?;
        let mut found = differences(steps, &linux, &engine, &self.policy);
        if !found.is_empty() {
            if remembers(steps) {
                self.restart()?;
            }
            linux = self.linux.run(steps, PATIENCE)?;
            found = differences(steps, &linux, &engine, &self.policy);
        }
        let frames = steps.iter().enumerate();
        let frames = frames.map(|(number, step)| step.frame(&linux[..number]));
        Ok(Comparison {
            frames: frames.map(|sent| sent.map(|(_, frame)| frame)).collect(),
            outputs: linux.iter().map(Vec::len).sum(),
            differences: found,
        })
    }

    /// What the engine says decided about each step.
    ///
    /// # Errors
    /// When the engine refuses the policy.
    pub fn decisions(&self, steps: &[Step]) -> Result<Vec<String>> {
        let mut engine = Engine::new(self.policy.clone())?;
        engine.run(steps);
        Ok(engine.decisions().to_vec())
    }

    /// Linux from its beginning.
    fn restart(&mut self) -> Result<()> {
        self.linux = Linux::start(self.host)?;
        let setup = self.configuration.setup(&self.policy, &self.neighbours);
        match self.linux.load(setup)? {
            Loaded::Running => Ok(()),
            Loaded::Refused(words) => bail!("Shorewall refuses what it took before: {words}"),
        }
    }
}

/// Whether Linux keeps something of these steps beyond its connections: fragments that wait.
fn remembers(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Send { bytes, .. } => {
            View::of_frame(bytes).is_some_and(|view| view.fragment() & 0x3fff != 0)
        }
        _ => false,
    })
}
