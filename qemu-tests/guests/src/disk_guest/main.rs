//! A domain with two disks: writes the first one, flushes, reads it back, says how fast that was, and goes on while its
//! backend goes and comes back. The second one is read-only.
#![no_std]
#![no_main]

extern crate alloc;

mod cksum;
mod disk;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use cksum::Cksum;
use core::cell::RefCell;
use core::time::Duration;
use disk::Disk;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::block::{self, Config, Failure, Operation, SECTOR, State};
use minios_rs::xen::Xen;
use minios_rs::{Boot, Domain, entry};

entry!(main);

/// xvda and xvdb.
const FIRST: u32 = 51712;
const SECOND: u32 = 51728;

/// Bytes of a request in sequence, and how many are under way.
const CHUNK: usize = 128 * 1024;
const DEPTH: usize = 8;

/// Bytes of one at random, and how many are under way.
const SMALL: usize = 4096;
const SMALL_DEPTH: usize = 16;

/// Bytes of a MiB.
const MIB: usize = 1 << 20;

/// How long the disk's other end may take to appear.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: Config = Config {
    requests_max: 32,
    pages_max: DEPTH * CHUNK / 4096 + SMALL_DEPTH,
    ring_pages_max: 4,
};

type Slot = RefCell<Vec<Rc<Disk>>>;

fn main(boot: Boot) -> ! {
    let domain = Domain::start(boot);
    domain.refuse_devices_except(&["vbd"]);
    let disks: &'static Slot = alloc::boxed::Box::leak(Default::default());
    let tester = domain.clone();
    let spawned = domain.executor.spawn(async move {
        match check(&tester, disks).await {
            Ok(()) => log::info!("Test result: SUCCESS"),
            Err(reason) => log::error!("Test result: FAILURE: {reason}"),
        }
        tester.stop(ShutdownReason::Poweroff);
    });
    assert!(spawned.is_ok(), "the first tasks fit");
    domain.run(|_| {
        for disk in disks.borrow().iter() {
            disk.turn();
        }
        None
    })
}

/// Connects a disk, and has a task look after it.
async fn connect(domain: &Domain, disks: &Slot, index: u32) -> Result<Rc<Disk>, String> {
    let connecting = block::connect(&domain.xen, &domain.store, &domain.executor, index, CONFIG);
    let connected = domain.executor.timeout(PATIENCE, connecting).await;
    let (front, link) = connected
        .map_err(|_| format!("no disk {index}"))?
        .map_err(|error| format!("disk {index}: {error}"))?;
    let spawned = domain.executor.spawn(async move {
        match link.run().await {
            Ok(()) => log::info!("disk {index} was taken away"),
            Err(error) => log::error!("disk {index}: {error}"),
        }
    });
    spawned.map_err(|error| format!("{error}"))?;
    let info = front.info().ok_or("a disk without a length")?;
    let (mib, size) = (info.sectors as usize * SECTOR / MIB, info.sector_size);
    let (read_only, flush) = (info.read_only, info.flush);
    let discard = info.discard.map_or(0, |discard| discard.granularity);
    log::info!(
        "disk {index}: {mib} MiB, sectors of {size}, read-only {read_only}, flush {flush}, discard {discard}"
    );
    let disk = Rc::new(Disk::new(front));
    disks.borrow_mut().push(disk.clone());
    Ok(disk)
}

