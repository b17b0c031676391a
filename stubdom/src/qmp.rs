//! QMP, the language in which xl commands a device model: a line of JSON each way.
//!
//! [`Session`] is one client's conversation: bytes in, bytes out, and between them the [`Command`]s
//! that somebody must carry out. It does nothing itself, and answers at once what needs nobody.
//! Commands are answered one after the other, as libxl wants it; what a client sends meanwhile waits
//! where it came from.
//!
//! The client is dom0's, but any process there may be it: a line is [`LINE_MAX`] bytes at most, what
//! is no command is answered as such, and nothing grows.

mod reply;

pub use reply::Answer;

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use reply::{Class, Reply};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of a line; a longer one is refused, and read over.
pub const LINE_MAX: usize = 4096;

/// Where libxl has the state written to: a Linux stub domain opens its console 1 under this name.
const SAVE_FILE: &str = "/dev/fdset/1";

/// What somebody must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Go on serving the guest (`cont`).
    Continue,
    /// Hold still (`stop`): the state is to be saved.
    Stop,
    /// Write the state to the save stream, and answer when all of it has been read
    /// (`xen-save-devices-state`).
    Save {
        /// The guest goes on elsewhere, not here.
        is_live: bool,
    },
    /// Begin or end to tell Xen what devices write to the guest's memory
    /// (`xen-set-global-dirty-log`).
    LogDirty {
        /// Begin.
        is_on: bool,
    },
    /// Wake the guest from its sleep (`system_wakeup`).
    WakeUp,
}

/// Which command an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// What clients may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The guest is served.
    pub is_running: bool,
    /// The guest's vCPUs.
    pub vcpus: u32,
}

/// A command on the wire.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    execute: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// The arguments of those commands that have any we look at.
#[derive(Default, Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    filename: Option<Cow<'a, str>>,
    live: Option<bool>,
    enable: Option<bool>,
}

/// What becomes of a line.
enum Outcome {
    Said(Answer),
    ToDo(Command),
}

/// One client's conversation after another's.
#[derive(Debug, Default)]
pub struct Session {
    /// What came and is not yet a line.
    input: Vec<u8>,
    /// The rest of a line that is too long is being read over.
    is_skipping: bool,
    has_negotiated: bool,
    output: Vec<u8>,
    /// The command under way, and its `id` as it came.
    pending: Option<(Ticket, Option<String>)>,
    tickets: u32,
}

impl Session {
    /// Begins with a new client: greets it, and forgets the last one and what it was owed.
    pub fn greet(&mut self) {
        let tickets = self.tickets;
        *self = Self::default();
        self.tickets = tickets;
        self.say(Answer::Greeting, None);
    }

    /// Bytes that [`Session::push`] takes now: none while an answer is not given or not read.
    pub fn room(&self) -> usize {
        match self.pending.is_none() && self.output.is_empty() {
            true => LINE_MAX - self.input.len(),
            false => 0,
        }
    }

    /// Takes what the client wrote, [`Session::room`] bytes at most.
    pub fn push(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "asked before");
        self.input.extend_from_slice(bytes);
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// That much of it was.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// The next command for somebody; before it, answers those that need nobody. `None` as well
    /// while there is something to send.
    pub fn next(&mut self, status: &Status) -> Option<(Ticket, Command)> {
        while self.pending.is_none() && self.output.is_empty() {
            let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
                if self.input.len() == LINE_MAX {
                    self.input.clear();
                    self.is_skipping = true;
                }
                return None;
            };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if core::mem::take(&mut self.is_skipping) {
                self.say(Answer::error("the line is too long"), None);
            } else if let Some(command) = self.line(line.trim_ascii(), status) {
                return Some(command);
            }
        }
        None
    }

    /// Answers a command, unless its client has gone.
    pub fn answer(&mut self, ticket: Ticket, outcome: Result<(), &str>) {
        if let Some((_, id)) = self.pending.take_if(|(pending, _)| *pending == ticket) {
            let answer = match outcome {
                Ok(()) => Answer::Done,
                Err(reason) => Answer::error(reason),
            };
            self.say(answer, id.as_deref());
        }
    }

    fn line(&mut self, line: &[u8], status: &Status) -> Option<(Ticket, Command)> {
        if line.is_empty() {
            return None;
        }
        let Ok(request) = serde_json::from_slice::<Request<'_>>(line) else {
            self.say(Answer::error("this is no command"), None);
            return None;
        };
        let id = request.id.map(RawValue::get);
        let name = request.execute.as_deref().unwrap_or_default();
        match self.execute(name, request.arguments, status) {
            Outcome::Said(answer) => {
                self.say(answer, id);
                None
            }
            Outcome::ToDo(command) => {
                self.tickets = self.tickets.wrapping_add(1);
                let ticket = Ticket(self.tickets);
                self.pending = Some((ticket, id.map(String::from)));
                Some((ticket, command))
            }
        }
    }

    fn execute(&mut self, name: &str, arguments: Option<&RawValue>, status: &Status) -> Outcome {
        let unknown = |reason| Outcome::Said(Answer::Error(Class::CommandNotFound, reason));
        match (name, self.has_negotiated) {
            ("qmp_capabilities", false) => {
                self.has_negotiated = true;
                return Outcome::Said(Answer::Done);
            }
            ("qmp_capabilities", true) => {
                return unknown("the capabilities have been negotiated".to_string());
            }
            (_, false) => return unknown("first comes qmp_capabilities".to_string()),
            (_, true) => {}
        }
        let arguments = arguments.map_or("{}", RawValue::get);
        let Ok(arguments) = serde_json::from_str::<Arguments<'_>>(arguments) else {
            return Outcome::Said(Answer::error("an argument is of the wrong type"));
        };
        Outcome::ToDo(match name {
            "cont" => Command::Continue,
            "stop" => Command::Stop,
            "system_wakeup" => Command::WakeUp,
            "xen-save-devices-state" if arguments.filename.as_deref() == Some(SAVE_FILE) => {
                Command::Save {
                    is_live: arguments.live.unwrap_or(true),
                }
            }
            "xen-save-devices-state" => {
                let reason = "the state goes to /dev/fdset/1, this domain's console 1";
                return Outcome::Said(Answer::error(reason));
            }
            "xen-set-global-dirty-log" => match arguments.enable {
                Some(is_on) => Command::LogDirty { is_on },
                None => return Outcome::Said(Answer::error("enable is missing")),
            },
            "query-status" => return Outcome::Said(Answer::Status(*status)),
            "query-cpus-fast" => return Outcome::Said(Answer::Vcpus(status.vcpus)),
            "query-version" => return Outcome::Said(Answer::Version),
            "query-vnc" => return Outcome::Said(Answer::NoScreen),
            "query-chardev" | "query-pci" => return Outcome::Said(Answer::Nothing),
            "device_add" | "device_del" | "cpu-add" => {
                let reason = "no device or vCPU comes or goes while the guest runs";
                return Outcome::Said(Answer::error(reason));
            }
            _ => {
                let name: String = name.chars().take(NAME_MAX).collect();
                return unknown(alloc::format!("the command {name} has not been found"));
            }
        })
    }

    fn say(&mut self, answer: Answer, id: Option<&str>) {
        Reply { answer, id }.write(&mut self.output);
    }
}

/// Characters of a name that an answer repeats.
const NAME_MAX: usize = 64;

#[cfg(test)]
mod tests;
