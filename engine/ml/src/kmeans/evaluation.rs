//! How well centroids fit the rows: the distances, and the Davies-Bouldin index (1979).

use bincode::{Decode, Encode};

use super::centroids::{Centroids, Point};
use super::config::DistanceType;
use super::space::Space;
use crate::error::Result;

/// Sums over the rows of each centroid. Rows without a direction are of none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evaluation {
    clusters: Vec<Cluster>,
}

/// Sums over the rows of one centroid.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
struct Cluster {
    rows: u64,
    /// The sum of its rows' distances from the centroid.
    distances: f64,
    /// The sum of their squares.
    squares: f64,
    /// The sum of its rows, not as points but as they are encoded.
    sums: Vec<f64>,
}

impl Evaluation {
    /// # Errors
    /// `Stopped`.
    pub(super) fn of(space: &Space<'_>, values: &[f64]) -> Result<Self> {
        let centroids = space.centroids(values);
        let empty = || Cluster { sums: vec![0.0; space.width()], ..Cluster::default() };
        let parts = space.fold(
            || (vec![empty(); centroids.count()], Vec::new()),
            |(clusters, out), four| {
                let points = four.points(space);
                centroids.squared_distances_of_four(&points, out);
                let rows = points.iter().enumerate().take(four.count);
                for (place, point) in rows.filter(|(_, point)| !point.is_nowhere()) {
                    let (nearest, square) = smallest(out.iter().map(|squares| squares[place]));
                    clusters[nearest].add(Centroids::distance(space.distance, point, square));
                    // The means of rows that are points themselves are the centroids.
                    if space.distance == DistanceType::Cosine {
                        Point { scale: 1.0, ..*point }.add_to(&mut clusters[nearest].sums);
                    }
                }
            },
        )?;
        let mut clusters = vec![empty(); centroids.count()];
        for (part, _) in &parts {
            clusters.iter_mut().zip(part).for_each(|(own, others)| own.merge(others));
        }
        Ok(Self { clusters })
    }

    /// What k-means minimises: the sum of squared distances, or of directions that of distances.
    pub(super) fn loss(&self, distance: DistanceType) -> f64 {
        let of_cluster = |cluster: &Cluster| match distance {
            DistanceType::Euclidean => cluster.squares,
            DistanceType::Cosine => cluster.distances,
        };
        self.clusters.iter().map(of_cluster).sum()
    }

    /// The measures by the names of SQL's functions. The index has no value for one cluster, and where two centroids
    /// are the same.
    pub(super) fn metrics(&self, space: &Space<'_>, values: &[f64]) -> Vec<(String, f64)> {
        let squares: f64 = self.clusters.iter().map(|cluster| cluster.squares).sum();
        let rows: u64 = self.clusters.iter().map(|cluster| cluster.rows).sum();
        let mean = ("mean_squared_distance".to_owned(), squares / rows as f64);
        let index = self.davies_bouldin_index(space, values).map(|index| ("davies_bouldin_index".to_owned(), index));
        std::iter::once(mean).chain(index).collect()
    }

    /// The mean, over the clusters, of the largest `(s_i + s_j) / d_ij`, where `s` is the mean distance of a
    /// cluster's rows from its centroid and `d` the distance of two centroids. The smaller, the better apart.
    fn davies_bouldin_index(&self, space: &Space<'_>, values: &[f64]) -> Option<f64> {
        let used: Vec<usize> = (0..self.clusters.len()).filter(|place| self.clusters[*place].rows > 0).collect();
        let centroid = |place: usize| &values[place * space.width()..(place + 1) * space.width()];
        let apart = |one: usize, other: usize| {
            let square = centroid(one).iter().zip(centroid(other)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            match space.distance {
                DistanceType::Euclidean => square.sqrt(),
                DistanceType::Cosine => square / 2.0,
            }
        };
        let spread = |place: usize| self.clusters[place].distances / self.clusters[place].rows as f64;
        let worst = |one: usize| {
            let others = used.iter().filter(|other| **other != one);
            others.map(|other| (spread(one) + spread(*other)) / apart(one, *other)).fold(0.0, f64::max)
        };
        let index = used.iter().map(|place| worst(*place)).sum::<f64>() / used.len() as f64;
        (used.len() > 1 && index.is_finite()).then_some(index)
    }

    /// The order in which clusters are numbered: the largest first, and of equals the one whose centroid has the
    /// smaller first value that differs. It depends on no chance.
    pub(super) fn order(&self, values: &[f64], width: usize) -> Vec<usize> {
        let centroid = |place: usize| &values[place * width..(place + 1) * width];
        let by_position = |one: usize, other: usize| {
            let differs = centroid(one).iter().zip(centroid(other)).map(|(a, b)| a.total_cmp(b));
            differs.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        };
        let rows = |place: usize| self.clusters[place].rows;
        let mut order: Vec<usize> = (0..self.clusters.len()).collect();
        order.sort_by(|one, other| rows(*other).cmp(&rows(*one)).then_with(|| by_position(*one, *other)));
        order
    }

    /// The mean of each cluster's rows as they are encoded; of a cluster without rows, zeros.
    pub(super) fn means(&self, order: &[usize]) -> Vec<f64> {
        let mean = |cluster: &Cluster| {
            let rows = cluster.rows.max(1) as f64;
            cluster.sums.iter().map(move |sum| sum / rows).collect::<Vec<_>>()
        };
        order.iter().flat_map(|place| mean(&self.clusters[*place])).collect()
    }
}

impl Cluster {
    fn add(&mut self, distance: f64) {
        self.rows += 1;
        self.distances += distance;
        self.squares += distance * distance;
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.distances += other.distances;
        self.squares += other.squares;
        self.sums.iter_mut().zip(&other.sums).for_each(|(own, others)| *own += others);
    }
}

/// The place of the smallest number, of equals the first, and that number.
fn smallest(numbers: impl Iterator<Item = f64>) -> (usize, f64) {
    numbers.enumerate().reduce(|best, next| if next.1 < best.1 { next } else { best }).unwrap_or((0, f64::INFINITY))
}
