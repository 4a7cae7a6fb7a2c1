//! The one place where control messages become bytes and bytes become messages.
//!
//! bincode 2 with fixed rules: a version byte first, a size limit on the way in, nothing allowed to
//! follow the message. The bincode crate is no longer maintained (RUSTSEC-2025-0141), so nothing
//! else names its functions: a successor is a change to this file and to the derives.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

use crate::error::{PlanError, Result};

/// Version of every control message and plan that this build writes.
pub const FORMAT_VERSION: u8 = 1;

/// The largest message that is decoded. Larger payloads are Arrow IPC or files, not messages.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

fn config() -> Configuration<LittleEndian, Varint, Limit<MESSAGE_BYTES_MAX>> {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// Writes `message` behind the version byte.
pub fn encode<T: bincode::Encode>(message: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![FORMAT_VERSION];
    bincode::encode_into_std_write(message, &mut bytes, config())?;
    Ok(bytes)
}

/// Reads a message; refuses other versions, oversized input and trailing bytes.
pub fn decode<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(PlanError::TooLarge { size: bytes.len(), limit: MESSAGE_BYTES_MAX });
    }
    let (version, body) = bytes.split_first().ok_or(PlanError::Version { found: 0, expected: FORMAT_VERSION })?;
    if *version != FORMAT_VERSION {
        return Err(PlanError::Version { found: *version, expected: FORMAT_VERSION });
    }
    let (message, used) = bincode::decode_from_slice(body, config())?;
    if used != body.len() {
        return Err(PlanError::TrailingBytes(body.len() - used));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let bytes = encode(&(7u64, String::from("x"))).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (7, String::from("x")));
    }

    #[test]
    fn other_versions_trailing_bytes_and_giant_lengths_are_refused() {
        let mut bytes = encode(&7u64).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<u64>(&bytes), Err(PlanError::TrailingBytes(1))));
        bytes[0] = 9;
        assert!(matches!(decode::<u64>(&bytes), Err(PlanError::Version { found: 9, expected: 1 })));
        assert!(decode::<u64>(&[]).is_err());
        // A length prefix of 2^60 must not be believed.
        let giant = [FORMAT_VERSION, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(decode::<Vec<u8>>(&giant).is_err());
    }
}
