//! What the decoders answer to streams, good and bad.

use std::io::{Cursor, Write as _};

use bzip2::write::BzEncoder;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

const FORMATS: [Format; 4] = [Format::Gzip, Format::Xz, Format::Zstd, Format::Bzip2];
const SHORT: &[u8] = b"one\ntwo\nthree\n";

/// [`SHORT`], as gzip 1.12, xz 5.4, zstd 1.5 and bzip2 1.0 write it.
const SHORT_STREAMS: [(Format, &str); 8] = [
    // gzip -9n
    (Format::Gzip, "1f8b0800000000000203cbcf4be52a29cfe72ac9284a4de50200b6d5e6250e000000"),
    // bzip2 -9
    (
        Format::Bzip2,
        "425a6839314159265359087b7dd7000004c1800010024194802000310c0821a3d4c885473238a8f177245385090087b7dd70",
    ),
    // xz --check=crc32
    (
        Format::Xz,
        "fd377a585a0000016922de360200210116000000742fe5a301000d6f6e650a74776f0a74687265650a000000b6d5e625\
         0001220e0cde8c609042990d010000000001595a",
    ),
    // xz -0 --check=crc64
    (
        Format::Xz,
        "fd377a585a000004e6d6b446020021010c0000008f98419c01000d6f6e650a74776f0a74687265650a0000009484922be8975b7d\
         0001260e081be0041fb6f37d010000000004595a",
    ),
    // xz -0 --check=sha256
    (
        Format::Xz,
        "fd377a585a00000ae1fb0ca1020021010c0000008f98419c01000d6f6e650a74776f0a74687265650a000000\
         b6285c57e8797db5d4c51c80d6f11938afda9b11c6a003549709189e9b4b92a2\
         00013e0e5183fb86189b4b9a01000000000a595a",
    ),
    // xz --check=none
    (
        Format::Xz,
        "fd377a585a000000ff12d9410200210116000000742fe5a301000d6f6e650a74776f0a74687265650a000000\
         00011e0ef3a77f1306729e7a010000000000595a",
    ),
    // zstd -19
    (Format::Zstd, "28b52ffd04687100006f6e650a74776f0a74687265650aa4588934"),
    // zstd --no-check
    (Format::Zstd, "28b52ffd00587100006f6e650a74776f0a74687265650a"),
];

