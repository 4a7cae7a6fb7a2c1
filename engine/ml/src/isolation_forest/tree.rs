//! A tree that cuts at random until each row is alone: rows that are alone after few cuts are unlike the others.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::softmax::ln;

use crate::error::{MlError, Result};
use crate::random::Random;

/// A path longer than that of any tree of rows that fit into memory.
const PATH_MAX: f64 = 1e3;

/// Euler's constant, to which a harmonic number and the logarithm differ in the end.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Node 0 is the root; the children of a node are behind it, side by side.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) enum Node {
    Cut(Cut),
    /// The length of the paths to the rows that are left here: the cuts that led here, and those that it would have
    /// taken.
    Leaf(f64),
}

/// Rows up to the threshold go to the node `left`, the others to the one behind it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Cut {
    pub(super) feature: u32,
    pub(super) threshold: f64,
    pub(super) missing_left: bool,
    pub(super) left: u32,
}

/// Rows that a tree is grown from, one after another.
pub(super) struct Sample {
    /// Values of a row; NaN where missing.
    pub(super) width: usize,
    pub(super) values: Vec<f64>,
}

/// The mean length of a path to one of so many rows, if cuts fall anywhere: that of an unsuccessful search in a binary
/// search tree (Preiss 1999). 0 of one row, 1 of two.
pub(super) fn mean_path(rows: usize) -> f64 {
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let others = (rows - 1) as f64;
            2.0 * (ln(others) + EULER) - 2.0 * others / rows as f64
        }
    }
}

impl Tree {
    /// Grows a tree that looks at these features, and cuts no path more often than a tree that is balanced.
    pub(super) fn grow(sample: &Sample, features: &[usize], random: &mut Random) -> Self {
        let rows = sample.values.len() / sample.width.max(1);
        let depth_max = rows.max(2).next_power_of_two().ilog2();
        let mut order: Vec<usize> = (0..rows).collect();
        let mut features = features.to_vec();
        let mut tree = Self { nodes: vec![Node::Leaf(0.0)] };
        let mut waiting = vec![(0, 0..rows, 0)];
        while let Some((node, range, depth)) = waiting.pop() {
            let own = &mut order[range.clone()];
            let cut = if depth < depth_max && own.len() > 1 { sample.cut(own, &mut features, random) } else { None };
            let Some(mut cut) = cut else {
                tree.nodes[node] = Node::Leaf(f64::from(depth) + mean_path(own.len()));
                continue;
            };
            // The order within a side is kept, so that it depends on nothing but the rows.
            own.sort_by_key(|row| !cut.goes_left(sample.row(*row)));
            let middle = range.start + own.partition_point(|row| cut.goes_left(sample.row(*row)));
            let left = tree.nodes.len();
            cut.left = left as u32;
            tree.nodes[node] = Node::Cut(cut);
            tree.nodes.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
            waiting.push((left + 1, middle..range.end, depth + 1));
            waiting.push((left, range.start..middle, depth + 1));
        }
        tree
    }

    /// How many cuts it takes to isolate a row; of many rows, [`Paths`](super::paths::Paths) says it sooner.
    #[cfg(test)]
    pub(super) fn path(&self, values: &[f64]) -> f64 {
        let mut node = 0;
        loop {
            match &self.nodes[node] {
                Node::Leaf(path) => return *path,
                Node::Cut(cut) => node = cut.left as usize + usize::from(!cut.goes_left(values)),
            }
        }
    }

    /// Checks a tree that comes from elsewhere, of rows with so many values.
    ///
    /// # Errors
    /// `CorruptState` for one that could lead nowhere.
    pub(super) fn check(&self, width: usize) -> Result<()> {
        let is_node = |(place, node): (usize, &Node)| match node {
            Node::Leaf(path) => (0.0..=PATH_MAX).contains(path),
            Node::Cut(cut) => {
                let left = cut.left as usize;
                (cut.feature as usize) < width
                    && cut.threshold.is_finite()
                    && place < left
                    && left + 1 < self.nodes.len()
            }
        };
        if !self.nodes.is_empty() && self.nodes.iter().enumerate().all(is_node) {
            return Ok(());
        }
        Err(MlError::corrupt("a tree has a path that leads nowhere"))
    }
}

