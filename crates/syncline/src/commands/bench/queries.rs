//! The Nexmark queries as views over `person`, `auction` and `bid`.
//!
//! The questions are those of the Nexmark benchmark (Tucker, Tufte, Papadimos, Maier: "NEXMark – A
//! Benchmark for Queries over Data Streams") as the streaming systems of today ask them. A view is a
//! function of its input, so where a published query depends on the moment at which it is computed,
//! event time stands in; and rows that tie are told apart by their other columns.

/// A query by its name.
pub(super) type Query = (&'static str, &'static str);

/// The queries of the benchmark.
pub(super) const NEXMARK: [Query; 23] = [
    ("q0", r#"SELECT auction, bidder, price, "dateTime", extra FROM bid"#),
    (
        "q1",
        r#"SELECT auction, bidder, CAST(0.908 AS DECIMAL(4, 3)) * price AS price, "dateTime", extra
           FROM bid"#,
    ),
    ("q2", "SELECT auction, price FROM bid WHERE auction % 123 = 0"),
    (
        "q3",
        "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id \
         WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
    ),
    (
        "q4",
        r#"SELECT category, avg(final) AS mean FROM (
             SELECT a.id, a.category, max(b.price) AS final
             FROM auction a JOIN bid b ON a.id = b.auction
             WHERE b."dateTime" BETWEEN a."dateTime" AND a.expires
             GROUP BY a.id, a.category)
           GROUP BY category"#,
    ),
    (
        "q5",
        r#"WITH counts AS (
             SELECT auction, count(*) AS num, window_start, window_end
             FROM hop(bid, "dateTime", INTERVAL '2 seconds', INTERVAL '10 seconds')
             GROUP BY auction, window_start, window_end)
           SELECT c.auction, c.num FROM counts c
             JOIN (SELECT max(num) AS num, window_start, window_end FROM counts
                   GROUP BY window_start, window_end) m
             ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.num"#,
    ),
    (
        // Of the frame's eleven rows ten come before the current one, as published. Whether an
        // auction has closed is not asked: that is so when the input has gone on for long enough.
        "q6",
        r#"SELECT seller, avg(final) OVER (PARTITION BY seller ORDER BY "dateTime", id
             ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS mean
           FROM (SELECT *, row_number() OVER (
                   PARTITION BY id, seller ORDER BY final DESC, "dateTime") AS place
                 FROM (SELECT a.id, a.seller, b.price AS final, b."dateTime"
                       FROM auction a JOIN bid b ON a.id = b.auction
                       WHERE b."dateTime" BETWEEN a."dateTime" AND a.expires))
           WHERE place <= 1"#,
    ),
    (
        // A bid at the very end of a window is compared with the window's highest too, as published.
        "q7",
        r#"SELECT b.auction, b.price, b.bidder, b."dateTime", b.extra FROM bid b
             JOIN (SELECT max(price) AS price, window_end
                   FROM tumble(bid, "dateTime", INTERVAL '10 seconds')
                   GROUP BY window_start, window_end) m
             ON b.price = m.price
           WHERE b."dateTime" BETWEEN m.window_end - INTERVAL '10 seconds' AND m.window_end"#,
    ),
    (
        "q8",
        r#"SELECT p.id, p.name, p.window_start AS starttime FROM
             (SELECT id, name, window_start, window_end
              FROM tumble(person, "dateTime", INTERVAL '10 seconds')
              GROUP BY id, name, window_start, window_end) p
             JOIN (SELECT seller, window_start, window_end
                   FROM tumble(auction, "dateTime", INTERVAL '10 seconds')
                   GROUP BY seller, window_start, window_end) a
             ON p.id = a.seller AND p.window_start = a.window_start
               AND p.window_end = a.window_end"#,
    ),
    (
        "q9",
        r#"SELECT id, "itemName", description, "initialBid", reserve, "dateTime", expires, seller,
             category, extra, auction, bidder, price, "bid_dateTime", bid_extra
           FROM (SELECT *, row_number() OVER (
                   PARTITION BY id ORDER BY price DESC, "bid_dateTime") AS place
                 FROM (SELECT a.*, b.auction, b.bidder, b.price, b."dateTime" AS "bid_dateTime",
                         b.extra AS bid_extra
                       FROM auction a JOIN bid b ON a.id = b.auction
                       WHERE b."dateTime" BETWEEN a."dateTime" AND a.expires))
           WHERE place <= 1"#,
    ),
    (
        "q10",
        r#"SELECT auction, bidder, price, "dateTime", extra,
             to_char("dateTime", '%Y-%m-%d') AS day, to_char("dateTime", '%H:%M') AS minute
           FROM bid"#,
    ),
    (
        "q11",
        r#"SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
           FROM session(bid, "dateTime", INTERVAL '10 seconds', bidder)
           GROUP BY bidder, window_start, window_end"#,
    ),
    (
        // Published over the time of processing.
        "q12",
        r#"SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
           FROM tumble(bid, "dateTime", INTERVAL '10 seconds')
           GROUP BY bidder, window_start, window_end"#,
    ),
    (
        // Published over a file of 10,000 keys and values, looked up at the time of processing.
        "q13",
        r#"SELECT b.auction, b.bidder, b.price, b."dateTime", s.value FROM bid b
             JOIN (SELECT key, CAST(key AS TEXT) AS value
                   FROM generate_series(0, 9999) AS keys(key)) s
             ON b.auction % 10000 = s.key"#,
    ),
    (
        "q14",
        r#"SELECT auction, bidder, CAST(0.908 AS DECIMAL(4, 3)) * price AS price,
             CASE WHEN extract(hour FROM "dateTime") BETWEEN 8 AND 18 THEN 'dayTime'
                  WHEN extract(hour FROM "dateTime") <= 6 OR extract(hour FROM "dateTime") >= 20
                  THEN 'nightTime' ELSE 'otherTime' END AS "bidTimeType",
             "dateTime", extra,
             character_length(extra) - character_length(replace(extra, 'c', '')) AS c_counts
           FROM bid
           WHERE CAST(0.908 AS DECIMAL(4, 3)) * price > 1000000
             AND CAST(0.908 AS DECIMAL(4, 3)) * price < 50000000"#,
    ),
    (
        "q15",
        r#"SELECT to_char("dateTime", '%Y-%m-%d') AS day, count(*) AS total_bids,
             count(*) FILTER (WHERE price < 10000) AS rank1_bids,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
             count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
             count(DISTINCT bidder) AS total_bidders,
             count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
             count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000)
               AS rank2_bidders,
             count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
             count(DISTINCT auction) AS total_auctions,
             count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
             count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000)
               AS rank2_auctions,
             count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
           FROM bid GROUP BY to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q16",
        r#"SELECT channel, to_char("dateTime", '%Y-%m-%d') AS day,
             max(to_char("dateTime", '%H:%M')) AS minute, count(*) AS total_bids,
             count(*) FILTER (WHERE price < 10000) AS rank1_bids,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
             count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
             count(DISTINCT bidder) AS total_bidders,
             count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
             count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000)
               AS rank2_bidders,
             count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
             count(DISTINCT auction) AS total_auctions,
             count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
             count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000)
               AS rank2_auctions,
             count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
           FROM bid GROUP BY channel, to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q17",
        r#"SELECT auction, to_char("dateTime", '%Y-%m-%d') AS day, count(*) AS total_bids,
             count(*) FILTER (WHERE price < 10000) AS rank1_bids,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
             count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
             min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price,
             sum(price) AS sum_price
           FROM bid GROUP BY auction, to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q18",
        r#"SELECT auction, bidder, price, channel, url, "dateTime", extra
           FROM (SELECT *, row_number() OVER (
                   PARTITION BY bidder, auction ORDER BY "dateTime" DESC) AS place FROM bid)
           WHERE place <= 1"#,
    ),
    (
        "q19",
        r#"SELECT * FROM (SELECT *, row_number() OVER (
                   PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid)
           WHERE rank_number <= 10"#,
    ),
    (
        "q20",
        r#"SELECT b.auction, b.bidder, b.price, b.channel, b.url, b."dateTime" AS "bid_dateTime",
             b.extra AS bid_extra, a."itemName", a.description, a."initialBid", a.reserve,
             a."dateTime" AS "auction_dateTime", a.expires, a.seller, a.category,
             a.extra AS auction_extra
           FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10"#,
    ),
    (
        "q21",
        r#"SELECT auction, bidder, price, channel,
             CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
                  WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
                  ELSE regexp_match(url, '(&|^)channel_id=([^&]*)')[2] END AS channel_id
           FROM bid
           WHERE regexp_like(url, '(&|^)channel_id=([^&]*)')
              OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')"#,
    ),
    (
        "q22",
        "SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, \
         split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3 FROM bid",
    ),
];

/// Small ones beside the benchmark: what an operator can do at best.
#[allow(dead_code)] // The tests compare the benchmark's alone.
pub(super) const SMALL: [Query; 3] = [
    // From files, what reading and decoding alone take.
    ("parse", "SELECT auction FROM bid WHERE auction < 0"),
    (
        "count",
        "SELECT count(*) AS bids, sum(price) AS total, min(price) AS lowest, max(price) AS highest FROM bid",
    ),
    ("distinct", "SELECT DISTINCT auction, channel FROM bid"),
];
