//! The firewall's image: wiring only.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::pin::pin;
use core::time::Duration;
use firewalldom::command::{self, Editor};
use firewalldom::policy::{Interface, Stored, blob, blob::Identity, place};
use firewalldom::relay::Relay;
use firewalldom::{Budget, Firewall, Link, PingOutcome, Site, stat};
use minios_rs::arch::pv::clock::wall_clock;
use minios_rs::net::front::Breach;
use minios_rs::net::{Config, Front};
use minios_rs::task::TimedOut;
use minios_rs::xen::Xen;
use minios_rs::{Boot, Domain, Pv, console, entropy, entry, mm};

entry!(main);

#[cfg_attr(feature = "guests", path = "main/guests.rs")]
#[cfg_attr(not(feature = "guests"), path = "main/no_guests.rs")]
mod guests;

/// The site's policy, in an image that has one of its own.
#[cfg(feature = "embed")]
const EMBEDDED: Option<&[u8]> = Some(include_bytes!(env!(
    "FIREWALLDOM_POLICY",
    "the feature embed is for `cargo image build firewalldom --embed`, which names the policy here"
)));
/// The image is the same for every site.
#[cfg(not(feature = "embed"))]
const EMBEDDED: Option<&[u8]> = None;

/// Bytes of a page of the memory that is counted.
const PAGE: usize = minios_rs::xen::PAGE_SIZE;

