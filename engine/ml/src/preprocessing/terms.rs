//! In how many lists each text is: what bags of words and TF-IDF go by.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, ListArray};

use super::categories::Categories;
use crate::error::{MlError, Result};

/// Texts that are told apart, in order of their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The texts.
    pub terms: Vec<String>,
    /// How many lists have each of them.
    pub lists_with: Vec<u64>,
    /// How many lists there are, but for those that are NULL.
    pub lists: u64,
}

#[derive(Debug, Default)]
pub(super) struct TermCollector {
    categories: Categories,
    lists: u64,
}

impl TermCollector {
    pub(super) fn add(&mut self, lists: &ListArray) -> Result<()> {
        for list in lists.iter().flatten() {
            let other = || MlError::NoStatistic { data_type: list.data_type().clone() };
            let texts: BTreeSet<&str> = list.as_string_opt::<i32>().ok_or_else(other)?.iter().flatten().collect();
            texts.into_iter().try_for_each(|text| self.categories.add(text))?;
            self.lists += 1;
        }
        Ok(())
    }

    pub(super) fn finish(self, count_max: usize, frequency_min: u64) -> Terms {
        let counted = self.categories.counted(count_max, frequency_min).unwrap_or_default();
        let (terms, lists_with) = counted.into_iter().unzip();
        Terms { terms, lists_with, lists: self.lists }
    }
}
