//! Events as rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Auction, Bid, Event, EventType, Person};
use syncline_change::{Error, Result};

use super::Table;

/// 2026-01-01 00:00:00 UTC in milliseconds.
const BASE_TIME_MS: u64 = 1_767_225_600_000;

/// Events after which the kinds repeat: a person, three auctions, 46 bids.
const CYCLE: u64 = 50;

/// Where the ids of each kind begin, whatever the seed.
const FIRST_ID: i64 = 1000;

/// How far apart the stories of two seeds begin in the one sequence that the generator knows: a
/// run of fewer events has none in common with that of another seed. It is a multiple of 5000, so
/// that the popular persons and auctions (every 100th) are the same ones for each seed.
const EVENTS_BETWEEN_SEEDS: u64 = 1_000_000_000;

/// Seeds that tell different stories; a larger seed counts modulo this. The last of them has room
/// for 10^18 events and more.
const SEEDS: u64 = 4_000_000_000;

/// The columns of `table`, named as the benchmark names its fields.
pub fn schema(table: Table) -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, None);
    let (id, text) = (DataType::Int64, DataType::Utf8);
    let columns = match table {
        Table::Person => vec![
            ("id", id),
            ("name", text.clone()),
            ("emailAddress", text.clone()),
            ("creditCard", text.clone()),
            ("city", text.clone()),
            ("state", text.clone()),
            ("dateTime", time()),
            ("extra", text),
        ],
        Table::Auction => vec![
            ("id", id.clone()),
            ("itemName", text.clone()),
            ("description", text.clone()),
            ("initialBid", id.clone()),
            ("reserve", id.clone()),
            ("dateTime", time()),
            ("expires", time()),
            ("seller", id.clone()),
            ("category", id),
            ("extra", text),
        ],
        Table::Bid => vec![
            ("auction", id.clone()),
            ("bidder", id.clone()),
            ("price", id),
            ("channel", text.clone()),
            ("url", text.clone()),
            ("dateTime", time()),
            ("extra", text),
        ],
    };
    let fields: Vec<Field> =
        columns.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
    Arc::new(Schema::new(fields))
}

/// The rows of `table` among the events numbered `events` of the story of `seed`.
pub fn generate(table: Table, seed: u64, events: Range<u64>) -> Result<RecordBatch> {
    Generator::new(table, seed).rows(events)
}

/// Makes the rows of one table; cheaper than [`generate`] when called again and again.
pub struct Generator {
    table: Table,
    /// What the generator's ids are too large by.
    person_id_shift: i64,
    auction_id_shift: i64,
    events: EventGenerator,
}

impl Generator {
    pub fn new(table: Table, seed: u64) -> Self {
        let first_event_id = (seed % SEEDS) * EVENTS_BETWEEN_SEEDS;
        let config = NexmarkConfig {
            first_event_id: first_event_id as usize,
            base_time: BASE_TIME_MS,
            ..NexmarkConfig::default()
        };
        let events = EventGenerator::new(config).with_type_filter(match table {
            Table::Person => EventType::Person,
            Table::Auction => EventType::Auction,
            Table::Bid => EventType::Bid,
        });
        Self {
            table,
            person_id_shift: rows_before(Table::Person, first_event_id) as i64,
            auction_id_shift: rows_before(Table::Auction, first_event_id) as i64,
            events,
        }
    }

    /// The rows of the table among the events numbered `events`.
    pub fn rows(&mut self, events: Range<u64>) -> Result<RecordBatch> {
        let own = rows_before(self.table, events.start)..rows_before(self.table, events.end);
        if self.events.offset() != own.start {
            self.events = std::mem::take(&mut self.events).with_offset(own.start);
        }
        let count = own.end.saturating_sub(own.start) as usize;
        let columns = match self.table {
            Table::Person => self.persons(count),
            Table::Auction => self.auctions(count),
            Table::Bid => self.bids(count),
        }?;
        Ok(RecordBatch::try_new(schema(self.table), columns)?)
    }

