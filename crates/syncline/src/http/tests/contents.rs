//! Views, queries, statistics.

use serde_json::json;

use super::fixture::Fixture;

const ORDERS: &str = r#"
{"id": 1, "customer": "ann", "amount": 10.5}
{"id": 2, "customer": "bob, \"the\" builder", "amount": 0.1}
{"id": 9007199254740993, "customer": "ann", "amount": 0.2}
"#;

fn with_orders() -> Fixture {
    let fixture = Fixture::start();
    let (status, taken) = fixture.post("/ingest/orders", ORDERS);
    assert_eq!((status, &taken["accepted"], &taken["rejected"]), (200, &json!(3), &json!(0)));
    fixture.wait_until("/api/v1/views/all_orders", |answer| answer["total"] == 3);
    fixture
}

#[test]
fn views_are_read_in_pages() {
    let fixture = with_orders();
    let (status, answer) = fixture.get("/api/v1/views/all_orders?limit=1&offset=1");
    assert_eq!(status, 200);
    assert_eq!((&answer["name"], &answer["total"]), (&json!("all_orders"), &json!(3)));
    assert!(answer["epoch"].as_u64().unwrap() >= 1);
    assert_eq!(answer["columns"][2], json!({"name": "amount", "type": "DOUBLE"}));
    assert_eq!(answer["rows"], json!([[2, "bob, \"the\" builder", 0.1]]));
    assert_eq!(fixture.get("/api/v1/views/all_orders?offset=3").1["rows"], json!([]));
    assert_eq!(
        fixture.get("/api/v1/views/totals").1["rows"],
        json!([["ann", 2, 10.7], ["bob, \"the\" builder", 1, 0.1]])
    );
}

#[test]
fn numbers_stay_exact() {
    let fixture = with_orders();
    let (_, text) = fixture.get_text("/api/v1/views/all_orders");
    assert!(text.contains("[9007199254740993,\"ann\",0.2]"), "{text}");
    let sql = "SELECT id * 2 AS twice, CAST(amount AS DECIMAL(10,2)) AS d \
               FROM all_orders WHERE id > 2";
    let (status, answer) = fixture.query(sql);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["rows"].to_string(), r#"[[18014398509481986,"0.20"]]"#);
}

#[test]
fn views_are_downloaded_as_csv() {
    let fixture = with_orders();
    let (status, text) = fixture.get_text("/api/v1/views/all_orders/csv");
    assert_eq!(status, 200);
    assert_eq!(
        text,
        "id,customer,amount\n1,ann,10.5\n2,\"bob, \"\"the\"\" builder\",0.1\n\
         9007199254740993,ann,0.2\n"
    );
    let head = fixture.head("/api/v1/views/all_orders/csv");
    assert!(
        head.contains("content-disposition: attachment; filename=\"all_orders.csv\""),
        "{head}"
    );
}

#[test]
fn names_that_are_not_there_are_answered_with_what_was_meant() {
    let fixture = Fixture::start();
    let check = |path: &str, expect: u16, hint: &str| {
        let (status, answer) = fixture.get(path);
        assert_eq!(status, expect, "{path}: {answer}");
        let said = answer["error"]["hint"].as_str().unwrap();
        assert!(said.contains(hint), "{path}: {said}");
    };
    check("/api/v1/views/total", 404, "did you mean `totals`?");
    check("/api/v1/views/zzz/csv", 404, "the views are: totals, all_orders, unkept");
    check("/api/v1/views/alert%20big", 404, "the views are");
    check("/api/v1/views/unkept", 409, "keep: true");
    check("/api/v1/views/unkept/csv", 409, "keep: true");
    check("/api/v1/tap?name=ordrs", 404, "did you mean `orders`?");
    check("/api/v1/events?views=totals,unkept", 404, "kept views are: totals, all_orders");
    check("/api/v1/dead-letters/s1", 404, "/api/v1/dead-letters");
    check("/api/v1/dead-letters/nonsense", 404, "/api/v1/dead-letters");
    check("/api/v1/dead-letters?class=wrong", 400, "did you mean `wrong-type`?");
    check("/api/v1/dead-letters?state=shut", 400, "it is one of: open, retried, dropped");
    check("/api/v1/pipelin", 404, "/api/v1/pipeline");
    check("/api/v1/views/totals?limit=10001", 400, "offset");
}

