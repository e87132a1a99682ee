//! Loss and joining midway: what comes out is right or flagged, and no field is ever wrong.

use super::*;
use crate::flow::Direction::{ClientToServer, ServerToClient};
use crate::testing::Rng;
use crate::testing::h2::Manner;

const MANNER: Manner = Manner { requests: 60, concurrency: 10, max_body: 20_000 };

/// What was seen of a stream must be part of what was said; all of it, unless it is flagged.
fn assert_right(seen: &Seen, session: &Session, seed: u64) {
    let said = session.streams.iter().find(|said| said.id == seen.said.id);
    let said = said.unwrap_or_else(|| panic!("seed {seed}: stream {} was never there", seen.said.id));
    let messages = [
        (seen.has_request, &seen.said.request, &said.request, seen.unknown[0]),
        (seen.has_response, &seen.said.response, &said.response, seen.unknown[1]),
    ];
    for (there, seen_message, said_message, unknown) in messages {
        if !there {
            continue;
        }
        assert!(is_part(&seen_message.head, &said_message.head), "seed {seed}: {seen} of {}", text(said));
        assert!(is_part(&seen_message.trailers, &said_message.trailers), "seed {seed}: {seen} of {}", text(said));
        assert!(seen_message.body <= said_message.body, "seed {seed}: {seen} of {}", text(said));
        let fields = said_message.head.len() + said_message.trailers.len();
        let seen_fields = seen_message.head.len() + seen_message.trailers.len();
        // Interim heads have two fields, which are counted where nobody can know that they are interim.
        assert!(seen_fields + unknown as usize <= fields + 2, "seed {seed}: {seen} of {}", text(said));
    }
    if seen.reasons.is_empty() {
        assert!(seen.said == *said, "seed {seed}: {seen} of {}", text(said));
    }
}

/// Whether fields are some of others, in order. (Pseudo-header fields come in an order of their own, which is ours.)
fn is_part(part: &Fields, whole: &Fields) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|field| rest.any(|other| other == field))
}

#[test]
fn lost_records_never_make_a_wrong_field() {
    let (mut whole, mut flagged, mut missing, mut resyncs) = (0, 0, 0, 0);
    for seed in 0..80 {
        let session = Session::random(seed, MANNER);
        let mut rng = Rng::fork(seed, 9);
        let loss = *rng.pick(&[2, 10, 50, 200]);
        let only = *rng.pick(&[None, Some(ClientToServer), Some(ServerToClient)]);
        let mut rig = Rig::new();
        let mut lost = [0_u64; 2];
        for (direction, octets) in session.records(&mut rng) {
            if only.is_none_or(|only| only == direction) && rng.per_mille(loss) {
                lost[direction as usize] += octets.len() as u64;
                continue;
            }
            // A hole may end inside a record where TLS is not between.
            let skip = if lost[direction as usize] > 0 && rng.per_mille(300) { rng.below(octets.len()) } else { 0 };
            let n = std::mem::take(&mut lost[direction as usize]);
            if n > 0 {
                let n = n + skip as u64;
                rig.gap(direction, if rng.per_mille(500) { Lost::Exactly(n) } else { Lost::AtMost(n + 100) });
            }
            rig.data(direction, &octets[skip..]);
        }
        let seen = rig.finish();
        for seen in &seen {
            assert_right(seen, &session, seed);
        }
        whole += seen.iter().filter(|seen| seen.reasons.is_empty()).count();
        flagged += seen.iter().filter(|seen| !seen.reasons.is_empty()).count();
        missing += session.streams.len() - seen.len();
        resyncs += rig.stats.h2_resyncs;
    }
    println!("{whole} whole, {flagged} flagged, {missing} missing, {resyncs} times found again");
    assert!(flagged > 100 && whole > 1_500 && resyncs > 500 && missing < whole / 10);
}

#[test]
fn joining_midway_never_makes_a_wrong_field() {
    let (mut whole, mut flagged) = (0, 0);
    for seed in 0..80 {
        let session = Session::random(seed, MANNER);
        let mut rng = Rng::fork(seed, 9);
        let records = session.records(&mut rng);
        let start = rng.below(records.len());
        let mut rig = Rig::midway();
        for (direction, octets) in &records[start..] {
            rig.data(*direction, octets);
        }
        let seen = rig.finish();
        for seen in &seen {
            assert_right(seen, &session, seed);
        }
        whole += seen.iter().filter(|seen| seen.reasons.is_empty()).count();
        flagged += seen.iter().filter(|seen| !seen.reasons.is_empty()).count();
    }
    println!("{whole} whole, {flagged} flagged");
    assert!(flagged > 500 && whole > 500);
}

/// Who joins at the first octet has missed nothing, even if the flow is said to have been there before.
#[test]
fn joining_midway_at_the_preface_is_joining_at_the_start() {
    for seed in 0..20 {
        let session = Session::random(seed, MANNER);
        let mut rig = Rig::midway();
        for (direction, octets) in &session.writes {
            rig.data(*direction, octets);
        }
        assert_all(rig.finish(), &session, seed);
    }
}

/// A hole inside a body costs the octets and flags that stream alone.
#[test]
fn a_known_loss_inside_a_body_touches_one_stream() {
    let mut cases = 0;
    for seed in 0..80 {
        let session = Session::random(seed, MANNER);
        let mut rng = Rng::fork(seed, 9);
        let bodies: Vec<usize> = (0..session.writes.len())
            .filter(|at| session.writes[*at].1.len() > 300 && session.writes[*at].1[3] == 0)
            .collect();
        if bodies.is_empty() {
            continue;
        }
        let holed = *rng.pick(&bodies);
        let mut rig = Rig::new();
        for (at, (direction, octets)) in session.writes.iter().enumerate() {
            if at != holed {
                rig.data(*direction, octets);
                continue;
            }
            let start = rng.between(10, octets.len() - 1);
            let end = rng.between(start + 1, octets.len());
            rig.data(*direction, &octets[..start]);
            rig.gap(*direction, Lost::Exactly((end - start) as u64));
            rig.data(*direction, &octets[end..]);
        }
        let mut seen = rig.finish();
        seen.sort_by_key(|seen| seen.said.id);
        assert_eq!(seen.len(), session.streams.len(), "seed {seed}");
        let flagged: Vec<_> = seen.iter().filter(|seen| !seen.reasons.is_empty()).collect();
        assert_eq!(flagged.len(), 1, "seed {seed}: {flagged:?}");
        for (seen, said) in seen.iter().zip(&session.streams) {
            let sizes = |said: &Said| (said.id, said.request.body, said.response.body);
            assert_eq!(sizes(&seen.said), sizes(said), "seed {seed}: sizes count what is known to be missing");
            assert_eq!(seen.said, *said, "seed {seed}");
        }
        cases += 1;
    }
    assert!(cases > 40);
}
