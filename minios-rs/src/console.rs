//! The paravirtual console: what an administrator sees in `xl console`.
//!
//! Never blocks: what does not fit into the ring waits in a queue, and when that is full, whole
//! lines are dropped and counted. Only a crash report waits for the reader, for a bounded time.

use crate::abi::io::console::ConsoleInterface;
use crate::arch::pv::clock;
use crate::xen::{Port, SharedPage};
use crate::{event, hypercall, mm};
use alloc::collections::VecDeque;
use core::fmt::{self, Write as _};
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};
use spin::Mutex;

const OUTPUT_SIZE: u32 = 2048;
const INPUT_SIZE: u32 = 1024;

/// Bytes that wait while nobody reads the ring; the queue never holds more.
const QUEUE_SIZE: usize = 16 * 1024;

/// How long a crash report waits for room in the ring, in all.
const EMERGENCY_PATIENCE_NS: u64 = 500_000_000;

/// How long [`drain`] waits for a reader who has never read anything: the daemon may not have found
/// a domain yet that ends soon after its start.
const FIRST_READ_PATIENCE_NS: u64 = 5_000_000_000;

struct Console {
    page: mm::Page,
    port: Port,
    queue: VecDeque<u8>,
    dropped_lines: u32,
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

pub(crate) fn init(page: mm::Page, port: Port) {
    *CONSOLE.lock() = Some(Console {
        page,
        port: event::adopt(port),
        queue: VecDeque::with_capacity(QUEUE_SIZE),
        dropped_lines: 0,
    });
    // A second call is refused; the first stands.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(log::LevelFilter::Info);
}

impl Console {
    fn word(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        self.page.word(offset)
    }

    /// Bytes that the queue still takes.
    fn room(&self) -> usize {
        QUEUE_SIZE - self.queue.len()
    }

    /// Whether the daemon has never read anything.
    fn is_unread(&self) -> bool {
        let consumed = self.word(offset_of!(ConsoleInterface, out_cons));
        consumed.load(Ordering::Acquire) == 0
    }

    /// Whether the daemon has read all that was put into the ring.
    fn is_consumed(&self) -> bool {
        self.word(offset_of!(ConsoleInterface, out_prod))
            .load(Ordering::Relaxed)
            == self
                .word(offset_of!(ConsoleInterface, out_cons))
                .load(Ordering::Acquire)
    }

    /// Moves what is queued into the ring, as far as there is room; whether something moved.
    fn flush(&mut self) -> bool {
        let mut produced = self
            .word(offset_of!(ConsoleInterface, out_prod))
            .load(Ordering::Relaxed);
        let consumed = self
            .word(offset_of!(ConsoleInterface, out_cons))
            .load(Ordering::Acquire);
        // The daemon writes `out_cons`: a nonsensical value makes no room rather than too much.
        let mut room = OUTPUT_SIZE.saturating_sub(produced.wrapping_sub(consumed));
        let mut moved = false;
        while room > 0 {
            let Some(byte) = self.queue.pop_front() else {
                break;
            };
            let at = offset_of!(ConsoleInterface, output) + (produced % OUTPUT_SIZE) as usize;
            self.page.write(at, &[byte]);
            produced = produced.wrapping_add(1);
            room -= 1;
            moved = true;
        }
        if moved {
            self.word(offset_of!(ConsoleInterface, out_prod))
                .store(produced, Ordering::Release);
            let _ = event::notify(self.port);
        }
        moved
    }

    /// Queues a line, or drops all of it.
    fn line(&mut self, text: &str) {
        let needed = text.len() + text.bytes().filter(|&byte| byte == b'\n').count();
        if self.room() < needed {
            self.dropped_lines += 1;
            return;
        }
        for byte in text.bytes() {
            if byte == b'\n' {
                self.queue.push_back(b'\r');
            }
            self.queue.push_back(byte);
        }
    }

    fn write(&mut self, text: &str) {
        self.flush();
        if self.dropped_lines > 0 && self.room() > 256 {
            let mut note = heapless::String::<64>::new();
            let _ = writeln!(note, "[{} lines dropped: nobody read]", self.dropped_lines);
            self.dropped_lines = 0;
            self.line(&note);
        }
        self.line(text);
        self.flush();
    }