fn main(boot: Boot) -> ! {
    let memory = boot.memory_bytes;
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["vif"]);
    log::info!(
        "firewalldom {} with {} KiB of memory",
        env!("CARGO_PKG_VERSION"),
        memory / 1024
    );
    // For as long as the domain lives, so that nothing has to know how to take it apart.
    let work: &'static RefCell<Option<Work>> = Box::leak(Box::default());
    let state = Rc::new(RefCell::new("waiting for its interfaces".to_string()));

    let told = state.clone();
    domain.answer_statistics(move |report| {
        report.appliance = stat::APPLIANCE.to_string();
        report.version = env!("CARGO_PKG_VERSION").to_string();
        report.state.clone_from(&told.borrow());
        if let Some(work) = work.borrow().as_ref() {
            stat::fill(report, &work.relay, work.policy);
        }
    });
    let starter = domain.clone();
    let spawned = domain.executor.spawn(async move {
        match start(&starter).await {
            Ok(started) => {
                core::mem::forget(work.replace(Some(started)));
                *state.borrow_mut() = "forwarding".to_string();
                announce(&starter, work).await;
            }
            Err(reason) => {
                // No interface is served: nothing gets through.
                log::error!("{reason}; everything is dropped");
                *state.borrow_mut() = alloc::format!("dropping everything: {reason}");
                let _ = starter.store.write("data/error", reason).await;
            }
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");

    let mut editor = Editor::default();
    domain.run(|began| {
        let mut work = work.borrow_mut();
        let work = work.as_mut()?;
        guests::serve(work);
        let Work { relay, fates, .. } = work;
        let now = firewalldom::time::Instant(began.0);
        while let Some(byte) = console::read() {
            let Some(line) = editor.key(byte) else {
                continue;
            };
            let mut answer = String::new();
            let losses = relay.losses();
            let hypercalls = domain.xen.hypercalls();
            let firewall = relay.firewall_mut();
            let _ = command::execute(&line, now, firewall, losses, &hypercalls, &mut answer);
            answer.split_inclusive('\n').for_each(console::write);
        }
        let deadline = relay.turn(now);
        for (number, fate) in fates.iter().enumerate() {
            fate.breach.set(fate.breach.get().or(relay.breach(number)));
            if fate.ended.get() || fate.breach.get().is_some() {
                relay.close(number);
                fate.released.set(relay.is_released(number));
            }
            if let Some(front) = fate.successor.take()
                && let Err(error) = relay.reopen(now, number, front)
            {
                log::error!("{error}");
            }
        }
        report(relay.firewall_mut());
        relay.took(domain.xen.now().since(began));
        deadline.map(|deadline| minios_rs::time::Instant(deadline.0))
    })
}

/// What the main loop works on, once there is something.
struct Work {
    relay: Relay<Pv>,
    /// Which policy it runs.
    policy: Identity,
    /// Of the backend of each vif that is the firewall's own.
    fates: Vec<Rc<Fate>>,
    /// Those of guests, if the site has an interface for them.
    guests: Option<guests::Backends>,
}

/// Why this domain is not the backend that the toolstack wants it to be.
const NOT_SERVED: &str = "the firewall serves guests' vifs only, and those only if an interface of its configuration is for them";

/// The policy that is to be run, and its bytes. Its rules stay where they are until there are tables of them: decoded,
/// they might not fit.
fn open(domain: &Domain) -> Result<(Stored<'static>, &'static [u8]), String> {
    let (place, bytes) =
        place::choose(domain.module, EMBEDDED).map_err(|error| error.to_string())?;
    let stored = blob::open(bytes)
        .map_err(|error| alloc::format!("the policy ({place}) cannot be used: {error}"))?;
    log::info!("policy of the site \"{}\": {place}", stored.policy().site);
    Ok((stored, bytes))
}

/// Everything that must be right before the first packet.
async fn start(domain: &Domain) -> Result<Work, String> {
    let opened = open(domain);
    let is_for_guests = |(stored, _): &(Stored<'_>, _)| {
        let mut interfaces = stored.policy().interfaces.iter();
        interfaces.any(Interface::has_guests)
    };
    let has_guests = opened.as_ref().is_ok_and(is_for_guests);
    let known: &[&str] = match has_guests && cfg!(feature = "guests") {
        true => &["vif"],
        false => &[],
    };
    domain.refuse_backends_except(known, NOT_SERVED);
    let (stored, bytes) = opened?;
    let policy = stored.policy();
    let (seed, _) = entropy::seed()
        .ok_or("no source of randomness: the processor shows neither RDSEED nor RDRAND")?;

    let mut fronts = Vec::new();
    let mut links = Vec::new();
    let mut fates = Vec::new();
    for interface in &policy.interfaces {
        if interface.has_guests() {
            links.push(Link::of(interface, BACKEND_MAC, BACKEND_MTU));
            fronts.push(None);
            continue;
        }
        let number = fates.len();
        let connected = connect(domain, number as u32, &interface.name).await;
        let (front, link) = connected.map_err(|error| {
            alloc::format!(
                "vif {number}, which is {}, does not come up: {error}; the guest's configuration must give a vif for \
                 each of the policy's interfaces, in order, but for those that guests are behind",
                interface.name,
            )
        })?;
        links.push(Link::of(interface, front.mac().0, front.mtu()));
        fronts.push(Some(front));
        let fate = Rc::new(Fate::default());
        watch_backend(domain, interface.name.clone(), link, fate.clone());
        fates.push(fate);
    }
    let guests = match has_guests {
        true => Some(guests::start(domain)?),
        false => None,
    };
    let site = Site::new(stored, &links).map_err(|error| error.to_string())?;
    let budget = Budget {
        flows: flows_for(memory_left(), has_guests),
    };
    let now = firewalldom::time::Instant(domain.executor.now().0);
    let mut firewall = Firewall::of(site, budget, seed, now);
    firewall.set_wall_clock(now, wall_clock());
    Ok(Work {
        relay: Relay::with_guests(fronts, firewall),
        policy: blob::identity(bytes).unwrap_or_default(),
        fates,
        guests,
    })
}

/// The firewall's own address on guests' vifs: what Linux gives the backend's end.
const BACKEND_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Bytes of the packets there, unless interfaces(5) says otherwise.
const BACKEND_MTU: u16 = 1500;

/// Bytes of memory that nobody uses yet.
#[derive(Clone, Copy)]
struct Left {
    /// Of the heap: building tables freed it. It may be in pieces.
    heap: usize,
    /// Of pages, which the heap may grow by.
    pages: usize,
}

fn memory_left() -> Left {
    let usage = mm::usage();
    Left {
        heap: (usage.heap * PAGE).saturating_sub(mm::heap_usage().bytes),
        pages: usage.free * PAGE,
    }
}

/// Flows that fit, once the rules have their tables: half of the memory that is left, so that the
/// other half can hold what moves; and no more than leaves room for some guests.
fn flows_for(left: Left, has_guests: bool) -> usize {
    let spared = if has_guests { ROOM_FOR_GUESTS } else { 0 };
    let all = left.heap + left.pages;
    let bytes = (all / 2).min(left.pages).min(all.saturating_sub(spared));
    (bytes / Budget::BYTES_PER_FLOW).clamp(1024, 1 << 20)
}

/// Bytes that sixteen guests' vifs take, and what no page of a vif is taken of.
const ROOM_FOR_GUESTS: usize = 16 * 240 * 1024 + 512 * 1024;

/// How often it is said that a backend is still waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects a vif, however long its backend takes to be there, and says so meanwhile.
async fn connect(
    domain: &Domain,
    number: u32,
    name: &str,
) -> Result<(Front<Pv>, minios_rs::net::Link<Pv>), minios_rs::net::Error> {
    let mut connecting = pin!(Front::connect(
        &domain.xen,
        &domain.store,
        number,
        Config::default()
    ));
    loop {
        match domain.executor.timeout(PATIENCE, &mut connecting).await {
            Ok(outcome) => return outcome,
            Err(TimedOut) => {
                log::warn!(
                    "{name}: still waiting for the backend of vif {number}; nothing passes yet"
                );
            }
        }
    }
}

/// What the task that watches an interface's backend and the main loop tell each other.
#[derive(Default)]
struct Fate {
    /// The backend closed or vanished: the main loop lets go of the rings.
    ended: Cell<bool>,
    /// The backend broke the rules: the task says so in xenstore.
    breach: Cell<Option<Breach>>,
    /// The backend uses nothing of it any more.
    released: Cell<bool>,
    /// The connection that takes the place of the one that ended.
    successor: Cell<Option<Front<Pv>>>,
}

/// How often a task looks what the main loop found, which cannot wake it: that a backend lies, or has let go.
const LOOK: Duration = Duration::from_secs(1);

fn watch_backend(
    domain: &Domain,
    name: String,
    mut link: minios_rs::net::Link<Pv>,
    fate: Rc<Fate>,
) {
    let watcher = domain.clone();
    let spawned = domain.executor.spawn(async move {
        // Ends only with xenstore, without which no vif comes or goes.
        let error = loop {
            if let Err(error) = end(&watcher, &name, &mut link, &fate).await {
                break error;
            }
            link = match begin_again(&watcher, &name, &mut link, &fate).await {
                Ok(link) => link,
                Err(error) => break error,
            };
        };
        log::error!("{name}: its backend cannot be watched any more: {error}");
    });
    if spawned.is_err() {
        log::error!("too many interfaces: one will not notice when its backend goes");
    }
}

/// Waits until a connection ends, and until both sides have let go of it.
async fn end(
    domain: &Domain,
    name: &str,
    link: &mut minios_rs::net::Link<Pv>,
    fate: &Fate,
) -> Result<(), minios_rs::net::Error> {
    {
        let mut ending = pin!(link.backend_ending());
        loop {
            match domain.executor.timeout(LOOK, &mut ending).await {
                Ok(ended) => break ended?,
                Err(TimedOut) if fate.breach.get().is_some() => break,
                Err(TimedOut) => {}
            }
        }
    }
    fate.ended.set(true);
    match fate.breach.get() {
        Some(breach) => {
            log::error!("{name}: {breach}; nothing passes here until another vif is attached");
            if let Err(error) = link.fatal(&breach.to_string()).await {
                log::error!("{name}: {error}");
            }
        }
        None => log::warn!("{name}: the backend closed; nothing passes here until it is back"),
    }
    // Waits until the backend has let go of the rings, and answers it when it closes.
    if let Err(error) = link.close().await {
        log::error!("{name}: {error}");
    }
    while !fate.released.get() {
        domain.executor.sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until the interface is connected again, and hands the connection to the main loop.
async fn begin_again(
    domain: &Domain,
    name: &str,
    link: &mut minios_rs::net::Link<Pv>,
    fate: &Fate,
) -> Result<minios_rs::net::Link<Pv>, minios_rs::net::Error> {
    loop {
        // A backend may end each connection at once, and is not to keep us busy with that.
        domain.executor.sleep(LOOK).await;
        match link.again(&domain.xen, Config::default()).await {
            Ok((front, link)) => {
                log::info!(
                    "{name}: its backend in domain {} is there",
                    front.backend().0
                );
                fate.ended.set(false);
                fate.breach.set(None);
                fate.released.set(false);
                fate.successor.set(Some(front));
                return Ok(link);
            }
            Err(error) => {
                if let Some(dead) = domain.store.dead() {
                    return Err(dead.into());
                }
                log::warn!("{name}: {error}; nothing passes here yet");
            }
        }
    }
}

/// Says that packets are forwarded: to people on the console, to programs in xenstore.
async fn announce(domain: &Domain, work: &RefCell<Option<Work>>) {
    let (names, flows) = {
        let work = work.borrow();
        let Some(Work { relay, .. }) = work.as_ref() else {
            return;
        };
        let policy = relay.firewall().policy();
        let names: Vec<&str> = policy
            .interfaces
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        (names.join(", "), relay.firewall().flows().capacity)
    };
    log::info!("forwarding between {names}; room for {flows} flows");
    if let Err(error) = domain.store.write("data/ready", "1").await {
        log::error!("data/ready cannot be written: {error}");
    }
}

/// Log lines and answers that the engine has for people.
fn report(firewall: &mut Firewall) {
    while let Some(line) = firewall.take_log() {
        log::info!("{}", line.text);
    }
    while let Some(ping) = firewall.take_ping() {
        match ping.outcome {
            PingOutcome::Reply { after } => log::info!(
                "ping {}: reply after {} us",
                ping.address,
                after.as_micros()
            ),
            PingOutcome::TimedOut => log::info!("ping {}: no reply", ping.address),
            PingOutcome::Refused => log::info!(
                "ping {}: not sent, the rules do not let it out",
                ping.address
            ),
        }
    }
}
