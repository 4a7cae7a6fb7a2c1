//! What every source's positions are for: who goes on from one reads the rows behind it, once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Source, SourceEvent};
use crate::metrics::OperatorStats;
use crate::testing::show_rows;

/// A source and its counters.
pub(super) type Opened = (Box<dyn Source>, Arc<OperatorStats>);

/// What was read of a source: rows, and how many were bad.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    rows: String,
    bad: u64,
    events: usize,
}

impl Read {
    /// Reads up to so many events; false if the source ended before.
    fn read(&mut self, (source, stats): &mut Opened, events: usize) -> bool {
        let before = stats.dead_letter_rows.load(Ordering::Relaxed);
        let mut is_more = true;
        for _ in 0..events {
            match source.next_event().unwrap() {
                SourceEvent::Batch(batch) => self.rows.push_str(&show_rows(&batch).unwrap()),
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => {
                    is_more = false;
                    break;
                }
            }
            self.events += 1;
        }
        self.bad += stats.dead_letter_rows.load(Ordering::Relaxed) - before;
        is_more
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.rows, self.bad) == (&other.rows, other.bad)
    }
}

/// Stops behind every event and goes on with another source from there; and does so behind each event of
/// one reading. Returns how many events there are.
pub(super) fn check_positions(open: impl Fn() -> Opened) -> usize {
    let mut whole = Read::default();
    whole.read(&mut open(), usize::MAX);
    for events in 0..=whole.events + 1 {
        let (mut first, mut read) = (open(), Read::default());
        read.read(&mut first, events);
        let mut second = go_on(&first, &open);
        read.read(&mut second, usize::MAX);
        assert!(read.is_same(&whole), "from event {events} on:\n{read:#?}\ninstead of\n{whole:#?}");
    }
    let (mut source, mut read) = (open(), Read::default());
    while read.read(&mut source, 1) {
        source = go_on(&source, &open);
    }
    assert!(read.is_same(&whole), "from each event on:\n{read:#?}\ninstead of\n{whole:#?}");
    whole.events
}

/// Another source that is where this one is.
fn go_on((source, _): &Opened, open: impl Fn() -> Opened) -> Opened {
    let position = source.position().unwrap();
    let mut other = open();
    other.0.seek(&position).unwrap();
    assert_eq!(other.0.position().unwrap(), position, "before anything is read");
    other
}
