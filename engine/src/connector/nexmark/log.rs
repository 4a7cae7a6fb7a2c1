//! The order of events, and who exists by then.
//!
//! Events come in epochs of 50: a person, three auctions, 46 bids. Whoever an event refers to is chosen
//! from those that the log has brought by then, and from a few that it is about to bring.

use std::ops::Range;

use crate::connector::random::below;

/// Events in an epoch.
const EPOCH: u64 = 50;
const PEOPLE: u64 = 1;
const AUCTIONS: u64 = 3;

pub(super) const FIRST_PERSON_ID: u64 = 1000;
pub(super) const FIRST_AUCTION_ID: u64 = 1000;

/// People who still open auctions and bid.
const ACTIVE_PEOPLE: u64 = 1000;
/// Auctions that still get bids.
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// How many people and auctions are referred to before they are in the log.
const LEAD: u64 = 10;
/// Of so many people or auctions that follow each other, one is hot.
const HOT_EVERY: u64 = 100;

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Person,
    Auction,
    Bid,
}

impl Table {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "person" => Some(Self::Person),
            "auction" => Some(Self::Auction),
            "bid" => Some(Self::Bid),
            _ => None,
        }
    }

    /// Where its events are in an epoch.
    fn places(self) -> Range<u64> {
        match self {
            Self::Person => 0..PEOPLE,
            Self::Auction => PEOPLE..PEOPLE + AUCTIONS,
            Self::Bid => PEOPLE + AUCTIONS..EPOCH,
        }
    }

    /// How many of the log's first events are its.
    pub(super) fn rows_of(self, events: u64) -> u64 {
        let places = self.places();
        let rest = (events % EPOCH).clamp(places.start, places.end) - places.start;
        events / EPOCH * (places.end - places.start) + rest
    }
}

/// Some events of one table that follow each other.
pub(super) struct Events {
    places: Range<u64>,
    rows: Range<u64>,
}

impl Events {
    /// By their numbers among the table's.
    pub(super) fn new(table: Table, rows: Range<u64>) -> Self {
        Self { places: table.places(), rows }
    }

    pub(super) fn len(&self) -> usize {
        (self.rows.end - self.rows.start) as usize
    }

    /// Their numbers in the log.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        let Range { start, end } = self.places;
        let width = end - start;
        let (mut epoch, mut place) = (self.rows.start / width * EPOCH, start + self.rows.start % width);
        std::iter::repeat_with(move || {
            let number = epoch + place;
            place += 1;
            if place == end {
                (epoch, place) = (epoch + EPOCH, start);
            }
            number
        })
        .take(self.len())
    }
}

/// What a log is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    pub(super) seed: u64,
    /// Events in a second of event time.
    pub(super) event_rate: u64,
    /// The event time of the first event, in microseconds.
    pub(super) first_time: i64,
}

impl Log {
    /// How many events a log has that does not end: ids and times cannot overflow by then.
    pub(super) const EVENTS_MAX: u64 = 1 << 53;

    /// The event time of an event in microseconds, in whole milliseconds behind the first one.
    pub(super) fn time(&self, event: u64) -> i64 {
        let millis = event.saturating_mul(1000) / self.event_rate;
        self.first_time.saturating_add_unsigned(millis.saturating_mul(1000))
    }

    /// Microseconds from an event until all auctions that are in flight then have been opened anew.
    pub(super) fn auction_horizon(&self, event: u64) -> u64 {
        let events = AUCTIONS_IN_FLIGHT * EPOCH / AUCTIONS;
        self.time(event.saturating_add(events)).abs_diff(self.time(event))
    }
}

/// The newest person by this event, from 0 on.
pub(super) fn last_person(event: u64) -> u64 {
    // There is one person an epoch, at its beginning.
    event / EPOCH * PEOPLE
}

/// The newest auction by this event, which is none of a person, from 0 on.
pub(super) fn last_auction(event: u64) -> u64 {
    event / EPOCH * AUCTIONS + (event % EPOCH).clamp(PEOPLE, PEOPLE + AUCTIONS - 1) - PEOPLE
}

/// Somebody who is active by this event.
pub(super) fn active_person(event: u64, random: u64) -> u64 {
    let people = last_person(event) + 1;
    let active = people.min(ACTIVE_PEOPLE);
    FIRST_PERSON_ID + people - active + below(random, active + LEAD)
}

/// An auction that is in flight by this event.
pub(super) fn auction_in_flight(event: u64, random: u64) -> u64 {
    let last = last_auction(event);
    let first = last.saturating_sub(AUCTIONS_IN_FLIGHT);
    FIRST_AUCTION_ID + first + below(random, last - first + 1 + LEAD)
}

/// The person who opens most auctions around this event.
pub(super) fn hot_seller(event: u64) -> u64 {
    FIRST_PERSON_ID + last_person(event) / HOT_EVERY * HOT_EVERY
}

/// The person who bids most around this event; never a hot seller.
pub(super) fn hot_bidder(event: u64) -> u64 {
    hot_seller(event) + 1
}

/// The auction that gets most bids around this event.
pub(super) fn hot_auction(event: u64) -> u64 {
    FIRST_AUCTION_ID + last_auction(event) / HOT_EVERY * HOT_EVERY
}
