//! shorewall.conf: every setting is implemented, or has no effect here for a stated reason, or is
//! refused when its value would change what happens to packets.

use std::collections::BTreeMap;

use firewalldom::policy::{
    ClampMss, Disposition, Exception, Log, LogLimit, RouteFilter, Settings, States,
};

use crate::interface_options::{parse_mss, parse_route_filter};
use crate::level;
use crate::report::{Edit, Finding};
use crate::rules::Blacklist;
use crate::session::Session;
use crate::setting_table::{Handling, SETTINGS, setting};
use crate::shell::{Assignment, read_settings};
use crate::source::Word;
use crate::suggest::did_you_mean;

/// The settings of a site: what shorewall.conf says, else Shorewall's built-in defaults (which
/// are not those of the shorewall.conf that Debian installs).
pub(crate) struct Configuration {
    values: BTreeMap<&'static str, Word>,
    /// Whether there is a shorewall.conf.
    is_written: bool,
}

impl Configuration {
    /// Reads shorewall.conf, if there is one, and checks each of its settings.
    pub(crate) fn read(session: &mut Session<'_>) -> Self {
        let path = session.shorewall_file("shorewall.conf");
        // Shorewall knows its settings as variables whether they are set or not.
        session.variables.add_settings();
        session.variables.insert("LOG_LEVEL", "info");
        for (name, value) in [
            ("CONFDIR", "/etc"),
            ("SHAREDIR", "/usr/share"),
            ("SBINDIR", "/usr/sbin"),
            ("VARDIR", "/var/lib/shorewall"),
        ] {
            session.variables.insert_if_unset(name, value);
        }
        let mut values = BTreeMap::new();
        let file = session.open(&path);
        let is_written = file.is_some();
        if let Some(file) = file {
            for assignment in read_settings(session, file) {
                if let Some(name) = check(session, &assignment) {
                    values.insert(name, assignment.value);
                }
            }
        }
        Self { values, is_written }
    }

    /// EXPAND_POLICIES: Yes in the shorewall.conf that Debian installs, and No in one that does not
    /// say.
    pub(crate) fn expands_policies(&self) -> bool {
        self.flag("EXPAND_POLICIES", !self.is_written)
    }

