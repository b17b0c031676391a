//! What a device model needs: the requests of a guest's vCPUs, and what it asks of Xen about the guest.
//!
//! A request is an allegation of what the guest did: it is copied once and checked whole, and what is
//! worked on is the copy ([`Request`]).

#![forbid(unsafe_code)]

pub mod request;

pub use request::{Direction, Kind, Refusal, Request};
