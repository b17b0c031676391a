//! Macros: services under the names that Shorewall's rules use, and what they are made of.
//!
//! A table of our own, from the IANA registries and the protocols' specifications; Shorewall's
//! macro files are not used. Each service is written compactly, one word an entry:
//!
//! | form | meaning |
//! |---|---|
//! | `tcp/80` | protocol and destination ports (`80,443`, `6881:6889`) |
//! | `udp/500@500` | destination ports and, behind `@`, source ports |
//! | `47` | a protocol alone |
//! | `icmp/8` | a type of ICMP |
//! | `<udp/500` | from destination to source as well |
//! | `udp/5353>224.0.0.251` | to this address only |
//! | `=HTTP` | all of another service |

/// A service.
pub(crate) struct Macro {
    /// Its name in rules.
    pub(crate) name: &'static str,
    entries: &'static str,
    /// What of it needs a connection-tracking helper of Linux's, and is lost without.
    pub(crate) helper: Option<&'static str>,
}

/// One entry of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'t> {
    /// Name or number.
    pub(crate) protocol: &'t str,
    /// Destination ports or types of ICMP, as a column says it.
    pub(crate) destination_ports: Option<&'t str>,
    /// Source ports.
    pub(crate) source_ports: Option<&'t str>,
    /// From the rule's destination to its source.
    pub(crate) reversed: bool,
    /// Only to this address.
    pub(crate) destination: Option<&'t str>,
}

const fn plain(name: &'static str, entries: &'static str) -> Macro {
    Macro {
        name,
        entries,
        helper: None,
    }
}

const fn helped(name: &'static str, entries: &'static str, helper: &'static str) -> Macro {
    Macro {
        name,
        entries,
        helper: Some(helper),
    }
}

/// Every service, by name.
pub(crate) const MACROS: &[Macro] = &[
    plain("AMQP", "tcp/5672 udp/5672"),
    helped("Amanda", "udp/10080 tcp/10080", "amanda"),
    plain("Apcupsd", "tcp/3551"),
    plain("Auth", "tcp/113"),
    plain("BGP", "tcp/179"),
    plain("BitTorrent", "tcp/6881:6889 udp/6881"),
    plain("BitTorrent32", "tcp/6881:6999 udp/6881"),
    plain("Bitcoin", "tcp/8333"),
    plain("CVS", "tcp/2401"),
    plain("Citrix", "tcp/1494 udp/1604 tcp/2598"),
    plain("Cockpit", "tcp/9090"),
    plain("DAAP", "tcp/3689 udp/3689"),
    plain("DCC", "udp/6277"),
    plain("DHCPfwd", "udp/67:68@67:68 <udp/67:68@67:68"),
    plain("DNS", "udp/53 tcp/53"),
    plain("Distcc", "tcp/3632"),
    plain("Edonkey", "tcp/4662 udp/4665"),
    helped("FTP", "tcp/21", "ftp"),
    plain("Finger", "tcp/79"),
    plain(
        "FreeIPA",
        "=DNS =HTTP =HTTPS =Kerberos =Kpasswd =LDAP =LDAPS =NTP",
    ),
    plain("GRE", "47 <47"),
    plain("Git", "tcp/9418"),
    plain("Gnutella", "tcp/6346 udp/6346"),
    plain("HKP", "tcp/11371"),
    plain("HTTP", "tcp/80"),
    plain("HTTPS", "tcp/443"),
    plain("ICPV2", "udp/3130"),
    plain("ICQ", "tcp/5190"),
    plain("IMAP", "tcp/143"),
    plain("IMAPS", "tcp/993"),
    plain("IPIP", "94 <94"),
    plain("IPP", "tcp/631"),
    plain("IPPbrd", "udp/631"),
    plain("IPPserver", "tcp/631 <udp/631"),
    plain("IPsec", "udp/500@500 50 <udp/500@500 <50"),
    plain("IPsecah", "udp/500@500 51 <udp/500@500 <51"),
    plain("IPsecnat", "udp/500 udp/4500 50 <udp/500 <udp/4500 <50"),
    helped("IRC", "tcp/6667", "irc"),
    plain("Jabber", "tcp/5222"),
    plain("JabberPlain", "tcp/5222"),
    plain("JabberSecure", "tcp/5223"),
    plain("Jabberd", "tcp/5269"),
    plain("Jetdirect", "tcp/9100"),
    plain("Kerberos", "tcp/88 udp/88"),
    plain("Kpasswd", "tcp/464 udp/464"),
    plain("L2TP", "udp/1701 <udp/1701"),
    plain("LDAP", "tcp/389"),
    plain("LDAPS", "tcp/636"),
    plain("MSA", "tcp/587"),
    plain("MSNP", "tcp/1863"),
    plain("MSSQL", "tcp/1433 udp/1434"),
    plain("Mail", "tcp/25 tcp/465 tcp/587"),
    plain("MongoDB", "tcp/27017"),
    plain("Munin", "tcp/4949"),
    plain("MySQL", "tcp/3306"),
    plain("NFS", "tcp/111 tcp/2049 tcp/20048"),
    plain("NNTP", "tcp/119"),
    plain("NNTPS", "tcp/563"),
    plain("NTP", "udp/123"),
    plain("NTPbi", "udp/123 <udp/123"),
    plain("NTPbrd", "udp/123 udp/1024:65535@123"),
    plain("ONCRPC", "tcp/111 udp/111"),
    plain("OSPF", "89"),
    plain("OpenVPN", "udp/1194"),
    plain("PCA", "udp/5632 tcp/5631"),
    plain("POP3", "tcp/110"),
    plain("POP3S", "tcp/995"),
    helped("PPtP", "47 <47 tcp/1723", "pptp"),
    plain("Ping", "icmp/8"),
    plain("PostgreSQL", "tcp/5432"),
    plain("Printer", "tcp/515"),
    plain("Puppet", "tcp/8140"),
    plain("QUIC", "udp/80,443"),
    plain("RDP", "udp/3389 tcp/3389"),
    plain("RIPbi", "udp/520 <udp/520"),
    plain("RNDC", "tcp/953"),
    plain("Rdate", "tcp/37"),
    plain("Redis", "tcp/6379"),
    plain("RedisCluster", "tcp/16379"),
    plain("RedisSecure", "tcp/6380"),
    plain("RedisSentinel", "tcp/26379"),
    plain("Rsync", "tcp/873"),
    plain("Rwhois", "tcp/4321"),
    helped("SANE", "tcp/6566", "sane"),
    helped("SIP", "udp/5060", "sip"),
    helped(
        "SMB",
        "udp/135,445 udp/137:139 udp/1024:65535@137 tcp/135,139,445",
        "netbios-ns",
    ),
    helped(
        "SMBBI",
        "=SMB <udp/135,445 <udp/137:139 <udp/1024:65535@137 <tcp/135,139,445",
        "netbios-ns",
    ),
    plain("SMBswat", "tcp/901"),
    plain("SMTP", "tcp/25"),
    plain("SMTPS", "tcp/465"),
    helped("SNMP", "udp/161", "snmp"),
    plain("SNMPtrap", "udp/162"),
    plain("SPAMD", "tcp/783"),
    plain("SSDP", "udp/1900"),
    plain("SSDPserver", "udp/1900 <udp/@1900"),
    plain("SSH", "tcp/22"),
    plain("SVN", "tcp/3690"),
    plain("Sieve", "tcp/4190"),
    plain("Squid", "tcp/3128"),
    plain("Submission", "tcp/587"),
    plain("Syslog", "udp/514 tcp/514"),
    helped("TFTP", "udp/69", "tftp"),
    plain("Telnet", "tcp/23"),
    plain("Telnets", "tcp/992"),
    plain("Teredo", "udp/3544"),
    plain("Time", "tcp/37"),
    plain("Tinc", "udp/655 tcp/655"),
    plain("Tor", "tcp/9001"),
    plain("TorControl", "tcp/9051"),
    plain("TorDirectory", "tcp/9030"),
    plain("TorSocks", "tcp/9050"),
    plain("Trcrt", "udp/33434:33524 icmp/8"),
    plain("VNC", "tcp/5900:5909"),
    plain("VNCL", "tcp/5500"),
    plain("VRRP", "112>224.0.0.18"),
    plain("WUDO", "tcp/7680"),
    plain("Web", "=HTTP =HTTPS"),
    plain("Webcache", "tcp/8080"),
    plain("Webmin", "tcp/10000"),
    plain("Whois", "tcp/43"),
    plain("Xymon", "tcp/1984"),
    plain("Zabbix", "tcp/10050 <tcp/10051"),
    plain(
        "mDNS",
        "udp/5353>224.0.0.251 udp/1024:65535@5353 2>224.0.0.251 <udp/5353>224.0.0.251 <2>224.0.0.251",
    ),
];

