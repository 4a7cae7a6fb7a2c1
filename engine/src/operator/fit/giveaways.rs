//! Features that give the label away: what is known only once the label is, so that a model of it is right about the rows that
//! it is fitted to and judged by, and about no others.
//!
//! Two signs are looked for, and a sign is no proof: the features are learnt all the same. One is the name, which is the
//! label's but for `is_`, `was_` or `has_` in front, or `_label`, `_code`, `_flag` or `_class` behind, of either. The other is
//! that the feature alone says all labels: a number that goes with the label in a straight line, or a category whose rows
//! all have one label, of at least ten rows each on average.

use std::collections::HashMap;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};
use arrow::error::ArrowError;
use tracing::warn;

/// What may be in front of a name, and behind it.
const PREFIXES: [&str; 3] = ["is_", "was_", "has_"];
const SUFFIXES: [&str; 4] = ["_label", "_code", "_flag", "_class"];

/// The correlation with the label from which on a number says it: Pearson's, whatever its sign.
const CORRELATION_MIN: f64 = 0.9999;

/// How many rows a category has on average: with fewer, each may well have the same label by chance, or be a name of the row.
const CATEGORY_ROWS_MIN: u64 = 10;

/// The most categories that are looked at: more are names of rows.
const CATEGORIES_MAX: usize = 1000;

/// Why a feature is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It is called as the label is.
    Name,
    /// It alone says all labels.
    Values,
}

/// What is known of features and the label, row by row.
pub(super) struct Giveaways {
    features: Vec<Feature>,
}

struct Feature {
    name: String,
    has_name: bool,
    line: Option<Line>,
    categories: Option<Categories>,
}

impl Giveaways {
    /// Of no rows yet. Where there is no label nothing can be given away.
    pub(super) fn new<'a>(features: impl Iterator<Item = &'a Field>, label: &str, label_type: &DataType) -> Self {
        let has_label = !label_type.is_null();
        let is_line = |data_type: &DataType| {
            (label_type.is_numeric() || label_type == &DataType::Boolean)
                && (data_type.is_numeric() || data_type == &DataType::Boolean)
        };
        let is_category = |data_type: &DataType| !label_type.is_floating() && is_told_apart(data_type);
        let feature = |field: &Field| Feature {
            name: field.name().clone(),
            has_name: is_like(field.name(), label),
            line: is_line(field.data_type()).then(Line::default),
            categories: is_category(field.data_type()).then(Categories::default),
        };
        Self { features: features.filter(|_| has_label).map(feature).collect() }
    }

    /// Looks at more rows, which have the features among their columns.
    ///
    /// # Errors
    /// If a value has no text, or is no number though its type is one.
    pub(super) fn add(&mut self, rows: &RecordBatch, labels: &ArrayRef) -> Result<(), ArrowError> {
        if self.features.iter().all(|feature| feature.line.is_none() && feature.categories.is_none()) {
            return Ok(());
        }
        let numbers =
            if self.features.iter().any(|feature| feature.line.is_some()) { Some(numbers(labels)?) } else { None };
        let texts = texts(labels)?;
        for feature in &mut self.features {
            let Some(column) = rows.column_by_name(&feature.name) else { continue };
            if let (Some(line), Some(labels)) = (&mut feature.line, &numbers) {
                line.add(&self::numbers(column)?, labels);
            }
            let goes_on = match &mut feature.categories {
                Some(categories) => categories.add(&self::texts(column)?, &texts),
                None => true,
            };
            if !goes_on {
                feature.categories = None;
            }
        }
        Ok(())
    }

    /// Warns of what has been found.
    pub(super) fn warn(&self, model: &str) {
        for (feature, sign) in self.found() {
            let sign = match sign {
                Sign::Name => "it is called as the label is",
                Sign::Values => "it alone says the labels of all rows",
            };
            warn!(
                model,
                feature,
                sign,
                "a feature may give the label away: if it is not known before the label is, leave it out"
            );
        }
    }

    /// The features that give the label away, and by what sign.
    fn found(&self) -> Vec<(&str, Sign)> {
        let sign = |feature: &Feature| match feature {
            Feature { line: Some(line), .. } if line.is_straight() => Some(Sign::Values),
            Feature { categories: Some(categories), .. } if categories.say_labels() => Some(Sign::Values),
            Feature { has_name: true, .. } => Some(Sign::Name),
            _ => None,
        };
        self.features.iter().filter_map(|feature| Some((feature.name.as_str(), sign(feature)?))).collect()
    }
}

/// Whether values of a type are a few that come again.
fn is_told_apart(data_type: &DataType) -> bool {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    is_text || data_type.is_integer() || data_type == &DataType::Boolean
}

fn is_like(feature: &str, label: &str) -> bool {
    let (feature, label) = (feature.to_lowercase(), label.to_lowercase());
    let is_more = |long: &str, short: &str| {
        PREFIXES.iter().any(|prefix| long.strip_prefix(prefix) == Some(short))
            || SUFFIXES.iter().any(|suffix| long.strip_suffix(suffix) == Some(short))
    };
    !label.is_empty() && (is_more(&feature, &label) || is_more(&label, &feature))
}

