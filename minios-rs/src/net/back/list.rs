//! Every vif that hangs off this domain: the directories below `backend/vif`, and a task for each.

#![forbid(unsafe_code)]

use super::Back;
use super::config::Config;
use super::connect::{Arrivals, Context, Error, ROOT, Vif, directory};
use super::lease::Signal;
use super::phase::RECONNECT_PAUSE;
use crate::task::{Executor, First, TooManyTasks, race};
use crate::time::Instant;
use crate::xen::{DomId, Xen};
use crate::xenbus::{self, XenbusState, unserved};
use crate::xenstore::{self, Client};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;

/// Vifs that are served at a time. More wait for a place, until the toolstack takes them away.
pub const VIFS_MAX: usize = 64;

/// Watches that they take: one for all of our directories, and one for each frontend's state.
pub const WATCHES_MAX: usize = 1 + VIFS_MAX;

/// Names below one node that are looked at.
const CHILDREN_MAX: usize = 256;

/// A vif's task.
struct Entry {
    frontend: DomId,
    index: u32,
    signal: Rc<Signal>,
    is_done: Rc<Cell<bool>>,
}

/// The guests' vifs: finds them, connects them, and ends them, as `xl devd` and the kernel do together in a
/// driver domain that runs Linux. A handle to what connected.
pub struct Backends<X: Xen> {
    arrivals: Arrivals<X>,
}

impl<X: Xen> Backends<X> {
    /// Starts to serve what hangs off this domain, and whatever the toolstack attaches later. One task for
    /// all, and one for each vif.
    ///
    /// # Errors
    /// [`TooManyTasks`].
    pub fn start(
        xen: &X,
        store: &Client<X>,
        executor: &Executor,
        config: Config,
    ) -> Result<Self, TooManyTasks> {
        let arrivals = Arrivals::<X>::default();
        let context = Rc::new(Context {
            xen: xen.clone(),
            store: store.clone(),
            executor: executor.clone(),
            config,
            arrivals: arrivals.clone(),
        });
        let list = List {
            context,
            entries: Vec::with_capacity(VIFS_MAX),
            changed: Rc::new(Signal::default()),
            refused: Vec::new(),
            leaving: Vec::new(),
        };
        executor.spawn(async move {
            if let Err(error) = list.serve().await {
                log::error!("no further interfaces can be attached: {error}");
            }
        })?;
        Ok(Self { arrivals })
    }

    /// The next vif that has connected, or connected anew.
    pub fn arrived(&self) -> Option<Back<X>> {
        self.arrivals.borrow_mut().pop_front()
    }
}

struct List<X: Xen> {
    context: Rc<Context<X>>,
    entries: Vec<Entry>,
    /// A task has ended.
    changed: Rc<Signal>,
    /// Vifs that are not served, so that each is complained of once. No longer than [`CHILDREN_MAX`].
    refused: Vec<(DomId, u32)>,
    /// Directories of those that were taken away, and when each is to go.
    leaving: Vec<(String, Instant)>,
}

impl<X: Xen> List<X> {
    async fn serve(mut self) -> Result<(), Error> {
        let mut watch = self.context.store.watch(ROOT).await?;
        loop {
            let told = race(watch.next(), self.changed.wait());
            let told = match self.leaving.iter().map(|(_, end)| *end).min() {
                None => First::Left(told.await),
                Some(end) => race(told, self.context.executor.sleep_until(end)).await,
            };
            let looked = match told {
                First::Left(First::Left(path)) => match Place::of(&path?) {
                    Place::Vif(frontend, index) => self.look(frontend, index).await,
                    Place::Frontend(frontend) => self.scan(frontend).await,
                    Place::Root => self.scan_all().await,
                    Place::Elsewhere => Ok(()),
                },
                // What came while the task was ending was told to it.
                First::Left(First::Right(())) => self.scan_all().await,
                First::Right(()) => self.remove_left().await,
            };
            if let Err(error) = looked {
                if let Some(dead) = self.context.store.dead() {
                    return Err(dead.into());
                }
                // What xenstored cannot answer now it may before long.
                log::error!("looking for interfaces: {error}");
                self.context.executor.sleep(RECONNECT_PAUSE).await;
                self.changed.raise();
            }
        }
    }

