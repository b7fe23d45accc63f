//! Table `crontab`: what cron and anacron run, from all the places in which they look.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use super::cron_lines::{self, Format, Job, Line};
use super::folders::{Reader, name, shown};
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::host::{FileKind, Metadata};
use crate::table::{Declared, TableInfo};

pub struct Crontab {
    path: String,
    line: Option<u64>,
    schedule: String,
    fields: Option<[String; 5]>,
    user: Option<String>,
    command: String,
    ignored: Option<bool>,
}

/// A script in a folder that is run as a whole has a row as a line has: `@daily` and its path. What `at` keeps is not here.
pub static CRONTAB: Declared<Crontab> = Declared {
    info: TableInfo {
        name: "crontab",
        module: super::MODULE,
        about: "What cron and anacron run: one row a line of the system's and users' crontabs, or a script of cron.daily and its like",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, path, user, schedule, command FROM crontab WHERE command ~ '/tmp/|/dev/shm/|curl|wget'",
    },
    columns: &[
        Column::<Crontab>::field("path", Kind::Text, "File in which it stands, or the script", |c| {
            c.path.as_str().into()
        })
        .form(Form::Path),
        Column::field("line", Kind::Integer, "Number of the line in the file; NULL for scripts", |c| c.line.into()),
        Column::field(
            "schedule",
            Kind::Text,
            "When: five fields or a word such as @reboot; days and minutes of delay in /etc/anacrontab",
            |c| c.schedule.as_str().into(),
        ),
        Column::field("minute", Kind::Text, "First of the five fields; NULL where there are none", |c| part(c, 0)),
        Column::field("hour", Kind::Text, "Second of the five fields", |c| part(c, 1)),
        Column::field("day_of_month", Kind::Text, "Third of the five fields", |c| part(c, 2)),
        Column::field("month", Kind::Text, "Fourth of the five fields", |c| part(c, 3)),
        Column::field("day_of_week", Kind::Text, "Last of the five fields", |c| part(c, 4)),
        Column::field("user", Kind::Text, "Whom it runs as, by the line or the name of the file", |c| {
            c.user.as_deref().into()
        }),
        Column::field(
            "command",
            Kind::Text,
            "Command line as written, `%` included, or the script's path",
            |c: &Crontab| c.command.as_str().into(),
        )
        .sensitive(),
        Column::field(
            "ignored",
            Kind::Boolean,
            "Whether cron passes it over: for the file's name, or as a script that may not be run; NULL where crons differ and the system is unknown",
            |c| c.ignored.into(),
        ),
    ],
    collect,
};

fn part(row: &Crontab, index: usize) -> crate::column::Cell<'_> {
    row.fields.as_ref().and_then(|fields| fields.get(index)).map(String::as_str).into()
}

/// What a folder holds.
#[derive(Clone, Copy)]
enum Holds {
    /// Crontabs of the system.
    Tables,
    /// Crontabs by the names of their users.
    Spool,
    /// Scripts, run as often as this says.
    Scripts(&'static str),
}

const FOLDERS: &[(&str, Holds)] = &[
    ("/etc/cron.d", Holds::Tables),
    ("/var/spool/cron/crontabs", Holds::Spool),
    ("/var/spool/cron/tabs", Holds::Spool),
    ("/var/spool/cron", Holds::Spool),
    ("/etc/crontabs", Holds::Spool),
    ("/etc/cron.hourly", Holds::Scripts("@hourly")),
    ("/etc/cron.daily", Holds::Scripts("@daily")),
    ("/etc/cron.weekly", Holds::Scripts("@weekly")),
    ("/etc/cron.monthly", Holds::Scripts("@monthly")),
    ("/etc/cron.yearly", Holds::Scripts("@yearly")),
    ("/etc/periodic/15min", Holds::Scripts("*/15 * * * *")),
    ("/etc/periodic/hourly", Holds::Scripts("@hourly")),
    ("/etc/periodic/daily", Holds::Scripts("@daily")),
    ("/etc/periodic/weekly", Holds::Scripts("@weekly")),
    ("/etc/periodic/monthly", Holds::Scripts("@monthly")),
];

/// Whose rules say which names are passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Debian,
    Other,
    Unknown,
}

struct Search<'a, 'b> {
    collector: &'b mut Collector<'a, Crontab>,
    reader: Reader<'a>,
    family: Family,
}

fn collect(collector: &mut Collector<'_, Crontab>) -> ControlFlow<()> {
    let reader = Reader::new(collector.host, collector.forbidden);
    let family = if collector.wants("ignored") { family(&reader) } else { Family::Unknown };
    let mut search = Search { collector, reader, family };
    search.table(Path::new("/etc/crontab"), Format::System, None, Some(false))?;
    search.table(Path::new("/etc/anacrontab"), Format::Anacron, None, Some(false))?;
    // One may be a link to another, as on Alpine.
    let mut seen = HashSet::new();
    for (folder, holds) in FOLDERS {
        search.collector.go_on()?;
        let folder = Path::new(folder);
        let target = search.reader.target(folder);
        if let Some(Some((_, metadata))) = search.note(target)
            && seen.insert(metadata.id())
        {
            search.folder(folder, *holds)?;
        }
    }
    ControlFlow::Continue(())
}

