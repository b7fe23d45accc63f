//! Compressed streams as the usual programs write them, and as nobody should.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a program over some bytes.
fn through(program: &str, package: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let spawned = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("`{program}` ({error}): install the package {package}"));
    let mut input = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

/// One way of packing.
pub struct Packer {
    pub name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
}

pub const PACKERS: [Packer; 4] = [
    Packer { name: "gzip", package: "gzip", arguments: &["-c"] },
    Packer { name: "xz", package: "xz-utils", arguments: &["-c", "-T1"] },
    Packer { name: "zstd", package: "zstd", arguments: &["-c", "-q"] },
    Packer { name: "bzip2", package: "bzip2", arguments: &["-c"] },
];

impl Packer {
    pub fn pack(&self, bytes: &[u8]) -> Vec<u8> {
        through(self.name, self.package, self.arguments, bytes)
    }

    pub fn pack_with(&self, more: &[&str], bytes: &[u8]) -> Vec<u8> {
        through(self.name, self.package, &[self.arguments, more].concat(), bytes)
    }
}

pub fn packer(name: &str) -> &'static Packer {
    PACKERS.iter().find(|packer| packer.name == name).unwrap()
}

/// A zstd frame of blocks: its window as the header writes it, then each block's kind (0 raw, 1 repeated) and bytes.
pub fn zstd_frame(window: u8, blocks: &[(u32, &[u8], u32)]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    for (index, (kind, bytes, size)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend_from_slice(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

/// A frame that zstd readers pass over.
pub fn zstd_skippable(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0x50, 0x2a, 0x4d, 0x18], &length.to_le_bytes()[..], bytes].concat()
}

/// A gzip member with every optional field, its data stored and not compressed.
pub fn gzip_with_all_fields(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 3];
    member.extend_from_slice(b"\x06\0ab\x02\0zz");
    member.extend_from_slice(b"name.txt\0a comment\0");
    let header = crc32(&member) & 0xffff;
    member.extend_from_slice(&header.to_le_bytes()[..2]);
    let length = u16::try_from(bytes.len()).unwrap();
    member.push(1);
    member.extend_from_slice(&length.to_le_bytes());
    member.extend_from_slice(&(!length).to_le_bytes());
    member.extend_from_slice(bytes);
    member.extend_from_slice(&crc32(bytes).to_le_bytes());
    member.extend_from_slice(&u32::from(length).to_le_bytes());
    member
}

/// The same stream of xz, claiming that it needs a dictionary of 4 GiB.
pub fn xz_with_huge_dictionary(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    // After the stream's header of 12 bytes: the block header's size, flags, then filter LZMA2 (0x21), one byte of
    // properties: the dictionary; at its end a CRC of it all.
    let size = (usize::from(stream[12]) + 1) * 4;
    let filter = 12 + stream[12..12 + size].windows(2).position(|pair| pair == [0x21, 1]).unwrap();
    stream[filter + 2] = 40;
    let crc = crc32(&stream[12..12 + size - 4]);
    stream[12 + size - 4..12 + size].copy_from_slice(&crc.to_le_bytes());
    stream
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}
