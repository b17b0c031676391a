//! What a frontend publishes, and the rings and ports that come of it.

#![forbid(unsafe_code)]

use super::connect::{Config, Context, Error, EventChannels, QUEUES_MAX};
use super::credit::Credit;
use super::fetch::Pool;
use super::lease::Lease;
use super::receive::Receiver;
use super::settings::{Rate, Settings};
use super::transmit::Transmitter;
use super::{Back, Channels, Counters, Features, Queue, State};
use crate::net::FrontId;
use crate::xen::{BoundPort, DomId, GrantRef, Port, Xen};
use crate::xenstore::{self, Client};
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
    fetch_pages_max: u16,
}

impl Keys {
    pub(super) async fn read<X: Xen>(
        store: &Client<X>,
        theirs: &str,
        config: Config,
    ) -> Result<Self, Error> {
        // What may be missing, and is as good as missing when it is no number.
        let optional = async |key: &str| -> Result<Option<u32>, Error> {
            match store.read_number_if_any(&format!("{theirs}/{key}")).await {
                Err(xenstore::Error::BadValue) => Ok(None),
                other => Ok(other?),
            }
        };
        let flag = async |key: &str| Ok::<_, Error>(optional(key).await? == Some(1));
        if !flag("request-rx-copy").await? {
            return Err(Error::NoRxCopy);
        }
        let count: Option<u32> = match store
            .read_number_if_any(&format!("{theirs}/multi-queue-num-queues"))
            .await
        {
            Err(xenstore::Error::BadValue) => return Err(Error::Queues),
            other => other?,
        };
        let count = count.unwrap_or(1);
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
        let scatter_gather = flag("feature-sg").await?;
        Ok(Self {
            queues,
            features: Features {
                scatter_gather,
                gso_tcpv4: scatter_gather && flag("feature-gso-tcpv4").await?,
                gso_tcpv6: scatter_gather && flag("feature-gso-tcpv6").await?,
                ipv4_checksum: !flag("feature-no-csum-offload").await?,
                ipv6_checksum: flag("feature-ipv6-csum-offload").await?,
                receive_notify: flag("feature-rx-notify").await?,
            },
            fetch_pages_max: config.fetch_pages_max,
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
        let share = settings.rate.map(|rate| Rate {
            bytes: (rate.bytes / self.queues.len() as u64).max(1),
            ..rate
        });
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
            features: self.features,
            state: State::Open,
            counters: Counters::default(),
            queues,
            next: 0,
            pool: Pool::new(xen, id, frontend, self.fetch_pages_max),
            orphans: Vec::new(),
            lease,
        })
    }
}

impl QueueKeys {
    async fn read<X: Xen>(
        store: &Client<X>,
        directory: &str,
        channels: EventChannels,
    ) -> Result<Self, Error> {
        let number = async |key: &'static str| -> Result<Option<u32>, Error> {
            match store
                .read_number_if_any(&format!("{directory}/{key}"))
                .await
            {
                Err(xenstore::Error::BadValue) => Err(Error::Key(key)),
                other => Ok(other?),
            }
        };
        let needed = async |key: &'static str| -> Result<u32, Error> {
            number(key).await?.ok_or(Error::Key(key))
        };
        let transmit_ring = GrantRef(needed("tx-ring-ref").await?);
        let receive_ring = GrantRef(needed("rx-ring-ref").await?);
        let split = match channels {
            EventChannels::Split => number("event-channel-tx").await?,
            EventChannels::Shared => None,
        };
        let (transmit_port, receive_port) = match split {
            Some(port) => (port, Some(Port(needed("event-channel-rx").await?))),
            None => (needed("event-channel").await?, None),
        };
        Ok(Self {
            transmit_ring,
            receive_ring,
            transmit_port: Port(transmit_port),
            receive_port,
        })
    }
}
