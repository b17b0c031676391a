//! What a frontend publishes, and the rings and ports that come of it.

#![forbid(unsafe_code)]

use super::config::{Config, EventChannels, QUEUES_MAX};
use super::connect::{Context, Error};
use super::credit::Credit;
use super::fetch::Pool;
use super::lease::Lease;
use super::multicast::Groups;
use super::receive::Receiver;
use super::settings::Settings;
use super::transmit::Transmitter;
use super::{Back, Channels, Counters, Features, Queue, State};
use crate::net::FrontId;
use crate::xen::{BoundPort, DomId, GrantRef, Port, Xen};
use crate::xenstore::Client;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// One queue as the frontend describes it.
struct QueueKeys {
    transmit_ring: GrantRef,
    receive_ring: GrantRef,
    transmit_port: Port,
    /// None: the same.
    receive_port: Option<Port>,
}

/// What a frontend publishes, read once.
pub(super) struct Keys {
    queues: heapless::Vec<QueueKeys, { QUEUES_MAX as usize }>,
    features: Features,
    /// It wants only the multicast groups that it joins.
    is_multicast_chosen: bool,
    config: Config,
}

impl Keys {
    pub(super) async fn read<X: Xen>(
        store: &Client<X>,
        theirs: &str,
        config: Config,
    ) -> Result<Self, Error> {
        let features = [
            "request-rx-copy",
            "multi-queue-num-queues",
            "feature-sg",
            "feature-gso-tcpv4",
            "feature-gso-tcpv6",
            "feature-no-csum-offload",
            "feature-ipv6-csum-offload",
            "feature-rx-notify",
            "request-multicast-control",
        ];
        let values = store.read_all(theirs, &features).await?;
        let text = |at: usize| values.get(at)?.as_deref();
        // What is no number is as good as missing.
        let flag = |at: usize| text(at).and_then(number) == Some(1);
        if !flag(0) {
            return Err(Error::NoRxCopy);
        }
        let count = text(1).map_or(Some(1), number).ok_or(Error::Queues)?;
        if !(1..=u32::from(config.queues_max.clamp(1, QUEUES_MAX))).contains(&count) {
            return Err(Error::Queues);
        }
        let mut queues = heapless::Vec::new();
        for number in 0..count {
            let directory = match count {
                1 => String::from(theirs),
                _ => format!("{theirs}/queue-{number}"),
            };
            let keys = QueueKeys::read(store, &directory, config.event_channels).await?;
            let _ = queues.push(keys);
        }
        let scatter_gather = flag(2);
        Ok(Self {
            queues,
            features: Features {
                scatter_gather,
                gso_tcpv4: scatter_gather && flag(3),
                gso_tcpv6: scatter_gather && flag(4),
                ipv4_checksum: !flag(5),
                ipv6_checksum: flag(6),
                receive_notify: flag(7),
            },
            is_multicast_chosen: flag(8),
            config,
        })
    }

    /// Maps the rings and binds the ports. What fails half-way is given back.
    pub(super) fn join<X: Xen>(
        &self,
        context: &Context<X>,
        frontend: DomId,
        index: u32,
        settings: &Settings,
        lease: Rc<Lease>,
    ) -> Result<Back<X>, Error> {
        let xen = &context.xen;
        let id = FrontId::next();
        let mut queues = Vec::with_capacity(self.queues.len());
        // The rate is the vif's: each queue has its share.
        let share = settings.rate.map(|rate| rate.share(self.queues.len()));
        for (number, keys) in self.queues.iter().enumerate() {
            let transmit = xen.map_grant(frontend, keys.transmit_ring)?;
            let receive = xen.map_grant(frontend, keys.receive_ring)?;
            let credit = share.map(|rate| Credit::new(rate, xen.now()));
            let transmitter = Transmitter::new(xen, id, number as u16, frontend, transmit, credit)?;
            let receiver = Receiver::new(xen, frontend, receive)?;
            let first = BoundPort::bind(xen, frontend, keys.transmit_port)?;
            let channels = match keys.receive_port {
                None => Channels::Shared(first),
                Some(port) => Channels::Split {
                    transmit: first,
                    receive: BoundPort::bind(xen, frontend, port)?,
                },
            };
            queues.push(Queue {
                transmitter,
                receiver,
                channels,
            });
        }
        Ok(Back {
            xen: xen.clone(),
            id,
            frontend,
            index,
            settings: settings.clone(),
            limit: None,
            features: self.features,
            groups: Groups::new(self.config.multicast, self.is_multicast_chosen),
            state: State::Open,
            counters: Counters::default(),
            queues,
            next: 0,
            pool: Pool::new(xen, id, frontend, self.config.fetch_pages_max),
            whole: Vec::new(),
            segment: Vec::new(),
            orphans: Vec::new(),
            lease,
        })
    }
}

/// A number as xenstore holds it, blanks around it allowed.
fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok()
}

impl QueueKeys {
    async fn read<X: Xen>(
        store: &Client<X>,
        directory: &str,
        channels: EventChannels,
    ) -> Result<Self, Error> {
        const KEYS: [&str; 5] = [
            "tx-ring-ref",
            "rx-ring-ref",
            "event-channel",
            "event-channel-tx",
            "event-channel-rx",
        ];
        let values = store.read_all(directory, &KEYS).await?;
        let optional = |at: usize| match values.get(at).and_then(Option::as_deref) {
            None => Ok(None),
            Some(text) => number(text).map(Some).ok_or(Error::Key(KEYS[at])),
        };
        let needed = |at: usize| optional(at)?.ok_or(Error::Key(KEYS[at]));
        let transmit_ring = GrantRef(needed(0)?);
        let receive_ring = GrantRef(needed(1)?);
        let split = match channels {
            EventChannels::Split => optional(3)?,
            EventChannels::Shared => None,
        };
        let (transmit_port, receive_port) = match split {
            Some(port) => (port, Some(Port(needed(4)?))),
            None => (needed(2)?, None),
        };
        Ok(Self {
            transmit_ring,
            receive_ring,
            transmit_port: Port(transmit_port),
            receive_port,
        })
    }
}
