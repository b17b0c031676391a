//! What the language means, as real Shorewall's generated rules show it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use firewalldom::policy::{
    Action, AddressRange, Chain, DestinationTarget, Disposition, InterfaceId, Policy, PortRange,
    Protocol, SourceTarget, States, ZoneId,
};
use shorewall::Site;

fn compile(files: &[(&str, &str)]) -> Policy {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
             iface eth1 inet static\n address 10.0.3.1/24\n\
             iface eth2 inet static\n address 10.0.4.1\n netmask 255.255.255.0\n mtu 1400\n\
             \x20up ip route add 10.9.0.0/16 via 10.0.4.254\n",
        ),
        (
            "shorewall/zones",
            "net ipv4\nfw firewall\nloc ipv4\ndmz ipv4\n",
        ),
        (
            "shorewall/interfaces",
            "?FORMAT 2\nnet eth0 tcpflags=0\nloc eth1 routeback\ndmz eth2 dhcp,nosmurfs,logmartians=0\n",
        ),
        (
            "shorewall/policy",
            "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
        ),
    ]);
    all.extend(files.iter().copied());
    let site = Site::from_files("test", all);
    shorewall::compile(&site).unwrap().policy
}

fn rules(text: &str) -> Policy {
    compile(&[("shorewall/rules", text)])
}

fn chain<'p>(policy: &'p Policy, source: &str, destination: &str) -> &'p Chain {
    let index = |name: &str| {
        policy
            .zones
            .iter()
            .position(|zone| zone.name == name)
            .unwrap_or(policy.zones.len())
    };
    let side = policy.zones.len() + 1;
    &policy.chains[usize::from(policy.pairs[index(source) * side + index(destination)])]
}

/// Pairs of zones that have a rule, as `source-destination`.
fn pairs_with_rules(policy: &Policy) -> Vec<String> {
    let names = ["fw", "net", "loc", "dmz"];
    let mut pairs = Vec::new();
    for source in names {
        for destination in names {
            if !chain(policy, source, destination).rules.is_empty() {
                pairs.push(format!("{source}-{destination}"));
            }
        }
    }
    pairs
}

fn ports(first: u16, last: u16) -> Vec<PortRange> {
    vec![PortRange { first, last }]
}

fn range(first: [u8; 4], last: [u8; 4]) -> AddressRange {
    AddressRange {
        first: Ipv4Addr::from(first),
        last: Ipv4Addr::from(last),
    }
}

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
fn all_leaves_out_pairs_within_a_zone_and_all_plus_does_not() {
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all fw udp 98\n")),
        ["net-fw", "loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all+ fw udp 98\n")),
        ["fw-fw", "net-fw", "loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all!net,$FW fw udp 98\n")),
        ["loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT loc,dmz loc,dmz tcp 10\n")),
        ["loc-dmz", "dmz-loc"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT loc loc tcp 10\n")),
        ["loc-loc"]
    );
    assert!(pairs_with_rules(&rules("ACCEPT none fw tcp 10\n")).is_empty());
}

#[test]
fn what_belongs_to_no_zone_meets_the_policy_all_all() {
    let policy = rules("");
    let forward = chain(&policy, "net", "nowhere");
    assert_eq!(
        (forward.name.as_str(), forward.policy),
        ("FORWARD", Disposition::Reject)
    );
    assert_eq!(chain(&policy, "nowhere", "fw").name, "INPUT");
    assert_eq!(chain(&policy, "fw", "nowhere").name, "OUTPUT");
    let policy = compile(&[(
        "shorewall/policy",
        "all $FW ACCEPT debug\nnet dmz NONE\ndmz net CONTINUE\nall all DROP\n",
    )]);
    assert_eq!(chain(&policy, "nowhere", "fw").policy, Disposition::Accept);
    assert_eq!(chain(&policy, "net", "dmz").name, "FORWARD");
    let passed_on = chain(&policy, "dmz", "net");
    assert_eq!(
        (passed_on.name.as_str(), passed_on.policy),
        ("dmz-net", Disposition::Drop)
    );
}

#[test]
fn a_policy_for_many_pairs_logs_under_its_own_name_unless_expanded() {
    let policy = compile(&[("shorewall/shorewall.conf", "EXPAND_POLICIES=No\n")]);
    assert_eq!(
        chain(&policy, "net", "loc").policy_chain.as_deref(),
        Some("net-all")
    );
    assert_eq!(chain(&policy, "loc", "net").policy_chain, None);
    let policy = compile(&[(
        "shorewall/shorewall.conf",
        "EXPAND_POLICIES=Yes\nZONE2ZONE=2\n",
    )]);
    assert_eq!(chain(&policy, "net", "loc").policy_chain, None);
    assert_eq!(chain(&policy, "net", "loc").name, "net2loc");
}

