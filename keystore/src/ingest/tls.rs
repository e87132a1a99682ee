//! The listener: who gets in, on which threads, and when it ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{fmt, io};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{AbortHandle, JoinHandle};

use super::stats::{Counters, IntakeStats, Outcome};
use super::{AllowList, Clock, Fingerprint, IntakeConfig, IntakeError, connection, identity};
use crate::keylog::Loader;
use crate::stats::{count, read};
use crate::sync::Mutex;
use crate::{Store, raise_open_files};

/// The running intake: it listens until it is shut down or dropped.
///
/// Memory for a connection: its TLS state and 4 KiB to read into. Nothing that a sender does is logged above `debug`; what it
/// came to is in [`Intake::stats`], and once a minute a warning says if connections had to be refused.
pub struct Intake {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    acceptors: Vec<JoinHandle<()>>,
    addrs: Vec<SocketAddr>,
    plain_addrs: Vec<SocketAddr>,
}

/// A certificate with its key, read and found good, that is not in use yet.
#[derive(Debug)]
pub struct FreshIdentity {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

/// A look at an [`Intake`] from any thread.
#[derive(Clone)]
pub struct IntakeWatch {
    shared: Arc<Shared>,
    acceptors: Vec<AbortHandle>,
    addrs: Vec<SocketAddr>,
}

impl IntakeWatch {
    /// What was counted so far.
    pub fn stats(&self) -> IntakeStats {
        self.shared.counters.snapshot()
    }

    /// The addresses bound, those for TLS first.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Whether it takes connections on every address.
    pub fn is_listening(&self) -> bool {
        !self.acceptors.iter().any(AbortHandle::is_finished)
    }
}

impl Intake {
    /// Binds every address, reads (or makes) the certificate and starts the threads.
    ///
    /// `clock` is the one that the store's [`super::Upkeep`] ticks. The addresses are bound when this returns: privileges may
    /// be dropped.
    ///
    /// Errors: nothing is left listening.
    pub fn start(store: Store, clock: Clock, config: IntakeConfig) -> Result<Self, IntakeError> {
        let tls = if config.listen.is_empty() { None } else { Some(identity::server_config(&config)?) };
        raise_file_limit(config.limits.max_connections);
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("key-intake")
            .enable_io()
            .enable_time()
            .build()
            .map_err(IntakeError::Threads)?;
        let shared = Arc::new(Shared {
            allow: RwLock::new(config.allow.clone()),
            tls: RwLock::new(tls),
            store,
            clock,
            config,
            counters: Counters::default(),
            sources: Mutex::new(Sources::default()),
            exhausted: AtomicBool::new(false),
        });
        runtime.spawn(warn_of_refusals(Arc::clone(&shared)));
        let mut intake =
            Self { shared, runtime: Some(runtime), acceptors: Vec::new(), addrs: Vec::new(), plain_addrs: Vec::new() };
        intake.listen()?;
        Ok(intake)
    }

    /// The fingerprint of the certificate in use, for the administrator to pin; `None` without a TLS address.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        read_lock(&self.shared.tls).as_ref().map(|(_, fingerprint)| *fingerprint)
    }

    /// The TLS addresses bound, with their ports where 0 was asked for.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The plain addresses bound.
    pub fn local_plain_addrs(&self) -> &[SocketAddr] {
        &self.plain_addrs
    }

    /// Reads the certificate, the key and the client CA again and puts them to use: [`read_identity`](Self::read_identity) and
    /// [`set_identity`](Self::set_identity).
    ///
    /// Errors: the old ones stay in use.
    pub fn reload(&self) -> Result<Option<Fingerprint>, IntakeError> {
        let identity = self.read_identity()?;
        let fingerprint = identity.as_ref().map(|identity| identity.fingerprint);
        identity.into_iter().for_each(|identity| self.set_identity(identity));
        Ok(fingerprint)
    }