async fn check(domain: &Domain, disks: &Slot) -> Result<(), String> {
    let disk = connect(domain, disks, FIRST).await?;
    let second = connect(domain, disks, SECOND).await?;
    is_only_read(&second).await?;
    let info = disk.front.info().ok_or("no length")?;
    let sectors = info.sectors as usize;
    let chunks = sectors * SECTOR / CHUNK;

    for (operation, name) in [(Operation::Write, "written"), (Operation::Read, "read")] {
        let began = domain.xen.now();
        disk.all(
            chunks,
            DEPTH,
            CHUNK,
            operation,
            &mut |number| number,
            &mut |_, _| {},
        )
        .await?;
        let took = domain.xen.now().since(began);
        say(name, "in sequence", chunks, CHUNK, took);
    }
    let pages = sectors * SECTOR / SMALL;
    for (operation, name) in [(Operation::Write, "written"), (Operation::Read, "read")] {
        let count = 4000.min(pages);
        let began = domain.xen.now();
        let mut at = 1;
        let mut anywhere = |_| {
            at = step(at);
            at as usize % pages
        };
        disk.all(
            count,
            SMALL_DEPTH,
            SMALL,
            operation,
            &mut anywhere,
            &mut |_, _| {},
        )
        .await?;
        let took = domain.xen.now().since(began);
        say(name, "4 KiB at random", count, SMALL, took);
    }

    // What is flushed is in the file that dom0 has.
    let sum = fill(&disk, chunks, 1).await?;
    disk.one(Operation::Flush).await?;
    log::info!("the disk's cksum is {sum} {}", chunks * CHUNK);
    is_filled(&disk, chunks, 1).await?;
    go_on(domain).await?;

    if info.discard.is_some() {
        let gone = Operation::Discard {
            sectors: (CHUNK / SECTOR) as u64,
        };
        disk.one(gone).await?;
        let mut first = vec![1; CHUNK];
        disk.read(0, &mut first).await?;
        match first.iter().all(|byte| *byte == 0) {
            true => log::info!("what was discarded reads as zeroes"),
            false => return Err("what was discarded is still there".into()),
        }
    }

    // Whoever watches takes the backend away now, and lets it come back.
    let before = disk.front.counters().connections;
    log::info!("writing until the backend came back");
    let mut seed = 1;
    while disk.front.counters().connections == before || disk.front.state() != State::Open {
        seed += 1;
        fill(&disk, chunks, seed).await?;
    }
    is_filled(&disk, chunks, seed).await?;
    let counters = disk.front.counters();
    log::info!(
        "{} of {} requests were sent again",
        counters.sent_again,
        counters.requests
    );

    // The first one to see that the disk has grown is a request.
    log::info!("reading until the disk is longer");
    while disk
        .front
        .info()
        .is_none_or(|now| now.sectors == info.sectors)
    {
        disk.read(0, &mut [0; SMALL]).await?;
        domain.executor.sleep(Duration::from_millis(50)).await;
    }
    disk.read(info.sectors, &mut [0; SMALL]).await?;
    log::info!("reading until the disk is gone");
    loop {
        match disk.read(0, &mut [0; SMALL]).await {
            Ok(()) => domain.executor.sleep(Duration::from_millis(50)).await,
            Err(_) if disk.front.state() == State::Gone => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A disk that cannot be written: what dom0 put there, and no more.
async fn is_only_read(disk: &Disk) -> Result<(), String> {
    let info = disk.front.info().ok_or("no length")?;
    if !info.read_only {
        return Err("it is not read-only".into());
    }
    let mut bytes = [0; SMALL];
    disk.read(0, &mut bytes).await?;
    if !bytes.starts_with(b"only to be read") {
        return Err("it does not hold what it should".into());
    }
    match disk.write(0, &bytes).await {
        Err(failure) if failure == format!("{}", Failure::ReadOnly) => Ok(()),
        other => Err(format!(
            "a write to it: {}",
            other.err().unwrap_or_default()
        )),
    }
}

/// Waits until dom0 has looked at its file.
async fn go_on(domain: &Domain) -> Result<(), String> {
    let text = |error: minios_rs::xenstore::Error| format!("{error}");
    let mut watch = domain.store.watch("data/go").await.map_err(text)?;
    while domain.store.read("data/go").await.is_err() {
        watch.next().await.map_err(text)?;
    }
    Ok(())
}

fn say(name: &str, how: &str, count: usize, len: usize, took: Duration) {
    let micros = (took.as_micros() as usize).max(1);
    let tenths = count * len * 10 / micros;
    let per_second = count * 1_000_000 / micros;
    log::info!(
        "{name} {how}: {}.{} MB/s, {per_second} requests/s",
        tenths / 10,
        tenths % 10
    );
}

fn step(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// What a chunk of the disk is filled with.
fn pattern(number: usize, seed: u64, into: &mut [u8]) {
    let mut state = seed << 32 | (number as u64 + 1);
    for word in into.chunks_exact_mut(8) {
        state = step(state);
        word.copy_from_slice(&state.to_le_bytes());
    }
}

/// Writes all of the disk: its checksum.
async fn fill(disk: &Disk, chunks: usize, seed: u64) -> Result<u32, String> {
    let mut bytes = vec![0; CHUNK];
    let mut sum = Cksum::default();
    let mut prepare = |number, buffer: &disk::Buffer| {
        pattern(number, seed, &mut bytes);
        if seed == 1 {
            sum.add(&bytes);
        }
        buffer.write(0, &bytes);
    };
    disk.all(
        chunks,
        DEPTH,
        CHUNK,
        Operation::Write,
        &mut |number| number,
        &mut prepare,
    )
    .await?;
    Ok(sum.finish(chunks * CHUNK))
}

/// Reads all of it, and compares.
async fn is_filled(disk: &Disk, chunks: usize, seed: u64) -> Result<(), String> {
    let (mut expected, mut read) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut wrong = 0;
    let mut compare = |number, buffer: &disk::Buffer| {
        pattern(number, seed, &mut expected);
        buffer.read(0, &mut read);
        wrong += usize::from(expected != read);
    };
    disk.all(
        chunks,
        DEPTH,
        CHUNK,
        Operation::Read,
        &mut |number| number,
        &mut compare,
    )
    .await?;
    match wrong {
        0 => Ok(()),
        _ => Err(format!(
            "{wrong} of {chunks} pieces hold something else than was written"
        )),
    }
}
