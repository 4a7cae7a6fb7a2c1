//! The exact Shapley values of a tree's features, by one walk over its nodes for each row.
//!
//! Lundberg et al. (2020) define what a tree says where only a set S of features is known: where a node's feature is,
//! the row goes its way; else it goes both, by the shares of the training rows. So a leaf's part is its value times,
//! for each feature on the way to it, `o` if the feature is known and `z` if not: `o` is 1 if the row passes all of the
//! way's tests of it, or 0, and `z` is the product of the shares there. The Shapley value of such a product is the
//! integral over `t` from 0 to 1 of its slope along the feature, all others being known with probability `t` (Owen
//! 1972):
//!
//! ```text
//! value (o_i - z_i) ∫ Π_{j ≠ i} (o_j t + z_j (1 - t)) dt
//! ```
//!
//! That is a polynomial, which a sum over few points integrates exactly. At each of them the products of all leaves
//! share their factors along the way, so one walk down and up multiplies and sums them up: Yu et al. (2022) found this
//! for polynomials. The time is that of nodes times features on the way, where Lundberg's has their square; and
//! no factor is 0 between 0 and 1, so what was multiplied can be divided out again, and deep trees keep their digits.

use tidemill_compute::kernel::lanes::{Instructions, LANES, Lane};

use super::quadrature::Quadrature;

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Node(usize),
    Leaf(usize),
}

/// What explanations must know of a tree.
#[derive(Debug, Clone)]
pub(crate) struct ShapTree {
    nodes: Vec<Fork>,
    /// The part of all rows that is in each leaf.
    shares: Vec<f64>,
    /// The most features that may be on the way to a leaf.
    features_max: usize,
}

#[derive(Debug, Clone)]
struct Fork {
    feature: usize,
    /// Left and right, and which part of the node's rows is there.
    children: [(Place, f64); 2],
}

impl ShapTree {
    /// Of nodes with their features and children, left and right, each behind its parent, the root first; and of the
    /// rows in each leaf, of which none has none.
    pub(crate) fn new(nodes: impl Iterator<Item = (usize, [Place; 2])>, leaf_rows: &[f64]) -> Self {
        let mut nodes: Vec<Fork> =
            nodes.map(|(feature, children)| Fork { feature, children: children.map(|child| (child, 0.0)) }).collect();
        let mut rows = vec![0.0; nodes.len()];
        for (place, node) in nodes.iter_mut().enumerate().rev() {
            let of_child = |child| match child {
                Place::Node(node) => rows[node],
                Place::Leaf(leaf) => leaf_rows[leaf],
            };
            let of_children = node.children.map(|(child, _)| of_child(child));
            rows[place] = of_children[0] + of_children[1];
            node.children
                .iter_mut()
                .zip(of_children)
                .for_each(|(child, rows_there)| child.1 = rows_there / rows[place]);
        }
        let all = rows.first().or(leaf_rows.first()).copied().unwrap_or(1.0);
        let shares = leaf_rows.iter().map(|rows| rows / all).collect();
        let features_max = depth(&nodes).min(distinct_features(&nodes));
        Self { nodes, shares, features_max }
    }

    /// What the tree says on average, given what each leaf says.
    pub(crate) fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        self.shares.iter().enumerate().map(|(leaf, share)| share * value(leaf)).sum()
    }

    fn root(&self) -> Place {
        if self.nodes.is_empty() { Place::Leaf(0) } else { Place::Node(0) }
    }
}

fn depth(nodes: &[Fork]) -> usize {
    let mut depths = vec![1; nodes.len()];
    for (place, node) in nodes.iter().enumerate() {
        for (child, _) in node.children {
            if let Place::Node(child) = child {
                depths[child] = depths[place] + 1;
            }
        }
    }
    depths.into_iter().max().unwrap_or(0)
}

fn distinct_features(nodes: &[Fork]) -> usize {
    nodes.iter().map(|node| node.feature).collect::<std::collections::BTreeSet<_>>().len()
}

/// Walks trees; what it holds in between is kept to spare allocations.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The points, and what they weigh; those that only fill the last four up weigh nothing.
    points: Vec<Lane<f64>>,
    weights: Vec<Lane<f64>>,
    /// The way from the root to where the walk is.
    way: Vec<Step>,
    /// What the root and each step have at each point, as [`Level`] says; as many as the longest way had.
    levels: Vec<Lane<f64>>,
    /// Of each feature, the last step that tests it.
    last: Vec<Option<usize>>,
}

/// A step from a node to a child.
#[derive(Debug)]
struct Step {
    place: Place,
    feature: usize,
    /// `o` and `z`: of the whole way's tests of the feature.
    known: f64,
    unknown: f64,
    /// The step before that tests the feature, too.
    before: Option<usize>,
    /// How many of the place's children were walked.
    walked: usize,
}

/// One number for each point, three times; the root, which multiplies by 1, is the first level.
struct Level<'a> {
    /// One over what the step's feature multiplies by, `o t + z (1 - t)`.
    inverses: &'a mut [Lane<f64>],
    /// The product of the factors of all features on the way.
    products: &'a mut [Lane<f64>],
    /// The sum over the leaves behind the step, each with its product.
    sums: &'a mut [Lane<f64>],
}

