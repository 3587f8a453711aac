-- The Nexmark queries as DuckDB understands them, written anew from what they ask.
-- Windows, sessions and winning bids are found in other ways than Syncline finds them, and ties are
-- broken by all columns that Syncline breaks them by.

-- q0
SELECT auction, bidder, price, "dateTime", extra FROM bid;

-- q1
SELECT auction, bidder, 0.908 * price AS price, "dateTime", extra FROM bid;

-- q2
SELECT auction, price FROM bid WHERE auction % 123 = 0;

-- q3
SELECT name, city, state, a.id FROM person p, auction a
WHERE p.id = a.seller AND a.category = 10 AND state IN ('OR', 'ID', 'CA');

-- q4
WITH sold AS (
    SELECT a.id, any_value(a.category) AS category, max(b.price) AS final
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" >= a."dateTime"
        AND b."dateTime" <= a.expires
    GROUP BY a.id)
SELECT category, avg(final) AS mean FROM sold GROUP BY category;

-- q5
WITH starts AS (
    SELECT unnest(generate_series(
        (SELECT time_bucket(INTERVAL '2 seconds', min("dateTime")) - INTERVAL '10 seconds' FROM bid),
        (SELECT max("dateTime") FROM bid), INTERVAL '2 seconds')) AS start),
counts AS (
    SELECT start, auction, count(*) AS num
    FROM starts JOIN bid ON "dateTime" >= start AND "dateTime" < start + INTERVAL '10 seconds'
    GROUP BY start, auction)
SELECT auction, num FROM counts QUALIFY num = max(num) OVER (PARTITION BY start);

-- q6
WITH won AS (
    SELECT DISTINCT ON (a.id) a.id, a.seller, b.price, b."dateTime" AS sold
    FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
    ORDER BY a.id, b.price DESC, b."dateTime")
SELECT seller, avg(price) OVER (
    PARTITION BY seller ORDER BY sold, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS mean
FROM won;

-- q7
WITH highest AS (
    SELECT time_bucket(INTERVAL '10 seconds', "dateTime") AS start, max(price) AS price
    FROM bid GROUP BY start)
SELECT auction, b.price, bidder, "dateTime", extra FROM bid b, highest h
WHERE b.price = h.price AND "dateTime" >= start AND "dateTime" <= start + INTERVAL '10 seconds';

-- q8
SELECT DISTINCT p.id, p.name, time_bucket(INTERVAL '10 seconds', p."dateTime") AS starttime
FROM person p SEMI JOIN auction a ON p.id = a.seller
    AND time_bucket(INTERVAL '10 seconds', p."dateTime")
        = time_bucket(INTERVAL '10 seconds', a."dateTime");

-- q9
SELECT DISTINCT ON (a.id) a.*, b.auction, b.bidder, b.price, b."dateTime" AS "bid_dateTime",
    b.extra AS bid_extra
FROM auction a JOIN bid b ON a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
ORDER BY a.id, b.price DESC, b."dateTime", b.bidder, b.extra;

-- q10
SELECT auction, bidder, price, "dateTime", extra, strftime("dateTime", '%Y-%m-%d') AS day,
    strftime("dateTime", '%H:%M') AS minute
FROM bid;

-- q11
WITH opened AS (
    SELECT bidder, "dateTime", coalesce("dateTime" - lag("dateTime") OVER (
        PARTITION BY bidder ORDER BY "dateTime") >= INTERVAL '10 seconds', true) AS opens
    FROM bid),
numbered AS (
    SELECT bidder, "dateTime",
        count(*) FILTER (WHERE opens) OVER (PARTITION BY bidder ORDER BY "dateTime") AS session
    FROM opened)
SELECT bidder, count(*) AS bid_count, min("dateTime") AS starttime,
    max("dateTime") + INTERVAL '10 seconds' AS endtime
FROM numbered GROUP BY bidder, session;

-- q12
SELECT bidder, count(*) AS bid_count, time_bucket(INTERVAL '10 seconds', "dateTime") AS starttime,
    starttime + INTERVAL '10 seconds' AS endtime
FROM bid GROUP BY bidder, starttime;

-- q13
SELECT auction, bidder, price, "dateTime", (auction % 10000)::VARCHAR AS value FROM bid;

-- q14
SELECT auction, bidder, 0.908 * price AS price,
    CASE WHEN hour("dateTime") IN (7, 19) THEN 'otherTime'
        WHEN hour("dateTime") BETWEEN 8 AND 18 THEN 'dayTime' ELSE 'nightTime' END AS "bidTimeType",
    "dateTime", extra, len(regexp_extract_all(extra, 'c')) AS c_counts
FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;

-- q15
SELECT strftime("dateTime", '%Y-%m-%d') AS day, count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids,
    count(DISTINCT bidder) AS total_bidders,
    count(DISTINCT bidder) FILTER (price < 10000) AS rank1_bidders,
    count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS rank2_bidders,
    count(DISTINCT bidder) FILTER (price >= 1000000) AS rank3_bidders,
    count(DISTINCT auction) AS total_auctions,
    count(DISTINCT auction) FILTER (price < 10000) AS rank1_auctions,
    count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS rank2_auctions,
    count(DISTINCT auction) FILTER (price >= 1000000) AS rank3_auctions
FROM bid GROUP BY day;

-- q16
SELECT channel, strftime("dateTime", '%Y-%m-%d') AS day,
    max(strftime("dateTime", '%H:%M')) AS minute, count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids,
    count(DISTINCT bidder) AS total_bidders,
    count(DISTINCT bidder) FILTER (price < 10000) AS rank1_bidders,
    count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS rank2_bidders,
    count(DISTINCT bidder) FILTER (price >= 1000000) AS rank3_bidders,
    count(DISTINCT auction) AS total_auctions,
    count(DISTINCT auction) FILTER (price < 10000) AS rank1_auctions,
    count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS rank2_auctions,
    count(DISTINCT auction) FILTER (price >= 1000000) AS rank3_auctions
FROM bid GROUP BY channel, day;

-- q17
SELECT auction, strftime("dateTime", '%Y-%m-%d') AS day, count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids,
    min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price,
    sum(price)::BIGINT AS sum_price
FROM bid GROUP BY auction, day;

-- q18
SELECT DISTINCT ON (bidder, auction) auction, bidder, price, channel, url, "dateTime", extra
FROM bid ORDER BY bidder, auction, "dateTime" DESC, price, channel, url, extra;

-- q19
SELECT *, row_number() OVER (
    PARTITION BY auction ORDER BY price DESC, bidder, channel, url, "dateTime", extra) AS rank_number
FROM bid QUALIFY rank_number <= 10;

-- q20
SELECT auction, bidder, price, channel, url, b."dateTime" AS "bid_dateTime", b.extra AS bid_extra,
    "itemName", description, "initialBid", reserve, a."dateTime" AS "auction_dateTime", expires,
    seller, category, a.extra AS auction_extra
FROM bid b, auction a WHERE b.auction = a.id AND a.category = 10;

-- q21
WITH named AS (
    SELECT *, list_position(['apple', 'google', 'facebook', 'baidu'], lower(channel)) AS known,
        regexp_extract(url, '(?:&|^)channel_id=([^&]*)', 1) AS id,
        regexp_matches(url, '(?:&|^)channel_id=([^&]*)') AS has_id
    FROM bid)
SELECT auction, bidder, price, channel,
    CASE WHEN known > 0 THEN (known - 1)::VARCHAR WHEN has_id THEN id END AS channel_id
FROM named WHERE known > 0 OR has_id;

-- q22
SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1,
    split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3
FROM bid;
