//! Watermarks, barriers and ends over channels that a test fills by hand.

use std::task::Waker;

use tidemill_plans::ids::Epoch;
use tidemill_plans::time::EventTime;

use super::*;
use crate::state::{Snapshot, StateReader};
use crate::task::{Sender, channel};
use crate::testing::graph::schema;
use crate::testing::{parse_rows, show_rows};

fn inbox(ports: &[usize]) -> (Vec<Sender>, Inbox) {
    let mut senders = Vec::new();
    let mut channels = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (sender, receiver) = channel(1 << 20);
        senders.push(sender);
        channels.push((*port, format!("channel {index}"), receiver));
    }
    (senders, Inbox::new(channels))
}

fn at(time: i64) -> Watermark {
    Watermark(EventTime(time))
}

fn barrier(epoch: u64) -> Barrier {
    Barrier { epoch: Epoch(epoch), is_checkpoint: false, may_overtake: false }
}

fn next(inbox: &mut Inbox) -> Option<Input> {
    match inbox.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(input) => Some(input.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_ports_watermark_is_the_minimum_over_its_channels_and_never_goes_back() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    senders[0].send(Message::Watermark(at(10))).unwrap();
    assert_eq!(next(&mut inbox), None);
    senders[1].send(Message::Watermark(at(7))).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Watermarks(PortWatermarks::single(at(7)))));
    senders[1].send(Message::Watermark(at(3))).unwrap();
    assert_eq!(next(&mut inbox), None);
    senders[1].send(Message::Watermark(at(20))).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Watermarks(PortWatermarks::single(at(10)))));
}

#[test]
fn a_barrier_waits_for_every_channel_and_holds_back_those_where_it_has_come() {
    let (senders, mut inbox) = inbox(&[0, 1]);
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    senders[0].send(Message::Watermark(at(5))).unwrap();
    assert_eq!(next(&mut inbox), None);
    senders[1].send(Message::Barrier(barrier(1))).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Barrier(barrier(1))));
    assert_eq!(next(&mut inbox), Some(Input::Watermarks(PortWatermarks::of(vec![at(5), Watermark::MIN]))));
}

#[test]
fn a_newer_epoch_takes_the_place_of_one_that_was_given_up() {
    let (senders, mut inbox) = inbox(&[0, 0, 0]);
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    senders[0].send(Message::Watermark(at(5))).unwrap();
    senders[0].send(Message::Barrier(barrier(2))).unwrap();
    assert_eq!(next(&mut inbox), None);
    // The first channel was waiting for epoch 1; it is read on up to its own barrier of epoch 2.
    senders[1].send(Message::Barrier(barrier(2))).unwrap();
    senders[2].send(Message::Watermark(at(7))).unwrap();
    senders[2].send(Message::Barrier(barrier(1))).unwrap();
    senders[2].send(Message::Barrier(barrier(2))).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Barrier(barrier(2))));
    senders[1].send(Message::Watermark(at(6))).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Watermarks(PortWatermarks::single(at(5)))));
}

#[test]
fn a_barrier_that_comes_too_late_holds_nothing_back() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    for sender in &senders {
        sender.send(Message::Barrier(barrier(2))).unwrap();
    }
    assert_eq!(next(&mut inbox), Some(Input::Barrier(barrier(2))));
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    senders[0].send(Message::Barrier(barrier(2))).unwrap();
    senders[0].send(Message::End(EndReason::Stopped)).unwrap();
    senders[1].send(Message::End(EndReason::Stopped)).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::End(EndReason::Stopped)));
}

#[test]
fn an_input_that_has_ended_does_not_hold_barriers_up() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    senders[0].send(Message::End(EndReason::Finished)).unwrap();
    assert_eq!(next(&mut inbox), None);
    senders[1].send(Message::End(EndReason::Finished)).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::Barrier(barrier(1))));
    assert_eq!(next(&mut inbox), Some(Input::Watermarks(PortWatermarks::single(Watermark::MAX))));
    assert_eq!(next(&mut inbox), Some(Input::End(EndReason::Finished)));
    assert_eq!(next(&mut inbox), None);
}

