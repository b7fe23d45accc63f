//! Whatever a compressed stream holds: no panic, no more memory and no more bytes than allowed, and an end.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const PLAIN_MAX: u64 = 16 << 20;
const MEMORY_MAX: u64 = 9 << 20;

fuzz_target!(|stream: &[u8]| {
    let mut buffer = vec![0; 64 << 10];
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let mut plain = 0;
    match canvass_tables::engine::fuzzing::unpack(stream, PLAIN_MAX, MEMORY_MAX) {
        None => return,
        Some(Err(error)) => panic!("refused before it was read: {error}"),
        Some(Ok(mut reader)) => {
            let error = loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break None,
                    Ok(count) => plain += count as u64,
                    Err(error) => break Some(error.to_string()),
                }
            };
            match error {
                None => assert_eq!(reader.read(&mut buffer).expect("an end stays one"), 0),
                Some(error) => {
                    let known = ["is corrupt: ", "ends early", "needs ", "expands to more than "];
                    let (name, reason) = error.strip_prefix("the ").and_then(|rest| rest.split_once(" stream ")).unwrap();
                    assert!(["gzip", "xz", "zstd", "bzip2"].contains(&name), "{error}");
                    assert!(
                        known.iter().any(|known| reason.starts_with(known)) || reason.contains("upport"),
                        "{error}"
                    );
                    reader.read(&mut buffer).expect_err("what has failed stays so");
                }
            }
        }
    }
    let memory = (ALLOCATOR.peak_usage() - before) as u64;
    assert!(plain <= PLAIN_MAX, "{plain} bytes");
    assert!(memory <= MEMORY_MAX, "{memory} bytes of memory");
});
