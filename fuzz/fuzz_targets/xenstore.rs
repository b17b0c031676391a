//! Any bytes and indices on the ring of replies while requests wait: an answer or an error for
//! each, and nothing grows.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minios_rs::fake::World;
use minios_rs::xen::{DomId, SharedPage};
use minios_rs::xenstore::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

const GUEST: DomId = DomId(7);
/// Steps of one input.
const STEPS_MAX: usize = 64;
/// Offsets of `req_cons`, `req_prod`, `rsp_cons`, `rsp_prod` (xen/io/xs_wire.h).
const INDICES: [usize; 4] = [2048, 2052, 2056, 2060];

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Directory,
    Read,
    Watch,
    Unwatch,
    TransactionStart,
    TransactionEnd,
    Write,
    WatchEvent,
    Error,
    Any(u32),
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::Directory => 1,
            Self::Read => 2,
            Self::Watch => 4,
            Self::Unwatch => 5,
            Self::TransactionStart => 6,
            Self::TransactionEnd => 7,
            Self::Write => 11,
            Self::WatchEvent => 15,
            Self::Error => 16,
            Self::Any(number) => number,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Read,
    Number,
    Directory,
    Watch,
    Transaction,
    /// Drops the oldest request that still waits.
    Abandon,
    /// A whole message, its length right.
    Message {
        kind: Kind,
        req_id: u8,
        tx_id: u8,
        payload: &'a [u8],
    },
    Bytes(&'a [u8]),
    Index {
        which: u8,
        value: u32,
    },
    Serve,
}

type Request = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

fuzz_target!(|steps: Vec<Step<'_>>| {
    let world = World::new();
    let guest = world.domain(GUEST);
    let store = world.connect_xenstore(&guest);
    world.write_node("/local/domain/7/name", "fuzzed");
    let page = world.xenstore_page(GUEST).expect("it is connected");
    let mut waiting: Vec<Request> = Vec::new();
    // Once its indices are wrong, the simulated xenstored has nothing sensible to do.
    let mut sound = true;
    for step in steps.into_iter().take(STEPS_MAX) {
        let client = store.clone();
        match step {
            Step::Read => waiting.push(Box::pin(async move {
                let value = client.read_text("/local/domain/7/name").await?;
                assert!(value.len() <= 4096);
                Ok(())
            })),
            Step::Number => waiting.push(Box::pin(async move {
                client
                    .read_number_if_any::<u32>("/local/domain/7/name")
                    .await?;
                Ok(())
            })),
            Step::Directory => waiting.push(Box::pin(async move {
                client.directory("/local/domain/7").await?;
                Ok(())
            })),
            Step::Watch => waiting.push(Box::pin(async move {
                let mut watch = client.watch("/local/domain/7").await?;
                watch.next().await?;
                watch.next().await?;
                Ok(())
            })),
            Step::Transaction => waiting.push(Box::pin(async move {
                client
                    .transaction(async |transaction| {
                        transaction.write("/local/domain/7/x", "1").await?;
                        transaction.read_number::<u32>("/local/domain/7/x").await
                    })
                    .await?;
                Ok(())
            })),
            Step::Abandon => {
                if !waiting.is_empty() {
                    drop(waiting.remove(0));
                }
            }
            Step::Message {
                kind,
                req_id,
                tx_id,
                payload,
            } => {
                let words = [
                    kind.number(),
                    u32::from(req_id),
                    u32::from(tx_id),
                    payload.len() as u32,
                ];
                let mut message: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
                message.extend(payload);
                world.inject_xenstore(GUEST, &message);
            }
            Step::Bytes(bytes) => world.inject_xenstore(GUEST, bytes),
            Step::Index { which, value } => {
                sound = false;
                page.word(INDICES[usize::from(which % 4)])
                    .store(value, Ordering::Relaxed);
            }
            Step::Serve => {
                if sound {
                    world.serve_xenstore();
                }
            }
        }
        store.pump();
        waiting.retain_mut(|request| {
            request
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        });
    }
    // Whoever still waits learns of the end.
    store.disconnect();
    for mut request in waiting {
        let end = request
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(end, Poll::Ready(_)), "nobody waits for ever");
    }
});
