//! Timing several firewalls in turn, so that what the machine does meanwhile is the same for all: many
//! processors change their speed from one minute to the next, by more than what is to be told apart.

use super::{NOW, WARM_UP, firewall, hear, pass_all};
use firewalldom::Firewall;
use firewalldom::policy::Policy;
use firewalldom::time::Instant;
use std::time::Duration;

/// How often each has its turn.
const ROUNDS: usize = 15;
/// After that no flow is left, and no neighbour.
const LATER: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the clock moves while what is left is forgotten.
const PAUSE: Duration = Duration::from_millis(10);

/// A firewall and the flows that it is timed with, the first of them to warm up.
pub(crate) struct Contestant {
    firewall: Firewall,
    now: Instant,
    frames: Vec<[u8; 42]>,
}

/// What a flow costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Nanoseconds, the median turn's, or instructions.
    pub(crate) each: f64,
    /// In what it costs the first contestant just before and after: the median of these.
    pub(crate) times: f64,
}

impl Contestant {
    pub(crate) fn new(policy: &Policy, frames: Vec<[u8; 42]>) -> Self {
        Self {
            firewall: firewall(policy.clone()),
            now: NOW,
            frames,
        }
    }

    /// Nanoseconds of a flow. All are forgotten afterwards.
    fn turn(&mut self) -> f64 {
        let (before, timed) = self.frames.split_at(self.frames.len().min(WARM_UP));
        pass_all(&mut self.firewall, self.now, before);
        let started = std::time::Instant::now();
        pass_all(&mut self.firewall, self.now, timed);
        let took = started.elapsed().as_nanos() as f64;
        self.now = self.now + LATER;
        while self.firewall.flows().now > 0 {
            self.firewall.poll(self.now);
            // The table is swept once in so often, and not once a call.
            self.now = self.now + PAUSE;
        }
        hear(&mut self.firewall, self.now);
        took / timed.len() as f64
    }
}

/// What each costs, in the same order: the first has a turn before and after each of the others'.
pub(crate) fn take<const N: usize>(mut contestants: [Contestant; N]) -> Vec<Cost> {
    let [first, others @ ..] = contestants.as_mut_slice() else {
        return Vec::new();
    };
    let mut firsts = vec![first.turn()];
    let mut each = vec![Vec::with_capacity(ROUNDS); others.len()];
    let mut times = each.clone();
    for _ in 0..ROUNDS {
        for (number, other) in others.iter_mut().enumerate() {
            let before = firsts[firsts.len() - 1];
            let own = other.turn();
            let after = first.turn();
            each[number].push(own);
            times[number].push(own / f64::midpoint(before, after));
            firsts.push(after);
        }
    }
    let first = Cost {
        each: median(firsts),
        times: 1.0,
    };
    let others = each.into_iter().zip(times).map(|(each, times)| Cost {
        each: median(each),
        times: median(times),
    });
    [first].into_iter().chain(others).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
