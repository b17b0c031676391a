//! What a person reads when a configuration is wrong: every case of `golden.txt`, to the letter.
//!
//! A case is `## what is wrong`, then files (`@ path`, then lines; they replace those of a small
//! configuration that is right), then `>` and the report. `UPDATE_GOLDEN=1 cargo test` writes the
//! reports anew, for a look at the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use shorewall::{Report, Site, Style};

const BASE: [(&str, &str); 5] = [
    (
        "network/interfaces",
        "iface eth0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n\
         iface eth1 inet static\n    address 10.0.3.1/24\n",
    ),
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
    ),
    ("shorewall/rules", "SSH(ACCEPT) loc $FW\n"),
];

struct Case {
    title: String,
    files: Vec<(String, String)>,
    expected: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_report = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case {
                title: title.to_owned(),
                files: Vec::new(),
                expected: String::new(),
            });
            in_report = false;
            continue;
        }
        let case = cases.last_mut().expect("a case begins with ##");
        if in_report {
            case.expected.push_str(line);
            case.expected.push('\n');
        } else if line == ">" {
            in_report = true;
        } else if let Some(path) = line.strip_prefix("@ ") {
            case.files.push((path.to_owned(), String::new()));
        } else {
            let file = &mut case.files.last_mut().expect("lines belong to a file").1;
            file.push_str(line);
            file.push('\n');
        }
    }
    cases
}

fn report(files: &[(String, String)]) -> String {
    let mut all: BTreeMap<String, String> = BASE
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    for (path, text) in files {
        if text.trim() == "(no such file)" {
            all.remove(path);
        } else {
            all.insert(path.clone(), text.clone());
        }
    }
    let render = |report: &Report| report.render(Style::Plain);
    let report = match shorewall::compile(&Site::from_files("golden", all)) {
        Ok(compiled) => render(&compiled.warnings),
        Err(report) => {
            assert!(report.errors() > 0);
            render(&report)
        }
    };
    let lines: Vec<&str> = report.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

#[test]
fn every_mistake_is_explained_as_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let cases = cases(&text);
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut rewritten = String::new();
    let mut wrong = String::new();
    for case in &cases {
        let actual = report(&case.files);
        writeln!(rewritten, "## {}", case.title).unwrap();
        for (path, text) in &case.files {
            write!(rewritten, "@ {path}\n{text}").unwrap();
        }
        writeln!(rewritten, ">\n{actual}\n").unwrap();
        if actual != case.expected.trim_end() {
            writeln!(
                wrong,
                "{}: expected\n{}\ngot\n{actual}\n",
                case.title, case.expected
            )
            .unwrap();
        }
        assert!(
            update || !actual.is_empty(),
            "{}: nothing found",
            case.title
        );
    }
    if update {
        std::fs::write(path, rewritten).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong}");
    }
}
