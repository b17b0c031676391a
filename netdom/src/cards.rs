//! The cards of this domain: found, brought up, looked after, let go.

use crate::nic::{self, Config, Link, Nic, State};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use minios_rs::hardware::Hardware;
use minios_rs::net::RxBuffer;
use minios_rs::net::front::Wake;
use minios_rs::pci::{Address, Bus, Change, Command, Function, Identity};
use minios_rs::ring::Pending;
use minios_rs::stat::{Count, Direction, Interface, Report};
use minios_rs::task::{Executor, TooManyTasks};
use minios_rs::time::Instant;
use minios_rs::xenstore::{self, Client};

/// How long a bus that could not be had is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What passes the cards' frames on.
pub trait Traffic<X: Hardware> {
    /// Once a turn for each card: takes what it received, and gives it what is to be sent. When to call again if
    /// nothing happens.
    fn exchange(&mut self, now: Instant, address: Address, nic: &mut dyn Nic<X>)
    -> Option<Instant>;

    /// Takes a page back that a card has sent from which is gone.
    fn take_back(&mut self, buffer: RxBuffer<X::Page>);
}

struct Card<X: Hardware> {
    function: Function<X>,
    nic: Box<dyn Nic<X>>,
    /// What was last said of its cable.
    told: Option<Link>,
}

struct Inner<X: Hardware> {
    cards: RefCell<Vec<Card<X>>>,
    bus: RefCell<Option<Bus<X>>>,
    /// Errors on the bus that the cards were reset for.
    errors: Cell<u32>,
    /// Others' pages that were with a card when it went.
    orphans: RefCell<Vec<RxBuffer<X::Page>>>,
}

/// The cards. A handle.
pub struct Cards<X: Hardware> {
    inner: Rc<Inner<X>>,
}

impl<X: Hardware> Clone for Cards<X> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<X: Hardware> Cards<X> {
    /// Starts to look for the cards that the toolstack gives this domain, now and later, in a task.
    ///
    /// # Errors
    /// [`TooManyTasks`].
    pub fn start(
        xen: &X,
        store: &Client<X>,
        executor: &Executor,
        config: Config,
    ) -> Result<Self, TooManyTasks> {
        let cards = Self {
            inner: Rc::new(Inner {
                cards: RefCell::new(Vec::new()),
                bus: RefCell::new(None),
                errors: Cell::new(0),
                orphans: RefCell::new(Vec::new()),
            }),
        };
        let serving = cards
            .clone()
            .serve(xen.clone(), store.clone(), executor.clone(), config);
        executor.spawn(async move {
            if let Err(error) = serving.await {
                log::error!("cards are no longer looked for: {error}");
            }
        })?;
        Ok(cards)
    }

    /// How many are driven.
    pub fn count(&self) -> usize {
        self.inner.cards.borrow().len()
    }

    /// Adds every card to what the domain counts.
    pub fn fill(&self, report: &mut Report) {
        let cards = self.inner.cards.borrow();
        let cards = cards
            .iter()
            .map(|card| interface(card.function.address(), &*card.nic));
        report.interfaces.extend(cards);
    }

    /// Finds the cards that the toolstack gives this domain, and lets go of those that it takes away.
    /// Ends only with the xenstore connection.
    async fn serve(
        self,
        xen: X,
        xenstore: Client<X>,
        executor: Executor,
        config: Config,
    ) -> Result<(), xenstore::Error> {
        let mut watch = xenstore.watch("device/pci").await?;
        loop {
            let state = xenstore.read_text("device/pci/0/state").await;
            match state.as_deref() {
                Ok("1") => self.drive(&xen, &xenstore, &executor, config).await,
                Err(error) if xenstore.dead().is_some() => return Err(*error),
                _ => {
                    watch.next().await?;
                    continue;
                }
            }
            executor.sleep(PAUSE).await;
        }
    }

    /// From the bus' beginning to its end.
    async fn drive(&self, xen: &X, xenstore: &Client<X>, executor: &Executor, config: Config) {
        let (bus, mut link) = match Bus::connect(xen, xenstore, executor, 0).await {
            Ok(connected) => connected,
            Err(error) => {
                log::error!("no PCI bus: {error}");
                return;
            }
        };
        *self.inner.bus.borrow_mut() = Some(bus.clone());
        self.inner.errors.set(bus.errors());
        let ended = async {
            loop {
                for address in link.functions().await? {
                    self.adopt(&bus.function(address), executor, config).await;
                }
                match link.changed().await? {
                    Change::Attached => {}
                    Change::Detaching(leaving) => {
                        for address in leaving {
                            self.let_go(|other| other == address).await;
                        }
                        link.settled().await?;
                    }
                    Change::Ending => return Ok(()),
                }
            }
        };
        let ended: Result<(), minios_rs::pci::Error> = ended.await;
        if let Err(error) = ended {
            log::error!("the PCI bus is given up: {error}");
        }
        self.let_go(|_| true).await;
        if let Err(error) = link.close().await {
            log::warn!("the PCI bus does not end in order: {error}");
        }
        // Not before: the backend may have mapped its page.
        self.inner.bus.borrow_mut().take();
    }

