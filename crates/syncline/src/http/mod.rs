//! The HTTP server of a running pipeline: its page, its API, and the way in for `http` sources.
//!
//! What a request does is bounded in size, time and number, and whatever may take long or touch
//! the disk runs beside the threads that serve. The server only reads what the pipeline shows of
//! itself, hands rows to its sources, and asks for dead letters to be tried again: nothing here is
//! between a source and a sink.
//!
//! A request comes through `connections` and `guard` (may it come in?) to one of `api`, `views`,
//! `query`, `checkpoint`, `verification`, `letters`, `events`, `tap`, `ingest`, `health`, `openapi`
//! and `page`; `request` reads it and `answer` refuses it. [`routes`] lists all of them;
//! `description` is what is told of the pipeline as it stands in its file, and `past` computes what
//! its views were.

mod answer;
mod api;
mod checkpoint;
mod connections;
mod description;
mod events;
mod guard;
mod health;
mod ingest;
mod letters;
mod openapi;
mod page;
mod past;
mod query;
mod request;
mod tap;
mod verification;
mod views;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{MethodRouter, get, post, put};
use axum::{Router, middleware};
use syncline_change::Error;
use syncline_pipeline::runtime::state::Shared;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use answer::Refusal;
use connections::Connections;
pub(crate) use description::Description;

/// Requests at once; most of them wait for their rows to become durable.
const REQUESTS_MAX: usize = 1_024;
/// Streams of events at once: each page has one.
const LISTENERS_MAX: usize = 64;
/// Readers of views and dead letters at once, each of which may copy what it reads.
const READERS_MAX: usize = 8;
/// Queries at once: more would only take memory and cores from the pipeline.
const QUERIES_MAX: usize = 2;
/// Replays of the journal at once: each is as much work as the pipeline has done so far.
const REPLAYS_MAX: usize = 1;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that are under way may take after the server was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What all requests share.
struct Server {
    shared: Arc<Shared>,
    description: Description,
    readers: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    replays: Arc<Semaphore>,
    moments: past::Moments,
    verification: Arc<verification::Verification>,
    listeners: Arc<Semaphore>,
    bodies: ingest::Bodies,
    stopping: watch::Receiver<bool>,
    /// Whether only this machine can reach the server.
    is_local: bool,
}

/// Serves until `stop`, then ends streams of events, finishes what is under way, and returns.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    description: Description,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stop_tx, stopping) = watch::channel(false);
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let server = Arc::new(Server {
        description: description.running(&shared),
        shared,
        readers: Arc::new(Semaphore::new(READERS_MAX)),
        queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
        moments: past::Moments::default(),
        verification: Arc::default(),
        listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
        bodies: ingest::Bodies::new(),
        stopping: stopping.clone(),
        is_local,
    });
    let serving = axum::serve(Connections::new(listener), router(server))
        .with_graceful_shutdown(async move { stopped(&mut stopping.clone()).await })
        .into_future();
    let ending = async move {
        stop.await;
        let _ = stop_tx.send(true);
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        result = serving => result,
        () = ending => {
            tracing::warn!("some requests did not end in time and are left behind");
            Ok(())
        }
    }
}

/// Returns when the server is told to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone is the end as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// One way to call the server. The document that describes the API has exactly these.
struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "compared with the document"))]
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<Arc<Server>>,
}

fn routes() -> Vec<Route> {
    let read = |path, handler| Route { method: "get", path, handler };
    let act = |path, handler| Route { method: "post", path, handler };
    let tell = |path, handler| Route { method: "put", path, handler };
    vec![
        read("/api/v1/pipeline", get(api::pipeline)),
        read("/api/v1/stats", get(api::stats)),
        read("/api/v1/history", get(api::history)),
        read("/api/v1/alerts", get(api::alerts)),
        read("/api/v1/plan", get(api::plan)),
        read("/api/v1/checkpoint", get(checkpoint::checkpoint)),
        read("/api/v1/verification", get(verification::verification)),
        act("/api/v1/verification", post(verification::start_verification)),
        tell("/api/v1/verification", put(verification::take_verification)),
        read("/api/v1/views/{name}", get(views::view)),
        read("/api/v1/views/{name}/csv", get(views::view_csv)),
        act("/api/v1/query", post(query::query)),
        read("/api/v1/dead-letters", get(letters::dead_letters)),
        read("/api/v1/dead-letters/{id}", get(letters::dead_letter)),
        act("/api/v1/dead-letters/{id}/retry", post(letters::retry_dead_letter)),
        act("/api/v1/dead-letters/{id}/drop", post(letters::drop_dead_letter)),
        read("/api/v1/events", get(events::events)),
        read("/api/v1/tap", get(tap::tap)),
        act("/ingest/{source}", post(ingest::ingest)),
        read("/metrics", get(health::metrics)),
        read("/healthz", get(health::healthz)),
        read("/readyz", get(health::readyz)),
        read(openapi::PATH, get(openapi::openapi)),
    ]
}

fn router(server: Arc<Server>) -> Router {
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler);
    }
    router
        .fallback(page::page)
        .method_not_allowed_fallback(guard::wrong_method)
        .layer(middleware::from_fn_with_state(requests, guard::limit))
        .layer(middleware::from_fn_with_state(server.clone(), guard::admit))
        .layer(middleware::from_fn(guard::add_headers))
        .with_state(server)
}

impl Server {
    /// Runs `work`, which reads views or files, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = turn(&self.readers).await?;
        self.off_thread(turn, work).await
    }

    /// Runs `work`, which holds its turn even if nobody waits for its result any more.
    async fn off_thread<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&shared);
            drop(turn);
            result
        });
        done.await.unwrap_or_else(|error| {
            Err(Error::bug("the request could not be carried out").detail(error.to_string()).into())
        })
    }

    /// A place among those who listen to events, for as long as the permit is held.
    fn listen(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.listeners.clone().try_acquire_owned().map_err(|_| {
            Refusal::busy("too many listen already")
                .detail(format!("there are {LISTENERS_MAX} streams of events at most"))
                .hint("close pages that nobody looks at")
                .retry_after_s(5)
        })
    }
}

/// Waits for one of a few places.
async fn turn(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    match tokio::time::timeout(TURN_TIMEOUT, places.clone().acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(Refusal::busy("too many requests like this one are under way")),
    }
}

#[cfg(test)]
mod tests;
