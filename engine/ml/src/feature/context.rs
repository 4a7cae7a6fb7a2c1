//! What a row is to linear models that number categories in the order of rows: numbers, and the slots of its categories.
//!
//! All features' categories are in one dictionary, under the number of their feature, so a slot is given to a category when
//! a row first has it, and a snapshot holds categories in the order of their slots. Slot 0 is for an intercept, then come
//! the numbers, then categories. Past the most that there may be, a category has no slot, and contributes nothing.

use std::fmt::Write;
use std::sync::Arc;

use bincode::{Decode, Encode};

use super::dictionary::{Category, CategoryDictionary, DictionaryState, NO_SLOT};
use super::moments::{Moments, Scale};
use crate::error::{MlError, Result};
use crate::model::{FeatureKind, FeatureSchema};

/// The features of a stream's rows.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Shared, so that a batch's columns can name it while the dictionary grows.
    schema: Arc<FeatureSchema>,
    /// Of each numeric feature; empty of rows where numbers are not standardised.
    moments: Vec<Moments>,
    categories: CategoryDictionary,
    /// A category's name in the dictionary, as it is made. Kept to spare allocations; holds no state.
    name: String,
}

impl Context {
    pub(crate) fn new(schema: FeatureSchema, max_categories: u32) -> Self {
        Self {
            moments: vec![Moments::default(); schema.count(FeatureKind::Numeric)],
            schema: Arc::new(schema),
            categories: CategoryDictionary::new(max_categories as usize),
            name: String::new(),
        }
    }

    pub(crate) fn schema(&self) -> &Arc<FeatureSchema> {
        &self.schema
    }

    /// Numeric features.
    pub(crate) fn numbers(&self) -> usize {
        self.moments.len()
    }

    /// Past the largest slot: the intercept, the numbers, and the categories so far.
    pub(crate) fn width(&self) -> usize {
        1 + self.moments.len() + self.categories.names()
    }

    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// How numbers are standardised by now.
    pub(crate) fn scales(&self) -> Vec<Scale> {
        self.moments.iter().map(Moments::scale).collect()
    }

    /// Counts a row's numbers, but for missing ones; calls `first` with the place and the value of one that is the first of
    /// its feature.
    pub(crate) fn count_numbers(&mut self, numbers: &[f64], mut first: impl FnMut(usize, f64)) {
        for (place, (moments, value)) in self.moments.iter_mut().zip(numbers).enumerate() {
            if value.is_nan() {
                continue;
            }
            if moments.count() == 0 {
                first(place, *value);
            }
            moments.add(*value);
        }
    }

    /// The slot of a category of the categorical feature with this number; `NO_SLOT` if it has none.
    pub(crate) fn slot(&self, name: &mut String, feature: usize, category: Option<&str>) -> u32 {
        write_name(name, feature, category);
        self.categories.slot(Some(name))
    }

    /// The slot of a category, which gets one if there is room.
    pub(crate) fn slot_or_insert(&mut self, feature: usize, category: Option<&str>) -> u32 {
        write_name(&mut self.name, feature, category);
        let next = self.width() as u32;
        insert(&mut self.categories, &self.name, next)
    }

    /// What each slot past the numbers stands for: the number of its categorical feature and the category, in order.
    pub(crate) fn categories(&self) -> impl Iterator<Item = (usize, Category)> + '_ {
        self.categories.categories().filter_map(|(category, _)| match category {
            Category::Named(name) => read_name(&name),
            Category::Null | Category::Other => None,
        })
    }

    /// Adds another's categories and statistics; returns the slot here of each of its slots, or `NO_SLOT` past the most
    /// categories that there may be.
    pub(crate) fn merge(&mut self, other: &Self) -> Vec<u32> {
        for (own, others) in self.moments.iter_mut().zip(&other.moments) {
            own.merge(others);
        }
        let mut slots: Vec<u32> = (0..=self.moments.len() as u32).collect();
        for (category, _) in other.categories.categories() {
            let next = self.width() as u32;
            slots.push(match category {
                Category::Named(name) => insert(&mut self.categories, &name, next),
                Category::Null | Category::Other => NO_SLOT,
            });
        }
        slots
    }

    pub(crate) fn state(&self) -> ContextState {
        ContextState {
            schema: FeatureSchema::clone(&self.schema),
            moments: self.moments.clone(),
            categories: self.categories.state(),
        }
    }
}

