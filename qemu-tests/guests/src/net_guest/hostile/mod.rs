//! A guest that lies to its backend, in one way for each connection.
//!
//! | kind | what it does |
//! |---|---|
//! | `tx-ahead`, `tx-back`, `rx-ahead`, `rx-back` | a ring's index runs far ahead, or backwards |
//! | `scribble` | writes anything to any word of both rings |
//! | `restless` | requests change between two that are right, while they are read |
//! | `two-faced` | a frame changes between one that a rule lets pass and one that none does, while it is read |
//! | `unconsumed` | takes nothing from its receive ring |
//! | `storm` | sends events as fast as it can |
//! | `runt`, `sizes`, `crossing`, `crossing-later` | lengths and offsets that cannot be |
//! | `chain-19`, `chain-22`, `chain-all`, `endless` | more slots than are allowed, or than there are |
//! | `split-header` | headers strewn over slots, which is allowed (XSA-423, XSA-432) |
//! | `extra-loop`, `extra-twice`, `extra-unknown`, `extra-missing`, `gso-none`, `gso-unknown` | extra infos that cannot be |
//! | `gso-lies`, `nonsense` | flags, segments and headers that contradict each other |
//! | `no-grant`, `others-grant`, `others-tail` | sends from pages that were not granted to the firewall |
//! | `revoked` | takes its grants back while frames are under way |
//! | `read-only-buffers`, `no-such-buffers`, `revoked-buffers`, `no-buffers` | receive buffers that cannot be written, or none |
//! | `others-ring`, `read-only-ring`, `no-such-ring` | rings that cannot be mapped |
//! | `no-ring-key`, `text-key`, `huge-key`, `binary-key`, `no-copy-key`, `queues-key`, `port-key` | keys that are missing or make no sense |
//! | `keys-change`, `states-change`, `states-flood`, `states-nonsense` | nodes that change all the time |
//! | `nodes-gone` | removes its own directory |
//! | `closes-first` | closes before it connects, as Windows' driver does; then is honest |
//! | `silent` | never connects |
//! | `again` | lies, loses its connection, comes again, four times; then is honest |
//! | `busy` | sends and pings until it is destroyed |
//! | `leaves` | the same, and then ends itself |

mod frames;
mod grants;
mod liar;
mod ring;
mod store;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use liar::{DISCARD, Liar, Outcome};
use minios_rs::Domain;
use minios_rs::abi::io::netif::NETTXF_CSUM_BLANK;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::console;

/// How long what became of a lie is waited for.
const VERDICT_MS: u64 = 2000;

/// Runs for ever.
pub(crate) fn run(domain: &Domain) -> ! {
    let liar = domain.clone();
    let spawned = domain.executor.spawn(async move {
        if let Err(reason) = lie_all(&liar).await {
            log::error!("Test result: ERROR: {reason}");
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    domain.run(|_| None)
}

/// Tells one lie after the other, each with a connection of its own, the next when `n` is typed.
async fn lie_all(domain: &Domain) -> Outcome {
    let kinds = guests::argument(domain.command_line, "kind").unwrap_or("");
    let mut liar = Liar::meet(domain).await?;
    for (number, kind) in kinds.split(',').enumerate() {
        if number > 0 {
            while console::read() != Some(b'n') {
                liar.sleep(50).await;
            }
            store::let_go(&mut liar).await?;
        }
        match lie(&mut liar, kind).await {
            Ok(told) => log::info!("liar {kind}: {told}"),
            Err(reason) => log::info!("liar {kind}: ERROR: {reason}"),
        }
    }
    Ok(())
}

/// Tells the lie, and says what became of it.
async fn lie(liar: &mut Liar, kind: &str) -> Outcome<String> {
    match kind {
        "tx-ahead" | "tx-back" | "rx-ahead" | "rx-back" => ring::index(liar, kind).await?,
        "scribble" => ring::scribble(liar).await?,
        "restless" => ring::restless(liar).await?,
        "two-faced" => ring::two_faced(liar).await?,
        "unconsumed" => ring::unconsumed(liar).await?,
        "storm" => ring::storm(liar).await?,
        "runt" | "sizes" | "crossing" | "crossing-later" | "chain-19" | "chain-22"
        | "chain-all" | "endless" | "split-header" | "extra-loop" | "extra-twice"
        | "extra-unknown" | "extra-missing" | "gso-none" | "gso-unknown" => {
            frames::one(liar, kind).await?;
        }
        "gso-lies" => frames::gso_lies(liar).await?,
        "nonsense" => frames::nonsense(liar).await?,
        "no-grant" | "others-grant" | "others-tail" => grants::sent(liar, kind).await?,
        "revoked" => grants::revoked(liar).await?,
        "read-only-buffers" | "no-such-buffers" | "revoked-buffers" | "no-buffers" => {
            grants::buffers(liar, kind).await?;
        }
        "others-ring" | "read-only-ring" | "no-such-ring" => grants::rings(liar, kind).await?,
        "no-ring-key" | "text-key" | "huge-key" | "binary-key" | "no-copy-key" | "queues-key"
        | "port-key" => store::key(liar, kind).await?,
        "keys-change" | "states-change" | "states-flood" | "states-nonsense" => {
            store::changes(liar, kind).await?;
        }
        "nodes-gone" => store::nodes_gone(liar).await?,
        "closes-first" => store::closes_first(liar).await?,
        "silent" => {}
        "again" => store::again(liar).await?,
        "busy" => busy(liar, u64::MAX).await?,
        "leaves" => {
            busy(liar, 2000).await?;
            liar.domain.stop(ShutdownReason::Poweroff);
        }
        _ => return Err("no lie is called so".into()),
    }
    for _ in 0..VERDICT_MS / 50 {
        if liar.backend_state().await != CONNECTED {
            break;
        }
        liar.sleep(50).await;
    }
    let heard = match liar.is_heard().await {
        true => "heard",
        false => "not heard",
    };
    let state = liar.backend_state().await;
    Ok(format!("backend state {state}, {heard}"))
}

/// Of the backend, while it serves a vif.
const CONNECTED: u32 = 4;

/// Sends and pings for so long.
async fn busy(liar: &mut Liar, milliseconds: u64) -> Outcome {
    liar.connect().await?;
    log::info!("busy");
    let frames: [Vec<u8>; 3] = [
        liar.ping(98, 1),
        liar.datagram(60, DISCARD),
        liar.datagram(1500, DISCARD),
    ];
    liar.keep_on(milliseconds, 3000, |liar| {
        liar.rings.answers();
        liar.rings.take();
        for frame in &frames {
            if liar.rings.transmit.free() > 192 {
                liar.rings.send(&[frame], NETTXF_CSUM_BLANK, &[]);
            }
        }
    })
    .await;
    Ok(())
}
