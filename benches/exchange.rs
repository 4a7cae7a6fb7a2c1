//! The Flight exchange between two processes' worth of endpoints on loopback.

use std::sync::Arc;
use std::task::Poll;

use criterion::{Criterion, Throughput};
use futures::future::poll_fn;
use tidemill_engine::task::{Message, Receiver, Sender, batch_bytes};
use tidemill_plans::ids::{ChannelId, JobId, RunId};
use tidemill_workers::{Exchange, ExchangeFailures, WorkersError};
use tokio::runtime::Runtime;

use crate::graph::{batch, schema};

/// Batches a round.
const BATCHES: usize = 64;

struct NoFailures;

impl ExchangeFailures for NoFailures {
    fn channel_failed(&self, _channel: ChannelId, _error: &WorkersError) {}
}

async fn connect(runtime: &Runtime) -> (Exchange, Exchange, Sender, Receiver) {
    let loopback = "127.0.0.1:0".parse().ok();
    let start = |bind| Exchange::start(runtime.handle().clone(), bind, None, None, Arc::new(NoFailures));
    let receiving = start(loopback).await.expect("loopback has a free port");
    let sending = start(None).await.expect("nothing is bound");
    let id = ChannelId { run: RunId::first(JobId(1)), edge: 0, from: 0, to: 0 };
    let receiver = receiving.incoming(id, schema(), 1 << 22).expect("the first of its name");
    let address = format!("http://{}", receiving.address().expect("it is bound"));
    let sender = sending.outgoing(&address, id, schema(), 1 << 22).await.expect("the other side listens");
    sending.open(RunId::first(JobId(1))).await.expect("the channel is known there");
    (receiving, sending, sender, receiver)
}

async fn send(sender: &Sender, message: Message) {
    poll_fn(|cx| sender.poll_ready(cx)).await.expect("the link lives");
    sender.send(message).expect("the link lives");
}

async fn receive(receiver: &mut Receiver) -> usize {
    let mut rows = 0;
    while rows < BATCHES * crate::graph::ROWS {
        match poll_fn(|cx| receiver.poll_recv(cx).map(Poll::Ready)).await {
            Poll::Ready(Ok(Message::Batch(batch))) => rows += batch.num_rows(),
            Poll::Ready(Ok(_)) => {}
            other => panic!("the link broke: {other:?}"),
        }
    }
    rows
}

/// 64 batches of 8192 rows through one channel.
pub(crate) fn exchange(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime for the exchange");
    let (_receiving, _sending, sender, mut receiver) = runtime.block_on(connect(&runtime));
    let batches: Vec<_> = (0..BATCHES).map(batch).collect();
    let bytes: usize = batches.iter().map(batch_bytes).sum();
    let mut group = c.benchmark_group("flight exchange");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(20);
    group.bench_function("loopback, one channel", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let sending = async {
                    for rows in &batches {
                        send(&sender, Message::Batch(rows.clone())).await;
                    }
                };
                let ((), rows) = futures::join!(sending, receive(&mut receiver));
                rows
            })
        });
    });
    group.finish();
}
