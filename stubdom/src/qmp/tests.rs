use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;
use serde_json::Value;

const STATUS: Status = Status {
    is_running: true,
    vcpus: 2,
};

/// What is to be sent, which is then sent.
fn said(session: &mut Session) -> String {
    let text = String::from_utf8(session.output().to_vec()).unwrap();
    session.sent(text.len());
    text
}

fn ask(session: &mut Session, line: &str) -> Option<(Ticket, Command)> {
    session.push(line.as_bytes());
    session.push(b"\r\n");
    session.next(&STATUS)
}

/// A client that has been greeted and has negotiated.
fn connected() -> Session {
    let mut session = Session::default();
    session.greet();
    said(&mut session);
    assert_eq!(
        ask(&mut session, r#"{"execute":"qmp_capabilities","id":1}"#),
        None
    );
    assert_eq!(said(&mut session), "{\"return\":{},\"id\":1}\r\n");
    session
}

#[test]
fn a_client_is_greeted_as_libxl_expects() {
    let mut session = Session::default();
    session.greet();
    let greeting = said(&mut session);
    assert!(greeting.ends_with("}\r\n"));
    let greeting: Value = serde_json::from_str(&greeting).unwrap();
    let version = &greeting["QMP"]["version"]["qemu"];
    for (key, value) in [("major", 7), ("minor", 2), ("micro", 0)] {
        assert_eq!(version[key], value);
    }
    assert_eq!(greeting["QMP"]["capabilities"], Value::Array(vec![]));
}

#[test]
fn nothing_is_done_before_the_capabilities_and_these_once() {
    let mut session = Session::default();
    session.greet();
    said(&mut session);
    assert_eq!(ask(&mut session, r#"{"execute":"cont","id":0}"#), None);
    assert!(said(&mut session).contains("CommandNotFound"));
    ask(&mut session, r#"{"execute":"qmp_capabilities","id":1}"#);
    said(&mut session);
    ask(&mut session, r#"{"execute":"qmp_capabilities","id":2}"#);
    assert!(said(&mut session).contains("CommandNotFound"));
}

#[test]
fn commands_are_somebodys_to_do_and_answered_when_done() {
    for (line, command) in [
        (r#"{"execute":"cont","id":7}"#, Command::Continue),
        (r#"{"id":7,"execute":"stop"}"#, Command::Stop),
        (r#"{"execute":"system_wakeup","id":7}"#, Command::WakeUp),
        (
            r#"{"execute":"xen-save-devices-state","id":7,"arguments":{"live":false,"filename":"/dev/fdset/1"}}"#,
            Command::Save { is_live: false },
        ),
        (
            r#"{"execute":"xen-save-devices-state","id":7,"arguments":{"filename":"/dev/fdset\/1"}}"#,
            Command::Save { is_live: true },
        ),
        (
            r#"{"execute":"xen-set-global-dirty-log","arguments":{"enable":true},"id":7}"#,
            Command::LogDirty { is_on: true },
        ),
    ] {
        let mut session = connected();
        let (ticket, todo) = ask(&mut session, line).expect(line);
        assert_eq!(todo, command);
        assert_eq!(
            (session.output(), session.room()),
            (&b""[..], 0),
            "one at a time"
        );
        session.answer(ticket, Ok(()));
        assert_eq!(said(&mut session), "{\"return\":{},\"id\":7}\r\n");
        let (ticket, _) = ask(&mut session, line).unwrap();
        session.answer(ticket, Err("the disk \"a\" is gone"));
        assert_eq!(
            said(&mut session),
            "{\"error\":{\"class\":\"GenericError\",\"desc\":\"the disk \\\"a\\\" is gone\"},\"id\":7}\r\n"
        );
    }
}

#[test]
fn questions_are_answered_at_once() {
    for (name, answer) in [
        (
            "query-status",
            r#"{"status":"running","singlestep":false,"running":true}"#,
        ),
        ("query-cpus-fast", r#"[{"cpu-index":0},{"cpu-index":1}]"#),
        (
            "query-version",
            r#"{"qemu":{"micro":0,"minor":2,"major":7},"package":""}"#,
        ),
        ("query-vnc", r#"{"enabled":false}"#),
        ("query-chardev", "[]"),
        ("query-pci", "[]"),
    ] {
        let mut session = connected();
        let line = format!(r#"{{"execute":"{name}","id":{{"any":["thing"]}}}}"#);
        assert_eq!(ask(&mut session, &line), None);
        let expected = format!("{{\"return\":{answer},\"id\":{{\"any\":[\"thing\"]}}}}\r\n");
        assert_eq!(said(&mut session), expected);
    }
}

#[test]
fn what_cannot_be_done_is_said_so_and_never_silently() {
    for (line, class, says) in [
        (
            r#"{"execute":"query-cpus","id":1}"#,
            "CommandNotFound",
            "query-cpus",
        ),
        (
            r#"{"execute":"query-hotpluggable-cpus","id":1}"#,
            "CommandNotFound",
            "query-hot",
        ),
        (r#"{"execute":"eject","id":1}"#, "CommandNotFound", "eject"),
        (
            r#"{"execute":"quo\"te","id":1}"#,
            "CommandNotFound",
            r#"quo\"te"#,
        ),
        (
            r#"{"execute":"device_add","id":1,"arguments":{"driver":"usb-tablet"}}"#,
            "GenericError",
            "device",
        ),
        (
            r#"{"execute":"cpu-add","id":1,"arguments":{"id":1}}"#,
            "GenericError",
            "vCPU",
        ),
        (
            r#"{"execute":"xen-save-devices-state","id":1,"arguments":{"filename":"/etc/passwd"}}"#,
            "GenericError",
            "/dev/fdset/1",
        ),
        (
            r#"{"execute":"xen-save-devices-state","id":1}"#,
            "GenericError",
            "/dev/fdset/1",
        ),
        (
            r#"{"execute":"xen-set-global-dirty-log","id":1}"#,
            "GenericError",
            "enable",
        ),
        (
            r#"{"execute":"xen-set-global-dirty-log","id":1,"arguments":{"enable":1}}"#,
            "GenericError",
            "type",
        ),
        (r#"{"id":1}"#, "CommandNotFound", ""),
    ] {
        let mut session = connected();
        assert_eq!(ask(&mut session, line), None, "{line}");
        let answer = said(&mut session);
        assert!(
            answer.contains(class) && answer.contains(says),
            "{line}: {answer}"
        );
        assert!(answer.ends_with(",\"id\":1}\r\n"), "{answer}");
    }
    for line in ["{", "7", "[]", "{\"execute\":7}", "\u{1}"] {
        let mut session = connected();
        assert_eq!(ask(&mut session, line), None, "{line}");
        assert!(said(&mut session).contains("this is no command"), "{line}");
    }
}

#[test]
fn several_lines_in_one_piece_and_one_line_in_many_are_the_same() {
    let mut session = connected();
    session.push(b"\r\n\n{\"execute\":\"query-pci\",\"id\":1}\n{\"execute\":\"cont\",");
    assert_eq!(session.next(&STATUS), None);
    assert_eq!(said(&mut session), "{\"return\":[],\"id\":1}\r\n");
    assert_eq!(session.next(&STATUS), None);
    session.push(b"\"id\":2}\r");
    assert_eq!(session.next(&STATUS), None);
    session.push(b"\n{\"execute\":\"stop\",\"id\":3}\r\n");
    let (first, command) = session.next(&STATUS).unwrap();
    assert_eq!(command, Command::Continue);
    assert_eq!(session.next(&STATUS), None);
    session.answer(first, Ok(()));
    said(&mut session);
    let (second, command) = session.next(&STATUS).unwrap();
    assert_eq!(command, Command::Stop);
    session.answer(first, Ok(()));
    assert_eq!(said(&mut session), "", "that was answered");
    session.answer(second, Ok(()));
    assert_eq!(said(&mut session), "{\"return\":{},\"id\":3}\r\n");
}

#[test]
fn an_answer_owed_to_a_client_that_left_is_not_the_next_ones() {
    let mut session = connected();
    let (old, _) = ask(&mut session, r#"{"execute":"cont","id":7}"#).unwrap();
    session.greet();
    said(&mut session);
    session.answer(old, Ok(()));
    assert_eq!(said(&mut session), "");
    ask(&mut session, r#"{"execute":"qmp_capabilities","id":7}"#);
    said(&mut session);
    let (new, _) = ask(&mut session, r#"{"execute":"stop","id":7}"#).unwrap();
    session.answer(old, Err("late"));
    assert_eq!(said(&mut session), "");
    session.answer(new, Ok(()));
    assert_eq!(said(&mut session), "{\"return\":{},\"id\":7}\r\n");
}

#[test]
fn a_line_without_end_is_read_over_and_the_next_one_served() {
    let mut session = connected();
    for _ in 0..5 {
        session.push(&vec![b'x'; session.room()]);
        assert_eq!(session.next(&STATUS), None);
    }
    session.push(b"\n");
    assert_eq!(session.next(&STATUS), None);
    assert!(said(&mut session).contains("too long"));
    assert!(ask(&mut session, r#"{"execute":"stop","id":3}"#).is_some());
}

#[test]
fn brackets_without_end_need_no_stack() {
    let mut session = connected();
    let line = format!(
        r#"{{"execute":"cont","arguments":{}"#,
        "[".repeat(LINE_MAX - 64)
    );
    assert_eq!(ask(&mut session, &line), None);
    assert!(said(&mut session).contains("this is no command"));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::sample::select(vec![
            "{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n",
            "{\"execute\":\"cont\",\"id\":2}\n",
            "{\"execute\":\"query-cpus-fast\",\"id\":\"\\u0041\"}\n",
            "{\"execute\":\"xen-save-devices-state\",\"arguments\":{\"filename\":\"/dev/fdset/1\"}}\n",
            "{\"execute\":",
            "\"id\":[[[",
            "\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_json_lines_and_nothing_grows(
        pieces in prop::collection::vec((piece(), any::<bool>()), 0..60),
    ) {
        let mut session = Session::default();
        session.greet();
        let mut owed = None;
        for (piece, answer) in pieces {
            let count = piece.len().min(session.room());
            session.push(&piece[..count]);
            if let Some((ticket, _)) = session.next(&STATUS) {
                prop_assert!(owed.is_none(), "one at a time");
                owed = Some(ticket);
            }
            if answer && let Some(ticket) = owed.take() {
                session.answer(ticket, Ok(()));
            }
            let text = String::from_utf8(session.output().to_vec()).unwrap();
            session.sent(text.len());
            for line in text.split_terminator("\r\n") {
                prop_assert!(serde_json::from_str::<Value>(line).is_ok(), "{}", line);
            }
            prop_assert!(text.len() <= 2 * LINE_MAX && session.input.len() <= LINE_MAX);
        }
    }
}
