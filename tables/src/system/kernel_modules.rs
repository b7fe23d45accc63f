//! Table `kernel_modules`: what is loaded into the kernel.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::engine::decompress::{self, Format};
use crate::host::Host;
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

const MODULES: &str = "/proc/modules";

/// What a signed module's file ends with.
const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// The longest file of a module that is looked at, plain or unpacked; the largest there are have some 30 MB.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// What unpacking may take; kernels are built with windows of 8 MB at most.
const UNPACKING_BYTES_MAX: u64 = 16 << 20;

pub struct KernelModule {
    name: String,
    size_bytes: Option<u64>,
    references: Option<u64>,
    used_by: String,
    state: Option<&'static str>,
    taints: Option<String>,
    path: Option<String>,
}

pub static KERNEL_MODULES: Declared<KernelModule> = Declared {
    info: TableInfo {
        name: "kernel_modules",
        module: super::MODULE,
        about: "Modules that are loaded into the kernel, one row each; what is built into it is none",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, path, taints FROM kernel_modules WHERE path IS NULL OR NOT signed",
    },
    columns: &[
        Column::field("name", Kind::Text, "Name of the module", |m| m.name.as_str().into()),
        Column::<KernelModule>::field("size_bytes", Kind::Integer, "Memory that it takes, in bytes", |m| {
            m.size_bytes.into()
        })
        .form(Form::Bytes),
        Column::field("used_by", Kind::Text, "Modules that need it, separated by commas; empty where none does", |m| {
            m.used_by.as_str().into()
        }),
        Column::field("references", Kind::Integer, "Number of its users, modules and others", |m| m.references.into()),
        Column::<KernelModule>::field("state", Kind::Text, "Whether it is in use, coming or going", |m| m.state.into())
            .values(&["live", "loading", "unloading"]),
        Column::field(
            "taints",
            Kind::Text,
            "Letters of what it says against the kernel: P proprietary, O built out of tree, E not signed, F forced; NULL for none",
            |m| m.taints.as_deref().into(),
        ),
        Column::<KernelModule>::field(
            "path",
            Kind::Text,
            "File of this name that modules.dep of the running kernel lists; NULL where it lists none",
            |m| m.path.as_deref().into(),
        )
        .form(Form::Path),
        Column::probe(
            "signed",
            Kind::Boolean,
            "Whether a signature, right or wrong, ends the file, unpacked where it is compressed; NULL where `path` is",
            signed,
        ),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, KernelModule>) -> ControlFlow<()> {
    let host = collector.host;
    let text = match host.read_text(Path::new(MODULES)) {
        Ok(text) => text,
        // A kernel may be built without modules.
        Err(error) if proc::gone(&error) && host.metadata(Path::new("/proc")).is_ok() => {
            return ControlFlow::Continue(());
        }
        Err(error) => {
            note(collector, proc::trouble(Path::new(MODULES), &error));
            return ControlFlow::Continue(());
        }
    };
    let mut paths = HashMap::new();
    if collector.wants("path") || collector.wants("signed") {
        let loaded = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
        paths = loaded.map(|name| (plain_name(name), None)).collect();
        if let Err(trouble) = find(host, &mut paths) {
            note(collector, trouble);
        }
    }
    let mut malformed = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        collector.go_on()?;
        match parse(line) {
            Some(mut module) => {
                module.path = paths.get(&plain_name(&module.name)).cloned().flatten();
                collector.row(module)?;
            }
            None => malformed += 1,
        }
    }
    if malformed > 0 {
        collector.trouble(Some(MODULES), format!("{malformed} malformed lines"));
    }
    ControlFlow::Continue(())
}

fn note(collector: &mut Collector<'_, KernelModule>, trouble: Trouble) {
    collector.note_trouble(trouble);
}

/// Reads a line such as `nf_nat 57344 2 nft_nat,xt_nat, Live 0x0000000000000000 (OE)`.
fn parse(line: &str) -> Option<KernelModule> {
    let mut words = line.split_ascii_whitespace();
    let (name, size, references, users, state) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let taints = words.find_map(|word| word.strip_prefix('(')?.strip_suffix(')'));
    Some(KernelModule {
        name: name.to_owned(),
        size_bytes: size.parse().ok(),
        references: references.parse().ok(),
        // What stands in brackets is no module but says why it stays.
        used_by: users
            .split(',')
            .filter(|user| !matches!(user.as_bytes().first(), None | Some(b'-' | b'[')))
            .collect::<Vec<_>>()
            .join(","),
        state: match state {
            "Live" => Some("live"),
            "Loading" => Some("loading"),
            "Unloading" => Some("unloading"),
            _ => None,
        },
        // What is on its way in or out stands there too.
        taints: taints.map(|taints| taints.replace(['+', '-'], "")).filter(|taints| !taints.is_empty()),
        path: None,
    })
}