impl Search<'_, '_> {
    /// Keeps what was found, and passes on what went wrong.
    fn note<T>(&mut self, result: Result<T, Trouble>) -> Option<T> {
        self.collector.note(result)
    }

    fn folder(&mut self, folder: &Path, holds: Holds) -> ControlFlow<()> {
        let entries = self.reader.entries(folder);
        for entry in self.note(entries).unwrap_or_default() {
            self.collector.go_on()?;
            if !matches!(entry.kind, FileKind::File | FileKind::Link) {
                continue;
            }
            let (path, name) = (folder.join(&entry.name), name(&entry.name));
            // A link to a folder is none of cron's, as Alpine's to its spool.
            let is_folder =
                |target: Option<(_, Metadata)>| target.is_some_and(|(_, seen)| seen.kind == FileKind::Directory);
            if entry.kind == FileKind::Link && self.reader.target(&path).is_ok_and(is_folder) {
                continue;
            }
            match holds {
                Holds::Tables => self.table(&path, Format::System, None, self.ignores(&name))?,
                Holds::Spool => self.table(&path, Format::User, Some(&name), Some(name.starts_with('.')))?,
                // A name that begins with a dot keeps a folder from being empty and is run nowhere.
                Holds::Scripts(_) if name.starts_with('.') => {}
                Holds::Scripts(schedule) => self.script(&path, &name, schedule)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// The jobs of one file.
    fn table(&mut self, path: &Path, format: Format, owner: Option<&str>, ignored: Option<bool>) -> ControlFlow<()> {
        let text = self.reader.text(path);
        let Some(Some(text)) = self.note(text) else { return ControlFlow::Continue(()) };
        let mut malformed = 0;
        for (line, number) in text.split('\n').zip(1..) {
            self.collector.go_on()?;
            match cron_lines::parse(line, format) {
                Line::Nothing => {}
                Line::Malformed => malformed += 1,
                Line::Job(job) => self.collector.row(row(path, number, &job, owner, ignored))?,
            }
        }
        if malformed > 0 {
            self.collector.trouble(Some(&shown(path)), format!("{malformed} malformed lines"));
        }
        ControlFlow::Continue(())
    }

    fn script(&mut self, path: &Path, name: &str, schedule: &str) -> ControlFlow<()> {
        let mut ignored = self.ignores(name);
        if self.collector.wants("ignored") {
            let target = self.reader.target(path);
            let may_run = self.note(target).map(|target| {
                target.is_some_and(|(_, metadata)| metadata.kind == FileKind::File && metadata.permissions & 0o111 != 0)
            });
            ignored = if may_run == Some(false) { Some(true) } else { ignored };
        }
        self.collector.row(Crontab {
            path: shown(path),
            line: None,
            schedule: schedule.to_owned(),
            fields: fields(schedule),
            user: Some("root".to_owned()),
            command: shown(path),
            ignored,
        })
    }

    /// Whether cron passes over a file of this name in a folder of the system's.
    fn ignores(&self, name: &str) -> Option<bool> {
        let (debian, others) = (is_ignored_by_debian(name), is_ignored_elsewhere(name));
        match self.family {
            Family::Debian => Some(debian),
            Family::Other => Some(others),
            Family::Unknown => (debian == others).then_some(debian),
        }
    }
}

fn row(path: &Path, number: u64, job: &Job<'_>, owner: Option<&str>, ignored: Option<bool>) -> Crontab {
    Crontab {
        path: shown(path),
        line: Some(number),
        schedule: job.schedule.clone(),
        fields: job.fields.map(|fields| fields.map(str::to_owned)),
        user: job.user.or(owner).map(str::to_owned),
        command: job.command.to_owned(),
        ignored,
    }
}

/// The five fields of a schedule that has them.
fn fields(schedule: &str) -> Option<[String; 5]> {
    let fields: Vec<String> = schedule.split(' ').map(str::to_owned).collect();
    fields.try_into().ok()
}

/// Debian's cron and run-parts take names of letters, digits, dashes and underscores.
fn is_ignored_by_debian(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Others pass over what editors and packages leave behind.
fn is_ignored_elsewhere(name: &str) -> bool {
    name.starts_with(['.', '#'])
        || ["~", ",", ".rpmsave", ".rpmorig", ".rpmnew", ".swp", ",v"].iter().any(|end| name.ends_with(end))
}

fn family(reader: &Reader<'_>) -> Family {
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let Some(text) = paths.iter().find_map(|path| reader.text(Path::new(path)).ok().flatten()) else {
        return Family::Unknown;
    };
    let values = text.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    let mut words = values.flat_map(|value| value.split(['"', '\'', ' ']));
    let mut known = false;
    let is_debian = words.any(|word| {
        known |= !word.is_empty();
        word == "debian" || word == "ubuntu"
    });
    match (is_debian, known) {
        (true, _) => Family::Debian,
        (false, true) => Family::Other,
        (false, false) => Family::Unknown,
    }
}