#[test]
fn within_a_zone_everything_is_accepted_unless_said_otherwise() {
    let inside = |policy: &str| {
        let policy = compile(&[("shorewall/policy", policy)]);
        chain(&policy, "loc", "loc").policy
    };
    assert_eq!(inside("all all DROP\n"), Disposition::Accept);
    assert_eq!(
        inside("loc,dmz loc,dmz DROP\nall all REJECT\n"),
        Disposition::Accept
    );
    assert_eq!(inside("loc loc DROP\nall all REJECT\n"), Disposition::Drop);
    assert_eq!(inside("all+ all DROP\n"), Disposition::Drop);
}

#[test]
fn sections_are_states_and_new_takes_what_dispositions_leave_open() {
    let policy = rules(
        "?SECTION ALL\nDROP net fw tcp 1\n?SECTION ESTABLISHED\nDROP net fw tcp 2\n\
         ?SECTION NEW\nACCEPT net fw tcp 3\nInvalid(DROP) net fw\n",
    );
    let states: Vec<_> = chain(&policy, "net", "fw")
        .rules
        .iter()
        .map(|rule| rule.states)
        .collect();
    let new = States::NEW.union(States::INVALID).union(States::UNTRACKED);
    assert_eq!(
        states,
        [States::ALL, States::ESTABLISHED, new, States::INVALID]
    );

    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "INVALID_DISPOSITION=DROP\nRELATED_DISPOSITION=CONTINUE\n",
        ),
        ("shorewall/rules", "ACCEPT net fw tcp 3\n"),
    ]);
    let new = States::NEW.union(States::RELATED).union(States::UNTRACKED);
    assert_eq!(chain(&policy, "net", "fw").rules[0].states, new);
    assert!(policy.settings.related.is_none() && policy.settings.invalid.is_some());
}

#[test]
fn where_a_section_had_rules_what_the_file_passes_over_is_decided_as_shorewall_forgets_it() {
    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "RELATED_DISPOSITION=DROP\nINVALID_DISPOSITION=DROP\n",
        ),
        (
            "shorewall/rules",
            "?SECTION ESTABLISHED\nDROP net fw tcp 2\n?SECTION NEW\nACCEPT net fw tcp 3\n\
             ACCEPT loc fw tcp 3\n",
        ),
    ]);
    let of = |source| {
        let rules = &chain(&policy, source, "fw").rules;
        let rules = rules.iter().map(|rule| (rule.states, rule.action));
        rules.collect::<Vec<_>>()
    };
    let new = States::NEW.union(States::UNTRACKED);
    let accept = Action::Decide(Disposition::Accept);
    assert_eq!(
        of("net"),
        [
            (States::ESTABLISHED, Action::Decide(Disposition::Drop)),
            (States::RELATED, accept),
            (new.union(States::INVALID), accept),
            (States::INVALID, Action::Policy),
        ]
    );
    assert_eq!(of("loc"), [(new, accept)]);
}

#[test]
fn without_expanded_policies_a_pair_without_rules_has_only_the_policy() {
    let states = |conf: &str, source, destination| {
        let policy = compile(&[
            ("shorewall/shorewall.conf", conf),
            ("shorewall/policy", "loc net ACCEPT\nall all DROP\n"),
            ("shorewall/rules", "ACCEPT dmz net tcp 3\n"),
        ]);
        let rules = &chain(&policy, source, destination).rules;
        rules
            .iter()
            .fold(States(0), |all, rule| all.union(rule.states))
    };
    let all_but_new = States(States::ALL.0 & !States::NEW.0);
    assert_eq!(states("EXPAND_POLICIES=No\n", "net", "loc"), all_but_new);
    assert_eq!(states("EXPAND_POLICIES=Yes\n", "net", "loc"), States(0));
    let new = States(States::ALL.0 & !States::ESTABLISHED.0 & !States::RELATED.0);
    assert_eq!(states("EXPAND_POLICIES=No\n", "dmz", "net"), new);
}

#[test]
fn what_goes_back_meets_the_policy_before_the_interfaces_options_where_there_are_blrules() {
    let list = |blrules: &str| {
        let policy = compile(&[
            (
                "shorewall/interfaces",
                "?FORMAT 2\nnet eth0\nloc eth1\ndmz eth2\n",
            ),
            ("shorewall/blrules", blrules),
        ]);
        let list = chain(&policy, "dmz", "dmz").blacklist?;
        let rules = &policy.rule_lists[usize::from(list)].rules;
        Some((rules[0].matches.ingress, rules[0].matches.egress))
    };
    let back = Some(InterfaceId(2));
    assert_eq!(list("DROP net:198.51.100.0/24 all\n"), Some((back, back)));
    assert_eq!(list(""), None);
}