/// The parts of a level.
const PARTS: usize = 3;

impl Walk {
    /// Walks these trees, of so many features.
    pub(crate) fn new<'a>(trees: impl Iterator<Item = &'a ShapTree>, features: usize) -> Self {
        let on_a_way = trees.map(|tree| tree.features_max).max().unwrap_or(0);
        let quadrature = Quadrature::new(on_a_way.div_ceil(2).max(1));
        let (points, weights) = (in_lanes(&quadrature.points, 0.5), in_lanes(&quadrature.weights, 0.0));
        let levels = vec![[1.0; LANES]; PARTS * points.len()];
        Self { points, weights, way: Vec::new(), levels, last: vec![None; features] }
    }

    /// Adds the Shapley values of a row's features to `attributions`, given whether the row goes left at a node, and
    /// what a leaf says.
    pub(crate) fn add(
        &mut self,
        tree: &ShapTree,
        goes_left: impl Fn(usize) -> bool,
        value: impl Fn(usize) -> f64,
        attributions: &mut [f64],
    ) {
        Instructions::fastest().run(|| self.add_inlined(tree, goes_left, value, attributions));
    }

    #[inline(always)]
    fn add_inlined(
        &mut self,
        tree: &ShapTree,
        goes_left: impl Fn(usize) -> bool,
        value: impl Fn(usize) -> f64,
        attributions: &mut [f64],
    ) {
        let Place::Node(root) = tree.root() else { return };
        let value_of = |child: Place| match child {
            Place::Leaf(leaf) => value(leaf),
            Place::Node(_) => 0.0,
        };
        for (side, &(child, share)) in tree.nodes[root].children.iter().enumerate() {
            self.enter(tree.nodes[root].feature, child, share, goes_left(root) == (side == 0), value_of(child));
            while let Some(step) = self.way.last_mut() {
                let next = match step.place {
                    Place::Node(node) if step.walked < 2 => Some((node, step.walked)),
                    _ => None,
                };
                let Some((node, side)) = next else {
                    self.leave(attributions);
                    continue;
                };
                step.walked += 1;
                let (child, share) = tree.nodes[node].children[side];
                self.enter(tree.nodes[node].feature, child, share, goes_left(node) == (side == 0), value_of(child));
            }
        }
    }

    /// Goes on to a child of a node that tests this feature, where `is_own` if the row itself does; `value` is what it says
    /// if it is a leaf, or else 0.
    #[inline(always)]
    fn enter(&mut self, feature: usize, child: Place, share: f64, is_own: bool, value: f64) {
        let before = self.last[feature].replace(self.way.len());
        let (known, unknown) = before.map_or((1.0, 1.0), |step| (self.way[step].known, self.way[step].unknown));
        let (known, unknown) = (if is_own { known } else { 0.0 }, unknown * share);
        self.way.push(Step { place: child, feature, known, unknown, before, walked: 0 });
        let count = self.points.len();
        let own = self.way.len() * PARTS * count;
        if self.levels.len() == own {
            self.levels.resize(own + PARTS * count, [0.0; LANES]);
        }
        let (above, own) = self.levels.split_at_mut(own);
        let Level { inverses, products, sums } = level(own, count);
        let parent = &above[above.len() - (PARTS - 1) * count..][..count];
        // This factor takes the place of that one; the root's is 1.
        let replaced = &above[before.map_or(0, |step| step + 1) * PARTS * count..][..count];
        for group in 0..count {
            for lane in 0..LANES {
                let point = self.points[group][lane];
                let factor = known * point + unknown * (1.0 - point);
                let product = factor * parent[group][lane] * replaced[group][lane];
                inverses[group][lane] = 1.0 / factor;
                products[group][lane] = product;
                sums[group][lane] = value * product;
            }
        }
    }

    /// Goes back to the parent: the step's feature gets what the leaves behind it add.
    #[inline(always)]
    fn leave(&mut self, attributions: &mut [f64]) {
        let count = self.points.len();
        let own = self.way.len() * PARTS * count;
        let Some(step) = self.way.pop() else { return };
        self.last[step.feature] = step.before;
        let (above, own) = self.levels.split_at_mut(own);
        let Level { inverses, sums, .. } = level(own, count);
        attributions[step.feature] += (step.known - step.unknown) * weighed(&self.weights, sums, inverses);
        if let Some(before) = step.before {
            // The tests further up were counted without this one.
            let Step { known, unknown, .. } = self.way[before];
            let inverses = &above[(before + 1) * PARTS * count..][..count];
            attributions[step.feature] -= (known - unknown) * weighed(&self.weights, sums, inverses);
        }
        let first = above.len() - count;
        let parent = &mut above[first..];
        for group in 0..count {
            for lane in 0..LANES {
                parent[group][lane] += sums[group][lane];
            }
        }
    }
}

/// Numbers four by four, filled up.
fn in_lanes(numbers: &[f64], filling: f64) -> Vec<Lane<f64>> {
    let lane = |four: &[f64]| std::array::from_fn(|place| four.get(place).copied().unwrap_or(filling));
    numbers.chunks(LANES).map(lane).collect()
}

