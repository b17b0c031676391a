//! Which rule is the first that a packet matches, at a cost that hardly grows with their number.
//!
//! A few trees over the rules' boxes. An inner node compares one field of the packet with up to seven
//! values, so that three levels of the binary tree that HyperSplit makes (Qi et al., INFOCOM 2009)
//! are one cache line; a leaf holds a few boxes, copied side by side, in the order of their rules. A
//! box that lies on both sides of a split would be needed in both halves, and wildcards in all of
//! them: near the root it is put off to the next tree instead, where the split may be by another
//! field (the idea of EffiCuts, SIGCOMM 2010, that boxes of different shapes belong in different
//! trees), so that memory stays linear in the number of boxes. A look-up goes down every tree and
//! takes the lowest rule that it finds. What is left after a few trees, few boxes that overlap in
//! every field, are bit vectors ([`Wide`]).

mod build;

use super::entry::{GROUP, Key, Places, Rests};
use super::wide::Wide;
use alloc::boxed::Box;
use minios_rs::prefetch::prefetch;

/// Values that a node compares with.
const SPLITS: usize = 7;

/// An inner node: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Node {
    /// The splits, ascending, what is not needed of them the largest value; then the field.
    words: [u32; SPLITS + 1],
    /// Where values below the first split go, those from there on, and so on. What is beyond the last
    /// split that is needed goes where that says.
    exits: [Exit; SPLITS + 1],
}

const _: () = assert!(size_of::<Node>() == 64);

/// A node, or a leaf: its first group of boxes and how many groups there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exit(u32);

impl Exit {
    const LEAF: u32 = 1 << 31;
    const GROUPS_SHIFT: u32 = 24;
    const FIRST: u32 = (1 << Self::GROUPS_SHIFT) - 1;
    /// So many groups or more: [`Tree::long_leaves`] says how many.
    const LONG: u32 = 0x7f;

    fn leaf(first: usize, groups: usize) -> Self {
        assert!(first as u32 <= Self::FIRST, "too many rules");
        let groups = (groups as u32).min(Self::LONG);
        Self(Self::LEAF | groups << Self::GROUPS_SHIFT | first as u32)
    }
}

/// One tree.
#[derive(Clone, Copy, Debug)]
struct Root {
    exit: Exit,
    /// The lowest rule in it.
    first_rule: u32,
}

/// A leaf of very many boxes that no split tells apart.
#[derive(Clone, Copy, Debug)]
struct LongLeaf {
    first: u32,
    groups: u32,
}

/// The boxes of a list of rules, ready to be searched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    roots: Box<[Root]>,
    nodes: Box<[Node]>,
    /// What is compared first of the boxes of each group.
    places: Box<[Places]>,
    /// What is compared then, of the same groups.
    rests: Box<[Rests]>,
    long_leaves: Box<[LongLeaf]>,
    wide: Wide,
}

/// Most trees; what is left is copied in the last.
const MAX_TREES: usize = 6;

/// Nodes from which on a packet's leaves are of use to know ahead: with fewer, most of all is in a cache.
const FAR: usize = (32 << 10) / size_of::<Node>();

/// A packet's way down all trees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent {
    /// Where it is in each.
    exits: [Exit; MAX_TREES],
    /// Trees, from the first on, that it is not known to be at the end of.
    going: usize,
}

