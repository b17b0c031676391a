//! `params` and `?SHELL` by a real shell, when the user asks for it.

use std::path::Path;

use firewalldom::policy::Policy;
use shorewall::{Programs, Report, Site};

fn compile(params: &str, rules: &str, programs: Programs) -> Result<Policy, Report> {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path: &Path = &folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "network/interfaces",
        "iface eth0 inet static\n address 192.0.2.2/24\n",
    );
    write("shorewall/zones", "fw firewall\nnet ipv4\n");
    write("shorewall/interfaces", "?FORMAT 2\nnet eth0\n");
    write("shorewall/policy", "all all DROP\n");
    write("shorewall/more", "MORE=7000\n");
    write("shorewall/params", params);
    write("shorewall/rules", rules);
    let site = Site::from_etc(folder.path()).with_programs(programs);
    shorewall::compile(&site).map(|compiled| compiled.policy)
}

/// Ports that the net may reach.
fn ports(policy: &Policy) -> Vec<u16> {
    let chain = policy
        .chains
        .iter()
        .find(|chain| chain.name == "net-fw")
        .unwrap();
    let rules = chain.rules.iter();
    rules
        .flat_map(|rule| &rule.matches.destination_port.ranges)
        .map(|range| range.first)
        .collect()
}

#[test]
fn a_shell_runs_params_in_an_empty_environment() {
    let params = "INCLUDE more\nfor i in 1 2; do eval PORT$i=800$i; done\n\
                  LIST=$(echo $PORT1,`expr $PORT2 + 1`)\nHOME_IS=${HOME-9}\necho chatter\n";
    let rules = "ACCEPT net fw tcp $LIST\nACCEPT net fw tcp $HOME_IS,$MORE\n";
    let policy = compile(params, rules, Programs::Run).unwrap();
    assert_eq!(ports(&policy), [8001, 8003, 9, 7000]);
    let report = compile(params, rules, Programs::Refused).unwrap_err();
    assert!(report.to_string().contains("--shell"), "{report}");
}

#[test]
fn what_a_program_prints_are_lines() {
    let rules = "?SHELL for p in 1 2; do echo \"ACCEPT net fw tcp $BASE$p\"; done\n\
                 ?BEGIN SHELL\n# a comment of the program\nif true; then\n  echo 'ACCEPT net fw tcp 30 # and of the line'\nfi\n?END SHELL\n\
                 ?IF 0\n?SHELL exit 1\n?BEGIN SHELL\nexit 1\n?END SHELL\n?ENDIF\nSHELL echo ACCEPT net fw tcp '$BASE'\n";
    let policy = compile("BASE=4\n", rules, Programs::Run).unwrap();
    assert_eq!(ports(&policy), [41, 42, 30, 4]);
    let report = compile("BASE=4\n", rules, Programs::Refused).unwrap_err();
    assert_eq!(report.errors(), 3, "{report}");
}

#[test]
fn a_program_that_fails_is_an_error() {
    let report = compile("exit 3\n", "", Programs::Run).unwrap_err();
    assert!(report.to_string().contains("did not finish"), "{report}");
    let report = compile("", "?SHELL echo broken >&2; exit 4\n", Programs::Run).unwrap_err();
    assert!(report.to_string().contains("broken"), "{report}");
    let report = compile("", "?PERL 1\n?BEGIN PERL\n?END PERL\n", Programs::Run).unwrap_err();
    assert_eq!(report.errors(), 2, "{report}");
}
