//! Setting a vif up, and its end in xenstore.

#![forbid(unsafe_code)]

use super::receive::Receiver;
use super::transmit::Transmitter;
use super::{Counters, Front, State};
use crate::abi::errno::{EINVAL, ENODEV, ENOMEM};
use crate::net::frame::FrontId;
use crate::net::{BadMacAddress, MacAddress};
use crate::xen::{BoundPort, DomId, Errno, ResourceError, Xen};
use crate::xenbus::{self, Device, XenbusState};
use crate::xenstore::Client;
use alloc::format;
use alloc::string::ToString;
use thiserror::Error as ThisError;

/// MTU if the toolstack names none.
const MTU_DEFAULT: u16 = 1500;
/// The smallest MTU IPv4 can live with (RFC 791).
const MTU_MIN: u16 = 68;

/// How much memory an interface gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Receive buffers, of a page each. The ring holds 256; those above replace what is being
    /// forwarded.
    pub rx_buffers: u16,
    /// Pages of other fronts' that this front's backend may hold at a time, at most: what a backend
    /// that answers nothing can take from them.
    pub tail_pages_max: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rx_buffers: 256,
            tail_pages_max: 160,
        }
    }
}

/// What the backend takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Frames of several slots (`feature-sg`).
    pub scatter_gather: bool,
    /// Frames to be cut into TCP segments over IPv4 (`feature-gso-tcpv4`).
    pub gso_tcpv4: bool,
    /// The same over IPv6 (`feature-gso-tcpv6`).
    pub gso_tcpv6: bool,
    /// Blank checksums over IPv6 (`feature-ipv6-csum-offload`). Over IPv4 every backend takes them.
    pub ipv6_checksum: bool,
}

