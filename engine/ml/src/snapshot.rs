//! The envelope around every model's state: a version byte, a model tag, then the bincode payload.
//!
//! Bytes come back from disks and networks, so reading trusts nothing: size first, then version,
//! then the payload, which must end where the bytes end. A decoder's allocation is bounded by the
//! same limit, so a corrupt length is an error and not an abort.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

use crate::error::{MlError, Result};

/// The version that this build writes, and the only one it reads.
const VERSION: u8 = 1;

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

/// Checks the envelope and splits it into the model tag and the payload.
///
/// # Errors
/// `StateTooLarge`, `StateVersion`, or `CorruptState` when the envelope itself is cut short.
pub(crate) fn open(bytes: &[u8]) -> Result<(u8, &[u8])> {
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
    let (state, read) = bincode::decode_from_slice(payload, CODEC)
        .map_err(|source| MlError::CorruptState { reason: "it does not decode", source: Some(source) })?;
    if read != payload.len() {
        return Err(MlError::corrupt("bytes are left over at its end"));
    }
    Ok(state)
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > BYTES_MAX {
        return Err(MlError::StateTooLarge { bytes, bytes_max: BYTES_MAX });
    }
    Ok(())
}
