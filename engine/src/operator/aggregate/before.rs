//! What downstream knows of groups that have changed since.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::compute::concat;

use crate::error::Result;

/// Results of groups, in the order in which the groups changed: parts of a column for each aggregate.
#[derive(Default)]
pub(super) struct Before {
    parts: VecDeque<Vec<ArrayRef>>,
    bytes: usize,
}

impl Before {
    /// Adds the results of the groups that have changed after the others.
    pub(super) fn push(&mut self, results: Vec<ArrayRef>) {
        self.bytes += bytes(&results);
        self.parts.push_back(results);
    }

    /// Takes the results of so many groups out, which have changed before the others: columns of these types.
    pub(super) fn take(&mut self, groups: usize, like: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let mut taken: Vec<Vec<ArrayRef>> = vec![Vec::new(); like.len()];
        let mut left = groups;
        while left > 0
            && let Some(part) = self.parts.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(bytes(&part));
            let all = part.first().map_or(left, |column| column.len());
            let first = all.min(left);
            taken.iter_mut().zip(&part).for_each(|(taken, column)| taken.push(column.slice(0, first)));
            if first < all {
                let rest: Vec<ArrayRef> = part.iter().map(|column| column.slice(first, all - first)).collect();
                self.bytes += bytes(&rest);
                self.parts.push_front(rest);
            }
            left -= first;
        }
        let whole = |(parts, like): (Vec<ArrayRef>, &ArrayRef)| match parts.as_slice() {
            [] => Ok(new_empty_array(like.data_type())),
            parts => Ok(concat(&parts.iter().map(|part| part.as_ref()).collect::<Vec<&dyn Array>>())?),
        };
        taken.into_iter().zip(like).map(whole).collect()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes(columns: &[ArrayRef]) -> usize {
    columns.iter().map(|column| column.get_array_memory_size()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn results_are_taken_in_the_order_in_which_they_came() {
        let column = |values: std::ops::Range<i64>| Arc::new(Int64Array::from_iter_values(values)) as ArrayRef;
        let (mut before, like) = (Before::default(), [column(0..0)]);
        [0..3, 3..4, 4..9].into_iter().for_each(|part| before.push(vec![column(part)]));
        let taken = [2, 0, 3, 4].map(|groups| {
            let taken = before.take(groups, &like).unwrap();
            taken[0].as_primitive::<Int64Type>().values().to_vec()
        });
        assert_eq!(taken, [vec![0, 1], vec![], vec![2, 3, 4], vec![5, 6, 7, 8]]);
        assert_eq!((before.bytes(), before.parts.len()), (0, 0));
        // Where there are no aggregates, there is nothing to know.
        before.push(Vec::new());
        assert_eq!(before.take(5, &[]).unwrap().len(), 0);
    }
}
