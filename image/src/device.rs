//! What the name of a network device says about it.
//!
//! Every interface of a firewall domain is a vif: an Ethernet port whose other end is in a bridge of
//! dom0. A Debian firewall's files also name devices that its kernel made out of others. Some of
//! these can simply stay in dom0, as a port of the bridge or as the bridge itself; of others the
//! domain has no counterpart, and the user must say what takes their place.

/// What kind of device it is, judged by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An Ethernet card, or a name of the user's own.
    Card,
    /// A wireless card.
    Wireless,
    /// Several cards as one.
    Bond,
    /// A VLAN of another device.
    Vlan,
    /// A bridge.
    Bridge,
    /// PPP: DSL, dial-up, a mobile modem.
    PointToPoint,
    /// The end of a tunnel or VPN.
    Tunnel,
    /// The bridge or the cable of containers on the same machine.
    Containers,
    /// A device that leads nowhere.
    Dummy,
}

/// Names that are followed by a number or, as Shorewall's wildcard, by `+`.
const NUMBERED: [(&str, Kind); 37] = [
    ("ppp", Kind::PointToPoint),
    ("wwan", Kind::PointToPoint),
    ("ippp", Kind::PointToPoint),
    ("sl", Kind::PointToPoint),
    ("tun", Kind::Tunnel),
    ("tap", Kind::Tunnel),
    ("wg", Kind::Tunnel),
    ("ipsec", Kind::Tunnel),
    ("xfrm", Kind::Tunnel),
    ("vti", Kind::Tunnel),
    ("gre", Kind::Tunnel),
    ("gretap", Kind::Tunnel),
    ("ipip", Kind::Tunnel),
    ("tunl", Kind::Tunnel),
    ("sit", Kind::Tunnel),
    ("ip6tnl", Kind::Tunnel),
    ("l2tp", Kind::Tunnel),
    ("l2tpeth", Kind::Tunnel),
    ("vxlan", Kind::Tunnel),
    ("tailscale", Kind::Tunnel),
    ("docker", Kind::Containers),
    ("lxcbr", Kind::Containers),
    ("lxdbr", Kind::Containers),
    ("cni", Kind::Containers),
    ("podman", Kind::Containers),
    ("veth", Kind::Containers),
    ("bond", Kind::Bond),
    ("team", Kind::Bond),
    ("br", Kind::Bridge),
    ("xenbr", Kind::Bridge),
    ("virbr", Kind::Bridge),
    ("vmbr", Kind::Bridge),
    ("ovsbr", Kind::Bridge),
    ("vlan", Kind::Vlan),
    ("wlan", Kind::Wireless),
    ("dummy", Kind::Dummy),
    ("ifb", Kind::Dummy),
];

impl Kind {
    /// The kind of the device called `name`.
    pub fn of(name: &str) -> Self {
        // eth0.5: of whatever it is a VLAN.
        if let Some((_, tag)) = name.rsplit_once('.')
            && is_number(tag)
        {
            return Self::Vlan;
        }
        if let Some(rest) = name.strip_prefix("br-") {
            // Docker names the bridge of each of its networks after the network's number.
            let is_dockers = rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_hexdigit());
            return if is_dockers {
                Self::Containers
            } else {
                Self::Bridge
            };
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+');
        if stem.len() < name.len() {
            if let Some((_, kind)) = NUMBERED.iter().find(|(known, _)| *known == stem) {
                return *kind;
            }
            // systemd's predictable names: wlp3s0, wlx001122334455.
            if ["wlp", "wlo", "wls", "wlx"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                return Self::Wireless;
            }
            if name.starts_with("wwp") {
                return Self::PointToPoint;
            }
        }
        Self::Card
    }

    /// What takes its place in a firewall domain, when nothing does by itself.
    pub fn obstacle(self) -> Option<Obstacle> {
        let (what, instead) = match self {
            Self::PointToPoint => (
                "a PPP link ends where PPP is spoken, and firewalldom speaks none",
                "let the modem end it (as a router, with this site as its only host), or another \
                 domain; then name the bridge that leads there",
            ),
            Self::Tunnel => (
                "firewalldom is no tunnel's end",
                "let a guest or another router end the tunnel; then name the bridge that leads there",
            ),
            Self::Containers => (
                "containers live on a host of their own, and there are none in firewalldom",
                "put their host behind a bridge, and name that; or take the interface out",
            ),
            Self::Dummy => (
                "it leads nowhere",
                "take the interface out, or name the bridge that it shall lead to",
            ),
            Self::Card | Self::Wireless | Self::Bond | Self::Vlan | Self::Bridge => return None,
        };
        Some(Obstacle { what, instead })
    }

    /// What the user has to do in dom0 besides naming the bridge; a comment for the domain's
    /// configuration.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            Self::Bond => Some("the bond stays in dom0: make it a port of this bridge"),
            Self::Vlan => Some("the VLAN device stays in dom0: make it a port of this bridge"),
            Self::Wireless => {
                Some("the card stays in dom0: hostapd can make it a port of this bridge")
            }
            _ => None,
        }
    }
}

/// Why an interface cannot simply become a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The reason, as part of a sentence.
    pub what: &'static str,
    /// What can be done about it, as part of a sentence.
    pub instead: &'static str,
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_configurations_are_told_apart() {
        for (name, kind) in [
            ("eth0", Kind::Card),
            ("enp3s0f1", Kind::Card),
            ("eno1", Kind::Card),
            ("enx001122334455", Kind::Card),
            ("lan", Kind::Card),
            ("wan", Kind::Card),
            ("br", Kind::Card),
            ("tunnel", Kind::Card),
            ("ppp0", Kind::PointToPoint),
            ("ppp+", Kind::PointToPoint),
            ("wwan0", Kind::PointToPoint),
            ("wwp0s20u4", Kind::PointToPoint),
            ("tun0", Kind::Tunnel),
            ("wg0", Kind::Tunnel),
            ("sit1", Kind::Tunnel),
            ("docker0", Kind::Containers),
            ("br-4f2a19c07b1d", Kind::Containers),
            ("br-lan", Kind::Bridge),
            ("br0", Kind::Bridge),
            ("virbr0", Kind::Bridge),
            ("bond0", Kind::Bond),
            ("bond0.12", Kind::Vlan),
            ("eth0.5", Kind::Vlan),
            ("vlan7", Kind::Vlan),
            ("wlan0", Kind::Wireless),
            ("wlp3s0", Kind::Wireless),
            ("dummy0", Kind::Dummy),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn what_has_no_counterpart_says_what_to_do() {
        for kind in [
            Kind::PointToPoint,
            Kind::Tunnel,
            Kind::Containers,
            Kind::Dummy,
        ] {
            assert!(kind.obstacle().is_some(), "{kind:?}");
        }
        for kind in [Kind::Card, Kind::Bond, Kind::Vlan, Kind::Bridge] {
            assert_eq!(kind.obstacle(), None, "{kind:?}");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        for (index, (name, _)) in NUMBERED.iter().enumerate() {
            let again = NUMBERED
                .iter()
                .skip(index + 1)
                .any(|(other, _)| other == name);
            assert!(!again, "{name}");
        }
    }
}
