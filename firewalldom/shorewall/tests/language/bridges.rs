//! Bridges of interfaces(5): inside of the domain with `bridge_ports none`, else dom0's.

use super::*;

fn with(name: &str, options: &str, interfaces: &str) -> Result<Policy, String> {
    let network = format!(
        "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
         auto {name}\niface {name} inet static\n address 10.0.5.1/24\n{options}"
    );
    let interfaces = format!("?FORMAT 2\nnet eth0\n{interfaces}");
    let files = [
        ("network/interfaces", network.as_str()),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nvm:loc bport\n",
        ),
        ("shorewall/interfaces", &interfaces),
        ("shorewall/policy", "all all REJECT\n"),
        ("shorewall/rules", ""),
    ];
    match shorewall::compile(&Site::from_files("test", files)) {
        Ok(compiled) => Ok(compiled.policy),
        Err(report) => Err(report.to_string()),
    }
}

#[test]
fn with_bridge_ports_none_it_is_the_domains() {
    for (options, bridge) in [
        ("", false),
        (" bridge_ports none\n", true),
        (" bridge-ports none\n", true),
        (
            " bridge_ports none\n bridge_stp off\n bridge_fd 0\n bridge_maxwait 0\n",
            true,
        ),
    ] {
        for interfaces in ["loc br0\n", "loc br+\n", "loc lan physical=br0\n"] {
            let policy = with("br0", options, interfaces).unwrap();
            let [_, interface] = policy.interfaces.as_slice() else {
                panic!("{:?}", policy.interfaces);
            };
            assert_eq!((interface.name.as_str(), interface.bridge), ("br0", bridge));
            assert_eq!(interface.has_guests(), bridge);
            assert_eq!(interface.addresses[0].address, Ipv4Addr::new(10, 0, 5, 1));
        }
    }
}

#[test]
fn what_such_a_bridge_cannot_be_or_do_is_refused_by_name() {
    let none = " bridge_ports none\n";
    for (name, options, interfaces, said) in [
        (
            "br0",
            " bridge_ports eth1\n",
            "",
            "cannot be a port of `br0`",
        ),
        ("br0", " bridge_ports none eth1\n", "", "leave the line out"),
        (
            "br0",
            " bridge_ports none\n bridge_stp on\n",
            "",
            "bridge_stp off",
        ),
        (
            "br0",
            " bridge_ports none\n bridge_ageing 20\n",
            "",
            "bridge_ageing 300",
        ),
        (
            "br0",
            " bridge_ports none\n bridge_hw eth1\n",
            "",
            "`bridge_hw`",
        ),
        ("vif0", none, "", "cannot be called `vif0`"),
        ("bridge-of-the-house", none, "", "up to 15 letters"),
        ("br0", none, "vm br0:vif1.0\n", "have no zones of their own"),
    ] {
        let report = with(name, options, &format!("loc {name}\n{interfaces}")).unwrap_err();
        assert!(report.contains(said), "{said}: {report}");
    }
}
