//! A site with a blacklist that is made up, as public ones are composed: single addresses for the
//! most part, then /24s, and fewer of each shorter prefix.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use shorewall::Site;

/// As many lines as a public list had.
pub(crate) const LINES: usize = 17_567;

/// How many of a thousand lines have a prefix of this length.
const LENGTHS: [(u8, u32); 10] = [
    (32, 560),
    (24, 230),
    (23, 40),
    (22, 60),
    (21, 25),
    (20, 30),
    (19, 20),
    (18, 12),
    (17, 8),
    (16, 15),
];

/// xorshift (Marsaglia 2003): the same list in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % bound
    }
}

/// Different prefixes of unicast addresses, none of them private.
fn prefixes(lines: usize) -> BTreeSet<(u32, u8)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut prefixes = BTreeSet::new();
    while prefixes.len() < lines {
        let mut dice = random.below(1000);
        let length = LENGTHS
            .iter()
            .find_map(|&(length, share)| match dice.checked_sub(share) {
                Some(left) => {
                    dice = left;
                    None
                }
                None => Some(length),
            });
        let length = length.unwrap_or(32);
        let address = (11 + random.below(160)) << 24 | random.below(1 << 24);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        prefixes.insert((address & mask, length));
    }
    prefixes
}

/// A site of three interfaces with a blacklist of so many lines.
pub(crate) fn site(lines: usize) -> Site {
    let mut blrules = String::new();
    for (address, length) in prefixes(lines) {
        let address = Ipv4Addr::from(address);
        let _ = writeln!(blrules, "DROP\tnet:{address}/{length}\tall");
    }
    let network = "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
                   iface eth1 inet static\n address 10.0.3.1/24\n\
                   iface eth2 inet static\n address 10.0.4.1/24\n";
    let files = [
        ("network/interfaces", network.to_owned()),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\ndmz ipv4\n".to_owned(),
        ),
        (
            "shorewall/interfaces",
            "?FORMAT 2\nnet eth0\nloc eth1\ndmz eth2\n".to_owned(),
        ),
        (
            "shorewall/policy",
            "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n".to_owned(),
        ),
        (
            "shorewall/rules",
            "?SECTION NEW\nSSH(ACCEPT) loc $FW\nDNAT net dmz:10.0.4.9 tcp 80\n".to_owned(),
        ),
        ("shorewall/blrules", blrules),
    ];
    Site::from_files("blacklist", files)
}
