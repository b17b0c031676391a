//! The column TIME.
//!
//! Without `localtz` the times are UTC: that is what the rules mean that Shorewall 5.2.8 generates,
//! whatever its manual says.

use firewalldom::policy::{Clock, TimeWindow};

use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;

const WEEK_DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ELEMENTS: [&str; 9] = [
    "timestart",
    "timestop",
    "weekdays",
    "monthdays",
    "datestart",
    "datestop",
    "utc",
    "localtz",
    "contiguous",
];
const DAY_S: u32 = 86_400;

/// Reads `element&element…`. `None`: reported.
pub(crate) fn read(session: &mut Session<'_>, word: &Word) -> Option<TimeWindow> {
    let mut window = TimeWindow {
        day_start_s: 0,
        day_stop_s: DAY_S - 1,
        week_days: 0x7f,
        month_days: 0xffff_fffe,
        date_start_s: None,
        date_stop_s: None,
        clock: Clock::Utc,
    };
    let mut complete = true;
    let mut clock_named = false;
    let mut contiguous = false;
    for element in word.split('&') {
        let (name, value) = match element.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (element.clone(), None),
        };
        let text = value.as_ref().map(Word::text).unwrap_or_default();
        let understood = match (name.text(), value.is_some()) {
            ("timestart", true) => assign(&mut window.day_start_s, second_of_day(text)),
            ("timestop", true) => assign(&mut window.day_stop_s, second_of_day(text)),
            ("weekdays", true) => assign(&mut window.week_days, week_days(text)),
            ("monthdays", true) => assign(&mut window.month_days, month_days(text)),
            ("datestart", true) => assign(&mut window.date_start_s, date(text).map(Some)),
            ("datestop", true) => assign(&mut window.date_stop_s, date(text).map(Some)),
            ("utc", false) => {
                clock_named = true;
                true
            }
            ("localtz" | "kerneltz", false) => {
                session.error(
                    name.span(),
                    "local time is not supported yet",
                    "the domain's clock is UTC",
                    "write the times in UTC, and &utc",
                );
                return None;
            }
            ("contiguous", false) => {
                contiguous = true;
                true
            }
            _ => false,
        };
        if !understood {
            complete = false;
            let meant = match ELEMENTS.contains(&name.text()) {
                true => None,
                false => did_you_mean(name.text(), ELEMENTS),
            };
            session.report(
                Finding::error(format!("`{}` is no part of a time", element.text()))
                    .at(element.span(), "not understood")
                    .maybe_note(meant)
                    .note("for example timestart=08:00&timestop=18:00&weekdays=Mon,Tue&utc"),
            );
        }
    }
    if complete && !clock_named {
        session.report(
            Finding::warning("these times are UTC")
                .at(word.span(), "as in the rules that Shorewall generates")
                .note("write &utc to say so"),
        );
    }
    let wraps = window.day_stop_s < window.day_start_s;
    let by_day = window.week_days != 0x7f || window.month_days != 0xffff_fffe;
    if contiguous && wraps && by_day {
        session.error(
            word.span(),
            "`contiguous` with days is not supported yet",
            "the night after such a day belongs to it",
            "write two rules",
        );
        return None;
    }
    complete.then_some(window)
}

fn assign<T>(place: &mut T, value: Option<T>) -> bool {
    let understood = value.is_some();
    if let Some(value) = value {
        *place = value;
    }
    understood
}

/// `hh:mm[:ss]`.
fn second_of_day(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| number(part, 2));
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        None => 0,
        Some(second) => second?,
    };
    let ends = parts.next().is_none();
    (ends && hour < 24 && minute < 60 && second < 60).then_some((hour * 60 + minute) * 60 + second)
}

/// A number of at most so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let plain =
        !text.is_empty() && text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `Mon,Tue`.
fn week_days(text: &str) -> Option<u8> {
    let mut days = 0;
    for day in text.split(',') {
        let index = WEEK_DAYS.iter().position(|known| *known == day);
        days |= 1 << index.or_else(|| number(day, 1)?.checked_sub(1).map(|day| day as usize))?;
        if days > 0x7f {
            return None;
        }
    }
    Some(days as u8)
}

/// `1,15,31`.
fn month_days(text: &str) -> Option<u32> {
    let mut days = 0;
    for day in text.split(',') {
        let day = number(day, 2).filter(|day| (1..=31).contains(day))?;
        days |= 1 << day;
    }
    Some(days)
}

/// `yyyy[-mm[-dd[Thh[:mm[:ss]]]]]` as seconds from 1970.
fn date(text: &str) -> Option<u32> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let mut parts = day.split('-').map(|part| number(part, 4));
    let year = parts.next()??;
    let month = parts.next().unwrap_or(Some(1))?;
    let day = parts.next().unwrap_or(Some(1))?;
    let exists = (1970..2106).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && parts.next().is_none();
    if !exists {
        return None;
    }
    let second = match time {
        None => 0,
        Some(time) if time.contains(':') => second_of_day(time)?,
        Some(hour) => number(hour, 2).filter(|hour| *hour < 24)? * 3_600,
    };
    let years: u32 = (1970..year)
        .map(|year| 365 + u32::from(is_leap(year)))
        .sum();
    let months: u32 = (1..month).map(|month| days_of_month(year, month)).sum();
    (years + months + day - 1)
        .checked_mul(DAY_S)?
        .checked_add(second)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_month(year: u32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_are_read() {
        assert_eq!(second_of_day("08:00"), Some(28_800));
        assert_eq!(second_of_day("23:59:59"), Some(DAY_S - 1));
        assert_eq!(week_days("Mon,Sun"), Some(0x41));
        assert_eq!(month_days("1,31"), Some(0x8000_0002));
        assert_eq!(date("1970"), Some(0));
        assert_eq!(date("2024-03-01T12:30"), Some(1_709_296_200));
        assert_eq!(date("2026-11-21T07"), Some(1_795_244_400));
        for wrong in ["24:00", "8", "08:60", "08:00:00:00", "", "x:y"] {
            assert_eq!(second_of_day(wrong), None, "{wrong}");
        }
        for wrong in ["2023-02-29", "1969", "2024-13", "2024-1-1-1", "2024T24"] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }
}
