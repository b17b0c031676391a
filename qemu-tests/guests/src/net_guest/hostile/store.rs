//! Lies in xenstore.

use super::liar::{Keys, Liar, Outcome, Rings};
use super::ring;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;
use minios_rs::xen::Access;
use minios_rs::xenbus::XenbusState;

/// How long nodes change.
const LONG: Duration = Duration::from_secs(3);

/// As often as it comes again.
const TIMES: u32 = 4;

pub(super) async fn key(liar: &mut Liar, kind: &str) -> Outcome {
    // As long as xenstored takes it.
    let huge = vec![b'9'; 2000];
    let keys = match kind {
        "no-ring-key" => Keys::Without("tx-ring-ref"),
        "text-key" => Keys::But("event-channel", b"five"),
        "huge-key" => Keys::But("tx-ring-ref", &huge),
        "binary-key" => Keys::But("rx-ring-ref", b"\xff\xfe8"),
        "no-copy-key" => Keys::Without("request-rx-copy"),
        "queues-key" => Keys::But("multi-queue-num-queues", b"1000000"),
        _ => Keys::But("event-channel", b"4000000"),
    };
    liar.publish(keys).await
}

/// Values that change all the time, as fast as xenstored takes them.
pub(super) async fn changes(liar: &mut Liar, kind: &str) -> Outcome {
    liar.connect().await?;
    liar.must_be_heard().await?;
    let huge = vec![0xff; 2000];
    let executor = liar.domain.executor.clone();
    let end = executor.now().after(LONG);
    let mut round = 0_usize;
    while executor.now() < end {
        round += 1;
        match kind {
            "keys-change" => {
                let key = ["tx-ring-ref", "feature-sg", "event-channel", "mac"][round % 4];
                let value = [&b"1"[..], b"", &huge, b"0"][round / 4 % 4];
                liar.write(key, value).await?;
                liar.switch_to(XenbusState::CONNECTED).await?;
            }
            "states-change" => {
                // Closing, Closed, Initialising, Connected.
                let state = [5, 6, 1, 4][round % 4];
                liar.switch_to(XenbusState(state)).await?;
            }
            "states-nonsense" => {
                let values: [&[u8]; 7] = [
                    b"",
                    b"7",
                    b"8",
                    b"-1",
                    b"99999999999999999999",
                    b"\xff\xfe",
                    &huge,
                ];
                liar.write("state", values[round % 7]).await?;
            }
            _ => liar.switch_to(XenbusState::CONNECTED).await?,
        }
    }
    log::info!("{round} changes");
    // Whatever it was taken for, it is connected again in the end, if it may be.
    if kind == "keys-change" || kind == "states-flood" {
        return Ok(());
    }
    come_again_if_it_may(liar).await
}

/// Lets go of its rings, and makes others for another connection.
pub(super) async fn let_go(liar: &mut Liar) -> Outcome {
    for state in [XenbusState::CLOSING, XenbusState::CLOSED] {
        liar.switch_to(state).await?;
        liar.sleep(300).await;
    }
    liar.switch_to(XenbusState::INITIALISING).await?;
    // It lets nobody come more often than once a second.
    for _ in 0..200 {
        if liar.backend_state().await == XenbusState::INIT_WAIT.0 {
            let backend = liar.backend();
            liar.rings = Rings::new(backend, backend, Access::ReadWrite)?;
            return Ok(());
        }
        liar.sleep(100).await;
    }
    let state = liar.backend_state().await;
    Err(format!(
        "it may not come again: the backend's state is {state}"
    ))
}

/// Closes before it has ever connected, as Windows' driver does, and connects then.
pub(super) async fn closes_first(liar: &mut Liar) -> Outcome {
    come_again(liar).await
}

async fn come_again(liar: &mut Liar) -> Outcome {
    let_go(liar).await?;
    liar.connect().await
}

/// Comes again after states that made no sense. A backend that is slow may take one of them for the new
/// connection, with the rings of the old, and refuse that.
async fn come_again_if_it_may(liar: &mut Liar) -> Outcome {
    let mut came = Ok(());
    for _ in 0..TIMES {
        came = come_again(liar).await;
        if came.is_ok() {
            break;
        }
    }
    came
}

pub(super) async fn nodes_gone(liar: &mut Liar) -> Outcome {
    liar.connect().await?;
    liar.must_be_heard().await?;
    let removed = liar.domain.store.rm("device/vif/0").await;
    removed.map_err(|error| error.to_string())
}

/// A lie that costs the connection, and another connection.
pub(super) async fn again(liar: &mut Liar) -> Outcome {
    for _ in 0..TIMES {
        ring::index(liar, "tx-ahead").await?;
        for _ in 0..100 {
            if liar.backend_state().await != super::CONNECTED {
                break;
            }
            liar.sleep(50).await;
        }
        // Its next connection is made here, and its next lie told with it.
        come_again(liar).await?;
    }
    Ok(())
}
