//! One console of the stub domain: in xenstore, its ring, and where it leads.

use super::ring::{Corrupt, INPUT_BYTES, OUTPUT_BYTES, Ring};
use super::sink::Sink;
use crate::store::{Store, StoreError};
use minios_rs::xen::{GrantRef, Port, SharedPage};
use std::fmt;
use std::io;

/// How often a front end may connect: each time costs dom0 something, and a stub domain that lives as
/// it should connects once, and once more for each save.
const CONNECTIONS_MAX: u32 = 10_000;

/// `XenbusState`, of xen/io/xenbus.h.
mod state {
    pub(super) const INIT_WAIT: u32 = 2;
    pub(super) const INITIALISED: u32 = 3;
    pub(super) const CONNECTED: u32 = 4;
    pub(super) const CLOSING: u32 = 5;
    pub(super) const CLOSED: u32 = 6;
}

/// What is asked of Linux about the stub domain.
pub(crate) trait Peer {
    /// One of its pages.
    type Page: SharedPage;

    /// Maps a page that it granted.
    fn map(&self, reference: GrantRef) -> io::Result<Self::Page>;
    /// Binds one of its ports.
    fn bind(&self, remote: Port) -> io::Result<Port>;
    fn unbind(&self, port: Port);
    fn notify(&self, port: Port);
}

/// What the log is told of a console.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    console: u32,
    words: String,
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "console {}: {}", self.console, self.words)
    }
}

struct Link<P> {
    ring: Ring<P>,
    port: Port,
}

/// One console.
pub(crate) struct Console<P: Peer> {
    number: u32,
    /// Its nodes in xenstore; none for the one that was there before the domain.
    nodes: Option<Nodes>,
    sink: Sink,
    link: Option<Link<P::Page>>,
    connections: u32,
    /// Its ring made no sense.
    is_given_up: bool,
}

struct Nodes {
    frontend: String,
    backend: String,
    /// What we last wrote.
    state: Option<u32>,
}

impl<P: Peer> Console<P> {
    /// The console whose ring the toolstack made.
    pub(crate) fn primary(
        sink: Sink,
        peer: &P,
        reference: GrantRef,
        remote: Port,
    ) -> io::Result<Self> {
        let link = Some(Link {
            ring: Ring::new(peer.map(reference)?),
            port: peer.bind(remote)?,
        });
        Ok(Self {
            number: 0,
            nodes: None,
            sink,
            link,
            connections: 1,
            is_given_up: false,
        })
    }

    /// A console that the domain connects when it likes.
    pub(crate) fn device(number: u32, frontend: String, backend: String, sink: Sink) -> Self {
        let nodes = Some(Nodes {
            frontend,
            backend,
            state: None,
        });
        Self {
            number,
            nodes,
            sink,
            link: None,
            connections: 0,
            is_given_up: false,
        }
    }

    /// The nodes whose changes it wants to see.
    pub(crate) fn watched(&self) -> Option<[String; 2]> {
        let nodes = self.nodes.as_ref()?;
        Some([&nodes.frontend, &nodes.backend].map(|path| format!("{path}/state")))
    }

    /// Does what the states in xenstore ask for.
    pub(crate) fn step(
        &mut self,
        store: &mut impl Store,
        peer: &P,
    ) -> Result<Option<Said>, StoreError> {
        let Some(nodes) = &self.nodes else {
            return Ok(None);
        };
        let (frontend, backend) = (nodes.frontend.clone(), nodes.backend.clone());
        let theirs = number(store, &frontend, "state")?.unwrap_or(0);
        // The toolstack takes the device away.
        let ends = number(store, &backend, "state")? == Some(state::CLOSING);
        let mut said = None;
        let ours = match theirs {
            _ if ends || self.is_given_up => state::CLOSED,
            state::INITIALISED | state::CONNECTED if self.link.is_some() => state::CONNECTED,
            state::INITIALISED | state::CONNECTED if nodes.state == Some(state::CLOSED) => {
                // It was refused, and has not begun anew.
                state::CLOSED
            }
            state::INITIALISED | state::CONNECTED => match self.connect(store, peer, &frontend)? {
                Ok(()) => state::CONNECTED,
                Err(words) => {
                    said = Some(self.says(words));
                    state::CLOSED
                }
            },
            state::CLOSING | state::CLOSED => state::CLOSED,
            _ => state::INIT_WAIT,
        };
        if ours != state::CONNECTED {
            self.disconnect(peer);
        }
        self.declare(store, ours)?;
        if ours == state::CONNECTED {
            // It may have printed before it could ring.
            said = said.or(self.pump(peer));
        }
        Ok(said)
    }