    /// The value of a setting; `None` when it is not set or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&Word> {
        self.values.get(name).filter(|value| !value.is_empty())
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name)
            .map_or(default, |value| truth(value.text()).unwrap_or(default))
    }

    /// BLACKLIST, BLACKLIST_DISPOSITION and BLACKLIST_LOG_LEVEL.
    pub(crate) fn blacklist(&self, session: &mut Session<'_>) -> Blacklist {
        let exception = self.exception(
            session,
            "BLACKLIST_DISPOSITION",
            "BLACKLIST_LOG_LEVEL",
            "",
            Disposition::Drop,
        );
        let Some(value) = self.get("BLACKLIST") else {
            // Shorewall's own default, not that of its samples.
            return Blacklist {
                states: States(States::ALL.0 & !States::RELATED.0),
                exception,
            };
        };
        let mut states = States(0);
        for item in value.split(',') {
            states = states.union(match item.text() {
                "ALL" => States::ALL,
                "NEW" => States::NEW,
                "ESTABLISHED" => States::ESTABLISHED,
                "RELATED" => States::RELATED,
                "INVALID" => States::INVALID,
                "UNTRACKED" => States::UNTRACKED,
                other => {
                    let known = [
                        "ALL",
                        "NEW",
                        "ESTABLISHED",
                        "RELATED",
                        "INVALID",
                        "UNTRACKED",
                    ];
                    session.report(
                        Finding::error(format!("BLACKLIST has no state `{other}`"))
                            .at(item.span(), "expected ALL, or a list of states")
                            .maybe_note(did_you_mean(other, known)),
                    );
                    States::ALL
                }
            });
        }
        Blacklist { states, exception }
    }

    /// ROUTE_FILTER: the check of every interface.
    pub(crate) fn route_filter(&self, session: &mut Session<'_>) -> RouteFilter {
        let Some(value) = self.get("ROUTE_FILTER") else {
            return RouteFilter::Off;
        };
        match value.text().to_ascii_lowercase().as_str() {
            "yes" | "on" => RouteFilter::Strict,
            "no" | "off" | "keep" => RouteFilter::Off,
            other => parse_route_filter(other).unwrap_or_else(|| {
                session.error(
                    value.span(),
                    format!("ROUTE_FILTER cannot be `{}`", value.text()),
                    "expected Yes, No, Keep or 2",
                    "",
                );
                RouteFilter::Strict
            }),
        }
    }

    /// What the engine needs of it.
    pub(crate) fn compile(&self, session: &mut Session<'_>) -> Settings {
        Settings {
            log_format: self.log_format(session),
            log_limit: self.log_limit(session),
            forwarding: self.forwarding(session),
            tcp_flags: self.exception(
                session,
                "TCP_FLAGS_DISPOSITION",
                "TCP_FLAGS_LOG_LEVEL",
                "",
                Disposition::Drop,
            ),
            smurfs: self.exception(
                session,
                "SMURF_DISPOSITION",
                "SMURF_LOG_LEVEL",
                "",
                Disposition::Drop,
            ),
            hairpin: self.exception(
                session,
                "SFILTER_DISPOSITION",
                "SFILTER_LOG_LEVEL",
                "info",
                Disposition::Drop,
            ),
            related: self.optional_exception(
                session,
                "RELATED_DISPOSITION",
                "RELATED_LOG_LEVEL",
                Some(Disposition::Accept),
            ),
            invalid: self.optional_exception(
                session,
                "INVALID_DISPOSITION",
                "INVALID_LOG_LEVEL",
                None,
            ),
            untracked: self.optional_exception(
                session,
                "UNTRACKED_DISPOSITION",
                "UNTRACKED_LOG_LEVEL",
                None,
            ),
            rpfilter: self.exception(
                session,
                "RPFILTER_DISPOSITION",
                "RPFILTER_LOG_LEVEL",
                "info",
                Disposition::Drop,
            ),
            clamp_mss: self.clamp_mss(session),
            utc_offsets: Vec::new(),
        }
    }

    /// CLAMPMSS: Yes, No, or a number of bytes.
    fn clamp_mss(&self, session: &mut Session<'_>) -> Option<ClampMss> {
        let value = self.get("CLAMPMSS")?;
        match truth(value.text()) {
            Some(true) => Some(ClampMss::PathMtu),
            Some(false) => None,
            None => parse_mss(session, value).map(ClampMss::At),
        }
    }

    fn log_format(&self, session: &mut Session<'_>) -> String {
        let Some(value) = self.get("LOGFORMAT") else {
            return "Shorewall:%s:%s:".to_owned();
        };
        // Exactly two `%s`, or `%s` after a `%d` that numbers the rules.
        let text = value.text();
        let plain = text.replace("%s", "");
        if text.matches("%s").count() != 2 || plain.contains('%') {
            session.error(
                value.span(),
                format!("LOGFORMAT `{text}` is not supported"),
                "two `%s` are needed: chain and disposition",
                "write: LOGFORMAT=\"Shorewall:%s:%s:\"",
            );
        }
        text.to_owned()
    }

    fn log_limit(&self, session: &mut Session<'_>) -> Option<LogLimit> {
        let value = self.get("LOGLIMIT")?;
        let limit = parse_log_limit(value.text());
        if limit.is_none() {
            session.error(
                value.span(),
                format!("`{}` is not a rate", value.text()),
                "expected for example s:1/sec:10",
                "[s:]NUMBER/{sec|min|hour|day}[:BURST]; `s:` counts per source address",
            );
        }
        limit
    }

    fn forwarding(&self, session: &mut Session<'_>) -> bool {
        let Some(value) = self.get("IP_FORWARDING") else {
            return true;
        };
        match value.text().to_ascii_lowercase().as_str() {
            "on" | "yes" => true,
            "off" | "no" => false,
            "keep" => {
                session.report(
                    Finding::warning("IP_FORWARDING=Keep: forwarding is on")
                        .at(value.span(), "there is no earlier state to keep here")
                        .note("write IP_FORWARDING=On, or Off for a host that forwards nothing"),
                );
                true
            }
            other => {
                session.error(
                    value.span(),
                    format!("IP_FORWARDING cannot be `{other}`"),
                    "expected On, Off or Keep",
                    "",
                );
                false
            }
        }
    }

    fn exception(
        &self,
        session: &mut Session<'_>,
        disposition: &str,
        log: &str,
        default_log: &str,
        default: Disposition,
    ) -> Exception {
        let disposition = match self.get(disposition) {
            None => default,
            Some(word) => parse_disposition(session, disposition, word)
                .flatten()
                .unwrap_or(default),
        };
        Exception {
            disposition,
            log: self.log_setting(session, log, default_log, disposition),
        }
    }

    fn optional_exception(
        &self,
        session: &mut Session<'_>,
        name: &str,
        log: &str,
        default: Option<Disposition>,
    ) -> Option<Exception> {
        let disposition = match self.get(name) {
            None => default,
            Some(word) => parse_disposition(session, name, word).unwrap_or(default),
        };
        match disposition {
            Some(disposition) => Some(Exception {
                disposition,
                log: self.log_setting(session, log, "", disposition),
            }),
            None => {
                if let Some(word) = self.get(log)
                    && level::parse(session, word).is_some_and(|level| level.is_some())
                {
                    session.error(
                        word.span(),
                        format!("{log} without a disposition is not supported yet"),
                        "would log packets that go on",
                        format!("leave {log} empty, or set {name}"),
                    );
                }
                None
            }
        }
    }

    fn log_setting(
        &self,
        session: &mut Session<'_>,
        name: &str,
        default: &str,
        disposition: Disposition,
    ) -> Option<Log> {
        let level = match self.values.get(name) {
            Some(word) if !word.is_empty() => level::parse(session, word).flatten()?,
            _ if default.is_empty() => return None,
            _ => level::number(default)?,
        };
        Some(Log {
            level,
            disposition: level::disposition_word(disposition).to_owned(),
            tag: None,
        })
    }
}

