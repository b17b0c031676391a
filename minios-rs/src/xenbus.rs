//! The handshake both ends of every device go through, whatever the device.
//!
//! The toolstack makes two directories, one in each domain, each naming the other. Each end writes
//! its [`XenbusState`] there and watches the other's. [`Device`] is a frontend's view of that; a
//! driver reads top to bottom:
//!
//! ```no_run
//! # use minios_rs::{xen::Xen, xenstore::Client, xenbus::{Device, Error, XenbusState}};
//! # async fn connect<X: Xen>(store: &Client<X>) -> Result<(), Error> {
//! let mut device = Device::frontend(store, "vbd", 51712).await?;
//! device.wait_for(&[XenbusState::INIT_WAIT]).await?;
//! device.publish(&[("ring-ref", "8"), ("event-channel", "5")], XenbusState::INITIALISED).await?;
//! device.wait_for(&[XenbusState::CONNECTED]).await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub(crate) mod unserved;

pub use crate::abi::io::xenbus::XenbusState;
pub use unserved::refuse_backends;

use crate::xen::{DomId, Errno, Xen};
use crate::xenstore::{self, Client, Refusal, Watch};
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::pin::Pin;

/// Devices that [`refuse_unknown`] answers for at a time.
pub const REFUSED_MAX: usize = 64;

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// xenstore failed.
    #[error(transparent)]
    Xenstore(#[from] xenstore::Error),
    /// The backend closes or has closed.
    #[error("the backend closed the device")]
    Closing,
    /// The backend's directory is gone, or the device's own.
    #[error("the device is gone from xenstore")]
    Gone,
}

/// A device's place under `device/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceId {
    /// `vif`, `vbd`, `pci`, …
    pub class: String,
    /// Its name in the class; a number for all classes known today.
    pub index: String,
}

impl DeviceId {
    /// Its directory, relative to the domain's home.
    pub fn node(&self) -> String {
        format!("device/{}/{}", self.class, self.index)
    }
}

/// Every device the toolstack has given the domain, by class and index.
///
/// # Errors
/// xenstore's.
pub async fn devices<X: Xen>(xenstore: &Client<X>) -> Result<Vec<DeviceId>, xenstore::Error> {
    let mut devices = Vec::new();
    for class in children(xenstore, "device").await? {
        // Not a class: where the toolstack says how to suspend.
        if class == "suspend" {
            continue;
        }
        for index in children(xenstore, &format!("device/{class}")).await? {
            devices.push(DeviceId {
                class: class.clone(),
                index,
            });
        }
    }
    // A heap sort: kilobytes less in each image than `sort`, for what is a handful.
    Ok(BinaryHeap::from(devices).into_sorted_vec())
}

fn children<'a, X: Xen>(
    xenstore: &'a Client<X>,
    path: &'a str,
) -> Boxed<'a, Result<Vec<String>, xenstore::Error>> {
    Box::pin(async move {
        match xenstore.directory(path).await {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    })
}

/// One end of a device: this domain's directory, and the other end's.
pub struct Device<X: Xen> {
    xenstore: Client<X>,
    node: String,
    other: String,
    other_id: DomId,
    watch: Watch<X>,
}

impl<X: Xen> Device<X> {
    /// The frontend of a device, watching its backend's state.
    ///
    /// # Errors
    /// [`Error::Gone`] if the toolstack made no such device.
    pub async fn frontend(xenstore: &Client<X>, class: &str, index: u32) -> Result<Self, Error> {
        Self::open(xenstore, format!("device/{class}/{index}")).await
    }

    async fn open(xenstore: &Client<X>, node: String) -> Result<Self, Error> {
        let gone = |error: xenstore::Error| {
            if error.is_not_found() {
                Error::Gone
            } else {
                error.into()
            }
        };
        let other = xenstore
            .read_text(&format!("{node}/backend"))
            .await
            .map_err(gone)?;
        let other_id = xenstore
            .read_number(&format!("{node}/backend-id"))
            .await
            .map_err(gone)?;
        let watch = xenstore.watch(&format!("{other}/state")).await?;
        Ok(Self {
            xenstore: xenstore.clone(),
            node,
            other,
            other_id: DomId(other_id),
            watch,
        })
    }

    /// This end's directory, relative to the domain's home.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The other end's directory.
    pub fn other(&self) -> &str {
        &self.other
    }

    /// The domain of the other end.
    pub fn other_id(&self) -> DomId {
        self.other_id
    }

