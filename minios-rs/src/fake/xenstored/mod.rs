//! A simulated xenstored: nodes, watches, transactions, quotas and permissions as far as tests of
//! drivers need them, over the same ring page as the real one.

#![forbid(unsafe_code)]

mod connection;
mod tree;

use super::{Binding, Channel, Domain, Fault, Page, World};
use crate::abi::io::xs_wire::{
    Header, XS_DIRECTORY, XS_ERROR, XS_MKDIR, XS_READ, XS_RM, XS_TRANSACTION_END,
    XS_TRANSACTION_START, XS_UNWATCH, XS_WATCH, XS_WATCH_EVENT, XS_WRITE,
};
use crate::xen::{DomId, Port, Xen};
use crate::xenstore::{Client, path};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use connection::Connection;
use tree::{Change, Nodes, absolute, home, is_at_or_below, list, remove, set};

/// How this xenstored differs from a quick and orderly one.
#[derive(Clone, Copy, Debug)]
pub struct Quirks {
    /// Answers the requests of one [`World::serve_xenstore`] last first.
    pub reversed: bool,
    /// The next so many transactions end with `EAGAIN`.
    pub conflicts: u32,
    /// Nodes a domain may have below its home.
    pub nodes_max: usize,
    /// Watches a domain may set.
    pub watches_max: usize,
    /// No domain but 0 may read this node, nor those below it.
    pub unreadable: Option<&'static str>,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            reversed: false,
            conflicts: 0,
            nodes_max: 1000,
            watches_max: 128,
            unreadable: None,
        }
    }
}

struct Pending {
    base: u64,
    nodes: Nodes,
    changes: Vec<Change>,
}

struct WatchEntry {
    domain: DomId,
    /// As it was given.
    path: String,
    token: String,
}

#[derive(Default)]
pub(super) struct Xenstored {
    nodes: Nodes,
    generation: u64,
    watches: Vec<WatchEntry>,
    transactions: BTreeMap<(DomId, u32), Pending>,
    next_transaction: u32,
    connections: BTreeMap<DomId, Connection>,
    quirks: Quirks,
}

impl World {
    /// Gives a domain its xenstore page and port, as the domain builder does, and connects to it.
    pub fn connect_xenstore(&self, domain: &Domain) -> Client<Domain> {
        let page = domain.builder_page();
        let zero = self.domain(DomId(0));
        let port = domain.free_port().expect("a fresh domain has free ports");
        domain.with(domain.id, |state| {
            let binding = Binding::Unbound { remote: DomId(0) };
            state.channels.insert(
                port.0,
                Channel {
                    binding,
                    pending: false,
                    received: 0,
                },
            );
        });
        let theirs = zero
            .bind_port(domain.id, port)
            .expect("it was just allocated for domain 0");
        let connection = Connection::new(page.clone(), theirs);
        self.inner
            .store
            .borrow_mut()
            .connections
            .insert(domain.id, connection);
        Client::new(domain.clone(), page, port)
    }

    /// Lets xenstored take requests and send what it has to say.
    pub fn serve_xenstore(&self) {
        let ids: Vec<DomId> = self
            .inner
            .store
            .borrow()
            .connections
            .keys()
            .copied()
            .collect();
        for id in &ids {
            self.inner
                .store
                .borrow_mut()
                .take_requests(*id, || self.inner.fails(Fault::Xenstore));
        }
        for id in ids {
            let port = self.inner.store.borrow_mut().send(id);
            if let Some(port) = port {
                // Xenstored's own events are none of the calls that can be made to fail.
                let faults = self.inner.faults.take();
                let _ = self.domain(DomId(0)).notify(port);
                *self.inner.faults.borrow_mut() = faults;
            }
        }
    }