impl Tree {
    /// The lowest rule from `from` on that the packet matches; `confirm` has the last word on a rule
    /// that is more than its boxes.
    pub(in super::super) fn find(
        &self,
        from: u32,
        key: &Key,
        ahead: Option<&Descent>,
        mut confirm: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        // Of few rules there is nothing but this.
        if let ([places], [rests]) = (&*self.places, &*self.rests)
            && self.wide.is_empty()
        {
            let mut candidates = places.holding(key);
            while candidates != 0 {
                let rest = &rests.0[candidates.trailing_zeros() as usize % GROUP];
                candidates &= candidates - 1;
                if rest.holds(key) && rest.rule >= from && (rest.is_exact() || confirm(rest.rule)) {
                    return Some(rest.rule);
                }
            }
            return None;
        }
        let descended;
        let leaves = match ahead {
            Some(descent) => &descent.exits,
            None => {
                descended = self.descend(key);
                &descended.exits
            }
        };
        let wide = self.wide.with_addresses(key);
        let mut best = u32::MAX;
        for (root, leaf) in self.roots.iter().zip(leaves) {
            if root.first_rule >= best {
                continue;
            }
            let (mut places, mut rests) = self.leaf(*leaf);
            'leaf: loop {
                let (at, mut candidates) = first_holding(places, key);
                let Some((group, behind)) = rests.get(at..).and_then(<[Rests]>::split_first) else {
                    break;
                };
                while candidates != 0 {
                    let rest = &group.0[candidates.trailing_zeros() as usize % GROUP];
                    candidates &= candidates - 1;
                    if !rest.holds(key) || rest.rule < from {
                        continue;
                    }
                    if rest.rule >= best {
                        break 'leaf;
                    }
                    if rest.is_exact() || confirm(rest.rule) {
                        best = rest.rule;
                        break 'leaf;
                    }
                }
                (places, rests) = (places.get(at + 1..).unwrap_or_default(), behind);
            }
        }
        if let Some(common) = wide {
            best = self.wide.find(common, from, best, key, confirm);
        }
        (best != u32::MAX).then_some(best)
    }

    /// Finds the packet's leaf in every tree, and asks for their first groups. It goes down all trees at
    /// once: none waits for what another reads from memory, and which side it takes is never guessed.
    fn descend(&self, key: &Key) -> Descent {
        let mut descent = self.start();
        let mut going = &mut descent.exits[..self.roots.len()];
        loop {
            // The first tree is the highest.
            while let [rest @ .., Exit(Exit::LEAF..)] = going {
                going = rest;
            }
            if going.is_empty() {
                break;
            }
            for exit in &mut *going {
                *exit = self.below(*exit, key);
            }
        }
        self.prefetch_leaves(&descent);
        descent
    }

    /// Where a packet goes from a node. At a leaf, it stays.
    #[inline(always)]
    fn below(&self, exit: Exit, key: &Key) -> Exit {
        // A leaf's number is beyond those of all nodes.
        let Some(node) = self.nodes.get(exit.0 as usize) else {
            return exit;
        };
        let words = &node.words;
        let word = |at: usize| words[at % words.len()];
        let value = key.fields[word(SPLITS) as usize % key.fields.len()];
        // Halving takes three steps, each of which waits for the one before; the other trees' steps are
        // done meanwhile. Comparing with all seven takes twice as many instructions.
        let mut part = usize::from(value >= word(3)) * 4;
        part += usize::from(value >= word(part + 1)) * 2;
        part += usize::from(value >= word(part));
        node.exits[part % node.exits.len()]
    }

    #[inline(always)]
    fn prefetch_leaves(&self, descent: &Descent) {
        for leaf in &descent.exits[..self.roots.len()] {
            let first = (leaf.0 & Exit::FIRST) as usize;
            prefetch(&self.places, first);
            prefetch(&self.rests, first);
        }
    }

    /// Whether it is of use to descend ahead, together with others.
    pub(in super::super) const fn is_far(&self) -> bool {
        self.nodes.len() >= FAR
    }

    /// The way down begins.
    #[inline(always)]
    pub(in super::super) fn start(&self) -> Descent {
        let mut exits = [Exit(Exit::LEAF); MAX_TREES];
        for (exit, root) in exits.iter_mut().zip(&self.roots) {
            *exit = root.exit;
        }
        Descent {
            exits,
            going: self.roots.len(),
        }
    }

    /// Goes down to the next nodes, and asks for them; false, and asks for the leaves, when it is at the
    /// end of all trees.
    pub(in super::super) fn step(&self, key: &Key, descent: &mut Descent) -> bool {
        let mut going = &mut descent.exits[..descent.going];
        while let [rest @ .., Exit(Exit::LEAF..)] = going {
            going = rest;
        }
        for exit in &mut *going {
            *exit = self.below(*exit, key);
            prefetch(&self.nodes, exit.0 as usize);
        }
        descent.going = going.len();
        if descent.going == 0 {
            self.prefetch_leaves(descent);
        }
        descent.going > 0
    }

    /// The groups of a leaf.
    fn leaf(&self, exit: Exit) -> (&[Places], &[Rests]) {
        let first = exit.0 & Exit::FIRST;
        let mut groups = exit.0 >> Exit::GROUPS_SHIFT & Exit::LONG;
        if groups == Exit::LONG {
            let mut leaves = self.long_leaves.iter();
            let leaf = leaves.find(|leaf| leaf.first == first);
            groups = leaf.map_or(groups, |leaf| leaf.groups);
        }
        let all = first as usize..(first + groups) as usize;
        (&self.places[all.clone()], &self.rests[all])
    }

    /// Bytes on the heap.
    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.roots)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.places)
            + size_of_val(&*self.rests)
            + size_of_val(&*self.long_leaves)
            + self.wide.bytes()
    }
}

