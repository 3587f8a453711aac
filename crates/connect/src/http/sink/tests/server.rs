//! A server that answers one request after another as it was told, and remembers them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub(super) struct Reply {
    status: u16,
    header: String,
    body: &'static str,
    kind: ReplyKind,
}

#[derive(PartialEq)]
enum ReplyKind {
    Answer,
    Silence,
    HangUp,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, header: String::new(), body: "", kind: ReplyKind::Answer }
    }

    /// Takes the request and never answers.
    pub(super) fn silence() -> Self {
        Self { kind: ReplyKind::Silence, ..Self::status(0) }
    }

    /// Takes the request and closes the connection.
    pub(super) fn hang_up() -> Self {
        Self { kind: ReplyKind::HangUp, ..Self::status(0) }
    }

    pub(super) fn header(self, header: &str) -> Self {
        Self { header: format!("{header}\r\n"), ..self }
    }

    pub(super) fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }
}

pub(super) struct Request {
    pub(super) line: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }
}

pub(super) struct Server {
    pub(super) url: String,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Request>>,
}

impl Server {
    pub(super) fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stopped = stopped.clone();
            move || serve(&listener, replies, &stopped)
        });
        let url = format!("http://127.0.0.1:{}/hook?token=query-secret", address.port());
        Self { url, address, stopped, thread }
    }

    /// Stops, and hands out the requests that came.
    pub(super) fn finish(self) -> Vec<Request> {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread up if it waits for a connection.
        drop(TcpStream::connect(self.address));
        self.thread.join().unwrap()
    }
}

fn serve(listener: &TcpListener, replies: Vec<Reply>, stopped: &AtomicBool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut silent = Vec::new();
    for reply in replies {
        let (connection, _) = listener.accept().unwrap();
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let mut reader = BufReader::new(connection);
        requests.push(read(&mut reader));
        let mut connection = reader.into_inner();
        match reply.kind {
            ReplyKind::Answer => {
                let (status, header, body) = (reply.status, reply.header, reply.body);
                let length = if status == 204 {
                    String::new()
                } else {
                    format!("content-length: {}\r\n", body.len())
                };
                write!(
                    connection,
                    "HTTP/1.1 {status} -\r\n{header}{length}connection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
            ReplyKind::Silence => silent.push(connection),
            ReplyKind::HangUp => {}
        }
    }
    requests
}

fn read(from: &mut BufReader<TcpStream>) -> Request {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        from.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    from.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    Request { line: line.trim_end().to_owned(), headers, body }
}
