//! The columns RATE and CONNLIMIT, of rules and of policies.

use firewalldom::policy::{ConnectionKey, ConnectionUse, Limits, Rate, RateKey, RateUse, Side};

use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;

/// netfilter's burst where none is given.
const DEFAULT_BURST: u32 = 5;

/// A limit as a column says it, before it has a place in the policy's tables: a rule that becomes
/// several has one limit for each, unless the limit has a name.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitColumns {
    rates: Vec<Rate>,
    connections: Option<(u32, ConnectionKey, Side)>,
    pub(crate) time: Option<u16>,
}

impl LimitColumns {
    pub(crate) fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.connections.is_none() && self.time.is_none()
    }

    /// Whether packets are counted one by one, so that each rule needs a limit of its own.
    pub(crate) fn counts(&self) -> bool {
        !self.rates.is_empty() || self.connections.is_some()
    }

    /// The limit of one more rule.
    pub(crate) fn place(&self, session: &mut Session<'_>) -> Limits {
        let tables = &mut session.tables;
        Limits {
            time: self.time,
            rates: self
                .rates
                .iter()
                .map(|rate| RateUse {
                    rate: tables.rate(rate.clone()),
                    side: Side::Within,
                })
                .collect(),
            connections: self.connections.map(|(count, key, side)| ConnectionUse {
                limit: tables.connection_limit(count, key),
                side,
            }),
            recent: None,
        }
    }

    /// The limit of a rule made of the same line for another address: what counts per address goes
    /// on in the table of `first`, whichever rule asks.
    pub(crate) fn place_beside(&self, session: &mut Session<'_>, first: &Limits) -> Limits {
        let tables = &mut session.tables;
        let rates = self.rates.iter().zip(&first.rates);
        Limits {
            time: self.time,
            rates: rates
                .map(|(rate, first)| match rate.key {
                    RateKey::All => RateUse {
                        rate: tables.rate(rate.clone()),
                        ..*first
                    },
                    RateKey::Source(_) | RateKey::Destination(_) => *first,
                })
                .collect(),
            connections: self.connections.map(|(count, key, side)| ConnectionUse {
                limit: tables.connection_limit(count, key),
                side,
            }),
            recent: None,
        }
    }
}

/// Reads the columns that limit a rule. `None`: reported.
pub(crate) fn read(
    session: &mut Session<'_>,
    rate: Option<&Word>,
    connections: Option<&Word>,
    time: Option<&Word>,
) -> Option<LimitColumns> {
    let rates = match rate {
        None => Some(Vec::new()),
        Some(word) => read_rates(session, word),
    };
    let connections = match connections {
        None => Some(None),
        Some(word) => connection_limit(session, word).map(Some),
    };
    let time = match time {
        None => Some(None),
        Some(word) => {
            crate::time_window::read(session, word).map(|window| Some(session.tables.time(window)))
        }
    };
    Some(LimitColumns {
        rates: rates?,
        connections: connections?,
        time: time?,
    })
}

/// One rate, or one for sources and one for destinations.
fn read_rates(session: &mut Session<'_>, word: &Word) -> Option<Vec<Rate>> {
    let items = word.split(',');
    if items.len() > 2 {
        session.error(
            word.span(),
            "at most two rates",
            "one for sources, one for destinations",
            "write for example: s:10/sec:20,d:60/sec:100",
        );
        return None;
    }
    let several = items.len() == 2;
    let mut rates = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let assumed = match (several, index) {
            (false, _) => RateKey::All,
            (true, 0) => RateKey::Source(32),
            (true, _) => RateKey::Destination(32),
        };
        match parse_rate(item.text(), assumed) {
            Ok(rate) => {
                warn_of_other(session, item, &rate);
                rates.push(rate);
            }
            Err(label) => {
                session.report(
                    Finding::error(format!("`{}` is not a rate", item.text()))
                        .at(item.span(), label)
                        .note("[{s|d}[/LENGTH]:[NAME:]]NUMBER/{sec|min|hour|day}[:BURST]")
                        .note("for example 10/sec:20, or s:ssh:3/min:5 for each source"),
                );
                return None;
            }
        }
    }
    Some(rates)
}

/// A name that counts otherwise elsewhere: as in Linux, the first use of a name says how.
fn warn_of_other(session: &mut Session<'_>, word: &Word, rate: &Rate) {
    let other = session
        .tables
        .rates
        .iter()
        .any(|known| !rate.name.is_empty() && known.name == rate.name && known != rate);
    if other {
        session.report(
            Finding::warning(format!("the limit `{}` is another one above", rate.name))
                .at(word.span(), "the first line with this name counts")
                .note("give it a name of its own, or the same numbers"),
        );
    }
}

