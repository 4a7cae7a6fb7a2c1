//! Rows that have a number for a feature, or one for each of its categories.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder};
use arrow::datatypes::{DataType, Field, Fields, Schema};

use crate::error::{MlError, Result};
use crate::feature::dictionary::Category;

/// The name of the categories that are not told apart.
const OTHERS: &str = "__OTHERS__";

/// Rows as they are built: a feature's name, its number, and a list of its categories with a number each.
pub(crate) struct FeatureRows {
    /// The names of these columns.
    names: [&'static str; 3],
    /// What a category's number is called.
    value: &'static str,
    features: Vec<String>,
    numbers: Float64Builder,
    categories: ListBuilder<StructBuilder>,
}

impl FeatureRows {
    pub(crate) fn new(names: [&'static str; 3], value: &'static str) -> Self {
        let of_category = StructBuilder::from_fields(category_fields(value), 0);
        let categories = ListBuilder::new(of_category).with_field(Arc::new(category_field(value)));
        Self { names, value, features: Vec::new(), numbers: Float64Builder::new(), categories }
    }

    pub(crate) fn add_number(&mut self, feature: &str, number: f64) {
        self.features.push(feature.to_owned());
        self.numbers.append_value(number);
        self.categories.append_null();
    }

    pub(crate) fn add_categories(&mut self, feature: &str, categories: impl Iterator<Item = (Category, f64)>) {
        self.features.push(feature.to_owned());
        self.numbers.append_null();
        let rows = self.categories.values();
        for (category, value) in categories {
            if let Some(names) = rows.field_builder::<StringBuilder>(0) {
                match category {
                    Category::Null => names.append_null(),
                    Category::Other => names.append_value(OTHERS),
                    Category::Named(name) => names.append_value(name),
                }
            }
            if let Some(values) = rows.field_builder::<Float64Builder>(1) {
                values.append_value(value);
            }
            rows.append(true);
        }
        self.categories.append(true);
    }

    /// The rows as a table, behind another column if there is one.
    pub(crate) fn into_table(mut self, first: Option<(Field, ArrayRef)>) -> Result<RecordBatch> {
        let [feature, number, categories] = self.names;
        let list = DataType::List(Arc::new(category_field(self.value)));
        let own: [(Field, ArrayRef); 3] = [
            (Field::new(feature, DataType::Utf8, false), Arc::new(StringArray::from(self.features))),
            (Field::new(number, DataType::Float64, true), Arc::new(self.numbers.finish())),
            (Field::new(categories, list, true), Arc::new(self.categories.finish())),
        ];
        let (fields, arrays): (Vec<_>, Vec<_>) = first.into_iter().chain(own).unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|source| MlError::BuildTable { source })
    }
}

fn category_fields(value: &str) -> Fields {
    let fields = [Field::new("category", DataType::Utf8, true), Field::new(value, DataType::Float64, true)];
    Fields::from(fields.to_vec())
}

fn category_field(value: &str) -> Field {
    Field::new_list_field(DataType::Struct(category_fields(value)), true)
}