/// The parts of the first level of some, each of `count` lanes.
#[inline(always)]
fn level(levels: &mut [Lane<f64>], count: usize) -> Level<'_> {
    let (inverses, rest) = levels.split_at_mut(count);
    let (products, rest) = rest.split_at_mut(count);
    Level { inverses, products, sums: &mut rest[..count] }
}

/// The integral of sums over leaves, each without a step's factor.
#[inline(always)]
fn weighed(weights: &[Lane<f64>], sums: &[Lane<f64>], inverses: &[Lane<f64>]) -> f64 {
    let count = weights.len();
    let (sums, inverses) = (&sums[..count], &inverses[..count]);
    let mut total = [0.0; LANES];
    for group in 0..count {
        for lane in 0..LANES {
            total[lane] += weights[group][lane] * sums[group][lane] * inverses[group][lane];
        }
    }
    (total[0] + total[2]) + (total[1] + total[3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::shapley;

    /// Numbers that look drawn.
    struct Draws(u64);

    impl Draws {
        fn below(&mut self, count: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % count
        }
    }

    /// A tree, what its leaves say, and where a row goes.
    struct Grown {
        tree: ShapTree,
        values: Vec<f64>,
        lefts: Vec<bool>,
    }

    /// Cuts some leaf again and again.
    fn grow(nodes: usize, features: u64, seed: u64) -> Grown {
        let mut draws = Draws(seed);
        let mut children: Vec<(usize, [Place; 2])> = Vec::new();
        let mut leaves = 1;
        for node in 0..nodes {
            let feature = draws.below(features) as usize;
            if node > 0 {
                let leaf = Place::Leaf(draws.below(leaves as u64) as usize);
                let parent = children.iter_mut().flat_map(|(_, children)| children).find(|child| **child == leaf);
                *parent.unwrap() = Place::Node(node);
                let Place::Leaf(leaf) = leaf else { unreachable!() };
                children.push((feature, [Place::Leaf(leaf), Place::Leaf(leaves)]));
            } else {
                children.push((feature, [Place::Leaf(0), Place::Leaf(1)]));
            }
            leaves += 1;
        }
        let rows: Vec<f64> = (0..leaves).map(|_| 1.0 + draws.below(50) as f64).collect();
        let values = (0..leaves).map(|_| draws.below(2000) as f64 / 100.0 - 10.0).collect();
        let lefts = (0..nodes).map(|_| draws.below(2) == 0).collect();
        Grown { tree: ShapTree::new(children.into_iter(), &rows), values, lefts }
    }

    impl Grown {
        /// What the tree says where these features are known.
        fn says(&self, place: Place, known: u32) -> f64 {
            let Place::Node(node) = place else {
                let Place::Leaf(leaf) = place else { unreachable!() };
                return self.values[leaf];
            };
            let Fork { feature, children: [left, right] } = &self.tree.nodes[node];
            match known >> feature & 1 {
                1 => self.says(if self.lefts[node] { left.0 } else { right.0 }, known),
                _ => left.1 * self.says(left.0, known) + right.1 * self.says(right.0, known),
            }
        }

        fn attributions(&self, walk: &mut Walk, features: usize) -> Vec<f64> {
            let mut attributions = vec![0.0; features];
            walk.add(&self.tree, |node| self.lefts[node], |leaf| self.values[leaf], &mut attributions);
            attributions
        }
    }

    #[test]
    fn the_walk_finds_shapley_s_values() {
        for seed in 0..60 {
            let (nodes, features) = (seed as usize % 20, 1 + seed % 7);
            let grown = grow(nodes, features, seed);
            let mut walk = Walk::new([&grown.tree].into_iter(), features as usize);
            let wanted = shapley(features as usize, |known| grown.says(grown.tree.root(), known));
            for _ in 0..2 {
                let found = grown.attributions(&mut walk, features as usize);
                crate::goldens::assert_all_close(&found, &wanted, 1e-12);
            }
            let mean = grown.tree.mean(|leaf| grown.values[leaf]);
            assert!((mean - grown.says(grown.tree.root(), 0)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_chain_of_many_nodes_is_walked_without_a_stack_and_keeps_its_digits() {
        let (nodes, features) = (5000, 200);
        let place = |node: usize| if node < nodes { Place::Node(node) } else { Place::Leaf(nodes) };
        let chain = (0..nodes).map(|node| (node * 7 % features, [Place::Leaf(node), place(node + 1)]));
        let tree = ShapTree::new(chain, &vec![1.0; nodes + 1]);
        let values: Vec<f64> = (0..=nodes).map(|leaf| (leaf % 10) as f64).collect();
        let mut attributions = vec![0.0; features];
        let mut walk = Walk::new([&tree].into_iter(), features);
        // The row goes to the leaf behind node 4321.
        walk.add(&tree, |node| node == 4321, |leaf| values[leaf], &mut attributions);
        let sum = tree.mean(|leaf| values[leaf]) + attributions.iter().sum::<f64>();
        assert!((sum - values[4321]).abs() < 1e-9, "{sum}");
    }
}