/// [`log`], from the same programs.
const LOG_STREAMS: [(Format, &str); 5] = [
    // gzip -9n
    (
        Format::Gzip,
        "1f8b08000000000002038dd4bb0d02411443d19c2a5e09d8e65bce04b3b0d28845ecf42f4405dcfc464796c7faea75ac6da9566\
         37bd47cb6599ffeee6deeb5cebd8fe5307e8d4063d0043427d09c417301cd153437d0dc89218226d222d422d622d822da22dc22\
         de22e022e226e246db26e226e226e226e226e226e226e226e221e221e2417742c443c443c443c443c443c4f347fc0b66a13ef0b\
         e050000",
    ),
    // bzip2 -9
    (
        Format::Bzip2,
        "425a6839314159265359eef0ddea0001db5980001040007fe023e5dc003000c302523f554f534ff528c4d0014000d03264052a9\
         a8d0000326c051b014580a3e8146e051be96b7499ebdb5db7d24bc924939c919249318c6318fc051c014719ce6eadca16ed8a15\
         6a85555555555b596e051e00a38029f44d04f426a26826a13a89813889c04d04c09a89909b44da2604cc2682604c84cc4fe2ee4\
         8a70a121dde1bbd40",
    ),
    // xz -9e --check=sha256
    (
        Format::Xz,
        "fd377a585a00000ae1fb0ca1020021011c00000010cf58cce005bd00775d00361a4a1f08a026034d069defed8aa706ffb16c967\
         7fd61cab4cf15feec47b2222e840321221fc8863cddb001e4722ce542f88549f71fdbe7491dccb3976c4304298cc0851c372859\
         a5dd379f945e285795f7129b31e9858b52a0df7d1b23cbce01d5d26cf6459ad161c836f503b9437ba124fe424487000000b43f5\
         1a017855f4e42650cc6852a0438be90f6f06ffe349bd3d45a542dd40bee0001ab01be0b000008ca167cb6e9df1c02000000000a595a",
    ),
    // xz --x86 --delta=dist=2 --lzma2=preset=0
    (
        Format::Xz,
        "fd377a585a000004e6d6b4460302040003010121010c0000634a6ff3e005bd00cb5d00361a3c4fb39f860a42e30b4c6baa22d51\
         4aef0616c1107811e60b4c89717fa6b6ece59270cdce89fe08fbcbc742814d3bf6240774911a4ea1128456244be8bb56f751c17\
         44f67dc45ff3a1d48a9821734d9e49d68ad59dafb31b78d77a129e68618079efe28c50d438aecc6f2b96b0da406184bb489afcd\
         a6d165dd3466557857924f6badb3b06736f4418c4a77a36114862e3bfdf1d4b325821eda4ab157913342d679fe90f3d1229c0d8\
         3fb440fba4f4b4592873bbb05537523d2ee8f1dc9f3aab94944885480bf54a72000036a3c27c1652fcdd0001eb01be0b000064c\
         04e73b1c467fb020000000004595a",
    ),
    // zstd --ultra -22
    (
        Format::Zstd,
        "28b52ffd0488250300e2840f10a03df856ec36a80235929494453fa7608487786f5e0d4c86786f5e0d4b86786f5e5532c47bf32\
         a38cbc0a812c6629c79194b8a89daca92a76548c3d40a28a811c0b7ff67e035ab01113404ffbf43987efeed6edfb43d449b6343\
         829797679555bd1fe13c",
    ),
];

fn log() -> Vec<u8> {
    (0..40).flat_map(|number| format!("line {number} of a log that repeats itself\n").into_bytes()).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

/// All streams of foreign programs, with what is in them.
fn streams() -> impl Iterator<Item = (Format, Vec<u8>, Vec<u8>)> {
    let short = SHORT_STREAMS.iter().map(|(format, hex)| (*format, bytes(hex), SHORT.to_vec()));
    short.chain(LOG_STREAMS.iter().map(|(format, hex)| (*format, bytes(hex), log())))
}

fn short(format: Format) -> Vec<u8> {
    let (_, hex) = SHORT_STREAMS.iter().find(|(of, _)| *of == format).unwrap();
    bytes(hex)
}

/// The plain bytes, or how far it came and why no farther.
fn plain_within(format: Format, stream: &[u8], plain_max: u64, memory_max: u64) -> Result<Vec<u8>, (Vec<u8>, String)> {
    let mut plain = Vec::new();
    let mut reader = bounded(format, stream, plain_max, memory_max).map_err(|error| (Vec::new(), error.to_string()))?;
    match reader.read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(error) => {
            let again = reader.read(&mut [0; 9]).unwrap_err();
            assert_eq!(again.to_string(), "the stream has failed before");
            Err((plain, error.to_string()))
        }
    }
}

fn plain(format: Format, stream: &[u8]) -> Result<Vec<u8>, String> {
    plain_within(format, stream, 1 << 30, 256 << 20).map_err(|(_, error)| error)
}

