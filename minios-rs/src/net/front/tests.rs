use super::*;
use crate::abi::io::netif::*;
use crate::abi::io::ring::{RING, RSP_PROD};
use crate::fake::netback::{Frame, Netback, OFFERS, Which};
use crate::fake::{Domain, Fault, Page, Quirks, Usage, World};
use crate::net::{Checksum, Gso, GsoKind, Offload, Slice, TransmitError};
use crate::xen::{DomId, SharedPage};
use crate::xenbus::XenbusState;
use crate::xenstore::Client;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

const GUEST: DomId = DomId(7);
const HOST: DomId = DomId(0);
const OTHER: DomId = DomId(3);

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    backs: Vec<Netback>,
    before: Usage,
}

impl Lab {
    fn new(backends: &[DomId]) -> Self {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        let announce = |(index, backend): (usize, &DomId)| {
            Netback::announce(&world, *backend, GUEST, index as u32, &OFFERS)
        };
        let backs = backends.iter().enumerate().map(announce).collect();
        Self {
            world,
            guest,
            store,
            backs,
            before,
        }
    }

    /// Runs a future to its end; `None` if it has not ended after many turns.
    fn try_run<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = Box::pin(future);
        for _ in 0..500 {
            if let Poll::Ready(value) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(value);
            }
            self.turn();
        }
        None
    }

    fn turn(&mut self) {
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.backs.iter_mut().for_each(Netback::step);
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.try_run(future).expect("it ends")
    }

    fn connect(&mut self, index: u32) -> (Front<Domain>, Link<Domain>) {
        let (guest, store) = (self.guest.clone(), self.store.clone());
        self.run(async move { Front::connect(&guest, &store, index, Config::default()).await })
            .expect("it connects")
    }

    /// Backend-initiated end, as an unplug is; then everything must be back.
    fn end(mut self, fronts: Vec<(Front<Domain>, Link<Domain>)>) {
        self.unplug(fronts);
    }

    fn unplug(&mut self, mut fronts: Vec<(Front<Domain>, Link<Domain>)>) {
        for back in &self.backs {
            back.switch_to(XenbusState::CLOSING);
        }
        for (front, link) in &mut fronts {
            self.run(link.backend_ending()).expect("xenstore works");
            front.close();
            self.run(link.close()).expect("xenstore works");
        }
        for (front, _) in &mut fronts {
            while front.completed().is_some() {}
        }
        for (front, _) in &mut fronts {
            assert_eq!(front.release(), Ok(()));
        }
        drop(fronts);
        (0..20).for_each(|_| self.turn());
        assert_eq!(self.guest.usage(), self.before, "nothing is left");
    }
}

fn one() -> (Lab, Front<Domain>, Link<Domain>) {
    let mut lab = Lab::new(&[HOST]);
    let (front, link) = lab.connect(0);
    (lab, front, link)
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn whole(frame: &Received<Page>) -> Vec<u8> {
    let mut into = vec![0; frame.len as usize];
    assert_eq!(frame.read(0, &mut into), into.len());
    into
}

fn tail_of(frame: Received<Page>) -> heapless::Vec<Slice<Page>, TAIL_MAX> {
    frame.slots.into_iter().collect()
}

fn gso_info(size: u16) -> ExtraInfo {
    ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
        gso_size: size,
        ..ExtraInfo::default()
    }
}

const BLANK: Offload = Offload {
    checksum: Checksum::Blank,
    gso: None,
};
const PLAIN: Offload = Offload {
    checksum: Checksum::Unknown,
    gso: None,
};

