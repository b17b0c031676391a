//! The domain's side: waits for requests, answers, and tidies up.

#![forbid(unsafe_code)]

use super::{
    ANSWER_BYTES_MAX, ANSWER_LIFE, ANSWERS_MAX, Head, PART_BYTES, REQUESTS_NODE, Report, Token,
    VERSION, VERSION_NODE,
};
use crate::task::{Executor, First, race};
use crate::time::Instant;
use crate::xen::Xen;
use crate::xenstore::{Client, Error};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::ToString;

/// Answers whoever asks for what this domain counts, for ever. `report` is called once for all who
/// ask at a time, and not if nobody does.
///
/// Nothing that stands in xenstore ends it or makes it grow: what is no request is removed and
/// counts as one, and what xenstored refuses is given up.
///
/// # Errors
/// [`Error::Protocol`] or [`Error::Disconnected`]: the connection is dead.
pub async fn serve<X: Xen>(
    store: &Client<X>,
    executor: &Executor,
    mut report: impl FnMut() -> Report,
) -> Result<(), Error> {
    refusable(store.mkdir(REQUESTS_NODE).await)?;
    // Last: whoever sees it may ask.
    refusable(store.write(VERSION_NODE, VERSION.to_string()).await)?;
    let mut given = Given::default();
    let mut watch = None;
    loop {
        while let Some(answer) = given.take_expired(executor.now()) {
            if let Some(token) = answer {
                refusable(store.rm(&token.answer_node()).await)?;
            }
        }
        let expiry = given.next_expiry();
        if let (true, Some(expiry)) = (given.is_full(), expiry) {
            // Not even told of more until there is room for their answers.
            watch = None;
            executor.sleep_until(expiry).await;
            continue;
        }
        // A new watch fires at once: nothing that was asked meanwhile is missed.
        let watch = match &mut watch {
            Some(watch) => watch,
            none => none.insert(store.watch(REQUESTS_NODE).await?),
        };
        if let Some(expiry) = expiry {
            match race(watch.next(), executor.sleep_until(expiry)).await {
                First::Left(event) => event.map(drop)?,
                First::Right(()) => continue,
            }
        } else {
            watch.next().await?;
        }
        answer_all(store, executor, &mut given, &mut report).await?;
    }
}

/// Answers those who ask now, as far as there is room.
async fn answer_all<X: Xen>(
    store: &Client<X>,
    executor: &Executor,
    given: &mut Given,
    report: &mut impl FnMut() -> Report,
) -> Result<(), Error> {
    let names = match store.directory(REQUESTS_NODE).await {
        Ok(names) => names,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => {
            // More requests than can be listed, or names that are none.
            refusable::<()>(Err(error))?;
            given.push(executor.now(), None);
            refusable(store.rm(REQUESTS_NODE).await)?;
            return Ok(());
        }
    };
    let mut bytes = None;
    for name in names {
        if given.is_full() {
            break;
        }
        let token = name.parse::<Token>().ok();
        given.push(executor.now(), token);
        // Removed before it is answered: what is asked from now on is another request.
        refusable(store.rm(&format!("{REQUESTS_NODE}/{name}")).await)?;
        if let Some(token) = token {
            let bytes = bytes.get_or_insert_with(|| report().encode());
            answer(store, token, bytes).await?;
        }
    }
    Ok(())
}

async fn answer<X: Xen>(store: &Client<X>, token: Token, bytes: &[u8]) -> Result<(), Error> {
    let head = if bytes.len() > ANSWER_BYTES_MAX {
        Head::TooLong
    } else {
        for (part, bytes) in bytes.chunks(PART_BYTES).enumerate() {
            if refusable(store.write(&token.part_node(part), bytes).await)?.is_none() {
                // No room: whoever asked will say that no answer came.
                return Ok(());
            }
        }
        Head::Bytes(bytes.len())
    };
    refusable(store.write(&token.answer_node(), head.to_string()).await)?;
    Ok(())
}

/// `None` for what xenstored refused: only a dead connection is an error here.
fn refusable<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error @ (Error::Protocol | Error::Disconnected)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What was asked within the last [`ANSWER_LIFE`], oldest first.
#[derive(Default)]
struct Given {
    /// When it was answered; no token for a request that made no sense.
    answers: VecDeque<(Instant, Option<Token>)>,
}

impl Given {
    fn is_full(&self) -> bool {
        self.answers.len() >= ANSWERS_MAX
    }

    fn push(&mut self, now: Instant, token: Option<Token>) {
        self.answers.push_back((now, token));
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.answers
            .front()
            .map(|(given, _)| given.after(ANSWER_LIFE))
    }

    fn take_expired(&mut self, now: Instant) -> Option<Option<Token>> {
        if self.next_expiry()? > now {
            return None;
        }
        self.answers.pop_front().map(|(_, token)| token)
    }
}
