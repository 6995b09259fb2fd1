//! The fuzz targets on the stable toolchain, for a few seconds, with inputs from a seed. `fuzz/Cargo.toml` says how
//! to run them for longer, and better.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;

mod examples;
mod item;
#[path = "../../fuzz/targets.rs"]
mod targets;

use examples::{Example, examples};

/// How long each target runs. `PEERCHAT_FUZZ_SECONDS` changes it.
const EACH: Duration = Duration::from_millis(1200);

/// The input of this number for a target with these examples: the same always and everywhere. `others` are those of all
/// targets.
fn input(number: u64, examples: &[Example], others: &[Example]) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    let mut input = Vec::new();
    if let Some(example) = rng.choice(examples) {
        input.extend_from_slice(&example.head);
        if let Some(byte) = rng.choice(&mut input).filter(|_| number.is_multiple_of(2)) {
            *byte = rng.u8(..);
        }
    }
    for _ in 0..rng.usize(0..4) {
        match rng.u8(0..16) {
            0 => input.extend((0..rng.usize(0..64)).map(|_| rng.u8(..))),
            1 => input.extend((0..rng.usize(0..8)).flat_map(|_| rng.char(..).to_string().into_bytes())),
            2 => input.extend(&rng.choice(others).unwrap().body),
            _ => match rng.choice(examples) {
                Some(Example { item: Some(item), .. }) => {
                    let mut item = item.clone();
                    (0..rng.usize(0..4)).for_each(|_| item.damage(&mut rng));
                    item.write(&mut input);
                }
                Some(example) => input.extend(&example.body),
                None => {}
            },
        }
    }
    // Half of all stay as they are.
    for _ in 0..rng.usize(0..6).saturating_sub(2) {
        let at = rng.usize(0..=input.len());
        match rng.u8(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.u8(..)),
            // What lengths and CBOR's headers are made of.
            2 => input.insert(
                at,
                *rng.choice(&[0, 1, 0x18, 0x1b, 0x5f, 0x80, 0x82, 0x9f, 0xa1, 0xbb, 0xff]).unwrap(),
            ),
            3 => {
                let end = rng.usize(at..=input.len());
                input.extend_from_within(at..end);
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << rng.u8(0..8);
                }
            }
        }
    }
    input
}

#[test]
fn every_target_takes_any_bytes() {
    let each = std::env::var("PEERCHAT_FUZZ_SECONDS")
        .map_or(EACH, |seconds| Duration::from_secs_f64(seconds.parse().expect("a number of seconds")));
    let others: Vec<Example> = targets::ALL.iter().flat_map(|(name, _)| examples(name)).collect();
    let mut all = 0;
    for (name, target) in targets::ALL {
        let examples = examples(name);
        assert!(!examples.is_empty(), "{name}");
        let end = Instant::now() + each;
        let mut number = 0;
        while Instant::now() < end {
            let input = input(number, &examples, &others);
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                panic!("target {name} fails on input {number}: {input:02x?}");
            }
            number += 1;
        }
        println!("{name}: {number} inputs");
        all += number;
    }
    println!("{all} inputs in all");
}
