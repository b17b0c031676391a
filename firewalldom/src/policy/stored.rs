//! A policy whose rules stay where they are stored, and are decoded one at a time.
//!
//! A decoded [`Rule`] is half a kilobyte, the tables made of it a tenth of that, and a long list of
//! rules is most of a policy: decoded at once, a blacklist would need more memory than its domain has.
//! So a policy's bytes are gone through twice, once to check them, once to build tables, and of its
//! rules there is never more than one in memory.

use super::blob::Error;
use super::{Chain, Policy, Rule, RuleList, check};
use alloc::vec::Vec;
use serde::Deserialize;

/// A policy that was checked: all but its rules, and where those are.
#[derive(Clone, Debug)]
pub struct Stored<'b> {
    /// Its chains and lists have no rules here.
    pub(crate) policy: Policy,
    /// In the order of [`Policy::chains`].
    pub(crate) chains: Vec<ChainRules<'b>>,
    /// In the order of [`Policy::rule_lists`].
    pub(crate) lists: Vec<Rules<'b>>,
}

/// The rules of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainRules<'b> {
    pub(crate) rules: Rules<'b>,
    pub(crate) default_action: Rules<'b>,
}

/// Rules as bytes, known to decode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'b> {
    count: usize,
    bytes: &'b [u8],
}

impl Iterator for Rules<'_> {
    type Item = Rule;

    fn next(&mut self) -> Option<Rule> {
        self.count = self.count.checked_sub(1)?;
        let (rule, rest) = postcard::take_from_bytes(self.bytes).ok()?;
        self.bytes = rest;
        Some(rule)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

/// Takes a body apart: postcard writes a struct's fields one after the other, a sequence as its length
/// and its items.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn next<T: Deserialize<'b>>(&mut self) -> Result<T, Error> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|_| Error::Body)?;
        self.rest = rest;
        Ok(value)
    }

    /// Decodes rules to see that they can be, and says where they are.
    fn rules(&mut self) -> Result<Rules<'b>, Error> {
        let count = self.next()?;
        let bytes = self.rest;
        for _ in 0..count {
            self.next::<Rule>()?;
        }
        Ok(Rules { count, bytes })
    }

    fn chain(&mut self) -> Result<(Chain, ChainRules<'b>), Error> {
        let (name, blacklist) = (self.next()?, self.next()?);
        let rules = self.rules()?;
        let (policy, policy_log) = (self.next()?, self.next()?);
        let default_action = self.rules()?;
        let chain = Chain {
            name,
            blacklist,
            policy,
            policy_log,
            origin: self.next()?,
            policy_chain: self.next()?,
            ..Chain::default()
        };
        let rules = ChainRules {
            rules,
            default_action,
        };
        Ok((chain, rules))
    }
}

impl<'b> Stored<'b> {
    /// Reads all but the rules, in the order of [`Policy`]'s fields, and checks everything.
    pub(super) fn read(body: &'b [u8]) -> Result<Self, Error> {
        let mut reader = Reader { rest: body };
        let mut policy = Policy {
            site: reader.next()?,
            files: reader.next()?,
            settings: reader.next()?,
            interfaces: reader.next()?,
            routes: reader.next()?,
            proxied: reader.next()?,
            zones: reader.next()?,
            hosts: reader.next()?,
            ..Policy::default()
        };
        let mut chains = Vec::new();
        for _ in 0..reader.next::<usize>()? {
            let (chain, rules) = reader.chain()?;
            policy.chains.push(chain);
            chains.push(rules);
        }
        policy.pairs = reader.next()?;
        policy.destination_nat = reader.next()?;
        policy.source_nat = reader.next()?;
        let mut lists = Vec::new();
        for _ in 0..reader.next::<usize>()? {
            policy.rule_lists.push(RuleList {
                log_chain: reader.next()?,
                rules: Vec::new(),
            });
            lists.push(reader.rules()?);
        }
        policy.address_sets = reader.next()?;
        policy.raw = reader.next()?;
        policy.rates = reader.next()?;
        policy.connection_limits = reader.next()?;
        policy.times = reader.next()?;
        policy.recent_lists = reader.next()?;
        if !reader.rest.is_empty() {
            return Err(Error::Body);
        }
        let stored = Self {
            policy,
            chains,
            lists,
        };
        stored.check()?;
        Ok(stored)
    }

    fn check(&self) -> Result<(), check::Nonsense> {
        check::check_all_but_rules(&self.policy)?;
        let mut checker = check::RuleChecker::new(&self.policy);
        for list in &self.lists {
            checker.check_list(*list)?;
        }
        for chain in &self.chains {
            checker.check_chain(chain.rules.chain(chain.default_action))?;
        }
        Ok(())
    }

    /// All but the rules: its chains and lists have none.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The whole policy in memory.
    pub fn to_policy(&self) -> Policy {
        let mut policy = self.policy.clone();
        for (chain, stored) in policy.chains.iter_mut().zip(&self.chains) {
            chain.rules = stored.rules.collect();
            chain.default_action = stored.default_action.collect();
        }
        for (list, stored) in policy.rule_lists.iter_mut().zip(&self.lists) {
            list.rules = stored.collect();
        }
        policy
    }
}