/// Why an interface could not be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The handshake.
    #[error(transparent)]
    Xenbus(#[from] xenbus::Error),
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The backend cannot copy into our pages (`feature-rx-copy`), as every one of the last fifteen
    /// years can.
    #[error("the backend does not offer feature-rx-copy")]
    NoRxCopy,
    /// The toolstack's `mac` is none, or none that a station may have.
    #[error(transparent)]
    BadMac(#[from] BadMacAddress),
}

impl From<crate::xenstore::Error> for Error {
    fn from(error: crate::xenstore::Error) -> Self {
        Self::Xenbus(error.into())
    }
}

impl From<crate::xen::GrantError> for Error {
    fn from(error: crate::xen::GrantError) -> Self {
        Self::Resource(error.into())
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        Self::Resource(error.into())
    }
}

impl Error {
    /// The number that stands for it in the device's `error` node.
    fn errno(self) -> Errno {
        match self {
            Self::Xenbus(_) | Self::NoRxCopy => ENODEV,
            Self::Resource(_) => ENOMEM,
            Self::BadMac(_) => EINVAL,
        }
    }
}

/// A front's end in xenstore.
pub struct Link<X: Xen> {
    pub(super) device: Device<X>,
    /// The interface's address.
    pub(super) mac: MacAddress,
    /// This end ended it, for a reason that has not gone away.
    pub(super) gave_up: bool,
}

impl<X: Xen> Link<X> {
    /// The device's directory, such as `device/vif/0`.
    pub fn node(&self) -> &str {
        self.device.node()
    }

    /// Waits until the backend closes, has closed or is gone. Then [`Front::close`], say
    /// [`Link::closed`], and [`Front::release`] until it succeeds.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn backend_ending(&mut self) -> Result<(), Error> {
        Ok(self.device.wait_for_end().await?)
    }

    /// Gives the interface up from this side, and says why where the administrator looks.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn fatal(&mut self, reason: &str) -> Result<(), Error> {
        self.gave_up = true;
        Ok(self.device.fatal(EINVAL, reason).await?)
    }

    /// Tells the backend at once that this end is closed; [`Link::close`] also waits for it to let
    /// go.
    ///
    /// # Errors
    /// xenstore's; that the device is gone is none.
    pub async fn closed(&self) -> Result<(), Error> {
        match self.device.switch_to(XenbusState::CLOSED).await {
            Err(xenbus::Error::Gone) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Tells the backend that this end is closed, once it closes itself, and waits until it has
    /// let go of the rings. Call [`Front::close`] before, and [`Front::release`] after.
    ///
    /// # Errors
    /// xenstore's; that the device is gone is none.
    pub async fn close(&mut self) -> Result<(), Error> {
        Ok(self.device.close().await?)
    }
}

impl<X: Xen> Front<X> {
    /// Connects the vif of that index: waits for the backend, however long it takes (put a timeout
    /// around it), and gives it rings. Dropped half-way, it gives everything back that the backend
    /// has not mapped.
    ///
    /// # Errors
    /// [`Error`]. By then the device says why in its `error` node, the backend's Closing was
    /// answered with Closed, and everything is given back.
    pub async fn connect(
        xen: &X,
        xenstore: &Client<X>,
        index: u32,
        config: Config,
    ) -> Result<(Self, Link<X>), Error> {
        let mut device = Device::frontend(xenstore, "vif", index).await?;
        let (error, front) = match prepare(xen, &mut device, config).await {
            Ok(mut front) => match announce(&mut device, &mut front).await {
                Ok(()) => {
                    let link = Link {
                        device,
                        mac: front.mac,
                        gave_up: false,
                    };
                    return Ok((front, link));
                }
                Err(error) => (error, Some(front)),
            },
            Err(error) => (error, None),
        };
        // The first error is the one to report, whatever becomes of the rest.
        let _ = device.fatal(error.errno(), &error.to_string()).await;
        let _ = device.close().await;
        // Not before: the backend may have mapped the rings.
        drop(front);
        Err(error)
    }
}

/// Reads what the toolstack and the backend say, and takes what the interface needs.
async fn prepare<X: Xen>(
    xen: &X,
    device: &mut Device<X>,
    config: Config,
) -> Result<Front<X>, Error> {
    device.wait_for(&[XenbusState::INIT_WAIT]).await?;
    let xenstore = device.xenstore().clone();
    let keys = [
        "feature-rx-copy",
        "feature-sg",
        "feature-gso-tcpv4",
        "feature-gso-tcpv6",
        "feature-ipv6-csum-offload",
    ];
    let offered = xenstore.read_all(device.other(), &keys).await?;
    let mut offers = offered.iter().map(|value| match value {
        None => Ok(false),
        Some(value) => match value.trim().parse::<u32>() {
            Ok(number) => Ok(number == 1),
            Err(_) => Err(Error::from(crate::xenstore::Error::BadValue)),
        },
    });
    let mut offers = || offers.next().unwrap_or(Ok(false));
    if !offers()? {
        return Err(Error::NoRxCopy);
    }
    let features = Features {
        scatter_gather: offers()?,
        gso_tcpv4: offers()?,
        gso_tcpv6: offers()?,
        ipv6_checksum: offers()?,
    };
    let mac: MacAddress = xenstore
        .read_text(&format!("{}/mac", device.node()))
        .await?
        .parse()?;
    if !mac.is_station() {
        return Err(BadMacAddress.into());
    }
    let mtu = xenstore
        .read_number_if_any(&format!("{}/mtu", device.node()))
        .await
        .unwrap_or(None);
    let mtu = mtu.filter(|mtu| *mtu >= MTU_MIN).unwrap_or(MTU_DEFAULT);

    allocate(xen, device.other_id(), config, mac, mtu, features)
}

/// Gives the backend the rings and waits until it has taken them.
async fn announce<X: Xen>(device: &mut Device<X>, front: &mut Front<X>) -> Result<(), Error> {
    // The buffers are in the ring before the backend looks at it.
    let _ = front.receiver.publish();
    let port = front.port().map_or(0, |port| port.0).to_string();
    // No feature-rx-notify, though it is kept: with it, Linux' netback watches for stalls, and takes the
    // event that binding the port brings for buffers that came. It leaves the acknowledgement to a
    // thread, which may be quicker than the one that stores the interrupt's number, and then is lost:
    // the event stays masked, and nothing that is sent is ever taken. Without, frames that find no
    // buffer wait there for 30 ms, not for 10 s.
    let keys = [
        ("tx-ring-ref", &*front.transmitter.reference().to_string()),
        ("rx-ring-ref", &*front.receiver.reference().to_string()),
        ("event-channel", &*port),
        ("request-rx-copy", "1"),
        ("feature-sg", "1"),
        ("feature-gso-tcpv4", "1"),
        ("feature-gso-tcpv6", "1"),
        ("feature-ipv6-csum-offload", "1"),
    ];
    device.publish(&keys, XenbusState::CONNECTED).await?;
    device.wait_for(&[XenbusState::CONNECTED]).await?;
    // It may have asked for an event before it was there to get one.
    if let Some(port) = &front.port {
        port.notify()?;
    }
    Ok(())
}

fn allocate<X: Xen>(
    xen: &X,
    backend: DomId,
    config: Config,
    mac: MacAddress,
    mtu: u16,
    features: Features,
) -> Result<Front<X>, Error> {
    let id = FrontId::next();
    Ok(Front {
        id,
        backend,
        mac,
        mtu,
        features,
        state: State::Open,
        counters: Counters::default(),
        port: Some(BoundPort::allocate(xen, backend)?),
        receiver: Receiver::new(xen, backend, id, config.rx_buffers)?,
        transmitter: Transmitter::new(xen, backend, config.tail_pages_max)?,
    })
}