#[test]
fn formats_are_told_by_their_first_bytes() {
    for (format, stream, _) in streams() {
        assert_eq!(Format::of(&stream), Some(format));
        assert_eq!(Format::of(&stream[..HEAD_BYTES.min(stream.len())]), Some(format));
    }
    let skip = |length: u32, rest: &[u8]| [&[0x5a, 0x2a, 0x4d, 0x18], &length.to_le_bytes()[..], rest].concat();
    for (head, format) in [
        (&b""[..], None),
        (b"plain text", None),
        (b"BZh9, as they say", None),
        (b"BZh0\x31\x41\x59\x26\x53\x59", None),
        (b"BZh1\x17\x72\x45\x38\x50\x90\0\0\0\0", Some(Format::Bzip2)),
        (b"\x1f\x8b", None),
        (b"\x1f\x8b\x08", Some(Format::Gzip)),
        (b"\x1f\x9d\x90", None),
        (b"\xfd7zXZ", None),
        (b"\x28\xb5\x2f", None),
        (&skip(2, b"..\x28\xb5\x2f\xfd"), Some(Format::Zstd)),
        // LZ4 has the same frames to be skipped.
        (&skip(2, b"..\x04\x22\x4d\x18"), None),
        (&skip(1000, b".."), Some(Format::Zstd)),
        (&skip(1, &[b".", skip(0, b"\x28\xb5\x2f\xfd").as_slice()].concat()), Some(Format::Zstd)),
        (b"\x5a\x2a\x4d\x18\0", None),
    ] {
        assert_eq!(Format::of(head), format, "{head:x?}");
    }
}

#[test]
fn what_other_programs_wrote_is_read() {
    for (format, stream, expected) in streams() {
        assert_eq!(plain(format, &stream), Ok(expected), "{format:?}");
    }
}

#[test]
fn members_streams_and_frames_are_one() {
    for first in streams() {
        for second in streams().filter(|second| second.0 == first.0) {
            let both = [first.1.as_slice(), &second.1].concat();
            assert_eq!(plain(first.0, &both), Ok([first.2.as_slice(), &second.2].concat()));
        }
    }
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"..."].concat();
    let stream =
        [skipped.as_slice(), &short(Format::Zstd), &skipped, &skipped, &short(Format::Zstd), &skipped].concat();
    assert_eq!(plain(Format::Zstd, &stream), Ok([SHORT, SHORT].concat()));
    let stream = [&short(Format::Xz), &[0; 8][..], &short(Format::Xz), &[0; 4]].concat();
    assert_eq!(plain(Format::Xz, &stream), Ok([SHORT, SHORT].concat()));
    let stream = [&short(Format::Gzip), &[0; 100_000][..]].concat();
    assert_eq!(plain(Format::Gzip, &stream), Ok(SHORT.to_vec()));
}

#[test]
fn reads_of_any_size_give_the_same() {
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }
    for (format, stream, expected) in streams() {
        let stream = [stream.as_slice(), &stream].concat();
        let mut reader = open(format, Drip(&stream), stream.len() as u64, 64 << 20).unwrap();
        let mut plain = Vec::new();
        let mut byte = [0];
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        while reader.read(&mut byte).unwrap() == 1 {
            plain.push(byte[0]);
        }
        assert_eq!(reader.read(&mut byte).unwrap(), 0);
        assert_eq!(plain, [expected.as_slice(), &expected].concat(), "{format:?}");
    }
}

#[test]
fn a_stream_cut_short_anywhere_ends_early() {
    for (format, stream, expected) in streams() {
        for length in 0..stream.len() {
            let error = plain(format, &stream[..length]).unwrap_err();
            assert_eq!(error, format!("the {} stream ends early", format.name()), "{length} of {}", stream.len());
        }
        let mut twice = [stream.as_slice(), &stream].concat();
        twice.pop();
        let (so_far, error) = plain_within(format, &twice, 1 << 30, 64 << 20).unwrap_err();
        assert!(so_far.starts_with(&expected) && error.ends_with("ends early"), "{format:?} {error}");
    }
}