    /// Changes how xenstored behaves.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.inner.store.borrow_mut().quirks = quirks;
    }

    /// Writes a node as the control domain would.
    pub fn write_node(&self, path: &str, value: impl AsRef<[u8]>) {
        self.inner
            .store
            .borrow_mut()
            .change(|nodes| set(nodes, path, value.as_ref()));
    }

    /// A node's value.
    pub fn node(&self, path: &str) -> Option<String> {
        let store = self.inner.store.borrow();
        store
            .nodes
            .get(path)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many nodes there are below a path.
    pub fn nodes_below(&self, path: &str) -> usize {
        let below = format!("{path}/");
        let store = self.inner.store.borrow();
        store
            .nodes
            .keys()
            .filter(|node| node.starts_with(&below))
            .count()
    }

    /// Removes a node and all below it as the control domain would.
    pub fn remove_node(&self, path: &str) {
        self.inner
            .store
            .borrow_mut()
            .change(|nodes| remove(nodes, path).into_iter().collect());
    }

    /// Puts bytes on a domain's reply ring, after what xenstored itself has sent.
    pub fn inject_xenstore(&self, domain: DomId, bytes: &[u8]) {
        let mut store = self.inner.store.borrow_mut();
        if let Some(connection) = store.connections.get_mut(&domain) {
            connection.inject(bytes);
        }
        store.send(domain);
    }

    /// The page a domain shares with xenstored, for tests that scribble on it.
    pub fn xenstore_page(&self, domain: DomId) -> Option<Page> {
        self.inner
            .store
            .borrow()
            .connections
            .get(&domain)
            .map(|connection| connection.page.clone())
    }
}

impl Xenstored {
    pub(super) fn watches_of(&self, domain: DomId) -> usize {
        self.watches
            .iter()
            .filter(|watch| watch.domain == domain)
            .count()
    }

    fn change(&mut self, what: impl FnOnce(&mut Nodes) -> Vec<Change>) {
        let changes = what(&mut self.nodes);
        if !changes.is_empty() {
            self.generation += 1;
        }
        self.fire(&changes);
    }

    fn fire(&mut self, changes: &[Change]) {
        for change in changes {
            for watch in &self.watches {
                let watched = absolute(watch.domain, &watch.path);
                let told = match change {
                    Change::Set(path) if is_at_or_below(path, &watched) => path.clone(),
                    Change::Removed(path) if is_at_or_below(path, &watched) => path.clone(),
                    // What was watched went away with something above it.
                    Change::Removed(path) if is_at_or_below(&watched, path) => watched,
                    _ => continue,
                };
                let relative = !watch.path.starts_with('/');
                let home = format!("{}/", home(watch.domain));
                let shown = if relative {
                    told.strip_prefix(&home).unwrap_or(&told)
                } else {
                    &told
                };
                if let Some(connection) = self.connections.get_mut(&watch.domain) {
                    connection.tell(shown, &watch.token);
                }
            }
        }
    }

    fn take_requests(&mut self, id: DomId, mut fails: impl FnMut() -> bool) {
        let connection = self.connections.get_mut(&id);
        let connection = connection.expect("only connected domains are served");
        let requests = connection.take();
        let mut replies = Vec::new();
        for (header, payload) in requests {
            let answer = if fails() {
                Err("EIO")
            } else {
                self.answer(id, header, &payload)
            };
            let (kind, body) = match answer {
                Ok(body) => (header.kind, body),
                Err(name) => (XS_ERROR, format!("{name}\0").into_bytes()),
            };
            replies.push((kind, header, body));
            // The first event of a watch follows its answer.
            if header.kind == XS_WATCH && kind == XS_WATCH {
                replies.push((XS_WATCH_EVENT, Header::default(), payload));
            }
        }
        if self.quirks.reversed {
            replies.reverse();
        }
        let connection = self.connections.get_mut(&id).expect("connected above");
        for (kind, header, body) in replies {
            connection.reply(kind, header, &body);
        }
    }

    fn send(&mut self, id: DomId) -> Option<Port> {
        self.connections.get_mut(&id)?.send()
    }

    fn answer(
        &mut self,
        id: DomId,
        header: Header,
        payload: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let end = payload.iter().position(|byte| *byte == 0).ok_or("EINVAL")?;
        let first = core::str::from_utf8(&payload[..end]).map_err(|_| "EINVAL")?;
        let rest = &payload[end + 1..];
        match header.kind {
            XS_TRANSACTION_START => return Ok(format!("{}\0", self.start(id)).into_bytes()),
            XS_TRANSACTION_END => return self.end(id, header.tx_id, first == "T"),
            _ => path::check(first).map_err(|_| "EINVAL")?,
        }
        let full = absolute(id, first);
        let hidden = self.quirks.unreadable;
        let is_hidden = hidden.is_some_and(|hidden| is_at_or_below(&full, hidden));
        match header.kind {
            XS_READ if is_hidden && id.0 != 0 => Err("EACCES"),
            XS_WATCH => self.watch(id, first, rest),
            XS_UNWATCH => self.unwatch(id, first, rest),
            XS_READ => self
                .nodes(id, header.tx_id)?
                .get(&full)
                .cloned()
                .ok_or("ENOENT"),
            XS_DIRECTORY => list(self.nodes(id, header.tx_id)?, &full),
            XS_WRITE | XS_MKDIR | XS_RM => self.modify(id, header, &full, rest),
            _ => Err("ENOSYS"),
        }
    }