#[test]
fn dnat_translates_and_lets_through_what_it_translated() {
    let policy = rules("DNAT:info net loc:10.0.3.9:80 tcp 8080 - 192.0.2.2\n");
    let nat = &policy.destination_nat[0];
    assert_eq!(nat.source_zone, ZoneId(1));
    assert_eq!(
        nat.matches.destination.ranges,
        [range([192, 0, 2, 2], [192, 0, 2, 2])]
    );
    assert_eq!(nat.matches.destination_port.ranges, ports(8080, 8080));
    assert_eq!(nat.log.as_ref().unwrap().disposition, "DNAT");
    let [rule] = chain(&policy, "net", "loc").rules.as_slice() else {
        panic!("one rule expected");
    };
    assert_eq!(rule.action, Action::Decide(Disposition::Accept));
    assert_eq!(
        rule.matches.destination.ranges,
        [range([10, 0, 3, 9], [10, 0, 3, 9])]
    );
    assert_eq!(rule.matches.destination_port.ranges, ports(80, 80));
    assert_eq!(rule.matches.original_port.ranges, ports(8080, 8080));
    assert_eq!(
        rule.matches.original_destination.ranges,
        [range([192, 0, 2, 2], [192, 0, 2, 2])]
    );
    assert_eq!(rule.log, None);
}

#[test]
fn dnat_that_keeps_the_port_does_not_look_at_the_original_one() {
    let policy = rules("HTTP(DNAT) net loc:10.0.3.8-10.0.3.9\nDNAT- loc 10.0.4.9 tcp 83\n");
    let rule = &chain(&policy, "net", "loc").rules[0];
    assert_eq!(rule.matches.destination_port.ranges, ports(80, 80));
    assert!(rule.matches.original_port.ranges.is_empty());
    assert_eq!(pairs_with_rules(&policy), ["net-loc"]);
    assert_eq!(policy.destination_nat.len(), 2);
    let DestinationTarget::Server {
        addresses,
        ports: None,
    } = &policy.destination_nat[0].target
    else {
        panic!("{:?}", policy.destination_nat[0]);
    };
    assert_eq!(*addresses, range([10, 0, 3, 8], [10, 0, 3, 9]));
}

#[test]
fn redirect_goes_to_the_firewall_under_the_new_port() {
    let policy = rules("REDIRECT loc 3128 tcp 80\n");
    assert_eq!(
        policy.destination_nat[0].target,
        DestinationTarget::Redirect { port: Some(3128) }
    );
    let rule = &chain(&policy, "loc", "fw").rules[0];
    assert_eq!(rule.matches.destination_port.ranges, ports(3128, 3128));
    assert_eq!(rule.matches.original_port.ranges, ports(80, 80));
}

#[test]
fn exempted_flows_are_left_alone_and_only_accept_plus_lets_them_through() {
    let policy = rules("ACCEPT+ loc net tcp 81\nNONAT loc net tcp 82\n");
    let targets: Vec<_> = policy
        .destination_nat
        .iter()
        .map(|nat| &nat.target)
        .collect();
    assert_eq!(
        targets,
        [&DestinationTarget::Exempt, &DestinationTarget::Exempt]
    );
    assert_eq!(chain(&policy, "loc", "net").rules.len(), 1);
}

#[test]
fn a_rules_own_columns_override_those_of_a_macro() {
    let policy = rules("SSH(ACCEPT) net fw tcp 2222\nSSH(ACCEPT):debug:seen net fw\n");
    let rules = &chain(&policy, "net", "fw").rules;
    assert_eq!(rules[0].matches.destination_port.ranges, ports(2222, 2222));
    assert_eq!(rules[1].matches.destination_port.ranges, ports(22, 22));
    let log = rules[1].log.as_ref().unwrap();
    assert_eq!(
        (log.level, log.disposition.as_str(), log.tag.as_deref()),
        (7, "ACCEPT", Some("seen"))
    );
}

#[test]
fn a_macro_that_goes_both_ways_has_rules_both_ways() {
    let policy = rules("IPsec(ACCEPT) net fw\n");
    assert_eq!(chain(&policy, "net", "fw").rules.len(), 2);
    assert_eq!(chain(&policy, "fw", "net").rules.len(), 2);
}

#[test]
fn a_macro_for_a_group_names_it_as_the_destination_both_ways() {
    let policy = rules("mDNS(ACCEPT) loc fw\n");
    let group = range([224, 0, 0, 251], [224, 0, 0, 251]);
    let asked = &chain(&policy, "loc", "fw").rules;
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].matches.destination.ranges, [group]);
    assert_eq!(asked[1].matches.source_port.ranges, ports(5353, 5353));
    let told = &chain(&policy, "fw", "loc").rules;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].matches.destination.ranges, [group]);
}