#[test]
fn a_stop_brings_no_infinite_watermark() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    senders[0].send(Message::End(EndReason::Finished)).unwrap();
    senders[1].send(Message::End(EndReason::Stopped)).unwrap();
    assert_eq!(next(&mut inbox), Some(Input::End(EndReason::Stopped)));
}

#[test]
fn a_sender_that_is_lost_is_an_error_that_names_the_channel() {
    let (senders, mut inbox) = inbox(&[0]);
    drop(senders);
    let Poll::Ready(Err(error)) = inbox.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the loss must be noticed")
    };
    assert_eq!(error.to_string(), "channel 0 is gone");
}

fn all(inbox: &mut Inbox) -> Vec<Input> {
    std::iter::from_fn(|| next(inbox)).collect()
}

fn moved(ports: &[i64]) -> Input {
    let port = |time: &i64| if *time == i64::MIN { Watermark::MIN } else { at(*time) };
    Input::Watermarks(PortWatermarks::of(ports.iter().map(port).collect()))
}

#[test]
fn an_idle_channel_does_not_hold_time_up() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    senders[0].send(Message::Watermark(at(10))).unwrap();
    assert_eq!(all(&mut inbox), []);
    senders[1].send(Message::Idle).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[10])]);
    senders[0].send(Message::Watermark(at(20))).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[20])]);
    // It comes back behind: time stands until it has caught up, and never goes back.
    senders[1].send(Message::Active).unwrap();
    senders[1].send(Message::Watermark(at(15))).unwrap();
    senders[0].send(Message::Watermark(at(30))).unwrap();
    assert_eq!(all(&mut inbox), []);
    senders[1].send(Message::Watermark(at(25))).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[25])]);
}

#[test]
fn when_all_are_idle_time_stands_at_the_furthest_whoever_went_first() {
    for first in [0, 1] {
        let (senders, mut inbox) = inbox(&[0, 0, 0]);
        senders[2].send(Message::End(EndReason::Finished)).unwrap();
        senders[0].send(Message::Watermark(at(5))).unwrap();
        senders[1].send(Message::Watermark(at(10))).unwrap();
        assert_eq!(all(&mut inbox), [moved(&[5])]);
        senders[first].send(Message::Idle).unwrap();
        senders[1 - first].send(Message::Idle).unwrap();
        assert_eq!(all(&mut inbox), [moved(&[10]), Input::Idle]);
        senders[0].send(Message::Active).unwrap();
        senders[0].send(Message::Watermark(at(12))).unwrap();
        assert_eq!(all(&mut inbox), [Input::Active, moved(&[12])]);
    }
}

#[test]
fn the_end_of_the_others_is_no_end_of_an_idle_channel() {
    let (senders, mut inbox) = inbox(&[0, 1]);
    senders[0].send(Message::Watermark(at(5))).unwrap();
    senders[0].send(Message::Idle).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[5, i64::MIN])]);
    senders[1].send(Message::End(EndReason::Finished)).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[5, i64::MAX]), Input::Idle]);
    senders[0].send(Message::End(EndReason::Finished)).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[i64::MAX, i64::MAX]), Input::End(EndReason::Finished)]);
}

#[test]
fn an_idle_port_goes_with_the_other() {
    let (senders, mut inbox) = inbox(&[0, 1]);
    senders[0].send(Message::Watermark(at(10))).unwrap();
    senders[1].send(Message::Watermark(at(3))).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[10, i64::MIN]), moved(&[10, 3])]);
    senders[1].send(Message::Idle).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[10, 10])]);
    senders[0].send(Message::Watermark(at(20))).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[20, 20])]);
    senders[1].send(Message::Active).unwrap();
    senders[0].send(Message::Watermark(at(30))).unwrap();
    assert_eq!(all(&mut inbox), [moved(&[30, 20])]);
}

