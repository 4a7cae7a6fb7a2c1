//! The durable store of the coordinator's metadata: keys and values, changed in batches.
//!
//! The truth is a journal of checksummed records on an object store ([`journal`]); sled is an indexed
//! copy of it on the local disk ([`index`]), because a journal answers no look-up and sled 0.34 alone
//! is not to be trusted with the truth. [`JournalStore`] keeps the two together.

mod index;
mod journal;
mod record;
mod store;

use std::future::Future;
use std::pin::Pin;

pub use store::JournalStore;

use crate::error::Result;

/// A key and its new value; none deletes it.
pub type MetaChange = (Vec<u8>, Option<Vec<u8>>);

/// A commit that is on its way.
pub type Commit<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Keys and values that survive the process.
///
/// One owner calls it: reads see everything that was committed before. Keys must not begin with a
/// zero byte.
pub trait MetaStore: Send {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// All keys that begin with `prefix`, with their values, in the order of the keys.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Makes all changes or none, durable when it returns. After [`crate::CoordinatorError::Fenced`]
    /// the store takes no more changes: another coordinator owns the journal. After another error the
    /// changes may have been made: the next commit finds out, or the next opening of the store.
    fn commit(&mut self, changes: Vec<MetaChange>) -> Commit<'_>;

    /// Finds out whether the next commit would be [`crate::CoordinatorError::Fenced`], and changes nothing.
    fn check(&mut self) -> Commit<'_>;
}

#[cfg(test)]
mod tests;