#[test]
fn lists_ranges_exclusions_and_mac_addresses() {
    let policy = rules(
        "ACCEPT net:192.0.2.7,192.0.2.9-192.0.2.20 fw tcp 1000:2000,3000 5000\n\
         ACCEPT net:!198.51.100.0/24 fw tcp 76\n\
         DROP loc:eth1:10.0.3.0/24!10.0.3.7 net udp !1:100\n\
         REJECT loc:~02-00-00-00-00-01,10.0.3.4 net tcp 23\n\
         ACCEPT net:&eth1 fw icmp 3/4,echo-request\n\
         ACCEPT loc net !tcp\n",
    );
    let input = &chain(&policy, "net", "fw").rules;
    assert_eq!(
        input[0].matches.source.ranges,
        [
            range([192, 0, 2, 7], [192, 0, 2, 7]),
            range([192, 0, 2, 9], [192, 0, 2, 20])
        ]
    );
    assert_eq!(input[0].matches.source_port.ranges, ports(5000, 5000));
    assert!(input[1].matches.source.ranges.is_empty());
    assert_eq!(
        input[1].matches.source.except,
        [range([198, 51, 100, 0], [198, 51, 100, 255])]
    );
    assert_eq!(
        input[2].matches.source.ranges,
        [range([10, 0, 3, 1], [10, 0, 3, 1])]
    );
    let Protocol::Icmp(types) = &input[2].matches.protocol else {
        panic!("{:?}", input[2].matches.protocol);
    };
    assert_eq!(
        (types[0].kind, types[0].code, types[1].kind),
        (3, Some(4), 8)
    );
    let out = &chain(&policy, "loc", "net").rules;
    assert_eq!(out[0].matches.ingress.unwrap().0, 1);
    assert!(out[0].matches.destination_port.negated);
    assert_eq!(out[1].matches.source_mac, [[2, 0, 0, 0, 0, 1]]);
    assert!(out[1].matches.source.ranges.is_empty());
    assert_eq!(
        out[2].matches.source.ranges,
        [range([10, 0, 3, 4], [10, 0, 3, 4])]
    );
    assert_eq!(out[3].matches.protocol, Protocol::NoneOf(vec![6]));
}

#[test]
fn default_actions_come_from_the_line_or_else_from_the_settings() {
    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "REJECT_DEFAULT=\"Broadcast(DROP),Multicast(DROP)\"\n",
        ),
        (
            "shorewall/policy",
            "net all DROP:dropNotSyn:info,DropDNSrep,AllowICMPs info\ndmz all REJECT:+DropDNSrep\n\
             loc all REJECT:none\nall all REJECT\n",
        ),
    ]);
    let count = |source| chain(&policy, source, "fw").default_action.len();
    assert_eq!((count("net"), count("dmz"), count("loc")), (3, 3, 0));
    assert_eq!(chain(&policy, "fw", "net").default_action.len(), 2);
    let first = &chain(&policy, "net", "fw").default_action[0];
    assert_eq!(first.matches.protocol, Protocol::TcpSyn(false));
    let Action::Call(list) = first.action else {
        panic!("{first:?}");
    };
    // A chain of its own in Shorewall, by whose name it logs.
    let list = &policy.rule_lists[usize::from(list)];
    assert_eq!(list.log_chain.as_deref(), Some("dropNotSyn"));
    assert_eq!(list.rules[0].log.as_ref().unwrap().disposition, "DROP");
}

#[test]
fn snat_knows_interfaces_as_sources_ranges_and_exceptions() {
    let policy = compile(&[(
        "shorewall/snat",
        "?FORMAT 2\nMASQUERADE eth2 eth0\nSNAT(192.0.2.2-192.0.2.3:1024-2048) 10.0.4.0/24!10.0.4.8 eth0:198.51.100.0/24 tcp 25\n\
         MASQUERADE(1000-2000) 10.0.4.7 eth0 udp\nCONTINUE 10.0.4.6 eth0\n",
    )]);
    let nat = &policy.source_nat;
    assert_eq!(
        nat[0].matches.source.ranges,
        [
            range([10, 0, 4, 0], [10, 0, 4, 255]),
            range([10, 9, 0, 0], [10, 9, 255, 255])
        ]
    );
    assert_eq!(
        nat[1].matches.source.except,
        [range([10, 0, 4, 8], [10, 0, 4, 8])]
    );
    assert_eq!(
        nat[1].matches.destination.ranges,
        [range([198, 51, 100, 0], [198, 51, 100, 255])]
    );
    let SourceTarget::Address {
        addresses,
        ports: Some(chosen),
    } = &nat[1].target
    else {
        panic!("{:?}", nat[1].target);
    };
    assert_eq!(*addresses, range([192, 0, 2, 2], [192, 0, 2, 3]));
    assert_eq!((chosen.first, chosen.last), (1024, 2048));
    assert_eq!(nat[3].target, SourceTarget::Exempt);
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
