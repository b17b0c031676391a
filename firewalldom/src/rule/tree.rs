//! Which rule is the first that a packet matches, at a cost that hardly grows with their number.
//!
//! A few binary trees over the rules' boxes. An inner node compares one field of the packet with one
//! value, as HyperSplit does (Qi et al., INFOCOM 2009); a leaf holds a few boxes, copied side by side,
//! in the order of their rules. A box that lies on both sides of a split would be needed in both
//! halves, and wildcards in all of them: near the root it is put off to the next tree instead, where
//! the split may be by another field (the idea of EffiCuts, SIGCOMM 2010, that boxes of different
//! shapes belong in different trees), so that memory stays linear in the number of boxes. A look-up
//! goes down every tree and takes the lowest rule that it finds. What is left after a few trees, few
//! boxes that overlap in every field, are bit vectors ([`Wide`]).

use super::entry::{Entry, FIELDS, Key, Range};
use super::wide::Wide;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// A node: 8 bytes; the left child follows its parent.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Inner: values from here on go right. Leaf: its first entry.
    split: u32,
    /// Upper three bits: field, or [`Node::LEAF`]. The rest: right child, or how many entries.
    next: u32,
}

impl Node {
    const LEAF: u32 = 7;
    const BITS: u32 = 29;
    const MASK: u32 = (1 << Self::BITS) - 1;
}

/// One tree.
#[derive(Clone, Copy, Debug)]
struct Root {
    node: u32,
    /// The lowest rule in it.
    first_rule: u32,
}

/// All ones, or none: what no compiler makes a jump of.
const fn mask(holds: bool) -> u32 {
    0u32.wrapping_sub(holds as u32)
}

/// The boxes of a list of rules, ready to be searched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    roots: Box<[Root]>,
    nodes: Box<[Node]>,
    entries: Box<[Entry]>,
    wide: Wide,
}

/// Boxes that are compared one by one rather than split again.
const LEAF_BOXES: usize = 4;
/// Below this many, a box on both sides of a split is copied to both; above, it is put off.
const COPIED_BELOW: usize = 48;
/// Most trees; what is left is copied in the last.
const MAX_TREES: usize = 8;
/// Most boxes that are kept as bit vectors: 330 KiB of them.
const MAX_WIDE: usize = 512;
/// Boxes that a choice of field and value looks at.
const SAMPLE: usize = 512;

impl Tree {
    /// `boxes` in the order of their rules.
    pub(super) fn new(boxes: &[Entry]) -> Self {
        let mut builder = Builder {
            boxes,
            nodes: Vec::new(),
            entries: Vec::with_capacity(boxes.len()),
            put_off: Vec::new(),
            values: Vec::new(),
            may_put_off: true,
        };
        let mut roots = Vec::new();
        let mut left: Vec<u32> = (0..boxes.len() as u32).collect();
        // No more than what the bit vectors' memory is a small part of all.
        let wide = MAX_WIDE.min((boxes.len() * 3).isqrt());
        while let Some(&first) = left.first() {
            if !roots.is_empty() && left.len() <= wide {
                break;
            }
            roots.push(Root {
                node: builder.nodes.len() as u32,
                first_rule: boxes[first as usize].rule,
            });
            builder.may_put_off = roots.len() < MAX_TREES;
            builder.tree(left);
            left = core::mem::take(&mut builder.put_off);
            left.sort_unstable();
        }
        let wide = left.iter().map(|&number| boxes[number as usize]).collect();
        Self {
            wide: Wide::new(wide),
            roots: roots.into(),
            nodes: builder.nodes.into(),
            entries: builder.entries.into(),
        }
    }

    /// The lowest rule from `from` on that the packet matches; `confirm` has the last word on a rule
    /// that is more than its boxes.
    pub(super) fn find(
        &self,
        from: u32,
        key: &Key,
        mut confirm: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut leaves = [0; MAX_TREES];
        let leaves = &mut leaves[..self.roots.len()];
        self.descend(key, leaves);
        let mut best = u32::MAX;
        for (root, leaf) in self.roots.iter().zip(leaves) {
            if root.first_rule >= best {
                continue;
            }
            for entry in self.leaf(*leaf) {
                if !entry.holds(key) || entry.rule < from {
                    continue;
                }
                if entry.rule >= best {
                    break;
                }
                if entry.is_exact() || confirm(entry.rule) {
                    best = entry.rule;
                    break;
                }
            }
        }
        best = self.wide.find(from, best, key, confirm);
        (best != u32::MAX).then_some(best)
    }

    /// Finds the packet's leaf in every tree. It goes down all of them at once: none waits for what
    /// another reads from memory, and which side it takes is never guessed.
    fn descend(&self, key: &Key, leaves: &mut [u32]) {
        for (node, root) in leaves.iter_mut().zip(&self.roots) {
            *node = root.node;
        }
        loop {
            let mut lowest = u32::MAX;
            for node in &mut *leaves {
                let at = *node;
                let Node { split, next } = self.nodes[at as usize];
                let value = key.fields[(next >> Node::BITS) as usize];
                // All ones if it goes on at all, and if it goes right.
                let inner = mask(next < Node::LEAF << Node::BITS);
                let right = mask(value >= split);
                let step = 1 ^ (1 ^ (next & Node::MASK).wrapping_sub(at)) & right;
                *node = at.wrapping_add(step & inner);
                lowest = lowest.min(next);
            }
            if lowest >= Node::LEAF << Node::BITS {
                return;
            }
        }
    }

