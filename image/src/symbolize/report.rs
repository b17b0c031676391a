//! Which lines of a log hold addresses of code.

/// An address of code in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// The instruction itself.
    Exact(u64),
    /// The instruction after a call, which may belong to the next line, or the next function.
    Return(u64),
}

impl Address {
    pub(super) fn value(self) -> u64 {
        match self {
            Self::Exact(address) | Self::Return(address) => address,
        }
    }

    /// An address inside the instruction that is meant.
    pub(super) fn lookup(self) -> u64 {
        match self {
            Self::Exact(address) => address,
            Self::Return(address) => address.wrapping_sub(1),
        }
    }
}

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A crash report begins.
    Report,
    /// A crash report begins, and says where it happened.
    ReportAt(Address),
    /// The image that the report is of, in hexadecimal.
    BuildId(String),
    /// One step of a backtrace, at the line's end.
    Frame(Address),
    /// Words of a stack, some of which may be return addresses.
    StackWords(Vec<Address>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// In a report of minios-rs, before its backtrace.
    Report(First),
    Backtrace(First),
    /// After Xen's `Guest stack trace`.
    Stack,
}

/// What the first address of a backtrace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// After an exception: the instruction that raised it.
    Instruction,
    /// After a panic: a return address as all the others.
    Return,
}

/// Follows a log. Lines may have something before them, such as a time or `(XEN)`.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
}

impl Reader {
    pub(super) fn line(&mut self, line: &str) -> Found {
        if let Some((_, report)) = line.split_once("CRASH: ") {
            let at = report
                .rsplit_once(" at ")
                .and_then(|(_, address)| prefixed(address.trim_end()));
            // An exception's report says so; a panic's ends in its place in the sources.
            let first = match at {
                Some(_) => First::Instruction,
                None => First::Return,
            };
            self.state = State::Report(first);
            return match at {
                Some(address) => Found::ReportAt(Address::Exact(address)),
                None => Found::Report,
            };
        }
        // Xen's own: `(XEN) RIP:    e033:[<0000000000101234>]`
        if let Some(address) = line
            .split_once("RIP:")
            .and_then(|(_, rest)| bracketed(rest))
        {
            self.state = State::Outside;
            return Found::ReportAt(Address::Exact(address));
        }
        if line.contains("Guest stack trace from ") {
            self.state = State::Stack;
            return Found::Nothing;
        }
        match self.state {
            State::Outside => Found::Nothing,
            State::Report(first) => {
                let words: Vec<&str> = line.split_whitespace().rev().take(2).collect();
                match words[..] {
                    ["backtrace:", ..] => {
                        self.state = State::Backtrace(first);
                        Found::Nothing
                    }
                    [id, "build-id"] if id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                        Found::BuildId(id.to_owned())
                    }
                    _ => Found::Nothing,
                }
            }
            State::Backtrace(first) => {
                let Some(address) = line.split_whitespace().next_back().and_then(prefixed) else {
                    self.state = State::Outside;
                    return Found::Nothing;
                };
                self.state = State::Backtrace(First::Return);
                Found::Frame(match first {
                    First::Instruction => Address::Exact(address),
                    First::Return => Address::Return(address),
                })
            }
            State::Stack => {
                let words: Vec<Address> = line
                    .split_whitespace()
                    .filter_map(word)
                    .map(Address::Return)
                    .collect();
                if words.is_empty() {
                    self.state = State::Outside;
                    return Found::Nothing;
                }
                Found::StackWords(words)
            }
        }
    }
}

/// `0x` and 16 digits.
fn prefixed(text: &str) -> Option<u64> {
    word(text.strip_prefix("0x")?)
}

/// 16 digits.
fn word(text: &str) -> Option<u64> {
    let is_word = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_word.then(|| u64::from_str_radix(text, 16).ok())?
}

/// `[<` 16 digits `>]`.
fn bracketed(text: &str) -> Option<u64> {
    let (_, inner) = text.split_once("[<")?;
    word(inner.split_once(">]")?.0)
}
