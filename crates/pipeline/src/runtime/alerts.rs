//! Alerts: standing queries that tell somebody when a row appears and when it goes. Whoever is told of
//! alerts by a webhook is also told when a verification finds that something differs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use syncline_change::row::RowCodec;
use syncline_change::{Result, json as rows_json};
use syncline_engine::{Circuit, StepOutput};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use super::retry::Backoff;
use super::sources::until;
use super::state::Shared;
use super::status::Event;
use crate::file::spec::{Notify, Webhook};
use crate::prepare::{Prepared, alert_view};
use crate::verify::report::Report;

/// How much of an alert's past is kept for the page.
const HISTORY_MAX: usize = 200;
/// Notices that wait to be sent; beyond that, new ones are logged and dropped.
const NOTICES_QUEUED_MAX: usize = 1_000;
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
const WEBHOOK_TRIES_MAX: u32 = 6;
/// Differences of a verification that are told; of how many there are, more is not said.
const MISMATCHES_TOLD_MAX: usize = 20;
/// Epochs of which it is remembered that their verification was told of.
const EPOCHS_TOLD_MAX: usize = 1_000;

/// All alerts of a pipeline and which rows fire now.
pub struct Alerts {
    alerts: Vec<Alert>,
    notices: mpsc::Sender<Notice>,
    outbox: Mutex<Option<mpsc::Receiver<Notice>>>,
    /// The epochs as of which a verification found that something differs.
    differing: Mutex<BTreeSet<u64>>,
}

struct Alert {
    name: String,
    /// The number of its view in the circuit.
    view: usize,
    /// Columns by which a row that changes is still the same alert.
    key: Option<Vec<usize>>,
    codec: Option<RowCodec>,
    firing: Mutex<Firing>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Firing {
    /// Encoded key to the row, how often it is there, and since when.
    #[serde(with = "entries")]
    active: BTreeMap<Vec<u8>, (Value, i64, i64)>,
    history: VecDeque<AlertEvent>,
}

/// Keys that are bytes, which JSON has no objects of.
mod entries {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<Vec<u8>, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Vec<u8>, V>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

/// Something that an alert did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlertEvent {
    pub at_us: i64,
    pub fired: bool,
    pub row: Value,
}

/// What an alert looks like now.
#[derive(Clone, Debug)]
pub struct AlertStatus {
    pub name: String,
    pub view: usize,
    /// Rows that fire, and since when.
    pub active: Vec<(Value, i64)>,
    pub history: Vec<AlertEvent>,
}

/// Something to tell somebody.
enum Notice {
    Alert(AlertNotice),
    /// A verification found differences; what is posted of it.
    Mismatch(Value),
}

struct AlertNotice {
    alert: String,
    fired: bool,
    row: Value,
    at_us: i64,
}

impl Alerts {
    pub(super) fn new(prepared: &Prepared, circuit: &Circuit) -> Self {
        let (notices, outbox) = mpsc::channel(NOTICES_QUEUED_MAX);
        let alerts = prepared.pipeline.spec.alerts.keys().filter_map(|name| {
            let wanted = alert_view(name);
            let view = circuit.views().iter().position(|view| view.name == wanted)?;
            let info = &circuit.views()[view];
            let key = info.key.clone().filter(|key| !key.is_empty());
            let schema = match &key {
                Some(key) => Arc::new(info.schema.project(key).ok()?),
                None => info.schema.clone(),
            };
            let codec = RowCodec::new(schema).ok();
            Some(Alert { name: name.clone(), view, key, codec, firing: Mutex::default() })
        });
        Self {
            alerts: alerts.collect(),
            notices,
            outbox: Mutex::new(Some(outbox)),
            differing: Mutex::default(),
        }
    }

    /// Tells all webhooks of the differences that a verification of the run has found; not of those as of
    /// an epoch of which they have been told before. A report without any is passed over.
    pub fn tell_verified(&self, report: &Report, at_us: i64) {
        if report.mismatches.is_empty() || !self.is_first_of(report.epoch) {
            return;
        }
        let told = &report.mismatches[..report.mismatches.len().min(MISMATCHES_TOLD_MAX)];
        let body = json!({
            "pipeline": report.pipeline,
            "event": "mismatch",
            "epoch": report.epoch,
            "differences": report.mismatches.len(),
            "mismatches": told,
            "at": moment(at_us),
        });
        if self.notices.try_send(Notice::Mismatch(body)).is_err() {
            tracing::error!("too many notices wait: that of a verification is dropped");
        }
    }

