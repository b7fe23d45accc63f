//! What other encoders write, several members in a row, is read back as it was; cut short, it is an error.
#![no_main]

use std::io::{Read as _, Write as _};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Case {
    members: Vec<Member>,
    cut: u16,
}

#[derive(Arbitrary, Debug)]
struct Member {
    plain: Vec<u8>,
    /// How often it is repeated, with something different between.
    times: u8,
    way: u8,
    window: u8,
}

impl Member {
    fn plain(&self) -> Vec<u8> {
        let times = usize::from(self.times) * usize::from(self.times);
        (0..times).flat_map(|time| [self.plain.as_slice(), &time.to_le_bytes()].concat()).take(1 << 20).collect()
    }
}

fn gzip(member: &Member, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::new(u32::from(member.way % 10));
    let mut encoder = flate2::GzBuilder::new();
    if member.window & 1 != 0 {
        encoder = encoder.filename("name").comment("comment").extra("extra");
    }
    let mut encoder = encoder.write(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(member: &Member, plain: &[u8]) -> Vec<u8> {
    let level = bzip2::Compression::new(u32::from(member.way % 9) + 1);
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(member: &Member, plain: &[u8]) -> Vec<u8> {
    let level = i32::from(member.way % 24) - 5;
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(member.window & 1 != 0).unwrap();
    encoder.window_log(10 + u32::from(member.window >> 1) % 12).unwrap();
    encoder.long_distance_matching(member.way & 0x80 != 0).unwrap();
    // Blocks end where the bytes come to an end for the time being.
    for part in plain.chunks(1 + usize::from(member.way) * 100) {
        encoder.write_all(part).unwrap();
        if member.way & 0x40 != 0 {
            encoder.flush().unwrap();
        }
    }
    encoder.finish().unwrap()
}

fn xz(member: &Member, plain: &[u8]) -> Vec<u8> {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    let checks = [Check::None, Check::Crc32, Check::Crc64, Check::Sha256];
    let mut options = LzmaOptions::new_preset(u32::from(member.way % 7)).unwrap();
    let (lc, lp) = [(3, 0), (0, 4), (4, 0), (1, 3)][usize::from(member.window >> 4 & 3)];
    options.dict_size(4096 << (member.window & 7)).literal_context_bits(lc).literal_position_bits(lp);
    let mut filters = Filters::new();
    match member.way >> 4 {
        1 => drop(filters.x86()),
        2 => drop(filters.delta_properties(&[member.window]).unwrap()),
        3 => drop(filters.arm()),
        4 => drop(filters.arm_thumb()),
        5 => drop(filters.powerpc()),
        6 => drop(filters.ia64()),
        7 => drop(filters.sparc()),
        8 => drop(filters.arm64()),
        9 => drop(filters.x86().delta_properties(&[3]).unwrap()),
        _ => {}
    }
    filters.lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, checks[usize::from(member.window >> 6)]).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(plain).unwrap();
    let mut packed = encoder.finish().unwrap();
    packed.resize(packed.len() + usize::from(member.times % 3) * 4, 0);
    packed
}

fn unpack(stream: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let opened = canvass_tables::engine::fuzzing::unpack(stream, 1 << 30, 64 << 20);
    let mut reader = opened.expect("its first bytes tell").map_err(|error| error.to_string())?;
    reader.read_to_end(&mut plain).map_err(|error| error.to_string())?;
    Ok(plain)
}

fuzz_target!(|case: Case| {
    if case.members.is_empty() || case.members.len() > 4 {
        return;
    }
    for pack in [gzip, bzip2, zstd, xz] {
        let plains: Vec<Vec<u8>> = case.members.iter().map(Member::plain).collect();
        let members: Vec<Vec<u8>> =
            case.members.iter().zip(&plains).map(|(member, plain)| pack(member, plain)).collect();
        let stream = members.concat();
        assert!(unpack(&stream) == Ok(plains.concat()), "{:?}", unpack(&stream).map(|plain| plain.len()));
        // Within the last member, and not in the padding behind it.
        let last = members.last().expect("there are some").len();
        let padding = stream.iter().rev().take_while(|&&byte| byte == 0).count();
        let cut = stream.len() - 1 - usize::from(case.cut) % last;
        if cut > stream.len() - last + 20 && cut < stream.len() - padding {
            unpack(&stream[..cut]).expect_err("it is cut short");
        }
    }
});
