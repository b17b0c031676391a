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

use super::entry::{Entry, FIELDS, GROUP, Key, Places, Range, Rests};
use super::wide::Wide;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Values that a node compares with.
const SPLITS: usize = 7;

/// An inner node: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Node {
    /// Ascending; what is not needed is the largest value.
    splits: [u32; SPLITS],
    field: u32,
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

/// All ones, or none: what no compiler makes a jump of.
const fn mask(holds: bool) -> u32 {
    0u32.wrapping_sub(holds as u32)
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

/// Most boxes that are compared rather than split again: another node, in a cache line that is only
/// known after this one was read, costs more than another group, and so do the copies of a split.
const LEAF_BOXES: usize = 2 * GROUP;
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
            places: Vec::new(),
            rests: Vec::new(),
            long_leaves: Vec::new(),
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
            builder.may_put_off = roots.len() + 1 < MAX_TREES;
            roots.push(Root {
                exit: builder.tree(left),
                first_rule: boxes[first as usize].rule(),
            });
            left = core::mem::take(&mut builder.put_off);
            left.sort_unstable();
        }
        let wide = left.iter().map(|&number| boxes[number as usize]).collect();
        Self {
            wide: Wide::new(wide),
            roots: roots.into(),
            nodes: builder.nodes.into(),
            places: builder.places.into(),
            rests: builder.rests.into(),
            long_leaves: builder.long_leaves.into(),
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
        let mut leaves = [Exit(0); MAX_TREES];
        let leaves = &mut leaves[..self.roots.len()];
        self.descend(key, leaves);
        let mut best = u32::MAX;
        for (root, leaf) in self.roots.iter().zip(leaves) {
            if root.first_rule >= best {
                continue;
            }
            let (places, rests) = self.leaf(*leaf);
            // A group that has nothing costs one cache line and no guess.
            'leaf: for (places, rests) in places.iter().zip(rests) {
                let mut candidates = places.holding(key);
                while candidates != 0 {
                    let rest = &rests.0[candidates.trailing_zeros() as usize % GROUP];
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
            }
        }
        best = self.wide.find(from, best, key, confirm);
        (best != u32::MAX).then_some(best)
    }

    /// Finds the packet's leaf in every tree. It goes down all of them at once: none waits for what
    /// another reads from memory, and which side it takes is never guessed.
    fn descend(&self, key: &Key, leaves: &mut [Exit]) {
        let mut common = Exit::LEAF;
        for (exit, root) in leaves.iter_mut().zip(&self.roots) {
            *exit = root.exit;
            common &= root.exit.0;
        }
        while common & Exit::LEAF == 0 {
            common = Exit::LEAF;
            for exit in &mut *leaves {
                // All ones if it goes on at all; else it looks at the first node and stays.
                let inner = mask(exit.0 < Exit::LEAF);
                let Some(node) = self.nodes.get((exit.0 & inner) as usize) else {
                    continue;
                };
                let value = key.fields[node.field as usize % key.fields.len()];
                let [a, b, c, d, e, f, g] = node.splits;
                let beyond = |split| usize::from(value >= split);
                let part = beyond(a)
                    + beyond(b)
                    + beyond(c)
                    + beyond(d)
                    + beyond(e)
                    + beyond(f)
                    + beyond(g);
                let next = node.exits[part % (SPLITS + 1)].0;
                exit.0 ^= (exit.0 ^ next) & inner;
                common &= exit.0;
            }
        }
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
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.roots)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.places)
            + size_of_val(&*self.rests)
            + size_of_val(&*self.long_leaves)
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
    places: Vec<Places>,
    rests: Vec<Rests>,
    long_leaves: Vec<LongLeaf>,
    put_off: Vec<u32>,
    values: Vec<u32>,
    may_put_off: bool,
}

/// A part of the boxes, in the order of their rules.
struct Part {
    boxes: Vec<u32>,
    region: Region,
    /// Another field than the node's is needed to split it.
    is_done: bool,
}

/// The exits of a node that lead to a part.
#[derive(Clone, Copy)]
struct Way {
    node: usize,
    first: usize,
    last: usize,
}