    /// Whether nobody was told of this epoch yet.
    fn is_first_of(&self, epoch: u64) -> bool {
        let mut differing = self.differing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = differing.insert(epoch);
        while differing.len() > EPOCHS_TOLD_MAX {
            differing.pop_first();
        }
        is_first
    }

    /// Takes in an epoch's changes. Only what is new is told.
    pub(super) fn apply(
        &self,
        output: &StepOutput,
        at_us: i64,
        is_new: bool,
        events: &broadcast::Sender<Event>,
    ) -> Result<()> {
        for alert in &self.alerts {
            let happened = alert.apply(output, at_us)?;
            for event in happened.into_iter().filter(|_| is_new) {
                let word = if event.fired { "fired" } else { "resolved" };
                tracing::debug!(alert = alert.name, row = %event.row, "{word}");
                let _ = events.send(Event::Alert {
                    name: alert.name.clone(),
                    fired: event.fired,
                    row: event.row.clone(),
                    at_us,
                });
                let notice = AlertNotice {
                    alert: alert.name.clone(),
                    fired: event.fired,
                    row: event.row,
                    at_us,
                };
                if self.notices.try_send(Notice::Alert(notice)).is_err() {
                    tracing::error!(
                        alert = alert.name,
                        "too many notices wait: this one is dropped"
                    );
                }
            }
        }
        Ok(())
    }

    /// What fires now, and did lately, by alert: for a checkpoint.
    pub(super) fn firing(&self) -> BTreeMap<String, Firing> {
        let firing = self.alerts.iter().map(|alert| {
            let firing = alert.firing.lock().unwrap_or_else(PoisonError::into_inner);
            (alert.name.clone(), firing.clone())
        });
        firing.collect()
    }

    /// Goes on from what fired at a checkpoint.
    pub(super) fn set_firing(&self, mut all: BTreeMap<String, Firing>) {
        for alert in &self.alerts {
            let mut firing = alert.firing.lock().unwrap_or_else(PoisonError::into_inner);
            *firing = all.remove(&alert.name).unwrap_or_default();
        }
    }

    /// Every alert with what fires now and what happened lately, newest first.
    pub fn status(&self) -> Vec<AlertStatus> {
        let status = self.alerts.iter().map(|alert| {
            let firing = alert.firing.lock().unwrap_or_else(PoisonError::into_inner);
            AlertStatus {
                name: alert.name.clone(),
                view: alert.view,
                active: firing
                    .active
                    .values()
                    .map(|(row, _, since)| (row.clone(), *since))
                    .collect(),
                history: firing.history.iter().rev().cloned().collect(),
            }
        });
        status.collect()
    }

    /// How many rows fire, by alert.
    pub fn active(&self) -> IndexMap<String, usize> {
        let active = self.alerts.iter().map(|alert| {
            let firing = alert.firing.lock().unwrap_or_else(PoisonError::into_inner);
            (alert.name.clone(), firing.active.len())
        });
        active.collect()
    }
}

impl Alert {
    fn apply(&self, output: &StepOutput, at_us: i64) -> Result<Vec<AlertEvent>> {
        let Some(codec) = &self.codec else { return Ok(vec![]) };
        let mut firing = self.firing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut gone, mut come) = (BTreeMap::new(), Vec::new());
        for change in &output.views[self.view] {
            let keys = match &self.key {
                Some(key) => codec.encode_batch(&change.rows().project(key)?)?,
                None => codec.encode_batch(change.rows())?,
            };
            let objects = rows_json::objects(change.rows())?;
            for (i, object) in objects.into_iter().enumerate() {
                let key = keys.row(i).data().to_vec();
                let weight = change.weight(i);
                let entry = firing.active.entry(key.clone()).or_insert((object.clone(), 0, at_us));
                entry.1 += weight;
                match (weight > 0, entry.1) {
                    (true, _) => {
                        entry.0 = object.clone();
                        come.push((key, object));
                    }
                    (false, 0) => {
                        let (_, _, since) = *entry;
                        firing.active.remove(&key);
                        gone.insert(key, (object, since));
                    }
                    (false, _) => {}
                }
            }
        }
        let mut events = Vec::new();
        for (key, object) in come {
            // A row that changed is the same alert, since the same time.
            if let Some((_, since)) = gone.remove(&key) {
                if let Some(entry) = firing.active.get_mut(&key) {
                    entry.2 = since;
                }
                continue;
            }
            if firing.active.get(&key).is_some_and(|(_, count, _)| *count == 1) {
                events.push(AlertEvent { at_us, fired: true, row: object });
            }
        }
        events.extend(gone.into_values().map(|(object, _)| AlertEvent {
            at_us,
            fired: false,
            row: object,
        }));
        for event in &events {
            firing.history.push_back(event.clone());
            if firing.history.len() > HISTORY_MAX {
                firing.history.pop_front();
            }
        }
        Ok(events)
    }
}

