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
            Some(gateway) => format!("ip -n {name} route add default via {gateway}\n"),
            None => String::new(),
        };
        // No IPv6 in either: its unasked packets would spoil every count.
        self.dom0(&format!(
            "set -e\n\
             ip link add br-{name} type bridge\n\
             sysctl -qw net.ipv6.conf.br-{name}.disable_ipv6=1\n\
             ip link set br-{name} up\n\
             ip netns add {name}\n\
             ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1\n\
             ip link add ve-{name} type veth peer name eth0 netns {name}\n\
             sysctl -qw net.ipv6.conf.ve-{name}.disable_ipv6=1\n\
             ip link set ve-{name} master br-{name} up\n\
             ip -n {name} link set lo up\n\
             ip -n {name} addr add {address} dev eth0\n\
             ip -n {name} link set eth0 up\n\
             {route}"
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
            "set -e; ip link del ve-{name}; ip netns del {name}; ip link del br-{name}"
        ))?;
        Ok(())
    }
}