impl Cut {
    fn goes_left(&self, values: &[f64]) -> bool {
        let value = values[self.feature as usize];
        value <= self.threshold || (value.is_nan() && self.missing_left)
    }
}

impl Sample {
    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// A cut of a random one of the features in which these rows differ, anywhere between their least and their largest
    /// value; rows that miss it go to either side. None where the rows are all the same. Reorders the features.
    fn cut(&self, rows: &[usize], features: &mut [usize], random: &mut Random) -> Option<Cut> {
        for tried in 0..features.len() {
            features.swap(tried, tried + random.below((features.len() - tried) as u64) as usize);
            let feature = features[tried];
            let (mut least, mut largest, mut missing) = (f64::INFINITY, f64::NEG_INFINITY, 0);
            for row in rows {
                let value = self.values[row * self.width + feature];
                least = least.min(value);
                largest = largest.max(value);
                missing += usize::from(value.is_nan());
            }
            let cut = |threshold, missing_left| Cut { feature: feature as u32, threshold, missing_left, left: 0 };
            if least < largest {
                let threshold = least + random.fraction() * (largest - least);
                // Rounding must not leave the right side without a row.
                let threshold = if threshold < largest { threshold } else { least };
                return Some(cut(threshold, random.coin()));
            }
            if (1..rows.len()).contains(&missing) {
                return Some(cut(largest, false));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Node, Sample, Tree, mean_path};
    use crate::random::Random;

    #[test]
    fn the_mean_path_by_hand() {
        assert_eq!((mean_path(0), mean_path(1), mean_path(2)), (0.0, 0.0, 1.0));
        // 2 (ln 255 + 0.5772156649) - 2 * 255 / 256
        assert!((mean_path(256) - 10.244_770_920_119_918).abs() < 1e-12, "{}", mean_path(256));
    }

    #[test]
    fn paths_are_cuts_and_what_they_would_have_been() {
        // Three rows are alone after one or two cuts, and two equal ones are never told apart.
        let sample = Sample { width: 1, values: vec![0.0, 10.0, 11.0, 11.0] };
        for seed in 0..20 {
            let tree = Tree::grow(&sample, &[0], &mut Random::new(seed, 0));
            tree.check(1).unwrap();
            let paths = [0.0, 10.0, 11.0].map(|value| tree.path(&[value]));
            assert!([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]].contains(&paths), "{paths:?}");
        }
        // With equal rows there is nothing to cut.
        let tree = Tree::grow(&Sample { width: 2, values: vec![3.0; 16] }, &[0, 1], &mut Random::new(1, 0));
        assert_eq!(tree.path(&[0.0, 9.0]), mean_path(8));
    }

    #[test]
    fn missing_values_are_cut_off_or_go_either_way() {
        let sample = Sample { width: 1, values: vec![5.0, 5.0, 5.0, f64::NAN] };
        let tree = Tree::grow(&sample, &[0], &mut Random::new(1, 0));
        assert_eq!((tree.path(&[5.0]), tree.path(&[f64::NAN])), (1.0 + mean_path(3), 1.0));
        let all = Tree::grow(&Sample { width: 1, values: vec![f64::NAN; 3] }, &[0], &mut Random::new(1, 0));
        assert_eq!(all.path(&[f64::NAN]), mean_path(3));
    }

    #[test]
    fn trees_that_lead_nowhere_are_refused() {
        let cut = |feature, left| Node::Cut(Cut { feature, threshold: 1.0, missing_left: false, left });
        let tree = |nodes: Vec<Node>| Tree { nodes };
        assert!(tree(vec![cut(0, 1), Node::Leaf(1.0), Node::Leaf(1.0)]).check(1).is_ok());
        assert!(tree(vec![]).check(1).is_err());
        assert!(tree(vec![cut(0, 0), Node::Leaf(1.0)]).check(1).is_err());
        assert!(tree(vec![cut(0, 1), Node::Leaf(1.0)]).check(1).is_err());
        assert!(tree(vec![cut(1, 1), Node::Leaf(1.0), Node::Leaf(1.0)]).check(1).is_err());
        assert!(tree(vec![Node::Leaf(f64::NAN)]).check(1).is_err());
    }
}
