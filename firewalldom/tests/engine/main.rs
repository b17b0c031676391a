//! The engine through its public interface: frames in, verdicts and frames out.

mod support;

mod answers;
mod arp;
mod blob;
mod filter;
mod fragments;
mod guests;
mod hostile;
mod limits;
mod local;
mod many_rules;
mod mss;
mod nat;
mod readme;
mod reject;
mod sctp;
mod shortcut;
mod tracking;
mod unsendable;
