//! Tickets for the parts of a result that workers hand out themselves.
//!
//! Whoever has one may fetch: it is told to the client that asked and to the workers that have the rows, and to nobody
//! else. A part is fetched once.

/// The option of a result's sink whose instances hand their rows out: the name of the result, which nobody guesses.
pub const RESULT_OPTION: &str = "fetched_as";

/// The option of a result's sink that may send some rows at a time: they come as they are known, and there is an end.
pub const GATHERS_OPTION: &str = "gathers";

/// What a ticket begins with.
const PREFIX: &str = "tidemill.result/";

/// One part of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResultTicket {
    /// The result.
    pub result: String,
    /// The sink's instance that has the part.
    pub part: u32,
}

impl ResultTicket {
    /// The bytes of a Flight ticket.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{PREFIX}{}/{}", self.result, self.part).into_bytes()
    }

    /// The part that a Flight ticket is of, if it is of one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (result, part) = std::str::from_utf8(bytes).ok()?.strip_prefix(PREFIX)?.split_once('/')?;
        Some(Self { result: result.to_owned(), part: part.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_survive_their_bytes() {
        let ticket = ResultTicket { result: String::from("a1"), part: 7 };
        assert_eq!(ResultTicket::from_bytes(&ticket.to_bytes()), Some(ticket));
        for other in ["", "tidemill.result/a1", "tidemill.result/a1/x", "SELECT 1"] {
            assert_eq!(ResultTicket::from_bytes(other.as_bytes()), None, "{other}");
        }
        assert_eq!(ResultTicket::from_bytes(&[0xff]), None);
    }
}