#[test]
fn a_vif_connects_and_leaves_nothing_behind() {
    let (lab, front, link) = one();
    assert_eq!(front.mac().0, [0, 0x16, 0x3e, 0, 0, 0]);
    assert_eq!((front.mtu(), front.backend()), (1500, HOST));
    assert!(front.features().scatter_gather && front.features().gso_tcpv4);
    assert_eq!(
        lab.world
            .node(&(alloc::format!("{}/state", lab.backs[0].node())))
            .as_deref(),
        Some("4")
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn an_mtu_is_the_toolstacks_if_ipv4_can_live_with_it() {
    for (text, mtu) in [
        ("9000", 9000),
        ("68", 68),
        ("67", 1500),
        ("0", 1500),
        ("65536", 1500),
        ("-1", 1500),
        ("much", 1500),
    ] {
        let mut lab = Lab::new(&[HOST]);
        lab.world
            .write_node("/local/domain/7/device/vif/0/mtu", text);
        let (front, link) = lab.connect(0);
        assert_eq!(front.mtu(), mtu, "{text}");
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn frames_go_both_ways() {
    let (mut lab, mut front, link) = one();
    let frame = bytes(60, 1);
    assert!(lab.backs[0].deliver(&[&frame], 64, NETRXF_DATA_VALIDATED, &[]));
    let received = front.receive().expect("a frame came");
    assert_eq!(whole(&received), frame);
    assert_eq!(
        (received.checksum, received.gso, received.slots.len()),
        (Checksum::Validated, None, 1)
    );
    front.recycle_frame(received);
    assert!(front.receive().is_none());

    front
        .transmit(&frame, &mut heapless::Vec::new(), BLANK)
        .unwrap();
    assert!(lab.backs[0].receive().is_empty(), "not before the flush");
    front.flush();
    let sent = lab.backs[0].receive();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&sent[0].bytes, sent[0].flags),
        (&frame, NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED)
    );
    assert!(
        front.completed().is_none(),
        "a header is nobody else's page"
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn frames_of_our_own_may_fill_a_page() {
    let (mut lab, mut front, link) = one();
    for round in 0..50_u8 {
        let frame = bytes(4096, round);
        front.transmit_bytes(&frame, PLAIN).unwrap();
        front.flush();
        assert_eq!(lab.backs[0].receive()[0].bytes, frame);
        assert!(front.completed().is_none());
    }
    assert_eq!(
        front.transmit_bytes(&bytes(4097, 0), PLAIN),
        Err(TransmitError::Size)
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn a_gso_frame_of_64_kib_is_received_with_its_extra_info_and_forwarded_untouched() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    let payload = bytes(65_000, 9);
    let parts: Vec<&[u8]> = payload.chunks(4096).collect();
    assert_eq!(parts.len(), 16);
    assert!(lab.backs[0].deliver(
        &parts,
        0,
        NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED,
        &[gso_info(1448)]
    ));
    let received = inside.receive().expect("a frame came");
    assert_eq!(
        received.gso,
        Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448
        })
    );
    assert_eq!((received.checksum, received.len), (Checksum::Blank, 65_000));
    assert_eq!(whole(&received), payload);

    // The first 66 bytes are rewritten and sent from a header slice of our own.
    let offload = Offload {
        checksum: received.checksum,
        gso: received.gso,
    };
    let mut tail = tail_of(received);
    tail[0].advance(66);
    let head = bytes(66, 200);
    outside.transmit(&head, &mut tail, offload).unwrap();
    assert!(tail.is_empty());
    outside.flush();
    let sent = lab.backs[1].receive();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    assert_eq!(sent[0].bytes[..66], head);
    assert_eq!(sent[0].bytes[66..], payload[66..]);
    let mut back = 0;
    while let Some(buffer) = outside.completed() {
        assert_eq!(buffer.owner(), inside.id());
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!((back, outside.counters().tail_pages), (16, 0));
    inside.flush();
    assert_eq!(
        lab.backs[0].posted(),
        256,
        "the buffer under the extra info as well"
    );
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

/// Sends one frame of two slots from backend 0 to front 1 and returns the request of its payload.
fn forward(
    lab: &mut Lab,
    from: &mut Front<Domain>,
    to: &mut Front<Domain>,
    seed: u8,
) -> Vec<Frame> {
    let (head, payload) = (bytes(100, seed), bytes(1000, seed));
    let to_back = lab.backs.len() - 1;
    assert!(lab.backs[0].deliver(&[&head, &payload], 0, 0, &[]));
    let mut frame = from.receive().expect("a frame came");
    let payload = frame.slots.pop().expect("two slots");
    let mut tail = heapless::Vec::new();
    tail.push(payload).expect("there is room");
    to.transmit(&head, &mut tail, PLAIN).expect("it is sent");
    from.recycle_frame(frame);
    to.flush();
    lab.backs[to_back].receive()
}

#[test]
fn a_backend_sees_only_the_bytes_that_were_sent_to_it() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    // A long secret first fills every receive buffer to its end.
    for _ in 0..256 {
        assert!(lab.backs[0].deliver(&[&[0x55; 4096]], 0, 0, &[]));
        let frame = inside.receive().expect("a frame came");
        inside.recycle_frame(frame);
        inside.flush();
    }
    assert!(lab.backs[0].deliver(&[&[1; 60], &[0xaa; 500]], 300, 0, &[]));
    let mut frame = inside.receive().expect("a frame came");
    let mut tail = heapless::Vec::new();
    tail.push(frame.slots.pop().expect("two slots"))
        .expect("there is room");
    outside
        .transmit(&[1; 60], &mut tail, PLAIN)
        .expect("it is sent");
    inside.recycle_frame(frame);
    outside.flush();
    let sent = lab.backs[1].receive();
    // It reads all that is granted to it, as one who guesses would.
    for reference in lab.backs[1].domain().readable_grants(GUEST) {
        let mut page = [0; 4096];
        lab.backs[1]
            .domain()
            .copy_from(GUEST, reference, 0, &mut page)
            .expect("it is granted");
        assert!(
            !page.windows(16).any(|part| part == [0x55; 16]),
            "a secret in {reference:?}"
        );
        if reference.0 == sent[0].requests[1].gref {
            assert!(
                page[..300].iter().all(|byte| *byte == 0)
                    && page[800..].iter().all(|byte| *byte == 0)
            );
            assert!(page[300..800].iter().all(|byte| *byte == 0xaa));
        }
    }
    lab.backs[1].answer_all();
    let gref = sent[0].requests[1].gref;
    inside.recycle(outside.completed().expect("answered"));
    assert!(lab.backs[1].map(gref).is_err(), "revoked with the answer");
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn between_vifs_of_one_backend_nothing_is_zeroed() {
    let mut lab = Lab::new(&[HOST, HOST]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    assert!(lab.backs[0].deliver(&[&[7; 4096]], 0, 0, &[]));
    let frame = inside.receive().expect("a frame came");
    let mut tail = tail_of(frame);
    tail[0].advance(4000);
    outside
        .transmit(&[1; 60], &mut tail, PLAIN)
        .expect("it is sent");
    outside.flush();
    let sent = lab.backs[1].receive();
    let mut page = [0; 4096];
    lab.backs[1]
        .map(sent[0].requests[1].gref)
        .expect("granted")
        .read(0, &mut page);
    assert_eq!(page, [7; 4096]);
    lab.backs[1].answer_all();
    inside.recycle(outside.completed().expect("answered"));
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_page_still_mapped_after_its_answer_is_kept_in_quarantine() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 3);
    let mapping = lab.backs[1].map(sent[0].requests[1].gref).expect("granted");
    lab.backs[1].answer_all();
    assert!(outside.completed().is_none());
    assert_eq!(
        (
            outside.counters().quarantined,
            outside.counters().in_quarantine
        ),
        (1, 1)
    );
    (0..100).for_each(|_| outside.flush());
    assert!(outside.completed().is_none());
    assert_eq!(outside.counters().quarantined, 1, "counted once");
    drop(mapping);
    outside.flush();
    inside.recycle(outside.completed().expect("the backend let go"));
    assert_eq!(outside.counters().in_quarantine, 0);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_backend_that_never_answers_takes_a_bounded_number_of_pages() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let mut refused = 0;
    for _ in 0..1000 {
        assert!(
            lab.backs[0].deliver(&[&[1; 200]], 0, 0, &[]),
            "receiving goes on"
        );
        let mut tail = tail_of(inside.receive().expect("receiving goes on"));
        tail[0].advance(100);
        if outside.transmit(&[1; 100], &mut tail, PLAIN).is_err() {
            refused += 1;
        }
        for slice in tail {
            inside.recycle(slice.buffer);
        }
        outside.flush();
        inside.flush();
        lab.backs[1].receive();
    }
    let taken = Config::default().tail_pages_max.min(128);
    assert_eq!(outside.counters().tail_pages, taken, "two slots a frame");
    assert_eq!(refused, 1000 - u32::from(taken));
    lab.backs[1].answer_all();
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
    }
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_batch_costs_one_notification_and_none_while_the_backend_looks() {
    let (mut lab, mut front, link) = one();
    let before = lab.backs[0].events_received();
    for _ in 0..64 {
        front
            .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
            .unwrap();
    }
    front.flush();
    assert_eq!(lab.backs[0].events_received(), before + 1);
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    front.flush();
    assert_eq!(
        lab.backs[0].events_received(),
        before + 1,
        "it has not asked again"
    );
    assert_eq!(lab.backs[0].receive().len(), 65);
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    front.flush();
    assert_eq!(lab.backs[0].events_received(), before + 2);
    lab.end(vec![(front, link)]);
}

#[test]
fn the_backend_is_asked_for_an_event_before_sleeping_only() {
    let (mut lab, mut front, link) = one();
    assert_eq!(front.park(), Pending::Nothing);
    let before = lab.backs[0].notifications;
    for _ in 0..10 {
        lab.backs[0].deliver(&[&[1; 60]], 0, 0, &[]);
    }
    assert_eq!(lab.backs[0].notifications, before + 1);
    assert_eq!(front.park(), Pending::Work);
    while let Some(frame) = front.receive() {
        front.recycle_frame(frame);
    }
    assert_eq!(front.park(), Pending::Nothing);
    lab.end(vec![(front, link)]);
}

#[test]
fn answers_to_half_of_what_was_sent_wake_a_sleeper_whose_ring_is_half_full() {
    for (frames, wakes) in [(10, 0), (128, 0), (130, 1)] {
        let (mut lab, mut front, link) = one();
        lab.backs[0].hold_answers = true;
        for _ in 0..frames {
            front
                .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
                .unwrap();
        }
        front.flush();
        let sent = lab.backs[0].receive();
        assert_eq!(front.park(), Pending::Nothing);
        let before = lab.backs[0].notifications;
        for frame in &sent[..frames / 2] {
            lab.backs[0].answer(frame.requests[0].id, NETIF_RSP_OKAY);
        }
        assert_eq!(lab.backs[0].notifications, before);
        for frame in &sent[frames / 2..] {
            lab.backs[0].answer(frame.requests[0].id, NETIF_RSP_OKAY);
        }
        assert_eq!(
            lab.backs[0].notifications,
            before + wakes,
            "{frames} frames"
        );
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn many_lent_pages_wake_a_sleeper_once_when_half_of_them_are_answered() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, mut outside) = (lab.connect(0), lab.connect(1));
    lab.backs[1].hold_answers = true;
    for (pages, wake, wakes) in [
        (40, Wake::FirstSlot, 0),
        (42, Wake::FirstSlot, 1),
        (60, Wake::Slots(8), 0),
        // More than half of the ring, with the headers.
        (66, Wake::Slots(8), 1),
    ] {
        let mut sent = Vec::new();
        for _ in 0..pages {
            lab.backs[0].deliver(&[&[7; 1000]], 0, 0, &[]);
            let frame = inside.0.receive().unwrap();
            let mut head = [0; 128];
            frame.read(0, &mut head);
            let mut tail = tail_of(frame);
            tail[0].advance(128);
            outside.0.transmit(&head, &mut tail, PLAIN).unwrap();
            outside.0.flush();
            sent.extend(lab.backs[1].receive());
        }
        assert_eq!(outside.0.park_until(wake), Pending::Nothing);
        let before = lab.backs[1].notifications;
        // Header and payload: two answers for each frame.
        for (number, frame) in sent.into_iter().enumerate() {
            for request in frame.requests {
                lab.backs[1].answer(request.id, NETIF_RSP_OKAY);
            }
            let due = if number < pages / 2 { 0 } else { wakes };
            let told = lab.backs[1].notifications - before;
            assert_eq!(told, due, "{number} of {pages}, {wake:?}");
        }
        while let Some(buffer) = outside.0.completed() {
            inside.0.recycle(buffer);
        }
        inside.0.flush();
    }
    lab.end(vec![inside, outside]);
}

#[test]
fn a_moderated_sleeper_is_woken_by_as_many_slots_as_it_asked_for() {
    let (mut lab, mut front, link) = one();
    for (asked, wakes_at) in [(1, 1), (32, 32), (300, 129)] {
        assert_eq!(front.park_until(Wake::Slots(asked)), Pending::Nothing);
        let before = lab.backs[0].notifications;
        for number in 1..=wakes_at {
            assert_eq!(lab.backs[0].notifications, before, "{number} of {asked}");
            lab.backs[0].deliver(&[&[1; 60]], 0, 0, &[]);
        }
        assert_eq!(lab.backs[0].notifications, before + 1, "asked for {asked}");
        while let Some(frame) = front.receive() {
            front.recycle_frame(frame);
        }
        front.flush();
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn a_frame_that_never_ends_gives_its_buffers_back_as_it_comes() {
    let (mut lab, mut front, link) = one();
    let part = RxResponse {
        flags: NETRXF_MORE_DATA,
        status: 100,
        ..RxResponse::default()
    };
    for _ in 0..4 {
        assert_eq!(lab.backs[0].respond(&[(None, part); 256]), 256);
        assert!(front.receive().is_none());
        front.flush();
        assert_eq!(lab.backs[0].posted(), 256);
        assert_eq!(front.park(), Pending::Nothing);
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn a_frame_whose_end_has_not_come_is_neither_taken_nor_a_reason_to_spin() {
    let (mut lab, mut front, link) = one();
    let part = RxResponse {
        flags: NETRXF_MORE_DATA,
        status: 100,
        ..RxResponse::default()
    };
    lab.backs[0].respond(&[(None, part)]);
    assert!(front.receive().is_none());
    assert_eq!(front.park(), Pending::Nothing);
    let before = lab.backs[0].notifications;
    lab.backs[0].respond(&[(None, RxResponse { flags: 0, ..part })]);
    assert_eq!(lab.backs[0].notifications, before + 1, "the end is told of");
    assert_eq!(front.park(), Pending::Work);
    let frame = front.receive().expect("it is whole");
    assert_eq!((frame.len, frame.slots.len()), (200, 2));
    front.recycle_frame(frame);
    lab.end(vec![(front, link)]);
}

#[test]
fn lies_about_a_frame_cost_the_frame_and_are_counted_by_reason() {
    let (mut lab, mut front, link) = one();
    type Raw = (Option<u16>, RxResponse);
    type Count = fn(Counters) -> u64;
    let ok: Raw = (
        None,
        RxResponse {
            status: 100,
            ..RxResponse::default()
        },
    );
    let with = |flags, offset, status| -> Raw {
        (
            None,
            RxResponse {
                flags,
                offset,
                status,
                id: 0,
            },
        )
    };
    // An extra info lies over the id.
    let extra = |kind, flags| -> Raw {
        let info = ExtraInfo {
            kind,
            flags,
            ..gso_info(1448)
        };
        let raw: RxResponse = FromBytes::read_from_bytes(info.as_bytes()).expect("same size");
        (Some(raw.id), raw)
    };
    let more = with(NETRXF_MORE_DATA, 0, 100);
    let with_extra = with(NETRXF_EXTRA_INFO | NETRXF_CSUM_BLANK, 0, 100);
    let overlong: Vec<Raw> = core::iter::repeat_n(more, 60).chain([ok]).collect();
    let extras: Vec<Raw> = [with_extra]
        .into_iter()
        .chain((0..40).map(|_| extra(4, 1)))
        .chain([extra(4, 0)])
        .collect();
    let lies: Vec<(Vec<Raw>, Count)> = vec![
        (vec![with(0, 0, -1)], |c| c.dropped_error),
        (vec![with(0, 0, i16::MIN)], |c| c.dropped_error),
        (vec![more, with(0, 0, -2)], |c| c.dropped_error),
        (vec![with(0, 0, 0)], |c| c.dropped_malformed),
        (vec![with(0, 4000, 100)], |c| c.dropped_malformed),
        (vec![with(0, 3997, 100)], |c| c.dropped_malformed),
        (vec![with(0, u16::MAX, i16::MAX)], |c| c.dropped_malformed),
        (vec![with(NETRXF_GSO_PREFIX, 0, 100)], |c| {
            c.dropped_malformed
        }),
        (vec![more, with_extra], |c| c.dropped_malformed),
        (vec![with(0, 0, 13)], |c| c.dropped_runt),
        (vec![with_extra, extra(0, 0)], |c| c.dropped_extra),
        (vec![with_extra, extra(5, 0)], |c| c.dropped_extra),
        (vec![with_extra, extra(1, 1), extra(1, 0)], |c| {
            c.dropped_extra
        }),
        (vec![with(NETRXF_EXTRA_INFO, 0, 100), extra(1, 0)], |c| {
            c.dropped_malformed
        }),
        (vec![(Some(9999), ok.1)], |c| c.dropped_id),
        (overlong, |c| c.dropped_slots),
        (extras, |c| c.dropped_extra),
    ];
    for (number, (raw, count)) in lies.iter().enumerate() {
        let before = count(front.counters());
        // In two bursts, so that a frame's end may come after its start was looked at.
        let half = raw.len() / 2;
        assert_eq!(lab.backs[0].respond(&raw[..half]), half);
        assert!(front.receive().is_none());
        assert_eq!(lab.backs[0].respond(&raw[half..]), raw.len() - half);
        assert!(front.receive().is_none(), "lie {number}");
        assert_eq!(
            count(front.counters()),
            before + 1,
            "lie {number}: {:?}",
            front.counters()
        );
        assert_eq!(front.state(), State::Open);
        front.flush();
        assert_eq!(
            lab.backs[0].posted(),
            256,
            "lie {number}: every buffer is posted again"
        );
        // To the page's last byte.
        assert!(lab.backs[0].deliver(&[&[1; 60]], 4036, 0, &[]));
        let frame = front
            .receive()
            .expect("the next frame starts where it should");
        assert_eq!(whole(&frame), [1; 60]);
        front.recycle_frame(frame);
        front.flush();
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn impossible_ring_indices_break_the_interface_and_nothing_else() {
    for (which, breach) in [
        (Which::Rx, Breach::ReceiveIndex),
        (Which::Tx, Breach::TransmitIndex),
    ] {
        for lie in [257, 1 << 31, u32::MAX] {
            let (mut lab, mut front, link) = one();
            lab.backs[0].poke(which, RSP_PROD, lie);
            assert!(front.receive().is_none());
            assert!(front.completed().is_none());
            assert_eq!(front.state(), State::Broken(breach));
            assert_eq!(
                front.transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN),
                Err(TransmitError::NotOpen)
            );
            front.flush();
            assert_eq!(front.park(), Pending::Nothing);
            lab.end(vec![(front, link)]);
        }
    }
}

#[test]
fn answers_to_what_was_not_asked_break_the_interface() {
    for (id, status) in [(256, 0), (u16::MAX, 0), (5, 0), (0, NETIF_RSP_NULL)] {
        let (mut lab, mut front, link) = one();
        lab.backs[0].hold_answers = true;
        front
            .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
            .unwrap();
        front.flush();
        assert_eq!(lab.backs[0].receive()[0].requests[0].id, 0);
        lab.backs[0].answer(id, status);
        assert!(front.completed().is_none());
        assert_eq!(
            front.state(),
            State::Broken(Breach::WildResponse),
            "{id} {status}"
        );
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn an_error_as_answer_is_counted_and_gives_the_page_back() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 1);
    lab.backs[1].answer(sent[0].requests[0].id, NETIF_RSP_ERROR);
    lab.backs[1].answer(sent[0].requests[1].id, NETIF_RSP_DROPPED);
    inside.recycle(outside.completed().expect("answered"));
    let counters = outside.counters();
    assert_eq!((counters.answered_error, counters.answered_dropped), (1, 1));
    assert_eq!(outside.state(), State::Open);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn what_cannot_be_sent_is_refused_and_stays_the_callers() {
    let (mut lab, mut front, link) = one();
    let mut none = heapless::Vec::new();
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    assert_eq!(
        front.transmit(&[1; 13], &mut none, PLAIN),
        Err(TransmitError::Size)
    );
    assert_eq!(
        front.transmit(&[1; 4097], &mut none, PLAIN),
        Err(TransmitError::Size)
    );
    let unblank = Offload {
        checksum: Checksum::Validated,
        gso,
    };
    assert_eq!(
        front.transmit(&[1; 60], &mut none, unblank),
        Err(TransmitError::Invalid)
    );
    assert!(lab.backs[0].deliver(&[&[1; 4096][..]; 17], 0, 0, &[]));
    let mut tail = tail_of(front.receive().expect("a frame came"));
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::Size),
        "more than a u16 says"
    );
    assert_eq!(tail.len(), 17);
    tail[0].offset = 1;
    tail.truncate(1);
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::Invalid)
    );
    tail[0].offset = 0;
    front.transmit(&[1; 60], &mut tail, PLAIN).unwrap();
    front.flush();
    assert_eq!(lab.backs[0].receive()[0].bytes.len(), 60 + 4096);
    lab.end(vec![(front, link)]);
}

#[test]
fn a_backend_without_scatter_gather_gets_frames_of_one_slot_only() {
    let mut lab = Lab::new(&[]);
    lab.backs.push(Netback::announce(
        &lab.world,
        HOST,
        GUEST,
        0,
        &["feature-rx-copy"],
    ));
    let (mut front, link) = lab.connect(0);
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    let mut none = heapless::Vec::new();
    let offload = Offload {
        checksum: Checksum::Blank,
        gso,
    };
    assert_eq!(
        front.transmit(&[1; 60], &mut none, offload),
        Err(TransmitError::NotOffered)
    );
    assert!(lab.backs[0].deliver(&[&[1; 100]], 0, 0, &[]));
    let frame = front.receive().expect("a frame came");
    let mut tail = tail_of(frame);
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::NotOffered)
    );
    for slice in tail {
        front.recycle(slice.buffer);
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn a_full_grant_table_refuses_the_frame_and_loses_no_page() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    assert!(lab.backs[0].deliver(&[&[1; 4000][..]; 10], 0, 0, &[]));
    let mut tail = tail_of(inside.receive().expect("a frame came"));
    lab.guest.limit_grants(lab.guest.usage().grants + 4);
    assert_eq!(
        outside.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::NoGrant)
    );
    assert_eq!(tail.len(), 6);
    assert_eq!(tail[0].offset, 0);
    let mut back = tail.len();
    for slice in tail {
        inside.recycle(slice.buffer);
    }
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!(back, 10);
    inside.flush();
    assert_eq!(lab.backs[0].posted(), 256);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_backend_that_vanishes_under_load_leaves_nothing_behind() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, mut outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    for seed in 0..20 {
        forward(&mut lab, &mut inside, &mut outside, seed);
    }
    lab.backs[1].vanish();
    lab.run(outside_link.backend_ending()).unwrap();
    outside.close();
    let mut back = 0;
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!(back, 20);
    lab.run(outside_link.close()).unwrap();
    assert_eq!(outside.release(), Ok(()));
    drop((outside, outside_link));
    inside.flush();
    assert_eq!(
        lab.backs[0].posted(),
        256,
        "every buffer is back in its ring"
    );
    lab.backs.truncate(1);
    lab.end(vec![(inside, inside_link)]);
}

#[test]
fn a_front_that_ends_while_its_pages_are_lent_keeps_them_until_they_are_back() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, mut inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 5);
    lab.backs[0].vanish();
    lab.run(inside_link.backend_ending()).unwrap();
    inside.close();
    assert_eq!(inside.release(), Ok(()));
    drop((inside, inside_link));
    let mut payload = [0; 1000];
    let request = sent[0].requests[1];
    lab.backs[1]
        .map(request.gref)
        .expect("still granted")
        .read(usize::from(request.offset), &mut payload);
    assert_eq!(payload[..], bytes(1000, 5));
    lab.backs[1].answer_all();
    let orphan = outside.completed().expect("answered");
    // Its owner is gone: any front takes it, counts it and frees the page.
    outside.recycle(orphan);
    assert_eq!(outside.counters().foreign_tokens, 1);
    lab.backs.remove(0);
    lab.end(vec![(outside, outside_link)]);
}

#[test]
fn rings_are_kept_until_the_backend_lets_go_of_them() {
    let (mut lab, mut front, mut link) = one();
    front.close();
    lab.backs[0].switch_to(XenbusState::CLOSING);
    assert_eq!(front.release(), Err(StillInUse(2)), "both rings are mapped");
    assert_eq!(front.port(), None, "the port is closed at once");
    lab.run(link.close()).unwrap();
    assert_eq!(front.release(), Ok(()));
    drop((front, link));
    lab.end(vec![]);
}

#[test]
fn a_frontend_that_gives_up_says_why() {
    let (mut lab, front, link) = one();
    lab.run(link.fatal("the ring is impossible")).unwrap();
    let place = "/local/domain/7/error/device/vif/0/error";
    assert_eq!(
        lab.world.node(place).as_deref(),
        Some("22 the ring is impossible")
    );
    lab.turn();
    assert_eq!(
        lab.world
            .node(&alloc::format!("{}/state", lab.backs[0].node()))
            .as_deref(),
        Some("5")
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn a_backend_without_rx_copy_and_a_bad_mac_are_refused_by_name() {
    let mut lab = Lab::new(&[]);
    lab.backs
        .push(Netback::announce(&lab.world, HOST, GUEST, 0, &[]));
    let (guest, store) = (lab.guest.clone(), lab.store.clone());
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 0, Config::default())
            .await
            .map(drop)
    });
    assert_eq!(outcome, Err(Error::NoRxCopy));
    let place = "/local/domain/7/error/device/vif/0/error";
    assert!(
        lab.world
            .node(place)
            .is_some_and(|text| text.contains("feature-rx-copy"))
    );

    lab.backs[0] = Netback::announce(&lab.world, HOST, GUEST, 1, &OFFERS);
    lab.world
        .write_node("/local/domain/7/device/vif/1/mac", "no address");
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 1, Config::default())
            .await
            .map(drop)
    });
    assert!(matches!(outcome, Err(Error::BadMac(_))));
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 9, Config::default())
            .await
            .map(drop)
    });
    assert_eq!(outcome, Err(Error::Xenbus(crate::xenbus::Error::Gone)));
    (0..20).for_each(|_| lab.turn());
    assert_eq!(lab.guest.usage(), lab.before);
}

