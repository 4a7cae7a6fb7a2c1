//! Words of the log: names, places, channels and texts without a meaning.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};

use super::log::Events;
use crate::connector::random::{Alphabet, Draws, Field, below, letters, once_in, push_text};
use crate::error::Result;

pub(super) const FIRST_NAMES: &[&str] =
    &["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
pub(super) const LAST_NAMES: &[&str] =
    &["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
pub(super) const STATES: &[&str] = &["AZ", "CA", "ID", "OR", "WA", "WY"];
pub(super) const CITIES: &[&str] =
    &["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];

const HOT_CHANNELS: &[&str] = &["Google", "Facebook", "Baidu", "Apple"];
/// One bid in so many comes over any channel, the others over a hot one.
const HOT_CHANNEL_RATIO: u32 = 2;
const CHANNELS: u64 = 10_000;
/// One channel in so many has an address that does not name it.
const NAMELESS_CHANNEL_RATIO: u32 = 10;

const WORDS: Alphabet = letters(Some(b' '));
const PATH: Alphabet = letters(Some(b'_'));
const LETTERS: Alphabet = letters(None);
const WORD_LENGTH_MIN: u64 = 3;

/// A column of texts, each of which `push` appends for an event.
pub(super) fn texts(events: &Events, bytes: usize, mut push: impl FnMut(&mut Vec<u8>, u64)) -> Result<ArrayRef> {
    let mut text = Vec::with_capacity(events.len() * bytes);
    let mut lengths = Vec::with_capacity(events.len());
    for event in events.numbers() {
        let start = text.len();
        push(&mut text, event);
        lengths.push(text.len() - start);
    }
    Ok(Arc::new(StringArray::try_new(OffsetBuffer::from_lengths(lengths), Buffer::from_vec(text), None)?))
}

/// One of some words.
pub(super) fn word<'a>(words: &[&'a str], random: u64) -> &'a str {
    words.get(below(random, words.len() as u64) as usize).copied().unwrap_or_default()
}

/// A few words of three letters up to `length_max`, without spaces around them.
pub(super) fn push_words(text: &mut Vec<u8>, draws: &mut Draws, length_max: u64) {
    push_trimmed(text, draws, length_max, &WORDS);
}

fn push_trimmed(text: &mut Vec<u8>, draws: &mut Draws, length_max: u64, alphabet: &Alphabet) {
    let length = WORD_LENGTH_MIN + below(draws.next(), length_max - WORD_LENGTH_MIN);
    let start = text.len();
    push_text(text, draws, length as usize, alphabet);
    text.truncate(start + text[start..].trim_ascii_end().len());
    let spaces = text.len() - start - text[start..].trim_ascii_start().len();
    text.drain(start..start + spaces);
}

/// Four groups of four digits.
pub(super) fn push_credit_card(text: &mut Vec<u8>, draws: &mut Draws) {
    for group in 0..4 {
        if group > 0 {
            text.push(b' ');
        }
        let number = below(draws.next(), 10_000) as u16;
        text.extend([1000, 100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8));
    }
}

/// Letters that fill a row up, whose other columns have `size` bytes, to `wanted` bytes or a fifth of
/// what is missing more or less.
pub(super) fn push_filler(text: &mut Vec<u8>, draws: &mut Draws, size: u64, wanted: u64) {
    let missing = wanted - size;
    let spread = (missing + 2) / 5;
    let length = missing - spread + below(draws.next(), 2 * spread);
    push_text(text, draws, length as usize, &LETTERS);
}

/// The channels that bids come over, and their addresses.
#[derive(Debug)]
pub(super) struct Channels {
    names: Vec<String>,
    addresses: Vec<String>,
}

impl Channels {
    /// The channels of a log.
    pub(super) fn new(seed: u64) -> Self {
        let field = Field::new(seed, "channels");
        let hot = HOT_CHANNELS.len() as u64;
        let name = |channel: u64| match HOT_CHANNELS.get(channel as usize) {
            Some(name) => String::from(*name),
            None => format!("channel-{}", channel - hot),
        };
        let address = |channel: u64| {
            let mut draws = field.draws(channel);
            let mut address = String::from("https://www.nexmark.com/");
            for _ in 0..3 {
                let mut part = Vec::new();
                push_trimmed(&mut part, &mut draws, 5, &PATH);
                address.extend(part.into_iter().map(char::from).chain(['/']));
            }
            address.push_str("item.htm?query=1");
            if channel >= hot && !once_in(draws.next(), NAMELESS_CHANNEL_RATIO) {
                let id = ((channel - hot) as u32).reverse_bits() as i32;
                address.push_str(&format!("&channel_id={}", id.unsigned_abs()));
            }
            address
        };
        let all = 0..hot + CHANNELS;
        Self { names: all.clone().map(name).collect(), addresses: all.map(address).collect() }
    }

    /// The channel of a bid.
    fn of(field: Field, event: u64) -> usize {
        let random = field.at(event);
        let hot = HOT_CHANNELS.len() as u64;
        let channel =
            if once_in(random, HOT_CHANNEL_RATIO) { hot + below(random, CHANNELS) } else { below(random, hot) };
        channel as usize
    }

    /// The channels' names.
    pub(super) fn name(&self, field: Field, event: u64) -> &str {
        &self.names[Self::of(field, event)]
    }

    /// The channels' addresses.
    pub(super) fn address(&self, field: Field, event: u64) -> &str {
        &self.addresses[Self::of(field, event)]
    }
}