/// Starts the task that tells people.
pub(super) fn spawn(
    prepared: &Prepared,
    shared: &Arc<Shared>,
    computed: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let notify: BTreeMap<String, Vec<Notify>> = prepared
        .pipeline
        .spec
        .alerts
        .iter()
        .map(|(name, alert)| (name.clone(), alert.notify.clone()))
        .collect();
    let pipeline = prepared.pipeline.spec.name.clone();
    let shared = shared.clone();
    tokio::spawn(async move {
        let outbox = {
            let mut outbox = shared.alerts.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            outbox.take()
        };
        let Some(mut outbox) = outbox else { return };
        loop {
            tokio::select! {
                biased;
                Some(notice) = outbox.recv() => match notice {
                    Notice::Mismatch(body) => {
                        for webhook in webhooks(&notify) {
                            post("verification", webhook, body.clone(), &shared).await;
                        }
                    }
                    Notice::Alert(notice) => tell(&pipeline, &notify, &notice, &shared).await,
                },
                // Nothing more can happen, and all that did is told.
                () = until(computed.clone()) => return,
            }
        }
    })
}

async fn tell(
    pipeline: &str,
    notify: &BTreeMap<String, Vec<Notify>>,
    notice: &AlertNotice,
    shared: &Shared,
) {
    let event = if notice.fired { "fired" } else { "resolved" };
    let mut is_logged = false;
    for way in notify.get(&notice.alert).into_iter().flatten() {
        match way {
            Notify::Log(_) => is_logged = true,
            Notify::Webhook(webhook) => {
                let body = json!({
                    "pipeline": pipeline,
                    "alert": notice.alert,
                    "event": event,
                    "row": notice.row,
                    "at": moment(notice.at_us),
                });
                post(&notice.alert, webhook, body, shared).await;
            }
        }
    }
    // An alert that nobody is told of is told to the log.
    if is_logged || notify.get(&notice.alert).is_none_or(Vec::is_empty) {
        tracing::warn!(alert = notice.alert, row = %notice.row, "alert {event}");
    } else {
        tracing::info!(alert = notice.alert, row = %notice.row, "alert {event}");
    }
}

/// All webhooks of the pipeline, each once.
fn webhooks(notify: &BTreeMap<String, Vec<Notify>>) -> Vec<&Webhook> {
    let mut webhooks = Vec::new();
    for way in notify.values().flatten() {
        if let Notify::Webhook(webhook) = way
            && !webhooks.contains(&webhook)
        {
            webhooks.push(webhook);
        }
    }
    webhooks
}

/// RFC 3339, if the time is one of its years.
fn moment(at_us: i64) -> Option<String> {
    rows_json::timestamp(at_us, arrow::datatypes::TimeUnit::Microsecond).map(rows_json::rfc3339)
}

/// Posts something about `of`, a few times if need be.
async fn post(of: &str, webhook: &Webhook, body: Value, shared: &Shared) {
    let mut backoff = Backoff::tries(WEBHOOK_TRIES_MAX);
    loop {
        let Webhook { url, headers } = webhook.clone();
        let body = body.to_string();
        let sent = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(WEBHOOK_TIMEOUT)).build().into();
            let mut request = agent.post(&url).header("content-type", "application/json");
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            request.send(body).map(|_| ()).map_err(|error| error.to_string())
        });
        match sent.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                shared.count_error(syncline_change::ErrorKind::Unavailable);
                if !backoff.may_try_again() {
                    tracing::error!(alert = of, "the webhook could not be told: {error}");
                    return;
                }
                tracing::warn!(alert = of, "the webhook did not answer, trying again: {error}");
                backoff.wait().await;
            }
            Err(_) => return,
        }
    }
}