/// The first group that has boxes with the packet's addresses, and a bit for each of these; none, and how
/// many groups there are, if there is none. A group that has nothing costs one cache line and no guess.
// By itself, so that what each group is compared with stays in registers.
#[inline(never)]
fn first_holding(places: &[Places], key: &Key) -> (usize, u32) {
    for (at, group) in places.iter().enumerate() {
        let candidates = group.holding(key);
        if candidates != 0 {
            return (at, candidates);
        }
    }
    (places.len(), 0)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, FIELDS, Range};
    use super::*;
    use crate::packet::Tuple;
    use crate::policy::States;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// A range among a few values, often all of them: boxes that overlap in every way.
    fn range(last: u32) -> impl Strategy<Value = Range> {
        prop_oneof![
            Just((0, last)),
            (0..24u32, 0..24u32).prop_map(|(a, b)| (a.min(b), a.max(b))),
            (0..24u32).prop_map(|value| (value, value)),
        ]
    }

    fn key(fields: [u32; FIELDS]) -> Key {
        let tuple = Tuple {
            source: fields[0],
            destination: fields[1],
            source_port: fields[2] as u16,
            destination_port: fields[3] as u16,
            protocol: fields[4] as u8,
        };
        Key::new(&tuple, States::NEW)
    }

    fn entries(boxes: &[(Range, Range, Range, Range, Range)]) -> Vec<Entry> {
        let numbered = boxes.iter().zip(0..);
        numbered
            .map(|(&(a, b, c, d, e), number)| Entry::new([a, b, c, d, e], States::ALL, 0, number))
            .collect()
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_comparing_one_by_one_finds(
            boxes in prop_oneof![
                // One group, and a little more.
                proptest::collection::vec(
                    (range(u32::MAX), range(u32::MAX), range(65_535), range(65_535), range(255)),
                    0..6,
                ),
                proptest::collection::vec(
                    (range(u32::MAX), range(u32::MAX), range(65_535), range(65_535), range(255)),
                    0..400,
                ),
                // Several levels, and several trees.
                proptest::collection::vec(
                    (range(u32::MAX), range(u32::MAX), range(65_535), range(65_535), range(255)),
                    800..1600,
                ),
            ],
            packets in proptest::collection::vec(proptest::array::uniform5(0u32..26), 1..40),
            from in 0u32..40,
            refused in 0u32..7,
        ) {
            let entries = entries(&boxes);
            let tree = Tree::new(&entries);
            prop_assert!(boxes.len() < 800 || tree.roots.len() >= 3);
            for packet in packets {
                let key = key(packet);
                let expected = entries
                    .iter()
                    .find(|entry| entry.rule() >= from && entry.holds(&key))
                    .map(Entry::rule);
                prop_assert_eq!(tree.find(from, &key, None, |_| true), expected);
                let mut descent = tree.start();
                while tree.step(&key, &mut descent) {}
                prop_assert_eq!(tree.find(from, &key, Some(&descent), |_| true), expected);
                // Exact boxes are not asked about.
                prop_assert_eq!(tree.find(from, &key, None, |rule| rule % 7 == refused), expected);
            }
        }
    }

    #[test]
    fn the_last_value_of_a_field_and_the_first_are_found_on_every_level() {
        // What a node does not need of its splits is the largest value, too: nodes of each number of
        // parts, and three levels of them.
        for count in (0..100).chain([2000]) {
            let boxes: Vec<_> = (0..count)
                .flat_map(|n| [n, u32::MAX - n])
                .map(|value| {
                    (
                        (value, value),
                        (0, u32::MAX),
                        (0, 65_535),
                        (0, 65_535),
                        (0, 255),
                    )
                })
                .collect();
            let tree = Tree::new(&entries(&boxes));
            assert!(count < 2000 || tree.nodes.len() > 64);
            for n in 0..count {
                assert_eq!(
                    tree.find(0, &key([n, 1, 1, 1, 1]), None, |_| true),
                    Some(n * 2)
                );
                let high = key([u32::MAX - n, 1, 1, 1, 1]);
                assert_eq!(tree.find(0, &high, None, |_| true), Some(n * 2 + 1));
            }
            assert_eq!(
                tree.find(0, &key([count, 1, 1, 1, 1]), None, |_| true),
                None
            );
        }
    }

    #[test]
    fn a_box_behind_a_thousand_that_are_no_different_is_found() {
        let one = ((5, 5), (6, 6), (7, 7), (8, 8), (17, 17));
        let other = ((50, 50), (60, 60), (7, 7), (8, 8), (17, 17));
        let mut boxes = vec![one; 1000];
        boxes.push(other);
        let tree = Tree::new(&entries(&boxes));
        assert_eq!(tree.long_leaves.len(), 1);
        let same = key([5, 6, 7, 8, 17]);
        assert_eq!(tree.find(0, &same, None, |_| true), Some(0));
        assert_eq!(tree.find(999, &same, None, |_| true), Some(999));
        assert_eq!(tree.find(1000, &same, None, |_| true), None);
        assert_eq!(
            tree.find(0, &key([50, 60, 7, 8, 17]), None, |_| true),
            Some(1000)
        );
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(
            Tree::new(&[]).find(0, &key([0; FIELDS]), None, |_| true),
            None
        );
    }
}
