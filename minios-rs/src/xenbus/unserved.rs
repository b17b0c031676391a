//! Devices that the toolstack gave this domain the backend of, and that nobody here serves: it is told so, and is
//! not kept waiting when it takes them away.
//!
//! It wants three things of a backend: an answer when it attaches (Closed is none that it takes, so that fails,
//! after its 10 s), Closed once it has set `online` to 0, and then the directory gone, though not before it
//! could read Closed there.

#![forbid(unsafe_code)]

use super::{Boxed, Error, XenbusState, children, publish, remove};
use crate::abi::errno::EOPNOTSUPP;
use crate::task::Executor;
use crate::xen::{Errno, Xen};
use crate::xenstore::Client;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// Where the toolstack makes the directories of backends, relative to a domain's home.
const ROOT: &str = "backend";

/// How many names below that a device is: `backend/vif/5/0`.
const DEPTH: usize = 3;

/// How long a directory stays after Closed: the toolstack still wants to read that.
pub(crate) const REMOVE_GRACE: Duration = Duration::from_secs(1);

/// Whether the toolstack does not take the device away.
///
/// # Errors
/// xenstore's.
pub(crate) async fn is_online<X: Xen>(store: &Client<X>, node: &str) -> Result<bool, Error> {
    match store.read(&format!("{node}/online")).await {
        Ok(online) => Ok(online.trim_ascii() != b"0"),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Says where the administrator looks why a device is not served.
pub(crate) fn complain<'a, X: Xen>(
    store: &'a Client<X>,
    node: &'a str,
    errno: Errno,
    reason: &'a str,
) -> Boxed<'a, ()> {
    Box::pin(async move {
        log::error!("{node}: {reason}");
        let place = format!("error/{node}/error");
        // Full quotas must not keep it from closing.
        let _ = store.write(&place, format!("{} {reason}", errno.0)).await;
    })
}

/// Takes back what was said of a device that is gone. Guests come under ever new numbers, so the directory of
/// its frontend goes with the last one.
pub(crate) fn retract<'a, X: Xen>(store: &'a Client<X>, node: &'a str) -> Boxed<'a, ()> {
    Box::pin(async move {
        let mut place = format!("error/{node}");
        let _ = store.rm(&place).await;
        place.truncate(place.rfind('/').unwrap_or(0));
        let others = children(store, &place).await;
        if others.is_ok_and(|others| others.is_empty()) {
            let _ = store.rm(&place).await;
        }
    })
}

/// Answers for every device but those of the classes `known` whose backend the toolstack makes this domain: refuses
/// it for `reason`, and lets it go when it is taken away. Ends only with the xenstore connection; run it
/// as a task.
///
/// # Errors
/// xenstore's.
pub async fn refuse_backends<X: Xen>(
    store: Client<X>,
    executor: Executor,
    known: &[&str],
    reason: &str,
) -> Result<(), Error> {
    let mut watch = store.watch(ROOT).await?;
    let mut look = Look::default();
    loop {
        match look.is_done && look.leaving.is_empty() {
            true => drop(watch.next().await?),
            false => executor.sleep(REMOVE_GRACE).await,
        }
        watch.clear();
        look = look.again(&store, known, reason).await;
        if let Some(dead) = store.dead() {
            return Err(dead.into());
        }
    }
}

/// What a look at every device has found.
struct Look {
    /// Each was answered. What xenstored cannot do now it may before long.
    is_done: bool,
    /// Those that say Closed and were taken away. Each is removed if it still is at the next look.
    leaving: Vec<String>,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            is_done: true,
            leaving: Vec::new(),
        }
    }
}

impl Look {
    async fn again<X: Xen>(self, store: &Client<X>, known: &[&str], reason: &str) -> Self {
        let mut look = Self::default();
        let mut places = Vec::from([(0, ROOT.to_string())]);
        while let Some((depth, place)) = places.pop() {
            if depth == DEPTH {
                let answered = look.answer(store, place, reason, &self.leaving).await;
                look.is_done &= answered.is_ok();
                continue;
            }
            let Ok(names) = children(store, &place).await else {
                look.is_done = false;
                continue;
            };
            for name in names {
                if depth > 0 || !known.contains(&name.as_str()) {
                    places.push((depth + 1, format!("{place}/{name}")));
                }
            }
        }
        look
    }

    async fn answer<X: Xen>(
        &mut self,
        store: &Client<X>,
        node: String,
        reason: &str,
        left: &[String],
    ) -> Result<(), Error> {
        let [Some(state), online] = &store.read_all(&node, &["state", "online"]).await?[..] else {
            return Ok(());
        };
        if state != "6" {
            complain(store, &node, EOPNOTSUPP, reason).await;
            return publish(store, &node, &[], XenbusState::CLOSED).await;
        }
        if online.as_deref() != Some("0") {
            return Ok(());
        }
        if !left.contains(&node) {
            self.leaving.push(node);
            return Ok(());
        }
        remove(store, &node).await?;
        retract(store, &node).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