#[test]
fn an_idle_channel_takes_part_in_barriers() {
    let (senders, mut inbox) = inbox(&[0, 0]);
    senders[0].send(Message::Idle).unwrap();
    senders[1].send(Message::Barrier(barrier(1))).unwrap();
    assert_eq!(all(&mut inbox), []);
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    assert_eq!(all(&mut inbox), [Input::Barrier(barrier(1))]);
}

fn rows(text: &str) -> Message {
    Message::Batch(parse_rows(&schema("v:int"), text).unwrap())
}

fn overtaking(epoch: u64) -> Barrier {
    Barrier { epoch: Epoch(epoch), is_checkpoint: true, may_overtake: true }
}

/// What comes until there is no more, with the rows of batches in words.
fn shown(inbox: &mut Inbox) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some(input) = next(inbox) {
        shown.push(match input {
            Input::Batch(port, batch) => format!("{port}: {}", show_rows(&batch).unwrap().trim_end()),
            Input::Watermarks(watermarks) => format!("time {}", watermarks.min().0.0),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap().to_owned(),
        });
    }
    shown
}

#[test]
fn a_barrier_overtakes_what_then_becomes_part_of_the_state() {
    let (senders, inbox) = inbox(&[0, 0]);
    let mut inbox = inbox.overtaking_after(Some(Duration::ZERO));
    senders[0].send(rows("1")).unwrap();
    senders[0].send(Message::Barrier(overtaking(1))).unwrap();
    senders[0].send(rows("2")).unwrap();
    assert_eq!(shown(&mut inbox), ["0: 1", "Barrier", "0: 2"], "nothing waits");
    assert!(!inbox.is_aligned() && inbox.take_in_flight().is_none());
    senders[1].send(rows("3")).unwrap();
    senders[1].send(Message::Watermark(at(5))).unwrap();
    senders[0].send(Message::Watermark(at(9))).unwrap();
    senders[1].send(Message::Barrier(overtaking(1))).unwrap();
    senders[1].send(rows("4")).unwrap();
    assert_eq!(shown(&mut inbox), ["0: 3", "time 5", "0: 4"]);
    let (barrier, in_flight) = inbox.take_in_flight().unwrap();
    assert_eq!((barrier, inbox.is_aligned()), (overtaking(1), true));
    assert_eq!(in_flight.channels, [vec![], vec![rows("3"), Message::Watermark(at(5))]]);
    check_restored(in_flight);
    // The next one waits for nobody, either.
    senders[1].send(Message::Barrier(overtaking(2))).unwrap();
    assert_eq!(shown(&mut inbox), ["Barrier"]);
}

/// What was in flight comes first, by the same channels, and not to another number of instances.
#[track_caller]
fn check_restored(in_flight: InFlight) {
    let mut snapshot = Snapshot::default();
    in_flight.snapshot(&mut snapshot.writer(Epoch(1))).unwrap();
    let snapshot = [Snapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap()];
    let restored = InFlight::restore(&StateReader::new(&snapshot, 0, 1)).unwrap();
    assert_eq!(restored, in_flight);
    let (senders, mut inbox) = inbox(&[0, 0]);
    inbox.restore(&[at(2)], restored);
    senders[1].send(rows("4")).unwrap();
    senders[0].send(Message::Watermark(at(9))).unwrap();
    let came = shown(&mut inbox);
    let place = |input: &str| came.iter().position(|came| came == input).unwrap();
    assert!(place("0: 3") < place("0: 4") && place("time 5") < place("0: 4"), "{came:?}");
    let error = InFlight::restore(&StateReader::new(&snapshot, 0, 2)).unwrap_err().to_string();
    assert!(error.contains("cannot be dealt out to another number of instances"), "{error}");
}

