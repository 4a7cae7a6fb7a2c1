//! Users and items, numbered: texts by their dictionary, numbers by their size.

use crate::feature::encoder::Encoder;
use crate::model::FeatureKind;

/// How the values of one feature are numbered from 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ids {
    /// The distinct values of a numeric feature, which is at this place among the row's numbers, ascending; NaN, which
    /// stands for NULL, is the last one.
    Numbers { place: usize, sorted: Vec<f64> },
    /// The slots of a categorical feature, which is at this place among the row's categories.
    Categories { place: usize, first: u32, count: usize },
}

impl Ids {
    /// Those of an encoder's two features, with the distinct values of the numeric ones among them.
    pub(super) fn both(encoder: &Encoder, numbers: [Vec<f64>; 2]) -> Option<[Self; 2]> {
        let fields = encoder.schema().fields();
        let widths = encoder.categories();
        let (mut numeric, mut categorical, mut first) = (0, 0, 1 + encoder.numeric() as u32);
        let mut ids = Vec::with_capacity(2);
        for (field, sorted) in fields.iter().zip(numbers) {
            match field.kind {
                FeatureKind::Numeric => {
                    ids.push(Self::Numbers { place: numeric, sorted });
                    numeric += 1;
                }
                FeatureKind::Categorical => {
                    let count = *widths.get(categorical)?;
                    ids.push(Self::Categories { place: categorical, first, count });
                    categorical += 1;
                    first += count as u32;
                }
                FeatureKind::Time => return None,
            }
        }
        if fields.len() == 2 { ids.try_into().ok() } else { None }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers { sorted, .. } => sorted.len(),
            Self::Categories { count, .. } => *count,
        }
    }

    /// The distinct values, if they are numbers.
    pub(super) fn numbers(&self) -> &[f64] {
        match self {
            Self::Numbers { sorted, .. } => sorted,
            Self::Categories { .. } => &[],
        }
    }

    /// The number of a row's value, given its numbers and the slots of its categories; none of one that is not known.
    pub(super) fn place(&self, numbers: &[f64], slots: &[u32]) -> Option<usize> {
        match self {
            Self::Numbers { place, sorted } => {
                let number = plain(*numbers.get(*place)?);
                sorted.binary_search_by(|known| known.total_cmp(&number)).ok()
            }
            Self::Categories { place, first, count } => {
                let number = slots.get(*place)?.checked_sub(*first)? as usize;
                (number < *count).then_some(number)
            }
        }
    }
}

/// The distinct values of a numeric feature, ascending.
pub(super) fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.map(plain).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.dedup_by(|one, other| one.total_cmp(other).is_eq());
    sorted
}

/// One zero and one NaN of the several that there are.
fn plain(number: f64) -> f64 {
    if number.is_nan() { f64::NAN } else { number + 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{Ids, distinct};

    #[test]
    fn numbers_are_known_by_their_size() {
        let sorted = distinct([7.0, -0.0, f64::NAN, 0.0, 7.0, -3.0, -f64::NAN].into_iter());
        let ids = Ids::Numbers { place: 0, sorted };
        let places = [-3.0, 0.0, -0.0, 7.0, f64::NAN, 1.0].map(|number| ids.place(&[number], &[]));
        assert_eq!(places, [Some(0), Some(1), Some(1), Some(2), Some(3), None]);
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn categories_are_known_by_their_slots() {
        let ids = Ids::Categories { place: 1, first: 5, count: 3 };
        let places = [4, 5, 7, 8, u32::MAX].map(|slot| ids.place(&[], &[0, slot]));
        assert_eq!(places, [None, Some(0), Some(2), None, None]);
    }
}
