//! Tables of the policy that several rules share: limits, times, sets of addresses, lists of rules.

use std::collections::BTreeMap;

use firewalldom::policy::{
    AddressRange, AddressSet, ConnectionKey, ConnectionLimit, Rate, Rule, RuleList, TimeWindow,
};

/// The tables, filled while the files are read. Equal entries are one.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) rates: Vec<Rate>,
    pub(crate) connection_limits: Vec<ConnectionLimit>,
    pub(crate) times: Vec<TimeWindow>,
    pub(crate) address_sets: Vec<AddressSet>,
    pub(crate) rule_lists: Vec<RuleList>,
    /// Names of the lists of sources seen lately, in the order of their numbers.
    pub(crate) recent_lists: Vec<String>,
    /// Lists that were made for a name and its arguments.
    named_lists: BTreeMap<String, u16>,
}

/// Index of an entry; the policy's indices have 16 bits, and its check refuses longer tables.
fn index(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

fn intern<T: PartialEq>(table: &mut Vec<T>, entry: T) -> u16 {
    let found = table.iter().position(|known| *known == entry);
    index(found.unwrap_or_else(|| {
        table.push(entry);
        table.len() - 1
    }))
}

impl Tables {
    /// A limit with a name is one for all rules that use the name; the first says how it counts.
    /// Without a name each use has its own.
    pub(crate) fn rate(&mut self, rate: Rate) -> u16 {
        let found = self
            .rates
            .iter()
            .position(|known| !rate.name.is_empty() && known.name == rate.name);
        index(found.unwrap_or_else(|| {
            self.rates.push(rate);
            self.rates.len() - 1
        }))
    }

    /// Each use counts for itself.
    pub(crate) fn connection_limit(&mut self, count: u32, key: ConnectionKey) -> u16 {
        self.connection_limits.push(ConnectionLimit { count, key });
        index(self.connection_limits.len() - 1)
    }

    pub(crate) fn time(&mut self, window: TimeWindow) -> u16 {
        intern(&mut self.times, window)
    }

    pub(crate) fn address_set(&mut self, name: &str, ranges: &[AddressRange]) -> u16 {
        let found = self.address_sets.iter().position(|set| set.name == name);
        index(found.unwrap_or_else(|| {
            self.address_sets.push(AddressSet {
                name: name.to_owned(),
                ranges: ranges.to_vec(),
            });
            self.address_sets.len() - 1
        }))
    }

    pub(crate) fn recent_list(&mut self, name: &str) -> u16 {
        intern(&mut self.recent_lists, name.to_owned())
    }

    /// A list of rules; one that is there already is used again.
    pub(crate) fn rule_list(&mut self, log_chain: Option<&str>, rules: Vec<Rule>) -> u16 {
        let list = RuleList {
            log_chain: log_chain.map(str::to_owned),
            rules,
        };
        intern(&mut self.rule_lists, list)
    }

    /// A list of rules that no other is like.
    pub(crate) fn push_list(&mut self, list: RuleList) -> u16 {
        self.rule_lists.push(list);
        index(self.rule_lists.len() - 1)
    }

    /// The list that was made for a name and its arguments.
    pub(crate) fn named_list(&self, key: &str) -> Option<u16> {
        self.named_lists.get(key).copied()
    }

    pub(crate) fn name_list(&mut self, key: String, list: u16) {
        self.named_lists.insert(key, list);
    }

    /// Whether a table is longer than an index can say.
    pub(crate) fn overflows(&self) -> bool {
        [
            self.rates.len(),
            self.connection_limits.len(),
            self.times.len(),
            self.address_sets.len(),
            self.rule_lists.len(),
            self.recent_lists.len(),
        ]
        .into_iter()
        .any(|length| length > usize::from(u16::MAX))
    }
}
