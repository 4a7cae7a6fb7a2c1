//! The files that a task's state is in: one with all of it, and those behind it with what has changed since.
//!
//! Once the changes are as large as what they change, the task writes everything anew. So no more than twice as much is
//! read as there is. Changes that are small against it would be very many files by then: files of similar size are put
//! together, like the carries of a binary counter.

use tidemill_engine::task::NextSnapshot;
use tidemill_plans::checkpoint::{StateFile, TaskState};

/// How large all changes together may become, in percent of the file that they go on from. Tests want to see some that
/// are too large.
const CHANGES_PERCENT_MAX: u64 = if cfg!(test) { 25 } else { 100 };

/// So many files are worth being put together.
const MERGED_MIN: usize = if cfg!(test) { 3 } else { 16 };

/// Files that are read for one task, should they not have been put together.
const FILES_MAX: usize = if cfg!(test) { 5 } else { 64 };

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct StateChain {
    /// Empty if there is nothing that changes can go on from.
    files: Vec<StateFile>,
    next: NextSnapshot,
}

impl StateChain {
    /// The chain of a task that goes on from these files, and may go on with them.
    pub(crate) fn restored(files: Vec<StateFile>) -> Self {
        let chain = Self { files, next: NextSnapshot::of_changes() };
        chain.ask_if_long();
        chain
    }

    /// What the task is asked for.
    pub(crate) fn next(&self) -> NextSnapshot {
        self.next.clone()
    }

    /// A file was written, with all of the state or with changes; the files that it takes to restore it. An error if
    /// those that it goes on from are not all there.
    pub(crate) fn add(&mut self, file: StateFile, has_changes: bool) -> Result<TaskState, String> {
        if !has_changes {
            self.files.clear();
        } else if self.files.is_empty() {
            self.next.ask_for_whole();
            return Err(format!("{} goes on from state that was not written", file.path));
        }
        self.files.push(file);
        self.ask_if_long();
        Ok(TaskState { files: self.files.clone() })
    }

    /// The newest files, if they are worth being put together: many that are not much smaller than those behind them.
    pub(crate) fn to_merge(&self) -> Option<&[StateFile]> {
        let (_, changes) = self.files.split_first()?;
        let mut bytes = 0;
        let is_similar = |file: &&StateFile| {
            let is_similar = bytes == 0 || file.bytes <= 2 * bytes;
            bytes += file.bytes;
            is_similar
        };
        let similar = changes.iter().rev().take_while(is_similar).count();
        (similar >= MERGED_MIN).then(|| &changes[changes.len() - similar..])
    }

    /// So many of the newest files have been put together; those that it takes now.
    pub(crate) fn replace(&mut self, files: usize, merged: StateFile) -> TaskState {
        self.files.truncate(self.files.len() - files);
        self.files.push(merged);
        TaskState { files: self.files.clone() }
    }

    /// A file was not written: nothing that goes on from it can be read.
    pub(crate) fn lose(&mut self) {
        self.files.clear();
        self.next.ask_for_whole();
    }

    fn ask_if_long(&self) {
        let Some((first, changes)) = self.files.split_first() else { return self.next.ask_for_whole() };
        let changed: u64 = changes.iter().map(|file| file.bytes).sum();
        if changed > first.bytes / 100 * CHANGES_PERCENT_MAX || self.files.len() >= FILES_MAX {
            self.next.ask_for_whole();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(epoch: u64, bytes: u64) -> StateFile {
        StateFile { path: format!("{epoch}"), bytes }
    }

    fn paths(added: Result<TaskState, String>) -> String {
        added.map_or_else(|error| error, |state| state.files.into_iter().map(|file| file.path + " ").collect())
    }

    #[test]
    fn changes_follow_each_other_until_they_are_large_or_many() {
        let mut chain = StateChain::default();
        assert!(chain.next().take_is_whole(), "the first");
        assert_eq!(paths(chain.add(file(1, 1000), false)), "1 ");
        assert_eq!(paths(chain.add(file(2, 250), true)), "1 2 ");
        assert!(!chain.next().take_is_whole());
        assert_eq!(paths(chain.add(file(3, 1), true)), "1 2 3 ");
        assert!(chain.next().take_is_whole(), "they are large");
        // Taken before that was asked for.
        assert_eq!(paths(chain.add(file(4, 1), true)), "1 2 3 4 ");
        assert_eq!(paths(chain.add(file(5, 1000), false)), "5 ");
        assert!(chain.next().take_is_whole(), "asked for before it was written");
        for epoch in 6..9 {
            chain.add(file(epoch, 1), true).unwrap();
            assert!(!chain.next().take_is_whole(), "{epoch}");
        }
        assert_eq!(paths(chain.add(file(9, 1), true)), "5 6 7 8 9 ");
        assert!(chain.next().take_is_whole(), "they are many");
    }

    #[test]
    fn files_of_similar_size_are_put_together() {
        let mut chain = StateChain::default();
        chain.add(file(0, 1_000_000), false).unwrap();
        let mut counts = Vec::new();
        for epoch in 1..40 {
            chain.add(file(epoch, 10), true).unwrap();
            if let Some(files) = chain.to_merge() {
                let (count, bytes) = (files.len(), files.iter().map(|file| file.bytes).sum());
                chain.replace(count, file(epoch, bytes));
            }
            counts.push(chain.files.len() - 1);
        }
        assert!(counts.iter().all(|count| *count <= 6), "{counts:?}");
        assert_eq!(chain.files.iter().map(|file| file.bytes).sum::<u64>(), 1_000_390);
    }

    #[test]
    fn nothing_goes_on_from_what_was_not_written() {
        let mut chain = StateChain::default();
        assert!(chain.next().take_is_whole());
        chain.add(file(1, 1000), false).unwrap();
        chain.lose();
        assert!(chain.next().take_is_whole());
        // It was taken before, and the next one with it: each asks again.
        assert_eq!(paths(chain.add(file(3, 1), true)), "3 goes on from state that was not written");
        assert!(chain.next().take_is_whole());
        assert_eq!(paths(chain.add(file(4, 1000), false)), "4 ");
        assert!(!chain.next().take_is_whole());
    }

    #[test]
    fn a_task_goes_on_with_the_files_that_it_was_restored_from() {
        let mut chain = StateChain::restored(vec![file(1, 1000), file(2, 1)]);
        assert!(!chain.next().take_is_whole());
        assert_eq!(paths(chain.add(file(3, 1), true)), "1 2 3 ");
        assert!(StateChain::restored(vec![file(1, 1000), file(2, 300)]).next().take_is_whole());
    }
}
