//! Grows trees round after round.

use super::bins::BinnedRows;
use super::config::TreeConfig;
use super::division::Division;
use super::early_stop::EarlyStop;
use super::grow::{Grower, Grown, Space, within};
use super::loss::{Derivatives, Loss};
use super::monotone::Direction;
use super::samples::Samples;
use super::split::Search;
use super::tree::Tree;
use crate::batch::FitControl;
use crate::batch::data_split::Parts;
use crate::batch::history::History;
use crate::batch::parallel::{owned_in_parallel, stretch, stretches_mut, worthwhile};
use crate::error::Result;

/// What it takes to add to a row's score.
const NANOSECONDS_A_ROW: usize = 4;

/// What trees are fitted to, and how.
pub(super) struct Fitter<'a> {
    pub(super) config: &'a TreeConfig,
    pub(super) control: &'a FitControl,
    pub(super) loss: &'a Loss,
    pub(super) parts: &'a Parts,
    pub(super) binned: &'a BinnedRows,
    /// How predictions may change with each feature; empty where all are free.
    pub(super) directions: &'a [Direction],
    /// Which rows are this process' own.
    pub(super) division: Division<'a>,
}

/// Trees, and what they say.
pub(super) struct Fit {
    /// What the scores begin with.
    pub(super) first: Vec<f64>,
    /// For each score its trees, one a round.
    pub(super) trees: Vec<Vec<Tree>>,
    /// Of all rows, one score after the other.
    pub(super) scores: Vec<Vec<f64>>,
    pub(super) rounds: u64,
    /// The mean loss after each round, of many rows after some of them; those that were taken back included.
    pub(super) history: History,
}

impl Fitter<'_> {
    /// Grows trees until they are enough, none has a split, or the rows held out say so.
    ///
    /// # Errors
    /// `Stopped`, `Team`.
    pub(super) fn fit(&self) -> Result<Fit> {
        let first = self.loss.first(&self.parts.learnt);
        let scores: Vec<_> = first.iter().map(|score| vec![*score; self.loss.rows()]).collect();
        let mut fit = Fit {
            trees: vec![Vec::new(); first.len()],
            first,
            scores,
            rounds: 0,
            history: History::of_rows(self.loss.rows()),
        };
        let mean = |fit: &Fit, rows: &[u32]| self.loss.mean(&fit.scores, rows, self.control.threads.get());
        let held_out = |fit: &Fit| (!self.parts.held_out.is_empty()).then(|| mean(fit, &self.parts.held_out));
        let mut held_out_loss = held_out(&fit).unwrap_or(f64::NAN);
        let mut stop = self.config.early_stop.then(|| EarlyStop::new(self.config, held_out_loss, &fit.scores));
        let mut derivatives: Vec<_> = fit.first.iter().map(|_| Derivatives::of_rows(self.loss.rows())).collect();
        let mut space = Space::default();
        let samples = Samples::new(self.config, self.parts, self.binned.features.len());
        for round in 0..self.config.max_iterations {
            if self.loss.is_of_groups() {
                self.division.share(&mut fit.scores)?;
            }
            let how = (self.control, &self.division);
            self.loss.derive(&fit.scores, &self.parts.learnt, how, &mut derivatives)?;
            if self.grow_round(&mut fit, &derivatives, &mut space, &samples, round)? {
                let is_due = fit.history.is_due();
                if is_due || stop.is_some() {
                    self.division.share(&mut fit.scores)?;
                }
                let evaluated = if is_due || stop.is_some() { held_out(&fit) } else { None };
                match is_due {
                    true => fit.history.push_round(mean(&fit, &self.parts.learnt), evaluated, self.config.learn_rate),
                    false => fit.history.pass(),
                }
                held_out_loss = evaluated.unwrap_or(f64::NAN);
            } else if !samples.is_drawn() {
                // Where nothing can be split any more, other rows or features might be.
                break;
            }
            if stop.as_mut().is_some_and(|stop| stop.is_over(fit.rounds, held_out_loss, &fit.scores)) {
                break;
            }
        }
        self.division.share(&mut fit.scores)?;
        if fit.history.lacks_last() {
            let (learnt, evaluated) = (mean(&fit, &self.parts.learnt), held_out(&fit));
            fit.history.push_last(learnt, evaluated, self.config.learn_rate);
        }
        if let Some(stop) = stop {
            (fit.rounds, fit.scores) = stop.into_best();
            fit.trees.iter_mut().for_each(|trees| trees.truncate(fit.rounds as usize));
        }
        Ok(fit)
    }

    /// Grows a tree for each score; whether any has a split.
    fn grow_round(
        &self,
        fit: &mut Fit,
        derivatives: &[Derivatives],
        space: &mut Space,
        samples: &Samples<'_>,
        round: u64,
    ) -> Result<bool> {
        let (rows, first) = (samples.rows(round), round * derivatives.len() as u64);
        let mut grows = false;
        for (score, derivatives) in derivatives.iter().enumerate() {
            let features = samples.features(first + score as u64);
            let mut grown = self.grow(derivatives, &rows.learnt, &features, space)?;
            if grown.tree.nodes.is_empty() {
                // What is best without a split, scores began with.
                grown.tree.values = vec![0.0];
            } else {
                self.add(&grown, &rows.held_out, &mut fit.scores[score]);
                grows = true;
            }
            fit.trees[score].push(grown.tree);
        }
        if grows {
            fit.rounds += 1;
        } else {
            fit.trees.iter_mut().for_each(|trees| drop(trees.pop()));
        }
        Ok(grows)
    }

    fn grow<'a>(
        &self,
        derivatives: &Derivatives,
        rows: &[u32],
        features: &[usize],
        space: &'a mut Space,
    ) -> Result<Grown<'a>> {
        let Self { config, binned, directions, .. } = self;
        let search = Search { config, units: derivatives.units, binned, features, directions };
        let (gradients, control, division) = (&derivatives.gradients, self.control, &self.division);
        let mut grown = Grower { search, gradients, control, division }.grow(division.own(rows), space)?;
        grown.tree.values.iter_mut().for_each(|value| *value *= self.config.learn_rate);
        Ok(grown)
    }

    /// Adds what a tree says to the scores of the rows that it was grown from, and to those of others, of its own rows.
    fn add(&self, grown: &Grown<'_>, others: &[u32], scores: &mut [f64]) {
        let first = self.division.rows.start;
        let scores = &mut scores[self.division.rows.clone()];
        let threads = worthwhile(self.control.threads.get(), scores.len() * NANOSECONDS_A_ROW);
        let length = stretch(scores.len(), threads);
        owned_in_parallel(stretches_mut(scores, threads).enumerate(), |(place, scores)| {
            let start = first + place * length;
            grown.add_to(start, scores);
            for row in within(others, start..start + scores.len()) {
                scores[*row as usize - start] += grown.value(self.binned, *row as usize);
            }
        });
    }
}
