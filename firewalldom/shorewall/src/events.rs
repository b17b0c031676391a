//! Actions about what was seen lately of a source: Limit, AutoBL, and events.

use firewalldom::policy::{Disposition, Log, MAX_RECENT_HITS, RecentOperation, RecentUse, Seen};

use crate::action::{self, Action, Part};
use crate::level;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::standard_actions::list_of;
use crate::target::Target;

/// The actions of this module.
pub(crate) const EVENT_ACTIONS: [&str; 5] =
    ["AutoBL", "IfEvent", "Limit", "ResetEvent", "SetEvent"];

const DROP: Target = Target::Decide(Disposition::Drop);
const ACCEPT: Target = Target::Decide(Disposition::Accept);

/// The rules of one of [`EVENT_ACTIONS`]. `None`: reported.
pub(crate) fn parts(
    session: &mut Session<'_>,
    name: &Word,
    parameters: &[Word],
    log: Option<&Log>,
) -> Option<Vec<Part>> {
    match name.text() {
        "AutoBL" => auto_blacklist(session, name, parameters),
        "Limit" => limit(session, name, parameters, log),
        "IfEvent" => if_event(session, name, parameters),
        "SetEvent" => noted(session, name, parameters, RecentOperation::Set),
        _ => noted(session, name, parameters, RecentOperation::Remove),
    }
}

/// A parameter; `None` when it is left out or `-`.
fn given(parameters: &[Word], index: usize) -> Option<&Word> {
    parameters
        .get(index)
        .filter(|word| !matches!(word.text(), "" | "-"))
}

