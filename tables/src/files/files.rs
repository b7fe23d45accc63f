//! Table `files`: what lies in folders, with what can be known of each file without showing what is in it.

use std::ops::ControlFlow;

use canvass_protocol::answer::Trouble;

use super::probes;
use super::row::FileRow;
use super::walk;
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::{Algorithm, Collector};
use crate::host::{FileKind, Host, Metadata};
use crate::table::{Bound, Declared, Keys, TableInfo};

pub static FILES: Declared<FileRow> = Declared {
    info: TableInfo {
        name: "files",
        module: super::MODULE,
        about: "Files, folders, links and devices below the folders that the question names",
        bound: Some(Bound { keys: Keys::Column("path"), about: "where to look", example: "path UNDER '/etc'" }),
        live: false,
        follows: true,
        example: "SELECT path, size, mtime FROM files WHERE path UNDER '/etc' AND content ~ 'PermitRootLogin'",
    },
    columns: COLUMNS,
    collect,
};

const COLUMNS: &[Column<FileRow>] = &[
    Column::<FileRow>::field("path", Kind::Text, "Where the file is, as the question spells its search root", |row| {
        row.path().into()
    })
    .form(Form::Path),
    Column::field(
        "path_hex",
        Kind::Text,
        "The path's exact bytes in hexadecimal, where it is not UTF-8",
        |row: &FileRow| row.path_hex().into(),
    )
    .hex(),
    Column::field("name", Kind::Text, "The last part of the path", |row| Cell::Text(row.name())),
    Column::<FileRow>::field("directory", Kind::Text, "The path of the folder that holds it", |row| {
        Cell::Text(row.directory())
    })
    .form(Form::Path),
    Column::field("depth", Kind::Integer, "Folders between it and the search root, which has 0", |row| {
        row.depth().into()
    }),
    Column::field("type", Kind::Text, "What kind of file it is", |row: &FileRow| kind_name(row.kind()).into())
        .values(&["file", "directory", "link", "fifo", "socket", "block", "char"]),
    Column::read("size", Kind::Integer, "Its size in bytes, as it claims", |row: &FileRow, host| {
        stat(row, host, |stat| stat.size.into())
    })
    .form(Form::Bytes),
    Column::<FileRow>::read("mode", Kind::Text, "Type and permissions as ls prints them", |row, host| {
        stat(row, host, |stat| mode(stat).into())
    })
    .form(Form::Mode),
    Column::<FileRow>::read("permissions", Kind::Text, "Permission bits in octal, such as 0640", |row, host| {
        stat(row, host, |stat| format!("{:04o}", stat.permissions).into())
    })
    .form(Form::Octal),
    Column::read("uid", Kind::Integer, "The number of the user who owns it", |row, host| {
        stat(row, host, |stat| stat.uid.into())
    }),
    Column::read("gid", Kind::Integer, "The number of the group that owns it", |row, host| {
        stat(row, host, |stat| stat.gid.into())
    }),
    Column::read("owner", Kind::Text, "The name of the user who owns it", |row, host| {
        stat(row, host, |stat| host.user_name(stat.uid).map(str::to_owned).into())
    }),
    Column::read("group", Kind::Text, "The name of the group that owns it", |row, host| {
        stat(row, host, |stat| host.group_name(stat.gid).map(str::to_owned).into())
    }),
    Column::read("mtime", Kind::Timestamp, "When its content last changed", |row, host| {
        stat(row, host, |stat| Cell::Timestamp(stat.mtime_ns))
    }),
    Column::read("ctime", Kind::Timestamp, "When its content or what is known of it last changed", |row, host| {
        stat(row, host, |stat| time(stat.ctime_ns))
    }),
    Column::read("atime", Kind::Timestamp, "When it was last read", |row, host| {
        stat(row, host, |stat| time(stat.atime_ns))
    }),
    Column::read("btime", Kind::Timestamp, "When it was made", |row, host| stat(row, host, |stat| time(stat.btime_ns))),
    Column::read("inode", Kind::Integer, "Its number in the file system", |row, host| {
        stat(row, host, |stat| stat.inode.into())
    }),
    Column::read("links", Kind::Integer, "How many names it has", |row, host| {
        stat(row, host, |stat| stat.links.into())
    }),
    Column::read("target", Kind::Text, "Where a link points, as written in it", |row, _| row.target().map(Cell::from)),
    Column::probe(
        "capabilities",
        Kind::Text,
        "Capabilities that it gives who runs it, as getcap prints them",
        |row, _| row.ask(|folder, name| probes::capabilities(folder, name)),
    ),
    Column::probe("xattrs", Kind::Text, "Names of its extended attributes, separated by commas", |row, _| {
        row.ask(|folder, name| probes::xattrs(folder, name))
    }),
    Column::probe(
        "immutable",
        Kind::Boolean,
        "Whether it is marked as one that nobody changes or removes",
        |row, host| stat(row, host, |stat| stat.immutable.into()),
    ),
    Column::digest("md5", "MD5 of its content in lower-case hexadecimal", Algorithm::Md5),
    Column::digest("sha1", "SHA-1 of its content in lower-case hexadecimal", Algorithm::Sha1),
    Column::digest("sha256", "SHA-256 of its content in lower-case hexadecimal", Algorithm::Sha256),
    Column::digest("sha384", "SHA-384 of its content in lower-case hexadecimal", Algorithm::Sha384),
    Column::digest("sha512", "SHA-512 of its content in lower-case hexadecimal", Algorithm::Sha512),
    Column::digest("sha3_224", "SHA3-224 of its content in lower-case hexadecimal", Algorithm::Sha3_224),
    Column::digest("sha3_256", "SHA3-256 of its content in lower-case hexadecimal", Algorithm::Sha3_256),
    Column::digest("sha3_384", "SHA3-384 of its content in lower-case hexadecimal", Algorithm::Sha3_384),
    Column::digest("sha3_512", "SHA3-512 of its content in lower-case hexadecimal", Algorithm::Sha3_512),
    Column::content("content", "Its lines, which can be matched and are never shown", FileRow::open),
];

fn collect(collector: &mut Collector<'_, FileRow>) -> ControlFlow<()> {
    walk::collect(collector)
}

fn stat(row: &FileRow, host: &Host, cell: impl FnOnce(&Metadata) -> Cell<'static>) -> Result<Cell<'static>, Trouble> {
    Ok(row.stat(host)?.map_or(Cell::Null, cell))
}

fn time(ns: Option<i64>) -> Cell<'static> {
    ns.map_or(Cell::Null, Cell::Timestamp)
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Block => "block",
        FileKind::Char => "char",
    }
}

/// Type and permissions as ls prints them.
fn mode(stat: &Metadata) -> String {
    let kind = match stat.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Link => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::Block => 'b',
        FileKind::Char => 'c',
    };
    let bit = |mask: u32| stat.permissions & mask != 0;
    let execute = |allowed: bool, special: bool, letter: char| match (allowed, special) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    let flag = |mask: u32, letter: char| if bit(mask) { letter } else { '-' };
    [
        kind,
        flag(0o400, 'r'),
        flag(0o200, 'w'),
        execute(bit(0o100), bit(0o4000), 's'),
        flag(0o040, 'r'),
        flag(0o020, 'w'),
        execute(bit(0o010), bit(0o2000), 's'),
        flag(0o004, 'r'),
        flag(0o002, 'w'),
        execute(bit(0o001), bit(0o1000), 't'),
    ]
    .iter()
    .collect()
}