impl Builder<'_> {
    /// Builds one tree, depth first.
    fn tree(&mut self, boxes: Vec<u32>) -> Exit {
        let mut root = Exit(0);
        let mut todo: Vec<(Option<Way>, Vec<u32>, Region)> = vec![(None, boxes, EVERYTHING)];
        while let Some((way, boxes, region)) = todo.pop() {
            let exit = match self.split(boxes, region) {
                Ok((field, parts)) => self.node(field, parts, &mut todo),
                Err(boxes) => self.leaf(&boxes),
            };
            match way {
                Some(way) => self.nodes[way.node].exits[way.first..=way.last].fill(exit),
                None => root = exit,
            }
        }
        root
    }

    /// A node with a way to each of these parts, at least two.
    fn node(
        &mut self,
        field: usize,
        parts: Vec<Part>,
        todo: &mut Vec<(Option<Way>, Vec<u32>, Region)>,
    ) -> Exit {
        let node = self.nodes.len();
        let mut splits = [u32::MAX; SPLITS];
        for (split, part) in splits.iter_mut().zip(&parts[1..]) {
            *split = part.region[field].0;
        }
        self.nodes.push(Node {
            splits,
            field: field as u32,
            exits: [Exit(0); SPLITS + 1],
        });
        let count = parts.len();
        for (first, part) in parts.into_iter().enumerate().rev() {
            let last = if first + 1 == count { SPLITS } else { first };
            todo.push((Some(Way { node, first, last }), part.boxes, part.region));
        }
        Exit(node as u32)
    }

    /// Splits these boxes by one field into up to eight parts, the largest first; `Err` if that is
    /// of no use.
    fn split(&mut self, boxes: Vec<u32>, region: Region) -> Result<(usize, Vec<Part>), Vec<u32>> {
        if boxes.len() <= LEAF_BOXES {
            return Err(boxes);
        }
        let Some(first) = self.choose(&boxes, &region) else {
            return Err(boxes);
        };
        let field = first.field;
        let whole = Part {
            boxes,
            region,
            is_done: false,
        };
        let mut parts = match self.halves(whole, first) {
            Ok(halves) => Vec::from(halves),
            Err(whole) => return Err(whole.boxes),
        };
        while parts.len() <= SPLITS {
            let open = parts.iter().enumerate().filter(|(_, part)| !part.is_done);
            let Some((largest, _)) = open.max_by_key(|(_, part)| part.boxes.len()) else {
                break;
            };
            let part = &parts[largest];
            let split = (part.boxes.len() > LEAF_BOXES)
                .then(|| self.best(field, &part.boxes, &part.region))
                .flatten();
            // Where another field does much better, the part is left to a node of its own.
            let good = split.filter(|split| {
                let part = &parts[largest];
                split.cost * 4 <= part.boxes.len() * 3
                    || self
                        .choose(&part.boxes, &part.region)
                        .is_some_and(|best| split.cost * 8 <= best.cost * 9)
            });
            let Some(split) = good else {
                parts[largest].is_done = true;
                continue;
            };
            let part = parts.remove(largest);
            match self.halves(part, split) {
                Ok(halves) => drop(parts.splice(largest..largest, halves)),
                Err(part) => parts.insert(
                    largest,
                    Part {
                        is_done: true,
                        ..part
                    },
                ),
            }
        }
        Ok((field, parts))
    }

    /// Both sides of a split; `Err` if copies would cost more memory than they save time.
    fn halves(&mut self, part: Part, split: Split) -> Result<[Part; 2], Part> {
        let copies = !self.may_put_off || part.boxes.len() < COPIED_BELOW;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for &number in &part.boxes {
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
        if copies && (left.len() + right.len()) * 2 > part.boxes.len() * 3 {
            return Err(part);
        }
        let (mut below, mut above) = (part.region, part.region);
        below[split.field].1 = split.at - 1;
        above[split.field].0 = split.at;
        Ok([(left, below), (right, above)].map(|(boxes, region)| Part {
            boxes,
            region,
            is_done: false,
        }))
    }

    fn leaf(&mut self, boxes: &[u32]) -> Exit {
        let first = self.places.len();
        for group in boxes.chunks(GROUP) {
            let boxes = group.iter().map(|&number| &self.boxes[number as usize]);
            self.places.push(Places::new(boxes.clone()));
            self.rests.push(Rests::new(boxes));
        }
        let groups = self.places.len() - first;
        if groups >= Exit::LONG as usize {
            self.long_leaves.push(LongLeaf {
                first: first as u32,
                groups: groups as u32,
            });
        }
        Exit::leaf(first, groups)
    }

    /// The best split of these boxes by any field.
    fn choose(&mut self, boxes: &[u32], region: &Region) -> Option<Split> {
        let splits = (0..FIELDS).filter_map(|field| self.best(field, boxes, region));
        splits.min_by_key(|split| split.cost)
    }

    /// The best split of these boxes by this field, at one of the quartiles of where they begin and
    /// end; `None` if each leaves one half as it was.
    fn best(&mut self, field: usize, boxes: &[u32], region: &Region) -> Option<Split> {
        let stride = boxes.len().div_ceil(SAMPLE);
        let (low, high) = region[field];
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
        let mut best: Option<Split> = None;
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
            let cost = (left.max(right) + both) * stride;
            if left > 0 && right > 0 && best.is_none_or(|best| cost < best.cost) {
                best = Some(Split { field, at, cost });
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
                prop_assert_eq!(tree.find(from, &key, |_| true), expected);
                // Exact boxes are not asked about.
                prop_assert_eq!(tree.find(from, &key, |rule| rule % 7 == refused), expected);
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
                assert_eq!(tree.find(0, &key([n, 1, 1, 1, 1]), |_| true), Some(n * 2));
                let high = key([u32::MAX - n, 1, 1, 1, 1]);
                assert_eq!(tree.find(0, &high, |_| true), Some(n * 2 + 1));
            }
            assert_eq!(tree.find(0, &key([count, 1, 1, 1, 1]), |_| true), None);
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
        assert_eq!(tree.find(0, &same, |_| true), Some(0));
        assert_eq!(tree.find(999, &same, |_| true), Some(999));
        assert_eq!(tree.find(1000, &same, |_| true), None);
        assert_eq!(tree.find(0, &key([50, 60, 7, 8, 17]), |_| true), Some(1000));
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(Tree::new(&[]).find(0, &key([0; FIELDS]), |_| true), None);
    }
}
