//! What a stub domain hears from dom0. Any arguments give a machine that can be, or refusals. Any bytes of any client,
//! however it scribbles on the rings, give one command at a time and nothing that grows; and the next client is served.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minios_rs::fake::vchan::Client;
use minios_rs::fake::{Domain, World};
use minios_rs::xen::{DomId, SharedPage};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use stubdom::arguments::{Description, SERIALS_MAX, VCPUS_MAX};
use stubdom::control::{Control, Guest, Turn};
use stubdom::qmp::Status;

const STUB: DomId = DomId(4);
const NODE: &str = "/local/domain/4/device-model/3/qmp-vchan";
/// Disks that the stub domain has: hda, xvdb, xvde.
const VBDS: [u32; 3] = [768, 51728, 51776];
/// Steps of one input.
const STEPS_MAX: usize = 64;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Write(&'a [u8]),
    Line(&'a [u8]),
    Negotiate,
    Read,
    /// Any of the page's first words.
    Word {
        which: u8,
        value: u32,
    },
    /// The client goes, and another comes.
    Again,
    Turn,
    Answer(bool),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    arguments: Vec<String>,
    steps: Vec<Step<'a>>,
}

fn is_sound(arguments: &[String]) {
    match Description::parse(arguments, 3, &VBDS) {
        Ok(described) => {
            assert!(described.memory_mib > 0);
            assert!((1..=VCPUS_MAX).contains(&described.vcpus));
            assert!(described.vcpus <= described.vcpus_max && described.vcpus_max <= VCPUS_MAX);
            assert!(described.serials.len() <= SERIALS_MAX);
            assert!(described.drives.is_sorted_by(|a, b| a.place < b.place));
            let media = described.drives.iter().filter_map(|drive| drive.medium);
            assert!(media.into_iter().all(|medium| VBDS.contains(&medium.vbd)));
        }
        Err(refusals) => {
            assert!(!refusals.is_empty());
            assert!(
                refusals
                    .iter()
                    .all(|refusal| refusal.to_string().len() < 512)
            );
        }
    }
}

/// A control channel that clients find.
fn announced(world: &World, domain: &Domain) -> Control<Domain> {
    let store = world.connect_xenstore(domain);
    let control = Control::new(domain).expect("nothing fails");
    {
        let mut announcing = pin!(control.announce(&store, Guest { domid: DomId(3) }));
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Pending = announcing.as_mut().poll(&mut context) {
            store.pump();
            world.serve_xenstore();
            store.pump();
        }
    }
    control
}

fn connect(world: &World) -> Client {
    Client::connect(world, STUB, NODE).expect("announced")
}

fuzz_target!(|input: Input<'_>| {
    is_sound(&input.arguments);
    let world = World::new();
    let domain = world.domain(STUB);
    let mut control = announced(&world, &domain);
    let usage = domain.usage();
    let status = Status {
        is_running: true,
        vcpus: 2,
    };
    let mut client = Some(connect(&world));
    let mut ticket = None;
    for step in input.steps.iter().take(STEPS_MAX) {
        let there = client.get_or_insert_with(|| connect(&world));
        match step {
            Step::Write(bytes) => write(there, bytes),
            Step::Line(bytes) => {
                write(there, bytes);
                write(there, b"\n");
            }
            Step::Negotiate => write(there, b"{\"execute\":\"qmp_capabilities\"}\n"),
            Step::Read => {
                there.read();
            }
            Step::Word { which, value } => {
                let word = usize::from(which % 6) * 4;
                // The orders are nobody's to change, and the next client looks at them.
                if word != 16 {
                    there.page().word(word).store(*value, Ordering::SeqCst);
                }
            }
            Step::Again => client = None,
            Step::Turn => {
                if let Turn::ToDo(new, _) = control.turn(&status) {
                    ticket = Some(new);
                }
            }
            Step::Answer(is_good) => {
                if let Some(ticket) = ticket.take() {
                    let outcome = if *is_good { Ok(()) } else { Err("no") };
                    control.answer(ticket, outcome);
                }
            }
        }
    }
    drop(client);
    let client = connect(&world);
    control.turn(&status);
    let greeting = client.read();
    assert!(greeting.starts_with(b"{\"QMP\":") && greeting.ends_with(b"\r\n"));
    assert_eq!(domain.usage(), usage);
});

/// What fits; a ring whose indices the client has spoilt takes nothing.
fn write(client: &Client, bytes: &[u8]) {
    let word = |offset| client.page().word(offset).load(Ordering::SeqCst);
    if word(4_usize).wrapping_sub(word(0)) <= 1024 {
        client.write(bytes);
    }
}
