//! Looking for the rules of several packets at once, before any of them is judged.
//!
//! Of very many rules most are not in the cache: a look-up waits for memory on every level of the trees.
//! Here all packets go down theirs together, a level at a time, and what each arrived at is kept. Whoever
//! judges a packet asks by what it is then: translated meanwhile, it is looked for again.

use super::Chain;
use super::entry::Key;
use super::tree::Descent;
use crate::flow::AHEAD;
use crate::packet::Tuple;
use crate::policy::States;
use heapless::Vec;

/// What was found ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead(Vec<Sought, AHEAD>);

/// Of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought {
    chain: usize,
    key: Key,
    descent: Descent,
}

impl Ahead {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// A packet that will be judged by a chain, if that has very many rules. Where it is kept.
    pub(crate) fn add(&mut self, chains: &[Chain], chain: usize, tuple: &Tuple) -> Option<u8> {
        let tree = chains[chain].far_tree()?;
        let sought = Sought {
            chain,
            key: Key::new(tuple, States::NEW),
            descent: tree.start(),
        };
        let at = self.0.len() as u8;
        self.0.push(sought).ok()?;
        Some(at)
    }

    /// Goes down all trees.
    pub(crate) fn descend(&mut self, chains: &[Chain]) {
        // Nearly always all are one chain's.
        for together in self.0.chunk_by_mut(|one, next| one.chain == next.chain) {
            let Some(tree) = { together.first() }.and_then(|one| chains[one.chain].far_tree())
            else {
                continue;
            };
            let mut is_going = true;
            while is_going {
                is_going = false;
                for Sought { key, descent, .. } in &mut *together {
                    is_going |= tree.step(key, descent);
                }
            }
        }
    }

    /// What was found for a packet that a chain judges now, if it was looked for.
    pub(crate) fn get(&self, at: u8, chain: usize) -> Option<&Sought> {
        let sought = self.0.get(usize::from(at))?;
        (sought.chain == chain).then_some(sought)
    }
}

impl Sought {
    /// The way down, if it is this packet's.
    pub(super) fn descent_of(&self, key: &Key) -> Option<&Descent> {
        (self.key.fields == key.fields).then_some(&self.descent)
    }
}
