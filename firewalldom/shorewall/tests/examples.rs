//! The configurations that users start from are right, and say what their comments promise.

use std::path::PathBuf;

use firewalldom::policy::{
    Action, DestinationTarget, Disposition, InterfaceId, Policy, SourceTarget, ZoneId,
};
use shorewall::Site;

fn two_interfaces() -> Policy {
    example("two-interfaces")
}

fn example(name: &str) -> Policy {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let directory = examples.join(name);
    let compiled = shorewall::compile(&Site::from_etc(directory)).unwrap();
    assert!(compiled.warnings.is_empty(), "{}", compiled.warnings);
    firewalldom::policy::check::check(&compiled.policy).unwrap();
    compiled.policy
}

fn chain<'p>(
    policy: &'p Policy,
    source: &str,
    destination: &str,
) -> &'p firewalldom::policy::Chain {
    let index = |name: &str| {
        policy
            .zones
            .iter()
            .position(|zone| zone.name == name)
            .unwrap()
    };
    let side = policy.zones.len() + 1;
    let chain = policy.pairs[index(source) * side + index(destination)];
    &policy.chains[usize::from(chain)]
}

#[test]
fn two_interfaces_compiles_without_a_warning() {
    let policy = two_interfaces();
    assert_eq!(policy.site, "two-interfaces");
    let zones: Vec<_> = policy.zones.iter().map(|zone| zone.name.as_str()).collect();
    assert_eq!(zones, ["fw", "net", "loc"]);
    let vifs: Vec<_> = policy
        .interfaces
        .iter()
        .map(|vif| vif.name.as_str())
        .collect();
    assert_eq!(vifs, ["eth0", "eth1"]);
    assert_eq!(policy.pairs.len(), 16);
    assert_eq!(policy.hosts[0].zone, ZoneId(1));
    assert_eq!(policy.routes.len(), 1);
}

#[test]
fn two_interfaces_lets_out_and_keeps_out() {
    let policy = two_interfaces();
    let out = chain(&policy, "loc", "net");
    assert_eq!(out.name, "loc-net");
    assert_eq!(out.policy, Disposition::Accept);
    let verdicts: Vec<_> = out.rules.iter().map(|rule| rule.action).collect();
    assert_eq!(
        verdicts,
        [
            Action::Decide(Disposition::Reject),
            Action::Decide(Disposition::Drop)
        ]
    );
    let unasked = chain(&policy, "net", "loc");
    assert_eq!(unasked.policy, Disposition::Drop);
    assert_eq!(unasked.policy_chain, None);
    assert_eq!(unasked.default_action.len(), 2);
    assert_eq!(unasked.rules.len(), 1);
    assert_eq!(chain(&policy, "loc", "loc").policy, Disposition::Accept);
    assert_eq!(chain(&policy, "loc", "fw").policy, Disposition::Reject);
}

#[test]
fn two_interfaces_translates_addresses_both_ways() {
    let policy = two_interfaces();
    let [nat] = policy.destination_nat.as_slice() else {
        panic!("one rule of DNAT expected: {:?}", policy.destination_nat);
    };
    let DestinationTarget::Server { addresses, ports } = &nat.target else {
        panic!("{:?}", nat.target);
    };
    assert_eq!(addresses.first.to_string(), "10.0.3.9");
    assert_eq!(ports.unwrap().first, 80);
    assert_eq!(nat.matches.destination_port.ranges[0].first, 8080);
    let [masquerade] = policy.source_nat.as_slice() else {
        panic!("one rule of SNAT expected: {:?}", policy.source_nat);
    };
    assert_eq!(masquerade.egress, InterfaceId(0));
    assert_eq!(masquerade.target, SourceTarget::Masquerade { ports: None });
}

