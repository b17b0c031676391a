//! Checks of minios-rs that need real Xen.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "these checks do what must not be done")]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;
use core::time::Duration;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::arch::pv::clock;
use minios_rs::time::Instant;
use minios_rs::xen::{Access, DomId, Granted, PAGE_SIZE, SharedPage, Xen};
use minios_rs::{Boot, Domain, Pv, console, entropy, entry, event, grant, mm};

entry!(main);

fn main(boot: Boot) -> ! {
    let check = guests::argument(boot.command_line, "check").unwrap_or("none");
    let memory = boot.memory_bytes;
    match check {
        "memory" => finish(all_memory_is_usable(memory)),
        "heap" => finish(heap_takes_what_pages_leave(memory)),
        "spared" => finish(devices_leave_something_to_the_heap(memory)),
        "clock" => finish(clock_keeps_time()),
        "entropy" => finish(randomness_differs()),
        "no-entropy" => finish(match entropy::seed() {
            None => Ok(()),
            Some((_, source)) => Err(format!("randomness from {source:?}, which was taken away")),
        }),
        "console-flood" => finish(console_never_blocks()),
        "grants" => finish(grants_come_and_go()),
        "module" => finish(module_is_whole(boot.module)),
        "xenstore" => in_a_task(boot, async |domain| speak(domain).await),
        "ports" => in_a_task(boot, many_ports_wake),
        // These end in a crash.
        "null-read" => {
            announce("reading address 8");
            // SAFETY: not safe: page 0 is not mapped, which is what is checked.
            let value = unsafe { (black_box(8) as *const u64).read_volatile() };
            finish(Err(format!("read {value}")))
        }
        "null-call" => {
            announce("calling address 0");
            // SAFETY: not safe: page 0 is not mapped, which is what is checked.
            let nowhere: extern "C" fn() = unsafe { core::mem::transmute(black_box(16usize)) };
            nowhere();
            finish(Err("came back".into()))
        }
        "text-write" => {
            announce("writing to text");
            let text = main as *const () as *mut u8;
            // SAFETY: not safe: text is read-only, which is what is checked.
            unsafe { text.write_volatile(0xcc) };
            finish(Err("text is writable".into()))
        }
        "rodata-write" => {
            announce("writing to a constant");
            static CONSTANT: u64 = 7;
            // SAFETY: not safe: constants are read-only, which is what is checked.
            unsafe { (&raw const CONSTANT).cast_mut().write_volatile(8) };
            finish(Err("constants are writable".into()))
        }
        "heap-execute" => {
            announce("executing on the heap");
            execute(alloc::vec![0xc3u8; 64].leak().as_ptr())
        }
        "stack-execute" => {
            announce("executing on the stack");
            let code = black_box([0xc3u8; 64]);
            execute(code.as_ptr())
        }
        "stack-overflow" => {
            announce("recursing without end");
            let depth = recurse(1);
            finish(Err(format!("came back from {depth}")))
        }
        "divide" => {
            announce("dividing by zero");
            // SAFETY: not safe: it raises vector 0, which is what is checked.
            unsafe {
                core::arch::asm!("xor edx, edx", "div {0:e}", in(reg) 0, out("eax") _, out("edx") _);
            }
            finish(Err("came back".into()))
        }
        "invalid-opcode" => {
            announce("executing ud2");
            // SAFETY: not safe: it raises vector 6, which is what is checked.
            unsafe {
                core::arch::asm!("ud2");
            }
            finish(Err("came back".into()))
        }
        "protection" => {
            announce("executing a privileged instruction");
            // SAFETY: not safe: it raises vector 13, which is what is checked.
            unsafe {
                core::arch::asm!("mov cr8, {}", in(reg) 0u64);
            }
            finish(Err("came back".into()))
        }
        "panic" => {
            announce("panicking");
            outer(memory);
            finish(Err("came back".into()))
        }
        "out-of-memory" => {
            announce("allocating more than there is");
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(black_box(alloc::vec![1; 64 * 1024]));
            }
        }
        "idle" => {
            let domain = Domain::start(boot);
            domain.refuse_devices_except(&[]);
            announce("waiting to be shut down");
            domain.run(|_| None)
        }
        other => finish(Err(format!("no check is called {other}"))),
    }
}

fn announce(what: &str) {
    log::info!("{what}");
}

fn finish(outcome: Result<(), String>) -> ! {
    match outcome {
        Ok(()) => log::info!("Test result: SUCCESS"),
        Err(reason) => log::info!("Test result: FAILURE: {reason}"),
    }
    console::drain();
    minios_rs::hypercall::shutdown(ShutdownReason::Poweroff)
}

