//! A counted stream: datagrams that say by themselves which they are and whether they are whole.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// Bytes of the shortest datagram.
pub const SHORTEST: usize = 16;

const NUMBERED: &[u8; 8] = b"numbered";
const END: &[u8; 8] = b"the end.";

/// Numbers that are counted; a stream is no longer.
pub const NUMBERS_MAX: u64 = 1 << 24;

/// Numbers of one piece of the record.
const PIECE: u64 = 1 << 15;

/// What a datagram of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// One of those that are counted.
    Numbered(u64),
    /// That so many were sent, and no more will be.
    End(u64),
}

/// The byte at `at` of the datagram of that number.
fn byte(number: u64, at: usize) -> u8 {
    (number.wrapping_mul(167) as u8).wrapping_add((at as u8).wrapping_mul(29))
}

/// Writes a datagram.
///
/// # Panics
/// If `payload` is shorter than [`SHORTEST`].
pub fn write(datagram: Datagram, payload: &mut [u8]) {
    let (kind, number) = match datagram {
        Datagram::Numbered(number) => (NUMBERED, number),
        Datagram::End(total) => (END, total),
    };
    let (head, rest) = payload.split_at_mut(SHORTEST);
    head[..8].copy_from_slice(kind);
    head[8..].copy_from_slice(&number.to_be_bytes());
    for (at, place) in rest.iter_mut().enumerate() {
        *place = byte(number, at);
    }
}

/// Reads a datagram; `None` if a byte is not as it was written.
pub fn read(payload: &[u8]) -> Option<Datagram> {
    let (head, rest) = payload.split_at_checked(SHORTEST)?;
    let (kind, number) = head.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number.first_chunk()?);
    let datagram = match kind {
        NUMBERED => Datagram::Numbered(number),
        END => Datagram::End(number),
        _ => return None,
    };
    let is_whole = rest
        .iter()
        .enumerate()
        .all(|(at, found)| *found == byte(number, at));
    is_whole.then_some(datagram)
}

/// What has come of a stream.
#[derive(Default)]
pub struct Tally {
    received: u64,
    twice: u64,
    out_of_order: u64,
    wrong: u64,
    /// The highest number so far, plus 1.
    next: u64,
    /// A bit for each number.
    seen: Vec<Box<[u64; PIECE as usize / 64]>>,
}

impl Tally {
    /// Counts the datagram of that number: how many are missing just before it, so far.
    pub fn count(&mut self, number: u64) -> u64 {
        if number >= NUMBERS_MAX {
            self.wrong += 1;
            return 0;
        }
        let piece = (number / PIECE) as usize;
        while self.seen.len() <= piece {
            self.seen.push(Box::new([0; PIECE as usize / 64]));
        }
        let at = (number % PIECE) as usize;
        let (word, bit) = (&mut self.seen[piece][at / 64], 1 << (at % 64));
        if *word & bit != 0 {
            self.twice += 1;
            return 0;
        }
        *word |= bit;
        self.received += 1;
        if number < self.next {
            self.out_of_order += 1;
        }
        let missing = number.saturating_sub(self.next);
        self.next = self.next.max(number + 1);
        missing
    }

    /// Counts one that is not as it was written.
    pub fn count_wrong(&mut self) {
        self.wrong += 1;
    }

    /// Those that are known.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What has come of `total`.
    pub fn report(&self, total: u64) -> Report {
        Report {
            total,
            received: self.received,
            twice: self.twice,
            out_of_order: self.out_of_order,
            wrong: self.wrong,
        }
    }
}

/// What came of a stream, as the receiver says it in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Datagrams that were sent.
    pub total: u64,
    /// Different ones that came.
    pub received: u64,
    /// Those that came again.
    pub twice: u64,
    /// Those that came after one that was sent later.
    pub out_of_order: u64,
    /// Those with a byte that was not sent.
    pub wrong: u64,
}

impl Report {
    /// All came, each once, in order, as they were sent.
    pub fn is_whole(&self) -> bool {
        let total = self.total;
        *self
            == Self {
                total,
                received: total,
                ..Self::default()
            }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total,
            received,
            twice,
            out_of_order,
            wrong,
        } = self;
        write!(
            formatter,
            "received {received} of {total}, {} missing, {twice} twice, {out_of_order} out of order, {wrong} with wrong bytes",
            total.saturating_sub(*received)
        )
    }
}

/// Not a line as [`Report`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReport;

impl FromStr for Report {
    type Err = NoReport;

    /// Finds it anywhere in a line.
    fn from_str(line: &str) -> Result<Self, NoReport> {
        let (_, numbers) = line.split_once("received ").ok_or(NoReport)?;
        let mut words = numbers.split([' ', ',']).filter(|word| !word.is_empty());
        let mut number = || words.by_ref().find_map(|word| word.parse().ok());
        let mut number = || number().ok_or(NoReport);
        let (received, total) = (number()?, number()?);
        let _missing: u64 = number()?;
        Ok(Self {
            total,
            received,
            twice: number()?,
            out_of_order: number()?,
            wrong: number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn a_datagram_reads_back_and_no_byte_of_it_can_change_unnoticed() {
        for datagram in [
            Datagram::Numbered(0),
            Datagram::Numbered(70_000),
            Datagram::End(5),
        ] {
            let mut payload = vec![0; 200];
            write(datagram, &mut payload);
            assert_eq!(read(&payload), Some(datagram));
            for at in 0..payload.len() {
                payload[at] ^= 1;
                assert_ne!(read(&payload), Some(datagram), "byte {at}");
                payload[at] ^= 1;
            }
        }
        assert_eq!(read(&[0; SHORTEST - 1]), None);
    }

    #[test]
    fn a_tally_tells_what_is_missing_twice_late_or_wrong() {
        let mut tally = Tally::default();
        let missing = [0, 1, 3, 2, 3, 40_000, NUMBERS_MAX].map(|number| tally.count(number));
        assert_eq!(missing, [0, 0, 1, 0, 0, 39_996, 0]);
        tally.count_wrong();
        let report = tally.report(10);
        assert_eq!(
            (
                report.received,
                report.twice,
                report.out_of_order,
                report.wrong
            ),
            (5, 1, 1, 2)
        );
        assert!(!report.is_whole());
        let mut whole = Tally::default();
        assert!((0..100_000).all(|number| whole.count(number) == 0));
        assert!(whole.report(100_000).is_whole());
        assert!(!whole.report(100_001).is_whole());
    }

    #[test]
    fn a_report_reads_back_from_a_console() {
        let report = Report {
            total: 100,
            received: 90,
            twice: 1,
            out_of_order: 2,
            wrong: 3,
        };
        let line = alloc::format!("10.0.3.2: {report}\r\n");
        assert_eq!(line.parse(), Ok(report));
        assert!(report.to_string().contains("10 missing"));
        assert_eq!("received nothing".parse::<Report>(), Err(NoReport));
    }
}
