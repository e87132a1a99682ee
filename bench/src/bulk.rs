//! Bulk decryption beside what the cipher alone costs.

use std::time::Duration;

use anyhow::ensure;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::engine::{self, Totals};
use crate::generate::{AES_128_GCM_1_2, AES_128_GCM_1_3, Traffic};
use crate::report::{Rounds, Table, Times, cpu_time};

/// Measures ring alone, the pipeline from memory and from a file in turn, `rounds` times, for TLS 1.3 and 1.2.
pub(crate) fn run(octets: u64, rounds: Rounds) -> anyhow::Result<()> {
    let mut table = Table::new(
        format!("How fast is the decryption of {:.0} MB in 16 KiB AES-128-GCM records, one core?", octets as f64 / 1e6),
        &["", "median GB/s", "slowest", "fastest", "% of ring alone"],
    );
    let capture = std::env::temp_dir().join(format!("plaintap-bench-{}.pcap", std::process::id()));
    for (version, suite) in [("TLS 1.3", AES_128_GCM_1_3), ("TLS 1.2", AES_128_GCM_1_2)] {
        let mut traffic = Traffic::bulk(suite, octets);
        let keys_file = traffic.write(&capture)?;
        // As much memory as the frames take, so that both find their data equally far away.
        let mut ring = RingAlone::new(traffic.frame_octets() as u64)?;
        let [mut cold, mut hot, mut received, mut memory, mut file] = <[Times; 5]>::default();
        let expected = Totals { whole: 1, incomplete: 0, response_octets: octets };
        for _ in 0..rounds.rounds {
            cold.push(ring.round());
            hot.push(ring.hot_round());

            let (_store, mut pipeline) = engine::pipeline(&traffic.keylog)?;
            let mut totals = Totals::default();
            received.push(engine::read_ring(&traffic, &mut pipeline, &mut totals));
            ensure!(totals == expected, "{version}: the pipeline read {totals:?} from the ring");

            traffic.reset();
            let (_store, mut pipeline) = engine::pipeline(&traffic.keylog)?;
            let mut totals = Totals::default();
            memory.push(cpu_time(|| engine::read_memory(&mut traffic, &mut pipeline, &mut totals)).0);
            ensure!(totals == expected, "{version}: the pipeline read {totals:?}");

            let (_store, mut pipeline) = engine::pipeline(&traffic.keylog)?;
            let mut totals = Totals::default();
            let (elapsed, outcome) = cpu_time(|| engine::read_file(&capture, &mut pipeline, &mut totals));
            outcome?;
            file.push(elapsed);
            ensure!(totals == expected, "{version}: the pipeline read {totals:?} from the file");
        }
        let ring_rate = ring.plaintext() as f64 / cold.median();
        for (name, times, plaintext) in [
            ("ring open_in_place alone", &cold, ring.plaintext()),
            ("ring open_in_place alone, one hot record", &hot, ring.plaintext()),
            ("plaintap pipeline, frames in a receive ring", &received, traffic.plaintext),
            ("plaintap pipeline, frames in memory", &memory, traffic.plaintext),
            ("plaintap pipeline, from file", &file, traffic.plaintext),
        ] {
            let rate = |seconds: f64| plaintext as f64 / seconds;
            let (fastest, slowest) = times.spread();
            table.row([
                format!("{version}: {name}"),
                format!("{:.2}", rate(times.median()) / 1e9),
                format!("{:.2}", rate(slowest) / 1e9),
                format!("{:.2}", rate(fastest) / 1e9),
                format!("{:.0}", 100.0 * rate(times.median()) / ring_rate),
            ]);
        }
        std::fs::remove_file(keys_file)?;
    }
    std::fs::remove_file(&capture)?;
    table.note(format!(
        "{} rounds, taking turns; processor time. GB/s of plaintext. ring alone opens full records, each once, that take as much memory as the frames\n\
         (both working sets exceed the caches; ciphertext is put back before each round, untimed). Receive ring:\n\
         8 MiB of buffers used over and over, as AF_XDP does; filling them is not timed. Memory: every frame once, out of main memory.\n\
         File: in the page cache, the kernel's copy included. Target: pipeline from the receive ring at 50 % of ring alone.",
        rounds.rounds
    ));
    table.print();
    Ok(())
}

