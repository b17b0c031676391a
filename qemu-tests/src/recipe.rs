//! What the lab is made of: packages, programs, kernel modules.

use crate::suite::Suite;

/// The packages to unpack; apt adds what they depend on.
pub(crate) fn packages(suite: Suite) -> Vec<String> {
    let xen = suite.xen_version();
    let xen = [
        format!("xen-hypervisor-{xen}-amd64"),
        format!("xen-utils-{xen}"),
    ];
    let others = PACKAGES.iter().copied().map(str::to_owned);
    xen.into_iter().chain(others).collect()
}

const PACKAGES: &[&str] = &[
    "bash-static",
    "bridge-utils",
    "bsdutils",
    "busybox-static",
    "conntrack",
    "dash",
    "ethtool",
    "grub-pc-bin",
    "grub-rescue-pc",
    "iperf3",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-ping",
    "kmod",
    "linux-image-amd64",
    "netcat-openbsd",
    "nftables",
    "perl",
    "qemu-system-xen",
    "shorewall",
    "socat",
    "tcpdump",
    "xen-utils-common",
    "xenstore-utils",
];

/// Dependencies that nothing in an initrd without dpkg, perl and python uses. (perl itself compiles
/// the peer's rules, on the host.)
pub(crate) const LEFT_OUT: &[&str] = &[
    "adduser",
    "base-files",
    "bc",
    "coreutils",
    "debconf",
    "debianutils",
    "dmsetup",
    "dpkg",
    "gettext-base",
    "init-system-helpers",
    "initramfs-tools",
    "iso-codes",
    "libfreetype6",
    "linux-base",
    "lsb-base",
    "mawk",
    "media-types",
    "passwd",
    "python3",
    "sensible-utils",
    "sysvinit-utils",
    "tar",
    "ucf",
    "udev",
];

/// Programs every Linux of the lab has.
pub(crate) const PROGRAMS: &[&str] = &["bin/ip", "bin/kmod", "sbin/modprobe"];

/// Programs a Debian guest has that does as it is told, besides those of every guest.
pub(crate) const GUEST_PROGRAMS: &[&str] = &["sbin/ethtool", "usr/bin/iperf3"];

/// Its modules, by name; dependencies follow.
pub(crate) const GUEST_MODULES: &[&str] =
    &["crc32c_generic", "pktgen", "xen-blkfront", "xen-netfront"];

/// Programs a guest that routes has besides: what Shorewall's script calls, and no more, since it starts the
/// sooner the less it has to unpack.
pub(crate) const ROUTER_PROGRAMS: &[&str] = &["usr/sbin/xtables-nft-multi"];

/// The names under which a script calls xtables-nft-multi, as Debian's alternatives have them.
pub(crate) const IPTABLES: &[&str] = &["iptables", "iptables-restore", "iptables-save"];

/// What iptables loads by name: the matches and targets that Shorewall's rules are made of.
pub(crate) const XTABLES: &[&str] = &[
    "libipt_REJECT",
    "libipt_icmp",
    "libxt_CT",
    "libxt_DNAT",
    "libxt_LOG",
    "libxt_MARK",
    "libxt_MASQUERADE",
    "libxt_REDIRECT",
    "libxt_SNAT",
    "libxt_TCPMSS",
    "libxt_addrtype",
    "libxt_comment",
    "libxt_connlimit",
    "libxt_conntrack",
    "libxt_hashlimit",
    "libxt_iprange",
    "libxt_limit",
    "libxt_mac",
    "libxt_mark",
    "libxt_multiport",
    "libxt_recent",
    "libxt_sctp",
    "libxt_standard",
    "libxt_tcp",
    "libxt_tcpmss",
    "libxt_time",
    "libxt_udp",
];

/// Programs dom0 has besides [`PROGRAMS`] and Xen's own.
pub(crate) const DOM0_PROGRAMS: &[&str] = &[
    // Hundreds of scripts are run: to link each bash anew takes an emulated machine longer than all else of most.
    "bin/bash-static",
    "bin/lsmod",
    "bin/nc.openbsd",
    "bin/ping",
    "bin/ss",
    "sbin/brctl",
    "sbin/bridge",
    "sbin/depmod",
    "sbin/ethtool",
    "sbin/insmod",
    "sbin/modinfo",
    "sbin/rmmod",
    "sbin/tc",
    "usr/bin/iperf3",
    "usr/bin/socat",
    "usr/bin/tcpdump",
    "usr/sbin/conntrack",
    "usr/sbin/nft",
    "usr/bin/script",
    "usr/bin/vchan-socket-proxy",
    "usr/bin/xenstore",
    "usr/bin/xenstore-chmod",
    "usr/bin/xenstore-control",
    "usr/bin/xenstore-exists",
    "usr/bin/xenstore-list",
    "usr/bin/xenstore-ls",
    "usr/bin/xenstore-read",
    "usr/bin/xenstore-rm",
    "usr/bin/xenstore-watch",
    "usr/bin/xenstore-write",
    "usr/sbin/gdbsx",
];

