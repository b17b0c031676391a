//! `examples/netdom-host/reattach-vifs` beside a toolstack that only says what it was asked to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Domain 5 was the backend of 0's and 3's vifs, and is no more.
const STORE: &str = r#"/libxl/3 = ""
/libxl/3/device/vif/1 = ""
/libxl/3/device/vif/1/backend = "/local/domain/5/backend/vif/3/1"
/libxl/3/device/vif/1/mac = "00:16:3e:01:02:04"
/libxl/3/device/vif/1/bridge = "xenbr1"
/libxl/3/device/vif/1/rate = "12500,50000"
/libxl/3/device/vif/0/backend = "/local/domain/5/backend/vif/3/0"
/libxl/3/device/vif/0/mac = "00:16:3e:01:02:03"
/libxl/3/device/vif/0/ip = "10.0.0.1 10.0.0.2"
/libxl/3/device/vif/0/vifname = ""
/libxl/4/device/vif/0/backend = "/local/domain/0/backend/vif/4/0"
/libxl/0/device/vif/0/backend = "/local/domain/5/backend/vif/0/0"
/libxl/0/device/vif/0/mac = "00:16:3e:01:02:05"
/libxl/5/device/vif/0/backend = "/local/domain/6/backend/vif/5/0"
"#;

const XL: &str = r#"#!/bin/sh
case $1.$2 in
domid.netdom) echo 9 ;;
domid.desk) echo 3 ;;
domid.*) exit 1 ;;
*)
    { printf '%s' "$1"; shift; printf ' [%s]' "$@"; echo; } >>"$ASKED"
    [ "$*" != "$REFUSED" ]
    ;;
esac
"#;

/// What xl is asked for, and the exit status.
fn run(arguments: &[&str], refused: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, content: &str| {
        let file = folder.path().join(name);
        fs::write(&file, content).expect("it is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    put("xl", XL);
    put("store", STORE);
    put("xenstore-ls", "#!/bin/sh\nexec cat \"${0%/*}/store\"\n");
    put("xenstore-list", "#!/bin/sh\nprintf '0\\n3\\n4\\n9\\n'\n");
    put("asked", "");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/netdom-host/reattach-vifs");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .arg(script)
        .args(arguments)
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("ASKED", folder.path().join("asked"))
        .env("REFUSED", refused)
        .output()
        .expect("there is a shell");
    let asked = fs::read_to_string(folder.path().join("asked")).expect("it was written");
    (asked, output.status.code())
}

const OF_DESK: &str = "\
network-detach [3] [0]
network-detach [3] [1]
network-attach [3] [mac=00:16:3e:01:02:03] [ip=10.0.0.1 10.0.0.2] [backend=netdom]
network-attach [3] [mac=00:16:3e:01:02:04] [bridge=xenbr1] [rate=250000B/s@50000us] [backend=netdom]
";

#[test]
fn every_vif_whose_backend_is_gone_is_attached_as_it_was_and_no_other() {
    let of_dom0 = "\
network-detach [0] [0]
network-attach [0] [mac=00:16:3e:01:02:05] [backend=netdom]
";
    let all = format!("{of_dom0}{OF_DESK}");
    assert_eq!(run(&["netdom"], ""), (all, Some(0)));
}

#[test]
fn of_domains_that_are_named_only() {
    assert_eq!(run(&["netdom", "desk"], ""), (OF_DESK.to_owned(), Some(0)));
}

#[test]
fn what_is_not_attached_is_told_and_the_others_are() {
    let (asked, status) = run(&["netdom"], "0 mac=00:16:3e:01:02:05 backend=netdom");
    assert_eq!((asked.lines().count(), status), (6, Some(1)));
}

#[test]
fn nobody_is_touched_for_a_backend_or_a_domain_that_is_not_there() {
    for (arguments, status) in [(&["nobody"][..], 1), (&["netdom", "nobody"], 1), (&[], 2)] {
        assert_eq!(run(arguments, ""), (String::new(), Some(status)));
    }
}