    /// Reads the certificate, the key and the client CA again (on SIGHUP); `None` without a TLS address. Nothing has changed yet.
    /// If privileges were dropped since the start, the files must be readable without them.
    pub fn read_identity(&self) -> Result<Option<FreshIdentity>, IntakeError> {
        if self.addrs.is_empty() {
            return Ok(None);
        }
        let (config, fingerprint) = identity::server_config(&self.shared.config)?;
        Ok(Some(FreshIdentity { config, fingerprint }))
    }

    /// Puts a certificate to use. Connections that are open keep what they have; sessions of the old certificate cannot be resumed.
    pub fn set_identity(&self, identity: FreshIdentity) {
        let FreshIdentity { config, fingerprint } = identity;
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = Some((config, fingerprint));
        tracing::info!(%fingerprint, "certificate of the key intake loaded");
    }

    /// Replaces the allow-list. Connections that are open stay.
    pub fn set_allow(&self, allow: AllowList) {
        *self.shared.allow.write().unwrap_or_else(PoisonError::into_inner) = allow;
    }

    /// What was counted so far.
    pub fn stats(&self) -> IntakeStats {
        self.shared.counters.snapshot()
    }

    /// What others may look at it through.
    pub fn watch(&self) -> IntakeWatch {
        IntakeWatch {
            shared: Arc::clone(&self.shared),
            acceptors: self.acceptors.iter().map(JoinHandle::abort_handle).collect(),
            addrs: self.addrs.iter().chain(&self.plain_addrs).copied().collect(),
        }
    }

    /// Stops listening, lets open connections end for as long as `Limits::shutdown_grace`, and returns the last counts.
    pub fn shutdown(mut self) -> IntakeStats {
        if let Some(runtime) = self.runtime.take() {
            let shared = Arc::clone(&self.shared);
            let acceptors = std::mem::take(&mut self.acceptors);
            acceptors.iter().for_each(JoinHandle::abort);
            let drained = async move {
                for acceptor in acceptors {
                    let _ = acceptor.await;
                }
                while shared.counters.snapshot().open > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let grace = self.shared.config.limits.shutdown_grace;
            let _ = runtime.block_on(async { tokio::time::timeout(grace, drained).await });
            runtime.shutdown_timeout(Duration::from_millis(500));
        }
        self.stats()
    }

    fn listen(&mut self) -> Result<(), IntakeError> {
        let shared = Arc::clone(&self.shared);
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let _entered = runtime.enter(); // sockets belong to a runtime
        for (addrs, port) in [(&shared.config.listen, Port::Tls), (&shared.config.listen_plain, Port::Plain)] {
            for addr in addrs {
                let failed = |source| IntakeError::Listen { addr: *addr, source };
                let listener = bind(*addr).map_err(failed)?;
                let local_addr = listener.local_addr().map_err(failed)?;
                match port {
                    Port::Tls => {
                        self.addrs.push(local_addr);
                        tracing::info!(addr = %local_addr, "taking keys over TLS");
                    }
                    Port::Plain => {
                        self.plain_addrs.push(local_addr);
                        tracing::warn!(addr = %local_addr, "taking keys over plain TCP: whoever sees this link can read them");
                    }
                }
                self.acceptors.push(runtime.spawn(accept(Arc::clone(&shared), listener, port)));
            }
        }
        Ok(())
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("addrs", &self.addrs)
            .field("plain_addrs", &self.plain_addrs)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IntakeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntakeWatch").field("addrs", &self.addrs).finish_non_exhaustive()
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) config: IntakeConfig,
    pub(super) counters: Counters,
    tls: RwLock<Option<(Arc<ServerConfig>, Fingerprint)>>,
    allow: RwLock<AllowList>,
    sources: Mutex<Sources>,
    /// The system had no file descriptor left, and it has been said.
    exhausted: AtomicBool,
}

impl Shared {
    /// There is one whenever a TLS address is.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        read_lock(&self.tls).as_ref().map(|(config, _)| Arc::clone(config))
    }

