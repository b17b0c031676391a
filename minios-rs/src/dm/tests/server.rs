//! vCPUs that wait for their device model.

use super::*;
use core::cell::RefCell;

/// What a device of these tests answers: something of the address, so that answers cannot be mixed up.
fn echo(request: &Request) -> u64 {
    request.address.wrapping_mul(0x0101_0101_0101_0101)
}

#[test]
fn a_vcpu_reads_what_the_device_answers() {
    let lab = Lab::new(2, 0);
    let mut server = lab.server();
    assert_eq!(lab.hvm.raise(1, port_read(0x1f7, 1)), Access::Waits);
    assert_eq!(lab.hvm.complete(1), None, "nobody has served it");
    let served = server.serve(|request| {
        assert_eq!((request.kind, request.address), (Kind::Port, 0x1f7));
        0x50
    });
    assert_eq!(served, Ok(1));
    assert_eq!(lab.hvm.complete(1), Some(0x50));
    assert_eq!(server.serve(echo), Ok(0), "once is enough");
    drop(server);
    lab.assert_clean();
}

#[test]
fn a_vcpu_wakes_its_device_model() {
    let lab = Lab::new(2, 0);
    let server = lab.server();
    let ports: Vec<_> = server.ports().collect();
    // As in Xen, a port is pending when it was bound.
    ports.iter().for_each(|&port| _ = lab.stub.take_event(port));
    lab.hvm.raise(1, port_read(0x60, 1));
    let pending = ports.iter().map(|&port| lab.stub.take_event(port));
    assert_eq!(pending.collect::<Vec<_>>(), [false, true]);
    lab.stub.take_event(server.buffered_port());
    lab.hvm.raise_buffered(IOREQ_TYPE_COPY, 0xb_8000, 1, 0);
    assert!(lab.stub.take_event(server.buffered_port()));
}

#[test]
fn a_write_changes_nothing_but_its_state() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    lab.hvm.raise(0, port_write(0x80, 4, 0xdead_beef));
    let served = server.serve(|request| {
        assert_eq!(request.direction, Direction::Write);
        assert_eq!((request.data, request.size), (0xdead_beef, 4));
        7
    });
    assert_eq!(served, Ok(1));
    // The simulation ends a guest whose request has other data now.
    assert_eq!(lab.hvm.complete(0), Some(0xdead_beef));
    assert_eq!(lab.hvm.crashed(), None);
}

#[test]
fn what_nobody_asked_for_does_not_come() {
    let lab = Lab::new(1, 0);
    let mut server = Server::create(&lab.guest).unwrap();
    server.ranges().map(Range::Port(0x1f0, 0x1f7)).unwrap();
    assert_eq!(lab.hvm.raise(0, port_read(0x1f0, 1)), Access::Unclaimed);
    server.enable().unwrap();
    assert_eq!(lab.hvm.raise(0, port_read(0x1f8, 1)), Access::Unclaimed);
    assert_eq!(
        server.ranges().map(Range::Port(0x1f7, 0x1ff)),
        Err(EEXIST),
        "they overlap"
    );
    server.ranges().map(Range::Memory(0x1f8, 0x1ff)).unwrap();
    server.ranges().map(Range::Function(0x09)).unwrap();
    assert_eq!(lab.hvm.raise(0, port_read(0x1f8, 1)), Access::Unclaimed);
    assert_eq!(
        server.ranges().unmap(Range::Port(0x1f0, 0x1f6)),
        Err(ENOENT)
    );
    server.ranges().unmap(Range::Port(0x1f0, 0x1f7)).unwrap();
    assert_eq!(lab.hvm.raise(0, port_read(0x1f0, 1)), Access::Unclaimed);
    let config = Ioreq {
        kind: IOREQ_TYPE_PCI_CONFIG,
        ..port_read(0x09 << 32 | 0x04, 2)
    };
    assert_eq!(lab.hvm.raise(0, config), Access::Waits);
    assert_eq!(server.serve(echo), Ok(1));
    assert_eq!(
        lab.hvm.complete(0),
        Some(echo(&Request::parse(&config).unwrap()))
    );
}

