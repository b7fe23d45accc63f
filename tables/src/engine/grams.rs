//! A search for many literals that looks at a block in steps: wherever a literal stands, one of the looks falls into it.
//!
//! Of each literal a window of `step + 3` bytes is chosen. Whatever `step` bytes a block is looked at apart, exactly one
//! look falls onto one of the window's `step` runs of four bytes. So four bytes at each step are looked up in a bitmap of
//! all those runs, and only where they are there, the literals that hold them are compared.

use std::ops::ControlFlow;

use super::search::{Visit, Wanted};

/// Bytes of one look.
const GRAM: usize = 4;
/// The longest step; more makes the bitmap fuller and saves little.
const STEP_MAX: usize = 8;
/// Literals that hold the same four bytes in their windows; where more do, an automaton is faster.
const SAME_MAX: usize = 64;
/// Where a window may begin.
const WINDOWS_MAX: usize = 64;
/// Bits of the bitmap, as powers of two: it has to fit into a core's nearest cache, or in the next.
const BITS_MIN: u32 = 15;
const BITS_MAX: u32 = 21;
/// Bits of the table in which windows are chosen.
const COUNTS: u32 = 16;

pub(super) struct Grams {
    step: usize,
    /// Set in bytes before they are looked up, so that letters are found in either case.
    fold: u32,
    bits: u32,
    bitmap: Vec<u64>,
    /// Where the entries of each bucket begin.
    begins: Vec<u32>,
    entries: Vec<Entry>,
}

/// A literal that holds four bytes of this bucket.
#[derive(Clone, Copy)]
struct Entry {
    needle: u32,
    offset: u32,
}

impl Grams {
    /// Bytes that a literal has to have.
    pub const SHORTEST: usize = GRAM;

    /// `None` where there are no literals, or too many that are alike.
    pub fn new(needles: &[Wanted], ids: &[usize]) -> Option<Grams> {
        let length = |id: &usize| needles[*id].needle.bytes.len();
        let shortest = ids.iter().map(length).min().filter(|&shortest| shortest >= GRAM)?;
        let step = (shortest + 1 - GRAM).min(STEP_MAX);
        // Setting the bit makes letters of both cases one, and a few other bytes too, which are compared later.
        let fold = if ids.iter().any(|&id| needles[id].needle.fold) { 0x2020_2020 } else { 0 };
        let grams = ids.len() * step;
        let bits = (grams * 16).next_power_of_two().ilog2().clamp(BITS_MIN, BITS_MAX);
        let mut counts = vec![0_u32; 1 << COUNTS];
        let count_at = |gram: u32| hash(gram, COUNTS);
        for &id in ids {
            grams_of(&needles[id].needle.bytes, fold).take(WINDOWS_MAX).for_each(|gram| counts[count_at(gram)] += 1);
        }
        let bucket_bits = bits.min(17);
        let mut placed = Vec::with_capacity(grams);
        for &id in ids {
            let bytes = &needles[id].needle.bytes;
            let all: Vec<u32> = grams_of(bytes, fold).take(WINDOWS_MAX).collect();
            let cost = |window: &[u32]| window.iter().map(|&gram| counts[count_at(gram)]).max();
            let (start, window) = all.windows(step).enumerate().min_by_key(|(_, window)| cost(window))?;
            for (offset, &gram) in window.iter().enumerate() {
                let entry = Entry { needle: u32::try_from(id).ok()?, offset: u32::try_from(start + offset).ok()? };
                placed.push((gram, entry));
            }
        }
        let bucket = |gram: u32| hash(gram, bits) >> (bits - bucket_bits);
        placed.sort_by_key(|&(gram, _)| bucket(gram));
        if placed.chunk_by(|(a, _), (b, _)| bucket(*a) == bucket(*b)).any(|same| same.len() > SAME_MAX) {
            return None;
        }
        let mut bitmap = vec![0_u64; 1 << (bits - 6)];
        let mut begins = vec![0_u32; (1 << bucket_bits) + 1];
        for &(gram, _) in &placed {
            let bit = hash(gram, bits);
            bitmap[bit >> 6] |= 1 << (bit & 63);
            begins[bucket(gram) + 1] += 1;
        }
        begins.iter_mut().fold(0, |sum, begin| {
            *begin += sum;
            *begin
        });
        let entries = placed.into_iter().map(|(_, entry)| entry).collect();
        Some(Grams { step, fold, bits, bitmap, begins, entries })
    }

    /// Visits every place of every literal.
    pub fn each(&self, needles: &[Wanted], block: &[u8], visit: &mut Visit<'_>) -> ControlFlow<()> {
        let mut at = 0;
        while let Some(gram) = block.get(at..at + GRAM).and_then(<[u8]>::first_chunk) {
            let bit = hash(u32::from_le_bytes(*gram) | self.fold, self.bits);
            if self.bitmap[bit >> 6] >> (bit & 63) & 1 != 0 {
                self.compare(needles, block, at, bit, visit)?;
            }
            at += self.step;
        }
        ControlFlow::Continue(())
    }

    #[inline(never)]
    fn compare(
        &self,
        needles: &[Wanted],
        block: &[u8],
        at: usize,
        bit: usize,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let bucket = bit >> (self.bits - self.bits.min(17));
        let entries = self.begins[bucket] as usize..self.begins[bucket + 1] as usize;
        for entry in &self.entries[entries] {
            let wanted = &needles[entry.needle as usize];
            if let Some(start) = at.checked_sub(entry.offset as usize)
                && wanted.stands_at(block, start)
            {
                visit(wanted, start)?;
            }
        }
        ControlFlow::Continue(())
    }

    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&self.bitmap[..]) + size_of_val(&self.begins[..]) + size_of_val(&self.entries[..])
    }
}

fn grams_of(bytes: &[u8], fold: u32) -> impl Iterator<Item = u32> {
    bytes.windows(GRAM).filter_map(<[u8]>::first_chunk).map(move |gram| u32::from_le_bytes(*gram) | fold)
}

/// The upper bits of a product, which hang on all bits of its factor.
fn hash(gram: u32, bits: u32) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}
