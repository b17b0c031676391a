//! Kinds of differences: what two of them that have one cause are likely to share.

use crate::compare::Difference;
use crate::describe;
use crate::packet::View;
use crate::step::Output;
use crate::wanted::is_stricter;
use std::fmt;

/// Which side let out more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Linux was silent, the engine was not.
    Weaker,
    /// Each let something out that the other did not.
    Other,
    /// The engine let out nothing that Linux did not.
    Stricter,
}

/// A kind of differences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// Which side let out more.
    pub strength: Strength,
    /// What was sent, in few words.
    sent: String,
    linux: String,
    engine: String,
    /// What decided in the engine, without its place in the files.
    decision: String,
}

impl Class {
    /// That of a difference, given the frame that went in and what the engine says decided about it.
    #[must_use]
    pub fn of(frame: &[u8], difference: &Difference, decision: &str) -> Self {
        let strength = match (difference.linux.is_empty(), is_stricter(difference)) {
            (true, _) => Strength::Weaker,
            (false, true) => Strength::Stricter,
            (false, false) => Strength::Other,
        };
        Self {
            strength,
            sent: View::of_frame(frame).map_or_else(|| "no IPv4".to_owned(), |view| kind(&view)),
            linux: shapes(frame, &difference.linux),
            engine: shapes(frame, &difference.engine),
            decision: placeless(decision),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            strength,
            sent,
            linux,
            engine,
            decision,
        } = self;
        let strength = match strength {
            Strength::Weaker => "WEAKER",
            Strength::Other => "other",
            Strength::Stricter => "stricter",
        };
        write!(
            f,
            "{strength}: {sent}: Linux {linux}; engine {engine} [{decision}]"
        )
    }
}

/// What came out in answer to a frame, in few words: `forwards`, `answers TCP RST`, `nothing`.
#[must_use]
pub fn shapes(frame: &[u8], outputs: &[Output]) -> String {
    let shapes: Vec<_> = outputs
        .iter()
        .map(|output| shape(frame, &output.bytes))
        .collect();
    match shapes.is_empty() {
        true => "nothing".to_owned(),
        false => shapes.join(", "),
    }
}

/// What a frame that came out is to the one that went in.
fn shape(sent: &[u8], came: &[u8]) -> String {
    let (Some(sent), Some(came)) = (View::of_frame(sent), View::of_frame(came)) else {
        return match came.get(12..22) {
            Some([8, 6, .., 0, 2]) => "answers ARP".to_owned(),
            _ => describe::frame(came),
        };
    };
    let ends = |view: &View<'_>| (view.source(), view.destination());
    let is_answer = came.destination() == sent.source() && came.source() != sent.source();
    match (ends(&sent) == ends(&came), is_answer) {
        (true, _) if came.ports() == sent.ports() => "forwards".to_owned(),
        (_, true) => format!("answers {}", kind(&came)),
        _ => "translates".to_owned(),
    }
}

/// Protocol and what makes it special.
fn kind(view: &View<'_>) -> String {
    let payload = view.payload();
    let mut text = match view.protocol() {
        1 if payload.len() >= 2 => format!("ICMP {}/{}", payload[0], payload[1]),
        6 if payload.len() >= 14 => format!("TCP {}", describe::flags(payload[13])),
        17 => "UDP".to_owned(),
        protocol => format!("protocol {protocol}"),
    };
    if view.fragment() & 0x3fff != 0 {
        text = format!("fragment of protocol {}", view.protocol());
    }
    text
}

/// Without numbers: links, lines, ports.
fn placeless(decision: &str) -> String {
    let mut text = String::new();
    for c in decision.chars() {
        match c.is_ascii_digit() {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(c),
        }
    }
    text
}
