//! What the user wants of the bridges: which card and which VLAN each has, how long its frames are, what its guests
//! may do. `cargo image build netdom --config FILE` makes it from a file, and `ramdisk=` passes it on.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `XENNDCFG` |
//! | 8 | 2 | version, little endian |
//! | 10 | 2 | 0 |
//! | 12 | 4 | length of the body in bytes |
//! | 16 | 4 | CRC-32 of the body |
//! | 20 | | body: [`Config`] as postcard |
//!
//! Xen pads a module to whole pages: what follows the body is not looked at. From its first release on, an image reads
//! its own version and the one released before it; none was released yet.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use minios_rs::net::back;
use minios_rs::pci::Address;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// First bytes of every configuration.
pub const MAGIC: [u8; 8] = *b"XENNDCFG";

/// The version that [`encode`] writes and [`open`] reads.
pub const VERSION: u16 = 2;

/// Bytes before the body: magic, version, two of zero, the body's length and its checksum, little endian.
pub const HEADER: usize = 20;

/// Bridges, at most.
pub const BRIDGES_MAX: usize = 64;

/// Bridges where no configuration names them: `xenbr0` for the first card, and so on.
pub const DEFAULT_BRIDGES: usize = 8;

/// Vifs of which something is said, at most.
pub const VIFS_MAX: usize = 256;

/// Bytes of the name of a bridge or a vif, at most: what Linux gives an interface.
pub const NAME_MAX: usize = 15;

/// Bytes of an IP packet where nothing is said of it.
pub const MTU: u16 = 1500;

/// The longest that may be asked for: jumbo frames.
pub const MTU_MAX: u16 = 9000;

/// What IPv4 wants everybody to take.
pub const MTU_MIN: u16 = 576;

/// VLANs that there are: 0 and 4095 are none.
pub const VLANS: core::ops::RangeInclusive<u16> = 1..=4094;

/// Cards by their order, at most.
pub const CARDS_MAX: u8 = 32;

/// Copies a second that a port may cause of what is for all, where nothing is said of it. A stream of video for
/// twenty others is 40,000.
pub const FLOOD: u32 = 50_000;

/// The most that may be asked for: more than is done in a second.
pub const FLOOD_MAX: u32 = 10_000_000;

/// A card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Card {
    /// The first that came, 1, and so on: the order of `pci=[…]`.
    Number(u8),
    /// By its address as this domain sees it: segment, bus, device and function.
    At(u16, u8, u8),
}

impl Card {
    /// The one at an address.
    pub fn at(address: Address) -> Self {
        Self::At(address.segment, address.bus, address.devfn)
    }

    /// Whether it is the one at `address`, which came as number `number`, from 1.
    pub fn is(self, address: Address, number: usize) -> bool {
        match self {
            Self::Number(wanted) => usize::from(wanted) == number,
            Self::At(..) => self == Self::at(address),
        }
    }
}

impl core::fmt::Display for Card {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Number(number) => number.fmt(formatter),
            Self::At(segment, bus, devfn) => Address {
                segment,
                bus,
                devfn,
            }
            .fmt(formatter),
        }
    }
}

/// What a guest may say that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lock {
    /// Its own station, and others that are behind it and nobody else's.
    #[default]
    Open,
    /// Its own station alone.
    Mac,
    /// The same, and the addresses of its `ip=` alone, which it has to have.
    Address,
}

/// So many bytes in each interval: what `rate=` of a vif comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Bytes; not 0.
    pub bytes: u32,
    /// Microseconds of an interval; not 0.
    pub interval_us: u32,
}

/// How much a guest may send, whatever `rate=` of its vif says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// As much as that says.
    #[default]
    None,
    /// No more than this, either.
    Rate(Rate),
}

impl Limit {
    /// As a vif takes it.
    pub(crate) fn rate(self) -> Option<back::Rate> {
        let Self::Rate(Rate { bytes, interval_us }) = self else {
            return None;
        };
        Some(back::Rate {
            bytes: bytes.into(),
            interval: Duration::from_micros(interval_us.into()),
        })
    }

    fn is_sound(self) -> bool {
        match self {
            Self::None => true,
            Self::Rate(rate) => rate.bytes > 0 && rate.interval_us > 0,
        }
    }
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// What `bridge=` of a vif calls it.
    pub name: String,
    /// Its wire. None: guests only.
    pub card: Option<Card>,
    /// The card that takes over when that one's link is lost.
    pub standby: Option<Card>,
    /// The VLAN that it is on the card. None: what has no tag.
    pub vlan: Option<u16>,
    /// Bytes of an IP packet.
    pub mtu: u16,
    /// What its guests may say that they are, unless there is more to say of one.
    pub lock: Lock,
    /// Copies a second that one port may cause of what is for all.
    pub flood: u32,
    /// How much each of its guests may send, unless there is more to say of one.
    pub rate: Limit,
}