#[test]
fn a_wrong_bit_is_noticed_or_harmless() {
    for (format, stream, expected) in streams() {
        // Without a check of the content, nothing tells.
        let unchecked = stream.get(7) == Some(&0) && format == Format::Xz || stream.get(4) == Some(&0);
        for bit in 0..stream.len() * 8 {
            let mut wrong = stream.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            match plain(format, &wrong) {
                Ok(plain) => assert!(plain == expected || unchecked, "{format:?}: bit {bit}"),
                Err(error) => assert!(error.starts_with(&format!("the {} stream ", format.name())), "{error}"),
            }
        }
    }
}

#[test]
fn what_follows_a_stream_has_to_belong_to_it() {
    for (format, stream, expected) in streams() {
        for rest in [&b"garbage"[..], b"\n", b"\x1f", b"BZ", b"\0\0\0\0garbage"] {
            let stream = [stream.as_slice(), rest].concat();
            let (so_far, error) = plain_within(format, &stream, 1 << 30, 64 << 20).unwrap_err();
            assert_eq!(so_far, expected);
            let name = format.name();
            let corrupt = error.starts_with(&format!("the {name} stream is corrupt: "));
            assert!(corrupt || error == format!("the {name} stream ends early"), "{format:?} {rest:?}: {error}");
        }
    }
}

#[test]
fn an_error_of_the_source_is_not_blamed_on_the_stream() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    for (format, stream, _) in streams() {
        for length in [0, 1, 5, stream.len() - 1, stream.len()] {
            let mut reader = open(format, stream[..length].chain(Failing), 100, 64 << 20).unwrap();
            let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{format:?} {length}: {error}");
        }
    }
}

/// A megabyte that does not repeat itself soon, and then does.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_stream_may_expand_only_so_far() {
    let zeros = vec![0; 300_000];
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let mut bzip2 = BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&zeros).unwrap();
    let zstd = compress_to_vec(Cursor::new(&zeros), CompressionLevel::Fastest);
    let xz = stored_xz(&zeros, 0);
    for (format, stream) in FORMATS.into_iter().zip([gzip.finish().unwrap(), xz, zstd, bzip2.finish().unwrap()]) {
        assert_eq!(plain_within(format, &stream, 300_000, 64 << 20).map(|plain| plain.len()), Ok(300_000));
        let (so_far, error) = plain_within(format, &stream, 299_999, 64 << 20).unwrap_err();
        assert!(so_far.len() <= 299_999);
        let name = format.name();
        assert_eq!(error, format!("the {name} stream expands to more than 1 GB and 200 times its size"));
    }
}

#[test]
fn a_stream_gets_no_more_memory_than_its_share() {
    for format in FORMATS {
        let (_, error) = plain_within(format, &short(format), 1 << 30, 1000).unwrap_err();
        assert_eq!(error, too_much(format.name(), format.memory() >> 20));
    }
}

#[test]
fn a_dictionary_that_does_not_fit_counts_only_where_more_is_decoded_than_fits() {
    let plain = noise(2_000_000);
    // 1 MB beside what decoding takes anyway: a dictionary of 0.6 MB fits.
    for (code, megabytes) in [(0, None), (14, None), (15, Some(2)), (24, Some(27)), (40, Some(6827))] {
        for length in [0, 1, 300_000, 2_000_000] {
            let stream = stored_xz(&plain[..length], code);
            let answer = plain_within(Format::Xz, &stream, 1 << 30, 2 << 20);
            match megabytes.filter(|_| length > (1 << 20) / 3) {
                None => assert!(answer.as_ref() == Ok(&plain[..length].to_vec()), "{code} {length}"),
                Some(megabytes) => {
                    let (so_far, error) = answer.unwrap_err();
                    assert!(so_far.len() <= (1 << 20) / 3 && plain.starts_with(&so_far));
                    assert_eq!(error, too_much("xz", megabytes));
                }
            }
        }
    }
    // Which dictionary a later block has is found out when it comes.
    let stream = [stored_xz(b"one", 0), stored_xz(b"two", 40)].concat();
    let (so_far, error) = plain_within(Format::Xz, &stream, 1 << 30, 2 << 20).unwrap_err();
    assert_eq!(so_far, b"one");
    assert_eq!(error, "the xz stream needs more to be decompressed than its share of limit_memory");
}

