//! What networks and mirrors do to frames: methods of [`Trace`] that take it and give it back changed.
//!
//! Those that make frames (`retransmitted`, `kept_alive`, `probed`) belong before those that change frames as they stand
//! (`wrapped`) and those that lose them.

use std::net::IpAddr;

use super::Rng;
use super::net::{self, Trace, TracedFrame, WINDOW};
use crate::flow::Direction;
use crate::source::InterfaceId;
use crate::tcp::TcpFlags;

/// What one direction's frames travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// An 802.1Q tag.
    Vlan(u16),
    /// VXLAN over UDP over IPv4 (RFC 7348).
    Vxlan(u32),
}

impl Trace {
    /// Moves frames by up to `window` places, whichever direction they are of. The times of capture stay in order.
    #[must_use]
    pub fn reordered(self, rng: &mut Rng, window: usize) -> Self {
        self.reordered_after(0, rng, window)
    }

    /// The same, but the first `kept` frames stay first.
    #[must_use]
    pub fn reordered_after(mut self, kept: usize, rng: &mut Rng, window: usize) -> Self {
        let times: Vec<_> = self.frames.iter().map(|traced| traced.frame.ts).collect();
        let key = |at| if at < kept { at } else { at + rng.between(0, window) };
        let keys: Vec<_> = (0..self.frames.len()).map(key).collect();
        let mut frames: Vec<_> = keys.into_iter().zip(self.frames).collect();
        frames.sort_by_key(|(key, _)| *key);
        self.frames = frames.into_iter().map(|(_, traced)| traced).collect();
        self.restamp(times)
    }

    /// Shows frames twice, at once or a few frames later, as a mirror of both ports does.
    #[must_use]
    pub fn duplicated(self, rng: &mut Rng, per_mille: u32) -> Self {
        self.inserted(rng, |_, traced, rng| rng.per_mille(per_mille).then(|| vec![traced.clone()]))
    }

    /// Sends parts of what was already sent again, cut differently.
    #[must_use]
    pub fn retransmitted(self, rng: &mut Rng, per_mille: u32) -> Self {
        self.inserted(rng, |trace, traced, rng| {
            if traced.range.is_empty() || !rng.per_mille(per_mille) {
                return None;
            }
            let start = traced.range.start.saturating_sub(rng.below(2_000) as u64);
            let end = traced.range.end - rng.below((traced.range.end - traced.range.start) as usize) as u64;
            Some(vec![trace.segment(traced.frame.ts, traced, start..end, WINDOW)])
        })
    }

    /// Adds keepalives (RFC 1122 section 4.2.3.6): the sequence number before the next one, with no octet or with a garbage
    /// one. Right only while the true octet is captured first.
    #[must_use]
    pub fn kept_alive(mut self, rng: &mut Rng, per_mille: u32) -> Self {
        let mut frames = Vec::with_capacity(self.frames.len());
        for traced in std::mem::take(&mut self.frames) {
            let next = traced.range.end;
            let keepalive =
                (next > 0 && !traced.flags.contains(TcpFlags::FIN) && rng.per_mille(per_mille)).then(|| {
                    let octets: &[u8] = if rng.per_mille(500) { &[0] } else { &[] };
                    self.segment_of(traced.frame.ts, &traced, next - 1..next - 1, WINDOW, octets)
                });
            frames.push(traced);
            frames.extend(keepalive);
        }
        self.frames = frames;
        self
    }

    /// Closes the receiver's window before some data: a probe shows the first octet, which the receiver does not take, then
    /// the window opens and the data is sent as before.
    #[must_use]
    pub fn probed(mut self, rng: &mut Rng, per_mille: u32) -> Self {
        let mut frames: Vec<TracedFrame> = Vec::with_capacity(self.frames.len());
        for traced in std::mem::take(&mut self.frames) {
            if !traced.range.is_empty() && rng.per_mille(per_mille) {
                let (start, ts) = (traced.range.start, traced.frame.ts);
                let mut answer = traced.clone();
                answer.direction = traced.direction.reverse();
                answer.acked = start;
                let at = traced.acked..traced.acked;
                let closed = self.segment(ts, &answer, at.clone(), 0);
                let probe = self.segment(ts, &traced, start..start + 1, WINDOW);
                let open = self.segment(ts, &answer, at, WINDOW);
                frames.extend([closed.clone(), probe, closed, open]);
            }
            frames.push(traced);
        }
        self.frames = frames;
        self
    }

    /// Captures the directions on two interfaces, 0 (client to server) and 1.
    #[must_use]
    pub fn split(mut self) -> Self {
        for traced in &mut self.frames {
            traced.frame.interface = InterfaceId(net::index(traced.direction) as u16);
        }
        self
    }

