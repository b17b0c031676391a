//! Counts what comes.

use crate::send::per_second;
use crate::station::Station;
use crate::{Role, word_or};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use guests::packet::{self, UdpChecksum};
use guests::stream::{self, Datagram, Tally};
use minios_rs::console;
use minios_rs::net::Offload;
use minios_rs::ring::Pending;
use minios_rs::time::Instant;

/// Senders that are told apart.
const STREAMS_MAX: usize = 16;

pub(crate) struct Receiver {
    port: u16,
    /// Nothing may ever come here.
    closed: u16,
    /// As many datagrams of each stream are answered, so that their flows are known to be wanted.
    answered: u64,
    streams: Vec<Stream>,
    /// Datagrams for other ports.
    others: u64,
    /// Datagrams for the port that is closed.
    leaked: u64,
    is_announced: bool,
}

/// Datagrams after which their buffers are posted again: to look at a whole ring of them takes longer than others
/// can wait with what comes next.
const BATCH: u32 = 32;

/// Gaps of a stream that are told of, one by one.
const GAPS_TOLD: u32 = 16;

/// What comes from one host.
struct Stream {
    from: Ipv4Addr,
    tally: Tally,
    first: Instant,
    last: Instant,
    gaps: u32,
    is_over: bool,
}

impl Receiver {
    pub(crate) fn new(words: &str) -> Result<Self, String> {
        Ok(Self {
            port: word_or(words, "port", 7000)?,
            closed: word_or(words, "closed", 666)?,
            answered: word_or(words, "answer", 0)?,
            streams: Vec::with_capacity(STREAMS_MAX),
            others: 0,
            leaked: 0,
            is_announced: false,
        })
    }

    fn count(&mut self, from: Ipv4Addr, port: u16, payload: &[u8], now: Instant) {
        if port == self.closed {
            self.leaked += 1;
            return;
        }
        if port != self.port {
            self.others += 1;
            return;
        }
        let known = self.streams.iter().position(|stream| stream.from == from);
        let Some(known) = known.or_else(|| self.begin(from, now)) else {
            self.others += 1;
            return;
        };
        let stream = &mut self.streams[known];
        match stream::read(payload) {
            Some(Datagram::Numbered(number)) => {
                let missing = stream.tally.count(number);
                if missing > 0 && stream.gaps < GAPS_TOLD {
                    // Whether this guest slept meanwhile is what whoever looks for them wants to know.
                    let pause = now.since(stream.last).as_millis();
                    log::info!("{from}: {missing} missing before {number}, after {pause} ms");
                    stream.gaps += 1;
                }
                stream.last = now;
            }
            // It is said more than once.
            Some(Datagram::End(_)) if stream.is_over => {}
            Some(Datagram::End(total)) => {
                stream.is_over = true;
                let took = stream.last.since(stream.first);
                let rate = per_second(stream.tally.received(), took);
                log::info!("{from}: {}; {rate} packets/s", stream.tally.report(total));
                self.tell();
            }
            None => stream.tally.count_wrong(),
        }
    }

    fn begin(&mut self, from: Ipv4Addr, now: Instant) -> Option<usize> {
        if self.streams.len() == STREAMS_MAX {
            return None;
        }
        self.streams.push(Stream {
            from,
            tally: Tally::default(),
            first: now,
            last: now,
            gaps: 0,
            is_over: false,
        });
        Some(self.streams.len() - 1)
    }

    /// Says what came besides.
    fn tell(&self) {
        log::info!(
            "{} for other ports, {} for the closed port",
            self.others,
            self.leaked
        );
    }
}

/// Sends a datagram back. Whoever gets none has other flows.
fn answer(station: &mut Station, to: Ipv4Addr, ports: (u16, u16)) {
    let Some(path) = station.path_to(to) else {
        return;
    };
    let mut frame = [0; packet::UDP_PAYLOAD + stream::SHORTEST];
    let back = (ports.1, ports.0);
    packet::write_udp(&mut frame, path, back, UdpChecksum::Whole);
    let _ = station.send(&frame, Offload::default());
}

impl Role for Receiver {
    fn turn(&mut self, station: &mut Station, now: Instant) -> Option<Instant> {
        if !self.is_announced {
            self.is_announced = true;
            log::info!("listening");
        }
        while let Some(byte) = console::read() {
            if byte == b't' {
                self.tell();
            }
        }
        let mut taken = 0_u32;
        while let Some((from, ports, payload)) = station.receive() {
            let is_answered = matches!(stream::read(payload), Some(Datagram::Numbered(number)) if number < self.answered);
            self.count(from, ports.1, payload, now);
            if is_answered {
                answer(station, from, ports);
            }
            taken += 1;
            if taken.is_multiple_of(BATCH) {
                station.flush();
            }
        }
        match station.park() {
            Pending::Work => Some(now),
            Pending::Nothing => None,
        }
    }
}
