//! Table `systemd_units`: what systemd may start, as unit files, links and control groups tell.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;

use super::cgroups::{self, Running};
use super::folders::{Reader, shown};
use super::unit_file::Settings;
use super::unit_folders::{self, Scope};
use super::unit_names::{TYPES, UnitName};
use super::unit_state::{Index, Leads};
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::table::{Declared, TableInfo};

#[derive(Default)]
pub struct SystemdUnit {
    name: String,
    kind: &'static str,
    scope: &'static str,
    user: Option<String>,
    path: Option<PathBuf>,
    drop_ins: Vec<PathBuf>,
    settings: Settings,
    state: Option<&'static str>,
    active: Option<bool>,
    starts: Option<String>,
    modified_ns: Option<i64>,
}

/// systemd itself is not asked, since a stranger on the host may have it say anything: what counts is what it would read. Units that
/// have no file, such as devices and most mounts, are none here.
pub static SYSTEMD_UNITS: Declared<SystemdUnit> = Declared {
    info: TableInfo {
        name: "systemd_units",
        module: super::MODULE,
        about: "Units of systemd by their files, drop-ins and links: the system's, all users' and each user's own, one row a name",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, user, path, exec_start FROM systemd_units WHERE unit_file_state = 'enabled' AND path NOT LIKE '/usr/%'",
    },
    columns: &[
        Column::field("name", Kind::Text, "Name of the unit with its type; a template has nothing after its `@`", |u| {
            u.name.as_str().into()
        }),
        Column::<SystemdUnit>::field("type", Kind::Text, "Type of the unit", |u| u.kind.into()).values(TYPES),
        Column::<SystemdUnit>::field("scope", Kind::Text, "Whose manager runs it: the system's or a user's", |u| u.scope.into())
            .values(&["system", "user"]),
        Column::field("user", Kind::Text, "Who has it in their home or session; NULL for what all users or the system have", |u| {
            u.user.as_deref().into()
        }),
        Column::<SystemdUnit>::field(
            "path",
            Kind::Text,
            "File that counts among those of this name, behind links; the link itself where it leads to nothing",
            |u| u.path.as_deref().map(shown).into(),
        )
        .form(Form::Path),
        Column::field("drop_ins", Kind::Text, "Files laid over it, separated by commas in that order; empty for none", |u| {
            u.drop_ins.iter().map(|path| shown(path)).collect::<Vec<_>>().join(",").into()
        }),
        Column::field("description", Kind::Text, "What it calls itself", |u| u.settings.description.as_deref().into()),
        Column::field("exec_start", Kind::Text, "Command lines of ExecStart=, separated by `; `; NULL for none", |u: &SystemdUnit| {
            listed(u.settings.exec_start.iter().cloned())
        })
        .sensitive(),
        Column::field(
            "exec_other",
            Kind::Text,
            "Other commands with their settings, e.g. `ExecStartPre=/bin/x`, separated by `; `; NULL for none",
            |u: &SystemdUnit| listed(u.settings.exec_other.iter().map(setting)),
        )
        .sensitive(),
        Column::field("run_as", Kind::Text, "User= of the unit; NULL where it has none and runs as its manager does", |u| {
            u.settings.run_as.as_deref().into()
        }),
        Column::<SystemdUnit>::field(
            "unit_file_state",
            Kind::Text,
            "Whether it is started by itself, in the words of `systemctl is-enabled`; bad where its file cannot be read",
            |u| u.state.into(),
        )
        .values(STATES),
        Column::field(
            "active",
            Kind::Boolean,
            "Whether processes run in its control group; NULL without systemd, and for types and templates that have none",
            |u| u.active.into(),
        ),
        Column::field(
            "schedule",
            Kind::Text,
            "When a timer elapses, e.g. `OnCalendar=daily; OnBootSec=5min`; NULL for other types",
            |u| listed(u.settings.timers.iter().map(setting)),
        ),
        Column::field("starts", Kind::Text, "Unit that a timer, path or socket starts; NULL for other types", |u| {
            u.starts.as_deref().into()
        }),
        Column::field("modified_at", Kind::Timestamp, "Last change of the file's bytes", |u| {
            u.modified_ns.map_or(Cell::Null, Cell::Timestamp)
        }),
    ],
    collect,
};

const STATES: &[&str] = &[
    "enabled",
    "enabled-runtime",
    "linked",
    "linked-runtime",
    "alias",
    "masked",
    "masked-runtime",
    "static",
    "indirect",
    "disabled",
    "generated",
    "transient",
    "bad",
];

/// Columns for which files have to be read.
const SETTINGS: &[&str] =
    &["description", "exec_start", "exec_other", "run_as", "unit_file_state", "schedule", "starts"];

/// Texts as one; NULL for none.
fn listed<'a>(texts: impl Iterator<Item = String>) -> Cell<'a> {
    let all: Vec<String> = texts.collect();
    (!all.is_empty()).then(|| all.join("; ")).into()
}

fn setting((key, value): &(String, String)) -> String {
    format!("{key}={value}")
}

/// What the wanted columns need.
struct Wants {
    settings: bool,
    drop_ins: bool,
    modified: bool,
}

