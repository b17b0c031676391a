//! A disk's end in xenstore: connecting, following, connecting again.

#![forbid(unsafe_code)]

use super::connection::Connection;
use super::info::{self, Offer};
use super::requests::Requests;
use super::{Breach, Config, Error, Front, State};
use crate::abi::errno::{EINVAL, EIO, ENODEV, ENOMEM};
use crate::abi::io::blkif::XEN_IO_PROTO_ABI_X86_64;
use crate::task::{Executor, First, race};
use crate::xen::{Errno, Xen};
use crate::xenbus::{self, Device, XenbusState, state_at};
use crate::xenstore::Client;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

/// The class of disks under `device/`.
const CLASS: &str = "vbd";

/// How long is waited before a backend that ended the connection is tried again: it can do so at once.
const PAUSE: Duration = Duration::from_secs(1);

/// A disk's end in xenstore.
pub struct Link<X: Xen> {
    xen: X,
    executor: Executor,
    requests: Rc<RefCell<Requests<X>>>,
    device: Device<X>,
    index: u32,
    config: Config,
}

/// What became of a connection.
enum Ending {
    /// The backend ends it, or is gone.
    Backend,
    /// It did what cannot be.
    Breach(Breach),
}

/// Connects the disk of that index in `device/vbd` (51712 is xvda, 768 hda): waits for the backend, however long it
/// takes (put a timeout around it). Dropped half-way, it gives everything back that the backend has not mapped.
///
/// # Errors
/// [`Error`]. By then the device says why in its `error` node, and everything is given back.
pub async fn connect<X: Xen>(
    xen: &X,
    xenstore: &Client<X>,
    executor: &Executor,
    index: u32,
    config: Config,
) -> Result<(Front<X>, Link<X>), Error> {
    let device = Device::frontend(xenstore, CLASS, index).await?;
    let requests = Requests::new(xen, device.other_id(), config);
    let mut link = Link {
        xen: xen.clone(),
        executor: executor.clone(),
        requests: Rc::new(RefCell::new(requests)),
        device,
        index,
        config,
    };
    link.open().await?;
    let requests = link.requests.clone();
    Ok((Front { requests }, link))
}

/// The number that stands for it in the device's `error` node.
fn errno(error: &Error) -> Errno {
    match error {
        Error::Xenbus(_) => ENODEV,
        Error::Resource(_) => ENOMEM,
        Error::Malformed(_) => EINVAL,
        Error::Broken(_) => EIO,
    }
}

impl<X: Xen> Link<X> {
    /// The device's directory, such as `device/vbd/51712`.
    pub fn node(&self) -> &str {
        self.device.node()
    }

    /// Looks after the disk until it is gone for good: then, and not before, every request has failed. Run it as a
    /// task.
    ///
    /// # Errors
    /// [`Error`]: why it is gone, if the toolstack did not take it away.
    pub async fn run(mut self) -> Result<(), Error> {
        let outcome = self.live().await;
        let mut requests = self.requests.borrow_mut();
        if !matches!(requests.state, State::Broken(_)) {
            requests.end(State::Gone);
        }
        outcome
    }

