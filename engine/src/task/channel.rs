//! A queue between two tasks, bounded in bytes.
//!
//! One producer and one consumer. Either side may be a compute task, an I/O thread or an async
//! exchange: they all wait through `std::task::Waker`, so the queue does not care. A message is taken
//! as long as the queue holds less than its bound, so a message larger than the bound still passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use crossbeam::queue::SegQueue;
use futures::task::AtomicWaker;

use crate::task::Message;

/// Makes a channel that holds about `bytes_max` bytes.
#[must_use]
pub fn channel(bytes_max: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        queue: SegQueue::new(),
        bytes: AtomicUsize::new(0),
        bytes_max,
        consumer: AtomicWaker::new(),
        producer: AtomicWaker::new(),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

struct Shared {
    queue: SegQueue<(Message, usize)>,
    bytes: AtomicUsize,
    bytes_max: usize,
    consumer: AtomicWaker,
    producer: AtomicWaker,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
}

/// The other end was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// The producing end.
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// Ready when the queue has room; otherwise the waker is called when it has.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        if let Some(answer) = self.ready() {
            return Poll::Ready(answer);
        }
        self.shared.producer.register(cx.waker());
        // Room may have come between the look and the registration.
        self.ready().map_or(Poll::Pending, Poll::Ready)
    }

    fn ready(&self) -> Option<Result<(), Gone>> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Some(Err(Gone));
        }
        (self.shared.bytes.load(Ordering::Acquire) < self.shared.bytes_max).then_some(Ok(()))
    }

    /// Queues a message. The caller has seen [`Self::poll_ready`]; else the bound is overshot.
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Err(Gone);
        }
        let size = message.size();
        self.shared.bytes.fetch_add(size, Ordering::AcqRel);
        self.shared.queue.push((message, size));
        self.shared.consumer.wake();
        Ok(())
    }

    /// Bytes in the queue.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.sender_gone.store(true, Ordering::Release);
        self.shared.consumer.wake();
    }
}

/// The consuming end.
pub struct Receiver {
    shared: Arc<Shared>,
}

impl Receiver {
    /// The next message; otherwise the waker is called when there is one. `Gone` once the sender was
    /// dropped and everything it sent has been taken.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Gone>> {
        if let Some(message) = self.take() {
            return Poll::Ready(Ok(message));
        }
        self.shared.consumer.register(cx.waker());
        // The order matters: a sender that is gone has pushed its last message before.
        let gone = self.shared.sender_gone.load(Ordering::Acquire);
        match self.take() {
            Some(message) => Poll::Ready(Ok(message)),
            None if gone => Poll::Ready(Err(Gone)),
            None => Poll::Pending,
        }
    }

    fn take(&mut self) -> Option<Message> {
        let (message, size) = self.shared.queue.pop()?;
        let before = self.shared.bytes.fetch_sub(size, Ordering::AcqRel);
        debug_assert!(before >= size, "the queue's bytes went below zero");
        if before >= self.shared.bytes_max {
            self.shared.producer.wake();
        }
        Some(message)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        self.shared.producer.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tidemill_plans::time::{EventTime, Watermark};

    use super::*;

    fn watermark(at: i64) -> Message {
        Message::Watermark(Watermark(EventTime(at)))
    }

    #[test]
    fn the_bound_holds_messages_back_and_taking_one_lets_the_next_pass() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (sender, mut receiver) = channel(100);
        for at in [1, 2] {
            assert_eq!(sender.poll_ready(cx), Poll::Ready(Ok(())));
            sender.send(watermark(at)).unwrap();
        }
        assert!(sender.poll_ready(cx).is_pending());
        assert_eq!(receiver.poll_recv(cx), Poll::Ready(Ok(watermark(1))));
        assert_eq!(sender.poll_ready(cx), Poll::Ready(Ok(())));
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (sender, mut receiver) = channel(100);
        sender.send(watermark(1)).unwrap();
        drop(sender);
        assert_eq!(receiver.poll_recv(cx), Poll::Ready(Ok(watermark(1))));
        assert_eq!(receiver.poll_recv(cx), Poll::Ready(Err(Gone)));
        let (sender, receiver) = channel(100);
        drop(receiver);
        assert_eq!(sender.poll_ready(cx), Poll::Ready(Err(Gone)));
        assert_eq!(sender.send(watermark(1)), Err(Gone));
    }
}
