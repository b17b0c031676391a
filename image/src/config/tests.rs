use super::samples::{interface, site};
use super::*;

fn config(policy: &Policy) -> DomainConfig {
    DomainConfig::firewall(
        policy,
        Path::new("/x/firewalldom.xen"),
        Path::new("/x/firewalldom.policy"),
        8,
    )
}

fn bridges(interfaces: &[(&str, &str)]) -> Vec<String> {
    config(&site(interfaces))
        .vifs
        .into_iter()
        .map(|vif| vif.bridge)
        .collect()
}

/// The lines that `xl` acts on.
fn settings_of(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_file_holds_what_xl_needs_and_explains_each_choice() {
    let text = config(&site(&[("eth0", "net"), ("eth1", "loc")])).render();
    let lines = settings_of(&text);
    let vif = lines
        .iter()
        .position(|line| *line == "vif = [")
        .expect("a vif list");
    assert!(
        lines[vif + 1].starts_with("\"mac=00:16:3e:")
            && lines[vif + 1].ends_with(",bridge=br-net\",")
    );
    assert!(
        lines[vif + 2].starts_with("\"mac=00:16:3e:")
            && lines[vif + 2].ends_with(",bridge=br-loc\",")
    );
    assert_eq!(lines[vif + 3], "]");
    for expected in [
        "name = \"firewalldom\"",
        "type = \"pv\"",
        "kernel = \"/x/firewalldom.xen\"",
        "ramdisk = \"/x/firewalldom.policy\"",
        "memory = 8",
        "vcpus = 1",
        "on_poweroff = \"destroy\"",
        "on_reboot = \"restart\"",
        "on_crash = \"restart\"",
    ] {
        assert!(lines.contains(&expected), "{expected} is not in\n{text}");
    }
    assert!(text.contains("# eth0: zone net, 10.0.0.1/24"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

#[test]
fn bridges_are_named_after_zones_while_that_tells_them_apart() {
    assert_eq!(
        bridges(&[("eth0", "net"), ("eth1", "loc")]),
        ["br-net", "br-loc"]
    );
    assert_eq!(
        bridges(&[("eth0", "net"), ("eth1", "loc"), ("eth2", "loc")]),
        ["br-net", "br-eth1", "br-eth2"]
    );
}

#[test]
fn a_bridge_name_fits_linux() {
    assert_eq!(
        bridges(&[("eth0", "a-zone-with-a-long-name")]),
        ["br-a-zone-with-"]
    );
    assert_eq!(
        bridges(&[("eth0", "x:1,script=/bin/sh")]),
        ["br-x1scriptbins"]
    );
}

#[test]
fn hardware_addresses_are_the_same_each_time_and_differ_between_interfaces() {
    let both = site(&[("eth0", "net"), ("eth1", "loc")]);
    let first = config(&both).vifs;
    assert_eq!(first, config(&both).vifs);
    assert_ne!(first[0].mac, first[1].mac);
    let mut elsewhere = both.clone();
    elsewhere.site = "home".to_owned();
    assert_ne!(first[0].mac, config(&elsewhere).vifs[0].mac);
    assert_eq!(first[0].mac[..3], [0x00, 0x16, 0x3e]);
}

#[test]
fn nothing_in_a_name_can_add_a_line_or_leave_its_string() {
    let mut policy = site(&[("eth0", "net")]);
    policy.site = "x\non_crash = \"preserve\"".to_owned();
    let odd = Path::new("/a \"b\"\\c/firewalldom.xen");
    let text = DomainConfig::firewall(&policy, odd, Path::new("/p"), 8).render();
    assert_eq!(
        settings_of(&text)
            .iter()
            .filter(|line| line.starts_with("on_crash"))
            .count(),
        1
    );
    assert!(text.contains(r#"kernel = "/a \"b\"\\c/firewalldom.xen""#));
}

#[test]
fn an_appliance_without_policy_names_no_ramdisk_and_no_vif() {
    let text = DomainConfig::bare(
        "netdom",
        "Will be a driver domain.",
        Path::new("/x/netdom.xen"),
    )
    .render();
    assert!(!text.contains("ramdisk") && !text.contains("vif"), "{text}");
    assert!(settings_of(&text).contains(&"on_crash = \"destroy\""));
}

#[test]
fn a_driver_domain_has_cards_and_may_be_a_backend_and_nothing_is_permissive() {
    let config = DomainConfig::driver(Path::new("/x/netdom.xen"));
    let text = config.with(&options(&[])).render();
    let lines = settings_of(&text);
    for line in [
        "name = \"edge\"",
        "pci = [",
        "passthrough = \"enabled\"",
        "driver_domain = 1",
        "on_crash = \"restart\"",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("permissive") || line.starts_with("vif"))
    );
    assert!(
        text.contains("backend=edge,"),
        "the name that it has: {text}"
    );
}

#[test]
fn a_driver_domain_with_bridges_of_the_users_says_which() {
    let mut findings = crate::findings::Findings::default();
    let text = "[bridge.lan]\ncard = 1\n[bridge.cameras]\ncard = \"0000:00:01.0\"\nvlan = 20\n[bridge.inside]\n";
    let bridges = crate::netdom::read("a.toml", text, &mut findings).expect("it is right");
    let (kernel, ramdisk) = (Path::new("/x/edge.xen"), Path::new("/x/edge.policy"));
    let config = DomainConfig::driver_with(kernel, ramdisk, &bridges);
    let text = config.with(&options(&[])).render();
    assert!(settings_of(&text).contains(&"ramdisk = \"/x/edge.policy\""));
    for line in [
        "#     lan             card 1",
        "#     cameras         card 0000:00:01.0, VLAN 20",
        "#     inside          guests only",
        "#     vif = [ \"backend=edge,bridge=lan\" ]",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    assert!(
        !text.contains("xenbr0") && !text.contains("BRIDGES"),
        "{text}"
    );
}

#[test]
fn memory_grows_with_the_interfaces() {
    let memory = |names: &[&str]| {
        let interfaces: Vec<_> = names
            .iter()
            .map(|name| interface(name, [10, 0, 0, 1]))
            .collect();
        memory_for(&interfaces)
    };
    assert_eq!(memory(&["eth0"]), 8);
    assert_eq!(memory(&["eth0"; 2]), 8);
    assert_eq!(memory(&["eth0"; 3]), 10);
    assert_eq!(memory(&["eth0"; 126]), 256);
    // Guests' vifs are no vifs of the firewall's.
    assert_eq!(memory(&["eth0", "vif-dmz+", "vif+"]), 16);
}

fn options(vifs: &[&str]) -> Options {
    let vifs: Vec<String> = vifs.iter().map(|vif| (*vif).to_owned()).collect();
    let mut findings = crate::findings::Findings::default();
    let words = crate::options::Words {
        name: Some("edge"),
        memory: Some("32"),
        vifs: &vifs,
    };
    let options = Options::parse(words, &mut findings);
    assert!(findings.is_empty(), "{findings:?}");
    options
}

#[test]
fn the_command_line_decides_what_it_names_and_nothing_else() {
    let policy = site(&[("eth0", "net"), ("eth1", "loc")]);
    let options = options(&["eth1=script=vif-openvswitch,bridge=ovs0,mac=00:16:3e:0A:0b:0c"]);
    let plain = config(&policy);
    let config = config(&policy).with(&options);
    let text = config.render();
    let lines = settings_of(&text);
    assert!(lines.contains(&"name = \"edge\""), "{text}");
    assert!(lines.contains(&"memory = 32"), "{text}");
    assert!(
        lines.contains(&"\"mac=00:16:3e:0a:0b:0c,bridge=ovs0,script=vif-openvswitch\","),
        "{text}"
    );
    assert_eq!(config.vifs[0], plain.vifs[0]);
}

#[test]
fn devices_made_of_others_stay_in_dom0() {
    let policy = site(&[("bond0", "net"), ("br0", "loc"), ("eth0.5", "dmz")]);
    assert_eq!(
        config(&policy)
            .vifs
            .iter()
            .map(|vif| vif.bridge.as_str())
            .collect::<Vec<_>>(),
        ["br-net", "br0", "br-dmz"]
    );
    let text = config(&policy).render();
    assert!(text.contains("# (the bond stays in dom0"), "{text}");
    assert!(text.contains("# (the VLAN device stays in dom0"), "{text}");
    let mapped = config(&policy)
        .with(&options(&["bond0=bridge=xenbr0"]))
        .render();
    assert!(!mapped.contains("the bond stays"), "{mapped}");
}

#[test]
fn an_embedded_policy_leaves_no_ramdisk() {
    let text = config(&site(&[("eth0", "net")])).embedded().render();
    assert!(
        !settings_of(&text)
            .iter()
            .any(|line| line.starts_with("ramdisk"))
    );
    assert!(text.contains("inside the image"));
}

#[test]
fn a_backend_of_guests_is_a_driver_domain_and_has_no_vif_for_them() {
    let policy = site(&[("eth0", "net"), ("vif-dmz+", "dmz"), ("vif+", "loc")]);
    let text = config(&policy).render();
    let lines = settings_of(&text);
    assert!(lines.contains(&"driver_domain = 1"), "{text}");
    let vifs = lines.iter().filter(|line| line.contains("bridge="));
    assert_eq!(vifs.count(), 1, "{text}");
    assert!(text.contains("#     vif-dmz+: zone dmz"), "{text}");
    assert!(text.contains("backend=firewalldom,ip="), "{text}");
    // And nobody else is one.
    let plain = config(&site(&[("eth0", "net"), ("eth1", "loc")])).render();
    assert!(!plain.contains("driver_domain"), "{plain}");
}

#[test]
fn a_bridge_of_guests_is_told_of_and_is_no_vif() {
    let mut policy = site(&[("eth0", "net"), ("br-lan", "loc")]);
    policy.interfaces[1].bridge = true;
    let text = config(&policy).render();
    let lines = settings_of(&text);
    assert!(lines.contains(&"driver_domain = 1"), "{text}");
    let vifs = lines.iter().filter(|line| line.contains("bridge="));
    assert_eq!(vifs.count(), 1, "{text}");
    assert!(text.contains("backend=firewalldom,bridge=br-lan"), "{text}");
    assert!(text.contains("#     br-lan: zone loc"), "{text}");
    assert!(!text.contains("backend=firewalldom,ip="), "{text}");
}