fn all_memory_is_usable(memory: usize) -> Result<(), String> {
    let before = mm::usage();
    let mut pages = Vec::with_capacity(memory / PAGE_SIZE);
    while let Ok(page) = mm::Page::allocate() {
        let number = pages.len() as u64;
        page.write(0, &number.to_le_bytes());
        page.write(PAGE_SIZE - 8, &(!number).to_le_bytes());
        pages.push(page);
        if pages.len() % 64 == 0 && mm::usage().free < 32 {
            break;
        }
    }
    for (number, page) in (0u64..).zip(&pages) {
        let mut ends = [[0; 8]; 2];
        page.read(0, &mut ends[0]);
        page.read(PAGE_SIZE - 8, &mut ends[1]);
        if ends != [number.to_le_bytes(), (!number).to_le_bytes()] {
            return Err(format!("page {number} does not hold what was written"));
        }
    }
    let taken = pages.len() * PAGE_SIZE;
    drop(pages);
    let after = mm::usage();
    log::info!(
        "{} KiB of {} KiB were usable as pages",
        taken / 1024,
        memory / 1024
    );
    // The image, its stack, the tables, and the list that the pages were kept in.
    if taken < memory * 85 / 100 {
        return Err(format!("only {taken} of {memory} bytes are usable"));
    }
    if after.free + (after.heap - before.heap) != before.free {
        return Err(format!("pages were lost: {before:?}, then {after:?}"));
    }
    Ok(())
}

fn heap_takes_what_pages_leave(memory: usize) -> Result<(), String> {
    let size = memory / 2;
    let mut block = alloc::vec![0u8; size];
    for (index, byte) in block.iter_mut().enumerate() {
        *byte = index as u8;
    }
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    let expected: u64 = (0..size).map(|index| u64::from(index as u8)).sum();
    if sum == expected {
        Ok(())
    } else {
        Err(format!(
            "a block of {size} bytes sums to {sum}, not {expected}"
        ))
    }
}

fn devices_leave_something_to_the_heap(memory: usize) -> Result<(), String> {
    let mut pages = Vec::with_capacity(memory / PAGE_SIZE);
    while let Ok(page) = Pv.allocate_page() {
        pages.push(page);
    }
    if pages.len() * PAGE_SIZE < memory / 2 {
        return Err(format!("only {} pages for devices", pages.len()));
    }
    let mut block: Vec<u8> = Vec::new();
    block
        .try_reserve_exact(256 * 1024)
        .map_err(|error| format!("nothing is left: {error}"))
}

fn clock_keeps_time() -> Result<(), String> {
    let mut last = clock::system_time_ns();
    for _ in 0..10_000 {
        let now = clock::system_time_ns();
        if now < last {
            return Err(format!("the clock went from {last} to {now}"));
        }
        last = now;
    }
    // Sleeping as an executor does: until our clock says so. Xen wakes by its own, which may be far
    // ahead where neither is hardware's: a wait makes up for that, or this would spin.
    let deadline = clock::system_time_ns() + 100_000_000;
    let mut waits = 0;
    while clock::system_time_ns() < deadline {
        event::wait(Some(deadline));
        let _ = event::take_pending();
        waits += 1;
        if waits > 50 {
            return Err(format!("{waits} waits for one deadline"));
        }
    }
    let late = clock::system_time_ns() - deadline;
    if waits == 0 || late > LATE_NS {
        return Err(format!("a sleep ended after {waits} waits, {late} ns late"));
    }
    let year_2024 = Duration::from_secs(1_704_067_200);
    let wall = clock::wall_clock();
    if wall < year_2024 {
        return Err(format!("the wall clock says {wall:?} since 1970"));
    }
    log::info!("wall clock {} s", wall.as_secs());
    Ok(())
}

fn randomness_differs() -> Result<(), String> {
    let (first, source) = entropy::seed().ok_or("no source")?;
    let (second, _) = entropy::seed().ok_or("no source")?;
    log::info!("from {source:?}");
    if first == second || first == [0; 32] {
        Err("two seeds are the same".into())
    } else {
        Ok(())
    }
}

/// Later than whatever is to come: the host may have been busy for seconds, but not for minutes.
const LATE_NS: u64 = 120_000_000_000;

/// Far more lines than ring and queue hold. The test stops the daemon that reads them meanwhile, and
/// lets it go on later: what was dropped is said.
fn console_never_blocks() -> Result<(), String> {
    let before = clock::system_time_ns();
    for line in 0..20_000 {
        log::info!(
            "line {line} of a flood that nobody reads, which must neither stop nor grow anybody"
        );
    }
    let took = Duration::from_nanos(clock::system_time_ns() - before);
    log::info!("the flood took {} ms", took.as_millis());
    // When the daemon goes on it is said. Each event only says that it has read a little.
    let deadline = clock::system_time_ns() + LATE_NS;
    while console::read().is_none() && clock::system_time_ns() < deadline {
        event::take_pending();
        console::pump();
        event::wait(Some(deadline));
    }
    log::info!("after the flood, which took {} ms", took.as_millis());
    Ok(())
}