#[test]
fn three_interfaces_limits_lists_and_translates() {
    let policy = example("three-interfaces");
    let from_outside = chain(&policy, "net", "dmz");
    // The limit of the policy comes first, and is one for all zones.
    let Action::Call(limit) = from_outside.rules[0].action else {
        panic!("{from_outside:?}");
    };
    let limit = &policy.rule_lists[usize::from(limit)];
    assert_eq!(limit.log_chain.as_deref(), Some("@net-all"));
    let [rate] = limit.rules[0].limits.rates.as_slice() else {
        panic!("{limit:?}");
    };
    let rate = &policy.rates[usize::from(rate.rate)];
    assert_eq!((rate.packets, rate.burst), (100, 200));
    // Who is listed, but for the one that is exempt.
    let listed = &policy.rule_lists[usize::from(from_outside.blacklist.unwrap())].rules;
    assert_eq!(listed[0].action, Action::Return);
    assert_eq!(listed[1].action, Action::Decide(Disposition::Drop));
    let bad: Vec<_> = listed[1].matches.source.ranges.iter().collect();
    assert_eq!(bad[1].first.to_string(), "203.0.113.64");
    let ports =
        |nat: &firewalldom::policy::DestinationNat| nat.matches.destination_port.ranges[0].first;
    let translated: Vec<_> = policy.destination_nat.iter().map(ports).collect();
    assert_eq!(translated, [80, 80, 25]);
    let from_loc = &policy.destination_nat[1].matches.destination.ranges[0];
    assert_eq!(from_loc.first.to_string(), "192.0.2.2");
    let mail = &policy.destination_nat[2].limits.rates[0];
    assert_eq!(policy.rates[usize::from(mail.rate)].name, "mail");
}

#[test]
fn xen_guests_are_behind_interfaces_that_no_file_has_to_list() {
    let policy = example("xen-guests");
    let interfaces: Vec<_> = policy
        .interfaces
        .iter()
        .map(|interface| (interface.name.as_str(), interface.is_backend()))
        .collect();
    assert_eq!(
        interfaces,
        [("eth0", false), ("vif-dmz+", true), ("vif-loc+", true)]
    );
    let behind = |vif: &str| {
        let fits = |interface: &&firewalldom::policy::Interface| interface.fits(vif);
        policy.interfaces.iter().find(fits).unwrap().name.clone()
    };
    assert_eq!(
        [behind("vif-loc-desk"), behind("vif-dmz-web")],
        ["vif-loc+", "vif-dmz+"]
    );
    assert_eq!(
        policy.interfaces[2].addresses[0].address.to_string(),
        "10.0.3.1"
    );
    // Guests of one zone do not reach each other, and those of two only by rule.
    assert!(
        policy
            .interfaces
            .iter()
            .all(|interface| !interface.route_back)
    );
    assert_eq!(chain(&policy, "loc", "dmz").policy, Disposition::Reject);
    assert_eq!(chain(&policy, "dmz", "loc").policy, Disposition::Reject);
}

#[test]
fn routed_guests_are_answered_for_on_both_sides() {
    let policy = example("xen-routed");
    let proxies: Vec<_> = policy
        .interfaces
        .iter()
        .map(|interface| (interface.name.as_str(), interface.proxy_arp))
        .collect();
    assert_eq!(proxies, [("eth0", false), ("vif+", true)]);
    let proxied = policy.proxied.iter();
    let proxied: Vec<_> = proxied
        .map(|line| (line.address.to_string(), line.interface.0))
        .collect();
    let wanted = ["192.0.2.10", "192.0.2.11"].map(|address| (address.to_owned(), 0));
    assert_eq!(proxied, wanted);
    assert_eq!(
        policy.routes.len(),
        1,
        "the routes to guests come with them"
    );
}

#[test]
fn a_bridge_of_guests_is_an_interface_of_the_domains_own() {
    let policy = example("xen-bridge");
    let interfaces: Vec<_> = policy
        .interfaces
        .iter()
        .map(|interface| {
            let kinds = (interface.bridge, interface.is_backend());
            (interface.name.as_str(), kinds, interface.has_guests())
        })
        .collect();
    assert_eq!(
        interfaces,
        [
            ("eth0", (false, false), false),
            ("br-lan", (true, false), true),
            ("vif+", (false, true), true)
        ]
    );
    assert_eq!(chain(&policy, "loc", "net").policy, Disposition::Accept);
    assert_eq!(chain(&policy, "dmz", "loc").policy, Disposition::Reject);
}
