#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use std::sync::mpsc;

use arrow::array::{RecordBatch, TimestampMillisecondArray};

use crate::decode::tests::schema;

use super::*;

fn pace(settings: serde_json::Value) -> Result<Option<Pace>> {
    let mut config = serde_json::json!({"path": "a", "format": "csv",
        "event_time": {"column": "t"}, "replay": {"speed": 1.0}});
    for (name, value) in settings.as_object().unwrap() {
        config[name] = value.clone();
    }
    Pace::new(&serde_json::from_value(config).unwrap(), &schema("t TIMESTAMP"))
}

fn pacer(clock: &Arc<ReplayClock>, speed: f64, from: Option<&str>) -> Pacer {
    let replay = serde_json::json!({"replay": {"speed": speed, "from": from}});
    pace(replay).unwrap().unwrap().join(clock)
}

const SECOND: i64 = 1_000_000;

#[test]
fn settings_that_cannot_be_meant() {
    for (settings, message) in [
        (serde_json::json!({"replay": {"speed": 0.0}}), "`replay.speed` cannot be 0"),
        (
            serde_json::json!({"follow": true}),
            "`replay` paces a bounded input, and `follow` makes it endless",
        ),
        (serde_json::json!({"event_time": null}), "`replay` needs the source's `event_time`"),
        (serde_json::json!({"event_time": {"column": "tt"}}), "there is no column `tt`"),
        (
            serde_json::json!({"replay": {"speed": 1.0, "from": "noon"}}),
            "`replay.from`: `noon` is not a time",
        ),
    ] {
        assert_eq!(pace(settings).err().unwrap().message(), message);
    }
    assert!(pace(serde_json::json!({"replay": null})).unwrap().is_none());
}

#[test]
fn event_times_of_any_unit() {
    let clock = Arc::new(ReplayClock::new());
    let times = TimestampMillisecondArray::from(vec![Some(1_500), None]);
    let rows = RecordBatch::try_from_iter([("t", Arc::new(times) as _)]).unwrap();
    let times = pacer(&clock, 1.0, None).event_times(&Batch::inserts(rows)).unwrap();
    assert_eq!(times, [Some(1_500_000), None]);
}

#[test]
fn rows_are_due_by_the_clock() {
    let clock = Arc::new(ReplayClock::new());
    let mut pacer = pacer(&clock, 10.0, None);
    let times = [Some(0), None, Some(-5), Some(SECOND), Some(SECOND), Some(2 * SECOND)];
    let began = Instant::now();
    assert_eq!(pacer.wait(&times, &|| false), Some(3), "at once, with their neighbours");
    assert_eq!(pacer.wait(&times[3..], &|| false), Some(2));
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(pacer.wait(&times[5..], &|| false), Some(1));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_fast_replay_goes_in_steps() {
    let clock = Arc::new(ReplayClock::new());
    let mut pacer = pacer(&clock, 1_000.0, None);
    // A row each millisecond of real time.
    let times: Vec<_> = (0..200).map(|i| Some(i * SECOND)).collect();
    let (mut sent, mut steps) = (0, 0);
    while sent < times.len() {
        sent += pacer.wait(&times[sent..], &|| false).unwrap();
        steps += 1;
    }
    assert!(steps <= 5, "200 ms are four steps and the first row, not {steps}");
}

#[test]
fn what_is_before_the_start_passes_at_once() {
    let clock = Arc::new(ReplayClock::new());
    let mut late = pacer(&clock, 1.0, Some("1970-01-01 01:00:00"));
    let hour = 3_600 * SECOND;
    let times = [Some(0), None, Some(hour - 1), Some(hour), None];
    assert_eq!(late.wait(&times, &|| false), Some(3));
    assert_eq!(late.wait(&times[3..], &|| false), Some(2), "the clock starts there");
}

#[test]
fn the_clock_waits_for_all_and_starts_at_the_earliest() {
    let clock = Arc::new(ReplayClock::new());
    let (mut early, mut late) = (pacer(&clock, 10.0, None), pacer(&clock, 10.0, None));
    let without_rows = pacer(&clock, 10.0, None);
    let (order, arrived) = mpsc::channel();
    let second = order.clone();
    let waiting = std::thread::spawn(move || {
        late.wait(&[Some(SECOND)], &|| false).unwrap();
        second.send("late").unwrap();
    });
    let first = std::thread::spawn(move || {
        early.wait(&[Some(0)], &|| false).unwrap();
        order.send("early").unwrap();
    });
    assert!(arrived.recv_timeout(Duration::from_millis(150)).is_err(), "one has not begun");
    drop(without_rows);
    assert_eq!(arrived.recv(), Ok("early"));
    assert_eq!(arrived.recv(), Ok("late"));
    waiting.join().unwrap();
    first.join().unwrap();
}

#[test]
fn waiting_can_be_cancelled() {
    let clock = Arc::new(ReplayClock::new());
    let mut pacer = pacer(&clock, 0.001, None);
    let _other = clock.join();
    assert_eq!(pacer.wait(&[Some(0)], &|| true), None, "while others have not begun");
    drop(_other);
    assert_eq!(pacer.wait(&[Some(0)], &|| false), Some(1));
    assert_eq!(pacer.wait(&[Some(SECOND)], &|| true), None, "while rows are not due");
}