fn insert(categories: &mut CategoryDictionary, name: &str, next: u32) -> u32 {
    match categories.slot(Some(name)) {
        NO_SLOT if categories.has_room(name) => categories.slot_or_insert(Some(name), || next),
        slot => slot,
    }
}

/// The feature's number, and behind a colon the category, which NULL lacks.
fn write_name(name: &mut String, feature: usize, category: Option<&str>) {
    name.clear();
    // Writing to a text cannot fail.
    let _ = write!(name, "{feature}");
    if let Some(category) = category {
        name.push(':');
        name.push_str(category);
    }
}

fn read_name(name: &str) -> Option<(usize, Category)> {
    let (feature, category) = match name.split_once(':') {
        Some((feature, category)) => (feature, Category::Named(category.to_owned())),
        None => (name, Category::Null),
    };
    Some((feature.parse().ok()?, category))
}

/// A context as a snapshot holds it. Slots follow from the order of the categories.
#[derive(Encode, Decode)]
pub(crate) struct ContextState {
    schema: FeatureSchema,
    moments: Vec<Moments>,
    categories: DictionaryState,
}

impl ContextState {
    /// The context of a model that has learnt so many rows.
    ///
    /// # Errors
    /// `CorruptState`, or the schema's errors.
    pub(crate) fn into_context(self, max_categories: u32, rows: u64) -> Result<Context> {
        let mut context = Context::new(self.schema.restored()?, max_categories);
        let are_plausible = self.moments.iter().all(|moments| moments.is_plausible(rows));
        if self.moments.len() != context.moments.len() || !are_plausible {
            return Err(MlError::corrupt("the statistics do not fit the rows and numeric features"));
        }
        context.moments = self.moments;
        let mut next = context.width() as u32;
        context.categories = CategoryDictionary::restore(&self.categories, max_categories as usize, &mut next)?;
        let features = context.schema.count(FeatureKind::Categorical);
        let is_known = |(category, _): (Category, u32)| match category {
            Category::Named(name) => read_name(&name).is_some_and(|(feature, _)| feature < features),
            Category::Null | Category::Other => false,
        };
        if !context.categories.categories().all(is_known) {
            return Err(MlError::corrupt("a category is of no feature"));
        }
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Feature;

    fn context(max_categories: u32) -> Context {
        let feature = |name: &str, kind| Feature { name: name.to_owned(), kind };
        let fields = [("c", FeatureKind::Categorical), ("x", FeatureKind::Numeric), ("d", FeatureKind::Categorical)];
        let schema = FeatureSchema::new(fields.map(|(name, kind)| feature(name, kind)).to_vec()).unwrap();
        Context::new(schema, max_categories)
    }

    #[test]
    fn categories_are_numbered_by_rows_and_outlast_a_snapshot() {
        let mut context = context(4);
        let rows = [(0, Some("a")), (1, Some("a")), (0, None), (0, Some("a")), (1, None), (1, Some("b"))];
        let slots = rows.map(|(feature, category)| context.slot_or_insert(feature, category));
        // There is room for four: "b" has no slot.
        assert_eq!(slots, [2, 3, 4, 2, 5, NO_SLOT]);
        let restored = context.state().into_context(4, 0).unwrap();
        let mut name = String::new();
        assert_eq!(rows.map(|(feature, category)| restored.slot(&mut name, feature, category)), slots);
        let named = |feature, name: &str| (feature, Category::Named(name.to_owned()));
        let categories: Vec<_> = restored.categories().collect();
        assert_eq!(categories, [named(0, "a"), named(1, "a"), (0, Category::Null), (1, Category::Null)]);
        assert_eq!(restored.width(), 6);
        assert!(context.state().into_context(3, 0).is_err());
    }

    #[test]
    fn another_s_slots_are_found_here() {
        let (mut own, mut other) = (context(3), context(4));
        own.slot_or_insert(0, Some("a"));
        for (feature, category) in [(1, Some("a")), (0, Some("a")), (0, Some("b"))] {
            other.slot_or_insert(feature, category);
        }
        other.count_numbers(&[4.0], |_, _| {});
        assert_eq!(own.merge(&other), [0, 1, 3, 2, 4]);
        assert_eq!(own.moments()[0].mean(), 4.0);
        other.slot_or_insert(1, Some("c"));
        assert_eq!(own.merge(&other)[2..], [3, 2, 4, NO_SLOT]);
    }
}