    /// The connection the handshake uses.
    pub fn xenstore(&self) -> &Client<X> {
        &self.xenstore
    }

    /// The other end's state; [`XenbusState::UNKNOWN`] if its node is gone, holds no number, or must not be read.
    ///
    /// # Errors
    /// xenstore's.
    pub fn other_state(&self) -> Boxed<'_, Result<XenbusState, Error>> {
        state_at(&self.xenstore, &self.other)
    }

    /// This end's state.
    ///
    /// # Errors
    /// xenstore's.
    pub fn own_state(&self) -> Boxed<'_, Result<XenbusState, Error>> {
        state_at(&self.xenstore, &self.node)
    }

    /// Waits until the other end is in one of these states, and says which.
    ///
    /// # Errors
    /// [`Error::Closing`] if it goes to Closing or Closed instead, [`Error::Gone`] if its
    /// directory goes away.
    pub async fn wait_for(&mut self, wanted: &[XenbusState]) -> Result<XenbusState, Error> {
        let ended = [
            XenbusState::CLOSING,
            XenbusState::CLOSED,
            XenbusState::UNKNOWN,
        ];
        let state = self
            .wait_until(&|state| wanted.contains(&state) || ended.contains(&state))
            .await?;
        match state {
            state if wanted.contains(&state) => Ok(state),
            XenbusState::UNKNOWN => Err(Error::Gone),
            _ => Err(Error::Closing),
        }
    }

    /// Waits until the other end closes, has closed or is gone.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn wait_for_end(&mut self) -> Result<(), Error> {
        let ended = [
            XenbusState::CLOSING,
            XenbusState::CLOSED,
            XenbusState::UNKNOWN,
        ];
        self.wait_until(&|state| ended.contains(&state))
            .await
            .map(drop)
    }

    /// Closes this end and waits until the other one has let go of what it mapped: it is Closed,
    /// gone, or has started anew.
    ///
    /// # Errors
    /// xenstore's; that the device is gone is none.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.wait_for_end().await?;
        match self.switch_to(XenbusState::CLOSED).await {
            Ok(()) | Err(Error::Gone) => {}
            Err(error) => return Err(error),
        }
        self.wait_until(&|state| state != XenbusState::CLOSING && state != XenbusState::CONNECTED)
            .await
            .map(drop)
    }

    /// Waits for the other end to write its state, be it the same one again, as some do after they wrote something
    /// else; that state. What was written before may come first.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn changed(&mut self) -> Result<XenbusState, Error> {
        self.watch.next().await?;
        self.other_state().await
    }

    /// Waits until the other end's state is as it should be.
    pub(crate) fn wait_until<'a>(
        &'a mut self,
        done: &'a dyn Fn(XenbusState) -> bool,
    ) -> Boxed<'a, Result<XenbusState, Error>> {
        Box::pin(async move {
            loop {
                let state = self.other_state().await?;
                if done(state) {
                    return Ok(state);
                }
                self.watch.next().await?;
            }
        })
    }

    /// Writes this end's state, if its directory is still there: a detached device's must not be
    /// brought back to life.
    ///
    /// # Errors
    /// [`Error::Gone`], or xenstore's.
    pub fn switch_to(&self, state: XenbusState) -> Boxed<'_, Result<(), Error>> {
        self.publish(&[], state)
    }

    /// Writes keys below this end's directory and its state, all at once.
    ///
    /// # Errors
    /// [`Error::Gone`], or xenstore's.
    pub fn publish<'a>(
        &'a self,
        keys: &'a [(&'a str, &'a str)],
        state: XenbusState,
    ) -> Boxed<'a, Result<(), Error>> {
        publish(&self.xenstore, &self.node, keys, state)
    }

    /// Gives the device up: the reason goes where the administrator looks (`error/…/error`), the
    /// state to Closing.
    ///
    /// # Errors
    /// xenstore's.
    pub async fn fatal(&self, errno: Errno, reason: &str) -> Result<(), Error> {
        unserved::complain(&self.xenstore, &self.node, errno, reason).await;
        self.switch_to(XenbusState::CLOSING).await
    }
}

