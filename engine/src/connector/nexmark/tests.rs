//! The log is a function of its options: any split gives the same rows; and it has the benchmark's shape.

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use tidemill_plans::expr::StreamSchema;
use tidemill_plans::node::Projection;
use tidemill_plans::settings::Settings;

use super::*;
use crate::connector::SourceEvent;
use crate::testing::graph::{cases, schema};
use crate::testing::{show_rows, test_env};

const PERSON: &str =
    "id:int! name:text! email_address:text! credit_card:text! city:text! state:text! date_time:time! extra:text!";
const AUCTION: &str = "id:int! item_name:text! description:text! initial_bid:int! reserve:int! date_time:time! \
                       expires:time! seller:int! category:int! extra:text!";
const BID: &str = "auction:int! bidder:int! price:int! channel:text! url:text! date_time:time! extra:text!";

fn source(options: &[(&str, &str)], columns: &str, batch_rows: u32, share: Share) -> Box<dyn Source> {
    let node = SourceNode {
        table: String::from("t"),
        connector: String::from("nexmark"),
        options: options.iter().map(|(key, value)| (String::from(*key), String::from(*value))).collect(),
        declared: Vec::new(),
        columns: StreamSchema(schema(columns)),
        projection: Vec::<Projection>::new(),
        event_time: None,
        upsert_key: Vec::new(),
    };
    let settings = Settings { source_batch_rows: batch_rows, ..Settings::default() };
    open_source(&node, &TaskEnv { settings, ..test_env().unwrap() }, share).unwrap()
}

/// The batches of all subtasks, one subtask behind the other.
fn read(options: &[(&str, &str)], columns: &str, batch_rows: u32, parallelism: u32) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for subtask in 0..parallelism {
        let mut source = source(options, columns, batch_rows, Share { subtask, parallelism });
        loop {
            match source.next_event().unwrap() {
                SourceEvent::Batch(batch) => batches.push(batch),
                SourceEvent::Idle | SourceEvent::CaughtUp => {}
                SourceEvent::End => break,
            }
        }
    }
    batches
}

fn rows(options: &[(&str, &str)], columns: &str) -> RecordBatch {
    concat_batches(&schema(columns), &read(options, columns, 4096, 1)).unwrap()
}