/// Plaintext octets of a full record.
pub(crate) const RECORD: usize = 16_384;
/// Content type and tag.
const OVERHEAD: usize = 1 + 16;

/// Full TLS 1.3 records in one piece of memory, opened by ring alone.
#[derive(Debug)]
pub(crate) struct RingAlone {
    pristine: Vec<u8>,
    records: Vec<u8>,
    key: LessSafeKey,
}

impl RingAlone {
    /// As many records as make `octets` of plaintext.
    pub(crate) fn new(octets: u64) -> anyhow::Result<Self> {
        let key =
            UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| anyhow::anyhow!("ring takes 16 octets as a key"))?;
        let key = LessSafeKey::new(key);
        let count = octets.div_ceil(RECORD as u64).max(1);
        let mut pristine = Vec::with_capacity(count as usize * (HEADER.len() + RECORD + OVERHEAD));
        for number in 0..count {
            let mut record = vec![number as u8; RECORD + 1];
            key.seal_in_place_append_tag(nonce(number), Aad::from(HEADER), &mut record)
                .map_err(|_| anyhow::anyhow!("ring seals"))?;
            pristine.extend(HEADER);
            pristine.extend(record);
        }
        Ok(Self { records: pristine.clone(), pristine, key })
    }

    /// Opens each record once.
    pub(crate) fn round(&mut self) -> Duration {
        self.records.copy_from_slice(&self.pristine);
        let (elapsed, failures) = cpu_time(|| {
            let records = self.records.chunks_exact_mut(HEADER.len() + RECORD + OVERHEAD);
            let opened = records.zip(0..).map(|(record, number)| {
                self.key.open_in_place(nonce(number), Aad::from(HEADER), &mut record[HEADER.len()..]).is_ok()
            });
            opened.filter(|opened| !opened).count()
        });
        assert_eq!(failures, 0, "ring opens what it sealed");
        elapsed
    }

    /// Opens one record over and over, without the time that putting its ciphertext back takes.
    pub(crate) fn hot_round(&mut self) -> Duration {
        let len = HEADER.len() + RECORD + OVERHEAD;
        let count = self.pristine.len() / len;
        let (pristine, record) = (&self.pristine[..len], &mut self.records[..len]);
        let (both, ()) = cpu_time(|| {
            for _ in 0..count {
                record.copy_from_slice(std::hint::black_box(pristine));
                let opened = self.key.open_in_place(nonce(0), Aad::from(HEADER), &mut record[HEADER.len()..]);
                assert!(std::hint::black_box(opened).is_ok(), "ring opens what it sealed");
            }
        });
        let (copies, ()) = cpu_time(|| {
            for _ in 0..count {
                std::hint::black_box(&mut *record).copy_from_slice(std::hint::black_box(pristine));
            }
        });
        both.saturating_sub(copies)
    }

    /// Plaintext octets of a round.
    pub(crate) fn plaintext(&self) -> u64 {
        (self.pristine.len() / (HEADER.len() + RECORD + OVERHEAD) * RECORD) as u64
    }
}

/// The header of a full TLS 1.3 record: application data, 1.2, length.
const HEADER: [u8; 5] = [23, 3, 3, ((RECORD + OVERHEAD) >> 8) as u8, (RECORD + OVERHEAD) as u8];

fn nonce(number: u64) -> Nonce {
    let mut nonce = [9; 12];
    for (octet, bit) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
        *octet ^= bit;
    }
    Nonce::assume_unique_for_key(nonce)
}
