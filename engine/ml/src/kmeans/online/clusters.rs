//! Centroids and how rows move them.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::logistic::sigmoid;
use tidemill_compute::kernel::softmax::ln;

use super::super::config::InitMethod;
use super::super::seeding::candidates;
use super::config::OnlineKMeansConfig;
use crate::error::{MlError, Result};
use crate::feature::dictionary::NO_SLOT;
use crate::feature::moments::Moments;
use crate::feature::stream::StreamRow;
use crate::model::NUMERIC_MAGNITUDE_MAX;
use crate::random::Random;

/// The part of the heaviest cluster's weight below which one is given up: Spark MLlib's.
const DYING: f64 = 1e-8;

/// How far the halves of a cluster are apart, of its numbers: Spark MLlib's.
const APART: f64 = 1e-14;

/// The clusters of a stream's rows.
#[derive(Debug, Clone)]
pub(super) struct StreamClusters {
    config: OnlineKMeansConfig,
    /// What a weight keeps of itself with each row.
    decay: f64,
    /// One for each number.
    moments: Vec<Moments>,
    /// The first rows, until the centroids are chosen among them.
    first: Vec<KeptRow>,
    centroids: Vec<Centroid>,
    rows: u64,
    /// A row's numbers, without missing ones. Kept to spare allocations; holds no state.
    scratch: Vec<f64>,
}

/// A row that waits.
#[derive(Debug, Clone, Encode, Decode)]
struct KeptRow {
    /// NaN where missing.
    numbers: Vec<f64>,
    categories: Vec<u32>,
}

/// The centre of a cluster, and how much its rows weigh.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Centroid {
    weight: f64,
    /// The means of its rows.
    numbers: Vec<f64>,
    /// Of each categorical feature the share of each category by its number; those past the end have none.
    shares: Vec<Vec<f64>>,
}

/// How numbers are compared: of each one its mean, and how much a unit counts.
pub(super) struct Units {
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl Units {
    /// A row's numbers, the means where they are missing.
    fn fill(&self, numbers: &[f64], filled: &mut Vec<f64>) {
        filled.clear();
        let known = |(number, mean): (&f64, &f64)| if number.is_nan() { *mean } else { *number };
        filled.extend(numbers.iter().zip(&self.means).map(known));
    }
}

impl Centroid {
    /// The one whose only row this is.
    fn at(numbers: &[f64], categories: &[u32]) -> Self {
        let mut centroid =
            Self { weight: 0.0, numbers: vec![0.0; numbers.len()], shares: vec![Vec::new(); categories.len()] };
        centroid.join(numbers, categories);
        centroid
    }

    pub(super) fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    pub(super) fn shares(&self) -> &[Vec<f64>] {
        &self.shares
    }

    /// Moves to a row by what the row weighs among all of its rows.
    fn join(&mut self, numbers: &[f64], categories: &[u32]) {
        self.weight += 1.0;
        let step = 1.0 / self.weight;
        for (mean, number) in self.numbers.iter_mut().zip(numbers) {
            *mean += step * (number - *mean);
        }
        for (shares, category) in self.shares.iter_mut().zip(categories) {
            let category = *category as usize;
            if category >= shares.len() {
                shares.resize(category + 1, 0.0);
            }
            shares.iter_mut().for_each(|share| *share *= 1.0 - step);
            shares[category] += step;
        }
    }