/// The kernel writes underscores where files have dashes.
fn plain_name(name: &str) -> String {
    name.replace('-', "_")
}

/// Finds the files of modules in the list that `depmod` made for the running kernel.
fn find(host: &Host, paths: &mut HashMap<String, Option<String>>) -> Result<(), Trouble> {
    let release = host.about().kernel.as_deref().filter(|release| !release.is_empty() && !release.contains('/'));
    let Some(release) = release.filter(|release| *release != "..") else { return Ok(()) };
    let folder = format!("/lib/modules/{release}");
    let list = format!("{folder}/modules.dep");
    let text = match host.read_text(Path::new(&list)) {
        Ok(text) => text,
        // Containers and machines with a kernel of their own have none.
        Err(error) if proc::gone(&error) => return Ok(()),
        Err(error) => return Err(proc::trouble(Path::new(&list), &error)),
    };
    for file in text.lines().filter_map(|line| line.split_once(':')).map(|(file, _)| file) {
        let last = file.rsplit('/').next().unwrap_or_default();
        let Some((name, _)) = last.split_once(".ko") else { continue };
        if let Some(path @ None) = paths.get_mut(&plain_name(name)) {
            *path = Some(if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{file}") });
        }
    }
    Ok(())
}

fn signed(module: &KernelModule, host: &Host) -> Result<Cell<'static>, Trouble> {
    let Some(path) = &module.path else { return Ok(Cell::Null) };
    let look = || match host.open_file(Path::new(path))? {
        Some(file) => ends_signed(file).map(Some),
        None => Ok(None),
    };
    look().map(Cell::from).map_err(|error| proc::trouble(Path::new(path), &error))
}

/// Whether a module's file, unpacked where it is compressed, ends with the mark of a signature.
fn ends_signed(mut file: File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut head = Vec::new();
    file.by_ref().take(decompress::HEAD_BYTES as u64).read_to_end(&mut head)?;
    let Some(format) = Format::of(&head) else {
        file.seek(SeekFrom::Start(size.saturating_sub(SIGNATURE.len() as u64)))?;
        return ends_with_signature(file.take(SIGNATURE.len() as u64));
    };
    file.rewind()?;
    let compressed = file.take(FILE_BYTES_MAX);
    ends_with_signature(decompress::open(format, compressed, size, UNPACKING_BYTES_MAX)?)
}

/// Reads to the end and keeps no more than the last bytes.
fn ends_with_signature(mut plain: impl Read) -> io::Result<bool> {
    let mut block = vec![0; 64 << 10];
    let mut tail: Vec<u8> = Vec::new();
    let mut seen: u64 = 0;
    loop {
        let count = plain.read(&mut block)?;
        if count == 0 {
            return Ok(tail.ends_with(SIGNATURE));
        }
        seen += count as u64;
        if seen > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a module"));
        }
        tail.extend(block.iter().take(count));
        tail.drain(..tail.len().saturating_sub(SIGNATURE.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_lines() {
        assert!(["", "ext4", "ext4 1 2", "ext4 1 2 -"].iter().all(|line| parse(line).is_none()));
        let module = parse("x -5 - [permanent], Going 0x0 (+)").unwrap();
        assert_eq!((module.size_bytes, module.references, module.used_by.as_str()), (None, None, ""));
        assert_eq!((module.state, module.taints), (None, None));
        let module = parse("a 1 2 b,c, Loading 0x0 (OE+)").unwrap();
        assert_eq!((module.used_by.as_str(), module.state), ("b,c", Some("loading")));
        assert_eq!(module.taints.as_deref(), Some("OE"));
    }

    #[test]
    fn the_mark_is_at_the_end_or_nowhere() {
        let mark = String::from_utf8_lossy(SIGNATURE).into_owned();
        let long = "x".repeat(64 << 10);
        for (text, signed) in [
            (String::new(), false),
            (mark.clone(), true),
            (format!("{mark}x"), false),
            (format!("{long}{mark}"), true),
            (format!("{}{mark}", long.split_at(5).1), true),
            (mark.split_at(1).1.to_owned(), false),
        ] {
            assert_eq!(ends_with_signature(text.as_bytes()).unwrap(), signed);
        }
        let endless = ends_with_signature(io::repeat(0)).unwrap_err();
        assert_eq!(endless.to_string(), "too long for a module");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_line_is_too_odd(line in "[ a-z0-9(),\\[\\]+\u{e9}-]{0,60}") {
            let _ = parse(&line);
        }
    }
}
