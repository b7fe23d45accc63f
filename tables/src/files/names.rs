//! Names of one folder, close together: a folder can hold a million.

use std::ffi::CStr;

/// Names, each with its NUL, one after the other.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    count: usize,
}

impl Names {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn push(&mut self, name: &CStr) {
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.count += 1;
    }

    /// Moves the last name, with its NUL, into `name`.
    pub fn pop_into(&mut self, name: &mut Vec<u8>) -> bool {
        name.clear();
        let Some(nul) = self.bytes.len().checked_sub(1) else { return false };
        let start = memchr::memrchr(0, &self.bytes[..nul]).map_or(0, |before| before + 1);
        name.extend_from_slice(&self.bytes[start..]);
        self.bytes.truncate(start);
        self.count -= 1;
        true
    }

    /// Takes the first half away, the middle one included.
    pub fn split(&mut self) -> Names {
        let count = self.count.div_ceil(2);
        let end = memchr::memchr_iter(0, &self.bytes).nth(count.saturating_sub(1)).map_or(0, |nul| nul + 1);
        let rest = self.bytes.split_off(end);
        let first = Names { bytes: std::mem::replace(&mut self.bytes, rest), count };
        self.count -= count;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut names: Names) -> Vec<String> {
        let mut name = Vec::new();
        let mut all = Vec::new();
        while names.pop_into(&mut name) {
            all.push(CStr::from_bytes_with_nul(&name).unwrap().to_str().unwrap().to_owned());
        }
        all
    }

    #[test]
    fn halves_hold_all_names() {
        for count in 0..6 {
            let mut names = Names::default();
            let given = [c"a", c"bc", c"", c"d", c"eee"].into_iter().take(count);
            given.clone().for_each(|name| names.push(name));
            let first = names.split();
            assert_eq!((first.len(), names.is_empty()), (count.min(5).div_ceil(2), count < 2));
            let mut both = all(names);
            both.extend(all(first));
            both.reverse();
            assert_eq!(both, given.map(|name| name.to_str().unwrap()).collect::<Vec<_>>());
        }
    }
}