fn grants_come_and_go() -> Result<(), String> {
    let page = mm::Page::allocate().map_err(|error| format!("{error}"))?;
    let before = grant::in_use();
    let mut granted = Vec::new();
    // More than one page of the table, so that it grows.
    for _ in 0..1500 {
        let one = Granted::new(&Pv, DomId(0), page.clone(), Access::ReadOnly);
        granted.push(one.map_err(|error| format!("{error}"))?);
    }
    let held = grant::in_use();
    drop(granted);
    if held != before + 1500 || grant::in_use() != before {
        return Err(format!(
            "{before} grants, then {held}, then {}",
            grant::in_use()
        ));
    }
    Ok(())
}

/// The lab gives a module of 100,000 bytes, byte i being i modulo 251.
fn module_is_whole(module: &[u8]) -> Result<(), String> {
    let right = |(index, &byte): (usize, &u8)| usize::from(byte) == index % 251;
    if module.len() < 100_000 {
        return Err(format!("{} bytes", module.len()));
    }
    if module.iter().take(100_000).enumerate().all(right) {
        Ok(())
    } else {
        Err("wrong bytes".into())
    }
}

/// Runs a check beside the main loop.
fn in_a_task(boot: Boot, check: impl AsyncFnOnce(&Domain) -> Result<(), String> + 'static) -> ! {
    let domain = Domain::start(boot);
    let tester = domain.clone();
    let spawned = domain.executor.spawn(async move {
        let outcome = match tester
            .executor
            .timeout(Duration::from_nanos(LATE_NS), check(&tester))
            .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("no end in 20 s".into()),
        };
        finish(outcome)
    });
    assert!(spawned.is_ok(), "a task fits");
    domain.run(|_: Instant| None)
}

/// With more ports than `SCHEDOP_poll` takes, what comes by those that were there before and by a timer
/// still wakes the domain, and an event on each of them is noticed.
async fn many_ports_wake(domain: &Domain) -> Result<(), String> {
    const PAIRS: usize = 150;
    let text = |error: minios_rs::xen::Errno| format!("{error}");
    let own = DomId(
        domain
            .store
            .read_number("domid")
            .await
            .map_err(|error| format!("{error}"))?,
    );
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let far = event::allocate_unbound(own).map_err(text)?;
        let near = event::bind_interdomain(own, far).map_err(text)?;
        pairs.push((near, far));
    }
    // A port that was bound is pending at once.
    let _ = event::take_pending();
    for &(near, far) in &pairs {
        event::notify(near).map_err(text)?;
        // Another port's event may come meanwhile, so that there is one more proves nothing.
        if !event::take_pending() {
            return Err(format!("an event on port {} was not noticed", far.0));
        }
    }
    let began = domain.executor.now();
    domain.executor.sleep(Duration::from_millis(300)).await;
    let slept = domain.executor.now().since(began);
    if slept < Duration::from_millis(300) || slept.as_nanos() > u128::from(LATE_NS) {
        return Err(format!("300 ms of sleep were {slept:?}"));
    }
    speak(domain).await?;
    for (near, far) in pairs {
        event::close(near);
        event::close(far);
    }
    speak(domain).await
}

async fn speak(domain: &Domain) -> Result<(), String> {
    let store = &domain.store;
    let text = |error: minios_rs::xenstore::Error| format!("{error}");
    let domid: u16 = store.read_number("domid").await.map_err(text)?;
    log::info!("I am domain {domid}");
    store.write("data/check", "one").await.map_err(text)?;
    if store.read_text("data/check").await.map_err(text)? != "one" {
        return Err("what was written was not read".into());
    }
    match store.read("data/nothing").await {
        Err(error) if error.is_not_found() => {}
        other => return Err(format!("a node that is not there: {other:?}")),
    }
    let mut watch = store.watch("data/check").await.map_err(text)?;
    watch.next().await.map_err(text)?;
    store.write("data/check", "two").await.map_err(text)?;
    watch.next().await.map_err(text)?;
    store
        .transaction(async |transaction| {
            transaction.write("data/a", "1").await?;
            transaction.write("data/b", "2").await
        })
        .await
        .map_err(text)?;
    let mut names = store.directory("data").await.map_err(text)?;
    names.sort();
    if names != ["a", "b", "check"] {
        return Err(format!("data holds {names:?}"));
    }
    store.rm("data/a").await.map_err(text)?;
    match store.write("/local/domain/0/name", "mine").await {
        Err(_) => Ok(()),
        Ok(()) => Err("wrote to dom0's name".into()),
    }
}

fn execute(code: *const u8) -> ! {
    // SAFETY: not safe: data is not executable, which is what is checked.
    let function: extern "C" fn() = unsafe { core::mem::transmute(code) };
    function();
    finish(Err("data is executable".into()))
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(depth) == 0 {
        0
    } else {
        recurse(depth + 1) + frame[1]
    }
}

#[inline(never)]
fn outer(memory: usize) {
    inner(black_box(memory));
}

#[inline(never)]
fn inner(memory: usize) {
    let list = [1, 2, 3];
    log::info!("{}", list[black_box(memory)]);
}
