//! Digests of content: any number of them from one pass over the bytes.

use md5::Md5;
use md5::digest::DynDigest;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// A digest that a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl Algorithm {
    /// Hexadecimal digits of a digest.
    pub const fn hex_digits(self) -> usize {
        match self {
            Algorithm::Md5 => 32,
            Algorithm::Sha1 => 40,
            Algorithm::Sha3_224 => 56,
            Algorithm::Sha256 | Algorithm::Sha3_256 => 64,
            Algorithm::Sha384 | Algorithm::Sha3_384 => 96,
            Algorithm::Sha512 | Algorithm::Sha3_512 => 128,
        }
    }

    fn start(self) -> Box<dyn DynDigest + Send> {
        match self {
            Algorithm::Md5 => Box::new(Md5::default()),
            Algorithm::Sha1 => Box::new(Sha1::default()),
            Algorithm::Sha256 => Box::new(Sha256::default()),
            Algorithm::Sha384 => Box::new(Sha384::default()),
            Algorithm::Sha512 => Box::new(Sha512::default()),
            Algorithm::Sha3_224 => Box::new(Sha3_224::default()),
            Algorithm::Sha3_256 => Box::new(Sha3_256::default()),
            Algorithm::Sha3_384 => Box::new(Sha3_384::default()),
            Algorithm::Sha3_512 => Box::new(Sha3_512::default()),
        }
    }
}

/// Several digests of one stream; the same value serves stream after stream.
pub(crate) struct Digests {
    states: Vec<Box<dyn DynDigest + Send>>,
}

impl Digests {
    pub fn new(algorithms: &[Algorithm]) -> Digests {
        Digests { states: algorithms.iter().map(|algorithm| algorithm.start()).collect() }
    }

    /// Takes the next bytes; big blocks cost least.
    pub fn update(&mut self, block: &[u8]) {
        self.states.iter_mut().for_each(|state| state.update(block));
    }

    /// Ends the stream and starts the next: lower-case hexadecimal, in the order of the algorithms.
    pub fn finish(&mut self) -> Vec<String> {
        self.states.iter_mut().map(|state| hex(&state.finalize_reset())).collect()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 9] = [
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
        Algorithm::Sha3_224,
        Algorithm::Sha3_256,
        Algorithm::Sha3_384,
        Algorithm::Sha3_512,
    ];

    /// Of `abc`, as RFC 1321, FIPS 180-4 and FIPS 202's example values have them.
    const OF_ABC: [&str; 9] = [
        "900150983cd24fb0d6963f7d28e17f72",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
        "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
         10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    ];

    #[test]
    fn digests_are_those_of_the_standards_and_begin_anew_after_each_stream() {
        let mut digests = Digests::new(&ALL);
        for _ in 0..2 {
            digests.update(b"a");
            digests.update(b"");
            digests.update(b"bc");
            assert_eq!(digests.finish(), OF_ABC);
        }
    }

    #[test]
    fn nothing_asked_for_is_nothing_answered() {
        let mut digests = Digests::new(&[]);
        digests.update(b"abc");
        assert!(digests.finish().is_empty());
    }

    #[test]
    fn how_the_bytes_are_cut_does_not_matter() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut digests = Digests::new(&ALL);
        digests.update(&bytes);
        let whole = digests.finish();
        for length in [1, 63, 64, 65, 143, 144, 4096, 99_999] {
            bytes.chunks(length).for_each(|block| digests.update(block));
            assert_eq!(digests.finish(), whole, "in pieces of {length}");
        }
    }
}
