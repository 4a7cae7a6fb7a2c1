//! Names of files for what users name, whatever characters it has.

use std::fmt::Write;

/// A name of small letters, digits and underscores; any other byte is two digits behind this character.
pub(crate) fn file_name(name: &str, escape: char) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => file.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(file, "{escape}{byte:02x}");
            }
        }
    }
    file
}