fn numbers(column: &ArrayRef) -> Result<Float64Array, ArrowError> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn texts(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// How far a number and the label go together: their means, sums of squares about them and of products, by Welford's updates.
#[derive(Default)]
struct Line {
    rows: f64,
    means: [f64; 2],
    squares: [f64; 2],
    products: f64,
}

impl Line {
    fn add(&mut self, numbers: &Float64Array, labels: &Float64Array) {
        for (number, label) in numbers.iter().zip(labels) {
            let (Some(number), Some(label)) = (number, label) else { continue };
            if !number.is_finite() || !label.is_finite() {
                continue;
            }
            self.rows += 1.0;
            let apart = [number - self.means[0], label - self.means[1]];
            self.means[0] += apart[0] / self.rows;
            self.means[1] += apart[1] / self.rows;
            self.squares[0] += apart[0] * (number - self.means[0]);
            self.squares[1] += apart[1] * (label - self.means[1]);
            self.products += apart[0] * (label - self.means[1]);
        }
    }

    fn is_straight(&self) -> bool {
        let correlation = self.products / (self.squares[0] * self.squares[1]).sqrt();
        // Of a few rows any two numbers lie about on a line. NaN where one of them is the same everywhere.
        self.rows >= CATEGORY_ROWS_MIN as f64 && correlation.abs() > CORRELATION_MIN
    }
}

/// The label of each category, as long as each has but one.
#[derive(Default)]
struct Categories {
    labels: HashMap<String, String>,
    rows: u64,
}

impl Categories {
    /// Looks at more rows; whether categories may still say their labels.
    fn add(&mut self, categories: &StringArray, labels: &StringArray) -> bool {
        for (category, label) in categories.iter().zip(labels) {
            let (Some(category), Some(label)) = (category, label) else { continue };
            self.rows += 1;
            match self.labels.get(category) {
                Some(known) if known == label => {}
                Some(_) => return false,
                None if self.labels.len() == CATEGORIES_MAX => return false,
                None => drop(self.labels.insert(category.to_owned(), label.to_owned())),
            }
        }
        true
    }

    fn say_labels(&self) -> bool {
        let mut labels = self.labels.values();
        let first = labels.next();
        labels.any(|label| Some(label) != first) && self.rows >= CATEGORY_ROWS_MIN * self.labels.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int64Array};

    use super::*;

    /// What is found of 40 rows whose label is true in every third, and which are looked at in two parts.
    fn found(
        names: [&str; 2],
        label: &str,
        feature: impl Fn(i64) -> ArrayRef,
        other: impl Fn(i64) -> ArrayRef,
    ) -> String {
        let part = |start: i64| {
            let labels: ArrayRef =
                Arc::new((start..start + 20).map(|row| Some(row % 3 == 0)).collect::<BooleanArray>());
            let rows = RecordBatch::try_from_iter([(names[0], feature(start)), (names[1], other(start))]).unwrap();
            (rows, labels)
        };
        let (rows, labels) = part(0);
        let schema = rows.schema();
        let mut giveaways = Giveaways::new(schema.fields().iter().map(AsRef::as_ref), label, labels.data_type());
        giveaways.add(&rows, &labels).unwrap();
        let (rows, labels) = part(20);
        giveaways.add(&rows, &labels).unwrap();
        giveaways.found().iter().map(|(name, sign)| format!("{name} {sign:?} ")).collect()
    }

    fn numbers(of: impl Fn(i64) -> f64) -> impl Fn(i64) -> ArrayRef {
        move |start| Arc::new(Float64Array::from_iter_values((start..start + 20).map(&of)))
    }

    fn texts(of: impl Fn(i64) -> String) -> impl Fn(i64) -> ArrayRef {
        move |start| Arc::new(StringArray::from_iter_values((start..start + 20).map(&of)))
    }

    #[test]
    fn a_feature_that_says_all_labels_is_found() {
        let line = numbers(|row| if row % 3 == 0 { -7.0 } else { 2.5 });
        let near = numbers(|row| (row % 2) as f64 - if row % 3 == 0 { 7.0 } else { 0.0 });
        assert_eq!(found(["a", "b"], "late", line, near), "a Values ");
        // Four categories of ten rows each; and one for each row.
        let category = texts(|row| format!("{}{}", row % 3 == 0, row % 2));
        let id = texts(|row| row.to_string());
        assert_eq!(found(["a", "b"], "late", category, id), "a Values ");
        let all_but_one = texts(|row| (row % 3 == 0 && row != 39).to_string());
        let constant = texts(|_| String::from("x"));
        assert_eq!(found(["a", "b"], "late", all_but_one, constant), "");
    }

    #[test]
    fn whole_numbers_are_categories_of_classes() {
        let fields = [Field::new("zone", DataType::Int64, true)];
        let mut giveaways = Giveaways::new(fields.iter(), "far", &DataType::Utf8);
        let zones: ArrayRef = Arc::new(Int64Array::from_iter_values((0..30).map(|row| row % 3)));
        let labels: ArrayRef = Arc::new(StringArray::from_iter_values((0..30).map(|row| ["a", "b", "a"][row % 3])));
        giveaways.add(&RecordBatch::try_from_iter([("zone", zones)]).unwrap(), &labels).unwrap();
        assert_eq!(giveaways.found(), [("zone", Sign::Values)]);
    }

    #[test]
    fn a_name_like_the_labels_is_found() {
        for (feature, label) in [
            ("is_late", "late"),
            ("Late_Code", "late"),
            ("late", "was_late"),
            ("late", "late_label"),
            ("late_flag", "LATE"),
        ] {
            assert!(is_like(feature, label), "{feature} {label}");
        }
        for (feature, label) in [
            ("late", "late"),
            ("latest", "late"),
            ("is_far", "late"),
            ("late_at", "late"),
            ("is_", ""),
            ("related", "late"),
        ] {
            assert!(!is_like(feature, label), "{feature} {label}");
        }
        let noise = || numbers(|row| (row * 7 % 5) as f64);
        assert_eq!(found(["is_late", "b"], "late", noise(), noise()), "is_late Name ");
    }

    #[test]
    fn without_a_label_nothing_is_given_away() {
        let fields = [Field::new("is_", DataType::Int64, true)];
        assert!(Giveaways::new(fields.iter(), "", &DataType::Null).found().is_empty());
    }
}
