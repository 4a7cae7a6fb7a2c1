//! Scores that are linear in the features.

use super::graph::{Graph, Value};
use super::inputs::Inputs;

/// For each row a score by each of some weights, which begin with an intercept, the numbers' weights behind it, then those
/// of the categories of one feature after the other: rows × scores.
pub(crate) fn scores(graph: &mut Graph, inputs: &Inputs, weights: &[&[f64]]) -> Value {
    let count = weights.len();
    let mut scores = graph.doubles(&[1, count], weights.iter().map(|weights| weights[0]).collect());
    if let Some(numbers) = &inputs.numbers {
        let of_numbers = (1..=inputs.numeric).flat_map(|slot| weights.iter().map(move |weights| weights[slot]));
        let of_numbers = graph.doubles(&[inputs.numeric, count], of_numbers.collect());
        let product = graph.node("MatMul", [numbers, &of_numbers]);
        scores = graph.node("Add", [&product, &scores]);
    }
    let mut first = 1 + inputs.numeric;
    for places in &inputs.categories {
        let of_place = |slot: usize| weights.iter().map(move |weights| weights[slot]);
        let mut table: Vec<f64> = (first..first + places.count).flat_map(of_place).collect();
        // What was never seen adds nothing.
        table.extend(std::iter::repeat_n(0.0, count));
        let looked_up = places.look_up(table, count, graph);
        scores = graph.node("Add", [&scores, &looked_up]);
        first += places.count;
    }
    scores
}
