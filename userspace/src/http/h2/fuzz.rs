//! What the fuzz targets `hpack` and `h2` run; unit tests run it on a few inputs too.

use super::hpack::{Decoder, Scratch};

/// Decodes `data` as header blocks with one decoder that sees all of them and one that misses some: neither may panic or
/// exceed its limit, and as long as the first finds nothing to object to, the second agrees with it or does not know.
///
/// ```text
/// data: limit (1 octet, times 64), then blocks: length (1 octet; 0: the observer misses the next), octets
/// ```
pub fn fuzz_hpack(data: &[u8]) {
    let Some((&limit, mut rest)) = data.split_first() else { return };
    let limit = usize::from(limit) * 64;
    let (mut whole, mut observer) = (Decoder::new(1 << 20), Decoder::unknown(limit));
    let mut scratch = Scratch::default();
    let mut lawful = true;
    let mut missed = false;
    while let Some((&len, tail)) = rest.split_first() {
        if len == 0 {
            missed = true;
            rest = tail;
            continue;
        }
        let (block, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        let mut truth = Vec::new();
        let outcome = whole.decode(block, &mut scratch, |field| {
            truth.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
        });
        lawful &= outcome.is_ok_and(|decoded| decoded.unknown == 0);
        if missed {
            observer.forget();
            missed = false;
            continue;
        }
        let mut position = 0;
        let outcome = observer.decode(block, &mut scratch, |field| {
            if lawful {
                let (name, value) = &truth[position];
                assert!(field.name.is_none() || field.name == name.as_deref());
                assert!(field.value.is_none() || field.value == value.as_deref());
            }
            position += 1;
        });
        assert!(!lawful || outcome.is_ok_and(|decoded| decoded.beyond_table == 0));
        assert!(observer.table().size() <= limit && observer.table().len() <= limit / 32);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hpack_target_runs() {
        super::fuzz_hpack(&[]);
        super::fuzz_hpack(&[1, 0, 4, 0x40, 1, b'a', 0, 1, 0xbe, 3, 0x7f, 0x80, 0x01, 2, 0x40, 0xff]);
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(20_000)
        .collect();
        for start in 0..200 {
            super::fuzz_hpack(&noise[start * 100..]);
        }
    }
}