#[test]
fn what_came_before_it_was_switched_off_is_answered() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    lab.hvm.raise(0, port_read(0x70, 1));
    server.disable().unwrap();
    assert_eq!(server.serve(|_| 9), Ok(1));
    assert_eq!(lab.hvm.complete(0), Some(9));
    assert_eq!(lab.hvm.raise(0, port_read(0x70, 1)), Access::Unclaimed);
    server.enable().unwrap();
    assert_eq!(lab.hvm.raise(0, port_read(0x70, 1)), Access::Waits);
    assert_eq!(server.serve(|_| 8), Ok(1));
    assert_eq!(lab.hvm.complete(0), Some(8));
}

#[test]
fn as_many_vcpus_as_an_hvm_guest_may_have() {
    let lab = Lab::new(128, 0);
    let mut server = lab.server();
    assert_eq!((server.vcpus(), server.ports().count()), (128, 128));
    for vcpu in 0..128 {
        lab.hvm.raise(vcpu, port_read(0x1000 + vcpu as u64, 1));
    }
    assert_eq!(server.serve(|request| request.address), Ok(128));
    for vcpu in 0..128 {
        assert_eq!(lab.hvm.complete(vcpu), Some(0x1000 + vcpu as u64));
    }
    drop(server);
    lab.assert_clean();
}

#[test]
fn a_guest_without_vcpus_or_with_too_many_is_refused_by_name() {
    for vcpus in [0, 129] {
        let lab = Lab::new(vcpus, 0);
        let refused = Server::create(&lab.guest).err();
        assert_eq!(refused, Some(ServerError::Vcpus(vcpus as u32)));
        lab.assert_clean();
    }
}

#[test]
fn buffered_writes_come_before_what_a_vcpu_waits_for() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    for cell in 0..3 {
        let written = lab
            .hvm
            .raise_buffered(IOREQ_TYPE_COPY, 0xb_8000 + cell, 1, 0x41);
        assert!(written);
    }
    lab.hvm.raise(0, port_read(0x3d5, 1));
    let mut order = Vec::new();
    let served = server.serve(|request| {
        order.push(request.address);
        0
    });
    assert_eq!(served, Ok(4));
    assert_eq!(order, [0xb_8000, 0xb_8001, 0xb_8002, 0x3d5]);
}

#[test]
fn a_vcpu_that_writes_while_another_is_served_is_not_overtaken_by_its_own_read() {
    let lab = Lab::new(2, 0);
    let mut server = lab.server();
    lab.hvm.raise(0, port_read(0x60, 1));
    let order = RefCell::new(Vec::new());
    let hvm = lab.hvm.clone();
    let served = server.serve(|request| {
        order.borrow_mut().push(request.address);
        if request.address == 0x60 {
            // Another CPU, at this very moment.
            assert!(hvm.raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, 4, 1));
            hvm.raise(1, port_read(0x61, 1));
        }
        0
    });
    assert_eq!(served, Ok(3));
    assert_eq!(order.into_inner(), [0x60, 0xa_0000, 0x61]);
}

#[test]
fn a_write_of_eight_bytes_takes_two_entries() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    let offset = -86_400i64 as u64;
    assert!(lab.hvm.raise_buffered(IOREQ_TYPE_TIMEOFFSET, 0, 8, offset));
    assert!(lab.hvm.raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, 2, 0x1234));
    let mut got = Vec::new();
    let served = server.serve(|request| {
        got.push((request.kind, request.data));
        0
    });
    assert_eq!(served, Ok(2));
    assert_eq!(got, [(Kind::TimeOffset, offset), (Kind::Memory, 0x1234)]);
}

#[test]
fn the_buffered_ring_goes_round_for_ever() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    let mut expected = 0;
    let mut next = 0;
    for round in 0..40u64 {
        for _ in 0..=round * 17 % 500 {
            // Every third takes two entries, so that some lie across the end.
            let size = if next % 3 == 0 { 8 } else { 4 };
            if lab
                .hvm
                .raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, size, next)
            {
                next += 1;
            }
        }
        server
            .serve(|request| {
                assert_eq!((request.address, request.data), (0xa_0000, expected));
                expected += 1;
                0
            })
            .unwrap();
        assert_eq!(expected, next, "all that fit in");
    }
    assert!(next > 10 * IOREQ_BUFFER_SLOT_NUM as u64);
    assert_eq!(server.refused().total(), 0);
}

