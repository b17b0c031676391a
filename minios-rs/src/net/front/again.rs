//! A vif that comes back: its backend starts anew, or the toolstack attaches another in its place.

#![forbid(unsafe_code)]

use super::connect::{Config, Error};
use super::{Front, Link};
use crate::xen::Xen;
use crate::xenbus::{self, XenbusState, publish};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Vifs that are looked at for the one with the right address: more than a domain may have.
const VIFS_MAX: usize = 64;

impl<X: Xen> Link<X> {
    /// Connects the interface again, when it was closed ([`Link::close`]) and everything of it was given
    /// back ([`Front::release`](super::Front::release)). It waits, however long it takes,
    /// - until a vif with its MAC address is attached, whatever its number (`xl network-attach` counts on
    ///   from the largest) and its backend's domain. By its number alone it could be another interface's;
    /// - or, if this end did not give the old one up, until its backend waits for a frontend again. It is
    ///   asked to, by Initialising, which Linux' netback takes up after Closed.
    ///
    /// Whoever calls this in a loop makes a pause: a backend can end each connection at once.
    ///
    /// # Errors
    /// As [`Front::connect`](super::Front::connect)'s; it can be called again.
    pub async fn again(&mut self, xen: &X, config: Config) -> Result<(Front<X>, Self), Error> {
        let index = self.attached().await?;
        let connected = Front::connect(xen, self.device.xenstore(), index, config).await;
        let is_theirs = |error: &Error| {
            matches!(
                error,
                Error::Xenbus(xenbus::Error::Closing | xenbus::Error::Gone)
            )
        };
        self.gave_up = connected.as_ref().is_err_and(|error| !is_theirs(error));
        connected
    }

    /// Waits until there is a vif to connect: its number.
    async fn attached(&mut self) -> Result<u32, Error> {
        let xenstore = self.device.xenstore();
        let mut watch = xenstore.watch("device/vif").await?;
        let mut watched = String::new();
        loop {
            let Some(index) = self.index_now().await? else {
                watch.next().await?;
                continue;
            };
            let node = format!("device/vif/{index}");
            let here = xenstore.read_all(&node, &["backend", "state"]).await?;
            let backend = here[0].as_deref().unwrap_or_default();
            if backend != watched {
                watch.remove(&format!("{watched}/state"));
                watched = String::from(backend);
                watch.add(&format!("{backend}/state")).await?;
            }
            let there = xenstore.read_all(backend, &["state", "online"]).await?;
            let (own, other) = (state(&here[1]), state(&there[0]));
            if own == XenbusState::INITIALISING {
                if [XenbusState::INITIALISING, XenbusState::INIT_WAIT].contains(&other) {
                    return Ok(index);
                }
            } else if !self.gave_up
                // The toolstack takes it away: it is offline first.
                && there[1].as_deref() == Some("1")
                && publish(xenstore, &node, &[], XenbusState::INITIALISING).await.is_ok()
            {
                continue;
            }
            watch.next().await?;
        }
    }

    /// The number of the vif that has this interface's address now.
    async fn index_now(&self) -> Result<Option<u32>, Error> {
        let xenstore = self.device.xenstore();
        let mut indices = match xenstore.directory("device/vif").await {
            Err(error) if error.is_not_found() => return Ok(None),
            indices => indices?,
        };
        indices.truncate(VIFS_MAX);
        let keys: Vec<String> = indices.iter().map(|index| format!("{index}/mac")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let macs = xenstore.read_all("device/vif", &keys).await?;
        let mut found = macs.iter().zip(&indices);
        let found = found.find(|(mac, _)| {
            let mac = mac.as_deref().map(str::parse);
            mac == Some(Ok(self.mac))
        });
        Ok(found.and_then(|(_, index)| index.parse().ok()))
    }
}

/// A state as it stands in xenstore, if it stands there.
fn state(text: &Option<String>) -> XenbusState {
    let number = text.as_deref().and_then(|text| text.parse().ok());
    number.map_or(XenbusState::UNKNOWN, XenbusState)
}
