//! The firewall's image: wiring only.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use firewalldom::command::{self, Editor};
use firewalldom::policy::{Policy, blob};
use firewalldom::relay::Relay;
use firewalldom::{Budget, Firewall, Link, PingOutcome};
use minios_rs::net::{Config, Front};
use minios_rs::{Boot, Domain, Pv, console, entropy, entry, mm, xenbus};

entry!(main);

/// Bytes of a page of the memory that is counted.
const PAGE: usize = minios_rs::xen::PAGE_SIZE;

fn main(boot: Boot) -> ! {
    let memory = boot.memory_bytes;
    let domain = Domain::start(boot);
    log::info!("firewalldom {} with {} KiB of memory", env!("CARGO_PKG_VERSION"), memory / 1024);
    let work: Rc<RefCell<Option<Relay<Pv>>>> = Rc::default();

    let (starter, place) = (domain.clone(), work.clone());
    let spawned = domain.executor.spawn(async move {
        match start(&starter).await {
            Ok(relay) => {
                *place.borrow_mut() = Some(relay);
                announce(&starter, &place).await;
            }
            Err(reason) => {
                // No interface is served: nothing gets through.
                log::error!("{reason}; everything is dropped");
                let _ = starter.store.write("data/error", reason).await;
            }
        }
    });
    assert!(spawned.is_ok(), "the first tasks fit");

    let mut editor = Editor::default();
    domain.run(|now| {
        let mut work = work.borrow_mut();
        let relay = work.as_mut()?;
        let now = firewalldom::time::Instant(now.0);
        while let Some(line) = console::read().and_then(|byte| editor.key(byte)) {
            let mut answer = String::new();
            let losses = relay.losses();
            let _ = command::execute(&line, now, relay.firewall_mut(), losses, &mut answer);
            answer.split_inclusive('\n').for_each(console::write);
        }
        let deadline = relay.turn(now);
        report(relay.firewall_mut());
        deadline.map(|deadline| minios_rs::time::Instant(deadline.0))
    })
}

/// Everything that must be right before the first packet.
async fn start(domain: &Domain) -> Result<Relay<Pv>, String> {
    let policy: Policy = blob::decode(domain.module).map_err(|error| {
        alloc::format!("the policy (ramdisk= in the guest's configuration) cannot be used: {error}")
    })?;
    let (seed, _) = entropy::seed().ok_or("no source of randomness: the processor shows neither RDSEED nor RDRAND")?;

    let tasks = domain.clone();
    let refused = domain.executor.spawn(async move {
        if let Err(error) = xenbus::refuse_unknown(&tasks.store, &["vif"]).await {
            log::error!("devices of other kinds will not be refused: {error}");
        }
    });
    assert!(refused.is_ok(), "the first tasks fit");

    let mut fronts = Vec::new();
    let mut links = Vec::new();
    for (number, interface) in policy.interfaces.iter().enumerate() {
        let connected = Front::connect(&domain.xen, &domain.store, number as u32, Config::default()).await;
        let (front, link) = connected.map_err(|error| {
            alloc::format!(
                "vif {number}, which is {}, does not come up: {error}; the guest's configuration must give a vif for \
                 each of the policy's {} interfaces, in order",
                interface.name,
                policy.interfaces.len()
            )
        })?;
        links.push(Link { mac: front.mac(), mtu: interface.mtu.unwrap_or(front.mtu()) });
        fronts.push(front);
        watch_backend(domain, interface.name.clone(), link);
    }

    let budget = Budget { flows: flows_for(mm::usage().free * PAGE) };
    let now = firewalldom::time::Instant(domain.executor.now().0);
    let firewall = Firewall::new(policy, &links, budget, seed, now).map_err(|error| error.to_string())?;
    Ok(Relay::new(fronts, firewall))
}

/// Flows that fit: half of the memory that is left, so that the other half can hold what moves.
fn flows_for(free_bytes: usize) -> usize {
    (free_bytes / 2 / Budget::BYTES_PER_FLOW).clamp(1024, 1 << 20)
}

fn watch_backend(domain: &Domain, name: String, link: minios_rs::net::Link<Pv>) {
    let spawned = domain.executor.spawn(async move {
        let outcome = link.closing().await;
        log::warn!("{name}: the backend closed ({outcome:?}); no packet passes here until this domain is restarted");
        if let Err(error) = link.close().await {
            log::error!("{name}: {error}");
        }
    });
    if spawned.is_err() {
        log::error!("too many interfaces: one will not notice when its backend goes");
    }
}

/// Says that packets are forwarded: to people on the console, to programs in xenstore.
async fn announce(domain: &Domain, work: &RefCell<Option<Relay<Pv>>>) {
    let (names, flows) = {
        let work = work.borrow();
        let Some(relay) = work.as_ref() else { return };
        let policy = relay.firewall().policy();
        let names: Vec<&str> = policy.interfaces.iter().map(|interface| interface.name.as_str()).collect();
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
            PingOutcome::Reply { after } => log::info!("ping {}: reply after {} us", ping.address, after.as_micros()),
            PingOutcome::TimedOut => log::info!("ping {}: no reply", ping.address),
            PingOutcome::Refused => log::info!("ping {}: not sent, the rules do not let it out", ping.address),
        }
    }
}
