//! Streams of frames, whole and in pieces, as brokers send them and as they should not.

use std::future::poll_fn;

use futures::io::Cursor;
use futures::{AsyncReadExt as _, FutureExt as _};

use super::*;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind, 0, 1];
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.push(0xCE);
    frame
}

fn method(class: u16, method: u16) -> Vec<u8> {
    frame(METHOD, &[class.to_be_bytes(), method.to_be_bytes()].concat())
}

fn header(bytes: u64) -> Vec<u8> {
    frame(HEADER, &[&[0, 60, 0, 0][..], &bytes.to_be_bytes(), &[0, 0]].concat())
}

/// A message in frames of at most this many bytes.
fn message(bytes: usize, each: usize) -> Vec<u8> {
    let bodies = vec![b'x'; bytes].chunks(each).map(|chunk| frame(BODY, chunk)).collect::<Vec<_>>().concat();
    [method(60, 60), header(bytes as u64), bodies].concat()
}

/// What is told of these bytes, in pieces of this many.
fn look(bytes: &[u8], each: usize) -> Result<Vec<usize>, String> {
    let (mut frames, mut whole) = (Frames::default(), Vec::new());
    for piece in bytes.chunks(each) {
        frames.look(piece, |bytes| whole.push(bytes)).map_err(|error| error.to_string())?;
    }
    Ok(whole)
}

#[test]
fn messages_are_counted_however_they_come() {
    let opening =
        [method(10, 10), method(10, 30), method(20, 11), frame(HEARTBEAT, &[]), method(85, 11), method(60, 21)];
    let talk =
        [opening.concat(), message(0, 1), method(60, 80), message(5, 2), frame(HEARTBEAT, &[]), message(3, 3)].concat();
    let cost = |bytes: usize| 4 + 14 + bytes + MESSAGE_COST;
    for each in 1..talk.len() {
        assert_eq!(look(&talk, each).unwrap(), [cost(0), cost(5), cost(3)], "{each}");
    }
}

#[test]
fn what_is_beyond_bounds_ends_the_connection() {
    let largest = FRAME_BYTES_MAX - HEAD_BYTES - END_BYTES;
    let good = message(MESSAGE_BYTES_MAX, largest);
    assert_eq!(look(&good, 1 << 16).unwrap().len(), 1);
    let delivered = |rest: Vec<u8>| [method(60, 60), rest].concat();
    for (bytes, words) in [
        (delivered(header(MESSAGE_BYTES_MAX as u64 + 1)), "longer than any of a server's"),
        (delivered(header(u64::MAX)), "longer than any of a server's"),
        (frame(BODY, &vec![0; largest + 1]), "longer than was agreed"),
        (vec![METHOD, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF], "longer than was agreed"),
        (delivered([header(2), frame(BODY, b"xxx")].concat()), "more of a message than it said"),
        (frame(BODY, b"x"), "more of a message than it said"),
        (delivered([header(2), method(60, 60)].concat()), "breaks off a message"),
        (method(60, 50), "nobody asked for"),
        (method(60, 71), "nobody asked for"),
        (method(20, 20), "nobody asked for"),
        (method(50, 11), "nobody asked for"),
        (frame(METHOD, &[0, 60]), "speaks no AMQP"),
        (b"AMQP\x00\x00\x09\x01".to_vec(), "speaks no AMQP"),
        (b"HTTP/1.1 200".to_vec(), "speaks no AMQP"),
    ] {
        for each in [1, 1 << 16] {
            let error = look(&bytes, each).unwrap_err();
            assert!(error.contains(words), "{error} instead of {words}");
        }
    }
}

/// While as much waits as may nothing is read, and each message that is taken makes room for others.
#[test]
fn no_more_is_read_than_is_taken() {
    let many = 64;
    let one = message(1 << 20, 8000);
    let talk = one.repeat(many);
    let waiting = Arc::new(Waiting::default());
    let mut intake = Intake::new(Cursor::new(talk), waiting.clone());
    let (mut most, mut taken) = (0, 0);
    let mut buffer = vec![0; 256 << 10];
    while taken < many {
        while let Some(read) = intake.read(&mut buffer).now_or_never() {
            if read.unwrap() == 0 {
                break;
            }
        }
        most = most.max(waiting.lock().sum);
        assert!(waiting.lock().sum > 0, "there is always something to take");
        waiting.take();
        taken += 1;
    }
    assert!(most <= WAITING_BYTES_MAX + one.len() + buffer.len(), "{most} bytes waited");
    assert_eq!(waiting.lock().sum, 0);
}

#[tokio::test]
async fn who_waits_for_room_is_woken() {
    let waiting = Arc::new(Waiting::default());
    waiting.add(WAITING_BYTES_MAX);
    let room = poll_fn(|context| if waiting.is_full(context) { Poll::Pending } else { Poll::Ready(()) });
    let ((), ()) = tokio::join!(room, async { waiting.take() });
}
