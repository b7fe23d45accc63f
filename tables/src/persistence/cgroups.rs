//! Which units have processes, as systemd's control groups tell.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use super::folders::{Reader, name};
use super::unit_names::UnitName;
use crate::engine::Collector;
use crate::host::FileKind;

/// Where systemd's groups may begin: version 2, or its own hierarchy beside those of version 1.
const ROOTS: &[&str] = &["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/// Groups that are looked at, and how deep they may lie.
const GROUPS_MAX: usize = 50_000;
const DEPTH_MAX: usize = 24;

/// Units whose groups hold processes.
#[derive(Default)]
pub(super) struct Running {
    /// By the manager that they belong to, a user's or the system's, and their names.
    units: HashSet<(Option<u32>, String)>,
}

impl Running {
    pub fn holds(&self, manager: Option<u32>, unit: &str) -> bool {
        self.units.contains(&(manager, unit.to_owned()))
    }

    /// Whether it runs for any user.
    pub fn holds_for_some(&self, unit: &str) -> bool {
        self.units.iter().any(|(manager, known)| manager.is_some() && known == unit)
    }
}

/// Looks at all groups; `None` where no systemd has made any.
pub(super) fn read<R>(reader: &Reader<'_>, collector: &mut Collector<'_, R>) -> ControlFlow<(), Option<Running>> {
    let is_systemd = |root: &&&str| {
        ["init.scope", "system.slice"].iter().any(|name| reader.host.metadata(&Path::new(**root).join(name)).is_ok())
    };
    let Some(root) = ROOTS.iter().find(is_systemd) else { return ControlFlow::Continue(None) };
    let mut walk = Walk { reader, running: Running::default(), groups: 0 };
    walk.enter(collector, Path::new(root), None, DEPTH_MAX)?;
    if walk.groups > GROUPS_MAX {
        collector.trouble(Some(root), format!("more than {GROUPS_MAX} control groups"));
    }
    ControlFlow::Continue(Some(walk.running))
}

struct Walk<'a, 'b> {
    reader: &'b Reader<'a>,
    running: Running,
    groups: usize,
}

impl Walk<'_, '_> {
    /// Looks at a group and those below it; whether any holds processes.
    fn enter<R>(
        &mut self,
        collector: &mut Collector<'_, R>,
        group: &Path,
        manager: Option<u32>,
        depth: usize,
    ) -> ControlFlow<(), bool> {
        collector.go_on()?;
        self.groups += 1;
        let Some(depth) = depth.checked_sub(1).filter(|_| self.groups <= GROUPS_MAX) else {
            return ControlFlow::Continue(false);
        };
        // A group that has gone meanwhile, or cannot be listed, shows nothing.
        let entries = self.reader.entries(group).unwrap_or_default();
        let mut populated = self.is_populated(group);
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::Directory) {
            let unit = name(&entry.name);
            let below = user_of(&unit).filter(|_| manager.is_none());
            let holds = self.enter(collector, &group.join(&entry.name), below.or(manager), depth)?;
            populated |= holds;
            if holds && UnitName::parse(&unit).is_some() {
                self.running.units.insert((manager, unit));
            }
        }
        ControlFlow::Continue(populated)
    }

    fn is_populated(&self, group: &Path) -> bool {
        if let Ok(Some(events)) = self.reader.text(&group.join("cgroup.events")) {
            return events.lines().any(|line| line == "populated 1");
        }
        matches!(self.reader.text(&group.join("cgroup.procs")), Ok(Some(pids)) if !pids.trim().is_empty())
    }
}

/// The user whose manager runs in `user@UID.service`.
fn user_of(unit: &str) -> Option<u32> {
    unit.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}
