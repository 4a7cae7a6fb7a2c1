//! Shapley values of any model, which is asked again and again what it says with some of a row's features missing.
//!
//! Of up to [`EXACT_MAX`] features every coalition is asked for, and the values are those of the definition. Of more,
//! they are kernel SHAP's (Lundberg and Lee 2017): the weights of the linear function that says most nearly what the
//! model does of coalitions, of which one of `s` among `m` features weighs
//!
//! ```text
//! (m - 1) / (C(m, s) s (m - s))
//! ```
//!
//! As the package shap does, coalitions are asked for from the smallest and the largest inwards, as long as there is
//! room for all of one size; the others are drawn, each with its complement. All rows share what is drawn, which depends
//! on the number of features alone. The sum of the values is exact, and an error is estimated by what the two halves of
//! the drawn coalitions differ by.

use std::slice::ChunksExact;

use crate::error::{MlError, Result};
use crate::linear::normal_equations::{Factor, NormalEquations};
use crate::random::Random;

/// The most features whose coalitions are all asked for: as many as kernel SHAP would ask for.
const EXACT_MAX: usize = 11;

/// Coalitions that kernel SHAP asks for, beside two for each feature; as the package shap.
const DRAWN: usize = 2048;

/// The most features of a model that is asked: their equations take 8 MB then.
pub(super) const FEATURES_MAX: usize = 1000;

/// Coalitions that are asked for together.
const BLOCK: usize = 64;

/// Asks a model about coalitions, row after row; what it draws is kept from row to row.
#[derive(Debug)]
pub(crate) struct Coalitions {
    features: usize,
    plan: Option<Plan>,
}

/// How a row's features share what they move together.
#[derive(Debug, PartialEq)]
pub(crate) struct Shares {
    /// What the model says where all features are missing, and what it says of the row.
    pub(crate) baseline: f64,
    pub(crate) value: f64,
    /// One for each feature.
    pub(crate) attributions: Vec<f64>,
    /// About how far the worst of them is off; 0 where all coalitions were asked for.
    pub(crate) error: f64,
}

impl Coalitions {
    /// Of a model with so many features, of which there are some.
    ///
    /// # Errors
    /// `TooManyExplained`.
    pub(crate) fn new(features: usize) -> Result<Self> {
        match features {
            ..=FEATURES_MAX => Ok(Self { features, plan: None }),
            _ => Err(MlError::TooManyExplained { features, features_max: FEATURES_MAX }),
        }
    }

    /// The shares of a row's features, given which of them are there at all, and what the model says of coalitions:
    /// `answer` is given some, each a flag for each feature that says whether it is known, and adds an answer for each.
    pub(crate) fn explain(
        &mut self,
        is_there: &[bool],
        mut answer: impl FnMut(ChunksExact<'_, bool>, &mut Vec<f64>),
    ) -> Shares {
        debug_assert_eq!(is_there.len(), self.features);
        let players: Vec<usize> = (0..is_there.len()).filter(|feature| is_there[*feature]).collect();
        let plan = match self.plan.take() {
            Some(plan) if plan.players == players.len() => plan,
            _ => Plan::new(players.len()),
        };
        let mut answers = Vec::with_capacity(plan.count);
        for first in (0..plan.count).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(plan.count);
            let mut known = vec![false; block.len() * is_there.len()];
            for (coalition, known) in block.zip(known.chunks_exact_mut(is_there.len())) {
                players
                    .iter()
                    .zip(plan.members(coalition))
                    .for_each(|(feature, is_member)| known[*feature] = *is_member);
            }
            answer(known.chunks_exact(is_there.len()), &mut answers);
        }
        debug_assert_eq!(answers.len(), plan.count, "each coalition has an answer");
        let (values, error) = plan.solve(&answers);
        let mut attributions = vec![0.0; is_there.len()];
        players.iter().zip(values).for_each(|(feature, value)| attributions[*feature] = value);
        let shares = Shares { baseline: answers[0], value: answers[plan.full], attributions, error };
        self.plan = Some(plan);
        shares
    }
}

/// Writes a row's values, and where they are not known what stands for them.
pub(crate) fn with_missing<T: Copy>(values: &[T], known: &[bool], missing: impl Fn(usize) -> T, into: &mut Vec<T>) {
    into.clear();
    let of_place = |(place, (value, known)): (usize, (&T, &bool))| if *known { *value } else { missing(place) };
    into.extend(values.iter().zip(known).enumerate().map(of_place));
}