impl Bridge {
    /// One of that name and nothing else.
    pub fn new(name: String) -> Self {
        Self {
            name,
            card: None,
            standby: None,
            vlan: None,
            mtu: MTU,
            lock: Lock::default(),
            flood: FLOOD,
            rate: Limit::None,
        }
    }
}

/// What is said of a vif. The rest is as on its bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vif {
    /// Its name: `vifname=`, or `vif5.0`.
    pub name: String,
    /// What it may say that it is.
    pub lock: Option<Lock>,
    /// How much it may send.
    pub rate: Option<Limit>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The bridges.
    pub bridges: Vec<Bridge>,
    /// Vifs of which there is more to say than of their bridge's others.
    pub vifs: Vec<Vif>,
}

/// Without a file: each card is the wire of a bridge of its own.
impl Default for Config {
    fn default() -> Self {
        let bridge = |number: usize| Bridge {
            card: Some(Card::Number(number as u8 + 1)),
            ..Bridge::new(format!("xenbr{number}"))
        };
        Self {
            bridges: (0..DEFAULT_BRIDGES).map(bridge).collect(),
            vifs: Vec::new(),
        }
    }
}

/// Why bytes are no configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Something else.
    #[error("it does not begin with XENNDCFG")]
    Magic,
    /// Another image's.
    #[error("it has version {0}, but this image reads version {VERSION}: build it anew")]
    Version(u16),
    /// Cut short.
    #[error("it is cut short")]
    Truncated,
    /// Damaged.
    #[error("it is damaged: its checksum is wrong")]
    Checksum,
    /// Not what the header promises.
    #[error("it does not decode")]
    Body,
    /// It decodes, but makes no sense.
    #[error("it makes no sense: {0}")]
    Nonsense(#[from] Nonsense),
}

/// What makes no sense in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Nonsense {
    /// None, or more than there may be.
    #[error("there are no bridges, or too many")]
    Bridges,
    /// More than there may be.
    #[error("there are too many vifs")]
    Vifs,
    /// A name that no interface has, or that two have.
    #[error("a name is none, or twice the same")]
    Name,
    /// No such VLAN.
    #[error("a VLAN is not between 1 and 4094")]
    Vlan,
    /// Longer or shorter than packets may be.
    #[error("an MTU is not between 576 and 9000")]
    Mtu,
    /// No such card, or a standby that is none.
    #[error("a card is none, or its own standby")]
    Card,
    /// Two bridges that frames could go to as well.
    #[error("two bridges have the same VLAN of a card")]
    Shared,
    /// None, or more than can be.
    #[error("a limit of copies is not between 1 and 10000000")]
    Flood,
    /// No bytes, or in no time.
    #[error("a rate lets nothing pass")]
    Rate,
}

/// Whether something can be called so.
pub fn is_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_known)
}

impl Config {
    /// Looks whether it makes sense.
    ///
    /// # Errors
    /// [`Nonsense`], the first there is.
    pub fn check(&self) -> Result<(), Nonsense> {
        let Self { bridges, vifs } = self;
        let ensure = |holds: bool, otherwise: Nonsense| holds.then_some(()).ok_or(otherwise);
        ensure(
            (1..=BRIDGES_MAX).contains(&bridges.len()),
            Nonsense::Bridges,
        )?;
        ensure(vifs.len() <= VIFS_MAX, Nonsense::Vifs)?;
        for (at, bridge) in bridges.iter().enumerate() {
            let others = &bridges[..at];
            let is_new = others.iter().all(|other| other.name != bridge.name);
            ensure(is_name(&bridge.name) && is_new, Nonsense::Name)?;
            let is_vlan = bridge.vlan.is_none_or(|vlan| VLANS.contains(&vlan));
            ensure(is_vlan, Nonsense::Vlan)?;
            ensure((MTU_MIN..=MTU_MAX).contains(&bridge.mtu), Nonsense::Mtu)?;
            ensure((1..=FLOOD_MAX).contains(&bridge.flood), Nonsense::Flood)?;
            ensure(bridge.rate.is_sound(), Nonsense::Rate)?;
            let is_card = |card: Card| !matches!(card, Card::Number(number) if !(1..=CARDS_MAX).contains(&number));
            let cards = || bridge.cards().into_iter().flatten();
            let is_own = bridge.standby.is_some()
                && (bridge.card.is_none() || bridge.card == bridge.standby);
            ensure(cards().all(is_card) && !is_own, Nonsense::Card)?;
            ensure(
                bridge.card.is_some() || bridge.vlan.is_none(),
                Nonsense::Card,
            )?;
            let is_shared = |other: &Bridge| {
                let theirs = other.cards();
                other.vlan == bridge.vlan && cards().any(|card| theirs.contains(&Some(card)))
            };
            ensure(!others.iter().any(is_shared), Nonsense::Shared)?;
        }
        for (at, vif) in vifs.iter().enumerate() {
            let is_new = vifs[..at].iter().all(|other| other.name != vif.name);
            ensure(is_name(&vif.name) && is_new, Nonsense::Name)?;
            ensure(vif.rate.is_none_or(Limit::is_sound), Nonsense::Rate)?;
        }
        Ok(())
    }

