//! Centroids laid out for the distances of rows to all of them at once.
//!
//! Eight centroids lie side by side, so that one value of a row meets eight of theirs in vector registers; and four rows
//! are taken at a time, so that the sums wait less for each other. Each sum runs over the features in their order,
//! whatever stands beside it and whatever the instructions: the same row has the same distance anywhere.
#![expect(clippy::needless_range_loop, reason = "iterators over several slices are calls in the innermost loops")]

#[cfg(test)]
mod tests;

use tidemill_compute::kernel::lanes::{COLUMNS, Instructions};

use super::config::DistanceType;
use crate::batch::Row;
use crate::feature::dictionary::NO_SLOT;

/// Centroids side by side.
const LANES: usize = COLUMNS;

/// Sums side by side where a row is compared with one centroid.
const SUMS: usize = 4;

/// Rows that are compared with the centroids together.
pub(super) const ROWS: usize = 4;

/// The squared distance of two directions below which they count as one: rounding leaves about 1e-16.
const SAME_DIRECTION: f64 = 1e-14;

/// Centroids, each a point of all numbers and all categories.
#[derive(Debug, Clone)]
pub(super) struct Centroids {
    count: usize,
    /// Values of numbers; those of categories follow.
    numeric: usize,
    groups: Vec<Group>,
}

/// Up to eight centroids.
#[derive(Debug, Clone)]
struct Group {
    /// For each number, the values of the eight.
    numbers: Vec<[f64; LANES]>,
    /// For each category likewise.
    categories: Vec<[f64; LANES]>,
    /// The sums of the squares of the categories' values.
    category_squares: [f64; LANES],
    /// Half the sums of all squares, or 0 where only directions count; infinite for what only fills the group up,
    /// which is then nearest to nothing.
    half_squares: [f64; LANES],
}

/// A row as a point: its numbers, and a one for each of its categories, all of it times `scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point<'a> {
    pub(super) numbers: &'a [f64],
    /// Slots of categories, which count from 1 past the numbers; `NO_SLOT` is of none.
    pub(super) slots: &'a [u32],
    pub(super) scale: f64,
}

impl<'a> Point<'a> {
    /// The point of a row: on the unit sphere where only directions count, and at the origin if it has none.
    #[inline]
    pub(super) fn new(distance: DistanceType, numbers: &'a [f64], slots: &'a [u32]) -> Self {
        let scale = match distance {
            DistanceType::Euclidean => 1.0,
            DistanceType::Cosine => per_length(numbers, slots),
        };
        Self { numbers, slots, scale }
    }

    #[inline]
    pub(super) fn of_row(distance: DistanceType, row: Row<'a>) -> Self {
        Self::new(distance, row.numbers, row.categories)
    }

    /// Whether only directions count, and it has none. Then it belongs to no centroid: all are as far.
    #[inline]
    pub(super) fn is_nowhere(&self) -> bool {
        self.scale == 0.0
    }

    /// The squared distance to one centroid, given the sum of the squares of its categories' values.
    #[inline(always)]
    pub(super) fn squared_distance(&self, values: &[f64], category_squares: f64) -> f64 {
        let (numbers, categories) = values.split_at(self.numbers.len());
        let squares = scaled_squares(self.numbers, self.scale, numbers);
        if categories.is_empty() {
            return squares;
        }
        let own = self.slots.iter().filter_map(|slot| categories.get((*slot as usize).wrapping_sub(1 + numbers.len())));
        let (own, known) = own.fold((0.0, 0.0), |(own, known), value| (own + value, known + 1.0));
        squares + (category_squares - 2.0 * self.scale * own + self.scale * self.scale * known).max(0.0)
    }

    /// Adds the point to a sum.
    #[inline(always)]
    pub(super) fn add_to(&self, sum: &mut [f64]) {
        let (numbers, categories) = sum.split_at_mut(self.numbers.len());
        let own = &self.numbers[..numbers.len()];
        for place in 0..numbers.len() {
            numbers[place] += self.scale * own[place];
        }
        for slot in self.slots {
            if let Some(sum) = categories.get_mut((*slot as usize).wrapping_sub(1 + self.numbers.len())) {
                *sum += self.scale;
            }
        }
    }
}

/// One over the length of a row; 0 of a row that has none.
fn per_length(numbers: &[f64], slots: &[u32]) -> f64 {
    // Squares of the largest learnable numbers, 1e50, stay far from infinity; the smallest may vanish, with the length.
    let known = slots.iter().filter(|slot| **slot != NO_SLOT).count();
    let squares = numbers.iter().map(|number| number * number).sum::<f64>() + known as f64;
    if squares > 0.0 { 1.0 / squares.sqrt() } else { 0.0 }
}

