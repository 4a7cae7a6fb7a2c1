//! Distances by hand, and the nearest centroid by them.

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
    let points = [(&[3.0], &[2]), (&[-2.0], &[4]), (&[-2.0], &[NO_SLOT]), (&[1.0], &[3])];
    let points = points.map(|(numbers, slots)| Point::new(DistanceType::Euclidean, numbers, slots));
    centroids.squared_distances_of_four(&points, &mut out);
    // (3 - 1)² + ½² + ½², (-2 - 1)² + ½² + ½² + 1, 3² + ½²+ ½², and ½² + ½².
    assert_eq!(out, [[4.5, 10.5, 9.5, 0.5], [27.0, 0.0, 1.0, 11.0]]);
    let mut alone = Vec::new();
    centroids.squared_distances(&points[0], &mut alone);
    assert_eq!(alone, [4.5, 27.0]);
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
        centroids.squared_distances_of_four(&points, &mut out);
        let smallest = [0, 1, 2, 3].map(|row| (0..7).min_by(|a, b| out[*a][row].total_cmp(&out[*b][row])).unwrap());
        assert_eq!(centroids.nearest(&rows), smallest);
    }
    let twins = Centroids::new(DistanceType::Euclidean, &[1.0, 5.0, 1.0], 1, 1);
    assert_eq!(twins.nearest(&[row(&[1.0], &[]); ROWS]), [0; ROWS]);
}