/// `[{s|d}[/LENGTH]:[NAME[(BUCKETS,MAX)]:]]NUMBER[/UNIT][:BURST]`.
fn parse_rate(text: &str, assumed: RateKey) -> Result<Rate, &'static str> {
    let mut pieces: Vec<&str> = split_outside_parentheses(text);
    let mut key = assumed;
    if let Some(first) = pieces.first()
        && let Some((side, length)) = side_and_length(first)
    {
        let length = length?;
        key = match side {
            's' => RateKey::Source(length),
            _ => RateKey::Destination(length),
        };
        pieces.remove(0);
    }
    let mut name = String::new();
    if pieces.len() > 1 && !is_rate(pieces[0]) {
        let first = pieces.remove(0);
        // How large Linux' table is: ours grows to a bound of its own.
        let bare = first.split('(').next().unwrap_or_default();
        if key == RateKey::All {
            return Err("only rates for sources or destinations have names");
        }
        let regular = bare
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !regular || bare.len() > 14 {
            return Err("a name has letters and digits, 14 at most");
        }
        bare.clone_into(&mut name);
    }
    let (rate, burst) = match pieces.as_slice() {
        [rate] => (*rate, DEFAULT_BURST),
        [rate, burst] => {
            let burst = burst.parse().ok().filter(|&burst: &u32| burst > 0);
            (*rate, burst.ok_or("the burst is a number from 1 on")?)
        }
        _ => return Err("expected a number and a unit"),
    };
    let (packets, unit) = rate.split_once('/').unwrap_or((rate, "sec"));
    let period_ms = period_ms(unit).ok_or("the unit is sec, min, hour or day")?;
    let packets = packets.parse().ok().filter(|&packets: &u32| packets > 0);
    Ok(Rate {
        name,
        packets: packets.ok_or("the rate is a number from 1 on")?,
        period_ms,
        burst,
        key,
    })
}

/// `s`, `d`, `s/24`, `d/24`.
fn side_and_length(text: &str) -> Option<(char, Result<u8, &'static str>)> {
    let side = text
        .chars()
        .next()
        .filter(|side| matches!(side, 's' | 'd'))?;
    let rest = &text[1..];
    if rest.is_empty() {
        return Some((side, Ok(32)));
    }
    let length = rest.strip_prefix('/')?;
    let length = length.parse().ok().filter(|length| *length <= 32);
    Some((side, length.ok_or("the length of a prefix is 0 to 32")))
}

fn is_rate(text: &str) -> bool {
    text.contains('/') || (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
}

/// Milliseconds of a unit of time.
pub(crate) fn period_ms(unit: &str) -> Option<u32> {
    Some(match unit {
        "sec" | "second" => 1_000,
        "min" | "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        _ => return None,
    })
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0i32;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth <= 0 && character == ':'
    })
    .collect()
}

/// `[d:][!]COUNT[:LENGTH]`.
fn connection_limit(session: &mut Session<'_>, word: &Word) -> Option<(u32, ConnectionKey, Side)> {
    let limit = parse_connection_limit(word.text());
    if limit.is_none() {
        session.error(
            word.span(),
            format!("`{}` is not a number of connections", word.text()),
            "expected for example 5, 5:24 or d:5",
            "[d:][!]COUNT[:LENGTH]; `d:` counts per destination, `!` is for what goes beyond",
        );
    }
    limit
}

fn parse_connection_limit(text: &str) -> Option<(u32, ConnectionKey, Side)> {
    let (destination, text) = match text.strip_prefix("d:") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("s:").unwrap_or(text)),
    };
    let (side, text) = match text.strip_prefix('!') {
        Some(rest) => (Side::Above, rest),
        None => (Side::Within, text),
    };
    let (count, length) = text.split_once(':').unwrap_or((text, "32"));
    let length = length.parse().ok().filter(|length: &u8| *length <= 32)?;
    let key = if destination {
        ConnectionKey::Destination(length)
    } else {
        ConnectionKey::Source(length)
    };
    Some((count.parse().ok()?, key, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        parse_rate(text, RateKey::All).unwrap()
    }

    #[test]
    fn rates_are_read_as_shorewall_writes_them() {
        let plain = rate("5/sec:10");
        assert_eq!(
            (plain.packets, plain.period_ms, plain.burst, plain.key),
            (5, 1_000, 10, RateKey::All)
        );
        let named = rate("s:mail:3/min");
        assert_eq!(
            (named.name.as_str(), named.burst, named.key),
            ("mail", DEFAULT_BURST, RateKey::Source(32))
        );
        assert_eq!(rate("s/24::10/sec").key, RateKey::Source(24));
        assert_eq!(rate("d:5/day:50").key, RateKey::Destination(32));
        assert_eq!(rate("s:netfw(1024,65536):10/hour").name, "netfw");
        for wrong in [
            "",
            "0/sec",
            "5/week",
            "s/33:5/sec",
            "5/sec:0",
            "a:5/sec",
            "s:5/sec:1:2",
        ] {
            assert!(parse_rate(wrong, RateKey::All).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_of_connections_are_read_as_shorewall_writes_them() {
        let within = |key| Some((5, key, Side::Within));
        assert_eq!(
            parse_connection_limit("5:24"),
            within(ConnectionKey::Source(24))
        );
        assert_eq!(
            parse_connection_limit("d:5"),
            within(ConnectionKey::Destination(32))
        );
        assert_eq!(
            parse_connection_limit("!5"),
            Some((5, ConnectionKey::Source(32), Side::Above))
        );
        for wrong in ["", "x", "5:33", "d:", "-1"] {
            assert_eq!(parse_connection_limit(wrong), None, "{wrong}");
        }
    }
}