fn ints(rows: &RecordBatch, column: &str) -> Vec<i64> {
    rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn micros(rows: &RecordBatch, column: &str) -> Vec<i64> {
    rows.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

proptest! {
    #![proptest_config(cases(40))]
    #[test]
    fn any_split_gives_the_same_rows(events in 1u64..700, batch_rows in 1u32..80, parallelism in 1u32..5, seed in 0u64..3) {
        let (events, seed) = (events.to_string(), seed.to_string());
        for (table, columns) in [("person", PERSON), ("auction", AUCTION), ("bid", BID)] {
            let options = [("table", table), ("events", events.as_str()), ("seed", seed.as_str())];
            let sorted = |batches: Vec<RecordBatch>| {
                let text: String = batches.iter().map(|batch| show_rows(batch).unwrap()).collect();
                let mut lines: Vec<String> = text.lines().map(String::from).collect();
                lines.sort();
                lines
            };
            let whole = sorted(read(&options, columns, 1_000_000, 1));
            prop_assert_eq!(whole, sorted(read(&options, columns, batch_rows, parallelism)));
        }
    }
}

#[test]
fn one_event_in_fifty_is_a_person_and_three_are_auctions() {
    let count = |table, columns, events| rows(&[("table", table), ("events", events)], columns).num_rows();
    for (events, people, auctions, bids) in
        [("1", 1, 0, 0), ("3", 1, 2, 0), ("4", 1, 3, 0), ("6", 1, 3, 2), ("50", 1, 3, 46), ("10051", 202, 603, 9246)]
    {
        assert_eq!(count("person", "id:int", events), people, "{events}");
        assert_eq!(count("auction", "id:int", events), auctions, "{events}");
        assert_eq!(count("bid", "price:int", events), bids, "{events}");
    }
}

#[test]
fn ids_count_from_a_thousand_and_time_goes_on() {
    let people = rows(&[("table", "person"), ("events", "100000")], PERSON);
    assert_eq!(ints(&people, "id"), (1000..3000).collect::<Vec<_>>());
    let times = micros(&people, "date_time");
    assert_eq!(times[..3], [1_700_000_000_000_000, 1_700_000_000_005_000, 1_700_000_000_010_000]);
    let auctions = rows(&[("table", "auction"), ("events", "100000")], AUCTION);
    assert_eq!(ints(&auctions, "id"), (1000..7000).collect::<Vec<_>>());
    let bids = rows(
        &[("table", "bid"), ("events", "1000"), ("event_rate", "10"), ("first_event_time", "2024-01-01 00:00:00")],
        BID,
    );
    let times = micros(&bids, "date_time");
    assert_eq!(times[0], 1_704_067_200_400_000);
    assert!(times.is_sorted());
    assert_eq!(times.last(), Some(&(1_704_067_200_000_000 + 99_900_000)));
}

#[test]
fn most_references_are_to_what_is_hot_and_all_to_what_is_known() {
    let bids = rows(&[("table", "bid"), ("events", "200000")], BID);
    let (auctions, bidders, prices) = (ints(&bids, "auction"), ints(&bids, "bidder"), ints(&bids, "price"));
    let (mut hot_auctions, mut hot_bidders) = (0, 0);
    for (row, (auction, bidder)) in auctions.iter().zip(&bidders).enumerate() {
        let epoch = row as i64 / 46;
        let (last_auction, last_person) = (1000 + epoch * 3 + 2, 1000 + epoch);
        assert!((last_auction - 100).max(1000) <= *auction && *auction <= last_auction + 10, "{row}: {auction}");
        assert!((last_person - 999).max(1000) <= *bidder && *bidder <= last_person + 10, "{row}: {bidder}");
        hot_auctions += i32::from((auction - 1000) % 100 == 0);
        hot_bidders += i32::from((bidder - 1000) % 100 == 1);
    }
    let share = |count: i32| f64::from(count) / bids.num_rows() as f64;
    assert!((0.49..0.52).contains(&share(hot_auctions)), "{}", share(hot_auctions));
    assert!((0.74..0.77).contains(&share(hot_bidders)), "{}", share(hot_bidders));
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    let middling = prices.iter().filter(|price| **price < 100_000).count() as i32;
    assert!((0.49..0.51).contains(&share(middling)), "{}", share(middling));

    let auctions = rows(&[("table", "auction"), ("events", "200000")], AUCTION);
    let hot = ints(&auctions, "seller").iter().filter(|seller| (**seller - 1000) % 100 == 0).count() as f64;
    assert!((0.74..0.77).contains(&(hot / auctions.num_rows() as f64)));
    assert!(ints(&auctions, "category").iter().all(|category| (10..15).contains(category)));
    assert!(ints(&auctions, "initial_bid").iter().zip(ints(&auctions, "reserve")).all(|(bid, reserve)| *bid < reserve));
    // 1666 events are 166 or 167 ms.
    let lengths =
        micros(&auctions, "expires").into_iter().zip(micros(&auctions, "date_time")).map(|(end, at)| end - at);
    assert!(lengths.clone().all(|length| (1000..=334_000).contains(&length)));
    let mean = lengths.sum::<i64>() / auctions.num_rows() as i64;
    assert!((160_000..173_000).contains(&mean), "{mean}");
}

#[test]
fn channels_have_their_addresses_and_half_of_them_are_hot() {
    let bids = rows(&[("table", "bid"), ("events", "50000")], BID);
    let (channels, urls) = (bids.column(3).as_string::<i32>(), bids.column(4).as_string::<i32>());
    let mut known: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    let (mut hot, mut named) = (0, 0);
    for (channel, url) in channels.iter().flatten().zip(urls.iter().flatten()) {
        assert_eq!(*known.entry(channel).or_insert(url), url);
        assert!(url.starts_with("https://www.nexmark.com/") && url.contains("/item.htm?query=1"), "{url}");
        assert_eq!(url.split('/').count(), 7, "{url}");
        let is_hot = ["Google", "Facebook", "Baidu", "Apple"].contains(&channel);
        hot += i32::from(is_hot);
        named += i32::from(url.contains("&channel_id="));
    }
    let share = |count: i32| f64::from(count) / bids.num_rows() as f64;
    assert!((0.48..0.52).contains(&share(hot)), "{}", share(hot));
    assert!((0.43..0.47).contains(&share(named)), "{}", share(named));
    let bytes = bids.column(6).as_string::<i32>().value_data().len() as f64 / bids.num_rows() as f64;
    assert!((66.0..70.0).contains(&bytes), "{bytes}");
}

#[test]
fn a_log_without_an_end_goes_on_and_another_seed_is_another_log() {
    let share = Share { subtask: 1, parallelism: 2 };
    let mut endless = source(&[("table", "bid")], BID, 10, share);
    let mut other = source(&[("table", "bid"), ("seed", "1")], BID, 10, share);
    for _ in 0..100 {
        let events = (endless.next_event().unwrap(), other.next_event().unwrap());
        let (SourceEvent::Batch(one), SourceEvent::Batch(two)) = events else { panic!("it ended") };
        assert_eq!((one.num_rows(), two.num_rows()), (10, 10));
        assert_eq!(one.column(5), two.column(5));
        assert_ne!(one.column(2), two.column(2));
    }
}

#[test]
fn only_declared_columns_are_made() {
    let all = rows(&[("table", "bid"), ("events", "1000")], BID);
    let some = rows(&[("table", "bid"), ("events", "1000")], "price:int channel:text");
    assert_eq!((some.column(0), some.column(1)), (all.column(2), all.column(3)));
}