/// Programs in Xen's private folder.
pub(crate) const XEN_PROGRAMS: &[&str] = &[
    "libxl-save-helper",
    "lsevtchn",
    "oxenstored",
    "readnotes",
    "vchan-socket-proxy",
    "xen-cpuid",
    "xen-hvmctx",
    "xen-init-dom0",
    "xenconsole",
    "xenconsoled",
    "xenctx",
    "xenperf",
    "xenpm",
    "xenstore-control",
    "xenstored",
    "xentop",
    "xl",
];

/// The device model that libxl starts in dom0 for each HVM guest.
pub(crate) const DEVICE_MODEL: &str = "usr/libexec/xen-qemu-system-i386";

/// What that one reads: a keyboard that is there whether anybody types or not, and what starts a kernel that a guest's
/// configuration names.
pub(crate) const DEVICE_MODEL_FILES: &[&str] = &[
    "usr/share/qemu/keymaps/en-us",
    "usr/share/qemu/linuxboot.bin",
    "usr/share/qemu/linuxboot_dma.bin",
];

/// What libxl gives each HVM guest, whoever is its device model.
pub(crate) const BIOS: &str = "usr/share/seabios/bios-256k.bin";

/// Where releases have what it also reads: the ROM of the card that every vif has unless it is told otherwise.
pub(crate) const CARD_ROMS: &[&str] = &[
    "usr/lib/ipxe/qemu/efi-rtl8139.rom",
    "usr/share/qemu/efi-rtl8139.rom",
];

/// Modules of a guest that routes, by name; dependencies follow.
pub(crate) const ROUTER_MODULES: &[&str] = &[
    "crc32c_generic",
    "ip_tables",
    "ipt_REJECT",
    "nf_conntrack",
    "nf_log_syslog",
    "nf_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_limit",
    "xen-netfront",
    "xt_CT",
    "xt_LOG",
    "xt_MASQUERADE",
    "xt_REDIRECT",
    "xt_TCPMSS",
    "xt_addrtype",
    "xt_comment",
    "xt_connlimit",
    "xt_conntrack",
    "xt_hashlimit",
    "xt_iprange",
    "xt_limit",
    "xt_mac",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_recent",
    "xt_sctp",
    "xt_tcpmss",
    "xt_tcpudp",
    "xt_time",
];

/// Programs of a domain that guests hang off, besides `xl`.
pub(crate) const BACKEND_PROGRAMS: &[&str] = &["usr/bin/xenstore-read", "usr/bin/xenstore-write"];

/// Modules of a domain that guests hang off.
pub(crate) const BACKEND_MODULES: &[&str] = &[
    "xen-evtchn",
    "xen-gntdev",
    "xen-netback",
    "xen-privcmd",
    "xenfs",
];

/// Modules of a guest that drives a network card for others, besides [`BACKEND_MODULES`] and the card's own.
pub(crate) const DRIVER_MODULES: &[&str] = &["bridge", "crc32c_generic", "xen-pcifront"];

/// Modules of dom0, by name or, with a `/`, by the start of their path; dependencies follow.
pub(crate) const DOM0_MODULES: &[&str] = &[
    "kernel/net/bridge/netfilter/nft_",
    "kernel/net/ipv4/netfilter/nf_",
    "kernel/net/ipv4/netfilter/nft_",
    "kernel/net/ipv6/netfilter/nf_",
    "kernel/net/ipv6/netfilter/nft_",
    "kernel/net/netfilter/nf_",
    "kernel/net/netfilter/nfnetlink",
    "kernel/net/netfilter/nft_",
    "8021q",
    "9p",
    "9pnet_virtio",
    "act_mirred",
    "bridge",
    "br_netfilter",
    "cls_u32",
    "crc32c_generic",
    "dummy",
    "ifb",
    "ip_tables",
    "libcrc32c",
    "loop",
    "pktgen",
    "sch_ingress",
    "sch_netem",
    "sctp",
    "tun",
    "veth",
    "virtio_console",
    "virtio_pci",
    "xen-blkback",
    "xen-evtchn",
    "xen-gntalloc",
    "xen-gntdev",
    "xen-netback",
    "xen-netfront",
    "xen-pciback",
    "xen-privcmd",
    "xenfs",
];

/// What getprotobyname must know for nft to parse a ruleset.
pub(crate) const PROTOCOLS: &str = "\
icmp 1 ICMP\nigmp 2 IGMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n";

/// A name for content: FNV-1a over every part, lengths included.
pub(crate) fn content_key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    for part in parts {
        add(&part.len().to_le_bytes());
        add(part);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::content_key;

    #[test]
    fn a_content_key_depends_on_every_part_and_on_where_it_ends() {
        let key = |parts: &[&str]| content_key(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab", "c"]), key(&["ab", "d"]));
    }
}
