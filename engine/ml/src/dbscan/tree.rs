//! A k-d tree (Bentley 1975): rows in boxes within boxes, so that most need not be looked at.
//!
//! A box is halved at the median of the feature in which it is widest. Its bounds are summed up as distances are,
//! feature by feature, and rounding keeps the order of numbers: so no row of a box is nearer or farther than its bounds
//! say, to the last bit, and the rows found are those that a comparison with all rows finds.
//!
//! Squared distances are sums over the numbers, and for each category that differs 2, as one-hot, or 1 where it was
//! never seen.

use crate::batch::{FitControl, Row};
use crate::error::Result;
use crate::feature::dictionary::NO_SLOT;

/// The most rows of a box that is not halved: they are compared with a row at once.
pub(super) const LEAF_ROWS: usize = 32;

/// The squared distance of two different categories.
const DIFFERENT: f64 = 2.0;

/// Rows in the order of their boxes. A place is a row's number in that order.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    numeric: usize,
    categorical: usize,
    /// The row at each place.
    rows: Vec<u32>,
    /// Leaf by leaf; of a leaf first all rows' first number, then all rows' second.
    numbers: Vec<f64>,
    /// Slots of categories likewise.
    categories: Vec<u32>,
    /// A box before those within it. The first is that of all rows; there is none without rows.
    nodes: Vec<Node>,
    /// For each box the least and the largest of each number.
    number_bounds: Vec<[f64; 2]>,
    /// For each box the least and the largest slot of each category.
    category_bounds: Vec<[u32; 2]>,
}

/// A box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// The first of its places.
    pub(super) start: u32,
    /// The place past the last.
    pub(super) end: u32,
    /// The node of its second half, where it is halved; that of the first is the next node.
    second: Option<u32>,
}

impl Node {
    pub(super) fn places(self) -> std::ops::Range<u32> {
        self.start..self.end
    }

