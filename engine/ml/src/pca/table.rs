//! Components as tables: [`ModelTable::PrincipalComponents`] and [`ModelTable::PrincipalComponentInfo`].
//!
//! [`ModelTable::PrincipalComponents`]: crate::inspect::ModelTable
//! [`ModelTable::PrincipalComponentInfo`]: crate::inspect::ModelTable

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::PrincipalComponent;
use crate::error::{MlError, Result};
use crate::inspect::FeatureRows;

const ID: &str = "principal_component_id";

/// A row for each component and feature: `numerical_value`, or `categorical_value`, a list of categories.
pub(super) fn components(components: &[PrincipalComponent]) -> Result<RecordBatch> {
    let mut rows = FeatureRows::new(["feature", "numerical_value", "categorical_value"], "value");
    let mut ids = Vec::new();
    for component in components {
        for of_feature in component.loadings.chunk_by(|one, next| one.feature == next.feature) {
            ids.push(component.number as i64);
            match of_feature {
                [number] if number.category.is_none() => rows.add_number(&number.feature, number.value),
                categories => {
                    let feature = categories.first().map_or("", |loading| loading.feature.as_str());
                    let named = |loading: &super::Loading| Some((loading.category.clone()?, loading.value));
                    rows.add_categories(feature, categories.iter().filter_map(named));
                }
            }
        }
    }
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    rows.into_table(Some((Field::new(ID, DataType::Int64, false), ids)))
}

/// A row for each component: `eigenvalue`, `explained_variance_ratio` and `cumulative_explained_variance_ratio`.
pub(super) fn info(components: &[PrincipalComponent]) -> Result<RecordBatch> {
    let number = |name| Field::new(name, DataType::Float64, false);
    let values = |value: fn(&PrincipalComponent) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(components.iter().map(value)))
    };
    let fields = vec![
        Field::new(ID, DataType::Int64, false),
        number("eigenvalue"),
        number("explained_variance_ratio"),
        number("cumulative_explained_variance_ratio"),
    ];
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(components.iter().map(|one| one.number as i64)));
    let columns = vec![
        ids,
        values(|component| component.eigenvalue),
        values(|component| component.explained_variance_ratio),
        values(|component| component.cumulative_explained_variance_ratio),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|source| MlError::BuildTable { source })
}
