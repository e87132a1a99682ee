//! Sends frames at a steady rate: a thread with a packet socket.

use std::io::IoSlice;
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread;
use std::time::{Duration, Instant};

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, anyhow, bail};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket};

use super::replay::Replay;

/// A thread on the last processor that sends when it is told.
#[derive(Debug)]
pub(super) struct Sender {
    orders: Channel<(Duration, Option<f64>)>,
    results: Receiver<anyhow::Result<Sent>>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Frames.
    pub(super) frames: u64,
    /// Passes of the traffic.
    pub(super) passes: u64,
    /// Frames that the device did not take.
    pub(super) refused: u64,
    /// From the first frame to the last.
    pub(super) elapsed: Duration,
}

impl Sender {
    /// Opens a socket on `device`.
    pub(super) fn start(device: &str, mut replay: Replay) -> anyhow::Result<Self> {
        let socket = open(device)?;
        let (orders, todo) = channel();
        let (done, results) = channel();
        thread::Builder::new().name("sender".into()).spawn(move || {
            super::receive::stay_on(thread::available_parallelism().map_or(1, usize::from) - 1);
            while let Ok((length, rate)) = todo.recv() {
                if done.send(send(&socket, &mut replay, length, rate)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, results })
    }

    /// Sends the traffic over and over for `length`, to the end of the last pass, at `rate` frames a second or as fast as it can.
    pub(super) fn send(&mut self, length: Duration, rate: Option<f64>) -> anyhow::Result<Sent> {
        let gone = |_| anyhow!("the sender has panicked");
        self.orders.send((length, rate)).map_err(|_| anyhow!("the sender has panicked"))?;
        self.results.recv().map_err(gone)?
    }
}

/// A packet socket that sends through `device` and receives nothing (protocol 0).
fn open(device: &str) -> anyhow::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).context("packet socket")?;
    let mut devices = nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == device);
    let Some(link) = devices.find_map(|entry| entry.address?.as_link_addr().copied()) else {
        bail!("no interface {device}");
    };
    bind(socket.as_raw_fd(), &link).context("bind a packet socket")?;
    Ok(socket)
}

#[expect(clippy::disallowed_methods, reason = "a sender keeps time")]
fn send(socket: &OwnedFd, replay: &mut Replay, length: Duration, rate: Option<f64>) -> anyhow::Result<Sent> {
    let interval = rate.map(|rate| Duration::from_secs_f64(BATCH as f64 / rate));
    let mut sent = Sent::default();
    let start = Instant::now();
    let mut due = start;
    while sent.passes < Replay::PASSES && (sent.passes == 0 || start.elapsed() < length) {
        sent.passes += 1;
        replay.readdress();
        for batch in 0..replay.frames().div_ceil(BATCH) {
            let frames = replay.batch(batch * BATCH, BATCH);
            if let Some(interval) = interval {
                while Instant::now() < due {
                    std::hint::spin_loop();
                }
                due += interval;
            }
            let slices: Vec<[IoSlice<'_>; 1]> = frames.map(|frame| [IoSlice::new(frame)]).collect();
            let mut rest = &slices[..];
            while !rest.is_empty() {
                let mut headers = MultiHeaders::<LinkAddr>::preallocate(rest.len(), None);
                let addrs = [None; BATCH];
                match sendmmsg(socket.as_raw_fd(), &mut headers, rest, addrs, [], MsgFlags::empty()) {
                    Ok(results) => {
                        let count = results.count().max(1);
                        sent.frames += count as u64;
                        rest = rest.get(count..).unwrap_or_default();
                    }
                    // The device's queue is full: that frame is lost.
                    Err(Errno::ENOBUFS) => {
                        sent.refused += 1;
                        rest = &rest[1..];
                    }
                    Err(error) => bail!("sending frames: {error}"),
                }
            }
        }
    }
    sent.elapsed = start.elapsed();
    Ok(sent)
}

/// Frames a system call.
const BATCH: usize = 32;