#[test]
fn whatever_fails_while_connecting_nothing_is_left() {
    for fault in [Fault::Page, Fault::Grant, Fault::Port, Fault::Xenstore] {
        let mut failed = 0;
        for skip in 0.. {
            let mut lab = Lab::new(&[HOST]);
            let (guest, store) = (lab.guest.clone(), lab.store.clone());
            let config = Config {
                rx_buffers: 8,
                tail_pages_max: 8,
            };
            lab.world.fail(fault, skip);
            let outcome = lab.run(async { Front::connect(&guest, &store, 0, config).await });
            if lab.world.clear_fault(fault) {
                assert!(outcome.is_ok(), "nothing failed");
                let connected = vec![outcome.unwrap()];
                lab.end(connected);
                break;
            }
            failed += 1;
            // A missing MTU is the only thing that can be done without.
            match outcome {
                Ok(connected) => lab.end(vec![connected]),
                Err(_) => {
                    (0..20).for_each(|_| lab.turn());
                    assert_eq!(lab.guest.usage(), lab.before, "{fault:?} {skip}");
                }
            }
        }
        assert!(failed > 0, "{fault:?}");
    }
}

#[test]
fn an_event_channel_that_fails_while_connecting_costs_no_more_than_what_is_mapped() {
    for skip in 0..200 {
        let mut lab = Lab::new(&[HOST]);
        let (guest, store) = (lab.guest.clone(), lab.store.clone());
        lab.world.fail(Fault::Notify, skip);
        // Xenstore is deaf from then on: nobody can be told, and nobody lets go of the rings.
        let outcome = lab.run(async { Front::connect(&guest, &store, 0, Config::default()).await });
        let failed = !lab.world.clear_fault(Fault::Notify);
        assert_eq!(failed, outcome.is_err());
        drop(outcome);
        let left = lab.guest.usage();
        assert_eq!(left.ports, lab.before.ports);
        assert!(
            [0, 2].contains(&(left.grants - lab.before.grants)),
            "{left:?}"
        );
        if !failed {
            return;
        }
    }
    panic!("it never connected");
}

