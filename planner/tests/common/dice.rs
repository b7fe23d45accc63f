//! Chance that can be told again, and text in two dialects at once.

/// Random choices from a seed (`SplitMix64`).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() % sides as u64).unwrap_or(0)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    /// A number of things from `least` to `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.roll(most - least + 1)
    }
}

/// A text that reads otherwise in the other dialect; such texts stand in one another.
pub fn both(ours: &str, theirs: &str) -> String {
    format!("⟦{ours}¦{theirs}⟧")
}

/// The text in our dialect.
pub fn ours(text: &str) -> String {
    resolve(text, 0)
}

/// The text in the other.
pub fn theirs(text: &str) -> String {
    resolve(text, 1)
}

fn resolve(text: &str, side: usize) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.rfind('⟦') {
        let inner = start + '⟦'.len_utf8();
        let end = inner + text[inner..].find('⟧').expect("it ends");
        let chosen = text[inner..end].split('¦').nth(side).expect("it has two sides").to_owned();
        text.replace_range(start..end + '⟧'.len_utf8(), &chosen);
    }
    text
}

/// The seed of a run and how much of it: `CANVASS_SEED` for another than the first, `CANVASS_EXAMPLES` for more of them.
pub fn run(examples: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    // The same for everybody, so that a change is not blamed for what another seed finds.
    let seed = number("CANVASS_SEED").unwrap_or(1);
    (seed, number("CANVASS_EXAMPLES").unwrap_or(examples))
}