#[test]
fn a_full_ring_is_taken_whole() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    let mut written = 0;
    while lab.hvm.raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, 1, 0) {
        written += 1;
    }
    assert_eq!(written, IOREQ_BUFFER_SLOT_NUM);
    assert_eq!(server.serve(echo), Ok(IOREQ_BUFFER_SLOT_NUM));
}

#[test]
fn whoever_fills_the_ring_for_ever_does_not_keep_others_waiting() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    let hvm = lab.hvm.clone();
    assert!(hvm.raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, 1, 0));
    hvm.raise(0, port_read(0x60, 1));
    let mut buffered = 0;
    let served = server.serve(|request| {
        if request.kind == Kind::Memory {
            buffered += 1;
            assert!(hvm.raise_buffered(IOREQ_TYPE_COPY, 0xa_0000, 1, 0));
        }
        0x77
    });
    assert_eq!(served, Ok(2 * IOREQ_BUFFER_SLOT_NUM + 1));
    assert_eq!(hvm.complete(0), Some(0x77));
}

#[test]
fn what_is_refused_reads_as_an_empty_bus_and_is_counted() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    let unserved = |_: &Request| -> u64 { panic!("nobody is to serve this") };
    for (request, reason) in [
        (port_read(0xffff, 2), Refusal::Address),
        (port_read(0x60, 3), Refusal::Size),
        (
            Ioreq {
                count: 2,
                ..port_read(0x60, 1)
            },
            Refusal::Count,
        ),
    ] {
        lab.hvm.raise(0, request);
        assert_eq!(server.serve(unserved), Ok(1));
        assert_eq!(lab.hvm.complete(0), Some(u64::MAX));
        assert_eq!(server.refused().of(reason), 1, "{reason}");
    }
    // No server claims a type; as Xen sends what is no access, to every one.
    lab.hvm.raise(
        0,
        Ioreq {
            kind: 77,
            ..port_write(0, 1, 5)
        },
    );
    assert_eq!(server.serve(unserved), Ok(1));
    assert_eq!(lab.hvm.complete(0), Some(5), "a write is left as it was");
    assert_eq!(server.refused().of(Refusal::Kind), 1);
    assert_eq!(server.refused().total(), 4);
    assert_eq!(lab.hvm.crashed(), None);
}

#[test]
fn what_changes_after_it_was_copied_changes_nothing() {
    let lab = Lab::new(1, 0);
    let mut server = lab.server();
    lab.hvm.raise(0, port_read(0x1f0, 2));
    let (hvm, junk) = (lab.hvm.clone(), [0xff; 24]);
    let served = server.serve(|request| {
        // Address, data, count and size, as they would be if the page were the guest's (XSA-197).
        hvm.scribble(0, &junk);
        assert_eq!(
            (request.address, request.size, request.count),
            (0x1f0, 2, 1)
        );
        0x1234
    });
    assert_eq!(served, Ok(1));
    let page = lab.hvm.requests();
    assert_eq!(page[..8], junk[..8]);
    assert_eq!(page[8..16], 0x1234u64.to_le_bytes());
    assert_eq!(page[16..24], junk[16..24]);
}

#[test]
fn states_that_are_not_ours_to_change_stay() {
    let flags_at = core::mem::offset_of!(Ioreq, flags);
    for state in (0..16).filter(|state| *state != STATE_IOREQ_READY) {
        let lab = Lab::new(2, 0);
        let mut server = lab.server();
        lab.hvm.scribble(flags_at, &[state]);
        let before = lab.hvm.requests();
        assert_eq!(server.serve(echo), Ok(0));
        assert_eq!(lab.hvm.requests(), before, "state {state}");
    }
}

#[test]
fn a_ring_whose_counts_lie_is_broken() {
    for (read, write, size) in [(0u32, 512u32, 0), (5, 4, 0), (0, u32::MAX, 0), (0, 1, 3)] {
        let lab = Lab::new(1, 0);
        let mut server = lab.server();
        let head = u32::from(IOREQ_TYPE_COPY) | size << HEAD_SIZE_SHIFT;
        lab.hvm.scribble_buffered(BUF_IOREQ, &head.to_le_bytes());
        lab.hvm.scribble_buffered(READ_POINTER, &read.to_le_bytes());
        lab.hvm
            .scribble_buffered(WRITE_POINTER, &write.to_le_bytes());
        assert_eq!(server.serve(echo), Err(Broken::Ring), "{read} {write}");
    }
}