    async fn live(&mut self) -> Result<(), Error> {
        loop {
            let ending = self.follow().await?;
            // The ring stays until the backend has let go of it.
            let connection = self.requests.borrow_mut().suspend();
            if let Ending::Breach(breach) = ending {
                log::error!("{}: {breach}", self.node());
                let _ = self.device.fatal(EIO, &breach.to_string()).await;
                self.device.close().await?;
                drop(connection);
                return Err(breach.into());
            }
            self.device.close().await?;
            drop(connection);
            loop {
                if !self.comes_back().await? {
                    return Ok(());
                }
                self.device = Device::frontend(self.device.xenstore(), CLASS, self.index).await?;
                match self.open().await {
                    Ok(()) => break,
                    // It ended meanwhile, once more.
                    Err(Error::Xenbus(xenbus::Error::Closing | xenbus::Error::Gone)) => {
                        self.executor.sleep(PAUSE).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Shakes hands with the backend.
    async fn open(&mut self) -> Result<(), Error> {
        let mut connection = None;
        let error = match self.announce(&mut connection).await {
            Ok(offer) => {
                if let Some(connection) = connection {
                    self.requests.borrow_mut().open(connection, offer);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        // The first error is the one to report, whatever becomes of the rest.
        let _ = self.device.fatal(errno(&error), &error.to_string()).await;
        let _ = self.device.close().await;
        // Not before: the backend may have mapped the ring.
        drop(connection);
        Err(error)
    }

    /// Gives the backend a ring, and waits until it has taken it and says what it has.
    async fn announce(&mut self, connection: &mut Option<Connection<X>>) -> Result<Offer, Error> {
        let device = &mut self.device;
        device.wait_for(&[XenbusState::INIT_WAIT]).await?;
        let xenstore = device.xenstore().clone();
        let pages = info::ring_pages(&xenstore, device.other(), self.config.ring_pages_max).await?;
        // The disk's number as far as the protocol has room for it; backends look at the ring instead.
        let fresh = Connection::new(&self.xen, device.other_id(), self.index as u16, pages)?;
        let fresh = connection.insert(fresh);
        let mut keys = Vec::from([
            (
                String::from("event-channel"),
                fresh.port().number().0.to_string(),
            ),
            (
                String::from("protocol"),
                String::from(XEN_IO_PROTO_ABI_X86_64),
            ),
            (String::from("feature-persistent"), String::from("1")),
        ]);
        if pages == 1 {
            // An earlier connection may have written it.
            let order = format!("{}/ring-page-order", device.node());
            xenstore.rm(&order).await?;
            let reference = fresh.references().next().unwrap_or_default();
            keys.push((String::from("ring-ref"), reference.to_string()));
        } else {
            keys.push((String::from("ring-page-order"), pages.ilog2().to_string()));
            keys.push((String::from("num-ring-pages"), pages.to_string()));
            for (index, reference) in fresh.references().enumerate() {
                keys.push((format!("ring-ref{index}"), reference.to_string()));
            }
        }
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (&**key, &**value)).collect();
        device.publish(&keys, XenbusState::INITIALISED).await?;
        device.wait_for(&[XenbusState::CONNECTED]).await?;
        let offer = Offer::read(&xenstore, device.other()).await?;
        device.switch_to(XenbusState::CONNECTED).await?;
        Ok(offer)
    }

    /// Waits until a connection ends. Meanwhile the disk may grow.
    async fn follow(&mut self) -> Result<Ending, Error> {
        loop {
            let requests = &self.requests;
            let broken = poll_fn(|context| {
                let mut requests = requests.borrow_mut();
                if let State::Broken(breach) = requests.state {
                    return Poll::Ready(breach);
                }
                requests.waker = Some(context.waker().clone());
                Poll::Pending
            });
            let state = match race(broken, self.device.changed()).await {
                First::Left(breach) => return Ok(Ending::Breach(breach)),
                First::Right(state) => state?,
            };
            match state {
                XenbusState::CONNECTED => self.measure().await?,
                XenbusState::CLOSING | XenbusState::CLOSED | XenbusState::UNKNOWN => {
                    return Ok(Ending::Backend);
                }
                _ => {}
            }
        }
    }

    /// Linux' backend writes its state again when the disk's length has changed.
    async fn measure(&mut self) -> Result<(), Error> {
        match info::read_sectors(self.device.xenstore(), self.device.other()).await {
            Ok(sectors) => {
                if let Some(info) = &mut self.requests.borrow_mut().info
                    && info.sectors != sectors
                {
                    log::info!("{}: {sectors} sectors", self.device.node());
                    info.sectors = sectors;
                }
                Ok(())
            }
            // It stays as long as it was.
            Err(Error::Malformed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until there is a backend to connect to. False: the toolstack takes the disk away.
    async fn comes_back(&mut self) -> Result<bool, Error> {
        let xenstore = self.device.xenstore().clone();
        let node = self.device.node().to_string();
        let mut watch = xenstore.watch(&node).await?;
        let mut watched = String::new();
        loop {
            let here = xenstore.read_all(&node, &["backend", "state"]).await?;
            let [Some(backend), Some(own)] = &here[..] else {
                return Ok(false);
            };
            if *backend != watched {
                watch.remove(&format!("{watched}/state"));
                watched.clone_from(backend);
                watch.add(&format!("{backend}/state")).await?;
                // It may have gone on before it was watched.
                continue;
            }
            // Where its domain is gone nobody may read even that.
            let online = xenstore.read_text(&format!("{backend}/online")).await;
            if online.is_ok_and(|online| online == "0") {
                return Ok(false);
            }
            let own = own.parse().map_or(XenbusState::UNKNOWN, XenbusState);
            match (own, state_at(&xenstore, backend).await?) {
                (XenbusState::INITIALISING, XenbusState::INIT_WAIT) => return Ok(true),
                (XenbusState::INITIALISING, _) => {}
                // Linux' backend takes a frontend that starts anew for its own sign to.
                (_, XenbusState::CLOSED | XenbusState::INITIALISING | XenbusState::INIT_WAIT) => {
                    match self.device.switch_to(XenbusState::INITIALISING).await {
                        Err(xenbus::Error::Gone) => return Ok(false),
                        other => other?,
                    }
                    continue;
                }
                _ => {}
            }
            watch.next().await?;
        }
    }
}
