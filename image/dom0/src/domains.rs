//! Which domain is meant.

use crate::store::{Store, StoreError};
use minios_rs::xen::DomId;
use std::fmt;
use thiserror::Error;

/// A domain that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) id: DomId,
    pub(crate) name: String,
}

/// Why no domain was found.
#[derive(Debug, Error)]
pub(crate) enum FindError {
    /// None has this name.
    #[error("no domain is called `{}`; there are: {}", Clean(.wanted), Clean(&.names.join(", ")))]
    NoSuchName {
        /// What was asked for.
        wanted: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// None has this number.
    #[error("there is no domain {wanted}; `xl list` shows which there are")]
    NoSuchNumber {
        /// What was asked for.
        wanted: String,
    },
    /// Xenstore did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The domain's own directory.
pub(crate) fn home(domain: DomId) -> String {
    format!("/local/domain/{}", domain.0)
}

/// Finds a domain by its number, if it is one, else by its name, as `xl` does.
pub(crate) fn find(store: &mut impl Store, wanted: &str) -> Result<Domain, FindError> {
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        let missing = || FindError::NoSuchNumber {
            wanted: wanted.to_owned(),
        };
        let id = DomId(wanted.parse().map_err(|_| missing())?);
        match store.read(&home(id)) {
            Err(StoreError::NotFound) => return Err(missing()),
            outcome => outcome?,
        };
        let name = name(store, id)?.unwrap_or_default();
        return Ok(Domain { id, name });
    }
    let mut names = Vec::new();
    for number in store.list("/local/domain")? {
        let Ok(id) = number.parse().map(DomId) else {
            continue;
        };
        match name(store, id)? {
            Some(name) if name == wanted => return Ok(Domain { id, name }),
            other => names.extend(other),
        }
    }
    names.sort();
    Err(FindError::NoSuchName {
        wanted: wanted.to_owned(),
        names,
    })
}

/// Its name; `None` if it has none, or went meanwhile.
fn name(store: &mut impl Store, domain: DomId) -> Result<Option<String>, StoreError> {
    match store.read(&format!("{}/name", home(domain))) {
        Ok(name) => Ok(Some(String::from_utf8_lossy(&name).into_owned())),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows a stranger's words so that they cannot do anything to a terminal: control characters, and
/// those that turn the direction of writing, are escaped.
pub(crate) struct Clean<'a>(pub(crate) &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = |character| matches!(character, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        for character in self.0.chars() {
            if character.is_control() || turns(character) {
                write!(formatter, "{}", character.escape_unicode())?;
            } else {
                write!(formatter, "{character}")?;
            }
        }
        Ok(())
    }
}
