//! QMP as far as libxl speaks it to the QEMU of a PV domain: lines of JSON in, lines of JSON out.
//!
//! Only root's programs reach the socket.

use serde_json::{Value, json};

/// What a line may have.
const LINE_MAX: usize = 4096;

/// Answers that wait for a client to read them; who lets more wait is done with.
const ANSWERS_MAX: usize = 64 * 1024;

/// One client.
pub(crate) struct Session {
    line: Vec<u8>,
    is_negotiated: bool,
    /// What it is to be sent.
    pub(crate) answers: Vec<u8>,
    /// It asked for the program's end.
    pub(crate) quits: bool,
}

/// The client does not keep to the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation;

impl Session {
    /// A new client, who is greeted.
    pub(crate) fn new() -> Self {
        let mut session = Self {
            line: Vec::new(),
            is_negotiated: false,
            answers: Vec::new(),
            quits: false,
        };
        session.say(&json!({"QMP": {"version": version(), "capabilities": []}}));
        session
    }

    /// Reads what it sent.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if !line.trim_ascii().is_empty() {
                        self.command(&line);
                    }
                }
                _ if self.line.len() == LINE_MAX => return Err(Violation),
                byte => self.line.push(*byte),
            }
            if self.answers.len() > ANSWERS_MAX {
                return Err(Violation);
            }
        }
        Ok(())
    }

    fn command(&mut self, line: &[u8]) {
        let Ok(Value::Object(command)) = serde_json::from_slice(line) else {
            return self.refuse(None, "GenericError", "a command is a JSON object");
        };
        let id = command.get("id").cloned();
        let Some(name) = command.get("execute").and_then(Value::as_str) else {
            return self.refuse(id, "GenericError", "a command has `execute`");
        };
        if !self.is_negotiated && name != "qmp_capabilities" {
            return self.refuse(id, "CommandNotFound", "qmp_capabilities comes first");
        }
        let answer = match name {
            "qmp_capabilities" => {
                self.is_negotiated = true;
                json!({})
            }
            "quit" => {
                self.quits = true;
                json!({})
            }
            "cont" | "stop" => json!({}),
            // Its consoles' terminals stand in xenstore.
            "query-chardev" => json!([]),
            // It has none of QEMU's options.
            "query-command-line-options" => json!([]),
            // libxenstat's: the domain's disks are not served here.
            "query-block" | "query-blockstats" => json!([]),
            "query-vnc" => json!({"enabled": false}),
            "query-status" => json!({"status": "running", "running": true}),
            "query-version" => version(),
            unknown => {
                let words = format!("the stub domain's helper knows no command {unknown}");
                return self.refuse(id, "CommandNotFound", &words);
            }
        };
        self.reply(id, "return", answer);
    }

    fn refuse(&mut self, id: Option<Value>, class: &str, words: &str) {
        self.reply(id, "error", json!({"class": class, "desc": words}));
    }

    fn reply(&mut self, id: Option<Value>, key: &str, value: Value) {
        let mut reply = serde_json::Map::new();
        reply.insert(key.to_owned(), value);
        reply.extend(id.map(|id| ("id".to_owned(), id)));
        self.say(&Value::Object(reply));
    }

    /// libxl takes nothing but CR and LF for a line's end.
    fn say(&mut self, value: &Value) {
        self.answers.extend(value.to_string().into_bytes());
        self.answers.extend(b"\r\n");
    }
}

/// The QEMU whose commands are meant; libxl asks for what a version can do.
fn version() -> Value {
    json!({
        "qemu": {"major": 7, "minor": 2, "micro": 0},
        "package": concat!("xen-image-stubdom-helper ", env!("CARGO_PKG_VERSION")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(session: &mut Session) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut session.answers)).unwrap();
        text.split_terminator("\r\n")
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn ask(session: &mut Session, line: &str) -> Value {
        session.feed(format!("{line}\r\n").as_bytes()).unwrap();
        let mut answers = answers(session);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    fn negotiated() -> Session {
        let mut session = Session::new();
        answers(&mut session);
        ask(&mut session, r#"{"execute":"qmp_capabilities","id":1}"#);
        session
    }

    #[test]
    fn libxls_conversation() {
        let mut session = Session::new();
        let greeting = answers(&mut session).remove(0);
        assert_eq!(greeting["QMP"]["version"]["qemu"]["major"], 7);
        assert_eq!(
            ask(&mut session, r#"{"execute":"qmp_capabilities","id":7}"#),
            json!({"return": {}, "id": 7})
        );
        assert_eq!(
            ask(&mut session, r#"{"execute":"query-chardev","id":8}"#),
            json!({"return": [], "id": 8})
        );
        assert_eq!(
            ask(&mut session, r#"{"execute":"query-vnc","id":9}"#),
            json!({"return": {"enabled": false}, "id": 9})
        );
    }

    #[test]
    fn the_question_for_options_and_its_end() {
        let mut session = negotiated();
        let answer = ask(
            &mut session,
            r#"{"execute":"query-command-line-options","id":2}"#,
        );
        assert_eq!(answer, json!({"return": [], "id": 2}));
        assert!(!session.quits);
        assert_eq!(
            ask(&mut session, r#"{"execute":"quit","id":3}"#),
            json!({"return": {}, "id": 3})
        );
        assert!(session.quits);
    }

    #[test]
    fn what_is_not_known_is_refused_in_qemus_words() {
        let mut session = Session::new();
        answers(&mut session);
        let early = ask(&mut session, r#"{"execute":"query-vnc"}"#);
        assert_eq!(early["error"]["class"], "CommandNotFound");
        let mut session = negotiated();
        let unknown = ask(&mut session, r#"{"execute":"device_add","id":5}"#);
        assert_eq!(unknown["error"]["class"], "CommandNotFound");
        assert_eq!(unknown["id"], 5);
        assert_eq!(ask(&mut session, "[]")["error"]["class"], "GenericError");
        assert_eq!(ask(&mut session, "{}")["error"]["class"], "GenericError");
    }

    #[test]
    fn a_line_without_end_is_a_violation() {
        let mut session = Session::new();
        assert_eq!(session.feed(&[b'x'; LINE_MAX]), Ok(()));
        assert_eq!(session.feed(b"x"), Err(Violation));
    }

    #[test]
    fn who_never_reads_is_done_with() {
        let mut session = Session::new();
        let flood = b"{}\n".repeat(LINE_MAX);
        assert_eq!(session.feed(&flood), Err(Violation));
        assert!(session.answers.len() < 2 * ANSWERS_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_in_json_or_are_a_violation(bytes: Vec<u8>) {
            let mut session = negotiated();
            if session.feed(&bytes).is_ok() {
                answers(&mut session);
            }
        }
    }
}
