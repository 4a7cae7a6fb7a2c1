//! Centroids laid out for the distances of rows to all of them at once.
//!
//! Four centroids lie side by side, so that one value of a row meets four of theirs in vector registers; and four rows
//! are taken at a time, so that the sums wait less for each other. Each sum runs over the features in their order,
//! whatever stands beside it: the same row has the same distance anywhere.

use super::config::DistanceType;
use crate::batch::Row;
use crate::feature::dictionary::NO_SLOT;

/// Centroids side by side.
const LANES: usize = 4;

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

/// Up to four centroids.
#[derive(Debug, Clone)]
struct Group {
    /// For each number, the values of the four.
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
    pub(super) fn new(distance: DistanceType, numbers: &'a [f64], slots: &'a [u32]) -> Self {
        let scale = match distance {
            DistanceType::Euclidean => 1.0,
            DistanceType::Cosine => per_length(numbers, slots),
        };
        Self { numbers, slots, scale }
    }

    pub(super) fn of_row(distance: DistanceType, row: Row<'a>) -> Self {
        Self::new(distance, row.numbers, row.categories)
    }

    /// Whether only directions count, and it has none. Then it belongs to no centroid: all are as far.
    pub(super) fn is_nowhere(&self) -> bool {
        self.scale == 0.0
    }

    /// Adds the point to a sum.
    pub(super) fn add_to(&self, sum: &mut [f64]) {
        let (numbers, categories) = sum.split_at_mut(self.numbers.len());
        for (sum, number) in numbers.iter_mut().zip(self.numbers) {
            *sum += self.scale * number;
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
        let mut nearest = [(f64::INFINITY, 0); ROWS];
        for (place, group) in self.groups.iter().enumerate() {
            let mut scores = [group.half_squares; ROWS];
            subtract_products(&mut scores, rows.map(|row| row.numbers), &group.numbers);
            for (row, scores) in rows.iter().zip(&mut scores) {
                for slot in row.categories {
                    let values = &group.categories[*slot as usize - 1 - self.numeric];
                    for lane in 0..LANES {
                        scores[lane] -= values[lane];
                    }
                }
            }
            for (nearest, scores) in nearest.iter_mut().zip(&scores) {
                for (lane, score) in scores.iter().enumerate() {
                    *nearest = if *score < nearest.0 { (*score, place * LANES + lane) } else { *nearest };
                }
            }
        }
        nearest.map(|(_, centroid)| centroid)
    }

    /// The squared distances of points to all centroids: for each centroid, those of the points.
    ///
    /// They are sums of squared differences, and so exactly 0 where the points are the same.
    pub(super) fn squared_distances<const N: usize>(&self, points: &[Point<'_>; N], out: &mut Vec<[f64; N]>) {
        out.clear();
        for group in &self.groups {
            let mut sums = [[0.0; LANES]; N];
            add_squares(&mut sums, points, &group.numbers);
            for (point, sums) in points.iter().zip(&mut sums) {
                group.add_categories(point, self.numeric, sums);
            }
            out.extend((0..LANES).map(|lane| sums.map(|sums| sums[lane])));
        }
        out.truncate(self.count);
    }

    /// What those are as distances of this type. Of directions, the squared distance is twice the cosine's.
    pub(super) fn distance(distance: DistanceType, point: &Point<'_>, squared: f64) -> f64 {
        match distance {
            DistanceType::Euclidean => squared.sqrt(),
            // What has no direction is at a right angle to everything.
            DistanceType::Cosine if point.is_nowhere() => 1.0,
            DistanceType::Cosine => squared / 2.0,
        }
    }

    /// The squared distance, or 0 where it is no more than rounding can make of none.
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

fn subtract_products(scores: &mut [[f64; LANES]; ROWS], rows: [&[f64]; ROWS], columns: &[[f64; LANES]]) {
    // One length for all lets the compiler leave out the checks.
    let rows = rows.map(|row| &row[..columns.len()]);
    let mut sums = *scores;
    for (place, column) in columns.iter().enumerate() {
        for row in 0..ROWS {
            let value = rows[row][place];
            for lane in 0..LANES {
                sums[row][lane] -= value * column[lane];
            }
        }
    }
    *scores = sums;
}

fn add_squares<const N: usize>(sums: &mut [[f64; LANES]; N], points: &[Point<'_>; N], columns: &[[f64; LANES]]) {
    let rows = points.map(|point| &point.numbers[..columns.len()]);
    for (place, column) in columns.iter().enumerate() {
        for row in 0..N {
            let value = points[row].scale * rows[row][place];
            for lane in 0..LANES {
                let difference = value - column[lane];
                sums[row][lane] += difference * difference;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Centroids, DistanceType, Point, ROWS};
    use crate::batch::Row;
    use crate::feature::dictionary::NO_SLOT;

    fn row<'a>(numbers: &'a [f64], categories: &'a [u32]) -> Row<'a> {
        Row { numbers, categories, label: 0.0 }
    }

    #[test]
    fn distances_by_hand() {
        // A number and three categories, whose slots are 2, 3 and 4.
        let centroids = Centroids::new(DistanceType::Euclidean, &[1.0, 0.5, 0.5, 0.0, -2.0, 0.0, 0.0, 1.0], 1, 4);
        let mut out = Vec::new();
        let points = [(&[3.0], &[2]), (&[-2.0], &[4]), (&[-2.0], &[NO_SLOT])];
        let points = points.map(|(numbers, slots)| Point::new(DistanceType::Euclidean, numbers, slots));
        centroids.squared_distances(&points, &mut out);
        // (3 - 1)² + ½² + ½², (-2 - 1)² + ½² + ½² + 1, and 3² + ½²+ ½².
        assert_eq!(out, [[4.5, 10.5, 9.5], [27.0, 0.0, 1.0]]);
        let point = Point::new(DistanceType::Cosine, &[3.0], &[2]);
        assert!((point.scale - 1.0 / 10_f64.sqrt()).abs() < 1e-15);
        let nothing = Point::new(DistanceType::Cosine, &[0.0], &[NO_SLOT]);
        assert_eq!(Centroids::distance(DistanceType::Cosine, &nothing, 1.0), 1.0);
    }

    #[test]
    fn the_nearest_is_that_of_the_smallest_distance_and_the_first_of_equals() {
        // Seven centroids fill up one group and a part of another.
        let value = |place: usize| ((place * 37 + 11) % 23) as f64 - 11.0;
        let values: Vec<f64> = (0..7 * 3).map(value).collect();
        let centroids = Centroids::new(DistanceType::Euclidean, &values, 3, 3);
        assert_eq!(centroids.count(), 7);
        let numbers: Vec<[f64; 3]> = (0..400).map(|row| [0, 1, 2].map(|place| value(row * 5 + place) * 0.9)).collect();
        for four in numbers.as_chunks::<ROWS>().0 {
            let rows = four.each_ref().map(|numbers| row(numbers, &[]));
            let points = rows.map(|row| Point::of_row(DistanceType::Euclidean, row));
            let mut out = Vec::new();
            centroids.squared_distances(&points, &mut out);
            let smallest = [0, 1, 2, 3].map(|row| (0..7).min_by(|a, b| out[*a][row].total_cmp(&out[*b][row])).unwrap());
            assert_eq!(centroids.nearest(&rows), smallest);
        }
        let twins = Centroids::new(DistanceType::Euclidean, &[1.0, 5.0, 1.0], 1, 1);
        assert_eq!(twins.nearest(&[row(&[1.0], &[]); ROWS]), [0; ROWS]);
    }
}
