//! The captures of `tests/corpus` (real servers and clients) with faults: whatever is lost, cut, doubled or out of order, no octet
//! comes out that was not sent, none at a wrong place, and what is missing is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use plaintap::Timestamp;
use plaintap::config::Config;
use plaintap::flow::{Direction, FlowContext};
use plaintap::http::Transaction;
use plaintap::pipeline::Pipeline;
use plaintap::sink::TransactionSink;
use plaintap::source::pcap::CaptureSource;
use plaintap::source::{Event, Frame, FrameSource, InterfaceId, LinkType};
use plaintap::tls::{Outcome, Session};
use plaintap_keystore::keylog::load_keylog;
use plaintap_keystore::{KeySource, Store};

use Direction::ClientToServer;

#[test]
fn a_lost_frame_loses_a_stretch_and_says_so() {
    for case in cases() {
        let all = case.run(&case.frames);
        for lost in 0..case.frames.len() {
            let mut frames = case.frames.clone();
            frames.remove(lost);
            let got = case.run(&frames);
            got.assert_lacks_a_stretch_of(&all, &format!("{} without frame {lost}", case.name));
        }
    }
}

#[test]
fn a_cut_frame_loses_a_stretch_and_says_so() {
    for case in cases() {
        let all = case.run(&case.frames);
        for cut in 0..case.frames.len() {
            let mut frames = case.frames.clone();
            let len = frames[cut].data.len();
            frames[cut].data.truncate(len - len / 3);
            let got = case.run(&frames);
            got.assert_lacks_a_stretch_of(&all, &format!("{} with frame {cut} cut", case.name));
        }
    }
}

#[test]
fn frames_that_come_twice_change_nothing() {
    for case in cases() {
        let twice: Vec<_> = case.frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
        assert_eq!(case.run(&twice), case.run(&case.frames), "{}", case.name);
    }
}

#[test]
fn frames_that_change_places_change_nothing() {
    for case in cases() {
        let all = case.run(&case.frames);
        for first in 1..case.frames.len() {
            let mut frames = case.frames.clone();
            frames.swap(first - 1, first);
            let got = case.run(&frames);
            assert_eq!(got.plaintext, all.plaintext, "{} with frame {first} before its predecessor", case.name);
        }
    }
}

/// Frames of a renegotiation, or of the handshake before it, whose loss must not cost the other direction or what follows.
#[test]
fn a_renegotiation_outlives_the_loss_of_a_flight() {
    for (name, lost) in
        [("tls12-renegotiation", 14), ("tls12-renegotiation-gnutls", 7), ("tls12-renegotiation-gnutls", 14)]
    {
        let case = Case::load(&corpus().join(name)).expect("a capture");
        let all = case.run(&case.frames);
        let mut frames = case.frames.clone();
        frames.remove(lost);
        assert_eq!(case.run(&frames).plaintext, all.plaintext, "{name} without frame {lost}");
    }
}

/// The client's direction alone: of TLS 1.3 its keys are enough, before the ServerHello and after it.
#[test]
fn early_data_and_what_follows_need_no_server() {
    for name in ["tls13-early-data", "tls13-early-data-rejected", "tls13-gnutls-early-data"] {
        let case = Case::load(&corpus().join(name)).expect("a capture");
        let client = &case.frames[0].data[ETHERNET_SOURCE];
        let frames: Vec<_> =
            case.frames.iter().filter(|frame| &frame.data[ETHERNET_SOURCE] == client).cloned().collect();
        let (all, got) = (case.run(&case.frames), case.run(&frames));
        let of_client = |heard: &Heard| {
            let sent = heard.plaintext.iter().filter(|((_, client), _)| *client);
            sent.map(|(key, octets)| (*key, octets.clone())).collect::<Vec<_>>()
        };
        assert_eq!(of_client(&got), of_client(&all), "{name}");
    }
}

/// A capture and its keys.
struct Case {
    name: String,
    frames: Vec<Kept>,
    keys: Vec<u8>,
}

#[derive(Clone)]
struct Kept {
    ts: Timestamp,
    interface: InterfaceId,
    link: LinkType,
    wire_len: u32,
    data: Vec<u8>,
}

