//! The frontend of `device/pci`: connecting, and cards that come and go.

#![forbid(unsafe_code)]

use super::channel::Channel;
use super::{Address, Error, Function};
use crate::abi::errno::ENODEV;
use crate::abi::io::pciif::XEN_PCI_MAGIC;
use crate::hardware::Hardware;
use crate::task::Executor;
use crate::xen::Xen;
use crate::xenbus::{Boxed, Device, XenbusState};
use crate::xenstore::Client;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// Functions that one backend may have for this domain, at most: what libxl passes.
pub const FUNCTIONS_MAX: u32 = 32;

/// How long the backend may take to connect.
pub const CONNECT_TIME: Duration = Duration::from_secs(60);

/// How long it may take to let go of what could not be connected.
const GIVE_UP_TIME: Duration = Duration::from_secs(10);

/// The functions' configuration space. A handle: clones speak over the same page.
pub struct Bus<X: Xen> {
    pub(super) xen: X,
    pub(super) channel: Rc<Channel<X>>,
}

impl<X: Xen> Clone for Bus<X> {
    fn clone(&self) -> Self {
        Self {
            xen: self.xen.clone(),
            channel: self.channel.clone(),
        }
    }
}

/// What the toolstack did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It takes these functions away: stop them, let go of what is theirs, and say [`Link::settled`].
    Detaching(Vec<Address>),
    /// It may have given more: [`Link::functions`] has them.
    Attached,
    /// It takes all of them away: stop, let go, and say [`Link::close`].
    Ending,
}

/// The bus' end in xenstore.
pub struct Link<X: Xen> {
    device: Device<X>,
}

impl<X: Xen> Bus<X> {
    /// Connects the bus of that index; libxl makes one for a domain with cards, of index 0. Dropped
    /// half-way, it gives everything back that the backend has not mapped.
    ///
    /// # Errors
    /// [`Error`]. By then the device says why in its `error` node.
    pub async fn connect(
        xen: &X,
        xenstore: &Client<X>,
        executor: &Executor,
        index: u32,
    ) -> Result<(Self, Link<X>), Error> {
        let mut device = Device::frontend(xenstore, "pci", index).await?;
        let channel = Channel::new(xen, executor, device.other_id());
        let announced = match &channel {
            Ok(channel) => announce(&mut device, executor, channel).await,
            Err(error) => Err(*error),
        };
        let channel = match announced.and(channel) {
            Ok(channel) => channel,
            Err(error) => {
                // The first error is the one to report, whatever becomes of the rest.
                let _ = device.fatal(ENODEV, &error.to_string()).await;
                // It may have mapped the page; but one that does not answer is not waited for.
                let _ = executor.timeout(GIVE_UP_TIME, device.close()).await;
                return Err(error);
            }
        };
        let bus = Self {
            xen: xen.clone(),
            channel: Rc::new(channel),
        };
        Ok((bus, Link { device }))
    }

    /// Once a turn of the main loop: wakes who waits for the backend, and answers its reports of errors.
    pub fn pump(&self) {
        self.channel.pump();
    }

    /// Errors on the bus that the backend has reported, and was promised a reset of the cards for.
    pub fn errors(&self) -> u32 {
        self.channel.errors()
    }
}

/// Gives the backend the page and waits until it has taken it.
async fn announce<X: Xen>(
    device: &mut Device<X>,
    executor: &Executor,
    channel: &Channel<X>,
) -> Result<(), Error> {
    let (reference, port) = (channel.reference().to_string(), channel.port().to_string());
    let keys = [
        ("pci-op-ref", &*reference),
        ("event-channel", &*port),
        ("magic", XEN_PCI_MAGIC),
    ];
    device.publish(&keys, XenbusState::INITIALISED).await?;
    let connected = device.wait_for(&[XenbusState::CONNECTED]);
    executor.timeout(CONNECT_TIME, connected).await??;
    Ok(device.switch_to(XenbusState::CONNECTED).await?)
}

impl<X: Hardware> Bus<X> {
    /// The function at an address that [`Link::functions`] named.
    pub fn function(&self, address: Address) -> Function<X> {
        Function::new(self.clone(), address)
    }
}

impl<X: Xen> Link<X> {
    /// The device's directory, such as `device/pci/0`.
    pub fn node(&self) -> &str {
        self.device.node()
    }

    /// What is passed to this domain now, in the toolstack's order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn functions(&self) -> Result<Vec<Address>, Error> {
        self.list(|state| state != XenbusState::CLOSING && state != XenbusState::CLOSED)
            .await
    }

    fn list(&self, wanted: fn(XenbusState) -> bool) -> Boxed<'_, Result<Vec<Address>, Error>> {
        Box::pin(self.read_list(wanted))
    }

    async fn read_list(&self, wanted: fn(XenbusState) -> bool) -> Result<Vec<Address>, Error> {
        let xenstore = self.device.xenstore();
        let other = self.device.other();
        let count: u32 = xenstore
            .read_number_if_any(&format!("{other}/num_devs"))
            .await?
            .unwrap_or(0);
        if count > FUNCTIONS_MAX {
            return Err(Error::Malformed("the PCI backend has too many functions"));
        }
        let mut found = Vec::new();
        for number in 0..count {
            let keys = [format!("state-{number}"), format!("vdev-{number}")];
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let values = xenstore.read_all(other, &keys).await?;
            let state = values[0].as_deref().and_then(|text| text.parse().ok());
            // One that is gone leaves its number behind, and one that is yet to come has no address.
            let (Some(state), Some(address)) = (state, &values[1]) else {
                continue;
            };
            if !wanted(XenbusState(state)) {
                continue;
            }
            let address = address
                .parse()
                .map_err(|_| Error::Malformed("the PCI backend names an address that is none"))?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
        Ok(found)
    }

    /// Waits until the toolstack does something.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn changed(&mut self) -> Result<Change, Error> {
        let states = [
            XenbusState::RECONFIGURING,
            XenbusState::RECONFIGURED,
            XenbusState::CLOSING,
            XenbusState::CLOSED,
            XenbusState::UNKNOWN,
        ];
        let state = self
            .device
            .wait_until(&|state| states.contains(&state))
            .await?;
        match state {
            XenbusState::RECONFIGURING => {
                let leaving = self.list(|state| state == XenbusState::CLOSING).await?;
                Ok(Change::Detaching(leaving))
            }
            XenbusState::RECONFIGURED => {
                self.device.switch_to(XenbusState::CONNECTED).await?;
                // The backend follows; until it has, this state is still the last one.
                self.device
                    .wait_until(&|state| state != XenbusState::RECONFIGURED)
                    .await?;
                Ok(Change::Attached)
            }
            _ => Ok(Change::Ending),
        }
    }

    /// Says that what is to go is no longer used, and waits until the backend has taken it away.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn settled(&mut self) -> Result<(), Error> {
        self.device.switch_to(XenbusState::RECONFIGURING).await?;
        self.device
            .wait_until(&|state| state != XenbusState::RECONFIGURING)
            .await?;
        Ok(())
    }

    /// Says that nothing is used any more, and waits until the backend has let go of the page.
    ///
    /// # Errors
    /// xenstore's; that the device is gone is none.
    pub async fn close(&mut self) -> Result<(), Error> {
        Ok(self.device.close().await?)
    }
}