#[test]
fn what_is_overtaken_ends_with_its_channel_and_counts_for_nothing_if_the_epoch_is_given_up() {
    let (senders, inbox) = inbox(&[0, 0, 1]);
    let mut inbox = inbox.overtaking_after(Some(Duration::ZERO));
    senders[0].send(Message::Barrier(overtaking(1))).unwrap();
    assert_eq!(shown(&mut inbox), ["Barrier"]);
    senders[1].send(rows("1")).unwrap();
    senders[0].send(Message::Barrier(overtaking(2))).unwrap();
    shown(&mut inbox);
    for sender in &senders[1..] {
        sender.send(Message::Barrier(overtaking(1))).unwrap();
    }
    shown(&mut inbox);
    assert!(inbox.take_in_flight().is_none(), "epoch 2 has not come everywhere");
    senders[1].send(rows("2")).unwrap();
    senders[1].send(Message::End(EndReason::Finished)).unwrap();
    senders[2].send(Message::Barrier(overtaking(2))).unwrap();
    shown(&mut inbox);
    let (barrier, in_flight) = inbox.take_in_flight().unwrap();
    assert_eq!(barrier, overtaking(2));
    assert_eq!(in_flight.channels, [vec![], vec![rows("2")], vec![]]);
}

#[test]
fn barriers_of_epochs_alone_and_those_that_were_asked_for_wait() {
    let (senders, inbox) = inbox(&[0, 0]);
    let mut inbox = inbox.overtaking_after(Some(Duration::ZERO));
    senders[0].send(Message::Barrier(barrier(1))).unwrap();
    assert_eq!((all(&mut inbox), inbox.alignment_left()), (vec![], None));
}

/// Rows of so many bytes, more or less.
fn bytes(bytes: usize) -> Message {
    Message::Batch(parse_rows(&schema("t:text"), &"x".repeat(bytes)).unwrap())
}

/// Takes all that the inbox gives out for now: how many bytes of each of two ports.
fn taken(inbox: &mut Inbox) -> [usize; 2] {
    let mut taken = [0; 2];
    while let Some(input) = next(inbox) {
        let Input::Batch(port, rows) = input else { panic!("{input:?}") };
        taken[port] += Message::Batch(rows).size();
    }
    taken
}

#[test]
fn ports_get_their_turns_by_bytes() {
    let (senders, mut inbox) = inbox(&[0, 1]);
    for _ in 0..100 {
        senders[0].send(bytes(10_000)).unwrap();
        (0..10).for_each(|_| senders[1].send(bytes(1_000)).unwrap());
    }
    let mut taken = [0usize; 2];
    for _ in 0..900 {
        let Some(Input::Batch(port, rows)) = next(&mut inbox) else { panic!("there are more") };
        taken[port] += Message::Batch(rows).size();
        assert!(taken[0].abs_diff(taken[1]) < 15_000, "{taken:?}");
    }
}

#[test]
fn a_port_gets_no_further_ahead_of_one_that_may_bring_rows_than_is_said() {
    let (senders, mut inbox) = inbox(&[0, 1]);
    (0..50).for_each(|_| senders[1].send(bytes(100_000)).unwrap());
    let [_, ahead] = taken(&mut inbox);
    assert!((1 << 20..(1 << 20) + 200_000).contains(&ahead), "{ahead}");
    assert!(inbox.wait_left().is_some_and(|left| left < Duration::from_millis(2)), "it is asked again soon");
    senders[0].send(bytes(100_000)).unwrap();
    let [behind, ahead] = taken(&mut inbox);
    assert!(behind > 0 && ahead < 400_000, "{ahead}");
    // One that has nothing for the time being is not waited for.
    senders[0].send(Message::Idle).unwrap();
    let [_, ahead] = taken(&mut inbox);
    assert!(ahead > 3_000_000, "{ahead}");
    assert_eq!(inbox.wait_left(), None);
}
