//! Table `authorized_keys`: whose keys open which accounts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Take};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::line;
use super::public::{ALGORITHMS, Public};
use super::{homes, sshd_config};
use crate::accounts;
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::host::reason;
use crate::table::{Declared, TableInfo};

/// A line with a key.
pub struct AuthorizedKey {
    path: String,
    line: u64,
    user: Option<String>,
    public: Public,
    options: Option<String>,
    comment: Option<String>,
}

/// Longer lines are left out; sshd has no limit.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// What follows in a longer file is left out: one that claims terabytes would keep a scan busy.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Options are sensitive since `command` and `environment` among them may hold passwords; the key itself is no column.
pub static AUTHORIZED_KEYS: Declared<AuthorizedKey> = Declared {
    info: TableInfo {
        name: "authorized_keys",
        module: super::MODULE,
        about: "Keys that may log in by SSH: users' authorized_keys and authorized_keys2, and files that sshd_config names",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, user, comment, fingerprint_sha256 FROM authorized_keys WHERE user = 'root'",
    },
    columns: &[
        Column::<AuthorizedKey>::field("path", Kind::Text, "The file", |k| k.path.as_str().into()).form(Form::Path),
        Column::field("line", Kind::Integer, "Number of the line, from 1", |k| k.line.into()),
        Column::field("user", Kind::Text, "Who may be logged in as; NULL where the file is for all users", |k| {
            k.user.as_deref().into()
        }),
        Column::<AuthorizedKey>::field("algorithm", Kind::Text, "Algorithm as ssh-keygen -l names it", |k| {
            k.public.algorithm.into()
        })
        .values(&ALGORITHMS),
        Column::field("bits", Kind::Integer, "Length of the key in bits", |k| k.public.bits.into()),
        Column::<AuthorizedKey>::field(
            "options",
            Kind::Text,
            "Options before the key as written, such as command=\"…\" and from=\"…\"; NULL without any",
            |k| k.options.as_deref().into(),
        )
        .sensitive(),
        Column::field("comment", Kind::Text, "Comment, often whose key it is; NULL without one", |k| {
            k.comment.as_deref().into()
        }),
        Column::field(
            "fingerprint_md5",
            Kind::Text,
            "MD5 fingerprint as services show it: hexadecimal, between colons",
            |k| k.public.md5().into(),
        ),
        Column::field(
            "fingerprint_sha256",
            Kind::Text,
            "Fingerprint as ssh-keygen -l shows it, with SHA256: in front",
            |k| k.public.sha256().into(),
        ),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, AuthorizedKey>) -> ControlFlow<()> {
    accounts::note_troubles(collector, accounts::PASSWD);
    let host = collector.host;
    let (common, own): (Vec<_>, Vec<_>) =
        sshd_config::patterns(collector).into_iter().partition(|pattern| sshd_config::is_common(pattern));
    let mut seen: BTreeSet<PathBuf> = BTreeSet::new();
    for pattern in common {
        let path = PathBuf::from(pattern.replace("%%", "%"));
        if seen.insert(path.clone()) {
            show(collector, &path, None)?;
        }
    }
    for user in homes::users(host) {
        // Users who share a home, as a second one with the number 0 may, share its files too.
        let mut own_seen = BTreeSet::new();
        for pattern in own.iter().filter(|pattern| user.home.starts_with('/') || !sshd_config::needs_home(pattern)) {
            collector.go_on()?;
            let path = sshd_config::expand(pattern, user);
            if own_seen.insert(path.clone()) {
                show(collector, &path, Some(&user.name))?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Hands over the keys of a file, line by line.
fn show(collector: &mut Collector<'_, AuthorizedKey>, path: &Path, user: Option<&str>) -> ControlFlow<()> {
    let shown = path.to_string_lossy().into_owned();
    if homes::is_forbidden(collector, &shown) {
        return ControlFlow::Continue(());
    }
    let file = match collector.host.open_file(path) {
        Ok(Some(file)) => file,
        Ok(None) => return ControlFlow::Continue(()),
        Err(error) => {
            homes::note(collector, path, &error);
            return ControlFlow::Continue(());
        }
    };
    let mut reader = BufReader::new(file.take(FILE_BYTES_MAX));
    let (mut number, mut malformed) = (0, 0_u64);
    let mut bytes = Vec::new();
    let flow = loop {
        if collector.go_on().is_break() {
            break ControlFlow::Break(());
        }
        number += 1;
        match next_line(&mut reader, &mut bytes) {
            Ok(Next::End) => break ControlFlow::Continue(()),
            Ok(Next::TooLong) => malformed += 1,
            Ok(Next::Line) => match line::parse(&bytes) {
                None => {}
                Some(Err(())) => malformed += 1,
                Some(Ok(line)) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let (options, comment) = (line.options.map(text), line.comment.map(text));
                    let (path, user, public) = (shown.clone(), user.map(str::to_owned), line.public);
                    if collector.row(AuthorizedKey { path, line: number, user, public, options, comment }).is_break() {
                        break ControlFlow::Break(());
                    }
                }
            },
            Err(error) => {
                collector.trouble(Some(&shown), reason(&error));
                break ControlFlow::Continue(());
            }
        }
    };
    if reader.get_ref().limit() == 0 {
        collector.trouble(Some(&shown), format!("only its first {FILE_BYTES_MAX} bytes are looked at"));
    }
    if malformed > 0 {
        collector.trouble(Some(&shown), format!("{malformed} malformed lines"));
    }
    flow
}

enum Next {
    Line,
    TooLong,
    End,
}

/// Reads a line; of one that is too long, what follows is passed over in later calls' stead.
fn next_line(reader: &mut BufReader<Take<File>>, line: &mut Vec<u8>) -> io::Result<Next> {
    line.clear();
    let length = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    if length == 0 {
        return Ok(Next::End);
    }
    if line.ends_with(b"\n") || (length as u64) < LINE_BYTES_MAX {
        return Ok(Next::Line);
    }
    while !line.ends_with(b"\n") {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)? == 0 {
            break;
        }
    }
    Ok(Next::TooLong)
}
