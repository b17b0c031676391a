//! firewalldom's engine, given what Linux is given.

use crate::bugs::{Bug, Change};
use crate::configuration::{MTU, firewall_mac};
use crate::protocol::Neighbour;
use crate::step::{Output, Outputs, Step};
use anyhow::{Context, Result};
use firewalldom::policy::{InterfaceId, Policy};
use firewalldom::time::Instant;
use firewalldom::{Budget, ErrorRate, Firewall, Frame, Head, Link, Timeouts, Verdict};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Flows of an engine under test.
const FLOWS: usize = 1 << 14;

/// Time between two frames.
const PACE: Duration = Duration::from_millis(1);

/// An engine with its clock.
pub struct Engine {
    firewall: Firewall,
    now: Instant,
    /// What decided about each frame of the last run, for people.
    decisions: Vec<String>,
    bug: Option<Bug>,
}

impl Engine {
    /// An engine for `policy`, on links like Linux's.
    ///
    /// # Errors
    /// When the engine refuses the policy.
    pub fn new(policy: Policy) -> Result<Self> {
        Self::with_bug(policy, None)
    }

    /// An engine with a fault seeded.
    ///
    /// # Errors
    /// When the engine refuses the policy.
    pub fn with_bug(mut policy: Policy, bug: Option<Bug>) -> Result<Self> {
        let change = bug.map(|bug| bug.change);
        if let Some(Change::Policy(change)) = change {
            change(&mut policy);
        }
        let links: Vec<Link> = (0..policy.interfaces.len())
            .map(|link| Link {
                mac: firewall_mac(link),
                mtu: MTU,
            })
            .collect();
        let now = Instant(1_000_000_000_000);
        let budget = Budget { flows: FLOWS };
        let mut firewall = Firewall::new(&policy, &links, budget, [7; 32], now)
            .context("the engine refuses the policy")?;
        if let Some(Change::Timeouts(change)) = change {
            let mut timeouts = Timeouts::default();
            change(&mut timeouts);
            firewall.set_timeouts(timeouts);
        }
        firewall.set_error_rate(ErrorRate::Unlimited);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH)?;
        firewall.set_wall_clock(now, unix);
        // What it says on arrival, to a link where nobody listens yet.
        while firewall.take_output().is_some() {}
        Ok(Self {
            firewall,
            now,
            decisions: Vec::new(),
            bug,
        })
    }

    /// Takes the steps; what came out after each.
    pub fn run(&mut self, steps: &[Step]) -> Outputs {
        self.decisions.clear();
        let mut outputs = Outputs::with_capacity(steps.len());
        for step in steps {
            let mut came = self.take(step, &outputs);
            match self.bug.map(|bug| bug.change) {
                Some(Change::Output(change)) => came.iter_mut().for_each(change),
                Some(Change::Lost(is_lost)) => came.retain(|output| !is_lost(output)),
                _ => {}
            }
            outputs.push(came);
        }
        outputs
    }

    /// What the engine says decided about each step of the last run.
    #[must_use]
    pub fn decisions(&self) -> &[String] {
        &self.decisions
    }

    fn take(&mut self, step: &Step, before: &[Vec<Output>]) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut decision = String::new();
        match step {
            Step::Send { .. } | Step::Answer { .. } => {
                self.now = self.now + PACE;
                if let Some((link, bytes)) = step.frame(before) {
                    let verdict = self.inject(link, &bytes, &mut outputs);
                    let decided = self.firewall.last_decision();
                    let by = decided.map(|decided| self.firewall.explain(decided));
                    decision = format!("{verdict:?}, {}", by.unwrap_or_default());
                    self.collect(&mut outputs);
                }
            }
            Step::Pause(micros) => self.pass(Duration::from_micros((*micros).into()), &mut outputs),
            Step::Elapse(seconds) => {
                self.pass(Duration::from_secs((*seconds).into()), &mut outputs);
            }
        }
        self.decisions.push(decision);
        outputs
    }

    /// Lets time pass; what is due is done on the way.
    fn pass(&mut self, time: Duration, outputs: &mut Vec<Output>) {
        let end = self.now + time;
        while let Some(due) = self.firewall.poll(self.now).filter(|due| *due < end) {
            self.now = due.max(self.now + Duration::from_millis(1));
            self.collect(outputs);
        }
        self.now = end;
        self.collect(outputs);
    }

    fn inject(&mut self, link: u8, bytes: &[u8], outputs: &mut Vec<Output>) -> Verdict {
        let mut head = Head::new();
        head.load(bytes);
        let tail = bytes;
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &tail,
            checksum: firewalldom::Checksum::Unknown,
            gso: None,
        };
        let verdict = self
            .firewall
            .ingress(self.now, InterfaceId(link), &mut frame);
        if let Verdict::Forward { egress } = verdict {
            let (offset, len) = (frame.tail_offset(), frame.len);
            let mut bytes = head.bytes().to_vec();
            // The head may have grown by an option; what follows it is as it was.
            let rest = len - bytes.len();
            if rest > 0 {
                bytes.extend(&tail[offset..offset + rest]);
            }
            outputs.push(Output {
                link: egress.0,
                bytes,
            });
        }
        verdict
    }

    /// Takes what the engine made; every neighbour it asks for answers.
    fn collect(&mut self, outputs: &mut Vec<Output>) {
        loop {
            self.firewall.poll(self.now);
            let Some((interface, frame)) = self.firewall.take_output() else {
                return;
            };
            match arp_answer(interface.0, &frame.bytes) {
                Some(answer) => {
                    self.inject(interface.0, &answer, outputs);
                }
                None => outputs.push(Output {
                    link: interface.0,
                    bytes: frame.bytes,
                }),
            }
        }
    }
}

/// The neighbour's answer, if this is the firewall's question for one (RFC 826).
fn arp_answer(link: u8, request: &[u8]) -> Option<Vec<u8>> {
    let is_request = request.get(12..14)? == [8, 6] && request.get(20..22)? == [0, 1];
    let target: [u8; 4] = request.get(38..42)?.try_into().ok()?;
    let sender: [u8; 4] = request.get(28..32)?.try_into().ok()?;
    // A gratuitous one only announces.
    if !is_request || sender == target {
        return None;
    }
    let address = Ipv4Addr::from(target);
    let mac = Neighbour { link, address }.mac();
    let mut answer = Vec::with_capacity(42);
    answer.extend(&request[6..12]);
    answer.extend(mac);
    answer.extend(&request[12..20]);
    answer.extend([0, 2]);
    answer.extend(mac);
    answer.extend(target);
    answer.extend(&request[22..32]);
    Some(answer)
}