    /// The entries of a leaf.
    fn leaf(&self, node: u32) -> &[Entry] {
        let Node { split, next } = self.nodes[node as usize];
        &self.entries[split as usize..(split + (next & Node::MASK)) as usize]
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.roots)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.entries)
            + self.wide.bytes()
    }
}

/// Part of the space of packets: a range of each field.
type Region = [Range; FIELDS];

const EVERYTHING: Region = [
    (0, u32::MAX),
    (0, u32::MAX),
    (0, u16::MAX as u32),
    (0, u16::MAX as u32),
    (0, u8::MAX as u32),
];

/// A split that makes both halves smaller.
#[derive(Clone, Copy)]
struct Split {
    field: usize,
    at: u32,
    /// Boxes of the larger half, those on both sides included.
    cost: usize,
}

struct Builder<'b> {
    boxes: &'b [Entry],
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    put_off: Vec<u32>,
    values: Vec<u32>,
    may_put_off: bool,
}

impl Builder<'_> {
    /// Builds one tree, depth first, so that a left child follows its parent.
    fn tree(&mut self, boxes: Vec<u32>) {
        // A parent's number, to be told where its right child is.
        let mut todo: Vec<(Option<usize>, Vec<u32>, Region)> = vec![(None, boxes, EVERYTHING)];
        while let Some((parent, boxes, region)) = todo.pop() {
            let number = self.nodes.len();
            if let Some(parent) = parent {
                self.nodes[parent].next |= number as u32;
            }
            let split = (boxes.len() > LEAF_BOXES)
                .then(|| self.choose(&boxes, &region))
                .flatten();
            let Some(split) = split else {
                self.leaf(&boxes);
                continue;
            };
            let copies = !self.may_put_off || boxes.len() < COPIED_BELOW;
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for &number in &boxes {
                let (first, last) = self.boxes[number as usize].range(split.field);
                match (first < split.at, last >= split.at) {
                    (true, true) if copies => {
                        left.push(number);
                        right.push(number);
                    }
                    (true, true) => self.put_off.push(number),
                    (true, false) => left.push(number),
                    (false, _) => right.push(number),
                }
            }
            // Copies that gain too little cost more memory than they save time.
            if copies && (left.len() + right.len()) * 2 > boxes.len() * 3 {
                self.leaf(&boxes);
                continue;
            }
            self.nodes.push(Node {
                split: split.at,
                next: (split.field as u32) << Node::BITS,
            });
            let (mut below, mut above) = (region, region);
            below[split.field].1 = split.at - 1;
            above[split.field].0 = split.at;
            todo.push((Some(number), right, above));
            todo.push((None, left, below));
        }
    }

    fn leaf(&mut self, boxes: &[u32]) {
        self.nodes.push(Node {
            split: self.entries.len() as u32,
            next: Node::LEAF << Node::BITS | boxes.len() as u32,
        });
        let boxes = boxes.iter().map(|&number| self.boxes[number as usize]);
        self.entries.extend(boxes);
    }

    /// The best split of these boxes by any field, at one of the quartiles of where they begin and
    /// end; `None` if each leaves one half as it was.
    fn choose(&mut self, boxes: &[u32], region: &Region) -> Option<Split> {
        let stride = boxes.len().div_ceil(SAMPLE);
        let mut best: Option<Split> = None;
        for (field, &(low, high)) in region.iter().enumerate() {
            let sample = boxes.iter().step_by(stride);
            let ranges = sample.map(|&number| self.boxes[number as usize].range(field));
            self.values.clear();
            for (first, last) in ranges.clone() {
                if first > low {
                    self.values.push(first);
                }
                if last < high {
                    self.values.push(last + 1);
                }
            }
            self.values.sort_unstable();
            for quarter in 1..4 {
                let Some(&at) = self.values.get(self.values.len() * quarter / 4) else {
                    continue;
                };
                let (mut left, mut right, mut both) = (0, 0, 0);
                for (first, last) in ranges.clone() {
                    match (first < at, last >= at) {
                        (true, true) => both += 1,
                        (true, false) => left += 1,
                        (false, _) => right += 1,
                    }
                }
                let cost = left.max(right) + both;
                if left > 0 && right > 0 && best.is_none_or(|best| cost < best.cost) {
                    best = Some(Split { field, at, cost });
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Tuple;
    use crate::policy::States;
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

    proptest! {
        #[test]
        fn the_tree_finds_what_comparing_one_by_one_finds(
            boxes in proptest::collection::vec(
                (range(u32::MAX), range(u32::MAX), range(65_535), range(65_535), range(255)),
                0..400,
            ),
            packets in proptest::collection::vec(proptest::array::uniform5(0u32..26), 1..40),
            from in 0u32..40,
            refused in 0u32..7,
        ) {
            let entries: Vec<_> = boxes
                .iter()
                .enumerate()
                .map(|(number, &(a, b, c, d, e))| {
                    Entry::new([a, b, c, d, e], States::ALL, 0, number as u32)
                })
                .collect();
            let tree = Tree::new(&entries);
            for packet in packets {
                let key = key(packet);
                let expected = entries
                    .iter()
                    .find(|entry| entry.rule >= from && entry.holds(&key))
                    .map(|entry| entry.rule);
                prop_assert_eq!(tree.find(from, &key, |_| true), expected);
                // Exact boxes are not asked about.
                prop_assert_eq!(tree.find(from, &key, |rule| rule % 7 == refused), expected);
            }
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(Tree::new(&[]).find(0, &key([0; FIELDS]), |_| true), None);
    }
}
