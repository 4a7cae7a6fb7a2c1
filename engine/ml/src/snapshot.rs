//! The envelope around every model's state: a version byte, a model tag, then the bincode payload.
//!
//! Bytes come back from disks and networks, so reading trusts nothing: size first, then version,
//! then the payload, which must end where the bytes end. A decoder's allocation is bounded by the
//! same limit, so a corrupt length is an error and not an abort.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::error::{MlError, Result};
use crate::origin::Origin;

/// The version that this build writes, and the only one it reads.
const VERSION: u8 = 1;

/// What goes with a model: eight bytes with the length of the model's own snapshot, that snapshot, and this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// The trials of the search that found it, and nothing else. It is read, and not written any more.
    Trials,
    /// An [`Origin`](crate::Origin).
    Origin,
}

impl Around {
    /// The one that a tag marks.
    fn tagged(tag: u8) -> Option<Self> {
        match tag {
            70 => Some(Self::Trials),
            ORIGIN_TAG => Some(Self::Origin),
            _ => None,
        }
    }
}

const ORIGIN_TAG: u8 = 71;

/// The largest snapshot written or read, in bytes.
pub(crate) const BYTES_MAX: usize = 256 << 20;

/// The largest magnitude of a number that a restored model may hold.
///
/// Far above what learnable rows lead to, and small enough that its product with a row count or a
/// feature's value, and the sum of many such products, stay finite.
pub(crate) const STATE_MAGNITUDE_MAX: f64 = 1e150;

const CODEC: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> = bincode::config::standard().with_limit();

/// Wraps `state` as a snapshot of the model type with this `tag`.
///
/// # Errors
/// `StateTooLarge` past the limit, so that what was written can always be read.
pub(crate) fn seal(tag: u8, state: &impl Encode) -> Result<Vec<u8>> {
    let mut bytes = vec![VERSION, tag];
    bincode::encode_into_std_write(state, &mut bytes, CODEC).map_err(|source| MlError::EncodeState { source })?;
    check_size(bytes.len())?;
    Ok(bytes)
}

/// Wraps a model's snapshot together with what is no part of the model: how it came about.
///
/// # Errors
/// `StateTooLarge` past the limit.
pub(crate) fn seal_around(model: &[u8], origin: &Origin) -> Result<Vec<u8>> {
    let mut bytes = vec![VERSION, ORIGIN_TAG];
    bytes.extend((model.len() as u64).to_le_bytes());
    bytes.extend(model);
    bincode::encode_into_std_write(origin, &mut bytes, CODEC).map_err(|source| MlError::EncodeState { source })?;
    check_size(bytes.len())?;
    Ok(bytes)
}

/// Checks the envelope and splits it into the model tag and the payload; of a model that has something with it, its own.
///
/// # Errors
/// `StateTooLarge`, `StateVersion`, or `CorruptState` when the envelope itself is cut short.
pub(crate) fn open(bytes: &[u8]) -> Result<(u8, &[u8])> {
    let (tag, payload) = envelope(bytes)?;
    if Around::tagged(tag).is_none() {
        return Ok((tag, payload));
    }
    match envelope(model_and_rest(payload)?.0)? {
        (tag, _) if Around::tagged(tag).is_some() => Err(MlError::corrupt("it is wrapped twice")),
        model => Ok(model),
    }
}

/// What goes with a model, if anything does.
///
/// # Errors
/// As [`open`].
pub(crate) fn around(bytes: &[u8]) -> Result<Option<(Around, &[u8])>> {
    open(bytes)?;
    let (tag, payload) = envelope(bytes)?;
    Around::tagged(tag).map(|around| Ok((around, model_and_rest(payload)?.1))).transpose()
}

fn model_and_rest(payload: &[u8]) -> Result<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk().ok_or(MlError::corrupt("it ends within its header"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok();
    length.and_then(|length| rest.split_at_checked(length)).ok_or(MlError::corrupt("it ends within its model"))
}

fn envelope(bytes: &[u8]) -> Result<(u8, &[u8])> {
    check_size(bytes.len())?;
    match bytes {
        [VERSION, tag, payload @ ..] => Ok((*tag, payload)),
        [VERSION] | [] => Err(MlError::corrupt("it ends within its header")),
        [found, ..] => Err(MlError::StateVersion { found: *found, supported: VERSION }),
    }
}

/// Decodes a whole payload.
///
/// # Errors
/// `CorruptState` when it does not decode, or when bytes are left over.
pub(crate) fn decode<T: Decode<()>>(payload: &[u8]) -> Result<T> {
    let (state, rest) = decode_first(payload)?;
    if !rest.is_empty() {
        return Err(MlError::corrupt("bytes are left over at its end"));
    }
    Ok(state)
}

/// Decodes what a payload begins with; returns the rest of it, too.
///
/// # Errors
/// `CorruptState` when it does not decode.
pub(crate) fn decode_first<T: Decode<()>>(payload: &[u8]) -> Result<(T, &[u8])> {
    let (state, read) = bincode::decode_from_slice(payload, CODEC)
        .map_err(|source| MlError::CorruptState { reason: "it does not decode", source: Some(source) })?;
    Ok((state, &payload[read..]))
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > BYTES_MAX {
        return Err(MlError::StateTooLarge { bytes, bytes_max: BYTES_MAX });
    }
    Ok(())
}

/// Checks that a snapshot of `bytes_max` bytes has room for so many rows beside what else is in it.
///
/// # Errors
/// `TooManyRows`, which says how many there may be.
pub(crate) fn check_rows(rows: u64, row_bytes: usize, other_bytes: usize, bytes_max: usize) -> Result<()> {
    let rows_max = (bytes_max.saturating_sub(other_bytes) / row_bytes) as u64;
    if rows <= rows_max { Ok(()) } else { Err(MlError::TooManyRows { rows, rows_max, bytes_max }) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::check_rows;

    #[test]
    fn rows_that_do_not_fit_are_an_error_that_says_how_many_do() {
        assert!(check_rows(100, 10, 24, 1024).is_ok());
        let error = check_rows(101, 10, 24, 1024).unwrap_err();
        expect![
            "the model would hold 101 rows, of which 100 fit into its limit of 1024 bytes; fit it to a sample of them"
        ]
        .assert_eq(&error.to_string());
        assert!(check_rows(1, 10, 2000, 1024).is_err());
    }
}
