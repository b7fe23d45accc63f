//! What a scan's process writes: messages of a kind, a length and a bounded body.
//!
//! One byte of kind, four of length (little endian), then as many bytes. Kind 1 is a frame: eight bytes of rows and the
//! frame's Arrow bytes. Kind 2 is the last message: JSON of [`Last`].

use std::io::{self, Write};

use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits;
use serde::{Deserialize, Serialize};

const FRAME: u8 = 1;
const LAST: u8 = 2;
const HEAD_BYTES: usize = 5;
const ROWS_BYTES: usize = 8;
/// A record with every trouble at its longest, each byte escaped.
const LAST_BYTES_MAX: usize = 2 << 20;

/// One message of a scan's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Frame { rows: u64, body: Vec<u8> },
    Last(Last),
}

/// How a scan ended, in the words of its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Last {
    Record(ScanRecord),
    /// It could not run; says why.
    Failed(String),
}

/// Why what was written is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("unknown kind of message {0}")]
    Kind(u8),
    #[error("a message of {bytes} bytes")]
    Length { bytes: usize },
    #[error("a malformed record: {0}")]
    Record(String),
}

/// Writes one frame.
pub fn write_frame(out: &mut dyn Write, rows: u64, body: &[u8]) -> io::Result<()> {
    if body.len() > limits::FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than an answer may carry"));
    }
    let mut head = Vec::with_capacity(HEAD_BYTES + ROWS_BYTES);
    head.push(FRAME);
    head.extend_from_slice(&length(ROWS_BYTES + body.len())?);
    head.extend_from_slice(&rows.to_le_bytes());
    out.write_all(&head)?;
    out.write_all(body)
}

/// Writes the last message.
pub fn write_last(out: &mut dyn Write, last: &Last) -> io::Result<()> {
    let json = serde_json::to_vec(last)?;
    let mut bytes = vec![LAST];
    bytes.extend_from_slice(&length(json.len())?);
    bytes.extend_from_slice(&json);
    out.write_all(&bytes)
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(io::Error::other)
}

/// Cuts a stream of hostile bytes into messages; holds no more than one of them.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes have come.
    pub fn take(&mut self) -> Result<Option<Message>, WireError> {
        let rest = &self.buffer[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else {
            return rest.first().map_or(Ok(None), |kind| bounds(*kind).map(|_| None));
        };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if !bounds(kind)?.contains(&length) {
            return Err(WireError::Length { bytes: length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let message = parse(kind, body)?;
        self.start += HEAD_BYTES + length;
        Ok(Some(message))
    }

    /// Whether bytes of an unfinished message are left.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }
}

fn bounds(kind: u8) -> Result<std::ops::RangeInclusive<usize>, WireError> {
    match kind {
        FRAME => Ok(ROWS_BYTES + 1..=ROWS_BYTES + limits::FRAME_BYTES_MAX),
        LAST => Ok(1..=LAST_BYTES_MAX),
        other => Err(WireError::Kind(other)),
    }
}

fn parse(kind: u8, body: &[u8]) -> Result<Message, WireError> {
    if let (FRAME, Some((rows, body))) = (kind, body.split_first_chunk::<ROWS_BYTES>()) {
        return Ok(Message::Frame { rows: u64::from_le_bytes(*rows), body: body.to_vec() });
    }
    serde_json::from_slice(body).map(Message::Last).map_err(|error| WireError::Record(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, 3, b"rows").unwrap();
        write_frame(&mut bytes, u64::MAX, &[7; 100_000]).unwrap();
        write_last(&mut bytes, &Last::Record(ScanRecord { rows: 3, ..ScanRecord::default() })).unwrap();
        bytes
    }

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<Message>, bool), WireError> {
        let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(message) = decoder.take()? {
                messages.push(message);
            }
        }
        Ok((messages, decoder.is_empty()))
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        for step in [1, 2, 5, 13, 64 << 10, usize::MAX] {
            let (messages, empty) = read(&written(), step).unwrap();
            assert!(empty);
            assert_eq!(messages.len(), 3);
            assert_eq!(messages[0], Message::Frame { rows: 3, body: b"rows".to_vec() });
            assert!(matches!(&messages[2], Message::Last(Last::Record(record)) if record.rows == 3));
        }
    }

    #[test]
    fn a_cut_stream_is_never_a_message_more() {
        let bytes = written();
        for end in [0, 1, 4, 5, 12, 16, bytes.len() - 1] {
            let (messages, empty) = read(&bytes[..end], usize::MAX).unwrap();
            assert!(messages.len() < 3);
            assert_eq!(empty, end == 0);
        }
    }

    #[test]
    fn garbage_is_told_at_once() {
        let cases: &[(&[u8], WireError)] = &[
            (b"garbage", WireError::Kind(b'g')),
            (&[0], WireError::Kind(0)),
            (&[1, 0, 0, 0, 0], WireError::Length { bytes: 0 }),
            (&[1, 8, 0, 0, 0], WireError::Length { bytes: 8 }),
            (&[1, 255, 255, 255, 255], WireError::Length { bytes: u32::MAX as usize }),
            (&[2, 1, 0, 32, 0], WireError::Length { bytes: LAST_BYTES_MAX + 1 }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes, usize::MAX).unwrap_err(), *expected);
        }
        for json in
            ["{}", "{\"record\":{}}", "[", "{\"record\":{\"unknown\":1}}", "{\"failed\":\"a\",\"failed\":\"b\"}"]
        {
            let mut bytes = vec![2, u8::try_from(json.len()).unwrap(), 0, 0, 0];
            bytes.extend_from_slice(json.as_bytes());
            assert!(matches!(read(&bytes, usize::MAX), Err(WireError::Record(_))), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, step in 1_usize..50) {
            let _ = read(&bytes, step);
        }
    }
}
