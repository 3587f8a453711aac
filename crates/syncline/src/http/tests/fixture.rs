//! A pipeline that runs in a folder of its own, and a client for it.

#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use syncline_pipeline::file::Pipeline;
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::runtime::state::Shared;
use syncline_pipeline::runtime::{RunOptions, Running};
use syncline_pipeline::vars::Vars;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{Description, serve};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const SECRET: &str = "swordfish-and-chips";

pub(super) const PIPELINE: &str = "
name: orders
sources:
  orders:
    type: http
    columns: {id: BIGINT, customer: TEXT, amount: DOUBLE}
    primary_key: [id]
    max_body: 64KiB
    on_error: dead-letter
  towns:
    type: file
    path: towns.csv
    format: csv
views:
  totals: SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer
  all_orders: SELECT id, customer, amount FROM orders
  unkept: SELECT id FROM orders
sinks:
  out: {from: unkept, type: file, path: out.json, format: json, mode: changes}
alerts:
  big:
    when: SELECT id, amount FROM orders WHERE amount > 1000
    notify: [{type: log}]
";

pub(super) struct Fixture {
    runtime: Runtime,
    running: Option<Running>,
    server: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
    pub(super) shared: Arc<Shared>,
    address: SocketAddr,
    agent: ureq::Agent,
    text: String,
    dir: Option<tempfile::TempDir>,
}

impl Fixture {
    pub(super) fn start() -> Self {
        Self::of(PIPELINE)
    }

    pub(super) fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("towns.csv"), "town\nOslo\n").unwrap();
        Self::run(text, dir)
    }

    fn run(text: &str, dir: tempfile::TempDir) -> Self {
        let vars = Vars::with(HashMap::from([("TOKEN".to_owned(), SECRET.to_owned())]));
        let pipeline = Pipeline::parse(text, dir.path(), &vars).unwrap();
        let prepared = Prepared::new(pipeline).unwrap();
        let description = Description::new(&prepared).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let options = RunOptions { workers: Some(1), ..Default::default() };
        let running = Running::start(prepared, &options).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = running.shared().clone();
        let (stop, stopped) = oneshot::channel();
        let serving = serve(listener, shared.clone(), description, async {
            let _ = stopped.await;
        });
        let server = Some((stop, runtime.spawn(serving)));
        drop(entered);
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE));
        let agent = config.build().into();
        let text = text.to_owned();
        Self {
            runtime,
            running: Some(running),
            server,
            shared,
            address,
            agent,
            text,
            dir: Some(dir),
        }
    }

    /// The same pipeline again, over what it left on disk.
    pub(super) fn restart(mut self) -> Self {
        let (text, dir) = (self.text.clone(), self.dir.take().unwrap());
        // Nobody may hold the data directory any more.
        drop(self);
        Self::run(&text, dir)
    }

    /// Stops the server, then the pipeline; returns what the server returned.
    pub(super) fn stop(&mut self) -> Option<std::io::Result<()>> {
        let served = self.server.take().map(|(stop, serving)| {
            let _ = stop.send(());
            self.runtime.block_on(serving).unwrap()
        });
        if let Some(running) = self.running.take() {
            // Some tests make the pipeline fail: what it says of that is not looked at here.
            let _ = self.runtime.block_on(running.stop());
        }
        served
    }

    pub(super) fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path);
        let value = serde_json::from_str(&text);
        (status, value.unwrap_or_else(|error| panic!("{path}: {error}: {text}")))
    }

    pub(super) fn get_text(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    }

    pub(super) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let mut response = self.agent.post(url).send(body.as_ref()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let value = serde_json::from_str(&text);
        (
            response.status().as_u16(),
            value.unwrap_or_else(|error| panic!("{path}: {error}: {text}")),
        )
    }

    pub(super) fn put(&self, path: &str, body: impl AsRef<[u8]>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.address);
        let mut response = self.agent.put(url).send(body.as_ref()).unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    }

    pub(super) fn query(&self, sql: &str) -> (u16, Value) {
        self.post("/api/v1/query", serde_json::json!({ "sql": sql }).to_string())
    }

    /// Asks again until the answer is as it should be.
    pub(super) fn wait_until(&self, path: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (_, answer) = self.get(path);
            if accept(&answer) {
                return answer;
            }
            assert!(start.elapsed() < PATIENCE, "{path} goes on answering {answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a request as it stands and returns the status and everything else.
    pub(super) fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect(request);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (status_of(&answer), answer)
    }

    /// Status line and headers, in lower case.
    pub(super) fn head(&self, path: &str) -> String {
        let (_, answer) = self.raw(&format!("HEAD {path} HTTP/1.0\r\nhost: localhost\r\n\r\n"));
        answer.to_lowercase()
    }

    fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Opens a stream and returns it once its headers are there.
    pub(super) fn stream(&self, path: &str, accept: &str) -> Stream {
        // In HTTP/1.0 the body is sent as it is.
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
        let mut reader = BufReader::new(self.connect(&request));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "the stream ended in its headers");
        }
        let (status, opened) = (status_of(&head), Instant::now());
        Stream { status, head: head.to_lowercase(), opened, reader }
    }

    pub(super) fn events(&self, path: &str) -> Stream {
        let stream = self.stream(path, "text/event-stream");
        assert_eq!(stream.status, 200, "{path}");
        assert!(stream.head.contains("content-type: text/event-stream"), "{}", stream.head);
        stream
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop();
    }
}

fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
}

/// A response that goes on.
pub(super) struct Stream {
    pub(super) status: u16,
    pub(super) head: String,
    opened: Instant,
    reader: BufReader<TcpStream>,
}

impl Stream {
    /// The next line without its end; `None` when the server has ended the stream.
    pub(super) fn line(&mut self) -> Option<String> {
        // Heartbeats and figures come all the time: what a test waits for might never do.
        assert!(self.opened.elapsed() < PATIENCE, "the stream goes on without what is waited for");
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }

    /// The next event and its data.
    pub(super) fn event(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        loop {
            let line = self.line()?;
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// The data of the next event called `name`.
    pub(super) fn wait_for(&mut self, name: &str) -> Value {
        self.wait_for_that(name, |_| true)
    }

    pub(super) fn wait_for_that(&mut self, name: &str, accept: impl Fn(&Value) -> bool) -> Value {
        while let Some((event, data)) = self.event() {
            if event == name && accept(&data) {
                return data;
            }
        }
        panic!("the stream ended before an event `{name}`")
    }
}
