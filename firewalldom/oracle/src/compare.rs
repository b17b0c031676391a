//! What came out of both, side by side: byte for byte, but for what Linux chooses at random and what
//! time it is.

use crate::choices::Choices;
use crate::describe;
use crate::packet::{ETHERNET, View, checksum};
use crate::step::{Output, Outputs, Step};
use firewalldom::policy::Policy;
use std::fmt;

/// A step after which not the same came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the step.
    pub step: usize,
    /// What came out of Linux, in canonical order.
    pub linux: Vec<Output>,
    /// What came out of the engine.
    pub engine: Vec<Output>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |outputs: &[Output]| outputs.iter().map(describe::output).collect::<Vec<_>>();
        let (linux, engine) = (words(&self.linux), words(&self.engine));
        let looks_the_same = linux == engine;
        for (side, outputs, words) in [
            ("Linux ", &self.linux, linux),
            ("engine", &self.engine, engine),
        ] {
            if outputs.is_empty() {
                writeln!(f, "    {side}: nothing")?;
            }
            for (output, words) in outputs.iter().zip(words) {
                writeln!(f, "    {side}: {words}")?;
                if looks_the_same {
                    writeln!(f, "            {:02x?}", output.bytes)?;
                }
            }
        }
        Ok(())
    }
}

/// The steps after which something else came out.
#[must_use]
pub fn differences(
    steps: &[Step],
    linux: &Outputs,
    engine: &Outputs,
    policy: &Policy,
) -> Vec<Difference> {
    let mut choices = Choices::of(policy);
    let mut found = Vec::new();
    for step in 0..steps.len() {
        let (ours, theirs) = (canonical(&engine[step]), canonical(&linux[step]));
        if theirs == ours {
            continue;
        }
        let sent = [linux, engine].map(|outputs| first_sent(steps, step, outputs));
        let same = theirs.len() == ours.len()
            && theirs.iter().zip(&ours).all(|(theirs, ours)| {
                agree(theirs, ours, &sent)
                    || theirs.link == ours.link
                        && choices.explain(
                            &theirs.bytes,
                            &ours.bytes,
                            [sent[0].as_ref(), sent[1].as_ref()],
                        )
            });
        if !same {
            found.push(Difference {
                step,
                linux: theirs,
                engine: ours,
            });
        }
    }
    found
}

/// What was sent at a step; if that is a later part of a datagram, its first part, with the ports.
fn first_sent(steps: &[Step], step: usize, outputs: &Outputs) -> Option<Vec<u8>> {
    let frame = |step: usize| steps[step].frame(&outputs[..step]).map(|(_, frame)| frame);
    let sent = frame(step)?;
    let datagram = |frame: &[u8]| {
        let view = View::of_frame(frame)?;
        Some((view.ident(), view.source(), view.destination()))
    };
    let is_later = |frame: &[u8]| {
        let view = View::of_frame(frame);
        view.is_some_and(|view| view.fragment() & 0x1fff != 0)
    };
    if !is_later(&sent) {
        return Some(sent);
    }
    let mut before = (0..step).rev().filter_map(frame);
    before.find(|other| !is_later(other) && datagram(other) == datagram(&sent))
}

/// Without questions for neighbours, and by link: which link is served first is nobody's promise.
fn canonical(outputs: &[Output]) -> Vec<Output> {
    let asks = |output: &&Output| {
        output.bytes.get(12..14) == Some(&[8, 6]) && output.bytes.get(20..22) == Some(&[0, 1])
    };
    let mut kept: Vec<Output> = outputs
        .iter()
        .filter(|output| !asks(output))
        .cloned()
        .collect();
    kept.sort_by_key(|output| output.link);
    kept
}

/// Type of ICMP's answer to a question for the time.
const TIMESTAMP_REPLY: u8 = 14;

fn is_timestamp_reply(view: &View<'_>) -> bool {
    view.protocol() == 1 && view.payload().first() == Some(&TIMESTAMP_REPLY)
}

/// Takes out of a timestamp reply what time it is, and the checksum.
fn forget_time(message: &mut [u8]) {
    for range in [2..4, 12..20] {
        if let Some(bytes) = message.get_mut(range) {
            bytes.fill(0);
        }
    }
}

/// Whether two frames are the same but for the time and the identification that each side gives packets of its own
/// making: one that was forwarded has that of what was sent.
fn agree(linux: &Output, engine: &Output, sent: &[Option<Vec<u8>>; 2]) -> bool {
    let own = |output: &Output, sent: &Option<Vec<u8>>| {
        let view = View::of_frame(&output.bytes)?;
        let sent = sent.as_deref().and_then(View::of_frame);
        let valid = checksum(&[&view.bytes[..20]]) == 0;
        (valid && Some(view.ident()) != sent.map(|sent| sent.ident())).then(|| {
            let mut bytes = output.bytes.clone();
            bytes[ETHERNET + 4..ETHERNET + 6].fill(0);
            bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
            if is_timestamp_reply(&view) {
                forget_time(&mut bytes[ETHERNET + 20..]);
            } else if let Some(quoted) = view.quoted().filter(is_timestamp_reply) {
                // One that was answered by an error, whose checksum follows.
                let quote = ETHERNET + view.bytes.len() - view.payload().len() + 8;
                let message = quote + quoted.bytes.len() - quoted.payload().len();
                forget_time(&mut bytes[message..]);
                bytes[quote - 6..quote - 4].fill(0);
            }
            bytes
        })
    };
    let (theirs, ours) = (own(linux, &sent[0]), own(engine, &sent[1]));
    linux == engine || linux.link == engine.link && theirs.is_some() && theirs == ours
}
