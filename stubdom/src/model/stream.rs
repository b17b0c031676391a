//! The devices' state on its way out, by the console that is for it, and in, by the other.

use super::Place;
use crate::machine::{self, HEADER, RestoreError};
use alloc::vec::Vec;
use core::time::Duration;
use minios_rs::consoles::{self, Front, Link};
use minios_rs::dm::DeviceModel;
use minios_rs::ring::Corrupt;
use minios_rs::task::TimedOut;
use thiserror::Error;

/// The console that saved state goes to.
const SAVE: u32 = 1;
/// The one that it comes back by.
const RESTORE: u32 = 2;

/// How long the other end of a stream may do nothing: less than xl waits for this domain to start.
const LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether it has done something.
const LOOK: Duration = Duration::from_millis(2);

/// Why a state did not get through.
#[derive(Debug, Error)]
pub enum StreamError {
    /// A console.
    #[error("the state's console: {0}")]
    Console(#[from] consoles::Error),
    /// It is none of ours.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// No more of it comes.
    #[error("the saved state ends before it is whole")]
    NoState,
    /// Nobody takes it.
    #[error("nobody takes the state that is saved")]
    NoReader,
    /// The other side does not let go of its console.
    #[error("the state's console is not closed by the other side")]
    Held,
    /// An index that cannot be.
    #[error("the state's console is broken")]
    Broken,
}

/// Reads a saved state, which says itself how long it is: the console that it comes by does not end.
pub(super) async fn read<X: DeviceModel>(place: &Place<X>) -> Result<Vec<u8>, StreamError> {
    let (mut console, link) = Front::open(&place.xen, &place.store, RESTORE).await?;
    let state = give(place, &mut console).await;
    close(place, link).await?;
    state
}

async fn give<X: DeviceModel>(
    place: &Place<X>,
    console: &mut Front<X>,
) -> Result<Vec<u8>, StreamError> {
    let mut state = Vec::new();
    let mut wanted = HEADER;
    while state.len() < wanted {
        let mut bytes = [0; 256];
        let room = bytes.len().min(wanted - state.len());
        let some = some(place, console, &mut bytes[..room]);
        let count = place.executor.timeout(LIMIT, some).await;
        let count = count.map_err(|TimedOut| StreamError::NoState)??;
        state.extend_from_slice(&bytes[..count]);
        if let Some(header) = state.first_chunk()
            && wanted == HEADER
        {
            wanted = machine::length(header)?;
        }
    }
    Ok(state)
}

/// Waits for bytes: how many came.
async fn some<X: DeviceModel>(
    place: &Place<X>,
    console: &mut Front<X>,
    into: &mut [u8],
) -> Result<usize, StreamError> {
    loop {
        match console.read(into) {
            Ok(0) => place.executor.sleep(LOOK).await,
            Ok(count) => return Ok(count),
            Err(Corrupt) => return Err(StreamError::Broken),
        }
    }
}

/// Writes a state, and returns when all of it has been taken. Each has the console to itself, from
/// its opening to its end: to the other side it is a file, which begins anew when it is opened.
pub(super) async fn write<X: DeviceModel>(
    place: &Place<X>,
    state: &[u8],
) -> Result<(), StreamError> {
    let opened = Front::open(&place.xen, &place.store, SAVE);
    let opened = place.executor.timeout(LIMIT, opened).await;
    let (mut console, link) = opened.map_err(|TimedOut| StreamError::Held)??;
    let taken = take(place, &mut console, state).await;
    close(place, link).await?;
    taken
}

async fn take<X: DeviceModel>(
    place: &Place<X>,
    console: &mut Front<X>,
    mut left: &[u8],
) -> Result<(), StreamError> {
    while !left.is_empty() {
        let written = console.write(left).map_err(|Corrupt| StreamError::Broken)?;
        left = &left[written..];
        let drained = place.executor.timeout(LIMIT, drained(place, console)).await;
        drained.map_err(|TimedOut| StreamError::NoReader)??;
    }
    Ok(())
}

/// Waits until the other side has taken all that was written.
async fn drained<X: DeviceModel>(place: &Place<X>, console: &Front<X>) -> Result<(), StreamError> {
    while !console
        .is_drained()
        .map_err(|Corrupt| StreamError::Broken)?
    {
        place.executor.sleep(LOOK).await;
    }
    Ok(())
}

/// The ring is ours again once the other side has let go of it.
async fn close<X: DeviceModel>(place: &Place<X>, link: Link<X>) -> Result<(), StreamError> {
    let closed = place.executor.timeout(LIMIT, link.close()).await;
    let closed = closed.map_err(|TimedOut| StreamError::Held)?;
    Ok(closed.map_err(consoles::Error::from)?)
}
