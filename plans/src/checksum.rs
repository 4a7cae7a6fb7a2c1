//! Bytes of a file with a checksum (CRC-32) behind them, which tells damage.

/// The bytes and their checksum.
#[must_use]
pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What stands before the checksum; nothing if bytes are missing or have changed.
#[must_use]
pub fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*checksum)).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told() {
        let whole = with_checksum(b"model".to_vec());
        assert_eq!(checked(&whole), Some(&b"model"[..]));
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            assert_eq!(checked(&damaged), None, "byte {place}");
            assert_eq!(checked(&whole[..place]), None, "{place} bytes");
        }
    }
}
