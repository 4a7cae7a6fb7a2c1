//! How often each category of a column is there.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::CATEGORIES_MAX;
use crate::error::{MlError, Result};

/// The categories and their frequencies.
#[derive(Debug, Default)]
pub(super) struct Categories(HashMap<String, u64>);

impl Categories {
    pub(super) fn add(&mut self, category: &str) -> Result<()> {
        if let Some(count) = self.0.get_mut(category) {
            *count += 1;
            return Ok(());
        }
        if self.0.len() == CATEGORIES_MAX {
            return Err(MlError::TooManyCategories { categories_max: CATEGORIES_MAX });
        }
        self.0.insert(category.to_owned(), 1);
        Ok(())
    }

    /// The most frequent first; those that are there equally often by their text.
    fn ordered(self) -> Vec<(String, u64)> {
        let mut counted: Vec<_> = self.0.into_iter().collect();
        counted.sort_unstable_by(|(a, count), (b, other)| (Reverse(count), a).cmp(&(Reverse(other), b)));
        counted
    }

    /// The one that is there most often, the first by text of several.
    pub(super) fn most_frequent(self) -> Option<String> {
        self.ordered().into_iter().next().map(|(category, _)| category)
    }

    /// So many that are there so often, with how often, in order of their text; nothing if there are no categories at all.
    pub(super) fn counted(self, count_max: usize, frequency_min: u64) -> Option<Vec<(String, u64)>> {
        if self.0.is_empty() {
            return None;
        }
        let frequent = self.ordered().into_iter().filter(|(_, count)| *count >= frequency_min);
        let mut kept: Vec<(String, u64)> = frequent.take(count_max).collect();
        kept.sort_unstable();
        Some(kept)
    }

    /// The same without how often.
    pub(super) fn kept(self, count_max: usize, frequency_min: u64) -> Option<Vec<String>> {
        let kept = self.counted(count_max, frequency_min)?;
        Some(kept.into_iter().map(|(category, _)| category).collect())
    }
}