/// Which coalitions of so many players are asked for, and what becomes of the answers.
#[derive(Debug)]
struct Plan {
    players: usize,
    /// Coalitions; the first is empty, that at `full` has all.
    count: usize,
    full: usize,
    /// Of each coalition a flag for each player.
    members: Vec<bool>,
    solver: Solver,
}

#[derive(Debug)]
enum Solver {
    /// Coalitions are numbered by the bits of their players. What a player adds to one of so many others weighs that much.
    Definition { weights: Vec<f64> },
    /// Of all coalitions, and of either half of those that were drawn beside all others, if any were.
    Regression { whole: Regression, halves: Vec<Regression> },
}

impl Plan {
    fn new(players: usize) -> Self {
        if players <= EXACT_MAX { Self::all(players) } else { Self::some(players) }
    }

    fn all(players: usize) -> Self {
        let count = 1 << players;
        let members = (0..count).flat_map(|coalition| (0..players).map(move |player| coalition >> player & 1 == 1));
        let weights = (0..players).map(|others| 1.0 / (players as f64 * choose(players - 1, others))).collect();
        Self { players, count, full: count - 1, members: members.collect(), solver: Solver::Definition { weights } }
    }

    fn some(players: usize) -> Self {
        let mut drawn =
            Drawn { players, members: [vec![false; players], vec![true; players]].concat(), weights: vec![0.0; 2] };
        let (first, left, budget) = drawn.add_whole_sizes();
        let whole_sizes = drawn.weights.len();
        drawn.add_drawn(first, left, budget);
        let Drawn { members, weights, .. } = drawn;
        let whole = Regression::new(players, &members, weights);
        // A coalition and its complement stay together.
        let half = |which: usize| {
            let weights = whole.weights.iter().enumerate();
            let of_half = weights.map(|(place, weight)| match place.checked_sub(whole_sizes) {
                None => *weight,
                Some(drawn) if drawn / 2 % 2 == which => 2.0 * weight,
                Some(_) => 0.0,
            });
            Regression::new(players, &members, of_half.collect())
        };
        let halves = if whole_sizes < whole.weights.len() { vec![half(0), half(1)] } else { Vec::new() };
        Self { players, count: whole.weights.len(), full: 1, members, solver: Solver::Regression { whole, halves } }
    }

    fn members(&self, coalition: usize) -> &[bool] {
        &self.members[coalition * self.players..(coalition + 1) * self.players]
    }

    /// The players' shares, and about how far the worst is off.
    fn solve(&self, answers: &[f64]) -> (Vec<f64>, f64) {
        match &self.solver {
            Solver::Definition { weights } => {
                let of_player = |player: usize| {
                    let without = (0..self.count).filter(|coalition| coalition >> player & 1 == 0);
                    let added = |coalition: usize| answers[coalition | 1 << player] - answers[coalition];
                    without.map(|coalition| weights[coalition.count_ones() as usize] * added(coalition)).sum()
                };
                ((0..self.players).map(of_player).collect(), 0.0)
            }
            Solver::Regression { whole, halves } => {
                let values = whole.solve(&self.members, answers);
                let [one, other] = halves.as_slice() else { return (values, 0.0) };
                let [one, other] = [one, other].map(|half| half.solve(&self.members, answers));
                // Either half varies twice as much as both together, and their difference four times.
                let errors = one.iter().zip(&other).map(|(one, other)| (one - other).abs() / 2.0);
                (values, errors.fold(0.0, f64::max))
            }
        }
    }
}

/// Coalitions and their weights; neither of the first two has any.
struct Drawn {
    players: usize,
    members: Vec<bool>,
    weights: Vec<f64>,
}

impl Drawn {
    /// How much all coalitions of a size and their complements weigh, up to a factor.
    fn weight(&self, size: usize) -> f64 {
        let is_own_complement = 2 * size == self.players;
        (if is_own_complement { 1.0 } else { 2.0 }) / (size * (self.players - size)) as f64
    }

    /// The largest size that is not the complement of a smaller one.
    fn size_max(&self) -> usize {
        self.players / 2
    }

