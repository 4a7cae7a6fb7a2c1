//! What a graph says: numbers, or classes and their probabilities.

use super::graph::{Attribute, Element, Graph, Value};
use crate::classes::LabelKind;
use crate::model::THRESHOLD;

/// The columns that are named by a label.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outputs<'a> {
    pub(crate) label: &'a str,
}

impl Outputs<'_> {
    fn predicted(&self) -> String {
        format!("predicted_{}", self.label)
    }

    /// A number for each row: rows × 1.
    pub(crate) fn numbers(&self, graph: &mut Graph, numbers: &Value) {
        graph.output(&self.predicted(), numbers, Element::Double, 1);
    }

    /// False and true given the probability of the latter, which is predicted where that is at least a half: rows × 1.
    pub(crate) fn booleans(&self, graph: &mut Graph, probability: &Value) {
        let half = graph.double(THRESHOLD);
        let is_likely = graph.node("GreaterOrEqual", [probability, &half]);
        let chosen = graph.cast(&is_likely, Element::Int64);
        let probabilities = both(graph, probability);
        let names = ["false", "true"].map(str::to_owned);
        self.chosen(graph, &names, LabelKind::Boolean, &chosen, &probabilities);
    }

    /// Classes given their probabilities, rows × classes: the likeliest is predicted, and of equals the first.
    pub(crate) fn classes(&self, graph: &mut Graph, names: &[String], kind: LabelKind, probabilities: &Value) {
        let likeliest =
            graph.node_with("ArgMax", &[probabilities], [Attribute::int("axis", 1), Attribute::int("keepdims", 1)]);
        self.chosen(graph, names, kind, &likeliest, probabilities);
    }

    /// Classes given the place of the predicted one for each row, and the probabilities of all.
    fn chosen(&self, graph: &mut Graph, names: &[String], kind: LabelKind, chosen: &Value, probabilities: &Value) {
        let (label, element) = match kind {
            // The places are those of false and true.
            LabelKind::Boolean if names.len() == 2 => (graph.cast(chosen, Element::Bool), Element::Bool),
            LabelKind::Integer => {
                // Each was read before.
                let numbers = names.iter().map(|name| name.parse().unwrap_or_default()).collect();
                let numbers = graph.ints(numbers);
                (graph.node("Gather", [&numbers, chosen]), Element::Int64)
            }
            LabelKind::Boolean | LabelKind::Text => {
                let names = graph.texts(names);
                (graph.node("Gather", [&names, chosen]), Element::String)
            }
        };
        graph.output(&self.predicted(), &label, element, 1);
        graph.output(&format!("{}_probs", self.predicted()), probabilities, Element::Double, names.len());
        graph.property("classes", serde_json::Value::from(names.to_vec()).to_string());
    }
}

/// The probabilities of two classes, given the second's.
pub(crate) fn both(graph: &mut Graph, second: &Value) -> Value {
    let one = graph.double(1.0);
    let first = graph.node("Sub", [&one, second]);
    graph.node_with("Concat", &[&first, second], [Attribute::int("axis", 1)])
}
