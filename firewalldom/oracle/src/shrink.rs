//! The smallest configuration and the smallest sequence that still differ.

use crate::configuration::Configuration;
use crate::step::Step;
use anyhow::Result;
use std::collections::BTreeMap;

/// Leaves out every step that is not needed for `differs` to hold.
///
/// # Errors
/// Those of `differs`.
pub fn sequence(
    steps: &[Step],
    mut differs: impl FnMut(&[Step]) -> Result<bool>,
) -> Result<Vec<Step>> {
    let mut kept = steps.to_vec();
    // Large parts first, then single steps until none can go.
    let mut size = kept.len().next_power_of_two() / 2;
    while size > 0 {
        let mut removed = false;
        let mut start = 0;
        while start < kept.len() {
            let end = (start + size).min(kept.len());
            let shorter = without(&kept, start, end);
            if shorter.len() < kept.len() && differs(&shorter)? {
                kept = shorter;
                removed = true;
            } else {
                start = end;
            }
        }
        if size > 1 || !removed {
            size /= 2;
        }
    }
    Ok(kept)
}

/// Leaves out every line, and every column from a line's end, that is not needed for `differs` to
/// hold. Each file is changed by itself.
///
/// # Errors
/// Those of `differs`.
pub fn configuration(
    configuration: &Configuration,
    mut differs: impl FnMut(&Configuration) -> Result<bool>,
) -> Result<Configuration> {
    let mut kept = configuration.clone();
    let today = Configuration {
        old_spellings: BTreeMap::new(),
        ..configuration.clone()
    };
    if differs(&today)? {
        kept = today;
    }
    for path in configuration.files.keys() {
        let mut lines = parts(&kept.text(path));
        let mut size = lines.len().next_power_of_two();
        while size > 0 {
            let mut start = 0;
            while start < lines.len() {
                let end = (start + size).min(lines.len());
                let shorter = [&lines[..start], &lines[end..]].concat();
                let smaller = with(&kept, path, &shorter);
                if differs(&smaller)? {
                    (kept, lines) = (smaller, shorter);
                } else {
                    start = end;
                }
            }
            size /= 2;
        }
        for number in 0..lines.len() {
            while let Some((shorter, _)) = lines[number].trim_end().rsplit_once(char::is_whitespace)
            {
                let mut fewer = lines.clone();
                fewer[number] = shorter.trim_end().to_owned();
                let smaller = with(&kept, path, &fewer);
                if !differs(&smaller)? {
                    break;
                }
                (kept, lines) = (smaller, fewer);
            }
        }
    }
    Ok(kept)
}

/// A file's lines, continued ones whole, and `?IF` with what it encloses.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match parts.last_mut().filter(|_| open) {
            Some(part) => *part += &format!("\n{line}"),
            None => parts.push(line.to_owned()),
        }
        let block = parts.last().is_some_and(|part| part.starts_with("?IF"));
        open = line.ends_with('\\') || block && line != "?ENDIF";
    }
    parts
}

fn with(configuration: &Configuration, path: &str, lines: &[String]) -> Configuration {
    let mut other = configuration.clone();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    other.files.insert(path.to_owned(), text.into_bytes());
    other
}

/// The steps but for `start..end` and the answers to those; the other answers find their steps.
fn without(steps: &[Step], start: usize, end: usize) -> Vec<Step> {
    let mut places: Vec<Option<usize>> = Vec::with_capacity(steps.len());
    let mut kept = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let step = match step {
            _ if (start..end).contains(&number) => None,
            Step::Answer { to, with } => places[*to].map(|to| Step::Answer {
                to,
                with: with.clone(),
            }),
            other => Some(other.clone()),
        };
        places.push(step.as_ref().map(|_| kept.len()));
        kept.extend(step);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Answer;

    fn steps() -> Vec<Step> {
        let answer = |to| Step::Answer {
            to,
            with: Answer::Mirror,
        };
        vec![
            Step::Pause(0),
            Step::Elapse(1),
            Step::Pause(2),
            answer(2),
            answer(1),
            Step::Pause(5),
        ]
    }

    #[test]
    fn answers_go_with_what_they_answer_and_find_it_when_it_moves() {
        let without_first = without(&steps(), 0, 1);
        assert_eq!(
            without_first[2],
            Step::Answer {
                to: 1,
                with: Answer::Mirror
            }
        );
        assert_eq!(without(&steps(), 2, 3).len(), 4);
    }

    #[test]
    fn only_what_matters_is_left() {
        let matters = |steps: &[Step]| {
            let after_time = |step: &Step| match step {
                Step::Answer { to, .. } => steps[*to] == Step::Elapse(1),
                _ => false,
            };
            Ok(steps.iter().any(after_time))
        };
        let smallest = sequence(&steps(), matters).unwrap();
        assert_eq!(
            smallest,
            [
                Step::Elapse(1),
                Step::Answer {
                    to: 0,
                    with: Answer::Mirror
                }
            ]
        );
    }

    #[test]
    fn lines_and_columns_that_do_not_matter_go() {
        let files = [
            (
                "shorewall/rules",
                "ACCEPT net $FW tcp 22\nDROP loc net udp 53 - 192.0.2.1\n",
            ),
            ("shorewall/zones", "fw firewall\nnet ipv4\n"),
        ];
        let configuration = Configuration {
            files: files
                .map(|(name, text)| (name.to_owned(), text.into()))
                .into(),
            ..Configuration::default()
        };
        let smallest = super::configuration(&configuration, |smaller| {
            Ok(smaller.text("shorewall/rules").contains("DROP loc net udp")
                && smaller.text("shorewall/zones").contains("net"))
        })
        .unwrap();
        assert_eq!(smallest.text("shorewall/rules"), "DROP loc net udp\n");
        assert_eq!(smallest.text("shorewall/zones"), "net\n");
    }
}