impl Case {
    fn load(folder: &Path) -> Option<Self> {
        let files = std::fs::read_dir(folder).expect("a case");
        let mut paths = files.map(|entry| entry.expect("an entry").path());
        let capture =
            paths.find(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"capture")))?;
        let mut source = CaptureSource::open(&[capture]).expect("a capture");
        let mut keys = std::fs::read(folder.join("keys.log")).unwrap_or_default();
        let mut frames = Vec::new();
        while let Some(event) = source.next_event().expect("a whole capture") {
            match event {
                Event::Frame(Frame { ts, interface, link, wire_len, data }) => {
                    frames.push(Kept { ts, interface, link, wire_len, data: data.to_vec() });
                }
                Event::Secrets(text) => keys.extend_from_slice(text),
            }
        }
        Some(Self { name: folder.file_name()?.to_string_lossy().into_owned(), frames, keys })
    }

    fn run(&self, frames: &[Kept]) -> Heard {
        let store = Store::default();
        load_keylog(&store, self.keys.as_slice(), KeySource::File, Duration::ZERO);
        let mut pipeline = Pipeline::new(Config::default(), &store).expect("a seat");
        let mut heard = Heard::default();
        for &Kept { ts, interface, link, wire_len, ref data } in frames {
            pipeline.push(Frame { ts, interface, link, wire_len, data: &mut data.clone() }, &mut heard);
        }
        assert_eq!(pipeline.stats().imbalances_while(&pipeline.gauges()), Vec::<String>::new(), "{}", self.name);
        pipeline.finish(&mut heard);
        assert_eq!(pipeline.stats().imbalances(), Vec::<String>::new(), "{}", self.name);
        heard.sessions.sort();
        heard.transactions.sort();
        heard
    }
}

/// What came out.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    /// By the client's port, and whether the client sent it.
    plaintext: BTreeMap<(u16, bool), Vec<u8>>,
    /// Outcome, octets not decrypted, octets missing.
    sessions: Vec<String>,
    /// Whether they are whole, and what they say.
    transactions: Vec<(bool, String)>,
}

impl TransactionSink for Heard {
    fn transaction(&mut self, transaction: &Transaction<'_>) {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let request = transaction.request.as_ref();
        let request = request.map(|request| (text(request.method), request.path.map(text), request.body_size));
        let response = transaction.response.as_ref().map(|response| (response.status, response.body_size));
        self.transactions.push((transaction.reasons == Default::default(), format!("{request:?} {response:?}")));
    }

    fn session(&mut self, session: &Session<'_>) {
        let Session { outcome, undecrypted_bytes, client_gap_bytes, server_gap_bytes, .. } = session;
        assert!(*outcome != Outcome::Decrypted || undecrypted_bytes + client_gap_bytes + server_gap_bytes == 0);
        self.sessions.push(format!("{outcome:?} {undecrypted_bytes} {client_gap_bytes} {server_gap_bytes}"));
    }

    fn app_data(&mut self, flow: &FlowContext<'_>, direction: Direction, octets: &[u8]) {
        let sent = self.plaintext.entry((flow.client.port, direction == ClientToServer)).or_default();
        sent.extend_from_slice(octets);
    }
}

impl Heard {
    /// Each stream is one of `all` but for a stretch; each whole transaction is one of `all`; and no session that lacks
    /// something looks as if it did not.
    fn assert_lacks_a_stretch_of(&self, all: &Self, case: &str) {
        for (key, got) in &self.plaintext {
            let sent = all.plaintext.get(key).unwrap_or_else(|| panic!("{case}: {key:?} sent nothing"));
            let common = got.iter().zip(sent).take_while(|(got, sent)| got == sent).count();
            assert!(sent.ends_with(&got[common..]), "{case}: octets of {key:?} out of place");
        }
        for transaction in self.transactions.iter().filter(|(whole, _)| *whole) {
            assert!(all.transactions.contains(transaction), "{case}: {transaction:?} was made up");
        }
        assert!(self.plaintext == all.plaintext || self.sessions != all.sessions, "{case}: a loss that nobody tells");
    }
}

fn cases() -> Vec<Case> {
    let folders = std::fs::read_dir(corpus()).expect("tests/corpus").map(|entry| entry.expect("an entry").path());
    let cases: Vec<_> = folders.filter(|path| path.is_dir()).filter_map(|folder| Case::load(&folder)).collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    cases
}

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

const ETHERNET_SOURCE: std::ops::Range<usize> = 6..12;