    pub(super) fn rows(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A row to compare with others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point<'a> {
    pub(super) numbers: &'a [f64],
    /// Slots of categories; `NO_SLOT` of one that was never seen.
    pub(super) categories: &'a [u32],
}

impl Tree {
    /// A tree of these rows, of so many numbers and categories each, and fewer than 2^32.
    ///
    /// # Errors
    /// `Stopped`.
    pub(super) fn new(rows: &[Row<'_>], numeric: usize, categorical: usize, control: &FitControl) -> Result<Self> {
        let mut tree = Self {
            numeric,
            categorical,
            rows: (0..rows.len() as u32).collect(),
            numbers: Vec::with_capacity(rows.len() * numeric),
            categories: Vec::with_capacity(rows.len() * categorical),
            nodes: Vec::new(),
            number_bounds: Vec::new(),
            category_bounds: Vec::new(),
        };
        let mut order = std::mem::take(&mut tree.rows);
        if !order.is_empty() {
            tree.grow(rows, &mut order, 0, control)?;
        }
        tree.rows = order;
        tree.lay_out(rows);
        Ok(tree)
    }

    /// Adds the box of these rows and all within it.
    fn grow(&mut self, rows: &[Row<'_>], order: &mut [u32], start: u32, control: &FitControl) -> Result<()> {
        control.check()?;
        let node = self.nodes.len();
        self.nodes.push(Node { start, end: start + order.len() as u32, second: None });
        self.push_bounds(rows, order);
        if order.len() <= LEAF_ROWS {
            return Ok(());
        }
        let middle = order.len() / 2;
        self.halve(rows, order, node, middle);
        let (first, second) = order.split_at_mut(middle);
        self.grow(rows, first, start, control)?;
        self.nodes[node].second = Some(self.nodes.len() as u32);
        self.grow(rows, second, start + middle as u32, control)
    }

    fn push_bounds(&mut self, rows: &[Row<'_>], order: &[u32]) {
        let first = rows[order[0] as usize];
        let (numbers, categories) = (self.number_bounds.len(), self.category_bounds.len());
        self.number_bounds.extend(first.numbers.iter().map(|number| [*number; 2]));
        self.category_bounds.extend(first.categories.iter().map(|slot| [*slot; 2]));
        for row in order {
            let row = rows[*row as usize];
            for ([least, largest], number) in self.number_bounds[numbers..].iter_mut().zip(row.numbers) {
                (*least, *largest) = (least.min(*number), largest.max(*number));
            }
            for ([least, largest], slot) in self.category_bounds[categories..].iter_mut().zip(row.categories) {
                (*least, *largest) = ((*least).min(*slot), (*largest).max(*slot));
            }
        }
    }

    /// Puts rows with lesser values of the feature in which a box is widest before the middle; of equals, the earlier.
    fn halve(&self, rows: &[Row<'_>], order: &mut [u32], node: usize, middle: usize) {
        let widths = self.widths(node);
        let widest = (0..widths.len()).reduce(|best, next| if widths[next] > widths[best] { next } else { best });
        let Some(widest) = widest else { return };
        if widest < self.numeric {
            let number = |row: &u32| rows[*row as usize].numbers[widest];
            order.select_nth_unstable_by(middle, |one, other| {
                number(one).total_cmp(&number(other)).then_with(|| one.cmp(other))
            });
        } else {
            let slot = |row: &u32| rows[*row as usize].categories[widest - self.numeric];
            order.select_nth_unstable_by_key(middle, |row| (slot(row), *row));
        }
    }

    /// The largest squared distance that two rows of a box may have in each feature.
    fn widths(&self, node: usize) -> Vec<f64> {
        let numbers = self.number_bounds(node).iter().map(|[least, largest]| square(largest - least));
        let categories = self.category_bounds(node).iter();
        numbers.chain(categories.map(|[least, largest]| if least == largest { 0.0 } else { DIFFERENT })).collect()
    }

    /// Copies the rows' values in their order.
    fn lay_out(&mut self, rows: &[Row<'_>]) {
        for leaf in self.nodes.iter().filter(|node| node.second.is_none()) {
            let own = &self.rows[leaf.start as usize..leaf.end as usize];
            for feature in 0..self.numeric {
                self.numbers.extend(own.iter().map(|row| rows[*row as usize].numbers[feature]));
            }
            for feature in 0..self.categorical {
                self.categories.extend(own.iter().map(|row| rows[*row as usize].categories[feature]));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row at each place.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes of the two halves, unless it is a leaf.
    #[inline]
    pub(super) fn halves(&self, node: usize) -> Option<[usize; 2]> {
        self.nodes[node].second.map(|second| [node + 1, second as usize])
    }

    /// The nodes of both halves, the one with the lesser bound first, with their bounds; none of a leaf.
    pub(super) fn nearer_first(&self, node: usize, point: &Point<'_>) -> Option<[(usize, f64); 2]> {
        let [first, second] = self.halves(node)?.map(|half| (half, self.least_square(half, point)));
        Some(if second.1 < first.1 { [second, first] } else { [first, second] })
    }

    /// What no squared distance of a point from a row of the box is less than.
    pub(super) fn least_square(&self, node: usize, point: &Point<'_>) -> f64 {
        let mut sum = 0.0;
        for ([least, largest], number) in self.number_bounds(node).iter().zip(point.numbers) {
            sum += square((least - number).max(number - largest).max(0.0));
        }
        let mut apart = 0.0;
        for ([least, largest], slot) in self.category_bounds(node).iter().zip(point.categories) {
            apart += match *slot {
                NO_SLOT => 1.0,
                slot if slot < *least || slot > *largest => DIFFERENT,
                _ => 0.0,
            };
        }
        sum + apart
    }

    /// What no squared distance of a point from a row of the box exceeds.
    pub(super) fn largest_square(&self, node: usize, point: &Point<'_>) -> f64 {
        let mut sum = 0.0;
        for ([least, largest], number) in self.number_bounds(node).iter().zip(point.numbers) {
            sum += square((number - least).max(largest - number));
        }
        let mut apart = 0.0;
        for ([least, largest], slot) in self.category_bounds(node).iter().zip(point.categories) {
            apart += match *slot {
                NO_SLOT => 1.0,
                slot if slot == *least && slot == *largest => 0.0,
                _ => DIFFERENT,
            };
        }
        sum + apart
    }

    /// What no squared distance of two rows of the box exceeds.
    pub(super) fn diagonal_square(&self, node: usize) -> f64 {
        let widths = self.widths(node);
        let (numbers, categories) = widths.split_at(self.numeric);
        numbers.iter().sum::<f64>() + categories.iter().sum::<f64>()
    }

    /// The squared distances of a point from the rows of a leaf, in the order of their places.
    pub(super) fn squares<'a>(&self, leaf: usize, point: &Point<'_>, out: &'a mut [f64; LEAF_ROWS]) -> &'a [f64] {
        let (start, rows) = (self.nodes[leaf].start as usize, self.nodes[leaf].rows());
        let out = &mut out[..rows];
        out.fill(0.0);
        let numbers = &self.numbers[start * self.numeric..(start + rows) * self.numeric];
        for (column, own) in numbers.chunks_exact(rows).zip(point.numbers) {
            for (sum, number) in out.iter_mut().zip(column) {
                *sum += square(own - number);
            }
        }
        if self.categorical > 0 {
            self.add_categories(start, point, out);
        }
        out
    }

    fn add_categories(&self, start: usize, point: &Point<'_>, out: &mut [f64]) {
        let rows = out.len();
        let mut apart = [0.0; LEAF_ROWS];
        let slots = &self.categories[start * self.categorical..(start + rows) * self.categorical];
        for (column, own) in slots.chunks_exact(rows).zip(point.categories) {
            let different = if *own == NO_SLOT { 1.0 } else { DIFFERENT };
            for (apart, slot) in apart.iter_mut().zip(column) {
                *apart += if own == slot { 0.0 } else { different };
            }
        }
        out.iter_mut().zip(&apart).for_each(|(sum, apart)| *sum += apart);
    }

    /// Room for a row's numbers and categories.
    pub(super) fn room_for_row(&self) -> (Vec<f64>, Vec<u32>) {
        (vec![0.0; self.numeric], vec![NO_SLOT; self.categorical])
    }

    /// Copies a leaf's row, given its number in the leaf, into `numbers` and `categories`.
    pub(super) fn copy_row(&self, leaf: usize, row: usize, numbers: &mut [f64], categories: &mut [u32]) {
        let (start, rows) = (self.nodes[leaf].start as usize, self.nodes[leaf].rows());
        for (feature, number) in numbers.iter_mut().enumerate() {
            *number = self.numbers[start * self.numeric + feature * rows + row];
        }
        for (feature, slot) in categories.iter_mut().enumerate() {
            *slot = self.categories[start * self.categorical + feature * rows + row];
        }
    }

    /// The nearest row of those whose squared distance is `square` or less; of equals, that with the least number.
    pub(super) fn nearest(&self, point: &Point<'_>, square: f64) -> Option<u32> {
        let mut best = (square, u32::MAX);
        if !self.nodes.is_empty() && self.least_square(0, point) <= square {
            self.look_for_nearest(0, point, &mut best);
        }
        (best.1 != u32::MAX).then_some(best.1)
    }

    fn look_for_nearest(&self, node: usize, point: &Point<'_>, best: &mut (f64, u32)) {
        if let Some(halves) = self.nearer_first(node, point) {
            for (half, least) in halves {
                // Where it is the same distance, there may be an earlier row.
                if least <= best.0 {
                    self.look_for_nearest(half, point, best);
                }
            }
            return;
        }
        let mut room = [0.0; LEAF_ROWS];
        let rows = &self.rows[self.nodes[node].start as usize..];
        for (square, row) in self.squares(node, point, &mut room).iter().zip(rows) {
            if *square < best.0 || (*square == best.0 && *row < best.1) {
                *best = (*square, *row);
            }
        }
    }

    #[inline]
    fn number_bounds(&self, node: usize) -> &[[f64; 2]] {
        &self.number_bounds[node * self.numeric..(node + 1) * self.numeric]
    }

    #[inline]
    fn category_bounds(&self, node: usize) -> &[[u32; 2]] {
        &self.category_bounds[node * self.categorical..(node + 1) * self.categorical]
    }
}

#[inline]
fn square(number: f64) -> f64 {
    number * number
}
