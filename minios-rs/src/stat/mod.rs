//! What a domain counts, told to whoever asks for it in dom0, through xenstore.
//!
//! ```text
//!   dom0                                    the domain, below its own data/stat/
//!   write request/TOKEN ───────────────────►
//!                                           remove request/TOKEN
//!                       ◄─────────────────── write answer/TOKEN/0, answer/TOKEN/1, …
//!                       ◄─────────────────── write answer/TOKEN, last: how many bytes and parts
//!   read and remove answer/TOKEN
//! ```
//!
//! - `version` says which [`VERSION`] the domain answers in; a domain without it answers nobody.
//! - A token is the asker's own ([`Token`]), so that several can ask at once. The value written to a
//!   request means nothing.
//! - The domain writes nothing that nobody asked for, and gives at most [`ANSWERS_MAX`] answers in
//!   [`ANSWER_LIFE`]: more requests wait, and while they do the domain does not even watch them
//!   come. An answer that was not removed by then is removed by the domain.
//! - The bytes are a [`Report`] in the form of [`Report::encode`]. A value in xenstore may have 2,048
//!   bytes (the daemons' default quota), so the answer is cut into parts of [`PART_BYTES`].
//!
//! A domain's answer is a stranger's word to whoever reads it: [`Report::decode`] bounds and checks
//! it, but the texts in it may hold any characters.

#![forbid(unsafe_code)]

mod report;
mod service;

pub use report::{Count, DecodeError, Detail, Direction, Interface, Memory, Report};
pub use service::serve;

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use thiserror::Error;

/// The version of requests, answers and [`Report`] that is written here.
pub const VERSION: u16 = 1;

/// Below the domain's own directory: the [`VERSION`] it answers in, in decimal.
pub const VERSION_NODE: &str = "data/stat/version";

/// Below the domain's own directory: the parent of all requests.
pub const REQUESTS_NODE: &str = "data/stat/request";

/// Bytes of one part of an answer, but for the last one, which may be shorter.
pub const PART_BYTES: usize = 1536;

/// Parts of an answer, at most.
pub const PARTS_MAX: usize = 32;

/// Bytes of an answer, at most.
pub const ANSWER_BYTES_MAX: usize = PART_BYTES * PARTS_MAX;

/// Answers in each [`ANSWER_LIFE`], at most.
pub const ANSWERS_MAX: usize = 16;

/// How long an answer stays for whoever asked, at least.
pub const ANSWER_LIFE: Duration = Duration::from_secs(1);

/// Names one request and its answer: 64 bits of the asker's choice, 16 hexadecimal digits in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// Not 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a token")]
pub struct BadToken;

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(BadToken);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| BadToken)
    }
}

impl Token {
    /// Where to ask, below the domain's own directory.
    pub fn request_node(self) -> String {
        format!("{REQUESTS_NODE}/{self}")
    }

    /// Where the answer's [`Head`] will be, below the domain's own directory.
    pub fn answer_node(self) -> String {
        format!("data/stat/answer/{self}")
    }

    /// Where a part of the answer is.
    pub fn part_node(self, part: usize) -> String {
        format!("data/stat/answer/{self}/{part}")
    }
}

/// What stands in [`Token::answer_node`] once the answer is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// So many bytes, in as many parts as they need.
    Bytes(usize),
    /// There is more to tell than [`ANSWER_BYTES_MAX`].
    TooLong,
}

/// Neither a number of bytes nor `too-long`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the head of an answer")]
pub struct BadHead;

impl Head {
    /// How many parts there are.
    pub fn parts(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.div_ceil(PART_BYTES),
            Self::TooLong => 0,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(formatter, "{bytes}"),
            Self::TooLong => formatter.write_str("too-long"),
        }
    }
}

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        if text == "too-long" {
            return Ok(Self::TooLong);
        }
        match text.parse() {
            Ok(bytes) if (1..=ANSWER_BYTES_MAX).contains(&bytes) => Ok(Self::Bytes(bytes)),
            _ => Err(BadHead),
        }
    }
}

#[cfg(test)]
mod tests;
