//! What a person reads who got something wrong: every case of `messages.txt`, to the letter.
//!
//! A case is `## what is wrong`, then `$` and the command line after `xen-image`; then `= STATUS` and
//! what was printed, standard output before `--` and standard error after it. The commands run in a
//! folder made of [`FILES`]. `UPDATE_GOLDEN=1 cargo test` writes the answers anew, for a look at the
//! difference.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const INTERFACES: &str = "\
iface eth0 inet static
    address 192.0.2.2/24
    gateway 192.0.2.1
iface eth1 inet static
    address 10.0.3.1/24
";

/// The folder that the commands run in. A path that ends with `/` is a folder.
const FILES: &[(&str, &str)] = &[
    ("empty/", ""),
    ("file", "not a folder\n"),
    ("site/network/interfaces", INTERFACES),
    ("site/shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "site/shorewall/interfaces",
        "?FORMAT 2\nnet eth0\nloc eth1\n",
    ),
    (
        "site/shorewall/policy",
        "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
    ),
    ("bad/network/interfaces", INTERFACES),
    ("bad/shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "bad/shorewall/interfaces",
        "?FORMAT 2\nnet eth0\nloc eth1\n",
    ),
    (
        "bad/shorewall/policy",
        "lco net ACCEPT\nall all REJECT inof\n",
    ),
    ("no-network/shorewall/zones", "fw firewall\nnet ipv4\n"),
    ("no-network/shorewall/interfaces", "?FORMAT 2\nnet eth0\n"),
    ("no-network/shorewall/policy", "all all REJECT\n"),
    ("a-folder-for-a-file/network/interfaces", INTERFACES),
    ("a-folder-for-a-file/shorewall/zones/", ""),
    (
        "dsl/network/interfaces",
        "iface ppp0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n\
         iface bond0 inet static\n    address 10.0.3.1/24\n",
    ),
    ("dsl/shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "dsl/shorewall/interfaces",
        "?FORMAT 2\nnet ppp0\nloc bond0\n",
    ),
    (
        "dsl/shorewall/policy",
        "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
    ),
    ("taken/firewalldom.xen/", ""),
    (
        "bridges.toml",
        "[bridge.lan]\ncard = \"eth0\"\nvlan = 4095\n[bridge.wan]\ncrad = 2\nstandby = 3\n",
    ),
    (
        "web.cfg",
        "# Ann's\nname = 'web'\ntype = 'hvm'\nmemory = 512\nvga = 'cirrus' # small\n\
         disk = [ '/dev/vg/web,raw,hda,w', '/srv/a.iso,raw,hdc,r,cdrom' ]\n",
    ),
    (
        "odd.cfg",
        "name = 'odd'\ntype = 'hvm'\npci = [ '03:00.0' ]\ndisk = [ '/srv/odd.qcow2,qcow2,hda,w' ]\nbios = 'ovmf'\n",
    ),
    (
        "python.cfg",
        "type = 'hvm'\nmemory = 2 * 512\nacpi = True\n",
    ),
    (
        "right.toml",
        "[bridge.lan]\ncard = 1\n[bridge.cameras]\ncard = 1\nvlan = 20\n",
    ),
];

fn make_files(directory: &Path) {
    for (path, text) in FILES {
        let whole = directory.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(&whole).expect("a folder");
        } else {
            fs::create_dir_all(whole.parent().expect("a parent")).expect("a folder");
            fs::write(&whole, text).expect("a file");
        }
    }
}

struct Case {
    title: String,
    command: String,
    expected: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case {
                title: title.to_owned(),
                command: String::new(),
                expected: String::new(),
            });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with ##");
        match line.strip_prefix("$ ") {
            Some(command) if case.command.is_empty() => command.clone_into(&mut case.command),
            _ => {
                case.expected.push_str(line);
                case.expected.push('\n');
            }
        }
    }
    for case in &mut cases {
        let length = case.expected.trim_end().len();
        case.expected.truncate(length);
    }
    cases
}

fn answer(directory: &Path, command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xen-image"))
        .args(command.split_whitespace())
        .current_dir(directory)
        .env("COLUMNS", "100")
        .env_remove("NO_COLOR")
        .output()
        .expect("xen-image runs");
    let status = output.status.code().expect("it ends by itself");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let mut text = format!("= {status}\n");
    let _ = write!(text, "{stdout}--\n{stderr}");
    // What firewalldom does not handle yet is the engine's list, not a message of this tool.
    text.lines()
        .filter(|line| !line.starts_with("  - "))
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}

#[test]
fn what_is_said_is_what_messages_txt_has() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages.txt");
    let text = fs::read_to_string(&path).expect("messages.txt");
    let directory = tempfile::tempdir().expect("a folder");
    make_files(directory.path());
    let mut written = String::new();
    let mut wrong = Vec::new();
    let cases = cases(&text);
    assert!(cases.len() > 20);
    for case in &cases {
        let said = answer(directory.path(), &case.command);
        if said != case.expected {
            wrong.push(format!(
                "## {}\n$ {}\nexpected:\n{}\nsaid:\n{said}\n",
                case.title, case.command, case.expected
            ));
        }
        let _ = write!(written, "## {}\n$ {}\n{said}\n\n", case.title, case.command);
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, written.trim_end().to_owned() + "\n").expect("messages.txt is written");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A command that failed has written nothing.
    for (path, _) in FILES.iter().filter(|(path, _)| !path.ends_with('/')) {
        assert!(directory.path().join(path).is_file(), "{path}");
    }
    for path in ["out", "new"] {
        assert!(!directory.path().join(path).exists(), "{path}");
    }
}