#[test]
fn wrong_requests_are_refused_in_json() {
    let fixture = Fixture::start();
    for path in [
        "/api/v1/views/totals?limit=-1",
        "/api/v1/views/totals?limt=1",
        "/api/v1/views/%ff",
        "/api/v1/tap",
    ] {
        let (status, answer) = fixture.get(path);
        assert_eq!(status, 400, "{path}");
        assert!(answer["error"]["message"].is_string(), "{path}: {answer}");
    }
    let (status, answer) = fixture.get("/api/v1/query");
    assert_eq!((status, &answer["error"]["message"]), (405, &json!("this path does not take GET")));
    let (status, _) = fixture.post("/", "");
    assert_eq!(status, 404);
}

#[test]
fn queries_answer() {
    let fixture = with_orders();
    let (status, answer) = fixture.query("SELECT count(*) AS n FROM all_orders");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["columns"], json!([{"name": "n", "type": "BIGINT"}]));
    assert_eq!((&answer["rows"], &answer["truncated"]), (&json!([[3]]), &json!(false)));
    assert!(answer["epoch"].as_u64().unwrap() >= 1);
}

#[test]
fn queries_that_are_wrong_are_told_so() {
    let fixture = with_orders();
    for sql in [
        "SELECT * FROM no_such_view",
        "SELEC 1",
        "SELECT nothing FROM totals",
        "SELECT * FROM unkept",
        "",
        "DROP TABLE totals",
        "INSERT INTO totals VALUES ('x', 1, 1.0)",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "SELECT 1; SELECT 2",
        "SELECT * FROM '/etc/passwd'",
    ] {
        let (status, answer) = fixture.query(sql);
        assert_eq!(status, 400, "{sql}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{sql}: {answer}");
    }
    let (_, answer) = fixture.query("SELECT * FROM no_such_view");
    assert!(answer.to_string().contains("no_such_view"), "{answer}");
    let check = |body: &str, expect: u16| {
        let (status, answer) = fixture.post("/api/v1/query", body);
        assert_eq!(status, expect, "{answer}");
    };
    check("{\"sql\": 7}", 400);
    check("{\"sql\": \"SELECT 1\", \"limit\": 7}", 400);
    check("not JSON", 400);
    check(&format!("{{\"sql\": \"SELECT 1 -- {}\"}}", "x".repeat(1 << 20)), 413);
}

#[test]
fn long_results_are_cut_and_say_so() {
    let fixture = Fixture::start();
    let orders: Vec<_> = (0..101).map(|id| json!({"id": id, "customer": "ann"})).collect();
    fixture.post("/ingest/orders", json!(orders).to_string());
    fixture.wait_until("/api/v1/views/all_orders", |answer| answer["total"] == 101);
    let (status, answer) = fixture.query("SELECT a.id FROM all_orders a CROSS JOIN all_orders b");
    assert_eq!((status, &answer["truncated"]), (200, &json!(true)));
    assert_eq!(answer["rows"].as_array().unwrap().len(), 10_000);
}

#[test]
fn statistics_and_their_history() {
    let fixture = with_orders();
    let stats = fixture.wait_until("/api/v1/stats", |stats| {
        stats["rows_total"] == 4 && stats["views"]["all_orders"]["rows"] == 3
    });
    assert_eq!(stats["state"], "running");
    assert_eq!(stats["sources"]["orders"]["rows_total"], 3);
    let history = fixture.wait_until("/api/v1/history", |history| !history["points"][0].is_null());
    assert!(history["points"][0]["time_ms"].as_i64().unwrap() > 1_600_000_000_000);
}

#[test]
fn alerts_and_what_they_did() {
    let fixture = Fixture::start();
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 2000}"#);
    let active = |alerts: &serde_json::Value| alerts["alerts"][0]["active"][0].clone();
    let alerts = fixture.wait_until("/api/v1/alerts", |alerts| !active(alerts).is_null());
    assert_eq!(alerts["alerts"][0]["name"], "big");
    assert_eq!(active(&alerts)["row"], json!([1, 2000.0]));
    assert!(active(&alerts)["since_ms"].as_i64().unwrap() > 1_600_000_000_000);
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 20}"#);
    let alerts = fixture.wait_until("/api/v1/alerts", |alerts| active(alerts).is_null());
    let history = alerts["alerts"][0]["history"].as_array().unwrap().clone();
    let events: Vec<_> = history.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["resolved", "fired"]);
}