    fn persons(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut id = Int64Builder::with_capacity(count);
        let mut time = TimestampMillisecondBuilder::with_capacity(count);
        let mut texts: [StringBuilder; 6] = std::array::from_fn(|_| StringBuilder::new());
        for _ in 0..count {
            let person = match self.events.next() {
                Some(Event::Person(person)) => person,
                other => return Err(wrong_kind(other)),
            };
            let Person { name, email_address, credit_card, city, state, extra, .. } = person;
            id.append_value(person.id as i64 - self.person_id_shift);
            time.append_value(person.date_time as i64);
            // The generator knows small letters only; the benchmark's q3 asks for 'OR', 'ID', 'CA'.
            let state = state.to_ascii_uppercase();
            let values = [name, email_address, credit_card, city, state, extra];
            texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        }
        let [name, email_address, credit_card, city, state, extra] = texts.map(finish_text);
        let (id, time) = (Arc::new(id.finish()), Arc::new(time.finish()));
        Ok(vec![id, name, email_address, credit_card, city, state, time, extra])
    }

    fn auctions(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut numbers: [Int64Builder; 5] =
            std::array::from_fn(|_| Int64Builder::with_capacity(count));
        let mut times: [TimestampMillisecondBuilder; 2] =
            std::array::from_fn(|_| TimestampMillisecondBuilder::with_capacity(count));
        let mut texts: [StringBuilder; 3] = std::array::from_fn(|_| StringBuilder::new());
        for _ in 0..count {
            let persons = rows_before(Table::Person, self.events.global_offset());
            let auction = match self.events.next() {
                Some(Event::Auction(auction)) => auction,
                other => return Err(wrong_kind(other)),
            };
            let Auction { item_name, description, extra, .. } = auction;
            let values = [
                auction.id as i64 - self.auction_id_shift,
                auction.initial_bid as i64,
                auction.reserve as i64,
                reference(auction.seller, self.person_id_shift, persons),
                auction.category as i64,
            ];
            numbers.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
            let values = [auction.date_time as i64, auction.expires as i64];
            times.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
            let values = [item_name, description, extra];
            texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        }
        let [id, initial_bid, reserve, seller, category] = numbers.map(finish_numbers);
        let [time, expires] = times.map(|mut times| Arc::new(times.finish()) as ArrayRef);
        let [item_name, description, extra] = texts.map(finish_text);
        Ok(vec![
            id,
            item_name,
            description,
            initial_bid,
            reserve,
            time,
            expires,
            seller,
            category,
            extra,
        ])
    }

    fn bids(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut numbers: [Int64Builder; 3] =
            std::array::from_fn(|_| Int64Builder::with_capacity(count));
        let mut time = TimestampMillisecondBuilder::with_capacity(count);
        let mut texts: [StringBuilder; 3] = std::array::from_fn(|_| StringBuilder::new());
        for _ in 0..count {
            let number = self.events.global_offset();
            let persons = rows_before(Table::Person, number);
            let auctions = rows_before(Table::Auction, number);
            let bid = match self.events.next() {
                Some(Event::Bid(bid)) => bid,
                other => return Err(wrong_kind(other)),
            };
            let Bid { channel, url, extra, .. } = bid;
            let values = [
                reference(bid.auction, self.auction_id_shift, auctions),
                reference(bid.bidder, self.person_id_shift, persons),
                bid.price as i64,
            ];
            numbers.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
            time.append_value(bid.date_time as i64);
            let values = [channel, url, extra];
            texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        }
        let [auction, bidder, price] = numbers.map(finish_numbers);
        let [channel, url, extra] = texts.map(finish_text);
        Ok(vec![auction, bidder, price, channel, url, Arc::new(time.finish()), extra])
    }
}

/// How many of the first `events` events are of `table`.
pub(super) fn rows_before(table: Table, events: u64) -> u64 {
    let (before, count) = match table {
        Table::Person => (0, 1),
        Table::Auction => (1, 3),
        Table::Bid => (4, 46),
    };
    events / CYCLE * count + (events % CYCLE).saturating_sub(before).min(count)
}

/// The id that an event refers to, as ids of this story.
///
/// Early in its story a seed other than 0 refers to rows that would have come before the story
/// began: another of the `known` rows, as many as there are so far, takes the place of each.
fn reference(id: usize, shift: i64, known: u64) -> i64 {
    let number = id as i64 - shift - FIRST_ID;
    FIRST_ID + if number < 0 { number.rem_euclid(known.max(1) as i64) } else { number }
}

fn finish_numbers(mut numbers: Int64Builder) -> ArrayRef {
    Arc::new(numbers.finish())
}

fn finish_text(mut text: StringBuilder) -> ArrayRef {
    Arc::new(text.finish())
}

fn wrong_kind(event: Option<Event>) -> Error {
    Error::bug("the Nexmark generator made another event than it was asked for")
        .detail(format!("{:?}", event.map(|event| event.event_type())))
}

#[cfg(test)]
mod tests;
