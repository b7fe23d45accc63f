//! The encoding that SSH has for numbers and strings (RFC 4251, section 5).

/// Reads fields one after another; `None` where the bytes end before the field does.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A number of any size that is not negative, without leading zeros.
    pub fn mpint(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) { None } else { Some(magnitude(bytes)) }
    }
}

/// A number's bytes without leading zeros.
pub(super) fn magnitude(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

/// The number of bits of a number without leading zeros.
pub(super) fn bits(magnitude: &[u8]) -> Option<u32> {
    let first = magnitude.first()?;
    let rest = u32::try_from(magnitude.len() - 1).ok()?.checked_mul(8)?;
    rest.checked_add(8 - first.leading_zeros())
}

pub(super) fn put_string(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(bytes);
}

pub(super) fn put_mpint(to: &mut Vec<u8>, magnitude: &[u8]) {
    if magnitude.first().is_some_and(|first| first & 0x80 != 0) {
        let padded = [&[0], magnitude].concat();
        put_string(to, &padded);
    } else {
        put_string(to, magnitude);
    }
}