impl Centroids {
    /// Centroids of `width` values each, given one after another, of which the first `numeric` are numbers.
    /// Where only directions count, they have the length 1.
    pub(super) fn new(distance: DistanceType, values: &[f64], numeric: usize, width: usize) -> Self {
        let rows: Vec<&[f64]> = values.chunks_exact(width.max(1)).collect();
        let groups = rows.chunks(LANES).map(|rows| Group::new(distance, rows, numeric, width)).collect();
        Self { count: rows.len(), numeric, groups }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The nearest centroid of each row; of equals, the first.
    ///
    /// It compares half the squared distance, less what all centroids have in common: `½ c·c - x·c`. With `x` centred
    /// little is cancelled, and it takes two operations a value instead of three. Centroids of length 1 have the first
    /// term in common, too, and what is left compares directions, whatever the length of the row.
    pub(super) fn nearest(&self, rows: &[Row<'_>; ROWS]) -> [usize; ROWS] {
        let instructions = Instructions::fastest();
        let numbers = rows.map(|row| row.numbers);
        let mut nearest = [Nearest::default(); ROWS];
        for (place, group) in self.groups.iter().enumerate() {
            let mut scores = [group.half_squares; ROWS];
            instructions.add_terms(numbers, [1.0; ROWS], &group.numbers, |own, other| -(own * other), &mut scores);
            if !group.categories.is_empty() {
                for row in 0..ROWS {
                    for slot in rows[row].categories {
                        subtract(&mut scores[row], &group.categories[*slot as usize - 1 - self.numeric]);
                    }
                }
            }
            instructions.run(|| compare(&mut nearest, &scores, place));
        }
        nearest.map(Nearest::centroid)
    }

    /// The squared distances of a point to all centroids.
    ///
    /// They are sums of squared differences, and so exactly 0 where the points are the same.
    pub(super) fn squared_distances(&self, point: &Point<'_>, out: &mut Vec<f64>) {
        out.clear();
        for group in &self.groups {
            let mut sums = Instructions::fastest().run(|| squares_of_one(point, &group.numbers));
            group.add_categories(point, self.numeric, &mut sums);
            out.extend_from_slice(&sums);
        }
        out.truncate(self.count);
    }

    /// The same of four points, bit by bit: for each centroid, theirs.
    pub(super) fn squared_distances_of_four(&self, points: &[Point<'_>; ROWS], out: &mut Vec<[f64; ROWS]>) {
        let instructions = Instructions::fastest();
        let (numbers, scales) = (points.map(|point| point.numbers), points.map(|point| point.scale));
        out.clear();
        for group in &self.groups {
            let mut sums = [[0.0; LANES]; ROWS];
            instructions.add_terms(numbers, scales, &group.numbers, square_of_difference, &mut sums);
            if !group.categories.is_empty() {
                for row in 0..ROWS {
                    group.add_categories(&points[row], self.numeric, &mut sums[row]);
                }
            }
            let [a, b, c, d] = sums;
            for lane in 0..LANES {
                out.push([a[lane], b[lane], c[lane], d[lane]]);
            }
        }
        out.truncate(self.count);
    }

    /// What k-means minimises of a point and its centroid, whose values are given: the squared distance, or of
    /// directions the distance.
    #[inline(always)]
    pub(super) fn loss(&self, distance: DistanceType, point: &Point<'_>, centroid: usize, values: &[f64]) -> f64 {
        let category_squares = self.groups[centroid / LANES].category_squares[centroid % LANES];
        let squared = point.squared_distance(values, category_squares);
        match distance {
            DistanceType::Euclidean => squared,
            DistanceType::Cosine => squared / 2.0,
        }
    }

    /// What those are as distances of this type. Of directions, the squared distance is twice the cosine's.
    #[inline]
    pub(super) fn distance(distance: DistanceType, point: &Point<'_>, squared: f64) -> f64 {
        match distance {
            DistanceType::Euclidean => squared.sqrt(),
            // What has no direction is at a right angle to everything.
            DistanceType::Cosine if point.is_nowhere() => 1.0,
            DistanceType::Cosine => squared / 2.0,
        }
    }

    /// The squared distance, or 0 where it is no more than rounding can make of none.
    #[inline]
    pub(super) fn without_noise(distance: DistanceType, squared: f64) -> f64 {
        match distance {
            DistanceType::Cosine if squared < SAME_DIRECTION => 0.0,
            _ => squared,
        }
    }
}

impl Group {
    fn new(distance: DistanceType, rows: &[&[f64]], numeric: usize, width: usize) -> Self {
        let value = |lane: usize, place: usize| rows.get(lane).map_or(0.0, |row| row[place]);
        let columns = |places: std::ops::Range<usize>| -> Vec<[f64; LANES]> {
            places.map(|place| std::array::from_fn(|lane| value(lane, place))).collect()
        };
        let (numbers, categories) = (columns(0..numeric), columns(numeric..width));
        let category_squares = squares(&categories);
        let all = squares(&numbers);
        let half_squares = std::array::from_fn(|lane| match distance {
            _ if lane >= rows.len() => f64::INFINITY,
            DistanceType::Euclidean => 0.5 * (all[lane] + category_squares[lane]),
            DistanceType::Cosine => 0.0,
        });
        Self { numbers, categories, category_squares, half_squares }
    }

    /// Adds the categories' part of the squared distances: `Σ c² - 2 s Σ c + s² m`, with the second sum over the `m`
    /// categories that the row has. Shares are at most 1, so it cancels no digits that matter.
    fn add_categories(&self, point: &Point<'_>, numeric: usize, sums: &mut [f64; LANES]) {
        if self.categories.is_empty() {
            return;
        }
        let (mut own, mut known) = ([0.0; LANES], 0.0);
        for slot in point.slots {
            if let Some(values) = self.categories.get((*slot as usize).wrapping_sub(1 + numeric)) {
                known += 1.0;
                (0..LANES).for_each(|lane| own[lane] += values[lane]);
            }
        }
        for lane in 0..LANES {
            let squares = self.category_squares[lane] - 2.0 * point.scale * own[lane];
            sums[lane] += (squares + point.scale * point.scale * known).max(0.0);
        }
    }
}

fn squares(columns: &[[f64; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for column in columns {
        (0..LANES).for_each(|lane| sums[lane] += column[lane] * column[lane]);
    }
    sums
}

/// The nearest centroid so far: of those of each lane the smallest score, and its group.
#[derive(Debug, Clone, Copy)]
struct Nearest {
    scores: [f64; LANES],
    groups: [u64; LANES],
}

impl Default for Nearest {
    #[inline]
    fn default() -> Self {
        Self { scores: [f64::INFINITY; LANES], groups: [0; LANES] }
    }
}

impl Nearest {
    fn centroid(self) -> usize {
        let mut smallest = f64::INFINITY;
        for lane in 0..LANES {
            smallest = if self.scores[lane] < smallest { self.scores[lane] } else { smallest };
        }
        let mut first = u64::MAX;
        for lane in 0..LANES {
            let centroid = self.groups[lane] * LANES as u64 + lane as u64;
            let is_first = self.scores[lane] == smallest && centroid < first;
            first = if is_first { centroid } else { first };
        }
        first as usize
    }
}

// The loops below count places of slices that were cut to one length, so nothing is checked and nothing called: `zip`
// and an array's `map` are calls unless all of the crate is compiled as one, and take as long as a row of ten numbers.

/// Keeps of each row the nearer of what is nearest by now and a group's centroids. Selected by masks: a branch for each
/// would be guessed wrong too often.
#[inline(always)]
fn compare(nearest: &mut [Nearest; ROWS], scores: &[[f64; LANES]; ROWS], group: usize) {
    for row in 0..ROWS {
        let (nearest, scores) = (&mut nearest[row], &scores[row]);
        for lane in 0..LANES {
            let nearer = u64::from(scores[lane] < nearest.scores[lane]).wrapping_neg();
            let score = (scores[lane].to_bits() & nearer) | (nearest.scores[lane].to_bits() & !nearer);
            nearest.scores[lane] = f64::from_bits(score);
            nearest.groups[lane] = (group as u64 & nearer) | (nearest.groups[lane] & !nearer);
        }
    }
}

/// The sums of the squared differences of a point and each of a group's centroids.
#[inline(always)]
fn squares_of_one(point: &Point<'_>, columns: &[[f64; LANES]]) -> [f64; LANES] {
    let numbers = &point.numbers[..columns.len()];
    let mut sums = [0.0; LANES];
    for place in 0..columns.len() {
        let value = point.scale * numbers[place];
        for lane in 0..LANES {
            sums[lane] += square_of_difference(value, columns[place][lane]);
        }
    }
    sums
}

#[inline(always)]
fn square_of_difference(one: f64, other: f64) -> f64 {
    (one - other) * (one - other)
}

/// The sum of squared differences of two rows, the first of them scaled.
#[inline(always)]
fn scaled_squares(row: &[f64], scale: f64, other: &[f64]) -> f64 {
    let length = row.len().min(other.len());
    let (row, other) = (&row[..length], &other[..length]);
    let (rows, row_rest) = row.as_chunks::<SUMS>();
    let (others, other_rest) = other.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for place in 0..rows.len().min(others.len()) {
        for sum in 0..SUMS {
            let difference = scale * rows[place][sum] - others[place][sum];
            sums[sum] += difference * difference;
        }
    }
    // By numbers that are known, so that the sums stay in registers.
    for sum in 0..SUMS {
        if sum < row_rest.len().min(other_rest.len()) {
            let difference = scale * row_rest[sum] - other_rest[sum];
            sums[sum] += difference * difference;
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// Takes each of a column off sums.
fn subtract(sums: &mut [f64; LANES], column: &[f64; LANES]) {
    for lane in 0..LANES {
        sums[lane] -= column[lane];
    }
}