    fn read(&mut self) -> Option<u8> {
        let consumed = self
            .word(offset_of!(ConsoleInterface, in_cons))
            .load(Ordering::Relaxed);
        let produced = self
            .word(offset_of!(ConsoleInterface, in_prod))
            .load(Ordering::Acquire);
        let waiting = produced.wrapping_sub(consumed);
        if waiting == 0 || waiting > INPUT_SIZE {
            return None;
        }
        let mut byte = [0];
        self.page.read((consumed % INPUT_SIZE) as usize, &mut byte);
        fence(Ordering::AcqRel);
        self.word(offset_of!(ConsoleInterface, in_cons))
            .store(consumed.wrapping_add(1), Ordering::Release);
        if waiting == INPUT_SIZE {
            let _ = event::notify(self.port);
        }
        Some(byte[0])
    }
}

/// Moves queued output on; called from the main loop after each wake-up.
pub fn pump() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.flush();
    }
}

/// Waits, for a bounded time, until the daemon has taken everything: before the domain ends. A daemon
/// that has the ring mapped reads it after the end as well, so half a second is for its comfort; one
/// that never came gets five.
pub fn drain() {
    let start = clock::system_time_ns();
    loop {
        let patience = {
            // Held, if what ends the domain is the console itself.
            let Some(mut guard) = CONSOLE.try_lock() else {
                return;
            };
            let Some(console) = guard.as_mut() else {
                return;
            };
            console.flush();
            if console.queue.is_empty() && console.is_consumed() {
                return;
            }
            if console.is_unread() {
                FIRST_READ_PATIENCE_NS
            } else {
                EMERGENCY_PATIENCE_NS
            }
        };
        let now = clock::system_time_ns();
        if now > start + patience {
            return;
        }
        let _ = hypercall::poll(&[], now + 1_000_000);
    }
}

/// Writes text; whole or not at all.
pub fn write(text: &str) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.write(text);
    }
}

/// The next byte that somebody typed.
pub fn read() -> Option<u8> {
    CONSOLE.lock().as_mut().and_then(Console::read)
}

/// The console as an embedded-io writer and reader. Neither ever blocks or fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdio;

impl embedded_io::ErrorType for Stdio {
    type Error = core::convert::Infallible;
}

impl embedded_io::Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        for chunk in bytes.utf8_chunks() {
            write(chunk.valid());
            if !chunk.invalid().is_empty() {
                write("?");
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        pump();
        Ok(())
    }
}

impl embedded_io::ReadReady for Stdio {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(CONSOLE.lock().as_ref().is_some_and(|console| {
            console
                .word(offset_of!(ConsoleInterface, in_cons))
                .load(Ordering::Relaxed)
                != console
                    .word(offset_of!(ConsoleInterface, in_prod))
                    .load(Ordering::Acquire)
        }))
    }
}

impl embedded_io::Read for Stdio {
    /// What was typed so far; 0 bytes when nothing was.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        let mut count = 0;
        for slot in into {
            let Some(byte) = read() else { break };
            *slot = byte;
            count += 1;
        }
        Ok(count)
    }
}

struct Logger;

static LOGGER: Logger = Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = heapless::String::<512>::new();
        let level = match record.level() {
            log::Level::Error => "error: ",
            log::Level::Warn => "warning: ",
            _ => "",
        };
        // A line that does not fit is cut: what a peer makes us say must not grow us.
        let _ = write!(Cut(&mut line), "{level}{}", record.args());
        if line.push('\n').is_err() {
            line.pop();
            let _ = line.push('\n');
        }
        write(&line);
    }

    fn flush(&self) {
        pump();
    }
}

/// Takes what fits, and claims success.
struct Cut<'a>(&'a mut heapless::String<512>);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.push(character).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Output of a domain that is about to die: goes past the queue, and waits a little for the reader.
#[derive(Debug)]
pub(crate) struct Emergency;

impl fmt::Write for Emergency {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        hypercall::xen_console(text.as_bytes());
        // The lock is held if the console itself failed: then Xen's console has to do.
        let Some(mut guard) = CONSOLE.try_lock() else {
            return Ok(());
        };
        let Some(console) = guard.as_mut() else {
            return Ok(());
        };
        let deadline = clock::system_time_ns() + EMERGENCY_PATIENCE_NS;
        for byte in text.bytes() {
            while console.room() < 2 {
                if !console.flush() {
                    if clock::system_time_ns() > deadline {
                        return Ok(());
                    }
                    let _ = hypercall::poll(&[], clock::system_time_ns() + 1_000_000);
                }
            }
            if byte == b'\n' {
                console.queue.push_back(b'\r');
            }
            console.queue.push_back(byte);
        }
        while !console.queue.is_empty() && clock::system_time_ns() < deadline {
            if !console.flush() {
                let _ = hypercall::poll(&[], clock::system_time_ns() + 1_000_000);
            }
        }
        Ok(())
    }
}
