//! `key=value,key=value`, as QEMU's options are written.

use super::Refusal;

/// The pairs of an option's value, in order; a word without `=` has an empty value.
pub(super) struct Options<'a> {
    rest: Option<&'a str>,
}

impl<'a> Options<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: Some(text).filter(|text| !text.is_empty()),
        }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let word = match rest.split_once(',') {
            Some((word, rest)) => {
                self.rest = Some(rest);
                word
            }
            None => rest,
        };
        Some(word.split_once('=').unwrap_or((word, "")))
    }
}

/// A decimal number within bounds.
pub(super) fn number(option: &str, value: &str, min: u64, max: u64) -> Result<u64, Refusal> {
    let number = value.parse().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| Refusal::malformed(option, value, "a number that can be"))
}
