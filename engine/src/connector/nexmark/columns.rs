//! The columns of the three tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};

use super::log::{
    Events, FIRST_AUCTION_ID, FIRST_PERSON_ID, Log, Table, active_person, auction_in_flight, hot_auction, hot_bidder,
    hot_seller, last_auction, last_person,
};
use super::text::{
    CITIES, Channels, FIRST_NAMES, LAST_NAMES, STATES, push_credit_card, push_filler, push_words, texts, word,
};
use crate::connector::random::{Field, below, once_in, unit};
use crate::error::Result;

/// One bid in so many is for any auction in flight, the others are for the hot one.
const HOT_AUCTION_RATIO: u32 = 2;
/// One auction in so many is of anybody active, the others are of the hot seller.
const HOT_SELLER_RATIO: u32 = 4;
/// One bid in so many is of anybody active, the others are of the hot bidder.
const HOT_BIDDER_RATIO: u32 = 4;

const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// Bytes of a row: what the columns but `extra` have on average, and what all are to have.
const PERSON_BYTES: (u64, u64) = (62, 200);
const AUCTION_BYTES: (u64, u64) = (110, 500);
const BID_BYTES: (u64, u64) = (32, 100);

/// A column, with what its values are made from.
pub(super) struct Column {
    field: Field,
    kind: Kind,
}

enum Kind {
    PersonId,
    Name,
    Email,
    CreditCard,
    City,
    State,
    AuctionId,
    ItemName,
    Description,
    InitialBid,
    /// The price above the initial bid, which has a field of its own.
    Reserve(Field),
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel(Channels),
    Url(Channels),
    Time,
    /// See [`push_filler`].
    Extra(u64, u64),
}

impl Column {
    /// The column of this name.
    pub(super) fn of(table: Table, name: &str, log: &Log) -> Option<Self> {
        let field = |name: &str| Field::new(log.seed, &format!("{table:?}.{name}"));
        let kind = match (table, name) {
            (Table::Person, "id") => Kind::PersonId,
            (Table::Person, "name") => Kind::Name,
            (Table::Person, "email_address") => Kind::Email,
            (Table::Person, "credit_card") => Kind::CreditCard,
            (Table::Person, "city") => Kind::City,
            (Table::Person, "state") => Kind::State,
            (Table::Person, "extra") => Kind::Extra(PERSON_BYTES.0, PERSON_BYTES.1),
            (Table::Auction, "id") => Kind::AuctionId,
            (Table::Auction, "item_name") => Kind::ItemName,
            (Table::Auction, "description") => Kind::Description,
            (Table::Auction, "initial_bid") => Kind::InitialBid,
            (Table::Auction, "reserve") => Kind::Reserve(field("initial_bid")),
            (Table::Auction, "expires") => Kind::Expires,
            (Table::Auction, "seller") => Kind::Seller,
            (Table::Auction, "category") => Kind::Category,
            (Table::Auction, "extra") => Kind::Extra(AUCTION_BYTES.0, AUCTION_BYTES.1),
            (Table::Bid, "auction") => Kind::Auction,
            (Table::Bid, "bidder") => Kind::Bidder,
            (Table::Bid, "price") => Kind::Price,
            (Table::Bid, "channel") => Kind::Channel(Channels::new(log.seed)),
            (Table::Bid, "url") => Kind::Url(Channels::new(log.seed)),
            (Table::Bid, "extra") => Kind::Extra(BID_BYTES.0, BID_BYTES.1),
            (_, "date_time") => Kind::Time,
            _ => return None,
        };
        // The address of a bid is that of its channel.
        let name = if matches!(kind, Kind::Url(_)) { "channel" } else { name };
        Some(Self { field: field(name), kind })
    }

    /// Its values for these events.
    pub(super) fn values(&self, log: &Log, events: &Events) -> Result<ArrayRef> {
        let field = self.field;
        Ok(match &self.kind {
            Kind::PersonId => numbers(events, |event| FIRST_PERSON_ID + last_person(event)),
            Kind::AuctionId => numbers(events, |event| FIRST_AUCTION_ID + last_auction(event)),
            Kind::InitialBid | Kind::Price => numbers(events, |event| price(field.at(event))),
            Kind::Reserve(initial) => numbers(events, |event| price(initial.at(event)) + price(field.at(event))),
            Kind::Category => numbers(events, |event| FIRST_CATEGORY + below(field.at(event), CATEGORIES)),
            Kind::Seller => references(events, field, HOT_SELLER_RATIO, hot_seller, active_person),
            Kind::Auction => references(events, field, HOT_AUCTION_RATIO, hot_auction, auction_in_flight),
            Kind::Bidder => references(events, field, HOT_BIDDER_RATIO, hot_bidder, active_person),
            Kind::Time => times(events, |event| log.time(event)),
            Kind::Expires => times(events, |event| expiry(log, event, field.at(event))),
            Kind::Name => texts(events, 14, |text, event| {
                let mut draws = field.draws(event);
                text.extend_from_slice(word(FIRST_NAMES, draws.next()).as_bytes());
                text.push(b' ');
                text.extend_from_slice(word(LAST_NAMES, draws.next()).as_bytes());
            })?,
            Kind::Email => texts(events, 16, |text, event| {
                let mut draws = field.draws(event);
                push_words(text, &mut draws, 7);
                text.push(b'@');
                push_words(text, &mut draws, 5);
                text.extend_from_slice(b".com");
            })?,
            Kind::CreditCard => texts(events, 19, |text, event| push_credit_card(text, &mut field.draws(event)))?,
            Kind::City => words(events, |event| word(CITIES, field.at(event)))?,
            Kind::State => words(events, |event| word(STATES, field.at(event)))?,
            Kind::ItemName => texts(events, 20, |text, event| push_words(text, &mut field.draws(event), 20))?,
            Kind::Description => texts(events, 60, |text, event| push_words(text, &mut field.draws(event), 100))?,
            Kind::Channel(channels) => words(events, |event| channels.name(field, event))?,
            Kind::Url(channels) => words(events, |event| channels.address(field, event))?,
            Kind::Extra(size, wanted) => texts(events, (wanted - size) as usize + 8, |text, event| {
                push_filler(text, &mut field.draws(event), *size, *wanted);
            })?,
        })
    }
}

fn numbers(events: &Events, value: impl Fn(u64) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(events.numbers().map(|event| value(event) as i64)))
}

fn times(events: &Events, micros: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(events.numbers().map(micros)))
}

fn words<'a>(events: &Events, value: impl Fn(u64) -> &'a str) -> Result<ArrayRef> {
    texts(events, 16, |text, event| text.extend_from_slice(value(event).as_bytes()))
}

/// Ids of what is hot, and once in `ratio` of what is not.
fn references(
    events: &Events,
    field: Field,
    ratio: u32,
    hot: impl Fn(u64) -> u64,
    any: impl Fn(u64, u64) -> u64,
) -> ArrayRef {
    numbers(events, |event| {
        let random = field.at(event);
        if once_in(random, ratio) { any(event, random) } else { hot(event) }
    })
}

/// A price in cents; its magnitude is spread evenly.
fn price(random: u64) -> u64 {
    let dollars = (unit(random) * 6.0 * std::f64::consts::LN_10).exp();
    (dollars * 100.0).round() as u64
}

/// The end of an auction, in whole milliseconds; after the horizon on average.
fn expiry(log: &Log, event: u64, random: u64) -> i64 {
    let millis = 1 + below(random, (log.auction_horizon(event) / 1000 * 2).max(1));
    log.time(event).saturating_add_unsigned(millis.saturating_mul(1000))
}
