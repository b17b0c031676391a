//! The devices' state as bytes: a header that says how many they are, the state, and a checksum.
//!
//! What comes in is not believed: bytes that were damaged, or that another version wrote, are refused
//! before anything is changed. What decodes may still hold anything, and no device's registers need to
//! have had a value for the device to be safe with it.

use super::Devices;
use crate::device::fw_cfg;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::Hasher;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use thiserror::Error;

/// What each saved state begins with.
const MAGIC: [u8; 8] = *b"stubdom\0";
/// Grows with each change of what follows.
const VERSION: u32 = 2;
/// Bytes before the state: the magic, the version, and how many bytes of state follow.
pub const HEADER: usize = 16;
const CHECKSUM: usize = 8;
/// No machine's state is as large: what says that it is was not saved by us.
const STATE_MAX: usize = 1 << 20;

/// Why a saved state is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// It is no such thing.
    #[error("the saved state is not that of a stub domain's devices")]
    Foreign,
    /// Another version wrote it.
    #[error("the saved state is of version {0}, and this one reads version {VERSION}")]
    Version(u32),
    /// Some of it is missing, or not as it was written.
    #[error("the saved state is damaged")]
    Damaged,
    /// The guest's configuration was changed between saving and restoring.
    #[error("the saved state is that of another machine: its configuration was changed")]
    Different,
}

#[derive(Serialize)]
struct State<'a> {
    devices: &'a Devices,
    firmware: Option<fw_cfg::State>,
}

#[derive(Deserialize)]
struct Owned {
    /// Not on the stack, of which reading it takes a good part anyway.
    devices: Box<Devices>,
    firmware: Option<fw_cfg::State>,
}

/// How many bytes a saved state has in all, by its first [`HEADER`].
///
/// # Errors
/// [`RestoreError`].
pub fn length(header: &[u8; HEADER]) -> Result<usize, RestoreError> {
    let (magic, rest) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(RestoreError::Foreign);
    }
    let number =
        |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    match (number(0), number(4) as usize) {
        (VERSION, state @ 0..=STATE_MAX) => Ok(HEADER + state + CHECKSUM),
        (VERSION, _) => Err(RestoreError::Damaged),
        (version, _) => Err(RestoreError::Version(version)),
    }
}

pub(super) fn encode(devices: &Devices) -> Vec<u8> {
    let state = State {
        devices,
        firmware: devices.firmware.as_ref().map(fw_cfg::FwCfg::state),
    };
    let state = postcard::to_allocvec(&state).expect("a state can be written, whatever it is");
    let mut bytes = Vec::with_capacity(HEADER + state.len() + CHECKSUM);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((state.len() as u32).to_le_bytes());
    bytes.extend(state);
    bytes.extend(checksum(&bytes));
    bytes
}

pub(super) fn decode(bytes: &[u8], devices: &mut Devices) -> Result<(), RestoreError> {
    let header = bytes.first_chunk().ok_or(RestoreError::Damaged)?;
    if length(header)? != bytes.len() {
        return Err(RestoreError::Damaged);
    }
    let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM);
    if sum != checksum(body) {
        return Err(RestoreError::Damaged);
    }
    let state: Owned = postcard::from_bytes(&body[HEADER..]).map_err(|_| RestoreError::Damaged)?;
    if !state.devices.is_like(devices) {
        return Err(RestoreError::Different);
    }
    let mut firmware = devices.firmware.take();
    if let (Some(firmware), Some(state)) = (&mut firmware, state.firmware) {
        firmware.restore(state);
    }
    *devices = *state.devices;
    devices.firmware = firmware;
    Ok(())
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}