    /// Adds all coalitions of the sizes that there is room for. Returns the first other size, what those from it on weigh,
    /// and how many coalitions may still be asked for.
    fn add_whole_sizes(&mut self) -> (usize, f64, usize) {
        let mut budget = 2 * self.players + DRAWN;
        let mut left: f64 = (1..=self.size_max()).map(|size| self.weight(size)).sum();
        for size in 1..=self.size_max() {
            let weight = self.weight(size);
            let is_own_complement = 2 * size == self.players;
            let count = choose(self.players, size) * if is_own_complement { 1.0 } else { 2.0 };
            // Drawing would ask for fewer than there are.
            if budget as f64 * weight / left < count {
                return (size, left, budget);
            }
            let mut chosen: Vec<usize> = (0..size).collect();
            loop {
                self.push(&chosen, true, weight / count);
                if !is_own_complement {
                    self.push(&chosen, false, weight / count);
                }
                if !next_choice(&mut chosen, self.players) {
                    break;
                }
            }
            budget -= count as usize;
            left -= weight;
        }
        (self.size_max() + 1, 0.0, budget)
    }

    /// Draws coalitions of this size and larger ones, each with its complement, which weigh `weight` together.
    fn add_drawn(&mut self, first: usize, weight: f64, count: usize) {
        if first > self.size_max() {
            return;
        }
        let mut random = Random::new(0, self.players as u64);
        let mut order: Vec<usize> = (0..self.players).collect();
        let pairs = count / 2;
        for _ in 0..pairs {
            let mut left = random.fraction() * weight;
            let mut size = first;
            while size < self.size_max() && left >= self.weight(size) {
                left -= self.weight(size);
                size += 1;
            }
            for place in 0..size {
                let other = place + random.below((self.players - place) as u64) as usize;
                order.swap(place, other);
            }
            let own = weight / (2 * pairs) as f64;
            self.push(&order[..size], true, own);
            self.push(&order[..size], false, own);
        }
    }

    /// Adds the coalition of these players, or of all others.
    fn push(&mut self, chosen: &[usize], is_of_chosen: bool, weight: f64) {
        let start = self.members.len();
        self.members.resize(start + self.players, !is_of_chosen);
        chosen.iter().for_each(|player| self.members[start + player] = is_of_chosen);
        self.weights.push(weight);
    }
}

/// Weighted least squares whose weights have a known sum.
#[derive(Debug)]
struct Regression {
    /// One for each coalition.
    weights: Vec<f64>,
    factor: Factor,
    /// What solves the equations for ones, and its sum.
    of_ones: Vec<f64>,
    sum_of_ones: f64,
}

impl Regression {
    fn new(players: usize, members: &[bool], weights: Vec<f64>) -> Self {
        let mut products = vec![0.0; players * players];
        let mut own = Vec::with_capacity(players);
        for (members, weight) in members.chunks_exact(players).zip(&weights).filter(|(_, weight)| **weight > 0.0) {
            own.clear();
            own.extend((0..players).filter(|player| members[*player]));
            for player in &own {
                let row = &mut products[player * players..(player + 1) * players];
                own.iter().for_each(|other| row[*other] += weight);
            }
        }
        let equations = NormalEquations { width: players, products, targets: vec![0.0; players], target_squares: 0.0 };
        let factor = Factor::new(&equations, 0.0);
        let mut of_ones = vec![1.0; players];
        factor.solve_in_place(&mut of_ones);
        let sum_of_ones = of_ones.iter().sum();
        Self { weights, factor, of_ones, sum_of_ones }
    }

    /// What the players add to the first answer so that all of them together come to the second: of all such linear
    /// functions the one with the least squares (by Lagrange's multiplier).
    fn solve(&self, members: &[bool], answers: &[f64]) -> Vec<f64> {
        let players = self.of_ones.len();
        let mut values = vec![0.0; players];
        for ((members, weight), answer) in members.chunks_exact(players).zip(&self.weights).zip(answers) {
            let added = weight * (answer - answers[0]);
            values.iter_mut().zip(members).filter(|(_, is_member)| **is_member).for_each(|(value, _)| *value += added);
        }
        self.factor.solve_in_place(&mut values);
        let surplus = (values.iter().sum::<f64>() - (answers[1] - answers[0])) / self.sum_of_ones;
        values.iter_mut().zip(&self.of_ones).for_each(|(value, of_one)| *value -= surplus * of_one);
        values
    }
}

/// In how many ways `count` of `all` can be chosen; rounded beyond 2^53.
fn choose(all: usize, count: usize) -> f64 {
    (0..count).fold(1.0, |ways, place| ways * (all - place) as f64 / (place + 1) as f64).round()
}

/// The choice of as many numbers below `all` that comes next; ascending numbers, the last one changing first.
fn next_choice(chosen: &mut [usize], all: usize) -> bool {
    let count = chosen.len();
    let Some(place) = (0..count).rev().find(|place| chosen[*place] < all - count + place) else { return false };
    chosen[place] += 1;
    for later in place + 1..count {
        chosen[later] = chosen[later - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests;
