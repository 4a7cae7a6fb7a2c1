//! What models of clusters say: the ranked clusters of a row, and where the centre of each cluster lies.
//!
//! The names and shapes are BigQuery's: `centroid_id` counts from 1, what is ranked is a list of structs, and a
//! centroid is one row for each feature, as `ML.CENTROIDS` shows it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};

use crate::error::Result;
use crate::feature::dictionary::Category;
use crate::feature::encoder::Encoder;
use crate::inspect::FeatureRows;
use crate::model::FeatureKind;

/// One feature of the centre of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CentroidFeature {
    /// The cluster, from 1.
    pub(crate) centroid_id: i64,
    /// The feature's column.
    pub(crate) feature: String,
    /// Where the centre lies.
    pub(crate) value: CentroidValue,
}

/// Where the centre of a cluster lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CentroidValue {
    /// The mean of a number, in its own unit; missing numbers count as the mean of all rows.
    Number(f64),
    /// The share that each category has of the cluster's rows, by descending share; those without one are left out.
    Categories(Vec<(Category, f64)>),
}

/// The rows of `ML.CENTROIDS`: by cluster, then in the order of the features.
///
/// `centres` has a row of encoded values for each cluster: the numbers, then one for each category.
pub(crate) fn describe(encoder: &Encoder, centres: &[f64]) -> Vec<CentroidFeature> {
    let width = encoder.slots() - 1;
    let names: Vec<_> = (0..encoder.categories().len()).map(|feature| encoder.category_names(feature)).collect();
    let mut rows = Vec::new();
    for (centroid_id, centre) in (1..).zip(centres.chunks_exact(width.max(1))) {
        let (numbers, mut shares) = centre.split_at(encoder.numeric());
        let mut numbers = encoder.decoded(numbers).into_iter();
        let mut names = names.iter();
        for field in encoder.schema().fields() {
            let value = match field.kind {
                FeatureKind::Time => continue,
                FeatureKind::Numeric => CentroidValue::Number(numbers.next().unwrap_or_default()),
                FeatureKind::Categorical => {
                    let names = names.next().map(Vec::as_slice).unwrap_or_default();
                    let (own, rest) = shares.split_at(names.len());
                    shares = rest;
                    CentroidValue::Categories(ranked_shares(names.iter().cloned().zip(own.iter().copied())))
                }
            };
            rows.push(CentroidFeature { centroid_id, feature: field.name.clone(), value });
        }
    }
    rows
}

/// Centres as a table: [`ModelTable::Centroids`](crate::inspect::ModelTable).
pub(crate) fn centroids_table(centres: &[CentroidFeature]) -> Result<RecordBatch> {
    let mut rows = FeatureRows::new(["feature", "numerical_value", "categorical_value"], "value");
    for centre in centres {
        match &centre.value {
            CentroidValue::Number(number) => rows.add_number(&centre.feature, *number),
            CentroidValue::Categories(shares) => rows.add_categories(&centre.feature, shares.iter().cloned()),
        }
    }
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(centres.iter().map(|centre| centre.centroid_id)));
    rows.into_table(Some((Field::new("centroid_id", DataType::Int64, false), ids)))
}

/// Categories that have a share, by descending share.
pub(crate) fn ranked_shares(shares: impl Iterator<Item = (Category, f64)>) -> Vec<(Category, f64)> {
    let mut ranked: Vec<_> = shares.filter(|(_, share)| *share > 0.0).collect();
    // A stable sort: of equal shares, the category seen first comes first.
    ranked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    ranked
}

/// A column of lists of structs: for each row all clusters, ranked, each with a value.
#[derive(Debug)]
pub(crate) struct RankedClusters {
    /// The names of the structs' fields.
    names: [&'static str; 2],
    /// The clusters of all rows that have an answer, one row after another.
    ids: Vec<i64>,
    values: Vec<f64>,
    /// What the clusters of one row are sorted by.
    keys: Vec<u64>,
}

/// Which cluster comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// That of the smallest value.
    Ascending,
    /// That of the largest.
    Descending,
}

impl Order {
    /// A number that is the smaller, the sooner a value comes: the bits of numbers of one sign are in their order.
    #[inline]
    fn key(self, value: f64) -> u64 {
        let bits = value.to_bits();
        let ascending = bits ^ (((bits as i64 >> 63) as u64) | 1 << 63);
        match self {
            Self::Ascending => ascending,
            Self::Descending => !ascending,
        }
    }
}

