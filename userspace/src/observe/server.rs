//! The listener: `GET /metrics`, `/healthz` and `/readyz` (RFC 9110, 9112), on a thread of its own.
//!
//! A request is answered on the spot and its connection closed. Whoever connects and does not ask costs a place for some seconds, and
//! makes room, the oldest first, when all are taken: a scrape always gets one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Exporter, Health, Sources};

/// An address that is bound; nothing is answered yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// The thread that answers; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The address cannot be bound.
    #[error("cannot listen on {addr} for metrics (another run? --metrics-listen ADDR:PORT, or off)")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no thread left.
    #[error("cannot start the thread for metrics")]
    Thread(#[source] io::Error),
}

struct Shared {
    sources: Sources,
    /// Taken by one thread only, and never across an await.
    state: Mutex<(Exporter, Health)>,
}

impl Listener {
    /// Binds `addr`.
    pub fn bind(addr: SocketAddr) -> Result<Self, ObserveError> {
        let bound = TcpListener::bind(addr).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        bound.map(Self).map_err(|source| ObserveError::Listen { addr, source })
    }

    /// The address, with its port where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Server {
    /// Starts the thread `metrics`.
    pub fn start(listener: Listener, sources: Sources, health: Health) -> Result<Self, ObserveError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ObserveError::Thread)?;
        let shared = Arc::new(Shared { sources, state: Mutex::new((Exporter::default(), health)) });
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async move {
                tokio::spawn(accept(listener, Arc::clone(&shared)));
                tokio::spawn(look(shared));
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(serve).map_err(ObserveError::Thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whether it still listens or not.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes connections, for ever.
async fn accept(listener: Listener, shared: Arc<Shared>) {
    let listener = match tokio::net::TcpListener::from_std(listener.0) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no metrics"),
    };
    let mut places: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                places.retain(|place| !place.is_finished());
                if places.len() >= MAX_CONNECTIONS
                    && let Some(oldest) = places.pop_front()
                {
                    oldest.abort();
                }
                let answered = answer(stream, Arc::clone(&shared));
                places.push_back(tokio::spawn(answered).abort_handle());
            }
            // Of the connection, or for want of file descriptors: there will be some.
            Err(error) => {
                tracing::debug!(%error, "a connection to the metrics failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn answer(stream: tokio::net::TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = shared.respond(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does is its own affair.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

/// Looks at the counters once a second, for ever.
async fn look(shared: Arc<Shared>) {
    let mut second = tokio::time::interval(LOOK_EVERY);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let reading = shared.sources.read();
        shared.state.lock().unwrap_or_else(PoisonError::into_inner).1.look(&reading);
    }
}

impl Shared {
    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            return plain(StatusCode::NOT_FOUND, "/metrics, /healthz, /readyz\n".into());
        }
        if ![Method::GET, Method::HEAD].contains(method) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".into());
            response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let reading = self.sources.read();
        let (exporter, health) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        health.look(&reading);
        let troubles = health.troubles(&reading, &self.sources);
        match path {
            "/metrics" => respond(StatusCode::OK, PROMETHEUS, exporter.render(&reading, health, troubles.is_empty())),
            "/healthz" if troubles.is_empty() => plain(StatusCode::OK, "ok\n".into()),
            "/healthz" => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", troubles.join("; "))),
            _ => {
                let ready = health.ready(&reading, &self.sources);
                let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let json = serde_json::to_string(&ready).unwrap_or_default();
                respond(status, "application/json", format!("{json}\n"))
            }
        }
    }
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

/// The text format, version 0.0.4.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at a time: a few scrapers, and room for those who only connect.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last in all; the answer is some 100 KB.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a request's head: no scraper sends a tenth of it.
const MAX_HEAD: usize = 16 << 10;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use plaintap_keystore::ingest::{Alive, Clock, Follower};
    use plaintap_keystore::{KeySource, Store};

    use super::*;
    use crate::observe::{Moment, OutputStats, ReadyLimits};
    use crate::runtime::Watch;
    use crate::testing::exposition::parse;

    /// A run without interfaces and workers, with a thread of which the test holds the life.
    fn shared(threads: Vec<(&'static str, Alive)>) -> (Shared, Watch) {
        let store = Store::default();
        let follower = Follower::start(&store, Clock::start(), &[], KeySource::File).unwrap();
        let watch = Watch::new(&[], Vec::new());
        let sources = Sources {
            watch: watch.clone(),
            store,
            intake: None,
            follower: follower.watch(),
            output: Box::new(OutputStats::default),
            threads,
        };
        let health = Health::new(Moment::now(), ReadyLimits::default());
        (Shared { sources, state: Mutex::new((Exporter::default(), health)) }, watch)
    }

    fn ask(shared: &Shared, path: &str) -> (u16, String) {
        let response = shared.respond(&Method::GET, path);
        let status = response.status().as_u16();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_thread_that_has_ended_is_told_everywhere() {
        let (life, alive) = Alive::pair();
        let (shared, watch) = shared(vec![("key-files", alive)]);
        let healthy = |shared: &Shared| parse(&ask(shared, "/metrics").1).unwrap().sum("plaintap_healthy", &[]);
        watch.set_steering(true);
        assert_eq!(ask(&shared, "/healthz"), (200, "ok\n".into()));
        assert_eq!((ask(&shared, "/readyz").0, healthy(&shared)), (200, 1.0));
        drop(life);
        assert_eq!(ask(&shared, "/healthz"), (503, "the thread 'key-files' has ended\n".into()));
        let (status, json) = ask(&shared, "/readyz");
        assert_eq!((status, healthy(&shared)), (503, 0.0));
        assert!(json.contains("\"ready\":false,\"reasons\":[\"the thread 'key-files' has ended\"]"), "{json}");
    }

    #[test]
    fn a_run_that_stops_is_well_and_not_ready() {
        let (life, alive) = Alive::pair();
        let (shared, watch) = shared(vec![("output", alive)]);
        watch.set_steering(true);
        watch.set_steering(false);
        // Threads end in order now.
        drop(life);
        assert_eq!(ask(&shared, "/healthz").0, 200);
        let (status, json) = ask(&shared, "/readyz");
        assert!(status == 503 && json.contains("no frame is steered"), "{json}");
    }
}
