//! One vif's life in xenstore, from the toolstack's nodes to their removal.
//!
//! The frontend's state is followed whatever it does: it may close before it ever connects (Windows does:
//! Closing, Closed, Initialising), start anew without closing, vanish, or say nothing. Whatever a state
//! demands is done once, from the present values of three nodes: the frontend's state, our own (the toolstack
//! writes it as well) and `online`.

#![forbid(unsafe_code)]

use super::config::{Config, EventChannels, Ipv6Offloads, QUEUES_MAX};
use super::keys::Keys;
use super::lease::{Lease, Signal};
use super::multicast::MulticastControl;
use super::phase::{Phase, RECONNECT_PAUSE, Timers};
use super::settings::{self, BadSetting, Settings};
use super::{Back, Breach};
use crate::task::{Executor, First, race};
use crate::time::Instant;
use crate::xen::{DomId, Errno, ResourceError, Xen};
use crate::xenbus::{self, XenbusState};
use crate::xenstore::{self, Client, Refusal, Watch};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::RefCell;
use core::time::Duration;
use thiserror::Error as ThisError;

/// Nodes of ours that one vif costs, its directories and what the toolstack writes included: xenstored counts
/// them all as ours, and lets a domain have 1,000. So many they are with what [`Config::default`] offers, or,
/// without [`Ipv6Offloads`], with two of `ip=`, `vifname=` and `bridge=`. Each of these, `rate=`, an MTU that is not 1500, split
/// channels, multicast control and several queues cost another.
pub const NODES_MAX: usize = 13;

/// Where the toolstack makes our directories, relative to our home.
pub(super) const ROOT: &str = "backend/vif";

/// What the toolstack writes for the scripts and drivers of other backends, which nobody reads here.
const NOT_FOR_US: [&str; 4] = ["script", "gatewaydev", "type", "handle"];

/// How long our directory stays after Closed: the toolstack still wants to read that.
const REMOVE_GRACE: Duration = Duration::from_secs(1);

