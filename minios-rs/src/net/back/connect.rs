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
use crate::xenbus::{self, Boxed, XenbusState, unserved};
use crate::xenstore::{self, Client, Watch};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use thiserror::Error as ThisError;

/// Nodes of ours that one vif costs at most, its directory and what the toolstack writes included: xenstored counts
/// them all as ours, and lets a domain have 1,000.
pub const NODES_MAX: usize = 13;

/// Where the toolstack makes our directories, relative to our home.
pub(super) const ROOT: &str = "backend/vif";

/// What the toolstack always writes, and we remove: what has it is a directory that we have not looked at yet.
const HANDLE: &str = "handle";

/// What the toolstack writes for the scripts and drivers of other backends, which nobody reads here.
const NOT_FOR_US: [&str; 4] = ["script", "gatewaydev", "type", "vlan"];

/// What else the toolstack writes that nobody reads once it was taken, in the order in which it goes if there are
/// too many nodes.
const SPARED: [&str; 7] = [
    "frontend-id",
    "mtu",
    "vifname",
    "bridge",
    "ip",
    "mac",
    "rate",
];

/// The directory itself, and what stays in it: `frontend`, `online`, `state` and `hotplug-status`.
const NODES_KEPT: usize = 5;

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
    /// What was read of it, of which some is there no more.
    taken: Option<Result<Settings, BadSetting>>,
    /// The last word on how much the guest may send.
    rate: RateNode,
}

/// What `rate` in our directory said when it was last looked at. An administrator may write it anew.
#[derive(Default, PartialEq, Eq)]
enum RateNode {
    /// Nothing, because we had no place for it: what it said before holds.
    #[default]
    Spared,
    /// Nothing: there is no limit.
    Missing,
    /// This.
    Said(String),
}

