//! A connection whose frames a test makes by hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use futures::stream;
use tidemill_engine::task::channel;
use tidemill_plans::ids::{Barrier, Epoch, JobId};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::exchange::frame::EndKind;

const ID: ChannelId = ChannelId { run: RunId::first(JobId(1)), edge: 0, from: 0, to: 0 };

/// Counts what is logged.
#[derive(Clone, Default)]
struct Log(Arc<AtomicUsize>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Silent;

impl ExchangeFailures for Silent {
    fn channel_failed(&self, _: ChannelId, _: &WorkersError) {}
}

/// Frames of one channel, numbered from 0.
fn frames(kinds: Vec<FrameKind>) -> Vec<Result<FlightData, Status>> {
    let header = |(sequence, kind)| FrameHeader { channel: ID, sequence, kind };
    (0..).zip(kinds).map(header).map(|header| Ok(header.to_frame().unwrap())).collect()
}

/// Takes all frames; returns how many replies and log lines came of it, and whether the channel is
/// remembered as refused.
fn take(registry: Registry, kinds: Vec<FrameKind>) -> (usize, usize, bool) {
    let frames = stream::iter(frames(kinds)).chain(stream::pending());
    let closed = Box::pin(std::future::pending());
    let peer = String::from("a peer");
    let mut link = IncomingLink::new(frames, peer, Arc::new(registry), Arc::new(Silent), closed);
    let mut cx = Context::from_waker(Waker::noop());
    let (log, mut replies) = (Log::default(), 0);
    tracing::subscriber::with_default(log.clone(), || {
        // A poll takes a bounded number of frames.
        for _ in 0..100 {
            while link.poll_next_unpin(&mut cx).is_ready() {
                replies += 1;
            }
        }
    });
    (replies, log.0.load(Ordering::Relaxed), !link.rejected.is_empty())
}

fn barriers(count: u64) -> Vec<FrameKind> {
    (0..count)
        .map(|epoch| FrameKind::Barrier(Barrier { epoch: Epoch(epoch), is_checkpoint: false, may_overtake: false }))
        .collect()
}

#[test]
fn an_unknown_channel_is_refused_and_logged_once_and_forgotten_with_its_last_frame() {
    let kinds = [vec![FrameKind::Open], barriers(500)].concat();
    assert_eq!(take(Registry::default(), kinds.clone()), (1, 1, true));
    for last in [FrameKind::End(EndKind::Stopped), FrameKind::Close] {
        assert_eq!(take(Registry::default(), [kinds.clone(), vec![last]].concat()), (1, 1, false));
    }
}

#[test]
fn a_task_that_is_gone_is_told_to_the_peer_but_is_no_news_here() {
    let registry = Registry::default();
    let (sender, receiver) = channel(1);
    registry.add(ID, Incoming { schema: SchemaRef::new(arrow::datatypes::Schema::empty()), sender, granted: 100 });
    drop(receiver);
    let kinds = [vec![FrameKind::Open], barriers(500), vec![FrameKind::End(EndKind::Stopped)]].concat();
    // The replies are the credit at the start and the refusal.
    assert_eq!(take(registry, kinds), (2, 0, false));
}