    /// Tells a vif's task that something changed in its directory, or starts it.
    async fn look(&mut self, frontend: DomId, index: u32) -> Result<(), Error> {
        self.entries.retain(|entry| !entry.is_done.get());
        let mut entries = self.entries.iter();
        let known = entries.find(|entry| (entry.frontend, entry.index) == (frontend, index));
        if let Some(entry) = known {
            entry.signal.raise();
            return Ok(());
        }
        let state = format!("{}/state", directory(frontend, index));
        match self.context.store.read(&state).await {
            Ok(_) if self.start(frontend, index) => {}
            Ok(_) => self.let_go(directory(frontend, index)).await?,
            Err(error) if error.is_not_found() => {
                self.refused.retain(|other| *other != (frontend, index));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Has a vif that nobody serves leave, if the toolstack takes it away.
    async fn let_go(&mut self, node: String) -> Result<(), Error> {
        let store = &self.context.store;
        if unserved::is_online(store, &node).await? {
            return Ok(());
        }
        if xenbus::state_at(store, &node).await? != XenbusState::CLOSED {
            xenbus::publish(store, &node, &[], XenbusState::CLOSED).await?;
        }
        if !self.leaving.iter().any(|(other, _)| *other == node) {
            let end = self.context.executor.now().after(unserved::REMOVE_GRACE);
            self.leaving.push((node, end));
        }
        Ok(())
    }

    /// Removes those that the toolstack had time to read Closed of.
    async fn remove_left(&mut self) -> Result<(), Error> {
        let now = self.context.executor.now();
        while let Some(due) = self.leaving.iter().position(|(_, end)| *end <= now) {
            let (node, _) = self.leaving.swap_remove(due);
            match xenbus::remove(&self.context.store, &node).await {
                Ok(()) | Err(xenbus::Error::Gone) => {}
                // Looked for anew.
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives a vif a task; false if there is no place for it.
    fn start(&mut self, frontend: DomId, index: u32) -> bool {
        let entry = Entry {
            frontend,
            index,
            signal: Rc::new(Signal::default()),
            is_done: Rc::new(Cell::new(false)),
        };
        let vif = Vif::new(self.context.clone(), frontend, index, entry.signal.clone());
        let (is_done, changed) = (entry.is_done.clone(), self.changed.clone());
        let task = async move {
            vif.serve().await;
            is_done.set(true);
            changed.raise();
        };
        if self.entries.len() < VIFS_MAX && self.context.executor.spawn(task).is_ok() {
            self.refused.retain(|other| *other != (frontend, index));
            self.entries.push(entry);
            return true;
        }
        if !self.refused.contains(&(frontend, index)) && self.refused.len() < CHILDREN_MAX {
            log::error!("vif {}.{index}: one more than can be served", frontend.0);
            self.refused.push((frontend, index));
        }
        false
    }

    /// Looks at every vif of a frontend, those that were there before included.
    async fn scan(&mut self, frontend: DomId) -> Result<(), Error> {
        let entries = self.entries.iter();
        let of_frontend = entries.filter(|entry| entry.frontend == frontend);
        let mut known: Vec<u32> = of_frontend.map(|entry| entry.index).collect();
        for name in self.children(&format!("{ROOT}/{}", frontend.0)).await? {
            if let Some(index) = number(&name) {
                add(&mut known, index);
            }
        }
        for index in known {
            self.look(frontend, index).await?;
        }
        Ok(())
    }

    async fn scan_all(&mut self) -> Result<(), Error> {
        let mut frontends: Vec<DomId> = Vec::new();
        for entry in &self.entries {
            add(&mut frontends, entry.frontend);
        }
        for name in self.children(ROOT).await? {
            if let Some(frontend) = number(&name) {
                add(&mut frontends, DomId(frontend));
            }
        }
        for frontend in frontends {
            self.scan(frontend).await?;
        }
        Ok(())
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        match self.context.store.directory(path).await {
            Ok(mut names) => {
                names.truncate(CHILDREN_MAX);
                Ok(names)
            }
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            // Longer than one message: each vif's own event still tells of it.
            Err(xenstore::Error::Refused(xenstore::Refusal::TooBig)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Adds what is not there yet.
fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

/// What a watch event is about.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Root,
    Frontend(DomId),
    Vif(DomId, u32),
    Elsewhere,
}

impl Place {
    fn of(path: &str) -> Self {
        let Some(below) = path.strip_prefix(ROOT) else {
            return Self::Elsewhere;
        };
        if below.is_empty() {
            return Self::Root;
        }
        let Some(below) = below.strip_prefix('/') else {
            return Self::Elsewhere;
        };
        let mut names = below.split('/');
        let frontend = names.next().and_then(number).map(DomId);
        match (frontend, names.next()) {
            (None, _) => Self::Elsewhere,
            (Some(frontend), None) => Self::Frontend(frontend),
            (Some(frontend), Some(name)) => {
                number(name).map_or(Self::Elsewhere, |index| Self::Vif(frontend, index))
            }
        }
    }
}

/// A name that is a number, written as the toolstack does: another spelling is another node.
fn number<T: core::str::FromStr>(name: &str) -> Option<T> {
    let is_plain = name == "0" || !name.starts_with(['0', '+', '-']);
    name.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_a_vif_a_frontend_or_nothing_of_ours() {
        for (path, place) in [
            ("backend/vif", Place::Root),
            ("backend/vif/5", Place::Frontend(DomId(5))),
            ("backend/vif/5/0", Place::Vif(DomId(5), 0)),
            ("backend/vif/5/12/state", Place::Vif(DomId(5), 12)),
            ("backend/vif/5/x", Place::Elsewhere),
            ("backend/vif/05/0", Place::Elsewhere),
            ("backend/vif/99999/0", Place::Elsewhere),
            ("backend/vifs/5/0", Place::Elsewhere),
            ("backend/vbd/5/0", Place::Elsewhere),
        ] {
            assert_eq!(Place::of(path), place, "{path}");
        }
    }
}
