//! The lines of `/proc/PID/maps`, one a region.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Take};

/// Bytes that are read of one process's regions: some three hundred thousand of them.
const MAPS_BYTES_MAX: u64 = 64 << 20;
/// The longest line: a path of 4096 bytes, each of which may be written as four.
const LINE_BYTES_MAX: u64 = 20 << 10;

const DELETED: &str = " (deleted)";

/// What lies in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Shared,
    Anonymous,
    Heap,
    Stack,
    Device,
    Kernel,
}

/// One region, as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// The first byte after it.
    pub end: u64,
    pub permissions: String,
    pub offset: u64,
    pub inode: u64,
    /// The file's path, or what the kernel calls a region that has none; empty where it does not call it anything.
    name: String,
}

impl Mapping {
    /// Reads a line without its end.
    pub fn parse(line: &str) -> Option<Mapping> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let (offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
        let name = fields.next().unwrap_or_default().trim_start_matches(' ');
        let mapping = Mapping {
            start: hex(start)?,
            end: hex(end)?,
            permissions: permissions.to_owned(),
            offset: hex(offset)?,
            inode: decimal(inode)?,
            name: name.replace("\\012", "\n"),
        };
        let letters: [&str; 4] = ["r-", "w-", "x-", "ps"];
        let sound = permissions.len() == letters.len()
            && permissions.chars().zip(letters).all(|(letter, known)| known.contains(letter))
            && mapping.start < mapping.end;
        sound.then_some(mapping)
    }

    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_readable(&self) -> bool {
        self.permissions.starts_with('r')
    }

    /// The path of what is mapped, without the kernel's word that it was removed.
    pub fn path(&self) -> Option<&str> {
        let path = Some(self.name.as_str()).filter(|name| name.starts_with('/'))?;
        Some(path.strip_suffix(DELETED).unwrap_or(path))
    }

    /// Whether the kernel says that what is mapped was removed.
    pub fn deleted(&self) -> Option<bool> {
        self.path().map(|path| path.len() < self.name.len())
    }

    pub fn kind(&self) -> Kind {
        let name = self.name.as_str();
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        match name {
            "" if self.inode == 0 => Kind::Anonymous,
            "[heap]" => Kind::Heap,
            "[stack]" => Kind::Stack,
            // Files below these hold what programs keep in memory; whatever else lies in /dev is a device.
            _ if begins(&["/dev/shm/", "/dev/hugepages/"]) => Kind::File,
            "/dev/zero (deleted)" => Kind::Shared,
            _ if begins(&["/memfd:", "/SYSV", "/anon_hugepage", "/secretmem", "[anon_shmem:"]) => Kind::Shared,
            // To read registers of a device may change what it does. Those that appear in /sys and /proc can be mapped too.
            _ if begins(&["/dev/", "/sys/", "/proc/"]) => Kind::Device,
            _ if begins(&["/"]) => Kind::File,
            _ if begins(&["[anon:"]) => Kind::Anonymous,
            _ if begins(&["[stack:"]) => Kind::Stack,
            // vdso, vvar and vsyscall, and whatever a kernel to come adds.
            _ if begins(&["["]) => Kind::Kernel,
            // Rings of sockets and of io_uring, and the like.
            _ => Kind::Device,
        }
    }
}

impl Kind {
    pub const NAMES: &[&str] = &["file", "shared", "anonymous", "heap", "stack", "device", "kernel"];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Shared => "shared",
            Kind::Anonymous => "anonymous",
            Kind::Heap => "heap",
            Kind::Stack => "stack",
            Kind::Device => "device",
            Kind::Kernel => "kernel",
        }
    }

    /// Whether it is a program's own memory, so that reading it does nothing but read.
    pub fn is_memory(self) -> bool {
        !matches!(self, Kind::Device | Kind::Kernel)
    }
}

