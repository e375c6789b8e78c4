//! Inputs from good bytes: which one comes of a seed and a number, and of nothing else.
//!
//! So any execution can be had again without those before it. Mutations know nothing of what the bytes are; they do what
//! breaks parsers: flipped bits, lengths that lie, cuts, and pieces of other inputs.
//! Deliberately not here: learning from coverage, which libFuzzer does.

/// Inputs are cut to this.
const MAX_LEN: usize = 64 * 1024;

/// Numbers that lengths, counts and offsets break at.
const NUMBERS: [i64; 17] = [
    0,
    1,
    -1,
    -2,
    2,
    127,
    128,
    255,
    256,
    32_767,
    65_535,
    1 << 20,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// A stream of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The input of one execution. `seeds` must not be empty.
#[must_use]
pub fn input(seed: u64, execution: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ execution.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let mut bytes = rng.of(seeds).clone();
    // Few changes leave much to be understood; now and then there are none, or many.
    let changes = *rng.of(&[0, 1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 16]);
    for _ in 0..changes {
        mutate(&mut bytes, &mut rng, seeds);
    }
    bytes.truncate(MAX_LEN);
    bytes
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng, seeds: &[Vec<u8>]) {
    let at = rng.below(bytes.len());
    match rng.below(12) {
        0 => put(bytes, at, &[1 << rng.below(8)], |to, from| *to ^= from),
        1 => put(bytes, at, &[rng.next() as u8], |to, from| *to = from),
        2 => {
            let number = rng.of(&NUMBERS).to_be_bytes();
            let width = *rng.of(&[1, 2, 4, 8]);
            put(bytes, at, &number[8 - width..], |to, from| *to = from);
        }
        3 => {
            let number = rng.of(&NUMBERS).to_le_bytes();
            let width = *rng.of(&[2, 4, 8]);
            put(bytes, at, &number[..width], |to, from| *to = from);
        }
        4 => {
            let varint = varint(*rng.of(&NUMBERS) as u64);
            drop(bytes.splice(at..(at + 1).min(bytes.len()), varint));
        }
        5 => change_length(bytes, at, rng),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(at..(at + 1 + rng.below(16)).min(bytes.len()))),
        8 => {
            let random: Vec<u8> = (0..1 + rng.below(8)).map(|_| rng.next() as u8).collect();
            drop(bytes.splice(at..at, random));
        }
        9 => {
            let piece = piece(&bytes.clone(), rng);
            drop(bytes.splice(at..at, piece));
        }
        10 => {
            let other: &Vec<u8> = rng.of(seeds);
            let piece = piece(other, rng);
            put(bytes, at, &piece, |to, from| *to = from);
        }
        _ => {
            let other = rng.of(seeds);
            let from = rng.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

fn put(bytes: &mut [u8], at: usize, with: &[u8], change: impl Fn(&mut u8, u8)) {
    bytes.iter_mut().skip(at).zip(with).for_each(|(to, from)| change(to, *from));
}

/// Some bytes in a row.
fn piece(of: &[u8], rng: &mut Rng) -> Vec<u8> {
    let from = rng.below(of.len());
    let most = *rng.of(&[4, 16, 64, 1024]);
    let length = rng.below(most);
    of[from..(from + length).min(of.len())].to_vec()
}

/// Adds a little to what may be a length.
fn change_length(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let by = *rng.of(&[1i32, -1, 2, -2, 4, -4, 16, -16, 256]);
    if let Some(length) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<4>) {
        *length = i32::from_be_bytes(*length).wrapping_add(by).to_be_bytes();
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_the_same_input_each_time_and_its_neighbours_have_others() {
        let seeds = [vec![1, 2, 3, 4, 5, 6, 7, 8], b"another one".to_vec(), Vec::new()];
        let inputs: Vec<Vec<u8>> = (0..2000).map(|n| input(7, n, &seeds)).collect();
        assert_eq!(inputs, (0..2000).map(|n| input(7, n, &seeds)).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<&Vec<u8>> = inputs.iter().collect();
        assert!(different.len() > 1000, "{}", different.len());
        assert_ne!(inputs, (0..2000).map(|n| input(8, n, &seeds)).collect::<Vec<_>>());
    }
}
