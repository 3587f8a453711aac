#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};

use super::*;

const TABLES: [Table; 3] = [Table::Person, Table::Auction, Table::Bid];

fn numbers<'a>(rows: &'a RecordBatch, column: &str) -> &'a [i64] {
    rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values()
}

#[test]
fn kinds_come_in_the_ratio_1_3_46() {
    for seed in [0, 5] {
        for (table, count) in TABLES.into_iter().zip([1, 3, 46]) {
            assert_eq!(generate(table, seed, 0..50).unwrap().num_rows(), count);
            assert_eq!(generate(table, seed, 0..5000).unwrap().num_rows(), 100 * count);
        }
        let of_each_event = |event: u64| {
            TABLES.map(|table| generate(table, seed, event..event + 1).unwrap().num_rows())
        };
        for event in 100..150 {
            let expect = match event % 50 {
                0 => [1, 0, 0],
                1..=3 => [0, 1, 0],
                _ => [0, 0, 1],
            };
            assert_eq!(of_each_event(event), expect, "event {event}");
        }
    }
}

#[test]
fn rows_depend_on_the_seed_and_their_numbers_alone() {
    for table in TABLES {
        let whole = generate(table, 3, 0..2000).unwrap();
        let mut generator = Generator::new(table, 3);
        let pieces: Vec<_> = [0..7, 7..7, 7..1234, 1234..2000]
            .into_iter()
            .map(|events| generator.rows(events).unwrap())
            .collect();
        assert_eq!(concat_batches(&schema(table), &pieces).unwrap(), whole);
        assert_eq!(generator.rows(0..2000).unwrap(), whole, "back to the start");
        assert_ne!(generate(table, 4, 0..2000).unwrap(), whole);
        assert_eq!(generate(table, 3 + SEEDS, 0..2000).unwrap(), whole);
    }
}

#[test]
fn the_three_tables_tell_one_story() {
    for seed in [0, 1, 123_456_789, u64::MAX] {
        let events = 60_000;
        let [persons, auctions, bids] =
            TABLES.map(|table| generate(table, seed, 0..events).unwrap());
        let persons_to_come = 11; // A story refers to up to ten persons ahead, and to the second.
        let auctions_to_come = 10;
        let expect: Vec<i64> = (1000..1000 + events as i64 / 50).collect();
        assert_eq!(numbers(&persons, "id"), expect);
        let expect: Vec<i64> = (1000..1000 + 3 * events as i64 / 50).collect();
        assert_eq!(numbers(&auctions, "id"), expect);

        for (row, &seller) in numbers(&auctions, "seller").iter().enumerate() {
            let so_far = 1 + row as i64 / 3;
            assert!(
                (1000..1000 + so_far + persons_to_come).contains(&seller),
                "row {row}: {seller}"
            );
        }
        let references = numbers(&bids, "auction").iter().zip(numbers(&bids, "bidder"));
        for (row, (auction, bidder)) in references.enumerate() {
            let cycles = 1 + row as i64 / 46;
            assert!((1000..1000 + 3 * cycles + auctions_to_come).contains(auction), "row {row}");
            assert!((1000..1000 + cycles + persons_to_come).contains(bidder), "row {row}");
        }
        let distinct: HashSet<_> = numbers(&bids, "auction").iter().collect();
        assert!(distinct.len() > 1000, "bids are spread: {}", distinct.len());
    }
}

#[test]
fn time_goes_on_at_ten_thousand_events_a_second() {
    for seed in [0, 9] {
        let bids = generate(Table::Bid, seed, 0..100_000).unwrap();
        let times = bids.column_by_name("dateTime").unwrap();
        let times = times.as_primitive::<TimestampMillisecondType>().values();
        assert!(times.is_sorted());
        assert_eq!(times[0], BASE_TIME_MS as i64);
        assert_eq!(times[times.len() - 1], BASE_TIME_MS as i64 + 10_000);
        let auctions = generate(Table::Auction, seed, 0..100_000).unwrap();
        let time = |name| {
            let column = auctions.column_by_name(name).unwrap();
            column.as_primitive::<TimestampMillisecondType>().values()
        };
        assert!(time("dateTime").iter().zip(time("expires")).all(|(begins, ends)| begins < ends));
    }
}
