//! `explain`: the way of a packet through the example, and the words for what makes no sense.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(name)
}

fn explain(arguments: &str) -> Output {
    explain_in("two-interfaces", arguments)
}

fn explain_in(name: &str, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xen-image"))
        .arg("explain")
        .arg(example(name))
        .args(arguments.split_whitespace())
        .output()
        .expect("xen-image runs")
}

fn answer(arguments: &str) -> String {
    let output = explain(arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn refusal(arguments: &str) -> (Option<i32>, String) {
    let output = explain(arguments);
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code(), said)
}

/// All of these stand in the answer, in this order.
fn in_order(answer: &str, parts: &[&str]) {
    let mut rest = answer;
    for part in parts {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("no `{part}` in its place:\n{answer}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_connection_out_is_translated() {
    let answer = answer("--in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto tcp --dport 443");
    in_order(
        &answer,
        &[
            "10.0.3.9:40000 -> 198.51.100.1:443  tcp SYN",
            "loc net ACCEPT",
            "forwarded",
            "eth0  192.0.2.2:40000 -> 198.51.100.1:443  tcp SYN",
        ],
    );
    assert!(answer.contains("MASQUERADE"), "{answer}");
}

#[test]
fn a_server_behind_dnat_is_reached() {
    let answer = answer("--in eth0 --from 203.0.113.7 --proto tcp --dport 8080");
    in_order(
        &answer,
        &[
            "203.0.113.7:40000 -> 192.0.2.2:8080",
            "DNAT net loc:10.0.3.9:80 tcp 8080",
            "forwarded",
            "eth1  203.0.113.7:40000 -> 10.0.3.9:80",
        ],
    );
}

#[test]
fn who_is_rejected_is_told_and_it_is_logged() {
    let answer = answer("--in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto tcp --dport 25");
    in_order(
        &answer,
        &[
            "REJECT:info loc net tcp smtp",
            "Shorewall:loc-net:REJECT:IN=eth1 OUT=eth0",
            "rejected",
            "eth1  198.51.100.1:25 -> 10.0.3.9:40000  tcp RST ACK",
        ],
    );
}

#[test]
fn the_firewall_answers_a_ping_itself() {
    let answer = answer("--in eth0 --from 203.0.113.7 --proto icmp");
    in_order(
        &answer,
        &[
            "203.0.113.7 -> 192.0.2.2  icmp echo request",
            "taken by the firewall itself",
            "192.0.2.2 -> 203.0.113.7  icmp echo reply",
        ],
    );
}

#[test]
fn the_rules_tried_are_told_with_what_the_packet_is_not_like() {
    let answer = answer("--in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto udp --dport 53");
    in_order(
        &answer,
        &[
            "dnat      shorewall/rules:16  DNAT net loc:10.0.3.9:80 tcp 8080: another zone",
            "route     198.51.100.1 lies behind eth0, by way of 192.0.2.1",
            "chain     loc-net, from zone loc to zone net",
            "rule      shorewall/rules:19  REJECT:info loc net tcp smtp: another protocol",
            "snat      shorewall/snat:6  MASQUERADE 10.0.3.0/24 eth0: strikes",
            "decided   shorewall/policy:5",
        ],
    );
}

#[test]
fn a_line_counts_as_struck_only_if_it_decided() {
    let answer =
        answer("--in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto tcp --dport 25 --json");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    // The answer passes as RELATED, by shorewall.conf and no line of the policy.
    assert_eq!(answer["hits"], serde_json::json!(["shorewall/rules:19"]));
}

#[test]
fn what_the_answer_meets_is_told_apart() {
    let answer = answer("--in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto tcp --dport 25");
    in_order(
        &answer,
        &[
            "REJECT:info loc net tcp smtp: strikes",
            "answer    of the firewall itself",
            "chain     fw-loc, from zone fw to zone loc",
            "decided   shorewall/rules:19",
        ],
    );
}

#[test]
fn json_says_the_same() {
    let answer = answer("--in eth0 --from 203.0.113.7 --proto udp --dport 9 --json");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["fate"], "dropped");
    assert_eq!(answer["packet"]["destination_port"], 9);
    assert_eq!(answer["sent"], serde_json::json!([]));
    let way = answer["way"].as_array().expect("a list");
    let chain = serde_json::json!({"step": "chain", "name": "net-fw", "from": "net", "to": "fw"});
    assert!(way.contains(&chain), "{way:?}");
    let ping = way.iter().find(|step| step["place"] == "shorewall/rules:8");
    let ping = ping.expect("a rule for the firewall itself");
    assert_eq!(
        (&ping["outcome"], &ping["differs_in"]),
        (&"differs".into(), &"protocol".into())
    );
    let by = answer["decided_by"].as_str().expect("a place");
    assert!(by.starts_with("shorewall/policy:"), "{by}");
}

#[test]
fn what_makes_no_sense_is_said() {
    let (status, said) = refusal("--in eth7 --from 203.0.113.7 --proto icmp");
    assert_eq!(status, Some(1));
    assert!(
        said.contains("no interface eth7: it has eth0, eth1"),
        "{said}"
    );

    let (status, said) = refusal("--in eth0 --from 203.0.113.7 --proto tcp");
    assert_eq!(status, Some(1));
    assert!(said.contains("add --dport N"), "{said}");

    let (status, said) = refusal("--in eth0 --from 203.0.113.7 --proto 47 --dport 3");
    assert_eq!(status, Some(1));
    assert!(said.contains("leave --dport out"), "{said}");

    let (status, _) = refusal("--in eth0 --from somewhere --proto icmp");
    assert_eq!(status, Some(2));
}

#[test]
fn guests_are_whoever_the_packet_says() {
    let said = |arguments: &str| {
        let output = explain_in("xen-guests", arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    in_order(
        &said("--in eth0 --from 203.0.113.7 --proto tcp --dport 80"),
        &[
            "DNAT",
            "forwarded",
            "vif-dmz+  203.0.113.7:40000 -> 10.0.4.2:80",
        ],
    );
    in_order(
        &said("--in vif-loc+ --from 10.0.3.2 --to 10.0.4.2 --proto tcp --dport 81"),
        &["rejected", "vif-loc+  "],
    );
    in_order(
        &said("--in vif-loc+ --from 10.0.3.2 --to 198.51.100.1 --proto tcp --dport 443"),
        &["forwarded", "eth0  192.0.2.2:"],
    );
}
