//! Several processes that fit one model: all have all rows, each does a part of what there is to do with them, and what
//! comes of the parts they tell each other.
//!
//! Each member runs the whole fit. Where it comes to a sum over all rows it takes the stretches of its own, and all of them
//! then go on with the sums of all stretches, in the order of the rows: so each has the same bits as one that is alone, at
//! any number of members (as Horovod's rings and Rabit's trees all-reduce; but those add in the order of the members).

use std::fmt::Debug;
use std::ops::Range;

use bincode::{Decode, Encode};

use crate::error::{MlError, Result};

/// How what members tell each other is written: small whole numbers in a byte.
const CODEC: bincode::config::Configuration = bincode::config::standard();

/// Numbers and categories of all rows below which a part of the work costs less than to tell the others of it.
pub const ENTRIES_FOR_A_TEAM: usize = 1 << 20;

/// A member's way to the others. All members of one fit make the same calls in the same order.
pub trait Team: Debug + Send + Sync {
    /// How many members there are, this one included; at least one.
    fn size(&self) -> usize;

    /// Which of them this one is, from 0.
    fn rank(&self) -> usize;

    /// What all members have given to this call, in their order; waits until the last has. A member that is stopped, or
    /// whose process is gone, gives nothing: whoever implements this learns of it and ends the waiting of the others.
    ///
    /// # Errors
    /// `Stopped`, or `Team` where a member cannot be reached.
    fn gather(&self, part: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// Numbers and categories that work should go through for it to be divided; the same for all members.
    fn entries_min(&self) -> usize {
        ENTRIES_FOR_A_TEAM
    }
}

/// The part of so much work that a member does: its own stretch, in the order of the members. Without others it is all.
pub(crate) fn own_part(team: Option<&dyn Team>, count: usize) -> Range<usize> {
    let (size, rank) = team.map_or((1, 0), |team| (team.size().max(1), team.rank()));
    rank * count / size..(rank + 1) * count / size
}

/// What comes of all parts, given what comes of a member's own.
///
/// # Errors
/// As [`gathered`].
pub(crate) fn all_parts<T: Encode + Decode<()>>(team: Option<&dyn Team>, own: Vec<T>) -> Result<Vec<T>> {
    match team {
        Some(team) => gathered(team, &own),
        None => Ok(own),
    }
}

/// The values that all members have, those of the first before those of the second.
///
/// # Errors
/// As [`Team::gather`]; `Team` where another member is elsewhere in its fit.
pub(crate) fn gathered<T: Encode + Decode<()>>(team: &dyn Team, own: &[T]) -> Result<Vec<T>> {
    let part = bincode::encode_to_vec(own, CODEC).map_err(|source| MlError::EncodeState { source })?;
    let parts = team.gather(part)?;
    let mut all = Vec::new();
    for part in parts {
        let (values, read): (Vec<T>, usize) =
            bincode::decode_from_slice(&part, CODEC).map_err(|error| out_of_step(&error.to_string()))?;
        if read != part.len() {
            return Err(out_of_step("there are bytes left"));
        }
        all.extend(values);
    }
    Ok(all)
}

/// The error of members that do not do the same.
pub(crate) fn out_of_step(why: &str) -> MlError {
    MlError::Team {
        reason: format!("another member is elsewhere in its fit: {why}; do all workers run the same version?"),
    }
}

#[cfg(test)]
mod tests;
