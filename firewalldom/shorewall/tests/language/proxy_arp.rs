//! The file and the option `proxyarp`.

use super::*;

const SITE: [(&str, &str); 3] = [
    (
        "network/interfaces",
        "auto eth0\niface eth0 inet static\n  address 192.0.2.2/24\n  gateway 192.0.2.1\n\
         auto eth1\niface eth1 inet static\n  address 10.0.3.1/24\n",
    ),
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    ("shorewall/policy", "all all REJECT\n"),
];

#[test]
fn proxyarp_makes_the_route_and_the_interface_answer() {
    let interfaces = ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n");
    let policy = policy_of(
        &SITE,
        &[interfaces, ("shorewall/proxyarp", "192.0.2.9 eth1 eth0\n")],
    );
    let route = policy.routes.iter();
    let route = route.filter(|route| route.destination.length == 32);
    let route: Vec<_> = route
        .map(|route| {
            (
                route.destination.address.to_string(),
                route.gateway,
                route.interface.0,
            )
        })
        .collect();
    assert_eq!(route, [("192.0.2.9".to_owned(), None, 1)]);
    let answers = |policy: &Policy| {
        let interfaces = policy.interfaces.iter();
        interfaces
            .map(|interface| interface.proxy_arp)
            .collect::<Vec<_>>()
    };
    assert_eq!(answers(&policy), [false, true]);
    // The interface's own option holds.
    let own = (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0 proxyarp\nloc eth1 proxyarp=0\n",
    );
    let policy = policy_of(
        &SITE,
        &[own, ("shorewall/proxyarp", "192.0.2.9 eth1 eth0 Yes\n")],
    );
    assert_eq!(answers(&policy), [true, false]);
    assert_eq!(policy.routes.len(), 1);
}