/// The list of an event.
fn event(session: &mut Session<'_>, name: &Word, word: Option<&Word>) -> Option<u16> {
    let regular = |word: &&Word| {
        let text = word.text();
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let Some(word) = word.filter(regular) else {
        session.error(
            word.map_or(name.span(), Word::span),
            format!("{} needs the name of an event", name.text()),
            "a letter, then letters and digits",
            "write for example: SetEvent(knock)",
        );
        return None;
    };
    Some(session.tables.recent_list(word.text()))
}

/// A number, or what stands for it when it is left out.
fn number(session: &mut Session<'_>, word: Option<&Word>, default: u32) -> Option<u32> {
    let Some(word) = word else {
        return Some(default);
    };
    let number = word.text().parse().ok();
    if number.is_none() {
        session.error(
            word.span(),
            format!("`{}` is not a number", word.text()),
            "expected a number",
            "",
        );
    }
    number
}

/// How often a source must have been seen.
fn hits(session: &mut Session<'_>, place: &Word, count: u32) -> Option<u8> {
    let hits = u8::try_from(count)
        .ok()
        .filter(|hits| (1..=MAX_RECENT_HITS).contains(hits));
    if hits.is_none() {
        session.error(
            place.span(),
            format!("a source is remembered for {MAX_RECENT_HITS} packets"),
            "from 1 on",
            "as in Linux; take a RATE for more",
        );
    }
    hits
}

/// Only sources are remembered.
fn only_sources(session: &mut Session<'_>, word: Option<&Word>) -> Option<()> {
    match word {
        Some(word) if word.text() != "src" => {
            session.error(
                word.span(),
                "events of destinations are not supported yet",
                "only src",
                "",
            );
            None
        }
        _ => Some(()),
    }
}

fn seen(seconds: u32, hits: u8) -> Seen {
    Seen { seconds, hits }
}

fn using(list: u16, operation: RecentOperation) -> RecentUse {
    RecentUse { list, operation }
}

/// The action that an event leads to, ACCEPT if none is named.
fn outcome(session: &mut Session<'_>, word: Option<&Word>) -> Option<Action> {
    match word {
        Some(word) => action::parse(session, word),
        None => Some(Action {
            parts: vec![Part::new(ACCEPT)],
            log: None,
        }),
    }
}

/// Each rule of an action, once an event was seen or is noted.
fn with_event(
    session: &mut Session<'_>,
    name: &Word,
    outcome: &Action,
    recent: RecentUse,
    word: Option<&Word>,
) -> Vec<Part> {
    let logged = |part: &Part| {
        let log = outcome.log_for(part)?;
        Some(match word {
            Some(word) => Log {
                disposition: word.text().to_owned(),
                ..log
            },
            None => log,
        })
    };
    if let [part] = outcome.parts.as_slice()
        && part.recent.is_none()
    {
        return vec![Part {
            recent: Some(recent),
            log: logged(part),
            ..part.clone()
        }];
    }
    // The event is asked once, not once for each rule.
    let parts: Vec<Part> = outcome
        .parts
        .iter()
        .map(|part| Part {
            log: logged(part),
            ..part.clone()
        })
        .collect();
    let list = list_of(session, name, None, &parts);
    vec![Part::recent(Target::Call(list), recent)]
}

/// `IfEvent(EVENT[,ACTION[,SECONDS[,HITS[,src[,COMMAND[,WORD]]]]]])`.
fn if_event(session: &mut Session<'_>, name: &Word, parameters: &[Word]) -> Option<Vec<Part>> {
    let list = event(session, name, given(parameters, 0))?;
    let outcome = outcome(session, given(parameters, 1))?;
    let seconds = number(session, given(parameters, 2), 0)?;
    let count = number(session, given(parameters, 3), 1)?;
    let hits = hits(session, given(parameters, 3).unwrap_or(name), count)?;
    only_sources(session, given(parameters, 4))?;
    let command = given(parameters, 5);
    let mut words = command.map_or("check", Word::text).split(':');
    let operation = match words.next() {
        Some("check") => RecentOperation::Check(seen(seconds, hits)),
        Some("update") => RecentOperation::Update(seen(seconds, hits)),
        _ => {
            session.error(
                command.unwrap_or(name).span(),
                "this command of IfEvent is not supported yet",
                "only check and update",
                "ResetEvent forgets a source",
            );
            return None;
        }
    };
    // `reap` only keeps Linux' list short.
    if words.any(|option| option != "reap") {
        session.error(
            command.unwrap_or(name).span(),
            "this option of IfEvent is not supported yet",
            "only reap",
            "",
        );
        return None;
    }
    Some(with_event(
        session,
        name,
        &outcome,
        using(list, operation),
        given(parameters, 6),
    ))
}

/// `SetEvent(EVENT[,ACTION[,src[,WORD]]])` and ResetEvent.
fn noted(
    session: &mut Session<'_>,
    name: &Word,
    parameters: &[Word],
    operation: RecentOperation,
) -> Option<Vec<Part>> {
    let list = event(session, name, given(parameters, 0))?;
    let outcome = outcome(session, given(parameters, 1))?;
    only_sources(session, given(parameters, 2))?;
    Some(with_event(
        session,
        name,
        &outcome,
        using(list, operation),
        given(parameters, 3),
    ))
}

/// `Limit(SET,CONNECTIONS,SECONDS)`, also as a log tag: `Limit:info:SET,CONNECTIONS,SECONDS`.
fn limit(
    session: &mut Session<'_>,
    name: &Word,
    parameters: &[Word],
    log: Option<&Log>,
) -> Option<Vec<Part>> {
    let mut parameters = parameters.to_vec();
    let mut log = log.cloned();
    if parameters.is_empty()
        && let Some(tag) = log.as_mut().and_then(|log| log.tag.take())
    {
        parameters = Word::replacing(name.span(), &tag).split(',');
        log = log.map(|log| Log {
            tag: parameters.first().map(|set| set.text().to_owned()),
            ..log
        });
    }
    let [set, connections, interval] = parameters.as_slice() else {
        session.error(
            name.span(),
            "Limit needs a set, a number of connections and an interval",
            "three parameters",
            "write for example: Limit(SSHA,3,60)",
        );
        return None;
    };
    session.report(
        Finding::warning("Limit is out of use in Shorewall")
            .at(name.span(), "the column RATE does this")
            .note("for example s:3/min:3 in the column RATE of an ACCEPT rule"),
    );
    let list = event(session, name, Some(set))?;
    let count = number(session, Some(connections), 0)?;
    let seconds = number(session, Some(interval), 0)?;
    let hits = hits(session, connections, count.saturating_add(1))?;
    let parts = [
        Part::recent(Target::Continue("LOG"), using(list, RecentOperation::Set)),
        Part {
            log: log.map(|log| Log {
                disposition: DROP.word(),
                ..log
            }),
            ..Part::recent(
                DROP,
                using(list, RecentOperation::Update(seen(seconds, hits))),
            )
        },
        Part::new(ACCEPT),
    ];
    let list = list_of(session, name, None, &parts);
    Some(vec![Part::new(Target::Call(list))])
}

/// `AutoBL(EVENT,INTERVAL,COUNT,SUCCESSIVE,BLACKLISTED,DISPOSITION,LEVEL)`: who comes too often is
/// shut out for a while.
fn auto_blacklist(
    session: &mut Session<'_>,
    name: &Word,
    parameters: &[Word],
) -> Option<Vec<Part>> {
    let event_word = given(parameters, 0);
    let seen_list = event(session, name, event_word)?;
    let listed_name = format!("{}_BL", event_word.map_or("", Word::text));
    let listed = session.tables.recent_list(&listed_name);
    let interval = number(session, given(parameters, 1), 60)?;
    let count = number(session, given(parameters, 2), 5)?;
    let successive = number(session, given(parameters, 3), 2)?;
    let blacklisted = number(session, given(parameters, 4), 300)?;
    if interval == 0 || blacklisted == 0 {
        session.error(
            name.span(),
            "the times of AutoBL are seconds from 1 on",
            "one of them is 0",
            "",
        );
        return None;
    }
    let hits = hits(session, given(parameters, 2).unwrap_or(name), count)?;
    let disposition = match given(parameters, 5) {
        None => DROP,
        Some(word) => match action::parse(session, word)?.parts.as_slice() {
            [part] if part.target.refuses() => part.target,
            _ => {
                session.error(
                    word.span(),
                    "AutoBL shuts out with DROP or REJECT",
                    "neither",
                    "",
                );
                return None;
            }
        },
    };
    let level = match given(parameters, 6) {
        None => Some(6),
        Some(word) => level::parse(session, word)?,
    };
    let logged = |word: &str| {
        level.map(|level| Log {
            level,
            disposition: word.to_owned(),
            tag: None,
        })
    };
    let helper = Word::replacing(name.span(), "AutoBLL");
    let mut helper_parts = Vec::new();
    if logged("").is_some() {
        helper_parts.push(Part {
            log: logged("LOG"),
            ..Part::new(Target::Continue("LOG"))
        });
    }
    helper_parts.push(Part::recent(
        disposition,
        using(listed, RecentOperation::Set),
    ));
    let shut_out = list_of(session, &helper, None, &helper_parts);
    let mut parts = vec![
        Part::recent(
            disposition,
            using(listed, RecentOperation::Check(seen(blacklisted, 1))),
        ),
        Part::recent(
            Target::Call(shut_out),
            using(seen_list, RecentOperation::Check(seen(interval, hits))),
        ),
    ];
    if successive > 0 {
        parts.push(Part {
            log: logged("Added"),
            ..Part::recent(
                disposition,
                using(seen_list, RecentOperation::Update(seen(successive, 1))),
            )
        });
    }
    parts.push(Part {
        log: logged("Removed"),
        ..Part::recent(
            Target::Continue("LOG"),
            using(listed, RecentOperation::Remove),
        )
    });
    parts.push(Part::recent(ACCEPT, using(seen_list, RecentOperation::Set)));
    let list = list_of(session, name, None, &parts);
    Some(vec![Part::new(Target::Call(list))])
}
