//! Two exchanges over loopback.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_flight::Action;
use bytes::Bytes;
use tidemill_engine::task::{EndReason, Gone, Message, Receiver, Sender, TeamError, TeamLink, Teams};
use tidemill_net::Connector;
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::codec;
use tidemill_plans::ids::{Barrier, ChannelId, Epoch, JobId, OperatorId, RunId};
use tidemill_plans::protocol::{Reply, WORKER_ACTION, WorkerLink, WorkerRequest, WorkerResponse};
use tidemill_plans::time::{EventTime, Watermark};
use tokio::runtime::Handle;

use super::connection::connect;
use super::*;
use crate::error::WorkersError;

const RUN: RunId = RunId::first(JobId(1));

fn barrier(epoch: u64) -> Barrier {
    Barrier { epoch: Epoch(epoch), is_checkpoint: true, may_overtake: false }
}
const GRANT: usize = 10_000;

fn id(to: u32) -> ChannelId {
    ChannelId { run: RUN, edge: 0, from: 0, to }
}

/// Collects failures as `(channel, message)`.
struct Failures(std_mpsc::Sender<(ChannelId, String)>);

impl ExchangeFailures for Failures {
    fn channel_failed(&self, channel: ChannelId, error: &WorkersError) {
        let _ = self.0.send((channel, error.chain()));
    }
}

struct Peer {
    exchange: Exchange,
    failures: std_mpsc::Receiver<(ChannelId, String)>,
}

impl Peer {
    async fn start() -> Self {
        let (sender, failures) = std_mpsc::channel();
        let bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let exchange = Exchange::start(Handle::current(), bind, None, None, Arc::new(Failures(sender))).await.unwrap();
        Self { exchange, failures }
    }

    fn url(&self) -> String {
        format!("http://{}", self.exchange.address().unwrap())
    }

    async fn failure(self) -> (ChannelId, String) {
        let waiting = tokio::task::spawn_blocking(move || self.failures.recv().unwrap());
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("no failure was reported").unwrap()
    }
}

fn batch(rows: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|i| (i % 3 > 0).then_some(i))));
    let texts: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(|i| (i % 2 > 0).then(|| format!("row {i}")))));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(0..rows));
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..rows).map(|i| Some(i % 5 == 0))));
    RecordBatch::try_from_iter_with_nullable([
        ("n", numbers, true),
        ("s", texts, true),
        ("t", times, true),
        ("b", flags, true),
    ])
    .unwrap()
}

async fn send(sender: &Sender, message: Message) {
    poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
    sender.send(message).unwrap();
}

async fn receive(receiver: &mut Receiver) -> Result<Message, Gone> {
    let next = poll_fn(|cx| receiver.poll_recv(cx));
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("nothing came")
}

/// Opened channels from `a` to `b`, one for each number.
async fn connect_channels(a: &Peer, b: &Peer, count: u32) -> Vec<(Sender, Receiver)> {
    let mut channels = Vec::new();
    for to in 0..count {
        let receiver = b.exchange.incoming(id(to), batch(1).schema(), GRANT).unwrap();
        let sender = a.exchange.outgoing(&b.url(), id(to), batch(1).schema(), GRANT).await.unwrap();
        channels.push((sender, receiver));
    }
    a.exchange.open(RUN).await.unwrap();
    channels
}