    fn nodes(&self, id: DomId, tx_id: u32) -> Result<&Nodes, &'static str> {
        if tx_id == 0 {
            return Ok(&self.nodes);
        }
        self.transactions
            .get(&(id, tx_id))
            .map(|pending| &pending.nodes)
            .ok_or("ENOENT")
    }

    fn modify(
        &mut self,
        id: DomId,
        header: Header,
        path: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        if id.0 != 0 && !is_at_or_below(path, &home(id)) {
            return Err("EACCES");
        }
        let nodes_max = self.quirks.nodes_max;
        let nodes = match header.tx_id {
            0 => &mut self.nodes,
            tx_id => {
                &mut self
                    .transactions
                    .get_mut(&(id, tx_id))
                    .ok_or("ENOENT")?
                    .nodes
            }
        };
        let own = nodes
            .keys()
            .filter(|node| is_at_or_below(node, &home(id)))
            .count();
        let changes = match header.kind {
            XS_RM => Vec::from([remove(nodes, path).ok_or("ENOENT")?]),
            XS_MKDIR if nodes.contains_key(path) => Vec::new(),
            _ if id.0 != 0 && own >= nodes_max && !nodes.contains_key(path) => {
                return Err("ENOSPC");
            }
            XS_MKDIR => set(nodes, path, b""),
            _ => set(nodes, path, value),
        };
        match header.tx_id {
            0 => {
                self.generation += 1;
                self.fire(&changes);
            }
            tx_id => {
                if let Some(pending) = self.transactions.get_mut(&(id, tx_id)) {
                    pending.changes.extend(changes);
                }
            }
        }
        Ok(b"OK\0".to_vec())
    }

    fn start(&mut self, id: DomId) -> u32 {
        self.next_transaction += 1;
        let pending = Pending {
            base: self.generation,
            nodes: self.nodes.clone(),
            changes: Vec::new(),
        };
        self.transactions
            .insert((id, self.next_transaction), pending);
        self.next_transaction
    }

    fn end(&mut self, id: DomId, tx_id: u32, commit: bool) -> Result<Vec<u8>, &'static str> {
        let pending = self.transactions.remove(&(id, tx_id)).ok_or("ENOENT")?;
        if commit {
            if self.quirks.conflicts > 0 {
                self.quirks.conflicts -= 1;
                return Err("EAGAIN");
            }
            if pending.base != self.generation && !pending.changes.is_empty() {
                return Err("EAGAIN");
            }
            if !pending.changes.is_empty() {
                self.nodes = pending.nodes;
                self.generation += 1;
                self.fire(&pending.changes);
            }
        }
        Ok(b"OK\0".to_vec())
    }

    fn watch(&mut self, id: DomId, path: &str, token: &[u8]) -> Result<Vec<u8>, &'static str> {
        let token = core::str::from_utf8(token.strip_suffix(&[0]).ok_or("EINVAL")?)
            .map_err(|_| "EINVAL")?;
        if self.watches_of(id) >= self.quirks.watches_max {
            return Err("E2BIG");
        }
        self.watches.push(WatchEntry {
            domain: id,
            path: path.to_string(),
            token: token.to_string(),
        });
        Ok(b"OK\0".to_vec())
    }

    fn unwatch(&mut self, id: DomId, path: &str, token: &[u8]) -> Result<Vec<u8>, &'static str> {
        let token = token.strip_suffix(&[0]).ok_or("EINVAL")?;
        let at = self.watches.iter().position(|watch| {
            watch.domain == id && watch.path == path && watch.token.as_bytes() == token
        });
        self.watches.remove(at.ok_or("ENOENT")?);
        Ok(b"OK\0".to_vec())
    }
}