#[test]
fn a_notification_that_fails_breaks_the_interface() {
    let (lab, mut front, link) = one();
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    lab.world.fail(Fault::Notify, 0);
    front.flush();
    assert_eq!(front.state(), State::Broken(Breach::EventChannel));
    lab.end(vec![(front, link)]);
}

#[test]
fn connecting_survives_conflicts_and_answers_out_of_order() {
    let mut lab = Lab::new(&[HOST]);
    lab.world.set_quirks(Quirks {
        reversed: true,
        conflicts: 5,
        ..Quirks::default()
    });
    let connected = lab.connect(0);
    lab.end(vec![connected]);
}

#[test]
fn a_vif_comes_and_goes_hundreds_of_times_under_load_and_leaves_no_trace() {
    let mut lab = Lab::new(&[]);
    for round in 0..if cfg!(miri) { 2 } else { 300 } {
        // Now and then the backend comes back in another domain.
        let backend = if round % 3 == 0 { OTHER } else { HOST };
        lab.backs = vec![Netback::announce(&lab.world, backend, GUEST, 0, &OFFERS)];
        lab.backs[0].hold_answers = true;
        let (mut front, link) = lab.connect(0);
        assert_eq!(front.backend(), backend);
        for _ in 0..3 {
            assert!(lab.backs[0].deliver(&[&[1; 2000], &[2; 2000]], 0, 0, &[]));
            let mut tail = tail_of(front.receive().expect("a frame came"));
            front
                .transmit(&[1; 60], &mut tail, PLAIN)
                .expect("there is room");
        }
        assert!(
            lab.backs[0].deliver(&[&[1; 2000]], 0, 0, &[]),
            "one stays unread"
        );
        front.flush();
        lab.backs[0].receive();
        lab.unplug(vec![(front, link)]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Respond(Vec<RxResponse>),
    Deliver(usize, u16, u16),
    PokeIndex(Which, u32),
    PokeEntry(Which, u16, u32),
    Answer(u16, i16),
    Receive,
    Forward,
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    let response = (any::<u16>(), 0..6000_u16, 0..32_u16, -3..5000_i16).prop_map(
        |(id, offset, flags, status)| RxResponse {
            id,
            offset,
            flags,
            status,
        },
    );
    let which = prop_oneof![Just(Which::Tx), Just(Which::Rx)];
    prop_oneof![
        3 => prop::collection::vec(response, 1..30).prop_map(Step::Respond),
        6 => (1..19_usize, 0..32_u16, 0..2000_u16).prop_map(|(slots, flags, offset)| Step::Deliver(slots, flags, offset)),
        1 => (which.clone(), any::<u32>()).prop_map(|(which, value)| Step::PokeIndex(which, value)),
        2 => (which, 0..256_u16, any::<u32>()).prop_map(|(which, at, value)| Step::PokeEntry(which, at, value)),
        1 => (0..300_u16, -3..3_i16).prop_map(|(id, status)| Step::Answer(id, status)),
        4 => Just(Step::Receive),
        4 => Just(Step::Forward),
        8 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 300 }, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_backend_writes_nothing_panics_and_nothing_leaks(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut lab = Lab::new(&[HOST, OTHER]);
        let (mut inside, inside_link) = lab.connect(0);
        let (mut outside, outside_link) = lab.connect(1);
        // Backend 0 lies, and is the one the others forward to as well.
        lab.backs[0].hold_answers = true;
        lab.backs[0].hostile = true;
        let mut honest = 0;
        for step in steps {
            match step {
                Step::Respond(responses) => {
                    let raw: Vec<_> = responses.iter().map(|response| {
                        (if response.id % 8 == 0 { Some(response.id) } else { None }, *response)
                    }).collect();
                    lab.backs[0].respond(&raw);
                }
                Step::Deliver(slots, flags, offset) => {
                    let slots = vec![&[1_u8; 2000][..]; slots];
                    let flags = flags & !NETRXF_MORE_DATA & !NETRXF_EXTRA_INFO;
                    lab.backs[0].deliver(&slots, offset, flags, &[]);
                }
                Step::PokeIndex(which, value) => lab.backs[0].poke(which, RSP_PROD, value),
                Step::PokeEntry(which, at, value) => lab.backs[0].poke(which, RING + usize::from(at) * 4, value),
                // Only what was asked can be answered through the ring's own interface.
                Step::Answer(..) if inside.state() != State::Open => {}
                Step::Answer(id, status) => {
                    front_sends(&mut inside, &mut lab);
                    lab.backs[0].answer(id, status);
                }
                Step::Receive => {
                    while let Some(frame) = inside.receive() {
                        let mut all = vec![0; frame.len as usize];
                        prop_assert_eq!(frame.read(0, &mut all), all.len());
                        inside.recycle_frame(frame);
                    }
                }
                Step::Forward => {
                    if let Some(frame) = inside.receive() {
                        let offload = Offload { checksum: frame.checksum, gso: frame.gso };
                        let mut slots = frame.slots.into_iter();
                        let first = slots.next().expect("a frame has a slot");
                        let mut tail: heapless::Vec<_, TAIL_MAX> = slots.collect();
                        let _ = outside.transmit(&[3; 128], &mut tail, offload);
                        inside.recycle(first.buffer);
                        for slice in tail {
                            inside.recycle(slice.buffer);
                        }
                    }
                }
                Step::Turn => {
                    inside.flush();
                    outside.flush();
                    honest += lab.backs[1].receive().len();
                    while let Some(buffer) = outside.completed() {
                        inside.recycle(buffer);
                    }
                    let _ = inside.completed();
                    let _ = inside.park();
                }
            }
        }
        prop_assert_eq!(outside.state(), State::Open, "the honest backend's interface works on");
        outside.flush();
        honest += lab.backs[1].receive().len();
        prop_assert_eq!(outside.counters().transmitted_frames, honest as u64);
        while let Some(buffer) = outside.completed() {
            inside.recycle(buffer);
        }
        lab.end(vec![(inside, inside_link), (outside, outside_link)]);
    }
}

fn front_sends(front: &mut Front<Domain>, lab: &mut Lab) {
    let _ = front.transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN);
    front.flush();
    lab.backs[0].receive();
}
