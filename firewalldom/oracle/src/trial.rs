//! One site on both sides, and sequences that are tried on it.

use crate::bugs::Bug;
use crate::compare::{Difference, differences};
use crate::configuration::Configuration;
use crate::engine::Engine;
use crate::linux::{Host, Linux, Loaded};
use crate::packet::{ETHERNET, View, fix_header};
use crate::protocol::Neighbour;
use crate::step::{Outputs, Step};
use anyhow::Result;
use firewalldom::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a frame's output is waited for before it counts as missing. More than two ticks of a clock
/// of 250 Hz: once a tick netfilter takes connections that are gone out of what CONNLIMIT counts.
const PATIENCE: Duration = Duration::from_millis(9);

/// The same where nothing came in that time that should have: the machine may be so busy that the kernel's own
/// threads wait for a processor.
const MORE_PATIENCE: Duration = Duration::from_millis(200);

/// A site that both sides run.
pub struct Trial {
    policy: Policy,
    linux: Linux,
    bug: Option<Bug>,
    /// The identification that a fragmented packet was given last.
    next_ident: u16,
}

/// Whether late output of Linux is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// What is there when a frame was handed over counts: all there is, unless the machine is busy.
    Hasty,
    /// For a while, after each frame.
    Patient,
    /// For longer than any machine is busy with others.
    MorePatient,
}

/// What came of giving a site to both.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Started {
    /// Both run it.
    Running(Trial),
    /// Shorewall refuses what our compiler took, in these words.
    OnlyShorewallRefuses(String),
}

/// A sequence's run on both sides.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What was sent into Linux at each step.
    pub frames: Vec<Option<Vec<u8>>>,
    /// What came out of Linux after each step.
    pub linux: Outputs,
    /// Where something else came out.
    pub differences: Vec<Difference>,
}

impl Trial {
    /// Gives a site to both sides. `neighbours` must hold every station on a link that the
    /// sequences will name.
    ///
    /// # Errors
    /// When the oracle fails; a refused site is a result.
    pub fn start(
        host: &Host,
        configuration: &Configuration,
        policy: Policy,
        neighbours: &BTreeSet<Neighbour>,
    ) -> Result<Started> {
        let mut linux = Linux::start(host)?;
        let setup = configuration.setup(&policy, neighbours);
        Ok(match linux.load(setup)? {
            Loaded::Refused(words) => Started::OnlyShorewallRefuses(words),
            Loaded::Running => Started::Running(Self {
                policy,
                linux,
                bug: None,
                next_ident: 0,
            }),
        })
    }

    /// Seeds a fault into the engine, or none.
    pub fn seed(&mut self, bug: Option<Bug>) {
        self.bug = bug;
    }

    /// The fault that is seeded.
    #[must_use]
    pub fn bug(&self) -> Option<Bug> {
        self.bug
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

    /// Takes the steps on both sides.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn compare(&mut self, steps: &[Step], haste: Haste) -> Result<Comparison> {
        let mut steps = steps.to_vec();
        self.renumber(&mut steps);
        let engine = Engine::with_bug(self.policy.clone(), self.bug)?.run(&steps);
        let settle = match haste {
            Haste::Hasty => Duration::ZERO,
            Haste::Patient => PATIENCE,
            Haste::MorePatient => MORE_PATIENCE,
        };
        let linux = self.linux.run(&steps, settle)?;
        let found = differences(&steps, &linux, &engine, &self.policy);
        let frames = steps.iter().enumerate();
        let frames = frames.map(|(number, step)| step.frame(&linux[..number]));
        let frames = frames.map(|sent| sent.map(|(_, frame)| frame)).collect();
        Ok(Comparison {
            frames,
            linux,
            differences: found,
        })
    }

    /// What the engine says decided about each step.
    ///
    /// # Errors
    /// When the engine refuses the policy.
    pub fn decisions(&self, steps: &[Step]) -> Result<Vec<String>> {
        let mut engine = Engine::with_bug(self.policy.clone(), self.bug)?;
        engine.run(steps);
        Ok(engine.decisions().to_vec())
    }

    /// Gives fragments identifications that this Linux has not seen: it keeps those of incomplete
    /// packets, and would put them together with another run's.
    fn renumber(&mut self, steps: &mut [Step]) {
        let mut numbers = BTreeMap::new();
        for step in steps {
            let Step::Send { bytes, .. } = step else {
                continue;
            };
            let Some(view) = View::of_frame(bytes).filter(|view| view.fragment() & 0x3fff != 0)
            else {
                continue;
            };
            let ident = *numbers.entry(view.ident()).or_insert_with(|| {
                self.next_ident = self.next_ident.wrapping_add(1);
                self.next_ident
            });
            bytes[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&ident.to_be_bytes());
            fix_header(bytes);
        }
    }
}
