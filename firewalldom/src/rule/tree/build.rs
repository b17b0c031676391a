//! How the trees over the rules' boxes are built: which field a node compares with which values, and
//! which boxes are put off to the next tree.

use super::super::entry::{Entry, FIELDS, GROUP, Places, Range, Rests};
use super::super::wide::{MOST as MOST_WIDE, Wide};
use super::{Exit, LongLeaf, MAX_TREES, Node, Root, SPLITS, Tree};
use alloc::vec;
use alloc::vec::Vec;

/// Most boxes that are compared rather than split again: another node, in a cache line that is only
/// known after this one was read, costs more than another group, and so do the copies of a split.
const LEAF_BOXES: usize = 2 * GROUP;
/// Below this many, a box on both sides of a split is copied to both; above, it is put off.
const COPIED_BELOW: usize = 96;
/// Boxes that a choice of field and value looks at.
const SAMPLE: usize = 512;
impl Tree {
    /// `boxes` in the order of their rules.
    pub(in super::super) fn new(boxes: &[Entry]) -> Self {
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
        let wide = MOST_WIDE.min((boxes.len() * 3).isqrt());
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
        let mut words = [u32::MAX; SPLITS + 1];
        words[SPLITS] = field as u32;
        for (split, part) in words.iter_mut().zip(&parts[1..]) {
            *split = part.region[field].0;
        }
        self.nodes.push(Node {
            words,
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
