//! `explain`: its options.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  cargo image explain /etc --in eth1 --from 10.0.3.9 --to 198.51.100.1 --proto tcp --dport 25
  cargo image explain /etc --in eth0 --from 203.0.113.7 --proto icmp
  cargo image explain /etc --in eth0 --from 203.0.113.7 --proto tcp --dport 8080 --json

The firewall's own engine judges the packet, as the first of its connection.";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXPLAIN_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Explain {
    /// A folder laid out like /etc (shorewall/, network/interfaces), or a bare Shorewall folder.
    #[arg(value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// The interface that the packet comes in by.
    #[arg(long = "in", value_name = "IF")]
    pub(crate) ingress: String,
    /// Its source address.
    #[arg(long, value_name = "ADDR")]
    pub(crate) from: Ipv4Addr,
    /// Its destination address; without it the firewall's own on that interface.
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: Option<Ipv4Addr>,
    /// tcp, udp, icmp, or a protocol's number.
    #[arg(long, value_name = "P", value_parser = protocol)]
    pub(crate) proto: u8,
    /// Destination port, of tcp and udp.
    #[arg(long, value_name = "N")]
    pub(crate) dport: Option<u16>,
    /// Source port, of tcp and udp.
    #[arg(long, value_name = "N", default_value_t = 40_000)]
    pub(crate) sport: u16,
    /// Type and code, of icmp.
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = icmp_type, default_value = "8")]
    pub(crate) icmp_type: (u8, u8),
    /// The interfaces(5) file, when it is not DIR/network/interfaces.
    #[arg(long, value_name = "FILE")]
    pub(crate) network: Option<PathBuf>,
    /// Lets /bin/sh run `params` and `?SHELL`, in an empty environment. Without it nothing runs.
    #[arg(long)]
    pub(crate) shell: bool,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

fn protocol(word: &str) -> Result<u8, String> {
    match word {
        "icmp" => Ok(1),
        "tcp" => Ok(6),
        "udp" => Ok(17),
        number => number
            .parse()
            .map_err(|_| "expected tcp, udp, icmp or a number from 0 to 255".to_owned()),
    }
}

fn icmp_type(word: &str) -> Result<(u8, u8), String> {
    let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
    match (kind.parse(), code.parse()) {
        (Ok(kind), Ok(code)) => Ok((kind, code)),
        _ => Err("expected a type, or TYPE/CODE, of numbers from 0 to 255".to_owned()),
    }
}