/// What says how the vif's life goes on.
struct Look {
    /// Our state: the toolstack writes it as well.
    ours: XenbusState,
    is_online: bool,
    /// The frontend's state.
    peer: XenbusState,
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
            taken: None,
            rate: RateNode::default(),
        }
    }

    /// Serves the vif until its directory is gone, by the toolstack's hand or ours.
    pub(super) async fn serve(mut self) {
        let context = self.context.clone();
        loop {
            let lived = match self.live().await {
                Err(Error::Gone) => Ok(()),
                other => other,
            };
            self.disconnect().await;
            let left = match lived {
                Ok(()) => self.state().await.map_err(Error::from),
                Err(error) => Err(error),
            };
            match left {
                Ok(XenbusState::UNKNOWN) => {
                    return unserved::retract(&context.store, &self.node).await;
                }
                // The toolstack gave it another life.
                Ok(_) => {}
                Err(_) if context.store.dead().is_some() => return,
                Err(error) => {
                    log::error!("{}: {error}", self.node);
                    context.executor.sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    fn state(&self) -> Boxed<'_, Result<XenbusState, xenbus::Error>> {
        xenbus::state_at(&self.context.store, &self.node)
    }

    /// A node in our directory. Put together in one place: its users are inlined into one task.
    #[inline(never)]
    fn child(&self, key: &str) -> String {
        format!("{}/{key}", self.node)
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
        self.follow(&theirs, settings, watch).await
    }

    /// Reads what the toolstack wrote. It writes all of it at once.
    async fn begin(&mut self) -> Result<(String, Settings, Watch<X>), Error> {
        let context = self.context.clone();
        let store = &context.store;
        let theirs = match store.read_text(&self.child("frontend")).await {
            Err(error) if error.is_not_found() => {
                let is_gone = self.state().await? == XenbusState::UNKNOWN;
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
        let settings = self.take_settings().await?;
        let watch = store.watch(&format!("{theirs}/state")).await?;
        Ok((theirs, settings, watch))
    }

    /// What the toolstack said of the vif: read once, and kept for when it has to be begun with again.
    async fn take_settings(&mut self) -> Result<Settings, Error> {
        let store = &self.context.store;
        let handle = self.child(HANDLE);
        let is_new = match store.read(&handle).await {
            Ok(_) => true,
            Err(error) if error.is_not_found() => false,
            Err(error) => return Err(error.into()),
        };
        let taken = match self.taken.take().filter(|_| !is_new) {
            Some(taken) => taken,
            None => match settings::read(store, &self.node).await {
                Ok(settings) => Ok(settings),
                Err(Error::Setting(bad)) => Err(bad),
                Err(error) => return Err(error),
            },
        };
        self.taken = Some(taken.clone());
        // From here on some of it may be gone.
        for key in [HANDLE].into_iter().chain(NOT_FOR_US) {
            store.rm(&self.child(key)).await?;
        }
        Ok(taken?)
    }

    /// Removes what goes without saying, and what there is no place for beside `ours` nodes that we write.
    async fn make_room(&mut self, settings: &Settings, ours: usize) -> Result<(), Error> {
        let context = self.context.clone();
        let store = &context.store;
        let written = store.read_all(&self.node, &SPARED).await?;
        let written = SPARED.into_iter().zip(&written);
        let written = written.filter_map(|(key, value)| value.as_ref().map(|_| key));
        let goes_without_saying = |key: &str| match key {
            "mtu" => settings.mtu == settings::MTU_DEFAULT,
            "bridge" => settings.bridge == settings::BRIDGE_DEFAULT,
            _ => false,
        };
        let (spared, mut others): (Vec<&str>, Vec<&str>) =
            written.partition(|key| goes_without_saying(key));
        let excess = (NODES_KEPT + ours + others.len()).saturating_sub(NODES_MAX);
        let excess = others.drain(..excess.min(others.len()));
        for key in spared.into_iter().chain(excess) {
            store.rm(&self.child(key)).await?;
            if key == "rate" {
                self.rate = RateNode::Spared;
            }
        }
        Ok(())
    }

    /// Writes what the frontend may use, and InitWait.
    async fn offer(&mut self, settings: &Settings) -> Result<(), Error> {
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
        self.make_room(settings, keys.len()).await?;
        self.publish(&keys, Phase::Waiting).await
    }

    /// Does what the frontend's state, ours and `online` ask for, until the directory is gone.
    async fn follow(
        &mut self,
        theirs: &str,
        mut settings: Settings,
        mut watch: Watch<X>,
    ) -> Result<(), Error> {
        let mut phase = Phase::Waiting;
        let mut timers = Timers::default();
        loop {
            // Ahead of what is read, which may fail again and again.
            if let Some(breach) = self.lease.as_ref().and_then(|lease| lease.breach()) {
                self.disconnect().await;
                self.fail(breach.into()).await?;
                phase = Phase::Closing;
                timers.pause(self.context.executor.now());
            }
            let Look {
                ours,
                is_online,
                peer,
            } = match self.look(theirs, &mut settings).await {
                // What xenstored cannot answer now it may before long: no connection is given up for that.
                Err(Error::Xenstore(error))
                    if phase == Phase::Connected && self.context.store.dead().is_none() =>
                {
                    log::error!("{}: {error}", self.node);
                    let later = self.context.executor.now().after(RECONNECT_PAUSE);
                    self.wait(&mut watch, Some(later)).await?;
                    continue;
                }
                other => other?,
            };
            // Whoever wrote over it waits for nothing else.
            if phase == Phase::Closed && ours != XenbusState::CLOSED {
                self.publish(&[], phase).await?;
            }
            timers.look(is_online, self.context.executor.now());
            if let Some(next) = timers.next(phase, peer, is_online) {
                if phase == Phase::Connected {
                    self.disconnect().await;
                }
                phase = next;
                if phase != Phase::Connected {
                    self.publish(&[], phase).await?;
                    continue;
                }
                let connected = self.connect(theirs, &settings).await;
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

    /// Reads what there is to follow.
    async fn look(&mut self, theirs: &str, settings: &mut Settings) -> Result<Look, Error> {
        let ours = self.state().await?;
        if ours == XenbusState::UNKNOWN {
            return Err(Error::Gone);
        }
        self.follow_rate(settings).await?;
        let is_online = self.is_online().await?;
        let peer = xenbus::state_at(&self.context.store, theirs).await?;
        Ok(Look {
            ours,
            is_online,
            peer,
        })
    }

    /// Has the guest send what `rate` says now, as Linux' backend does; but what cannot be followed changes
    /// nothing.
    async fn follow_rate(&mut self, settings: &mut Settings) -> Result<(), Error> {
        let path = self.child("rate");
        let said = match self.context.store.read_text(&path).await {
            Ok(text) => RateNode::Said(text),
            Err(error) if error.is_not_found() && self.rate == RateNode::Spared => return Ok(()),
            Err(error) if error.is_not_found() => RateNode::Missing,
            Err(xenstore::Error::BadValue) => RateNode::Said(String::new()),
            Err(error) => return Err(error.into()),
        };
        if said == self.rate {
            return Ok(());
        }
        let rate = match &said {
            RateNode::Said(text) => settings::rate(text).map(Some),
            RateNode::Missing | RateNode::Spared => Ok(None),
        };
        self.rate = said;
        match rate {
            Ok(rate) if rate == settings.rate => {}
            Ok(rate) => {
                log::info!("{path}: changed");
                settings.rate = rate;
                if let Some(Ok(taken)) = &mut self.taken {
                    taken.rate = rate;
                }
                if let Some(lease) = &self.lease {
                    lease.change_rate(rate);
                }
            }
            Err(error) => log::error!("{path}: {error}"),
        }
        Ok(())
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

    fn publish<'a>(
        &'a self,
        keys: &'a [(&'a str, &'a str)],
        phase: Phase,
    ) -> Boxed<'a, Result<(), Error>> {
        let store = &self.context.store;
        Box::pin(async move { Ok(xenbus::publish(store, &self.node, keys, phase.state()).await?) })
    }

    /// Says where the administrator looks why the vif is not served, and goes to Closing.
    async fn fail(&self, error: Error) -> Result<(), Error> {
        let (store, reason) = (&self.context.store, error.to_string());
        unserved::complain(store, &self.node, error.errno(), &reason).await;
        match self.publish(&[], Phase::Closing).await {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    async fn is_online(&self) -> Result<bool, Error> {
        Ok(unserved::is_online(&self.context.store, &self.node).await?)
    }

    /// Waits until something may have changed.
    async fn wait(&self, watch: &mut Watch<X>, deadline: Option<Instant>) -> Result<(), Error> {
        let told = race(watch.next(), self.signal.wait());
        let told = match deadline {
            None => First::Left(told.await),
            Some(deadline) => race(told, self.context.executor.sleep_until(deadline)).await,
        };
        if let First::Left(First::Left(event)) = told {
            event?;
        }
        Ok(())
    }

    /// A vif that was refused: closes it when the toolstack takes it away.
    async fn await_removal(&self) -> Result<(), Error> {
        loop {
            if self.state().await? == XenbusState::UNKNOWN {
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
        self.context.executor.sleep(unserved::REMOVE_GRACE).await;
        Ok(xenbus::remove(&self.context.store, &self.node).await?)
    }
}

/// A vif's directory, relative to our home.
pub(super) fn directory(frontend: DomId, index: u32) -> String {
    format!("{ROOT}/{}/{index}", frontend.0)
}