    /// What the cards have to take at least.
    pub fn mtu(&self) -> u16 {
        let mtus = self.bridges.iter().map(|bridge| bridge.mtu);
        mtus.max().unwrap_or(MTU)
    }
}

impl Bridge {
    /// Its cards, the one that stands by last.
    pub fn cards(&self) -> [Option<Card>; 2] {
        [self.card, self.standby]
    }
}

/// The checksum of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

/// Writes a configuration.
///
/// # Errors
/// [`Nonsense`]: what [`open`] would refuse.
pub fn encode(config: &Config) -> Result<Vec<u8>, Nonsense> {
    config.check()?;
    Ok(seal(&postcard::to_allocvec(config).unwrap_or_default()))
}

/// Puts the header before a body.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut blob = MAGIC.to_vec();
    blob.extend(VERSION.to_le_bytes());
    blob.extend([0, 0]);
    blob.extend((body.len() as u32).to_le_bytes());
    blob.extend(crc32(body).to_le_bytes());
    blob.extend(body);
    blob
}

/// Reads what a domain was given; nothing is [`Config::default`].
///
/// # Errors
/// [`enum@Error`].
pub fn open(module: &[u8]) -> Result<Config, Error> {
    if module.is_empty() {
        return Ok(Config::default());
    }
    let word = |at: usize| {
        let bytes = module.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_le_bytes(*bytes))
    };
    if !module.starts_with(&MAGIC) {
        return Err(Error::Magic);
    }
    let version = word(8).ok_or(Error::Truncated)?;
    if version != u32::from(VERSION) {
        return Err(Error::Version(version as u16));
    }
    let (length, sum) = word(12).zip(word(16)).ok_or(Error::Truncated)?;
    let body = module[HEADER..].get(..length as usize);
    let body = body.ok_or(Error::Truncated)?;
    if crc32(body) != sum {
        return Err(Error::Checksum);
    }
    let config: Config = postcard::from_bytes(body).map_err(|_| Error::Body)?;
    config.check()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn some() -> Config {
        let address = "0000:00:01.0".parse().expect("an address");
        Config {
            bridges: vec![
                Bridge {
                    card: Some(Card::Number(1)),
                    standby: Some(Card::at(address)),
                    vlan: Some(20),
                    mtu: 9000,
                    lock: Lock::Address,
                    flood: 7,
                    rate: Limit::Rate(Rate {
                        bytes: 62_500,
                        interval_us: 50_000,
                    }),
                    ..Bridge::new("lan".to_string())
                },
                Bridge::new("inside".to_string()),
            ],
            vifs: vec![Vif {
                name: "web".to_string(),
                lock: Some(Lock::Mac),
                rate: Some(Limit::None),
            }],
        }
    }

    #[test]
    fn what_was_written_is_read_whatever_follows_it() {
        let mut blob = encode(&some()).expect("it makes sense");
        assert_eq!(open(&blob), Ok(some()));
        blob.resize(4096, 0xee);
        assert_eq!(open(&blob), Ok(some()));
        assert_eq!(open(&[]), Ok(Config::default()));
        Config::default().check().expect("it makes sense");
        assert_eq!((some().mtu(), Config::default().mtu()), (9000, 1500));
    }

    /// An image of today reads what an earlier one of its version was given.
    #[test]
    fn version_2_is_read_as_it_was_first_written() {
        let first = [
            b"\x02\x03lan\x01\0\x01\x01\x01\0\0\x08\x01\x14\xa8\x46\x02\x07".as_slice(),
            b"\x01\xa4\xe8\x03\xd0\x86\x03",
            b"\x06inside\0\0\0\xdc\x0b\0\xd0\x86\x03\0\x01\x03web\x01\x01\x01\0",
        ]
        .concat();
        let blob = encode(&some()).expect("it makes sense");
        assert_eq!(blob[HEADER..], first);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let blob = encode(&some()).expect("it makes sense");
        let with = |at: usize, byte: u8| {
            let mut blob = blob.clone();
            blob[at] = byte;
            open(&blob)
        };
        assert_eq!(with(0, b'x'), Err(Error::Magic));
        assert_eq!(with(8, 1), Err(Error::Version(1)));
        assert_eq!(with(12, 0xff), Err(Error::Truncated));
        assert_eq!(with(blob.len() - 1, 9), Err(Error::Checksum));
        for end in 1..blob.len() {
            assert!(open(&blob[..end]).is_err());
        }
        let mut odd = blob[..HEADER].to_vec();
        odd[12..20].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        odd.push(5);
        odd[16..20].copy_from_slice(&crc32(&[5]).to_le_bytes());
        assert_eq!(open(&odd), Err(Error::Body));
    }

    #[test]
    fn what_makes_no_sense_is_neither_written_nor_read() {
        let refused = |change: fn(&mut Config)| {
            let mut config = some();
            change(&mut config);
            let wanted = config.check().expect_err("it makes no sense");
            assert_eq!(encode(&config), Err(wanted));
            wanted
        };
        assert_eq!(refused(|it| it.bridges.clear()), Nonsense::Bridges);
        let many = |it: &mut Config| it.bridges = vec![Bridge::new("a".to_string()); 65];
        assert_eq!(refused(many), Nonsense::Bridges);
        let many = |it: &mut Config| it.vifs = vec![it.vifs[0].clone(); 257];
        assert_eq!(refused(many), Nonsense::Vifs);
        for name in ["", "a b", "sixteen-letters-", "lan"] {
            let mut config = some();
            config.bridges[1].name = name.to_string();
            assert_eq!(config.check(), Err(Nonsense::Name));
        }
        let twice = |it: &mut Config| it.vifs.push(it.vifs[0].clone());
        assert_eq!(refused(twice), Nonsense::Name);
        assert_eq!(
            refused(|it| it.bridges[0].vlan = Some(4095)),
            Nonsense::Vlan
        );
        assert_eq!(refused(|it| it.bridges[0].vlan = Some(0)), Nonsense::Vlan);
        assert_eq!(refused(|it| it.bridges[0].mtu = 9001), Nonsense::Mtu);
        assert_eq!(refused(|it| it.bridges[0].mtu = 575), Nonsense::Mtu);
        assert_eq!(refused(|it| it.bridges[0].flood = 0), Nonsense::Flood);
        assert_eq!(refused(|it| it.bridges[0].card = None), Nonsense::Card);
        assert_eq!(
            refused(|it| it.bridges[0].card = Some(Card::Number(0))),
            Nonsense::Card
        );
        assert_eq!(
            refused(|it| it.bridges[0].standby = it.bridges[0].card),
            Nonsense::Card
        );
        assert_eq!(refused(|it| it.bridges[1].vlan = Some(2)), Nonsense::Card);
        for (bytes, interval_us) in [(0, 1), (1, 0)] {
            let nothing = Limit::Rate(Rate { bytes, interval_us });
            let mut config = some();
            config.bridges[1].rate = nothing;
            assert_eq!(config.check(), Err(Nonsense::Rate));
            let mut config = some();
            config.vifs[0].rate = Some(nothing);
            assert_eq!(config.check(), Err(Nonsense::Rate));
        }
        let same = |it: &mut Config| {
            it.bridges[1].card = it.bridges[0].standby;
            it.bridges[1].vlan = it.bridges[0].vlan;
        };
        assert_eq!(refused(same), Nonsense::Shared);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_configuration_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&bytes);
            // The same behind a header that holds.
            let mut blob = MAGIC.to_vec();
            blob.extend([VERSION as u8, 0, 0, 0]);
            blob.extend((bytes.len() as u32).to_le_bytes());
            blob.extend(crc32(&bytes).to_le_bytes());
            blob.append(&mut bytes);
            if let Ok(config) = open(&blob) {
                prop_assert_eq!(config.check(), Ok(()));
                let again = encode(&config).expect("it makes sense");
                prop_assert_eq!(open(&again), Ok(config));
            }
        }
    }
}