impl RankedClusters {
    /// A column without rows, and room for as many values; `names` are those of the cluster's number and of the value.
    pub(crate) fn new(names: [&'static str; 2], room: usize) -> Self {
        Self { names, ids: Vec::with_capacity(room), values: Vec::with_capacity(room), keys: Vec::new() }
    }

    /// The column's type.
    pub(crate) fn data_type(names: [&'static str; 2]) -> DataType {
        DataType::List(Self::item(names))
    }

    /// Adds the next row that has an answer; `ranked` are clusters, from 0, and their values.
    pub(crate) fn push(&mut self, ranked: &[(usize, f64)]) {
        self.ids.extend(ranked.iter().map(|(cluster, _)| *cluster as i64 + 1));
        self.values.extend(ranked.iter().map(|(_, value)| *value));
    }

    /// Adds the next row that has an answer: all clusters, ranked by their `values`, of equals the first. Returns the one that
    /// comes first, from 1.
    ///
    /// What is sorted are numbers that have the cluster in the place of the last digits of its value, which takes a
    /// fraction of what pairs do; few clusters have the same digits before, and are compared as they are.
    pub(crate) fn rank(&mut self, values: &[f64], order: Order) -> i64 {
        let numbers = values.len().next_power_of_two() as u64 - 1;
        let keys = values.iter().zip(0_u64..).map(|(value, cluster)| order.key(*value) & !numbers | cluster);
        self.keys.clear();
        self.keys.extend(keys);
        self.keys.sort_unstable();
        let cluster = |key: u64| (key & numbers) as usize;
        let whole = |key: u64| (order.key(values[cluster(key)]), cluster(key));
        for place in 1..self.keys.len() {
            let mut own = place;
            while own > 0
                && (self.keys[own] ^ self.keys[own - 1]) <= numbers
                && whole(self.keys[own]) < whole(self.keys[own - 1])
            {
                self.keys.swap(own, own - 1);
                own -= 1;
            }
        }
        self.ids.extend(self.keys.iter().map(|key| cluster(*key) as i64 + 1));
        self.values.extend(self.keys.iter().map(|key| values[cluster(*key)]));
        self.keys.first().map_or(0, |key| cluster(*key) as i64 + 1)
    }

    /// The column of `rows` rows of `clusters` clusters each, but for those that are not `usable`: these are NULL.
    pub(crate) fn finish(self, rows: usize, clusters: usize, usable: Option<&NullBuffer>) -> ArrayRef {
        let length = |row: usize| if usable.is_none_or(|usable| usable.is_valid(row)) { clusters } else { 0 };
        let offsets = OffsetBuffer::from_lengths((0..rows).map(length));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(self.ids)), Arc::new(Float64Array::from(self.values))];
        let structs = StructArray::new(Self::fields(self.names), columns, None);
        Arc::new(ListArray::new(Self::item(self.names), offsets, Arc::new(structs), usable.cloned()))
    }

    fn item(names: [&'static str; 2]) -> Arc<Field> {
        Arc::new(Field::new_list_field(DataType::Struct(Self::fields(names)), true))
    }

    fn fields([id, value]: [&'static str; 2]) -> Fields {
        Fields::from(vec![Field::new(id, DataType::Int64, true), Field::new(value, DataType::Float64, true)])
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, RankedClusters};

    #[test]
    fn clusters_are_ranked_by_all_digits_and_then_by_their_numbers() {
        // The smallest steps between numbers, equals, zeros of both signs, infinity, and more than one group of a sort.
        let step = |from: f64, steps: u64| f64::from_bits(from.to_bits() + steps);
        let close = [step(1.0, 3), 1.0, step(1.0, 1), 1.0, step(1.0, 2), 0.5, f64::INFINITY, 0.0, -0.0, -2.0, -3.0];
        let many = (0..300_u64).map(|place| step(7.0, place * 7919 % 97)).collect();
        for values in [close.to_vec(), many, vec![1.0], Vec::new()] {
            for order in [Order::Ascending, Order::Descending] {
                let mut ranked: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
                ranked.sort_by(|one, other| match order {
                    Order::Ascending => one.1.total_cmp(&other.1),
                    Order::Descending => other.1.total_cmp(&one.1),
                });
                let (mut expected, mut found) = (RankedClusters::new(["", ""], 0), RankedClusters::new(["", ""], 0));
                expected.push(&ranked);
                assert_eq!(found.rank(&values, order), expected.ids.first().copied().unwrap_or(0));
                assert_eq!((found.ids, found.values), (expected.ids, expected.values));
            }
        }
    }
}