    fn has(&self, address: Address) -> bool {
        let cards = self.inner.cards.borrow();
        cards.iter().any(|card| card.function.address() == address)
    }

    /// Brings a function up, if it is a card that is not driven yet.
    async fn adopt(&self, function: &Function<X>, executor: &Executor, config: Config) {
        let address = function.address();
        if self.has(address) {
            return;
        }
        match function.identity().await {
            Ok(identity) if identity.base_class() == Identity::NETWORK => {}
            Ok(identity) => {
                let (vendor, device) = (identity.vendor, identity.device);
                log::warn!("{address}: {vendor:04x}:{device:04x} is no network card");
                return;
            }
            Err(error) => {
                log::error!("{address}: {error}");
                return;
            }
        }
        match nic::bring_up(function, executor, config).await {
            Ok(nic) => {
                let (model, mac) = (nic.model(), nic.mac());
                let kind = nic.interrupt_kind().name();
                log::info!("{address}: {model}, {mac}, {kind}");
                self.inner.cards.borrow_mut().push(Card {
                    function: function.clone(),
                    nic,
                    told: None,
                });
            }
            Err(error) => log::error!("{address}: {error}"),
        }
    }

    /// Stops cards, and gives back what is theirs.
    async fn let_go(&self, leaves: impl Fn(Address) -> bool) {
        loop {
            let card = {
                let mut cards = self.inner.cards.borrow_mut();
                let at = cards
                    .iter()
                    .position(|card| leaves(card.function.address()));
                at.map(|at| cards.remove(at))
            };
            let Some(Card {
                function, mut nic, ..
            }) = card
            else {
                return;
            };
            nic.stop();
            while let Some(buffer) = nic.completed() {
                if buffer.owner() != nic.id() {
                    self.inner.orphans.borrow_mut().push(buffer);
                }
            }
            let kind = nic.interrupt_kind();
            drop(nic);
            // A function that is gone refuses both, which is as good.
            let _ = function.disable(kind).await;
            let master = Command::MASTER;
            let _ = function.command(Command::empty(), master).await;
            log::info!("{}: let go", function.address());
        }
    }

    /// Once a turn of the main loop: looks after the cards, and has `traffic` pass their frames on. When to
    /// call it next if nothing happens.
    pub fn turn(&self, now: Instant, traffic: &mut impl Traffic<X>) -> Option<Instant> {
        if let Some(bus) = &*self.inner.bus.borrow() {
            bus.pump();
        }
        for buffer in self.inner.orphans.take() {
            traffic.take_back(buffer);
        }
        let mut cards = self.inner.cards.borrow_mut();
        let errors = self.inner.bus.borrow().as_ref().map_or(0, Bus::errors);
        let is_in_error = self.inner.errors.replace(errors) != errors;
        let mut next: Option<Instant> = None;
        let mut earlier = |other: Option<Instant>| {
            next = [next, other].into_iter().flatten().min();
        };
        for card in cards.iter_mut() {
            if is_in_error {
                card.nic.reset(now);
            }
            earlier(card.nic.poll(now));
            let (address, link) = (card.function.address(), card.nic.link());
            if card.told.replace(link) != Some(link) {
                match link {
                    Link::Down => log::warn!("{address}: link down"),
                    Link::Up(0) => log::info!("{address}: link up"),
                    Link::Up(speed) => log::info!("{address}: link up, {speed} Mbit/s"),
                }
            }
            earlier(traffic.exchange(now, address, &mut *card.nic));
            card.nic.flush();
            if card.nic.park_until(Wake::FirstSlot) == Pending::Work {
                earlier(Some(now));
            }
        }
        next
    }
}

/// What a card counts.
fn interface<X: Hardware>(address: Address, nic: &dyn Nic<X>) -> Interface {
    let counted = nic.statistics();
    let happened = |counters: &[(&str, u64)]| {
        let happened = counters.iter().filter(|(_, count)| *count > 0);
        happened
            .map(|(name, count)| Count::new(name, *count))
            .collect()
    };
    let state = match (nic.state(), nic.link()) {
        (State::Up, Link::Down) => "link down",
        (State::Up, Link::Up(_)) => "open",
        (State::Resetting, _) => "being reset",
        (State::Silent, _) => "does not answer",
        (State::Stopped, _) => "closed",
    };
    Interface {
        name: address.to_string(),
        mac: nic.mac().0,
        backend: nic.peer().0,
        mtu: nic.mtu(),
        state: state.to_string(),
        received: Direction {
            frames: counted.received_frames,
            bytes: counted.received_bytes,
            errors: happened(&[
                ("damaged", counted.dropped_error),
                ("too short or too long", counted.dropped_size),
                ("malformed", counted.dropped_malformed),
                ("no room in the card", counted.missed),
            ]),
        },
        transmitted: Direction {
            frames: counted.transmitted_frames,
            bytes: counted.transmitted_bytes,
            errors: happened(&[
                ("lost in a reset", counted.lost),
                ("resets", counted.resets),
                ("link changes", counted.link_changes),
            ]),
        },
        ..Interface::default()
    }
}

#[cfg(test)]
mod tests;
