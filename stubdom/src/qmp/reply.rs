//! What is said, as JSON. Each line ends with `\r\n`: libxl looks for both.

use super::Status;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// libxl tries another command instead.
    CommandNotFound,
    /// Any other.
    GenericError,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a new client. The version is what libxl chooses its commands by, and means QEMU's.
    Greeting,
    /// It has been done.
    Done,
    /// An empty list.
    Nothing,
    /// To `query-status`.
    Status(Status),
    /// To `query-cpus-fast`: that many.
    Vcpus(u32),
    /// To `query-version`.
    Version,
    /// To `query-vnc`.
    NoScreen,
    /// Nothing has been done.
    Error(Class, String),
}

const VERSION: &str = r#"{"qemu":{"micro":0,"minor":2,"major":7},"package":""}"#;

impl Answer {
    pub(super) fn error(reason: &str) -> Self {
        Self::Error(Class::GenericError, reason.to_string())
    }

    /// Its member of the object, name and value.
    fn member(&self) -> (&'static str, String) {
        match self {
            Self::Greeting => (
                "QMP",
                [r#"{"version":"#, VERSION, r#","capabilities":[]}"#].concat(),
            ),
            Self::Done => ("return", "{}".to_string()),
            Self::Nothing => ("return", "[]".to_string()),
            Self::Version => ("return", VERSION.to_string()),
            Self::NoScreen => ("return", r#"{"enabled":false}"#.to_string()),
            Self::Status(status) => {
                let (word, running) = match status.is_running {
                    true => ("running", "true"),
                    false => ("paused", "false"),
                };
                let status = [
                    r#"{"status":""#,
                    word,
                    r#"","singlestep":false,"running":"#,
                    running,
                    "}",
                ];
                ("return", status.concat())
            }
            Self::Vcpus(vcpus) => {
                let mut list = String::from("[");
                for index in 0..*vcpus {
                    list.push_str(if index == 0 { "" } else { "," });
                    list.push_str(r#"{"cpu-index":"#);
                    list.push_str(&index.to_string());
                    list.push('}');
                }
                list.push(']');
                ("return", list)
            }
            Self::Error(class, reason) => {
                let class = match class {
                    Class::CommandNotFound => "CommandNotFound",
                    Class::GenericError => "GenericError",
                };
                // A string always has a JSON form.
                let reason = serde_json::to_string(reason).unwrap_or_default();
                let error = [r#"{"class":""#, class, r#"","desc":"#, &reason, "}"];
                ("error", error.concat())
            }
        }
    }
}

/// An answer, and the `id` of the command that it is for.
pub(super) struct Reply<'a> {
    pub(super) answer: Answer,
    /// JSON, as it came.
    pub(super) id: Option<&'a str>,
}

impl Reply<'_> {
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let (name, value) = self.answer.member();
        let mut parts = Vec::from(["{\"", name, "\":", &value]);
        if let Some(id) = self.id {
            parts.extend([",\"id\":", id]);
        }
        parts.push("}\r\n");
        for part in parts {
            into.extend_from_slice(part.as_bytes());
        }
    }
}
