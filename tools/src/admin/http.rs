//! The server itself: a thread with a small runtime, bounded in connections, bytes and time.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::process::Process;
use super::state::{Silence, State};
use super::{metrics, ready};

/// Connections at the same time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 32;
/// How long a request may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// After so long a connection is asked to end ...
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// ... and after so much longer it is ended.
const CONNECTION_GRACE: Duration = Duration::from_secs(10);
/// What a request's head may take.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Rest after a failure to accept: the backlog stays readable.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PATHS: &str = "/metrics   for Prometheus\n\
    /healthz   200 while the node answers\n\
    /readyz    200 while clients may be sent here, else the reasons\n";

type Reply = Response<Full<Bytes>>;

/// Starts the thread.
pub(super) fn spawn(listener: TcpListener, state: Arc<State>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, state).await,
                Err(error) => tracing::error!(%error, "the admin server has ended"),
            }
        });
    })?;
    Ok(())
}

async fn serve(listener: tokio::net::TcpListener, state: Arc<State>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    connection(stream, state).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(&request, &state).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_DEADLINE);
    server.max_buf_size(HEAD_BYTES_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What a peer does to its own connection concerns nobody else.
    if tokio::time::timeout(CONNECTION_AGE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(CONNECTION_GRACE, connection).await;
    }
}

async fn answer(request: &Request<Incoming>, state: &State) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
    }
    match request.uri().path() {
        "/" => reply(StatusCode::OK, TEXT, PATHS.to_owned()),
        "/metrics" => measured(state).await,
        "/healthz" => healthy(state).await,
        "/readyz" => willing(state).await,
        _ => reply(StatusCode::NOT_FOUND, TEXT, format!("no such path; there are\n{PATHS}")),
    }
}

async fn measured(state: &State) -> Reply {
    let stats = match state.stats().await {
        Ok(stats) => stats,
        Err(Silence::Starting) => return unavailable("starting: the logs are being read"),
        Err(Silence::Mute(why)) => return unavailable(&format!("the node does not answer: {why}")),
    };
    let topics = state.topics().await;
    match metrics::text(stats, topics, Process::now(), state.is_draining()) {
        Ok(text) => reply(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

async fn healthy(state: &State) -> Reply {
    match ready::is_dead(state.is_draining(), &state.stats().await) {
        None => reply(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Some(why) => unavailable(&why),
    }
}

async fn willing(state: &State) -> Reply {
    let objections = if state.is_draining() {
        // It may not answer any more, and need not.
        ready::objections(true, &Err::<Arc<_>, _>(Silence::Starting))
    } else {
        ready::objections(false, &state.stats().await)
    };
    let status = match objections.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let document = json!({ "ready": objections.is_empty(), "reasons": objections });
    reply(status, JSON, format!("{document}\n"))
}

fn unavailable(why: &str) -> Reply {
    reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
