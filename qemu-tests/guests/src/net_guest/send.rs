//! Sends a counted stream.

use crate::station::{FRAME_MAX, Station};
use crate::{Role, word_or};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use guests::packet::{self, UDP_PAYLOAD, UdpChecksum};
use guests::stream::{self, Datagram, NUMBERS_MAX};
use minios_rs::console;
use minios_rs::net::{Checksum, Offload};
use minios_rs::ring::Pending;
use minios_rs::time::Instant;

/// How often datagrams are sent, if a rate is given: as often as there are so many, within these bounds. To
/// wake for each would cost everybody more than the datagram does.
const BATCH: u64 = 4;
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(200);

/// Datagrams sent at once unless told otherwise, at least as many as two ticks': whoever was not let run for long
/// does not make up for all of it in one burst, which nobody's ring would hold.
const BURST_MIN: u64 = 32;

/// How often the end is said, and with what pauses.
const ENDS: u32 = 20;
const END_PAUSE: Duration = Duration::from_millis(100);

/// Where datagrams come from, or the first of these ports.
const PORT: u16 = 7000;

/// So many there are at most.
const FLOWS_MAX: u16 = 50_000;

pub(crate) struct Sender {
    to: Vec<Ipv4Addr>,
    port: u16,
    frames: Vec<usize>,
    checksum: UdpChecksum,
    /// Datagrams a second to each, or 0: as many as there is room for.
    rate: u64,
    /// Datagrams to each in all, or 0: until it is told to stop.
    count: u64,
    /// Datagrams that are sent at once at most, or as many as two ticks'.
    burst: u64,
    /// Ports that datagrams come from in turn, from [`PORT`] on: each is a flow of its own.
    flows: u16,
    /// It sends nothing before it is told to.
    is_held: bool,
    /// Datagrams sent, to all.
    sent: u64,
    begun: Option<Instant>,
    /// When the stream began, later by what it was not let send in time.
    since: Instant,
    is_told_to_stop: bool,
    ended: Option<Ending>,
    frame: [u8; FRAME_MAX],
}

struct Ending {
    said: u32,
    next: Instant,
}

impl Sender {
    pub(crate) fn new(words: &str) -> Result<Self, String> {
        let list = |key, otherwise| guests::argument(words, key).unwrap_or(otherwise).split(',');
        let to = list("to", "")
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>();
        let to = to.map_err(|_| "to= is a list of addresses".to_string())?;
        let frames = list("frame", "64").map(|frame| {
            let frame = frame.parse().ok();
            frame.filter(|frame| (UDP_PAYLOAD + stream::SHORTEST..=FRAME_MAX).contains(frame))
        });
        let frames: Option<Vec<usize>> = frames.collect();
        Ok(Self {
            to,
            port: word_or(words, "port", PORT)?,
            frames: frames.ok_or("frame= is a list of lengths from 58 to 1514")?,
            checksum: match guests::argument(words, "checksum") {
                None | Some("blank") => UdpChecksum::Blank,
                Some("whole") => UdpChecksum::Whole,
                Some(_) => return Err("checksum= is blank or whole".to_string()),
            },
            rate: word_or(words, "rate", 500)?,
            count: word_or(words, "count", 0)?,
            burst: word_or(words, "burst", BURST_MIN)?,
            flows: match word_or(words, "flows", 1)? {
                flows @ 1..=FLOWS_MAX => flows,
                _ => return Err("flows= is a number from 1 to 50000".to_string()),
            },
            is_held: word_or(words, "wait", false)?,
            sent: 0,
            begun: None,
            since: Instant::default(),
            is_told_to_stop: false,
            ended: None,
            frame: [0; FRAME_MAX],
        })
    }

    /// Sends a datagram; false if there is no room now.
    fn send(&mut self, station: &mut Station, to: Ipv4Addr, datagram: Datagram) -> bool {
        let Some(path) = station.path_to(to) else {
            return false;
        };
        let number = self.sent / self.to.len() as u64;
        let len = self.frames[(number % self.frames.len() as u64) as usize];
        let frame = &mut self.frame[..len];
        stream::write(datagram, &mut frame[UDP_PAYLOAD..]);
        let from = PORT + (number % u64::from(self.flows)) as u16;
        packet::write_udp(frame, path, (from, self.port), self.checksum);
        let checksum = match self.checksum {
            UdpChecksum::Blank => Checksum::Blank,
            UdpChecksum::Whole => Checksum::Unknown,
        };
        let gso = None;
        station.send(frame, Offload { checksum, gso })
    }

