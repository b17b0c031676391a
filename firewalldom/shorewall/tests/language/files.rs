//! What the files are read as: zones, interfaces, variables and conditions.

use super::*;

#[test]
fn the_firewall_is_zone_0_wherever_it_is_declared() {
    let policy = rules("");
    assert_eq!(policy.zones[0].name, "fw");
    assert_eq!(policy.zones[1].name, "net");
    assert_eq!(policy.hosts[0].zone, ZoneId(1));
}

#[test]
fn interfaces_are_vifs_in_the_order_of_their_lines() {
    let policy = rules("");
    let vifs = &policy.interfaces;
    assert_eq!(vifs[2].name, "eth2");
    assert_eq!(vifs[2].mtu, Some(1400));
    assert_eq!(vifs[2].addresses[0].length, 24);
    assert_eq!(
        vifs[2].addresses[0].broadcast,
        Some(Ipv4Addr::new(10, 0, 4, 255))
    );
    assert!(!vifs[0].tcp_flags && vifs[1].tcp_flags);
    assert!(vifs[1].route_back && vifs[2].dhcp && vifs[2].no_smurfs && !vifs[2].log_martians);
    assert_eq!(policy.routes[1].destination.length, 16);
    assert_eq!(policy.routes[1].interface.0, 2);
}

#[test]
fn params_conditions_includes_and_braces() {
    let policy = compile(&[
        (
            "shorewall/params",
            "# the server\nexport SERVER=10.0.3.9; WEB=\"80\" # and its port\nINCLUDE more\nPAY='$5'\n",
        ),
        ("shorewall/more", "LOG=info\n"),
        (
            "shorewall/rules",
            "?IF $LOG eq 'info' && !($MISSING || $WEB == 1)\n?INCLUDE web.rules\n?ELSE\nDROP all all\n?ENDIF\n\
             ?SET EXTRA 99\nACCEPT:$LOG loc net { proto=tcp, dport=${EXTRA},100 }\n\
             ACCEPT loc net ; proto:udp dport:7\n",
        ),
        (
            "shorewall/web.rules",
            "ACCEPT net loc:$SERVER tcp \\\n  80,443   # both\n",
        ),
    ]);
    assert_eq!(pairs_with_rules(&policy), ["net-loc", "loc-net"]);
    let web = &chain(&policy, "net", "loc").rules[0];
    assert_eq!(
        web.matches.destination.ranges,
        [range([10, 0, 3, 9], [10, 0, 3, 9])]
    );
    assert_eq!(
        policy.files[usize::from(web.origin.file)],
        "shorewall/web.rules"
    );
    assert_eq!(web.origin.line, 1);
    let out = &chain(&policy, "loc", "net").rules;
    assert_eq!(out[0].matches.destination_port.ranges.len(), 2);
    assert_eq!(out[0].log.as_ref().unwrap().level, 6);
    assert_eq!(out[1].matches.protocol, Protocol::OneOf(vec![17]));
}

#[test]
fn conditions_ask_for_arguments_and_for_what_the_kernel_could_do() {
    let policy = compile(&[
        (
            "shorewall/capabilities",
            "ADDRTYPE=Yes\nCT_TARGET=\nKERNELVERSION=50200\n",
        ),
        ("shorewall/actions", "Mine\n"),
        (
            "shorewall/action.Mine",
            "DEFAULTS -,0\n?IF passed(@1)\nACCEPT - - tcp @1\n?ENDIF\n?IF passed($2) && ! $2\nDROP - - tcp 2\n?ENDIF\n",
        ),
        (
            "shorewall/rules",
            "?IF __ADDRTYPE && ! __CT_TARGET && __KERNELVERSION > 40000\nMine(7) loc fw\nMine loc fw\n?ENDIF\n\
             ?IF __NO_SUCH_THING\nDROP loc fw tcp 9\n?ENDIF\n",
        ),
    ]);
    let lists: Vec<usize> = policy
        .rule_lists
        .iter()
        .map(|list| list.rules.len())
        .collect();
    assert_eq!(lists, [2, 1]);
    assert_eq!(chain(&policy, "loc", "fw").rules.len(), 2);
}

#[test]
fn without_a_shorewall_conf_the_built_in_defaults_hold() {
    let settings = rules("").settings;
    assert_eq!(settings.log_format, "Shorewall:%s:%s:");
    assert_eq!(settings.log_limit, None);
    assert!(settings.forwarding);
    assert_eq!(settings.related.unwrap().disposition, Disposition::Accept);
    assert_eq!(settings.hairpin.log.unwrap().level, 6);
    assert_eq!(settings.tcp_flags.log, None);
}

#[test]
fn a_report_is_data_for_programs() {
    let site = Site::from_files("test", [("shorewall/zones", "fw firewall\n")]);
    let report = shorewall::compile(&site).unwrap_err();
    let json = serde_json::to_value(report.diagnostics()).unwrap();
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(
        report.errors() + report.warnings(),
        report.diagnostics().len()
    );
}