/// Why a vif could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// xenstore failed.
    #[error(transparent)]
    Xenstore(#[from] xenstore::Error),
    /// The directory is gone.
    #[error("the device is gone from xenstore")]
    Gone,
    /// The toolstack wrote what cannot be followed.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The toolstack's directory names no frontend.
    #[error("the toolstack named no frontend")]
    Frontend,
    /// A key of the frontend's is missing or no number.
    #[error("the frontend's {0} is missing or no number")]
    Key(&'static str),
    /// The frontend wants no queue or more than were offered.
    #[error("the frontend wants a number of queues that was not offered")]
    Queues,
    /// The frontend cannot have its frames copied to it (`request-rx-copy`).
    #[error("the frontend does not ask for request-rx-copy")]
    NoRxCopy,
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// It was connected, and did what cannot be.
    #[error(transparent)]
    Breach(#[from] Breach),
}

impl From<xenbus::Error> for Error {
    fn from(error: xenbus::Error) -> Self {
        match error {
            xenbus::Error::Xenstore(error) => Self::Xenstore(error),
            xenbus::Error::Closing | xenbus::Error::Gone => Self::Gone,
        }
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
        use crate::abi::errno::{EINVAL, EIO, ENOMEM};
        match self {
            Self::Resource(_) => ENOMEM,
            Self::Xenstore(_) | Self::Gone => EIO,
            _ => EINVAL,
        }
    }
}

/// Connected vifs that nobody has taken yet.
pub(super) type Arrivals<X> = Rc<RefCell<VecDeque<Back<X>>>>;

/// What every vif's task needs.
pub(super) struct Context<X: Xen> {
    pub(super) xen: X,
    pub(super) store: Client<X>,
    pub(super) executor: Executor,
    pub(super) config: Config,
    pub(super) arrivals: Arrivals<X>,
}

/// The task of one vif.
pub(super) struct Vif<X: Xen> {
    context: Rc<Context<X>>,
    /// Our directory: `backend/vif/F/N`.
    node: String,
    frontend: DomId,
    index: u32,
    signal: Rc<Signal>,
    lease: Option<Rc<Lease>>,
}

impl<X: Xen> Vif<X> {
    pub(super) fn new(
        context: Rc<Context<X>>,
        frontend: DomId,
        index: u32,
        signal: Rc<Signal>,
    ) -> Self {
        Self {
            context,
            node: directory(frontend, index),
            frontend,
            index,
            signal,
            lease: None,
        }
    }

    /// Serves the vif until its directory is gone, by the toolstack's hand or ours.
    pub(super) async fn serve(mut self) {
        let lived = self.live().await;
        self.disconnect().await;
        match lived {
            Ok(()) | Err(Error::Gone) => self.retract().await,
            Err(error) => {
                log::error!("{}: {error}", self.node);
                // It is still there, and another task starts on it as soon as this one has ended.
                self.context.executor.sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    async fn live(&mut self) -> Result<(), Error> {
        let (theirs, settings, watch) = match self.begin().await {
            Ok(begun) => begun,
            Err(Error::Gone) => return Ok(()),
            Err(error) => {
                self.fail(error).await?;
                return self.await_removal().await;
            }
        };
        self.offer(&settings).await?;
        self.follow(&theirs, &settings, watch).await
    }

    /// Reads what the toolstack wrote. It writes all of it at once.
    async fn begin(&self) -> Result<(String, Settings, Watch<X>), Error> {
        let store = &self.context.store;
        let theirs = match store.read_text(&format!("{}/frontend", self.node)).await {
            Err(error) if error.is_not_found() => {
                let ours = xenbus::state_at(store, &self.node).await?;
                let is_gone = ours == XenbusState::UNKNOWN;
                return Err(if is_gone {
                    Error::Gone
                } else {
                    Error::Frontend
                });
            }
            Err(xenstore::Error::BadValue) => return Err(Error::Frontend),
            other => other?,
        };
        // The frontend's directory has to be the frontend's: nodes of others' are none of its words.
        let home = format!("/local/domain/{}/", self.frontend.0);
        if !theirs.starts_with(&home) || xenstore::path::check(&theirs).is_err() {
            return Err(Error::Frontend);
        }
        let settings = settings::read(store, &self.node).await?;
        let watch = store.watch(&format!("{theirs}/state")).await?;
        Ok((theirs, settings, watch))
    }

    /// Writes what the frontend may use, and InitWait.
    async fn offer(&self, settings: &Settings) -> Result<(), Error> {
        // What goes without saying is a node that can be spared. The others are read again after a failure.
        let mtu = (settings.mtu == settings::MTU_DEFAULT).then_some("mtu");
        let bridge = (settings.bridge == settings::BRIDGE_DEFAULT).then_some("bridge");
        for key in NOT_FOR_US.into_iter().chain(mtu).chain(bridge) {
            let path = format!("{}/{key}", self.node);
            self.context.store.rm(&path).await?;
        }
        let config = self.context.config;
        let queues = config.queues_max.clamp(1, QUEUES_MAX).to_string();
        let mut keys: heapless::Vec<(&str, &str), NODES_MAX> = heapless::Vec::new();
        let _ = keys.extend_from_slice(&[
            ("feature-rx-copy", "1"),
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
        ]);
        if config.ipv6_offloads == Ipv6Offloads::Offered {
            let _ = keys.push(("feature-gso-tcpv6", "1"));
            let _ = keys.push(("feature-ipv6-csum-offload", "1"));
        }
        if config.multicast == MulticastControl::Offered {
            let _ = keys.push(("feature-multicast-control", "1"));
        }
        if config.event_channels == EventChannels::Split {
            let _ = keys.push(("feature-split-event-channels", "1"));
        }
        if queues != "1" {
            let _ = keys.push(("multi-queue-max-queues", &queues));
        }
        self.publish(&keys, Phase::Waiting).await
    }

    /// Does what the frontend's state, ours and `online` ask for, until the directory is gone.
    async fn follow(
        &mut self,
        theirs: &str,
        settings: &Settings,
        mut watch: Watch<X>,
    ) -> Result<(), Error> {
        let mut phase = Phase::Waiting;
        let mut timers = Timers::default();
        loop {
            let ours = xenbus::state_at(&self.context.store, &self.node).await?;
            if ours == XenbusState::UNKNOWN {
                return Ok(());
            }
            // Whoever wrote over it waits for nothing else.
            if phase == Phase::Closed && ours != XenbusState::CLOSED {
                self.publish(&[], phase).await?;
            }
            if let Some(breach) = self.lease.as_ref().and_then(|lease| lease.breach()) {
                self.disconnect().await;
                self.fail(breach.into()).await?;
                phase = Phase::Closing;
                timers.pause(self.context.executor.now());
            }
            let is_online = self.is_online().await?;
            timers.look(is_online, self.context.executor.now());
            let peer = self.peer_state(theirs).await?;
            if let Some(next) = timers.next(phase, peer, is_online) {
                if phase == Phase::Connected {
                    self.disconnect().await;
                }
                phase = next;
                if phase != Phase::Connected {
                    self.publish(&[], phase).await?;
                    continue;
                }
                let connected = self.connect(theirs, settings).await;
                timers.pause(self.context.executor.now());
                if let Err(error) = connected {
                    self.disconnect().await;
                    self.fail(error).await?;
                    phase = Phase::Closing;
                }
                continue;
            }
            if !is_online && phase == Phase::Closed {
                return self.remove().await;
            }
            self.wait(&mut watch, timers.first()).await?;
        }
    }

    /// The frontend's state. Of a domain that is gone xenstored may say that we must not look.
    async fn peer_state(&self, theirs: &str) -> Result<XenbusState, Error> {
        match xenbus::state_at(&self.context.store, theirs).await {
            Err(xenbus::Error::Xenstore(xenstore::Error::Refused(Refusal::AccessDenied))) => {
                Ok(XenbusState::UNKNOWN)
            }
            other => Ok(other?),
        }
    }

    /// Takes the frontend's rings and hands the vif over.
    async fn connect(&mut self, theirs: &str, settings: &Settings) -> Result<(), Error> {
        let keys = Keys::read(&self.context.store, theirs, self.context.config).await?;
        let lease = Lease::new(self.signal.clone());
        let back = keys.join(
            &self.context,
            self.frontend,
            self.index,
            settings,
            lease.clone(),
        )?;
        self.lease = Some(lease);
        // A frontend that sees Connected may send at once, and is not to find nobody.
        self.context.arrivals.borrow_mut().push_back(back);
        let keys = [("hotplug-status", "connected")];
        self.publish(&keys, Phase::Connected).await
    }

    /// Has the rings back.
    async fn disconnect(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        lease.end();
        let ended = {
            let mut arrivals = self.context.arrivals.borrow_mut();
            let (ended, others): (VecDeque<_>, VecDeque<_>) =
                arrivals.drain(..).partition(Back::is_ending);
            *arrivals = others;
            ended
        };
        // Not inside the borrow: dropping it wakes a task, this one.
        drop(ended);
        while !lease.is_released() {
            self.signal.wait().await;
        }
        // What else was to be told is looked at anew.
        self.signal.raise();
    }

    async fn publish(&self, keys: &[(&str, &str)], phase: Phase) -> Result<(), Error> {
        let store = &self.context.store;
        Ok(xenbus::publish(store, &self.node, keys, phase.state()).await?)
    }

    /// Says where the administrator looks why the vif is not served, and goes to Closing.
    async fn fail(&self, error: Error) -> Result<(), Error> {
        log::error!("{}: {error}", self.node);
        let place = format!("{}/error", self.complaint());
        let reason = format!("{} {error}", error.errno().0);
        // Full quotas must not keep it from closing.
        let _ = self.context.store.write(&place, reason).await;
        match self.publish(&[], Phase::Closing).await {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    /// Where the administrator looks.
    fn complaint(&self) -> String {
        format!("error/{}", self.node)
    }

    /// Takes back what was said of a vif that is gone. Guests come under ever new numbers, so the directory of
    /// this one's frontend goes with the last.
    async fn retract(&self) {
        let store = &self.context.store;
        let _ = store.rm(&self.complaint()).await;
        let of_frontend = format!("error/{ROOT}/{}", self.frontend.0);
        let others = store.directory(&of_frontend).await;
        if others.is_ok_and(|others| others.is_empty()) {
            let _ = store.rm(&of_frontend).await;
        }
    }

    async fn is_online(&self) -> Result<bool, Error> {
        let path = format!("{}/online", self.node);
        let online = self.context.store.read_number_if_any::<u32>(&path);
        match online.await {
            Ok(online) => Ok(online != Some(0)),
            Err(xenstore::Error::BadValue) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until something may have changed.
    async fn wait(&self, watch: &mut Watch<X>, deadline: Option<Instant>) -> Result<(), Error> {
        let told = race(watch.next(), self.signal.wait());
        let Some(deadline) = deadline else {
            return match told.await {
                First::Left(event) => Ok(event.map(drop)?),
                First::Right(()) => Ok(()),
            };
        };
        match race(told, self.context.executor.sleep_until(deadline)).await {
            First::Left(First::Left(event)) => Ok(event.map(drop)?),
            _ => Ok(()),
        }
    }

    /// A vif that was refused: closes it when the toolstack takes it away.
    async fn await_removal(&self) -> Result<(), Error> {
        loop {
            if xenbus::state_at(&self.context.store, &self.node).await? == XenbusState::UNKNOWN {
                return Ok(());
            }
            if !self.is_online().await? {
                self.publish(&[], Phase::Closed).await?;
                return self.remove().await;
            }
            self.signal.wait().await;
        }
    }

    /// Removes our directory, once the toolstack has had time to read Closed in it.
    async fn remove(&self) -> Result<(), Error> {
        self.context.executor.sleep(REMOVE_GRACE).await;
        let store = &self.context.store;
        let removed = store.transaction(async |transaction| {
            let online = transaction.read(&format!("{}/online", self.node)).await;
            match online {
                // It was given another life meanwhile.
                Ok(online) if online != b"0" => return Ok(()),
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            // What is above it the toolstack made, and is not ours to remove.
            transaction.rm(&self.node).await
        });
        removed.await?;
        Ok(())
    }
}

/// A vif's directory, relative to our home.
pub(super) fn directory(frontend: DomId, index: u32) -> String {
    format!("{ROOT}/{}/{index}", frontend.0)
}
