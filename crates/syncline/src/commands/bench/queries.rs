//! The Nexmark queries as views over `person`, `auction` and `bid`.
//!
//! The questions are those of the Nexmark benchmark (Tucker, Tufte, Papadimos, Maier: "NEXMark – A
//! Benchmark for Queries over Data Streams") as the streaming systems of today ask them; q5, q6,
//! q10, q11, q12, q13 need windows or sources that are not there yet and are left out.

/// A query by its name.
pub(super) const QUERIES: [(&str, &str); 16] = [
    ("q0", r#"SELECT auction, bidder, price, "dateTime", extra FROM bid"#),
    ("q1", r#"SELECT auction, bidder, 0.908 * price AS price, "dateTime", extra FROM bid"#),
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
        "q7",
        r#"SELECT b.auction, b.bidder, b.price, b."dateTime" FROM
             tumble(bid, "dateTime", INTERVAL '10 seconds') b
             JOIN (SELECT window_end, max(price) AS price
                   FROM tumble(bid, "dateTime", INTERVAL '10 seconds') GROUP BY window_end) m
             ON b.window_end = m.window_end AND b.price = m.price"#,
    ),
    (
        "q8",
        r#"SELECT p.id, p.name, p.window_start FROM
             (SELECT id, name, window_start, window_end
              FROM tumble(person, "dateTime", INTERVAL '10 seconds')
              GROUP BY id, name, window_start, window_end) p
             JOIN (SELECT seller, window_start, window_end
                   FROM tumble(auction, "dateTime", INTERVAL '10 seconds')
                   GROUP BY seller, window_start, window_end) a
             ON p.id = a.seller AND p.window_start = a.window_start"#,
    ),
    (
        "q14",
        r#"SELECT auction, bidder, 0.908 * price AS price,
             CASE WHEN extract(hour FROM "dateTime") BETWEEN 8 AND 18 THEN 'dayTime'
                  WHEN extract(hour FROM "dateTime") <= 6 OR extract(hour FROM "dateTime") >= 20
                  THEN 'nightTime' ELSE 'otherTime' END AS "bidTimeType",
             "dateTime", extra
           FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000"#,
    ),
    (
        "q15",
        r#"SELECT to_char("dateTime", '%Y-%m-%d') AS day, count(*) AS total,
             count(*) FILTER (WHERE price < 10000) AS rank1,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2,
             count(*) FILTER (WHERE price >= 1000000) AS rank3,
             count(DISTINCT bidder) AS bidders,
             count(DISTINCT bidder) FILTER (WHERE price < 10000) AS bidders1,
             count(DISTINCT auction) AS auctions
           FROM bid GROUP BY to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q16",
        r#"SELECT channel, to_char("dateTime", '%Y-%m-%d') AS day,
             max(to_char("dateTime", '%H:%M')) AS minute, count(*) AS total,
             count(*) FILTER (WHERE price < 10000) AS rank1,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2,
             count(*) FILTER (WHERE price >= 1000000) AS rank3,
             count(DISTINCT bidder) AS bidders, count(DISTINCT auction) AS auctions
           FROM bid GROUP BY channel, to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q17",
        r#"SELECT auction, to_char("dateTime", '%Y-%m-%d') AS day, count(*) AS total,
             count(*) FILTER (WHERE price < 10000) AS rank1,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2,
             count(*) FILTER (WHERE price >= 1000000) AS rank3,
             min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price,
             sum(price) AS sum_price
           FROM bid GROUP BY auction, to_char("dateTime", '%Y-%m-%d')"#,
    ),
    (
        "q20",
        r#"SELECT b.auction, b.bidder, b.price, b.channel, b.url, b."dateTime" AS at, b.extra,
             a."itemName", a.description, a."initialBid", a.reserve, a.expires, a.seller
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
    (
        "count",
        "SELECT count(*) AS bids, sum(price) AS total, min(price) AS lowest, max(price) AS highest FROM bid",
    ),
    ("distinct", "SELECT DISTINCT auction, channel FROM bid"),
];
