//! A strict reader of DER, as far as key files need it: definite lengths, one byte of tag.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Reads values one after another; `None` where what is there is no DER, or another value.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The next value, whatever it is.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            if !(1..=4).contains(&digits.len()) || digits.first() == Some(&0) {
                return None;
            }
            let length = digits.iter().fold(0, |length: u32, digit| length << 8 | u32::from(*digit));
            usize::try_from(length).ok().filter(|length| *length >= 0x80)?
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    pub fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, value) = ahead.next()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(value)
    }

    pub fn sequence(&mut self) -> Option<Der<'a>> {
        self.value(SEQUENCE).map(Der)
    }

    /// A number that is not negative, without leading zeros.
    pub fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.value(INTEGER)?;
        (bytes.first()? & 0x80 == 0).then(|| super::wire::magnitude(bytes))
    }

    /// A bit string of whole bytes.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.value(BIT_STRING)?.strip_prefix(&[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_values_are_none() {
        for odd in [
            &[][..],
            &[2],
            &[2, 1],
            &[2, 0x80, 0],
            &[2, 0x81, 1, 5],
            &[2, 0x82, 0, 1, 5],
            &[2, 0x85, 1, 0, 0, 0, 0],
            &[2, 0x84, 255, 255, 255, 255],
            &[2, 1, 0x80],
            &[2, 0],
            &[3, 1, 5],
        ] {
            assert_eq!(Der(odd).integer(), None, "{odd:?}");
        }
        assert_eq!(Der(&[2, 2, 0, 0x80]).integer(), Some(&[0x80][..]));
        assert_eq!(Der(&[2, 1, 0]).integer(), Some(&[][..]));
        assert_eq!(Der(&[3, 2, 0, 9]).bits(), Some(&[9][..]));
        assert_eq!(Der(&[3, 2, 1, 8]).bits(), None);
    }
}