    /// The squared distance of a row. The categories' part is `Σ c² - 2 Σ c + m`, with the second sum over the `m`
    /// categories that the row has.
    fn squared_distance(&self, numbers: &[f64], categories: &[u32], scales: &[f64]) -> f64 {
        let mut squares = 0.0;
        for ((number, mean), scale) in numbers.iter().zip(&self.numbers).zip(scales) {
            let difference = (number - mean) * scale;
            squares += difference * difference;
        }
        let mut of_categories = 0.0;
        for (shares, category) in self.shares.iter().zip(categories) {
            of_categories += shares.iter().map(|share| share * share).sum::<f64>();
            if *category != NO_SLOT {
                of_categories += 1.0 - 2.0 * shares.get(*category as usize).copied().unwrap_or(0.0);
            }
        }
        squares + of_categories.max(0.0)
    }
}

impl StreamClusters {
    /// Clusters of rows of so many numbers and categories.
    pub(super) fn new(config: OnlineKMeansConfig, (numbers, _): (usize, usize)) -> Self {
        Self {
            config,
            decay: decay(config.half_life_rows),
            moments: vec![Moments::default(); numbers],
            first: Vec::new(),
            centroids: Vec::new(),
            rows: 0,
            scratch: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn centroids(&self) -> &[Centroid] {
        &self.centroids
    }

    /// How numbers are compared by now.
    pub(super) fn units(&self) -> Units {
        let scale = |moments: &Moments| if self.config.standardize { moments.scale().per_deviation() } else { 1.0 };
        Units {
            means: self.moments.iter().map(Moments::mean).collect(),
            scales: self.moments.iter().map(scale).collect(),
        }
    }

    /// All centroids by their distance from a row.
    pub(super) fn rank(&self, row: StreamRow<'_>, units: &Units, ranked: &mut Vec<(usize, f64)>) {
        let mut filled = Vec::with_capacity(row.numbers.len());
        units.fill(row.numbers, &mut filled);
        let distance = |centroid: &Centroid| centroid.squared_distance(&filled, row.categories, &units.scales).sqrt();
        ranked.clear();
        ranked.extend(self.centroids.iter().map(distance).enumerate());
        ranked.sort_unstable_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
    }

    /// Learns a row.
    pub(super) fn learn(&mut self, row: StreamRow<'_>) {
        self.rows = self.rows.saturating_add(1);
        for (moments, number) in self.moments.iter_mut().zip(row.numbers) {
            if !number.is_nan() {
                moments.add(*number);
            }
        }
        if !self.centroids.is_empty() {
            self.move_nearest(row.numbers, row.categories);
            return;
        }
        self.first.push(KeptRow { numbers: row.numbers.to_vec(), categories: row.categories.to_vec() });
        if self.first.len() >= self.config.init_rows as usize {
            self.start();
        }
    }

    /// Chooses the first centroids among the rows that wait, and learns the other ones.
    fn start(&mut self) {
        let mut waiting = std::mem::take(&mut self.first);
        let units = self.units();
        for row in &mut waiting {
            units.fill(&std::mem::take(&mut row.numbers), &mut row.numbers);
        }
        let chosen = choose(&waiting, &units.scales, &self.config);
        let centroid = |row: &usize| Centroid::at(&waiting[*row].numbers, &waiting[*row].categories);
        self.centroids = chosen.iter().map(centroid).collect();
        for (_, row) in waiting.iter().enumerate().filter(|(place, _)| !chosen.contains(place)) {
            self.move_nearest(&row.numbers, &row.categories);
        }
    }

    /// Moves the centroid that is nearest to a row; where one is missing, a row that lies on none is that.
    fn move_nearest(&mut self, numbers: &[f64], categories: &[u32]) {
        let (units, mut filled) = (self.units(), std::mem::take(&mut self.scratch));
        units.fill(numbers, &mut filled);
        let squares =
            self.centroids.iter().map(|centroid| centroid.squared_distance(&filled, categories, &units.scales));
        let nearest = squares.enumerate().reduce(|best, next| if next.1 < best.1 { next } else { best });
        if self.decay < 1.0 {
            self.centroids.iter_mut().for_each(|centroid| centroid.weight *= self.decay);
        }
        match nearest {
            Some((_, square)) if square > 0.0 && self.centroids.len() < self.config.num_clusters as usize => {
                self.centroids.push(Centroid::at(&filled, categories));
            }
            Some((nearest, _)) => self.centroids[nearest].join(&filled, categories),
            None => {}
        }
        if self.decay < 1.0 {
            self.split_heaviest();
        }
        self.scratch = filled;
    }

    /// Gives up the lightest cluster for a half of the heaviest, if it is next to nothing beside that.
    fn split_heaviest(&mut self) {
        let weights = || self.centroids.iter().map(|centroid| centroid.weight).enumerate();
        let lightest = weights().reduce(|best, next| if next.1 < best.1 { next } else { best });
        let heaviest = weights().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (Some((lightest, least)), Some((heaviest, most))) = (lightest, heaviest) else { return };
        if least >= DYING * most {
            return;
        }
        let mut half = self.centroids[heaviest].clone();
        half.weight = (least + most) / 2.0;
        let mut other = half.clone();
        for (one, other) in half.numbers.iter_mut().zip(&mut other.numbers) {
            let apart = APART * one.abs().max(1.0);
            *one += apart;
            *other -= apart;
        }
        self.centroids[heaviest] = half;
        self.centroids[lightest] = other;
    }

    pub(super) fn state(&self) -> StreamClustersState {
        StreamClustersState {
            config: self.config,
            moments: self.moments.clone(),
            first: self.first.clone(),
            centroids: self.centroids.clone(),
            rows: self.rows,
        }
    }
}

/// What a weight keeps of itself in a row, of which half is left after so many: e^(-ln 2 / rows).
fn decay(half_life_rows: f64) -> f64 {
    if half_life_rows == 0.0 {
        return 1.0;
    }
    let exponent = std::f64::consts::LN_2 / half_life_rows;
    // By what gives the same bits on every machine.
    sigmoid(-exponent) / sigmoid(exponent)
}

/// The places of rows that differ, as many as there are to be clusters or fewer; as `seeding` chooses them.
fn choose(rows: &[KeptRow], scales: &[f64], config: &OnlineKMeansConfig) -> Vec<usize> {
    let clusters = config.num_clusters as usize;
    let mut random = Random::new(config.seed, 0);
    let squares_left = |left: &[f64], chosen: usize| -> Vec<f64> {
        let centroid = Centroid::at(&rows[chosen].numbers, &rows[chosen].categories);
        let square = |row: &KeptRow| centroid.squared_distance(&row.numbers, &row.categories, scales);
        rows.iter().zip(left).map(|(row, left)| left.min(square(row))).collect()
    };
    let (mut left, mut chosen) = (vec![f64::INFINITY; rows.len()], Vec::new());
    while chosen.len() < clusters {
        // All rows are as likely before there is a distance.
        let weighs = !chosen.is_empty() && config.init == InitMethod::PlusPlus;
        let trials = if weighs { 2 + ln(clusters as f64) as usize } else { 1 };
        let tried = candidates(&left, weighs, trials, &mut random).into_iter();
        let tried = tried.map(|row| (row, squares_left(&left, row)));
        let sum = |squares: &[f64]| squares.iter().sum::<f64>();
        let best = tried.reduce(|best, next| if sum(&next.1) < sum(&best.1) { next } else { best });
        let Some((row, squares)) = best else { break };
        chosen.push(row);
        left = squares;
    }
    chosen
}

/// Clusters as a snapshot holds them.
#[derive(Encode, Decode)]
pub(super) struct StreamClustersState {
    config: OnlineKMeansConfig,
    moments: Vec<Moments>,
    first: Vec<KeptRow>,
    centroids: Vec<Centroid>,
    rows: u64,
}

impl StreamClustersState {
    /// # Errors
    /// `InvalidOption` for options out of range.
    pub(super) fn config(&self) -> Result<OnlineKMeansConfig> {
        self.config.validate().map(|()| self.config)
    }

    /// The clusters that wrote this, of rows of so many numbers and of so many categories of each feature.
    ///
    /// # Errors
    /// `CorruptState`, or `InvalidOption` for options out of range.
    pub(super) fn into_clusters(self, numbers: usize, categories: &[usize]) -> Result<StreamClusters> {
        let config = self.config()?;
        if self.moments.len() != numbers || !self.moments.iter().all(|moments| moments.is_plausible(self.rows)) {
            return Err(MlError::corrupt("the statistics do not fit the numeric features"));
        }
        let has_room =
            self.first.len() < config.init_rows as usize && self.centroids.len() <= config.num_clusters as usize;
        let waits = self.centroids.is_empty() || self.first.is_empty();
        if !has_room
            || !waits
            || !self.first.iter().all(|row| row.is_plausible(numbers, categories))
            || !self.centroids.iter().all(|centroid| centroid.is_plausible(numbers, categories))
        {
            return Err(MlError::corrupt("the centroids do not fit the features and their categories"));
        }
        let Self { moments, first, centroids, rows, .. } = self;
        Ok(StreamClusters {
            moments,
            first,
            centroids,
            rows,
            ..StreamClusters::new(config, (numbers, categories.len()))
        })
    }
}

impl KeptRow {
    fn is_plausible(&self, numbers: usize, categories: &[usize]) -> bool {
        let is_number = |number: &f64| number.is_nan() || number.abs() <= NUMERIC_MAGNITUDE_MAX;
        let mut pairs = self.categories.iter().zip(categories);
        self.numbers.len() == numbers
            && self.numbers.iter().all(is_number)
            && self.categories.len() == categories.len()
            && pairs.all(|(category, count)| (*category as usize) < *count)
    }
}

impl Centroid {
    fn is_plausible(&self, numbers: usize, categories: &[usize]) -> bool {
        // Means and the halves of a cluster round a little past the numbers.
        let is_number = |number: &f64| number.abs() <= 2.0 * NUMERIC_MAGNITUDE_MAX;
        let is_share = |share: &f64| (0.0..=1.0 + 1e-6).contains(share);
        let mut pairs = self.shares.iter().zip(categories);
        (0.0..=1e20).contains(&self.weight)
            && self.numbers.len() == numbers
            && self.numbers.iter().all(is_number)
            && self.shares.len() == categories.len()
            && pairs.all(|(shares, count)| shares.len() <= *count && shares.iter().all(is_share))
    }
}
