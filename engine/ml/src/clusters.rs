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
}

impl RankedClusters {
    /// A column without rows; `names` are those of the cluster's number and of the value.
    pub(crate) fn new(names: [&'static str; 2]) -> Self {
        Self { names, ids: Vec::new(), values: Vec::new() }
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
