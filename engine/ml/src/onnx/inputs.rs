//! The features as a graph's inputs, and encoded as a model reads them.

use super::graph::{Attribute, Element, Graph, Value};
use crate::feature::dictionary::Category;
use crate::feature::encoder::{Encoder, Numbers};
use crate::model::FeatureKind;

/// The features of a graph.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Encoded, beside each other: rows × numbers. None where no feature is a number.
    pub(crate) numbers: Option<Value>,
    /// How many these are.
    pub(crate) numeric: usize,
    /// Of each categorical feature, for each row the place of its category.
    pub(crate) categories: Vec<Places>,
}

/// Places of categories in a feature's dictionary.
#[derive(Debug)]
pub(crate) struct Places {
    /// One for each row.
    pub(crate) rows: Value,
    /// How many there are; the next one is what was never seen.
    pub(crate) count: usize,
}

impl Inputs {
    /// Those of a model that reads its features by this encoder, in the order of its schema.
    pub(crate) fn new(encoder: &Encoder, graph: &mut Graph) -> Self {
        let (mut numbers, mut categories) = (Vec::new(), Vec::new());
        for field in encoder.schema().fields() {
            match field.kind {
                FeatureKind::Categorical => {
                    let input = graph.input(&field.name, Element::String);
                    let names = encoder.category_names(categories.len());
                    categories.push(Places::new(&names, &input, graph));
                }
                // No model that has a graph reads times.
                FeatureKind::Numeric | FeatureKind::Time => numbers.push(graph.input(&field.name, Element::Double)),
            }
        }
        let numeric = numbers.len();
        let numbers = graph.beside(&numbers).map(|numbers| encoded(encoder, &numbers, graph));
        Self { numbers, numeric, categories }
    }
}

fn encoded(encoder: &Encoder, numbers: &Value, graph: &mut Graph) -> Value {
    let scales = encoder.scales();
    let columns = [scales.len()];
    let means = |graph: &mut Graph| graph.doubles(&columns, scales.iter().map(|scale| scale.mean()).collect());
    let zero_for_missing = |graph: &mut Graph, value: &Value| {
        let zero = graph.double(0.0);
        for_missing(graph, &zero, value)
    };
    match encoder.numbers() {
        Numbers::WithMissing => numbers.clone(),
        Numbers::Plain | Numbers::Counts => zero_for_missing(graph, numbers),
        Numbers::MeanForMissing => {
            let means = means(graph);
            for_missing(graph, &means, numbers)
        }
        Numbers::Centred => {
            let means = means(graph);
            let centred = graph.node("Sub", [numbers, &means]);
            zero_for_missing(graph, &centred)
        }
        Numbers::Standardized { clip } => {
            let means = means(graph);
            let centred = graph.node("Sub", [numbers, &means]);
            let deviations = graph.doubles(&columns, scales.iter().map(|scale| scale.per_deviation()).collect());
            let standardized = graph.node("Mul", [&centred, &deviations]);
            let standardized = zero_for_missing(graph, &standardized);
            let [least, most] = [-clip, clip].map(|bound| graph.double(bound));
            graph.node("Clip", [&standardized, &least, &most])
        }
    }
}

/// Numbers, and others in the place of missing ones.
fn for_missing(graph: &mut Graph, others: &Value, numbers: &Value) -> Value {
    let is_missing = graph.node("IsNaN", [numbers]);
    graph.node("Where", [&is_missing, others, numbers])
}

impl Places {
    fn new(categories: &[Category], input: &Value, graph: &mut Graph) -> Self {
        let count = categories.len();
        let place = |wanted: &Category| categories.iter().position(|category| category == wanted).unwrap_or(count);
        let (mut names, mut places) = (Vec::new(), Vec::new());
        for (place, category) in categories.iter().enumerate() {
            if let Category::Named(name) = category {
                names.push(name.clone());
                places.push(place as i64);
            }
        }
        if !names.iter().any(String::is_empty) {
            names.push(String::new());
            places.push(place(&Category::Null) as i64);
        }
        let column = graph.ml_node(
            "LabelEncoder",
            input,
            [
                Attribute::texts("keys_strings", names),
                Attribute::ints("values_int64s", places),
                Attribute::int("default_int64", place(&Category::Other) as i64),
            ],
        );
        let all = graph.ints(vec![-1]);
        Self { rows: graph.node("Reshape", [&column, &all]), count }
    }

    /// For each row the row of a table that stands at its category's place: rows × `columns`. The table has one more for what
    /// was never seen.
    pub(crate) fn look_up(&self, table: Vec<f64>, columns: usize, graph: &mut Graph) -> Value {
        debug_assert_eq!(table.len(), (self.count + 1) * columns);
        let table = graph.doubles(&[self.count + 1, columns], table);
        graph.node_with("Gather", &[&table, &self.rows], [Attribute::int("axis", 0)])
    }
}