fn hex(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Reads regions one after another.
pub struct Regions {
    reader: BufReader<Take<File>>,
    line: Vec<u8>,
    /// Lines that are none of a region's.
    pub malformed: u64,
}

impl Regions {
    pub fn new(file: File) -> Regions {
        let reader = BufReader::with_capacity(32 << 10, file.take(MAPS_BYTES_MAX));
        Regions { reader, line: Vec::new(), malformed: 0 }
    }

    /// The next region; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Mapping>> {
        loop {
            self.line.clear();
            let count = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
            if count == 0 {
                return if self.reader.get_ref().limit() > 0 {
                    Ok(None)
                } else {
                    Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long to be read whole"))
                };
            }
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            match Mapping::parse(&String::from_utf8_lossy(line)) {
                Some(mapping) => return Ok(Some(mapping)),
                None => self.malformed += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    fn named(name: &str) -> Mapping {
        Mapping::parse(&format!("00001000-00003000 rw-s 00002000 fe:00 17                     {name}")).unwrap()
    }

    #[test]
    fn what_is_no_region() {
        let odd = [
            "",
            " ",
            "-",
            "1000-2000",
            "1000-2000 r--p",
            "1000-2000 r--p 0 0:0",
            "1000 r--p 0 0:0 0",
            "2000-1000 r--p 0 0:0 0",
            "1000-1000 r--p 0 0:0 0",
            "+1000-2000 r--p 0 0:0 0",
            "1000-2000 r--p 0 0:0 -1",
            "1000-2000 r--p x 0:0 0",
            "1000-10000000000000000 r--p 0 0:0 0",
            "1000-2000 r-- 0 0:0 0",
            "1000-2000 rwxé 0 0:0 0",
            "1000-2000 wr-p 0 0:0 0",
            "é",
        ];
        for line in odd {
            assert_eq!(Mapping::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn regions_are_what_the_kernel_says() {
        let region = named("/usr/lib/a b.so (deleted)");
        assert_eq!((region.start, region.end, region.size(), region.offset), (0x1000, 0x3000, 0x2000, 0x2000));
        assert_eq!((region.permissions.as_str(), region.inode, region.is_readable()), ("rw-s", 17, true));
        assert_eq!((region.path(), region.deleted()), (Some("/usr/lib/a b.so"), Some(true)));
        let last = Mapping::parse("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]").unwrap();
        assert_eq!((last.start, last.kind(), last.is_readable()), (0xffff_ffff_ff60_0000, Kind::Kernel, false));
        assert_eq!((last.path(), last.deleted()), (None, None));
        assert_eq!(named("/a\\012b").path(), Some("/a\nb"));
    }

    #[test]
    fn kinds_are_told_by_name() {
        let nothing = Mapping::parse("1000-2000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(nothing.kind(), Kind::Anonymous);
        for (name, kind) in [
            ("[heap]", Kind::Heap),
            ("[stack]", Kind::Stack),
            ("[stack:17]", Kind::Stack),
            ("[anon:glibc: malloc]", Kind::Anonymous),
            ("[vdso]", Kind::Kernel),
            ("/usr/bin/[", Kind::File),
            ("/dev/shm/a", Kind::File),
            ("/dev/shm/a (deleted)", Kind::File),
            ("/dev/zero (deleted)", Kind::Shared),
            ("/memfd:x (deleted)", Kind::Shared),
            ("/SYSV00000000 (deleted)", Kind::Shared),
            ("/dev/mem", Kind::Device),
            ("/dev/dri/renderD128", Kind::Device),
            ("/sys/bus/pci/devices/0000:00:02.0/resource0", Kind::Device),
            ("anon_inode:[io_uring]", Kind::Device),
            ("socket:[17]", Kind::Device),
        ] {
            assert_eq!(named(name).kind(), kind, "{name}");
            assert!(Kind::NAMES.contains(&kind.as_str()));
        }
    }

    fn regions(bytes: &[u8]) -> (Vec<Mapping>, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut regions = Regions::new(file);
        let mut all = Vec::new();
        while let Some(mapping) = regions.next().unwrap() {
            all.push(mapping);
        }
        (all, regions.malformed)
    }

    #[test]
    fn an_odd_line_spoils_no_other() {
        let good = "1000-2000 rw-p 00000000 00:00 0 \n";
        let long = format!("{}\n", "x".repeat(50_000));
        let (all, malformed) = regions(format!("{good}\n{long}{good}\u{0}\n{}", good.trim_end()).as_bytes());
        // The long line is read in three pieces.
        assert_eq!((all.len(), malformed), (3, 5));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Mapping::parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_nearly_a_region_is_read(at in 0usize..120, byte: u8, cut in 0usize..120) {
            let line = "7f7eeaef6000-7f7eeaf1c000 r--p 001cf000 fe:00 326279                     /usr/lib/libc.so.6 (deleted)";
            let mut bytes = line.as_bytes().to_vec();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            if let Some(mapping) = Mapping::parse(&String::from_utf8_lossy(&bytes)) {
                proptest::prop_assert!(mapping.size() > 0);
                let _ = (mapping.kind(), mapping.path(), mapping.deleted());
            }
        }
    }
}
