//! Networks in dom0 for guests to be tested on.

use crate::machine::Machine;
use anyhow::{Result, ensure};

/// A bridge in dom0 with one host on it: a network namespace that stands for
/// a machine of its own.
///
/// With the name `lan` the bridge is `br-lan`, the namespace `lan` and the
/// host's interface `eth0`: run things there with `ip netns exec lan …`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Net {
    /// Letters, digits and dashes, at most 10.
    pub name: String,
    /// The host's address with the prefix length, such as `192.0.2.2/24`.
    pub address: String,
    /// Its default route; none for a host that knows only its own network.
    pub gateway: Option<String>,
}

impl Net {
    /// The bridge, for `vif=['bridge=…']`.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("br-{}", self.name)
    }
}

impl Machine {
    /// Makes a network.
    ///
    /// # Errors
    /// When its name is unusable or taken.
    pub fn add_net(&self, net: &Net) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let Net { name, address, .. } = net;
        ensure!(
            (1..=10).contains(&name.len()) && name.chars().all(plain),
            "a network's name has 1 to 10 letters, digits and dashes: {name:?}"
        );
        let route = match &net.gateway {
            Some(gateway) => format!("route add default via {gateway}\n"),
            None => String::new(),
        };
        // No IPv6 in either: its unasked packets would spoil every count. Few processes: each takes a tenth of a
        // second here.
        self.dom0(&format!(
            "set -e\n\
             no_ipv6() {{ echo 1 > /proc/sys/net/ipv6/conf/$1/disable_ipv6; }}\n\
             ip -batch - <<'END'\n\
             netns add {name}\n\
             link add br-{name} type bridge\n\
             link add ve-{name} type veth peer name eth0 netns {name}\n\
             END\n\
             no_ipv6 br-{name}; no_ipv6 ve-{name}\n\
             ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1\n\
             ip -n {name} -batch - <<'END'\n\
             link set lo up\n\
             addr add {address} dev eth0\n\
             link set eth0 up\n\
             {route}\
             END\n\
             ip -batch - <<'END'\n\
             link set br-{name} up\n\
             link set ve-{name} master br-{name} up\n\
             END\n"
        ))?;
        Ok(())
    }

    /// Removes a network made by [`Machine::add_net`].
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_net(&self, net: &Net) -> Result<()> {
        let name = &net.name;
        // The namespace may outlive its name for a moment; its veth must not.
        self.dom0(&format!(
            "printf '%s\\n' 'link del ve-{name}' 'netns del {name}' 'link del br-{name}' | ip -batch -"
        ))?;
        Ok(())
    }
}