/// The service of a name, spelled exactly so.
pub(crate) fn find(name: &str) -> Option<&'static Macro> {
    MACROS.iter().find(|service| service.name == name)
}

impl Macro {
    /// What the service is made of.
    pub(crate) fn entries(&self) -> Vec<Entry<'static>> {
        self.entries
            .split(' ')
            .flat_map(|word| match word.strip_prefix('=') {
                Some(other) => find(other).map(Macro::entries).unwrap_or_default(),
                None => vec![entry(word)],
            })
            .collect()
    }
}

fn entry(word: &'static str) -> Entry<'static> {
    let (word, reversed) = match word.strip_prefix('<') {
        Some(word) => (word, true),
        None => (word, false),
    };
    let (word, destination) = match word.split_once('>') {
        Some((word, address)) => (word, Some(address)),
        None => (word, None),
    };
    let (protocol, ports) = word.split_once('/').unwrap_or((word, ""));
    let (destination_ports, source_ports) = ports.split_once('@').unwrap_or((ports, ""));
    let given = |ports: &'static str| (!ports.is_empty()).then_some(ports);
    Entry {
        protocol,
        destination_ports: given(destination_ports),
        source_ports: given(source_ports),
        reversed,
        destination,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_is_plain_and_encrypted_http() {
        let ports: Vec<_> = find("Web")
            .unwrap()
            .entries()
            .iter()
            .map(|entry| (entry.protocol, entry.destination_ports))
            .collect();
        assert_eq!(ports, [("tcp", Some("80")), ("tcp", Some("443"))]);
    }

    #[test]
    fn ipsec_goes_both_ways() {
        let entries = find("IPsec").unwrap().entries();
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[0].source_ports, Some("500"));
        assert!(!entries[1].reversed && entries[3].reversed);
        assert_eq!(entries[3].protocol, "50");
    }

    #[test]
    fn names_are_unique_and_references_resolve() {
        for (index, service) in MACROS.iter().enumerate() {
            assert!(
                MACROS[index + 1..]
                    .iter()
                    .all(|other| other.name != service.name),
                "{} twice",
                service.name
            );
            assert!(!service.entries().is_empty(), "{} is empty", service.name);
            for word in service.entries.split(' ') {
                if let Some(other) = word.strip_prefix('=') {
                    assert!(find(other).is_some(), "{}: no {other}", service.name);
                }
            }
        }
    }
}
