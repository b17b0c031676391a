//! Log levels and tags.

use firewalldom::policy::{Disposition, Log};

use crate::names::{LOG_LEVELS, lookup};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;

/// syslog's number of a level.
pub(crate) fn number(text: &str) -> Option<u8> {
    match text.parse::<u8>() {
        Ok(number) => (number <= 7).then_some(number),
        Err(_) => lookup(LOG_LEVELS, text),
    }
}

/// A level as a column or setting says it. `Some(None)`: none. `None`: reported.
pub(crate) fn parse(session: &mut Session<'_>, word: &Word) -> Option<Option<u8>> {
    let text = word.text();
    let bare = text.strip_suffix('!').unwrap_or(text);
    if bare.is_empty() || bare.eq_ignore_ascii_case("none") {
        return Some(None);
    }
    if let Some(level) = number(bare) {
        return Some(Some(level));
    }
    let upper = bare.to_ascii_uppercase();
    if upper.starts_with("NFLOG") || upper.starts_with("ULOG") {
        session.report(
            Finding::warning(format!("`{text}` goes to the domain's console"))
                .at(word.span(), "no daemon for netlink logging runs here")
                .note("logged as info; write: info"),
        );
        return Some(Some(6));
    }
    if bare.contains('(') {
        session.error(
            word.span(),
            "options of a log level are not supported yet",
            "only the level itself",
            "write: info",
        );
        return None;
    }
    session.report(
        Finding::error(format!("`{text}` is not a log level"))
            .at(word.span(), "unknown level")
            .maybe_note(did_you_mean(bare, LOG_LEVELS.iter().map(|level| level.0)))
            .note("the levels are: debug info notice warning err crit alert emerg, or 7 to 0"),
    );
    None
}

/// `level[:tag]`. `Some(None)`: not logged.
pub(crate) fn log(
    session: &mut Session<'_>,
    level: Option<&Word>,
    tag: Option<&Word>,
    disposition: &str,
) -> Option<Option<Log>> {
    let Some(word) = level else {
        return Some(None);
    };
    let Some(level) = parse(session, word)? else {
        return Some(None);
    };
    Some(Some(Log {
        level,
        disposition: disposition.to_owned(),
        tag: tag
            .filter(|tag| !tag.is_empty())
            .map(|tag| tag.text().to_owned()),
    }))
}

/// The word that log lines show.
pub(crate) fn disposition_word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Accept => "ACCEPT",
        Disposition::Drop => "DROP",
        Disposition::Reject => "REJECT",
    }
}