/// Reads `capabilities`, if there is such a file: `NAME=Yes` for what the Linux kernel can do.
pub(crate) fn read_capabilities(session: &mut Session<'_>) {
    let path = session.shorewall_file("capabilities");
    let Some(file) = session.open(&path) else {
        return;
    };
    let lines = session.sources.text(file).lines();
    let assignments = lines.filter_map(|line| line.trim().split_once('='));
    let named = assignments.map(|(name, value)| (name.to_owned(), value.to_owned()));
    session.capabilities = Some(named.collect());
}

/// Checks one setting against the table; its name there.
fn check(session: &mut Session<'_>, assignment: &Assignment) -> Option<&'static str> {
    let Assignment { name, value } = assignment;
    let Some((known, handling)) = setting(name.text()) else {
        // Shorewall ignores what it does not know; a slip of the fingers is meant to count.
        let meant = did_you_mean(name.text(), SETTINGS.iter().map(|(name, _)| *name));
        let message = format!("unknown setting {}", name.text());
        session.report(match meant {
            Some(meant) => Finding::error(message)
                .at(name.span(), "not one of Shorewall 5.2's")
                .note(meant),
            None => Finding::warning(message)
                .at(
                    name.span(),
                    "not one of Shorewall 5.2's: ignored, as Shorewall does",
                )
                .note("take the line out")
                .edit(Edit::remove_line(name.span())),
        });
        return None;
    };
    if let Handling::Renamed(today) = handling {
        session.report(
            Finding::warning(format!("{known} is called {today} today"))
                .at(name.span(), "old spelling")
                .note(format!("write: {today}={}", value.text()))
                .edit(Edit::replace(name.span(), *today)),
        );
        let renamed = Word::literal(name.file(), today, name.span().start);
        return check(
            session,
            &Assignment {
                name: renamed,
                value: value.clone(),
            },
        );
    }
    match handling {
        Handling::Renamed(_) => {}
        Handling::Implemented | Handling::NoEffect(_) => {}
        Handling::Only(harmless, reason) => {
            let text = value.text();
            let fits = text.is_empty()
                || harmless
                    .iter()
                    .any(|harmless| harmless.eq_ignore_ascii_case(text));
            if !fits {
                let advice = harmless.first().map_or_else(
                    || format!("leave it empty: {known}="),
                    |value| format!("write: {known}={value}"),
                );
                session.report(
                    Finding::error(format!("{known}={text} is not supported yet"))
                        .at(value.span(), *reason)
                        .note(advice),
                );
            }
        }
        Handling::Removed(reason) => session.report(
            Finding::warning(format!("Shorewall 5.2 has no setting {known}"))
                .at(name.span(), *reason)
                .note("take the line out")
                .edit(Edit::remove_line(name.span())),
        ),
    }
    Some(known)
}

fn parse_disposition(
    session: &mut Session<'_>,
    name: &str,
    word: &Word,
) -> Option<Option<Disposition>> {
    let allowed: &[&str] = match name {
        "SMURF_DISPOSITION" => &["DROP"],
        "BLACKLIST_DISPOSITION" => &["DROP", "REJECT"],
        "SFILTER_DISPOSITION" | "RPFILTER_DISPOSITION" => &["DROP", "REJECT"],
        "INVALID_DISPOSITION" => &["CONTINUE", "DROP", "REJECT"],
        "TCP_FLAGS_DISPOSITION" => &["DROP", "REJECT", "ACCEPT"],
        _ => &["CONTINUE", "ACCEPT", "DROP", "REJECT"],
    };
    if !allowed.contains(&word.text()) {
        session.error(
            word.span(),
            format!("{name} cannot be `{}`", word.text()),
            "not possible",
            format!("one of: {}", allowed.join(", ")),
        );
        return None;
    }
    Some(match word.text() {
        "ACCEPT" => Some(Disposition::Accept),
        "DROP" => Some(Disposition::Drop),
        "REJECT" => Some(Disposition::Reject),
        _ => None,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "1" => Some(true),
        "no" | "off" | "0" | "" => Some(false),
        _ => None,
    }
}

/// `[s:]NUMBER[/UNIT][:BURST]`.
fn parse_log_limit(text: &str) -> Option<LogLimit> {
    let (per_source, rest) = match text.strip_prefix("s:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (rate, burst) = match rest.split_once(':') {
        Some((rate, burst)) => (rate, burst.parse().ok().filter(|&burst: &u32| burst > 0)?),
        // netfilter's default.
        None => (rest, 5),
    };
    let (rate, unit) = rate.split_once('/').unwrap_or((rate, "sec"));
    let period_ms = crate::limits::period_ms(unit)?;
    let rate = rate.parse().ok().filter(|&rate: &u32| rate > 0)?;
    Some(LogLimit {
        rate,
        period_ms,
        burst,
        per_source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_shorewalls_samples_is_read() {
        assert_eq!(
            parse_log_limit("s:1/sec:10"),
            Some(LogLimit {
                rate: 1,
                period_ms: 1_000,
                burst: 10,
                per_source: true
            })
        );
        assert_eq!(
            parse_log_limit("12/min"),
            Some(LogLimit {
                rate: 12,
                period_ms: 60_000,
                burst: 5,
                per_source: false
            })
        );
        for wrong in ["", "0/sec", "1/week", "s:1/sec:0", "x", "1/sec:99999999999"] {
            assert_eq!(parse_log_limit(wrong), None, "{wrong}");
        }
    }
}
