//! The variables of one compilation, Shorewall's settings among them.

use std::collections::{BTreeMap, BTreeSet};

use crate::setting_table::{SETTINGS, setting};

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// `None`: taken away.
    assigned: BTreeMap<String, Option<String>>,
    /// Whether a setting that nothing was assigned to is an empty variable: there are more than two
    /// hundred, and a site assigns to a few.
    has_settings: bool,
}

impl Variables {
    /// From now on every setting is a variable: empty where nothing is assigned to it.
    pub(crate) fn add_settings(&mut self) {
        self.has_settings = true;
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self.assigned.get(name) {
            Some(value) => value.as_deref(),
            None => (self.has_settings && setting(name).is_some()).then_some(""),
        }
    }

    pub(crate) fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.assigned.insert(name.into(), Some(value.into()));
    }

    /// Gives a variable a value if it has none.
    pub(crate) fn insert_if_unset(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.insert(name, value);
        }
    }

    pub(crate) fn extend(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            self.insert(name, value);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.assigned.insert(name.to_owned(), None);
    }

    /// Every name, in order.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let assigned = self.assigned.keys().map(String::as_str);
        let settings = SETTINGS.iter().map(|(name, _)| *name);
        assigned
            .chain(settings.filter(|_| self.has_settings))
            .filter(|name| self.get(name).is_some())
            .collect()
    }

    /// Every variable, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names()
            .into_iter()
            .filter_map(|name| Some((name, self.get(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_an_empty_variable_until_it_has_a_value_or_is_taken_away() {
        let mut variables = Variables::default();
        variables.insert("IP_FORWARDING", "On");
        assert_eq!(variables.get("CLAMPMSS"), None);
        variables.add_settings();
        assert_eq!(variables.get("IP_FORWARDING"), Some("On"));
        assert_eq!(variables.get("CLAMPMSS"), Some(""));
        assert_eq!(variables.get("NO_SETTING"), None);
        assert_eq!(variables.names().len(), SETTINGS.len());
        variables.remove("CLAMPMSS");
        assert_eq!(variables.get("CLAMPMSS"), None);
        assert!(variables.iter().all(|(name, _)| name != "CLAMPMSS"));
        variables.insert_if_unset("CLAMPMSS", "Yes");
        variables.insert_if_unset("IP_FORWARDING", "Off");
        assert_eq!(variables.get("CLAMPMSS"), Some("Yes"));
        assert_eq!(variables.get("IP_FORWARDING"), Some("On"));
    }
}