    /// Connects, or says why not.
    fn connect(
        &mut self,
        store: &mut impl Store,
        peer: &P,
        frontend: &str,
    ) -> Result<Result<(), String>, StoreError> {
        let mut wanted = |node| number(store, frontend, node);
        let (reference, port) = (wanted("ring-ref")?, wanted("port")?);
        let (Some(reference), Some(port)) = (reference, port) else {
            return Ok(Err("the domain names no ring".to_owned()));
        };
        if self.connections == CONNECTIONS_MAX {
            return Ok(Err("the domain has connected it too often".to_owned()));
        }
        self.connections += 1;
        let page = match peer.map(GrantRef(reference)) {
            Ok(page) => page,
            Err(error) => return Ok(Err(format!("cannot map its ring: {error}"))),
        };
        let port = match peer.bind(Port(port)) {
            Ok(port) => port,
            Err(error) => return Ok(Err(format!("cannot bind its event channel: {error}"))),
        };
        let ring = Ring::new(page);
        self.link = Some(Link { ring, port });
        Ok(self
            .sink
            .begin()
            .map_err(|error| format!("cannot begin its file anew: {error}")))
    }

    fn disconnect(&mut self, peer: &P) {
        if let Some(link) = self.link.take() {
            peer.unbind(link.port);
        }
    }

    fn declare(&mut self, store: &mut impl Store, ours: u32) -> Result<(), StoreError> {
        let Some(nodes) = &mut self.nodes else {
            return Ok(());
        };
        if nodes.state == Some(ours) {
            return Ok(());
        }
        nodes.state = Some(ours);
        let (guard, state) = (
            format!("{}/frontend", nodes.backend),
            format!("{}/state", nodes.backend),
        );
        match store.write_if_there(&guard, &state, ours.to_string().as_bytes()) {
            // Taken away; written, it would be there again.
            Err(StoreError::NotFound) => Ok(()),
            outcome => outcome,
        }
    }

    /// Moves what there is to move, without waiting for anybody. When it says something, there is a
    /// [`Console::step`] to do.
    pub(crate) fn pump(&mut self, peer: &P) -> Option<Said> {
        self.sink.flush();
        match self.transfer(peer) {
            Ok(()) => None,
            Err(corrupt) => {
                self.disconnect(peer);
                self.is_given_up = true;
                Some(self.says(format!("{corrupt}; it is served no more")))
            }
        }
    }

    fn transfer(&mut self, peer: &P) -> Result<(), Corrupt> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let mut buffer = [0; OUTPUT_BYTES];
        let printed = link.ring.output(&mut buffer)?;
        let taken = self.sink.take(printed);
        let mut typed = [0; INPUT_BYTES];
        let room = link.ring.room()?;
        let given = self.sink.give(&mut typed[..room]);
        if taken > 0 {
            link.ring.consume(taken);
        }
        if given > 0 {
            link.ring.input(&typed[..given]);
        }
        if taken > 0 || given > 0 {
            peer.notify(link.port);
        }
        Ok(())
    }

    fn says(&self, words: String) -> Said {
        Said {
            console: self.number,
            words,
        }
    }

    /// Where it leads.
    pub(crate) fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Whether the domain can be typed to.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.link.as_ref().map(|link| link.ring.room());
        matches!(room, Some(Ok(1..)))
    }

    /// The event channel, while it is connected.
    pub(crate) fn port(&self) -> Option<Port> {
        self.link.as_ref().map(|link| link.port)
    }
}

/// A number that the domain, or the toolstack, wrote; `None` if there is none.
pub(crate) fn number(
    store: &mut impl Store,
    folder: &str,
    node: &str,
) -> Result<Option<u32>, StoreError> {
    match store.read(&format!("{folder}/{node}")) {
        Ok(text) => Ok(std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok())),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
