//! Credit: how many bytes a sender may have on the way and in the receiver's queue, per channel.
//!
//! The receiver grants the queue's bound at the start and returns what its task has taken. A frame is
//! sent while any credit is left, so it may overdraw once: the same rule as the queues inside a
//! process, where a message larger than the bound still passes.

use std::collections::VecDeque;

/// A sender's side of one channel.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    available: i64,
}

impl Credit {
    /// Whether a frame may be sent.
    pub(crate) fn may_send(&self) -> bool {
        self.available > 0
    }

    /// Notes a sent frame.
    pub(crate) fn spend(&mut self, bytes: u64) {
        debug_assert!(self.may_send(), "a frame was sent without credit");
        self.available = self.available.saturating_sub_unsigned(bytes);
    }

    /// Notes credit that came back.
    pub(crate) fn grant(&mut self, bytes: u64) {
        self.available = self.available.saturating_add_unsigned(bytes);
    }
}

/// A receiver's side of one channel: what is queued, in the sender's count and in the queue's.
///
/// The two counts differ (a slice is compact once it was sent), so frames are matched one by one.
#[derive(Debug)]
pub(crate) struct Ledger {
    granted: u64,
    /// Each queued frame as (bytes in the local queue, bytes as the sender counted).
    queued: VecDeque<(usize, u64)>,
    queued_local: usize,
    /// Taken by the task, and not returned yet, as the sender counted.
    drained: u64,
    /// Sent and not returned yet, as the sender counted.
    outstanding: u64,
}

impl Ledger {
    /// A channel on which `granted` bytes may be outstanding.
    pub(crate) fn new(granted: u64) -> Self {
        Self { granted: granted.max(1), queued: VecDeque::new(), queued_local: 0, drained: 0, outstanding: 0 }
    }

    /// The bytes granted at the start.
    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Notes a frame that was queued.
    pub(crate) fn received(&mut self, local: usize, counted: u64) {
        self.queued.push_back((local, counted));
        self.queued_local += local;
        self.outstanding = self.outstanding.saturating_add(counted);
    }

    /// Notes that the local queue holds `bytes` now: the oldest frames are taken first.
    pub(crate) fn settle(&mut self, bytes: usize) {
        while let Some(&(local, counted)) = self.queued.front() {
            if self.queued_local - local < bytes {
                break;
            }
            self.queued.pop_front();
            self.queued_local -= local;
            self.drained = self.drained.saturating_add(counted);
        }
    }

    /// Credit to return now. A quarter of the grant at a time keeps replies few; it cannot stall the
    /// sender, because a channel without credit has a whole grant queued or drained.
    pub(crate) fn take_return(&mut self) -> Option<u64> {
        if self.drained == 0 || self.drained < self.granted / 4 {
            return None;
        }
        let bytes = std::mem::take(&mut self.drained);
        debug_assert!(bytes <= self.outstanding, "more was drained than came");
        self.outstanding = self.outstanding.saturating_sub(bytes);
        Some(bytes)
    }

    /// Whether the sender has no credit left: then no frame will come that would settle the ledger,
    /// and the receiver must watch its queue.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.outstanding >= self.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_may_overdraw_once_and_waits_for_what_it_owes() {
        let mut credit = Credit::default();
        assert!(!credit.may_send());
        credit.grant(100);
        credit.spend(250);
        credit.grant(150);
        assert!(!credit.may_send());
        credit.grant(1);
        assert!(credit.may_send());
    }

    #[test]
    fn frames_are_returned_as_the_sender_counted_them() {
        let mut ledger = Ledger::new(100);
        ledger.received(10, 60);
        ledger.received(20, 50);
        assert!(ledger.is_exhausted());
        ledger.settle(30);
        assert_eq!(ledger.take_return(), None);
        ledger.settle(20);
        assert_eq!(ledger.take_return(), Some(60));
        assert!(!ledger.is_exhausted());
        ledger.settle(0);
        assert_eq!(ledger.take_return(), Some(50));
        assert_eq!(ledger.take_return(), None);
    }

    #[test]
    fn small_amounts_are_collected_but_an_exhausted_channel_always_returns_in_the_end() {
        let mut ledger = Ledger::new(100);
        for _ in 0..10 {
            ledger.received(10, 10);
        }
        assert!(ledger.is_exhausted());
        ledger.settle(80);
        assert_eq!(ledger.take_return(), None);
        ledger.settle(70);
        assert_eq!(ledger.take_return(), Some(30));
    }
}