#[test]
fn an_answer_that_cannot_be_told_is_an_error_and_the_others_get_theirs() {
    let lab = Lab::new(2, 0);
    let mut server = lab.server();
    lab.hvm.raise(0, port_read(0x60, 1));
    lab.hvm.raise(1, port_read(0x61, 1));
    lab.world.fail(Fault::Notify, 0);
    assert_eq!(server.serve(|_| 1), Err(Broken::Notify(EINVAL)));
    assert_eq!(lab.hvm.complete(0), None);
    assert_eq!(lab.hvm.complete(1), Some(1));
}

#[test]
fn whatever_fails_on_the_way_everything_is_given_back() {
    let tries = [
        (Fault::DeviceModel, 5),
        (Fault::Resource, 2),
        (Fault::Bind, 4),
    ];
    for (fault, calls) in tries {
        for skip in 0..=calls {
            let lab = Lab::new(3, 0);
            lab.world.fail(fault, skip);
            let made = Server::create(&lab.guest).and_then(|mut server| {
                server.ranges().map(Range::Port(0, 1))?;
                server.enable()?;
                Ok(server)
            });
            let failed = !lab.world.clear_fault(fault);
            assert_eq!(made.is_err(), failed, "{fault:?} after {skip}");
            assert_eq!(failed, skip < calls, "{fault:?} after {skip}");
            drop(made);
            lab.assert_clean();
        }
    }
}

#[test]
fn a_string_instruction_moves_a_sector_through_guest_memory() {
    let lab = Lab::new(1, 4);
    let mut server = lab.server();
    let mut memory = GuestMemory::new(&lab.guest).unwrap();
    let sector: Vec<u8> = (0..512).map(|byte| byte as u8 ^ 0x5a).collect();
    let request = Ioreq {
        data: 0x1f00,
        count: 256,
        flags: FLAGS_DIR | FLAGS_DATA_IS_PTR,
        ..port_read(0x1f0, 2)
    };
    lab.hvm.raise(0, request);
    let mut words = sector.chunks(2);
    let served = server.serve(|request| {
        assert!(request.data_is_pointer);
        for index in 0..request.count {
            let word = words.next().unwrap();
            memory.write(request.pointer_of(index), word).unwrap();
        }
        0
    });
    assert_eq!(served, Ok(1));
    assert_eq!(
        lab.hvm.complete(0),
        Some(0x1f00),
        "the pointer is left as it was"
    );
    let mut got = vec![0; 512];
    lab.hvm.peek(0x1f00, &mut got);
    assert_eq!(got, sector);
}

/// What the guest of the property test does next.
#[derive(Clone, Debug)]
enum Step {
    Read { vcpu: usize, port: u16, log: u32 },
    Write { vcpu: usize, port: u16, data: u32 },
    Buffered { address: u32, log: u32, data: u64 },
    Serve,
    Complete { vcpu: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize, 0..0xfff0u16, 0..3u32).prop_map(|(vcpu, port, log)| Step::Read {
            vcpu,
            port,
            log
        }),
        (0..4usize, 0..0xfff0u16, any::<u32>()).prop_map(|(vcpu, port, data)| Step::Write {
            vcpu,
            port,
            data
        }),
        (0..0xf_ffffu32, 0..4u32, any::<u64>()).prop_map(|(address, log, data)| Step::Buffered {
            address,
            log,
            data
        }),
        Just(Step::Serve),
        (0..4usize).prop_map(|vcpu| Step::Complete { vcpu }),
    ]
}

