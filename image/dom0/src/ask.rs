//! Asks a domain what it counts ([`minios_rs::stat`]).

use crate::domains::home;
use crate::store::{Store, StoreError, Waited};
use minios_rs::stat::{
    ANSWER_LIFE, DecodeError, Head, PART_BYTES, Report, Token, VERSION, VERSION_NODE,
};
use minios_rs::xen::DomId;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Fires when any domain goes.
const RELEASED: &str = "@releaseDomain";

/// An answer stays for [`ANSWER_LIFE`]: whoever does not see it in twice that time, as dom0 is busy
/// or many ask, was too late and asks again.
const ASK_AGAIN: Duration = ANSWER_LIFE.saturating_mul(2);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// It was not there, or went while it was asked.
    #[error("domain {} is gone", .0.0)]
    Gone(DomId),
    /// It publishes no version.
    #[error(
        "domain {} keeps no statistics: it is not one of these domains, or has only just started \
         (there is no {VERSION_NODE} in xenstore)", .domain.0
    )]
    NotOurs {
        /// Which.
        domain: DomId,
    },
    /// It speaks a later version than this program.
    #[error(
        "the domain answers in version {found}, and this program reads version {VERSION}: use the \
         xen-image-dom0 that was built with the domain's image"
    )]
    Newer {
        /// The domain's.
        found: u16,
    },
    /// It was asked and said nothing.
    #[error(
        "domain {} has not answered for {} s: it is paused or hangs (`xl list` shows its state), or \
         many ask at a time", .domain.0, .patience.as_secs_f64()
    )]
    Silent {
        /// Which.
        domain: DomId,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Parts of the answer are not there, or no longer.
    #[error(
        "a part of the domain's answer is missing: ask again when dom0 is less busy, or give it \
         longer with --timeout"
    )]
    Torn,
    /// It counts more than an answer can hold.
    #[error("the domain has more to tell than an answer can hold")]
    TooLong,
    /// What it wrote is no answer.
    #[error("the domain's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// Xenstore did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Asks a domain, and waits for its answer.
pub(crate) fn ask(
    store: &mut impl Store,
    domain: DomId,
    patience: Duration,
) -> Result<Report, AskError> {
    let home = home(domain);
    check_version(store, domain, &home)?;
    let token = Token(RandomState::new().hash_one(domain.0));
    let request = format!("{home}/{}", token.request_node());
    let answer = format!("{home}/{}", token.answer_node());
    store.watch(&answer)?;
    store.watch(RELEASED)?;
    let version = format!("{home}/{VERSION_NODE}");
    let deadline = Instant::now() + patience;
    let mut attempts_left = 1 + patience.as_millis() / ASK_AGAIN.as_millis();
    let outcome = loop {
        let asked = match store.write_if_there(&version, &request, b"") {
            Ok(()) => {
                let until = deadline.min(Instant::now() + ASK_AGAIN);
                wait(store, domain, &home, &answer, until).and_then(|head| match head {
                    Some(head) => fetch(store, &home, token, head),
                    None => Err(AskError::Silent { domain, patience }),
                })
            }
            Err(StoreError::NotFound) => Err(AskError::Gone(domain)),
            Err(error) => Err(error.into()),
        };
        attempts_left -= 1;
        let too_late = matches!(asked, Err(AskError::Silent { .. } | AskError::Torn));
        if !too_late || attempts_left == 0 {
            break asked;
        }
    };
    // Whatever came of it, nothing stays behind; what fails here has failed above already.
    for path in [&request, &answer] {
        let _ = store.remove(path);
    }
    for path in [answer.as_str(), RELEASED] {
        let _ = store.unwatch(path);
    }
    outcome
}

fn check_version(store: &mut impl Store, domain: DomId, home: &str) -> Result<(), AskError> {
    let version = match store.read(&format!("{home}/{VERSION_NODE}")) {
        Ok(version) => version,
        Err(StoreError::NotFound) => {
            return Err(match store.read(home) {
                Err(StoreError::NotFound) => AskError::Gone(domain),
                _ => AskError::NotOurs { domain },
            });
        }
        Err(error) => return Err(error.into()),
    };
    match number(&version) {
        Some(VERSION) => Ok(()),
        Some(found) if found > VERSION => Err(AskError::Newer { found }),
        _ => Err(AskError::Nonsense("its version is none")),
    }
}

/// Waits until the head of the answer is there; `None`: it is not, at that time.
fn wait(
    store: &mut impl Store,
    domain: DomId,
    home: &str,
    answer: &str,
    until: Instant,
) -> Result<Option<Head>, AskError> {
    loop {
        match store.read(answer) {
            // Made by the first part, written when the last one is there.
            Ok(head) if head.is_empty() => {}
            Ok(head) => {
                let head = std::str::from_utf8(&head).ok();
                return head
                    .and_then(|head| head.parse().ok())
                    .map(Some)
                    .ok_or(AskError::Nonsense("it does not say how long it is"));
            }
            Err(StoreError::NotFound) => {
                if let Err(StoreError::NotFound) = store.read(home) {
                    return Err(AskError::Gone(domain));
                }
            }
            Err(error) => return Err(error.into()),
        }
        let left = until.saturating_duration_since(Instant::now());
        if store.wait(left)? == Waited::TimedOut {
            return Ok(None);
        }
    }
}

/// Puts the parts together.
fn fetch(store: &mut impl Store, home: &str, token: Token, head: Head) -> Result<Report, AskError> {
    let Head::Bytes(announced) = head else {
        return Err(AskError::TooLong);
    };
    let mut bytes = Vec::with_capacity(announced);
    for part in 0..head.parts() {
        let part = match store.read(&format!("{home}/{}", token.part_node(part))) {
            Err(StoreError::NotFound) => return Err(AskError::Torn),
            outcome => outcome?,
        };
        if part.len() != PART_BYTES.min(announced - bytes.len()) {
            return Err(AskError::Nonsense("a part is not as long as it should be"));
        }
        bytes.extend(part);
    }
    Report::decode(&bytes).map_err(|error| match error {
        DecodeError::Version { found } if found > VERSION => AskError::Newer { found },
        DecodeError::Version { .. } | DecodeError::Malformed => {
            AskError::Nonsense("it does not decode")
        }
    })
}

/// A decimal number and nothing else.
fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