#[test]
fn a_window_that_does_not_fit_counts_only_where_something_reaches_too_far_back() {
    let plain = noise(400_000);
    let repeated = [plain.as_slice(), &plain[..3]].concat();
    // 1 MB beside what decoding takes anyway: a window of 0.3 MB fits.
    for (window, memory_max, megabytes) in [
        (0x48, 16 << 20, None),
        (0x58, 16 << 20, None),
        (0x48, 5 << 20, Some(2)),
        (0x58, 5 << 20, Some(6)),
        (0xff, 5 << 20, Some(3 * (15 << 18))),
    ] {
        let answer = plain_within(Format::Zstd, &stored_zstd(&plain, window, None), 1 << 30, memory_max);
        assert!(answer.as_ref() == Ok(&plain), "{window:x}: {:?}", answer.err().map(|error| error.1));
        let answer = plain_within(Format::Zstd, &stored_zstd(&plain, window, Some(400_000)), 1 << 30, memory_max);
        match megabytes {
            None => assert!(answer.as_ref() == Ok(&repeated), "{window:x}: {:?}", answer.err().map(|error| error.1)),
            Some(megabytes) => {
                let (so_far, error) = answer.expect_err("a match reaches too far back");
                assert!(plain.starts_with(&so_far));
                assert_eq!(error, too_much("zstd", megabytes));
            }
        }
    }
}

/// `plain` as a zstd frame that holds it as it is; then three bytes again, from that far back.
fn stored_zstd(plain: &[u8], window: u8, offset: Option<u32>) -> Vec<u8> {
    let block = |kind: u32, last: bool, bytes: &[u8]| {
        let header = u32::from(last) | kind << 1 | (bytes.len() as u32) << 3;
        [&header.to_le_bytes()[..3], bytes].concat()
    };
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    plain.chunks(1 << 17).for_each(|chunk| frame.extend(block(0, false, chunk)));
    frame.extend(match offset {
        None => block(0, true, b""),
        Some(offset) => {
            // No literals; one sequence, each of whose three codes is given once for all: no literals before it, the
            // offset's number of bits, the shortest match; then the offset's bits below the one that ends the stream.
            let bits = offset + 3;
            let sequence = [0, 1, 0b0101_0100, 0, bits.ilog2() as u8, 0];
            block(2, true, &[&sequence[..], &bits.to_le_bytes()[..3]].concat())
        }
    });
    frame
}

fn too_much(name: &str, megabytes: u64) -> String {
    format!("the {name} stream needs {megabytes} MB to be decompressed, more than its share of limit_memory")
}

/// `plain` as an xz stream that holds it as it is, with a dictionary of that size's code.
fn stored_xz(plain: &[u8], dictionary: u8) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let number = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    let padded = |mut bytes: Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let with_crc = |bytes: Vec<u8>| [bytes.as_slice(), &crc(&bytes)].concat();
    let mut block = with_crc(vec![2, 0, 0x21, 1, dictionary, 0, 0, 0]);
    for (at, chunk) in plain.chunks(1 << 16).enumerate() {
        block.push(if at == 0 { 1 } else { 2 });
        block.extend((chunk.len() as u16).wrapping_sub(1).to_be_bytes());
        block.extend(chunk);
    }
    block.push(0);
    let index = with_crc(padded([vec![0, 1], number(block.len()), number(plain.len())].concat()));
    let backward = (index.len() as u32 / 4 - 1).to_le_bytes();
    let footer = [&crc(&[&backward[..], &[0, 0]].concat())[..], &backward, &[0, 0], b"YZ"].concat();
    let header = [xz::MAGIC, &with_crc(vec![0, 0])].concat();
    [header, padded(block), index, footer].concat()
}