proptest! {
    /// Whatever vCPUs do in whatever order: everything is served once, in the order in which each did it, and
    /// every answer is the one to its own request.
    #[test]
    fn every_access_is_served_once_and_answered_with_its_own(steps in proptest::collection::vec(step(), 1..200)) {
        let lab = Lab::new(4, 0);
        let mut server = lab.server();
        let mut waiting: [Option<(Ioreq, bool)>; 4] = [None; 4];
        let mut buffered: Vec<(u64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Read { vcpu, port, log } if waiting[vcpu].is_none() => {
                    let request = port_read(port.into(), 1 << log);
                    prop_assert_eq!(lab.hvm.raise(vcpu, request), Access::Waits);
                    waiting[vcpu] = Some((request, false));
                }
                Step::Write { vcpu, port, data } if waiting[vcpu].is_none() => {
                    let request = port_write(port.into(), 4, data.into());
                    prop_assert_eq!(lab.hvm.raise(vcpu, request), Access::Waits);
                    waiting[vcpu] = Some((request, false));
                }
                Step::Buffered { address, log, data } => {
                    let size = 1 << log;
                    let data = data & (u64::MAX >> (64 - 8 * size));
                    if lab.hvm.raise_buffered(IOREQ_TYPE_COPY, address, size, data) {
                        buffered.push((address.into(), data));
                    }
                }
                Step::Serve => {
                    let mut seen = Vec::new();
                    let expected = waiting.iter().flatten().filter(|(_, served)| !served).count() + buffered.len();
                    let served = server.serve(|request| {
                        if request.kind == Kind::Memory {
                            seen.push((request.address, request.data));
                        }
                        echo(request)
                    });
                    prop_assert_eq!(served, Ok(expected));
                    prop_assert_eq!(&seen, &buffered);
                    buffered.clear();
                    waiting.iter_mut().flatten().for_each(|(_, served)| *served = true);
                }
                Step::Complete { vcpu } => {
                    let answer = lab.hvm.complete(vcpu);
                    match waiting[vcpu] {
                        Some((request, true)) => {
                            let expected = match request.flags {
                                FLAGS_DIR => echo(&Request::parse(&request).unwrap()),
                                _ => request.data,
                            };
                            prop_assert_eq!(answer, Some(expected));
                            waiting[vcpu] = None;
                        }
                        _ => prop_assert_eq!(answer, None),
                    }
                }
                _ => {}
            }
        }
        drop(server);
        lab.assert_clean();
    }

    /// Whatever is in the two pages: no panic, bounded work, and nothing is written but to requests that were
    /// ready, and there only the state and a read's data.
    #[test]
    fn junk_in_the_pages_is_survived_and_left_alone(
        requests in proptest::collection::vec(any::<u8>(), 96),
        ring in proptest::collection::vec(any::<u8>(), 64),
        (read, ready) in (any::<u32>(), 0u32..520),
    ) {
        let lab = Lab::new(3, 0);
        let mut server = lab.server();
        lab.hvm.scribble(0, &requests);
        let first = BUF_IOREQ + read as usize % IOREQ_BUFFER_SLOT_NUM * 8;
        lab.hvm.scribble_buffered(first, &ring[..ring.len().min(PAGE_SIZE - first)]);
        lab.hvm.scribble_buffered(READ_POINTER, &read.to_le_bytes());
        lab.hvm.scribble_buffered(WRITE_POINTER, &read.wrapping_add(ready).to_le_bytes());
        let mut answered = 0;
        let result = server.serve(|_| {
            answered += 1;
            0x1111
        });
        prop_assert!(answered <= IOREQ_BUFFER_SLOT_NUM + 3);
        let after = lab.hvm.requests();
        for (vcpu, before) in requests.chunks(32).enumerate() {
            let now = &after[32 * vcpu..32 * vcpu + 32];
            let was_ready = before[30] & FLAGS_STATE == STATE_IOREQ_READY;
            if !was_ready || result == Err(Broken::Ring) {
                // Served only as far as the ring was sound.
                prop_assert!(now == before || was_ready);
                continue;
            }
            let is_read = before[30] & (FLAGS_DIR | FLAGS_DATA_IS_PTR) == FLAGS_DIR;
            prop_assert_eq!(&now[..8], &before[..8]);
            prop_assert!(is_read || now[8..16] == before[8..16]);
            prop_assert_eq!(&now[16..30], &before[16..30]);
            prop_assert_eq!(now[30], before[30] & !FLAGS_STATE | STATE_IORESP_READY);
            prop_assert_eq!(now[31], before[31]);
        }
    }
}
