//! Sums over all rows: products of features with each other and with the label, for least squares and for what
//! a search should know of its loss.

use bincode::{Decode, Encode};
use tidemill_compute::kernel::dense::{add_four_scaled, add_scaled};

use crate::batch::{Chunk, FitControl, Row, TrainingSet, map_shards};
use crate::error::Result;
use crate::feature::moments::Moments;
use crate::linear::normal_equations::NormalEquations;

/// Sums of numbers from which their means were taken off, as far as rounding lets one: so that taking off
/// the rest of the mean later cancels no digits.
#[derive(Encode, Decode)]
pub(crate) struct Sums {
    /// Features: the numbers, then one for each category.
    width: usize,
    /// What was taken off each number.
    shifts: Vec<f64>,
    rows: f64,
    /// Products of features: `width` rows of `width`, of which those up to the diagonal are used.
    products: Vec<f64>,
    sums: Vec<f64>,
    label_products: Vec<f64>,
    label_sum: f64,
    label_squares: f64,
}

impl Sums {
    /// The sums over a training set, of labels from which `label_mean` was taken off.
    pub(crate) fn of(set: &TrainingSet, is_standardized: bool, label_mean: f64, control: &FitControl) -> Result<Self> {
        // Standardised numbers have no mean any more.
        let shift = |moments: &Moments| if is_standardized { 0.0 } else { moments.mean() };
        let shifts: Vec<f64> = set.moments().iter().map(shift).collect();
        let parts = map_shards(set.chunks(), control, |chunks| {
            let mut sums = Self::new(set.slots() - 1, shifts.clone());
            for chunk in chunks.iter().take_while(|_| !control.is_stopped()) {
                sums.add(chunk, label_mean);
            }
            sums
        })?;
        let mut total = Self::new(set.slots() - 1, shifts);
        for part in parts {
            total.rows += part.rows;
            total.label_sum += part.label_sum;
            total.label_squares += part.label_squares;
            add_scaled(&mut total.products, 1.0, &part.products);
            add_scaled(&mut total.sums, 1.0, &part.sums);
            add_scaled(&mut total.label_products, 1.0, &part.label_products);
        }
        Ok(total)
    }

    fn new(width: usize, shifts: Vec<f64>) -> Self {
        Self {
            width,
            shifts,
            rows: 0.0,
            products: vec![0.0; width * width],
            sums: vec![0.0; width],
            label_products: vec![0.0; width],
            label_sum: 0.0,
            label_squares: 0.0,
        }
    }

    fn add(&mut self, chunk: &Chunk, label_mean: f64) {
        let numeric = self.shifts.len();
        let mut four = [const { Vec::new() }; 4];
        let mut filled = 0;
        for row in chunk.iter() {
            let numbers: &mut Vec<f64> = &mut four[filled];
            numbers.clear();
            numbers.extend(row.numbers.iter().zip(&self.shifts).map(|(number, shift)| number - shift));
            self.add_row(numbers, &row, row.label - label_mean);
            filled += 1;
            if filled == four.len() {
                self.add_numbers(numeric, four.each_ref().map(Vec::as_slice));
                filled = 0;
            }
        }
        // The rest of a chunk, filled up with rows of nothing.
        for numbers in &mut four[filled..] {
            numbers.clear();
            numbers.resize(numeric, 0.0);
        }
        self.add_numbers(numeric, four.each_ref().map(Vec::as_slice));
    }

    /// Adds a row, but for the products of its numbers.
    fn add_row(&mut self, numbers: &[f64], row: &Row<'_>, label: f64) {
        self.rows += 1.0;
        self.label_sum += label;
        self.label_squares += label * label;
        add_scaled(&mut self.sums, 1.0, numbers);
        add_scaled(&mut self.label_products, label, numbers);
        for (place, &slot) in row.categories.iter().enumerate() {
            let category = slot as usize - 1;
            self.sums[category] += 1.0;
            self.label_products[category] += label;
            let products = &mut self.products[category * self.width..];
            add_scaled(products, 1.0, numbers);
            // The slots of a later feature's categories are higher, so this stays below the diagonal.
            for &earlier in &row.categories[..=place] {
                products[earlier as usize - 1] += 1.0;
            }
        }
    }

    /// Adds the products of four rows' numbers.
    fn add_numbers(&mut self, numeric: usize, rows: [&[f64]; 4]) {
        for feature in 0..numeric {
            let target = &mut self.products[feature * self.width..][..=feature];
            add_four_scaled(target, rows.map(|row| row[feature]), rows);
        }
    }

    /// The features' means.
    pub(crate) fn means(&self) -> Vec<f64> {
        let shifts = self.shifts.iter().copied().chain(std::iter::repeat(0.0));
        self.sums.iter().zip(shifts).map(|(sum, shift)| shift + sum / self.rows).collect()
    }

    /// The products of features, of which no mean was taken off, with a feature before them that is always 1:
    /// rows of one more than `width`.
    pub(crate) fn with_intercept(&self) -> Vec<f64> {
        let width = self.width + 1;
        let mut products = vec![0.0; width * width];
        products[0] = self.rows;
        for (row, sum) in self.sums.iter().enumerate() {
            products[row + 1] = *sum;
            products[(row + 1) * width] = *sum;
            for (column, product) in self.products[row * self.width..][..=row].iter().enumerate() {
                products[(row + 1) * width + column + 1] = *product;
                products[(column + 1) * width + row + 1] = *product;
            }
        }
        products
    }

    /// The sums of features and labels without their means.
    pub(crate) fn centred(&self) -> NormalEquations {
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / self.rows).collect();
        let mut products = vec![0.0; self.width * self.width];
        for (row, row_mean) in means.iter().enumerate() {
            for (column, sum) in self.sums[..=row].iter().enumerate() {
                let centred = self.products[row * self.width + column] - row_mean * sum;
                products[row * self.width + column] = centred;
                products[column * self.width + row] = centred;
            }
        }
        let targets = self.label_products.iter().zip(&means).map(|(sum, mean)| sum - mean * self.label_sum).collect();
        let target_squares = self.label_squares - self.label_sum * self.label_sum / self.rows;
        NormalEquations { width: self.width, products, targets, target_squares }
    }
}