    /// Adds what `loader` has done since to the counts; whether there was a key in it.
    pub(super) fn take_report(&self, loader: &mut Loader, bytes: u64) -> bool {
        let report = loader.take_report();
        if bytes > 0 || report.lines > 0 {
            self.counters.lines(bytes, &report);
        }
        report.accepted() > 0
    }

    /// Counts a connection in, if there is room for it.
    fn admit(self: &Arc<Self>, addr: IpAddr) -> Result<Admission, Outcome> {
        if !read_lock(&self.allow).allows(addr) {
            return Err(Outcome::RefusedSource);
        }
        let source = source_of(addr);
        let limits = &self.config.limits;
        let mut sources = self.sources.lock();
        let own = sources.open.get(&source).copied().unwrap_or_default();
        if sources.total >= limits.max_connections {
            return Err(Outcome::RefusedTotal);
        }
        if own >= limits.max_connections_per_source {
            return Err(Outcome::RefusedPerSource);
        }
        sources.open.insert(source, own + 1);
        sources.total += 1;
        Ok(Admission { shared: Arc::clone(self), source, outcome: Outcome::Shutdown })
    }
}

/// The open connections.
#[derive(Default)]
struct Sources {
    /// By source; none is zero.
    open: HashMap<IpAddr, usize>,
    /// Their sum.
    total: usize,
}

/// A connection's place; given back, and the outcome counted, when it ends, however it does.
struct Admission {
    shared: Arc<Shared>,
    source: IpAddr,
    outcome: Outcome,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut sources = self.shared.sources.lock();
        sources.total -= 1;
        if let Some(own) = sources.open.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                sources.open.remove(&self.source);
            }
        }
        drop(sources);
        self.shared.counters.ended(self.outcome);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Tls,
    Plain,
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, port: Port) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                count(&shared.counters.accepted, 1);
                match shared.admit(addr.ip()) {
                    Ok(admission) => drop(tokio::spawn(serve(admission, stream, port))),
                    Err(outcome) => shared.counters.ended(outcome),
                }
            }
            // The connection went before it was accepted, or there is no file descriptor left: then it stays in the backlog.
            Err(error) => {
                count(&shared.counters.accept_errors, 1);
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    if !shared.exhausted.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "cannot accept keys; raise LimitNOFILE or lower the intake's max_connections");
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

async fn serve(mut admission: Admission, stream: TcpStream, port: Port) {
    let shared = Arc::clone(&admission.shared);
    admission.outcome = match port {
        Port::Tls => connection::serve_tls(&shared, stream).await,
        Port::Plain => connection::serve_plain(&shared, stream).await,
    };
}

async fn warn_of_refusals(shared: Arc<Shared>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let stats = shared.counters.snapshot();
        let refused = stats.outcome(Outcome::RefusedTotal) + stats.outcome(Outcome::RefusedPerSource);
        if refused > before {
            tracing::warn!(
                connections = refused - before,
                open = stats.open,
                "keys refused in the last minute: too many connections"
            );
            before = refused;
        }
        if shared.exhausted.swap(false, Ordering::Relaxed) {
            tracing::debug!(errors = read(&shared.counters.accept_errors), "accept errors so far");
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// An address, or the /64 that one subscriber has of IPv6.
fn source_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) => IpAddr::V4(addr),
        IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & (u128::MAX << 64))),
    }
}

/// Each connection is a file descriptor, and the process needs some for itself.
fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + 1_024;
    let limit = raise_open_files(wanted);
    if limit < wanted {
        tracing::warn!(limit, wanted, "few file descriptors for the intake's max_connections; raise LimitNOFILE");
    }
}

fn read_lock<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that wait to be accepted (the kernel's `net.core.somaxconn` is a cap, too).
const BACKLOG: u32 = 4_096;