pub(crate) fn state_at<'a, X: Xen>(
    xenstore: &'a Client<X>,
    directory: &'a str,
) -> Boxed<'a, Result<XenbusState, Error>> {
    Box::pin(async move {
        match xenstore.read_number(&format!("{directory}/state")).await {
            Ok(state) => Ok(XenbusState(state)),
            // Where a domain is gone, and its home with it, nobody else may even know that.
            // What no message holds is no state either.
            Err(
                xenstore::Error::BadValue
                | xenstore::Error::Refused(Refusal::AccessDenied | Refusal::TooBig),
            ) => Ok(XenbusState::UNKNOWN),
            Err(error) if error.is_not_found() => Ok(XenbusState::UNKNOWN),
            Err(error) => Err(error.into()),
        }
    })
}

/// A future in a box: what many tasks wait for is there once, not once in each of them.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

pub(crate) fn publish<'a, X: Xen>(
    xenstore: &'a Client<X>,
    node: &'a str,
    keys: &'a [(&'a str, &'a str)],
    state: XenbusState,
) -> Boxed<'a, Result<(), Error>> {
    change(xenstore, node, Some((keys, state)))
}

/// Removes a backend's directory, unless the toolstack has given it another life.
pub(crate) fn remove<'a, X: Xen>(
    xenstore: &'a Client<X>,
    node: &'a str,
) -> Boxed<'a, Result<(), Error>> {
    change(xenstore, node, None)
}

/// Writes keys and a state below a directory that is there, all at once; or removes it, if it is offline.
fn change<'a, X: Xen>(
    xenstore: &'a Client<X>,
    node: &'a str,
    written: Option<(&'a [(&'a str, &'a str)], XenbusState)>,
) -> Boxed<'a, Result<(), Error>> {
    Box::pin(async move {
        let changed = xenstore.transaction(async |transaction| {
            // A write would make the directory of a device that is gone anew.
            let needed = match written {
                Some(_) => "state",
                None => "online",
            };
            let online = transaction.read(&format!("{node}/{needed}")).await?;
            let Some((keys, state)) = written else {
                // What is above it the toolstack made, and is not ours to remove.
                return match online == b"0" {
                    true => transaction.rm(node).await,
                    false => Ok(()),
                };
            };
            for (key, value) in keys {
                transaction.write(&format!("{node}/{key}"), value).await?;
            }
            transaction
                .write(&format!("{node}/state"), state.0.to_string())
                .await
        });
        match changed.await {
            Err(error) if error.is_not_found() => Err(Error::Gone),
            other => Ok(other?),
        }
    })
}

/// Answers for devices of classes nobody here drives: Closing with Closed, as the toolstack waits
/// for it. Ends only with the xenstore connection; run it as a task.
///
/// # Errors
/// xenstore's.
pub async fn refuse_unknown<X: Xen>(xenstore: Client<X>, known: &[&str]) -> Result<(), Error> {
    let mut watch = xenstore.watch("device").await?;
    let mut watched: Vec<(DeviceId, String)> = Vec::new();
    loop {
        let devices = devices(&xenstore).await?;
        watched.retain(|(device, state)| {
            let stays = devices.contains(device);
            if !stays {
                watch.remove(state);
            }
            stays
        });
        for device in devices {
            if known.contains(&device.class.as_str()) {
                continue;
            }
            if watched.len() < REFUSED_MAX
                && !watched.iter().any(|(other, _)| *other == device)
                && let Ok(backend) = xenstore
                    .read_text(&format!("{}/backend", device.node()))
                    .await
            {
                let state = format!("{backend}/state");
                // A value that is no path is the toolstack's mistake, and nothing to watch.
                if watch.add(&state).await.is_ok() {
                    watched.push((device.clone(), state));
                }
            }
            // One device's trouble (a directory half written, rights not yet set) is not the
            // others', and an event will tell when it is over.
            if refuse(&xenstore, &device).await.is_err()
                && let Some(dead) = xenstore.dead()
            {
                return Err(dead.into());
            }
        }
        watch.next().await?;
    }
}

/// Writes Closed if the device's backend is closing.
async fn refuse<X: Xen>(xenstore: &Client<X>, device: &DeviceId) -> Result<(), Error> {
    let node = device.node();
    let Ok(backend) = xenstore.read_text(&format!("{node}/backend")).await else {
        return Ok(());
    };
    let closing = match state_at(xenstore, &backend).await {
        Ok(state) => state == XenbusState::CLOSING,
        Err(Error::Xenstore(xenstore::Error::BadPath)) => return Ok(()),
        Err(error) => return Err(error),
    };
    if closing && state_at(xenstore, &node).await? != XenbusState::CLOSED {
        match publish(xenstore, &node, &[], XenbusState::CLOSED).await {
            Ok(()) | Err(Error::Gone) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
