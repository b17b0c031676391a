//! What the toolstack says of a vif: the keys of `vif=[…]`, as libxl writes them to the backend's
//! directory.

#![forbid(unsafe_code)]

use super::connect::Error;
use crate::net::MacAddress;
use crate::xen::Xen;
use crate::xenstore::Client;
use core::net::Ipv4Addr;
use core::time::Duration;
use thiserror::Error as ThisError;

/// The bridge a vif is meant for if nobody names one: what libxl writes then, which a missing node means as well.
pub const BRIDGE_DEFAULT: &str = "xenbr0";
/// MTU if the toolstack names none.
pub(super) const MTU_DEFAULT: u16 = 1500;
/// The smallest MTU IPv4 can live with (RFC 791).
const MTU_MIN: u16 = 68;
/// The largest that fits a frame (`XEN_NETIF_MAX_TX_SIZE`) with an Ethernet header.
const MTU_MAX: u16 = 0xffff - 14;
/// Addresses of one vif (`ip=`).
const ADDRESSES_MAX: usize = 16;
/// Bytes of an interface's name (`IFNAMSIZ` with its end).
const NAME_MAX: usize = 15;

/// How much a guest may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes in each interval; not 0.
    pub bytes: u64,
    /// The interval; not 0.
    pub interval: Duration,
}

impl Rate {
    /// The one of two that lets less pass in the long run; of equals, the one that lets less pass at once.
    pub fn stricter(self, other: Self) -> Self {
        let key = |one: Self, interval: Duration| {
            let over_time = u128::from(one.bytes) * interval.as_micros();
            (over_time, one.bytes)
        };
        match key(self, other.interval) <= key(other, self.interval) {
            true => self,
            false => other,
        }
    }

    /// What each of so many queues may send.
    pub(super) fn share(self, queues: usize) -> Self {
        Self {
            bytes: (self.bytes / queues.max(1) as u64).max(1),
            ..self
        }
    }
}

/// Which key the toolstack wrote that cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum BadSetting {
    /// `mac` is missing or none.
    #[error("mac= is not an Ethernet address")]
    Mac,
    /// `ip` is not a list of IPv4 addresses, or longer than sixteen.
    #[error("ip= is not a list of up to 16 IPv4 addresses")]
    Addresses,
    /// `rate` is not bytes and microseconds.
    #[error("rate= is not a number of bytes and of microseconds")]
    Rate,
    /// `mtu` is not between 68 and 65,521.
    #[error("mtu= is not between 68 and 65521")]
    Mtu,
    /// `vifname` is longer than 15 characters, or has others than letters, digits and `.-_:`.
    #[error("vifname= is not the name of an interface")]
    Name,
    /// `bridge` is no such name either, nor empty.
    #[error("bridge= is not the name of an interface")]
    Bridge,
    /// `vlan` asks for a tag, which only a bridge could put on.
    #[error("vlan= is not supported")]
    Vlan,
}

/// What the toolstack said of a vif. (`trusted=` is not among it: it is for the frontend to act on, and the
/// toolstack tells only that one.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The guest's address.
    pub mac: MacAddress,
    /// Bytes of an IP packet that the guest was told it may send; 1500 if the toolstack said nothing.
    pub mtu: u16,
    /// The guest's own IP addresses; empty if the toolstack named none.
    pub addresses: heapless::Vec<Ipv4Addr, ADDRESSES_MAX>,
    /// How much it may send; followed when an administrator writes it anew.
    pub rate: Option<Rate>,
    /// The name the interface is to have here.
    pub name: Option<heapless::String<NAME_MAX>>,
    /// The bridge it is meant for, [`BRIDGE_DEFAULT`] unless the user named another: whoever has no bridges
    /// may leave it alone. Empty if the user wrote so.
    pub bridge: heapless::String<NAME_MAX>,
}

