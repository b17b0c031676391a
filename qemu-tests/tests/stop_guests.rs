//! `examples/netdom-host/stop-guests` beside a toolstack that only says what it was asked to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// desk is an HVM guest, and desk-dm its device model.
const XL: &str = r#"#!/bin/sh
case $1 in
list)
    echo 'Name        ID   Mem VCPUs  State   Time(s)'
    for domain in 'Domain-0 0' 'netdom 1' 'firewalldom 2' 'web 3' 'desk 4' 'desk-dm 5'; do
        echo "$domain 16 1 -b---- 1.0"
    done
    ;;
domid)
    case $2 in web) echo 3 ;; desk) echo 4 ;; desk-dm) echo 5 ;; *) exit 1 ;; esac
    ;;
*)
    echo "$*" >>"${0%/*}/asked"
    test "$3" != "$REFUSED"
    ;;
esac
"#;

const STORE: &str = "#!/bin/sh\ntest \"$1\" = /local/domain/5/target\n";

/// What xl is asked for, in the order of its words, and whether the script succeeds.
fn run(refused: &str) -> (Vec<String>, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [("xl", XL), ("xenstore-exists", STORE)] {
        let file = folder.path().join(name);
        fs::write(&file, content).expect("it is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/netdom-host/stop-guests");
    let path = std::env::var("PATH").unwrap_or_default();
    let status = Command::new("sh")
        .arg(script)
        .args(["firewalldom", "netdom"])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("REFUSED", refused)
        .status()
        .expect("there is a shell");
    let asked = fs::read_to_string(folder.path().join("asked")).expect("it was asked");
    // All at once: in any order.
    let mut asked: Vec<String> = asked.lines().map(str::to_owned).collect();
    asked.sort();
    (asked, status.success())
}

#[test]
fn guests_are_shut_down_and_neither_who_is_named_nor_a_device_model() {
    let (asked, is_fine) = run("");
    assert_eq!(asked, ["shutdown -w desk", "shutdown -w web"]);
    assert!(is_fine);
}

#[test]
fn a_guest_that_stays_is_an_error() {
    let (asked, is_fine) = run("desk");
    assert_eq!(asked.len(), 2);
    assert!(!is_fine);
}