async fn connect_one(a: &Peer, b: &Peer) -> (Sender, Receiver) {
    connect_channels(a, b, 1).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_as_it_was_sent() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    let messages = [
        Message::Watermark(Watermark(EventTime(7))),
        Message::Batch(batch(1000)),
        Message::Batch(batch(1000).slice(13, 500)),
        Message::Batch(batch(9).slice(0, 0)),
        Message::Idle,
        Message::Active,
        Message::Barrier(barrier(3)),
        Message::Watermark(Watermark::MAX),
        Message::End(EndReason::Finished),
    ];
    for message in &messages {
        send(&sender, message.clone()).await;
        assert_eq!(receive(&mut receiver).await.unwrap(), *message);
    }
    drop(sender);
    assert_eq!(receive(&mut receiver).await, Err(Gone));
    assert!(a.failures.try_recv().is_err() && b.failures.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_nobody_empties_does_not_hold_up_another_and_stops_its_own_sender() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let mut channels = connect_channels(&a, &b, 2).await;
    let (fast_in, mut fast_out) = channels.pop().unwrap();
    let (slow_in, mut slow_out) = channels.pop().unwrap();
    let slow = Handle::current().spawn(async move {
        for _ in 0..500 {
            send(&slow_in, Message::Batch(batch(50))).await;
        }
        send(&slow_in, Message::End(EndReason::Stopped)).await;
        slow_in
    });
    let fast = Handle::current().spawn(async move {
        for _ in 0..500 {
            send(&fast_in, Message::Batch(batch(50))).await;
        }
    });
    for _ in 0..500 {
        assert_eq!(receive(&mut fast_out).await.unwrap(), Message::Batch(batch(50)));
    }
    fast.await.unwrap();
    // 500 batches are some 40 times what both queues of the slow channel hold together.
    assert!(!slow.is_finished());
    for _ in 0..500 {
        assert_eq!(receive(&mut slow_out).await.unwrap(), Message::Batch(batch(50)));
    }
    assert_eq!(receive(&mut slow_out).await.unwrap(), Message::End(EndReason::Stopped));
    slow.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_credit_passes() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    for _ in 0..3 {
        send(&sender, Message::Batch(batch(20_000))).await;
        assert_eq!(receive(&mut receiver).await.unwrap(), Message::Batch(batch(20_000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_peer_is_noticed_on_both_sides() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    send(&sender, Message::Barrier(barrier(1))).await;
    receive(&mut receiver).await.unwrap();
    drop(a.exchange);
    assert_eq!(receive(&mut receiver).await, Err(Gone));
    let (channel, message) = b.failure().await;
    assert_eq!(channel, id(0));
    assert!(message.contains("lost the connection"), "{message}");

    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    send(&sender, Message::Barrier(barrier(1))).await;
    receive(&mut receiver).await.unwrap();
    drop(b.exchange);
    assert!(a.failure().await.1.contains("lost the connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_goes_without_an_end_is_noticed() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let mut channels = connect_channels(&a, &b, 2).await;
    let (sender, mut receiver) = channels.pop().unwrap();
    send(&sender, Message::Barrier(barrier(1))).await;
    drop(sender);
    assert_eq!(receive(&mut receiver).await, Ok(Message::Barrier(barrier(1))));
    assert_eq!(receive(&mut receiver).await, Err(Gone));

    let (sender, receiver) = channels.pop().unwrap();
    drop(receiver);
    send(&sender, Message::Barrier(barrier(1))).await;
    assert!(a.failure().await.1.contains("the receiving task is gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_channels_and_other_schemas_fail_the_channel_only() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    let _unknown = a.exchange.outgoing(&b.url(), id(9), batch(1).schema(), GRANT).await.unwrap();
    a.exchange.open(RUN).await.unwrap();
    send(&sender, Message::Barrier(barrier(1))).await;
    assert_eq!(receive(&mut receiver).await, Ok(Message::Barrier(barrier(1))));
    let wrong = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let (channel, message) = a.failures.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(channel, id(9));
    assert!(message.contains("no task receives"), "{message}");
    send(&sender, Message::Batch(wrong)).await;
    assert_eq!(receive(&mut receiver).await, Err(Gone));
    let (channel, message) = a.failure().await;
    assert_eq!(channel, id(0));
    assert!(message.contains("where the plan says"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn releasing_a_job_frees_its_channels_and_no_others() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    let other = ChannelId { run: RunId::first(JobId(2)), ..id(0) };
    let mut kept = b.exchange.incoming(other, batch(1).schema(), GRANT).unwrap();
    let keeper = a.exchange.outgoing(&b.url(), other, batch(1).schema(), GRANT).await.unwrap();
    a.exchange.open(RunId::first(JobId(2))).await.unwrap();
    a.exchange.release(RUN).await;
    assert_eq!(receive(&mut receiver).await, Err(Gone));
    assert_eq!(poll_fn(|cx| sender.poll_ready(cx)).await, Err(Gone));
    send(&keeper, Message::Batch(batch(5))).await;
    assert_eq!(receive(&mut kept).await, Ok(Message::Batch(batch(5))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_to_a_peer_does_not_end_the_first() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let (sender, mut receiver) = connect_one(&a, &b).await;
    // As if another job had found no connection while the first was still being made.
    let failures: Arc<dyn ExchangeFailures> = Arc::new(Failures(std_mpsc::channel().0));
    a.exchange.keep(&b.url(), connect(Connector::default(), b.url(), None, failures).await.unwrap());
    for epoch in 1..=3 {
        send(&sender, Message::Barrier(barrier(epoch))).await;
        assert_eq!(receive(&mut receiver).await, Ok(Message::Barrier(barrier(epoch))));
    }
    assert!(a.failures.try_recv().is_err() && b.failures.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_and_addresses_that_do_not_work_are_named() {
    let peer = Peer::start().await;
    let taken = peer.exchange.address();
    let (sender, _failures) = std_mpsc::channel();
    let refused =
        Exchange::start(Handle::current(), taken, None, None, Arc::new(Failures(sender))).await.err().unwrap();
    assert!(refused.chain().contains(&format!("cannot listen on {}", taken.unwrap())), "{}", refused.chain());
    let gone = peer.url();
    drop(peer);
    let alone = Peer::start().await;
    let error = loop {
        // The port is free once the server's task has been dropped.
        match alone.exchange.outgoing(&gone, id(0), batch(1).schema(), GRANT).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert!(error.to_string().contains(&gone), "{error}");
}

struct Refuses;

impl WorkerLink for Refuses {
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse> {
        assert_eq!(request, WorkerRequest::Start(RUN));
        let message = String::from("no such job");
        Box::pin(async { Ok(WorkerResponse::Failed { domain: tidemill_plans::ErrorDomain::Internal, message }) })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_know_the_secret_is_refused() {
    let secret = ClusterSecret::new("the-secret-of-all-of-us");
    let start = |bind, secret: &Option<ClusterSecret>| {
        let (sender, _) = std_mpsc::channel();
        Exchange::start(Handle::current(), bind, None, secret.clone(), Arc::new(Failures(sender)))
    };
    let peer = start(Some(SocketAddr::from(([127, 0, 0, 1], 0))), &secret).await.unwrap();
    let url = format!("http://{}", peer.address().unwrap());
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    let id = ChannelId { run: RUN, edge: 0, from: 0, to: 0 };
    for (other, is_known) in [(secret, true), (ClusterSecret::new("the-secret-of-others...."), false), (None, false)] {
        let other = start(None, &other).await.unwrap();
        let connected = other.outgoing(&url, id, Arc::clone(&schema) as _, 1).await;
        match is_known {
            true => drop(connected.unwrap()),
            false => assert!(connected.map(drop).unwrap_err().chain().contains("--cluster-secret"), "it is let in"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_over_flight_and_other_actions_refused() {
    let peer = Peer::start().await;
    peer.exchange.serve_requests(Arc::new(Refuses));
    let channel = flight_endpoint(&peer.url()).unwrap().connect().await.unwrap();
    let mut client = flight_client(channel);
    let body = Bytes::from(codec::encode(&WorkerRequest::Start(RUN)).unwrap());
    let action = Action { r#type: String::from(WORKER_ACTION), body };
    let mut results = client.do_action(action).await.unwrap().into_inner();
    let answer = results.message().await.unwrap().unwrap();
    let answer: WorkerResponse = codec::decode(&answer.body).unwrap();
    assert!(matches!(answer, WorkerResponse::Failed { message, .. } if message == "no such job"));
    let wrong = Action { r#type: String::from("dance"), body: Bytes::new() };
    let status = client.do_action(wrong).await.unwrap_err();
    assert!(status.message().contains(WORKER_ACTION), "{status}");
    let nonsense = Action { r#type: String::from(WORKER_ACTION), body: Bytes::from_static(b"?") };
    assert_eq!(client.do_action(nonsense).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_on_several_workers_meet_on_that_of_the_first() {
    let (a, b) = (Peer::start().await, Peer::start().await);
    let operator = OperatorId(7);
    let here = a.exchange.teams(RUN, HashMap::new());
    let there = b.exchange.teams(RUN, HashMap::from([(operator, a.url())]));
    let links = [here.join(operator, 0, 3), there.join(operator, 1, 3), there.join(operator, 2, 3)];
    let member = |(rank, link): (usize, Arc<dyn TeamLink>)| {
        tokio::task::spawn_blocking(move || {
            let large = 1 << 20;
            for round in 0..20 {
                let part = vec![rank as u8; if round == 7 { large } else { rank }];
                let parts = link.exchange(round, part, &|| false).unwrap();
                let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
                assert_eq!(lengths, if round == 7 { [large; 3] } else { [0, 1, 2] });
                assert!((0..3).all(|rank| parts[rank].iter().all(|byte| *byte as usize == rank)));
            }
            link
        })
    };
    let links = futures::future::join_all(links.into_iter().enumerate().map(member)).await;
    let [_, second, third] = links.try_into().unwrap_or_else(|_| panic!("there are three"));
    // Whoever waits is sent away with the run.
    let third = third.unwrap();
    let waiting = tokio::task::spawn_blocking(move || third.exchange(20, Vec::new(), &|| false));
    tokio::time::sleep(Duration::from_millis(50)).await;
    a.exchange.release(RUN).await;
    assert!(matches!(waiting.await.unwrap(), Err(TeamError::Lost(why)) if why.contains("the job has ended")));
    // And whoever's own job has ended does not wait at all.
    let second = second.unwrap();
    let over = tokio::task::spawn_blocking(move || second.exchange(20, Vec::new(), &|| true));
    assert!(over.await.unwrap().is_err());
    let nowhere = b.exchange.teams(RUN, HashMap::from([(operator, String::from("http://127.0.0.1:1"))]));
    let lost = tokio::task::spawn_blocking(move || nowhere.join(operator, 1, 2).exchange(0, vec![], &|| false));
    assert!(matches!(lost.await.unwrap(), Err(TeamError::Lost(why)) if why.contains("127.0.0.1:1")));
}
