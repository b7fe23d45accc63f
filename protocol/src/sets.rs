//! Long lists that a scan carries once and its tests name: patterns, and values behind a Bloom filter.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits;

/// Regular expressions of which any may match, as [`crate::filter::Is::MatchesAny`] tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternSet {
    /// In Rust `regex` syntax; each counts as one predicate.
    pub patterns: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// A Bloom filter over texts, as [`crate::filter::Is::InBloom`] tests: it holds every text it was made of, and a few others.
///
/// Text number `i` of `hashes` sets the bit `(a + i * b) mod n` of `n` bits, all modulo 2^64, where `a` and `b` are the first
/// and the second eight bytes, big-endian, of the SHA-256 over the seed (eight bytes, big-endian) and the text in UTF-8.
/// Bit `k` is bit `k mod 8`, from the least, of byte `k / 8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bloom {
    #[serde(with = "crate::api::base64_text")]
    pub bits: Vec<u8>,
    pub hashes: u32,
    pub seed: u64,
}

impl PatternSet {
    /// What is wrong with it, in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self.patterns.len() {
            0 => Err("it is empty"),
            count if count > limits::PATTERNS_MAX => Err("it has more patterns than are allowed"),
            _ => Ok(()),
        }
    }
}

impl Bloom {
    /// A filter of so many bytes over texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>, bytes: usize, hashes: u32, seed: u64) -> Bloom {
        let mut bloom = Bloom { bits: vec![0; bytes.max(1)], hashes, seed };
        for text in texts {
            for bit in bloom.bits_of(text).collect::<Vec<_>>() {
                bloom.bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        bloom
    }

    /// Whether a text may be one of those it was made of; false is certain.
    pub fn may_hold(&self, text: &str) -> bool {
        self.bits_of(text).all(|bit| self.bits.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
    }

    fn bits_of(&self, text: &str) -> impl Iterator<Item = usize> + use<> {
        let hash = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(text).finalize();
        let word = |at: usize| hash[at..at + 8].iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let (first, second) = (word(0), word(8));
        let count = (self.bits.len() as u64 * 8).max(1);
        (0..u64::from(self.hashes)).map(move |index| {
            let bit = first.wrapping_add(index.wrapping_mul(second)) % count;
            usize::try_from(bit).unwrap_or(usize::MAX)
        })
    }

    /// What is wrong with it, in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.bits.is_empty() {
            return Err("it has no bits");
        }
        if self.hashes == 0 || self.hashes > limits::BLOOM_HASHES_MAX {
            return Err("its number of hashes is 0 or more than is allowed");
        }
        Ok(())
    }
}
