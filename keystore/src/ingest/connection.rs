//! One connection, from its first octet to its outcome.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::http::{self, Kind};
use super::stats::Outcome;
use super::tls::Shared;
use crate::keylog::Loader;
use crate::stats::count;

/// Serves a connection to the TLS port.
pub(super) async fn serve_tls(shared: &Shared, mut stream: TcpStream) -> Outcome {
    let limit = shared.config.limits.handshake_timeout;
    let handshake = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return Err(Outcome::ConnectOnly),
            Ok(_) if first[0] != HANDSHAKE_RECORD => return Err(refuse_clear_text(&mut stream).await),
            Ok(_) => {}
        }
        let config = shared.tls().ok_or(Outcome::HandshakeFailed)?;
        TlsAcceptor::from(config).accept(stream).await.map_err(|_| Outcome::HandshakeFailed)
    };
    let mut stream = match timeout(limit, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(outcome)) => return outcome,
        Err(_) => return Outcome::HandshakeTimeout,
    };
    let counters = &shared.counters;
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => count(&counters.resumed_handshakes, 1),
        _ => count(&counters.full_handshakes, 1),
    }
    serve(shared, &mut stream, Outcome::NoData).await
}

/// Serves a connection to the plain port.
pub(super) async fn serve_plain(shared: &Shared, mut stream: TcpStream) -> Outcome {
    serve(shared, &mut stream, Outcome::ConnectOnly).await
}

/// Reads lines, or one HTTP request, up to the end of the stream or a limit. A stream without any octet is `empty`.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, stream: &mut S, empty: Outcome) -> Outcome {
    let limits = &shared.config.limits;
    let mut deadline = Instant::now() + limits.idle_timeout;
    let mut buf = Zeroizing::new([0; READ_SIZE]);
    let (mut len, mut kind) = (0, Kind::Short);
    while kind == Kind::Short {
        match timeout_at(deadline, read_some(stream, buf.get_mut(len..).unwrap_or_default())).await {
            Err(_) => return Outcome::IdleTimeout,
            Ok(Ok(0) | Err(_)) if len == 0 => return empty,
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(more)) => len += more,
        }
        kind = http::classify(buf.get(..len).unwrap_or_default());
    }
    if kind == Kind::Http {
        return serve_http(stream, &mut buf, len, deadline).await;
    }
    let mut loader = Loader::new(shared.store.clone(), shared.config.source, limits.max_line);
    let (mut bytes, mut keys) = (0, false);
    let outcome = loop {
        loader.push(buf.get(..len).unwrap_or_default(), shared.clock.now());
        bytes += len as u64;
        if shared.take_report(&mut loader, len as u64) {
            keys = true;
            deadline = Instant::now() + limits.idle_timeout;
        }
        // The line that is under way still counts.
        if bytes > limits.max_bytes && (loader.is_between_lines() || bytes > limits.max_bytes + limits.max_line as u64)
        {
            break Some(Outcome::TooManyBytes);
        }
        match timeout_at(deadline, read_some(stream, &mut buf[..])).await {
            Err(_) => break Some(Outcome::IdleTimeout),
            Ok(Ok(0)) => break None,
            Ok(Err(_)) => break Some(Outcome::Failed),
            Ok(Ok(more)) => len = more,
        }
    };
    // What is left without a line end counts: an iRule need not send one.
    loader.finish(shared.clock.now());
    keys |= shared.take_report(&mut loader, 0);
    if outcome.is_none() {
        // Says goodbye, and does not wait long to be heard.
        let _ = timeout(GOODBYE, stream.shutdown()).await;
    }
    match outcome {
        None | Some(Outcome::Failed) if keys => Outcome::Keys,
        None => Outcome::NoKeys,
        Some(outcome) => outcome,
    }
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buf: &mut [u8; READ_SIZE],
    mut len: usize,
    deadline: Instant,
) -> Outcome {
    loop {
        if let Some((outcome, response)) = http::respond(buf.get(..len).unwrap_or_default()) {
            let send = async {
                stream.write_all(response).await?;
                stream.shutdown().await
            };
            let _ = timeout_at(deadline, send).await;
            return outcome;
        }
        // A head that does not fit, or does not end, is nobody's health check.
        match timeout_at(deadline, read_some(stream, buf.get_mut(len..).unwrap_or_default())).await {
            Err(_) => return Outcome::IdleTimeout,
            Ok(Ok(0) | Err(_)) => return Outcome::Http,
            Ok(Ok(more)) => len += more,
        }
    }
}

/// Tells a browser, or a monitor, that came without TLS.
async fn refuse_clear_text(stream: &mut TcpStream) -> Outcome {
    let mut buf = Zeroizing::new([0; READ_SIZE]);
    // One read, so that closing with octets unread does not reset the connection before the answer is seen.
    if let Ok(len) = stream.read(&mut buf[..]).await
        && http::classify(buf.get(..len).unwrap_or_default()) == Kind::Http
    {
        let _ = stream.write_all(http::NOT_TLS).await;
        let _ = stream.shutdown().await;
    }
    Outcome::NotTls
}

/// Reads what there is; `Ok(0)` at the end of the stream, with or without TLS's goodbye. (F5s leave it out; a line cut short
/// by an attacker's FIN is rejected for its length.)
async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, buf: &mut [u8]) -> io::Result<usize> {
    match stream.read(buf).await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        other => other,
    }
}

/// The content type that a TLS connection begins with.
const HANDSHAKE_RECORD: u8 = 22;
/// Room for the lines of a TLS 1.3 handshake.
const READ_SIZE: usize = 4_096;
const GOODBYE: Duration = Duration::from_millis(500);