    /// Datagrams that may be sent now, to all together.
    fn due(&mut self, now: Instant) -> u64 {
        let streams = self.to.len() as u64;
        let left = match self.count {
            0 => NUMBERS_MAX,
            count => count,
        };
        let left = (left * streams).saturating_sub(self.sent);
        if self.rate == 0 {
            return left;
        }
        let rate = self.rate * streams;
        let burst = self.burst.max(2 * by_now(self.tick(), rate));
        let due = by_now(now.since(self.since), rate).saturating_sub(self.sent);
        if due > burst {
            // As if what is more had never been due.
            let late = u128::from(due - burst) * 1_000_000_000 / u128::from(rate);
            self.since = self.since.after(Duration::from_nanos(late as u64));
        }
        due.min(burst).min(left)
    }

    /// How long until datagrams are sent again. There is a rate.
    fn tick(&self) -> Duration {
        let rate = self.rate * self.to.len() as u64;
        let batch = Duration::from_nanos(BATCH * 1_000_000_000 / rate.max(1));
        batch.clamp(TICK_MIN, TICK_MAX)
    }

    fn is_over(&self) -> bool {
        let total = self.count.min(NUMBERS_MAX) * self.to.len() as u64;
        let is_whole = self.sent.is_multiple_of(self.to.len() as u64);
        (self.count > 0 && self.sent >= total) || (self.is_told_to_stop && is_whole)
    }

    /// Says to everybody that it is over; when to say it again.
    fn end(&mut self, station: &mut Station, now: Instant) -> Option<Instant> {
        let each = self.sent / self.to.len() as u64;
        if self.ended.is_none() {
            let took = now.since(self.begun.unwrap_or(now));
            log::info!(
                "sent {each} datagrams to each of {} in {} ms, {} packets/s",
                self.to.len(),
                took.as_millis(),
                per_second(self.sent, took),
            );
        }
        let ending = self.ended.get_or_insert(Ending { said: 0, next: now });
        if ending.said == ENDS {
            return None;
        }
        if now >= ending.next {
            ending.said += 1;
            ending.next = now.after(END_PAUSE);
            for to in self.to.clone() {
                // It is said often enough.
                let _ = self.send(station, to, Datagram::End(each));
            }
        }
        self.ended.as_ref().map(|ending| ending.next)
    }
}

/// How many of `rate` a second are due after so long.
fn by_now(since: Duration, rate: u64) -> u64 {
    (since.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

/// How many a second so many in that time are.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let time = time.as_nanos().max(1);
    (u128::from(count) * 1_000_000_000 / time) as u64
}

impl Role for Sender {
    fn turn(&mut self, station: &mut Station, now: Instant) -> Option<Instant> {
        while let Some(byte) = console::read() {
            self.is_told_to_stop |= byte == b's';
            self.is_held &= byte != b'g';
        }
        while station.receive().is_some() {}
        let next = if station.path_to(Ipv4Addr::UNSPECIFIED).is_none() {
            Some(station.resolve(now))
        } else if self.is_held {
            None
        } else if self.is_over() {
            self.end(station, now)
        } else {
            if self.begun.is_none() {
                self.begun = Some(now);
                self.since = now;
                log::info!("sending");
            }
            let mut has_room = true;
            let mut due = self.due(now);
            while due > 0 && !self.is_over() {
                let streams = self.to.len() as u64;
                let to = self.to[(self.sent % streams) as usize];
                let number = self.sent / streams;
                if !self.send(station, to, Datagram::Numbered(number)) {
                    has_room = false;
                    break;
                }
                self.sent += 1;
                due -= 1;
            }
            match self.rate {
                // Whoever makes room says so; but what is taken without a word is seen as well.
                0 if !has_room => Some(now.after(Duration::from_millis(100))),
                0 => Some(now),
                _ if self.is_over() => Some(now),
                _ => Some(now.after(self.tick())),
            }
        };
        match station.park() {
            _ if !station.is_open() => None,
            Pending::Work => Some(now),
            Pending::Nothing => next,
        }
    }
}
