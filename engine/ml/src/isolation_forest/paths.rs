//! A tree of an isolation forest as rows go through it: several side by side, all as many steps as its longest path has.
//!
//! A leaf leads to itself, so that nothing has to be decided on the way; and while a row waits for memory, others go on.

use super::tree::{Node, Tree};

/// Rows that go through a tree side by side.
const ROWS_A_WALK: usize = 8;

/// A tree's steps and the lengths of its paths.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    steps: Vec<Step>,
    /// Of each leaf the length of the paths to the rows that were left there; 0 of other nodes.
    lengths: Vec<f64>,
    /// Cuts above the deepest leaf.
    depth: u32,
}

/// Rows up to the threshold go to the node `left`, the others to the one behind it.
#[derive(Debug, Clone, Copy)]
struct Step {
    threshold: f64,
    feature: u32,
    /// The node, twice, and one more if rows go there that miss the number.
    left: u32,
}

impl Paths {
    pub(super) fn new(tree: &Tree) -> Self {
        let (mut steps, mut lengths) = (Vec::with_capacity(tree.nodes.len()), Vec::with_capacity(tree.nodes.len()));
        let mut depths = vec![0; tree.nodes.len()];
        for (place, node) in tree.nodes.iter().enumerate() {
            let (step, length) = match node {
                Node::Leaf(path) => (Step { threshold: f64::INFINITY, feature: 0, left: place as u32 * 2 + 1 }, *path),
                Node::Cut(cut) => {
                    let below = depths[place] + 1;
                    let children = &mut depths[cut.left as usize..cut.left as usize + 2];
                    children.iter_mut().for_each(|depth| *depth = below.max(*depth));
                    let left = cut.left * 2 + u32::from(cut.missing_left);
                    (Step { threshold: cut.threshold, feature: cut.feature, left }, 0.0)
                }
            };
            steps.push(step);
            lengths.push(length);
        }
        Self { steps, lengths, depth: depths.into_iter().max().unwrap_or(0) }
    }

    /// Adds to `paths` how many cuts it takes to isolate each row of `width` values.
    pub(super) fn add(&self, values: &[f64], width: usize, paths: &mut [f64]) {
        let blocks = values.chunks(ROWS_A_WALK * width).zip(paths.chunks_mut(ROWS_A_WALK));
        for (values, paths) in blocks {
            if paths.len() == ROWS_A_WALK {
                self.add_some::<ROWS_A_WALK>(values, width, paths);
            } else {
                let rows = values.chunks_exact(width).zip(paths.chunks_exact_mut(1));
                rows.for_each(|(values, path)| self.add_some::<1>(values, width, path));
            }
        }
    }

    fn add_some<const N: usize>(&self, values: &[f64], width: usize, paths: &mut [f64]) {
        let mut places = [0; N];
        for _ in 0..self.depth {
            for row in 0..N {
                let step = &self.steps[places[row]];
                let value = values[row * width + step.feature as usize];
                let goes_left = (value <= step.threshold) | (value.is_nan() & (step.left & 1 == 1));
                places[row] = (step.left / 2) as usize + usize::from(!goes_left);
            }
        }
        for (path, place) in paths.iter_mut().zip(places) {
            *path += self.lengths[place];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Paths;
    use crate::isolation_forest::tree::{Sample, Tree};
    use crate::random::Random;

    #[test]
    fn rows_go_side_by_side_where_each_goes_alone() {
        let mut random = Random::new(5, 0);
        let number = |random: &mut Random| if random.below(9) == 0 { f64::NAN } else { random.fraction() };
        let values: Vec<f64> = (0..300).map(|_| number(&mut random)).collect();
        let sample = Sample { width: 3, values: values[..180].to_vec() };
        for seed in 0..20 {
            let tree = Tree::grow(&sample, &[0, 1, 2], &mut Random::new(seed, 1));
            let mut paths = vec![0.5; 100];
            Paths::new(&tree).add(&values, 3, &mut paths);
            let alone: Vec<f64> = values.chunks_exact(3).map(|row| 0.5 + tree.path(row)).collect();
            assert_eq!(paths, alone);
        }
    }
}