fn collect(collector: &mut Collector<'_, SystemdUnit>) -> ControlFlow<()> {
    let reader = Reader::new(collector.host, collector.forbidden);
    let settings = SETTINGS.iter().any(|column| collector.wants(column));
    let wants =
        Wants { settings, drop_ins: settings || collector.wants("drop_ins"), modified: collector.wants("modified_at") };
    let running = if collector.wants("active") { cgroups::read(&reader, collector)? } else { None };
    for scope in unit_folders::common(&reader) {
        units(&scope, &reader, running.as_ref(), &wants, collector)?;
    }
    for scope in unit_folders::of_users(&reader) {
        units(&scope, &reader, running.as_ref(), &wants, collector)?;
    }
    ControlFlow::Continue(())
}

/// The units of one scope.
fn units(
    scope: &Scope,
    reader: &Reader<'_>,
    running: Option<&Running>,
    wants: &Wants,
    collector: &mut Collector<'_, SystemdUnit>,
) -> ControlFlow<()> {
    let index = Index::read(scope, reader, collector)?;
    for name in index.units(scope) {
        collector.go_on()?;
        let Some(parsed) = UnitName::parse(&name) else { continue };
        let (mut troubles, mut unread) = (Vec::new(), false);
        let leads = index.resolve(&name, scope, reader).unwrap_or_else(|trouble| {
            troubles.push(trouble);
            unread = true;
            Leads::Nowhere { path: PathBuf::new() }
        });
        let mut unit = SystemdUnit {
            kind: parsed.kind,
            scope: scope.name,
            user: scope.user.as_ref().map(|(user, _)| user.clone()),
            active: active(&leads, &name, scope, running),
            ..SystemdUnit::default()
        };
        unread |= !read(&mut unit, &leads, &name, &index, reader, wants, &mut troubles);
        if !unread {
            unit.state = Some(index.state(&name, &leads, &unit.settings.install, scope));
        }
        unit.starts = starts(&unit.settings, &parsed, &leads);
        unit.path = match leads {
            Leads::ToFile { path, .. } | Leads::Masked { path, .. } | Leads::Nowhere { path } => Some(path),
        };
        unit.path = unit.path.filter(|path| path.is_absolute());
        unit.name = name;
        for trouble in troubles {
            collector.note_trouble(trouble);
        }
        collector.row(unit)?;
    }
    ControlFlow::Continue(())
}

/// Reads a unit's file and what is laid over it, as far as that is wanted; whether all of it could be read.
fn read(
    unit: &mut SystemdUnit,
    leads: &Leads,
    name: &str,
    index: &Index,
    reader: &Reader<'_>,
    wants: &Wants,
    troubles: &mut Vec<Trouble>,
) -> bool {
    let modified = |path: &Path| Some(reader.target(path).ok().flatten()?.1.mtime_ns);
    let (own, path) = match leads {
        Leads::ToFile { name, path, .. } => (name, path),
        Leads::Masked { path, .. } | Leads::Nowhere { path } => {
            unit.modified_ns =
                wants.modified.then(|| reader.host.metadata(path).ok()).flatten().map(|seen| seen.mtime_ns);
            return true;
        }
    };
    unit.modified_ns = if wants.modified { modified(path) } else { None };
    if wants.drop_ins {
        let names = [own.as_str(), name];
        unit.drop_ins = index.drop_ins(if own == name { &names[..1] } else { &names }, reader);
    }
    let mut whole = true;
    if !wants.settings {
        return whole;
    }
    for file in std::iter::once(path).chain(&unit.drop_ins) {
        match reader.text(file) {
            Ok(text) => {
                let before = unit.settings.malformed;
                unit.settings.lay_over(&text.unwrap_or_default(), unit.kind);
                let malformed = unit.settings.malformed - before;
                if malformed > 0 {
                    troubles.push(Trouble::new(Some(&shown(file)), format!("{malformed} malformed lines")));
                }
            }
            Err(trouble) => {
                troubles.push(trouble);
                whole = false;
            }
        }
    }
    whole
}

/// Whether the unit has processes, under whatever name they know it.
fn active(leads: &Leads, name: &str, scope: &Scope, running: Option<&Running>) -> Option<bool> {
    let parsed = UnitName::parse(name)?;
    if parsed.is_template() || !matches!(parsed.kind, "service" | "scope" | "slice") {
        return None;
    }
    let running = running?;
    let own = match leads {
        Leads::ToFile { name, .. } => name.as_str(),
        Leads::Masked { .. } | Leads::Nowhere { .. } => name,
    };
    Some([name, own].iter().any(|name| match (&scope.user, scope.name) {
        (Some((_, uid)), _) => running.holds(Some(*uid), name),
        (None, "user") => running.holds_for_some(name),
        (None, _) => running.holds(None, name),
    }))
}

/// What a unit starts that only waits: what it says, or the service of its name.
fn starts(settings: &Settings, name: &UnitName<'_>, leads: &Leads) -> Option<String> {
    let waits = matches!(name.kind, "timer" | "path" | "socket") && matches!(leads, Leads::ToFile { .. });
    let service = UnitName { kind: "service", ..*name };
    let named = || match service.instance {
        Some(instance) => service.with_instance(instance),
        // An instance for each connection.
        None if settings.accepts && name.kind == "socket" => service.with_instance(""),
        None => format!("{}.service", service.prefix),
    };
    waits.then(|| settings.starts.clone().unwrap_or_else(named))
}