/// Reads `directory`, the backend's.
///
/// # Errors
/// [`Error::Setting`], or xenstore's.
pub(super) async fn read<X: Xen>(store: &Client<X>, directory: &str) -> Result<Settings, Error> {
    let keys = ["mac", "mtu", "vlan", "ip", "rate", "vifname", "bridge"];
    let values = store.read_all(directory, &keys).await?;
    // A value that is not UTF-8 is none of those below.
    let text = |at: usize| values.get(at)?.as_deref();
    let mac = text(0).and_then(|mac| mac.parse().ok());
    let mtu = text(1).map_or(Ok(MTU_DEFAULT), |mtu| {
        let mtu = mtu.parse().ok();
        mtu.filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu))
            .ok_or(BadSetting::Mtu)
    })?;
    if text(2).is_some_and(|vlan| !vlan.is_empty()) {
        return Err(BadSetting::Vlan.into());
    }
    Ok(Settings {
        mac: mac.ok_or(BadSetting::Mac)?,
        mtu,
        addresses: addresses(text(3).unwrap_or(""))?,
        rate: text(4).map(rate).transpose()?,
        name: text(5).map(name).transpose()?,
        bridge: bridge(text(6).unwrap_or(BRIDGE_DEFAULT))?,
    })
}

fn addresses(text: &str) -> Result<heapless::Vec<Ipv4Addr, ADDRESSES_MAX>, BadSetting> {
    let mut addresses = heapless::Vec::new();
    for word in text.split_ascii_whitespace() {
        let address = word.parse().map_err(|_| BadSetting::Addresses)?;
        addresses.push(address).map_err(|_| BadSetting::Addresses)?;
    }
    Ok(addresses)
}

/// `bytes,microseconds`, as libxl computes it from `rate=`. 0 bytes is what it means by no limit.
pub(super) fn rate(text: &str) -> Result<Rate, BadSetting> {
    let (bytes, microseconds) = text.split_once(',').ok_or(BadSetting::Rate)?;
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    let bytes = number(bytes).ok_or(BadSetting::Rate)?;
    let microseconds = number(microseconds).ok_or(BadSetting::Rate)?;
    Ok(Rate {
        bytes,
        interval: Duration::from_micros(microseconds),
    })
}

fn bridge(text: &str) -> Result<heapless::String<NAME_MAX>, BadSetting> {
    if text.is_empty() {
        return Ok(heapless::String::new());
    }
    name(text).map_err(|_| BadSetting::Bridge)
}

fn name(text: &str) -> Result<heapless::String<NAME_MAX>, BadSetting> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(BadSetting::Name);
    }
    text.try_into().map_err(|_| BadSetting::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_and_microseconds() {
        let parsed = rate("131072,50000").expect("as libxl writes it");
        assert_eq!((parsed.bytes, parsed.interval.as_millis()), (131_072, 50));
        for text in [
            "",
            "5",
            "5,",
            ",5",
            "0,5",
            "5,0",
            "-1,5",
            "5,5,5",
            "99999999999999999999,1",
        ] {
            assert_eq!(rate(text), Err(BadSetting::Rate), "{text}");
        }
    }

    #[test]
    fn the_stricter_of_two_rates_lets_less_pass_in_the_long_run() {
        let of = |bytes, ms| Rate {
            bytes,
            interval: Duration::from_millis(ms),
        };
        for (strict, lax) in [
            (of(1, 50), of(2, 50)),
            (of(100, 100), of(60, 50)),
            (of(60, 50), of(1300, 1000)),
            // The same over time.
            (of(50, 50), of(100, 100)),
            (of(u64::MAX - 1, 1), of(u64::MAX, 1)),
        ] {
            assert_eq!(strict.stricter(lax), strict);
            assert_eq!(lax.stricter(strict), strict);
        }
    }

    #[test]
    fn addresses_are_those_of_ipv4_and_not_too_many() {
        let two = addresses("10.0.3.2 10.0.3.3").expect("two");
        assert_eq!(
            two.as_slice(),
            [Ipv4Addr::new(10, 0, 3, 2), Ipv4Addr::new(10, 0, 3, 3)]
        );
        assert!(addresses("").is_ok_and(|none| none.is_empty()));
        assert!(addresses("10.0.3").is_err() && addresses("::1").is_err());
        assert!(addresses(&"10.0.3.2 ".repeat(17)).is_err());
    }

    #[test]
    fn a_name_is_an_interfaces() {
        assert_eq!(name("vif-web.0").expect("a name").as_str(), "vif-web.0");
        for text in ["", "a b", "ä", "sixteen-letters-", "a/b"] {
            assert_eq!(name(text), Err(BadSetting::Name), "{text}");
        }
        assert!(bridge("").is_ok_and(|none| none.is_empty()));
        assert_eq!(bridge("br-lan").expect("a name").as_str(), "br-lan");
        assert_eq!(bridge("a/b"), Err(BadSetting::Bridge));
    }
}