    /// Puts all frames of one direction into a VLAN or a tunnel.
    #[must_use]
    pub fn wrapped(mut self, direction: Direction, wrap: Wrap) -> Self {
        for traced in self.frames.iter_mut().filter(|traced| traced.direction == direction) {
            let data = &mut traced.frame.data;
            match wrap {
                Wrap::Vlan(id) => {
                    let [high, low] = id.to_be_bytes();
                    data.splice(12..12, [0x81, 0x00, high, low]);
                }
                Wrap::Vxlan(vni) => {
                    let mut udp = vec![0xc0, 0x00, 0x12, 0xb5]; // from any port to 4789
                    udp.extend((data.len() as u16 + 16).to_be_bytes());
                    udp.extend([0, 0, 0x08, 0, 0, 0]); // checksum; the VNI is valid
                    udp.extend((vni << 8).to_be_bytes());
                    udp.append(data);
                    let (from, to) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
                    *data = net::internet(from, to, 17, &mut udp, 6).expect("both are IPv4");
                }
            }
        }
        self
    }

    /// Loses that many frames of a thousand, of one direction or of both (`None`).
    #[must_use]
    pub fn lossy(mut self, rng: &mut Rng, per_mille: u32, only: Option<Direction>) -> Self {
        self.frames.retain(|traced| only.is_some_and(|only| only != traced.direction) || !rng.per_mille(per_mille));
        self
    }

    /// Loses the frames at these places.
    #[must_use]
    pub fn without(mut self, lost: &[usize]) -> Self {
        let mut at = 0;
        self.frames.retain(|_| {
            at += 1;
            !lost.contains(&(at - 1))
        });
        self
    }

    /// Puts what `make` gives for a frame up to eight places after it.
    fn inserted(
        mut self,
        rng: &mut Rng,
        mut make: impl FnMut(&Self, &TracedFrame, &mut Rng) -> Option<Vec<TracedFrame>>,
    ) -> Self {
        let mut keyed = Vec::with_capacity(self.frames.len());
        for (at, traced) in self.frames.iter().enumerate() {
            let made = make(&self, traced, rng).unwrap_or_default();
            keyed.extend(made.into_iter().map(|made| (at + rng.below(8), 1, made)));
            keyed.push((at, 0, traced.clone()));
        }
        keyed.sort_by_key(|(at, order, _)| (*at, *order));
        self.frames = keyed.into_iter().map(|(_, _, traced)| traced).collect();
        let mut times: Vec<_> = self.frames.iter().map(|traced| traced.frame.ts).collect();
        times.sort();
        self.restamp(times)
    }

    fn restamp(mut self, times: Vec<crate::Timestamp>) -> Self {
        for (traced, ts) in self.frames.iter_mut().zip(times) {
            traced.frame.ts = ts;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{ClientToServer, ServerToClient};
    use super::*;
    use crate::testing::net::Path;
    use crate::testing::session::Conversation;

    fn trace(seed: u64) -> Trace {
        Conversation::in_clear([
            (ClientToServer, vec![1; 20_000]),
            (ServerToClient, vec![2; 30_000]),
            (ClientToServer, vec![3; 500]),
        ])
        .trace(&Path::random(seed))
    }

    #[test]
    fn harmless_faults_lose_nothing_and_keep_time_in_order() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let before = trace(seed);
            let count = before.frames.len();
            let after = before
                .retransmitted(&mut rng, 200)
                .probed(&mut rng, 50)
                .duplicated(&mut rng, 200)
                .reordered(&mut rng, 10)
                .kept_alive(&mut rng, 50);
            assert!(after.frames.len() > count, "seed {seed}");
            assert!(after.frames.is_sorted_by_key(|traced| traced.frame.ts), "seed {seed}");
            assert_eq!(after.missing(ClientToServer), [], "seed {seed}");
            assert_eq!(after.missing(ServerToClient), [], "seed {seed}");
        }
    }

    #[test]
    fn loss_is_told() {
        let all = trace(1);
        let lossy = all.clone().lossy(&mut Rng::new(1), 300, Some(ServerToClient));
        assert_eq!(lossy.missing(ClientToServer), []);
        let lost: u64 = lossy.missing(ServerToClient).iter().map(|range| range.end - range.start).sum();
        let carried = |trace: &Trace| {
            let frames = trace.frames.iter().filter(|traced| traced.direction == ServerToClient);
            frames.map(|traced| traced.range.end - traced.range.start).sum::<u64>()
        };
        assert!(lost > 0);
        assert_eq!(lost, carried(&all) - carried(&lossy));
    }

    #[test]
    fn wraps_have_the_octets_of_their_standards() {
        let plain = trace(2).frames[0].frame.data.clone();
        let tagged = trace(2).wrapped(ClientToServer, Wrap::Vlan(100)).frames[0].frame.data.clone();
        assert_eq!(tagged[12..16], [0x81, 0x00, 0, 100]);
        assert_eq!((&tagged[..12], &tagged[16..]), (&plain[..12], &plain[12..]));
        let tunnelled = trace(2).wrapped(ClientToServer, Wrap::Vxlan(42)).frames[0].frame.data.clone();
        assert_eq!(tunnelled[14 + 20 + 8..][..8], [0x08, 0, 0, 0, 0, 0, 42, 0]);
        assert_eq!(tunnelled[14 + 20 + 16..], plain);
    }
}
