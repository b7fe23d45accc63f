//! Processor time, of a process and of the whole machine, as the kernel counts it.

use anyhow::{Context as _, Result};

/// Seconds of processor time that a process has used, all of its threads together.
pub fn of_process(id: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).context("a process is gone")?;
    let [_, own, _] = read(&text).context("the kernel's word of a process cannot be read")?;
    Ok(own as f64 / ticks_per_second())
}

/// Seconds of processor time that a process and its children have used, those included that have ended.
pub fn of_family(id: u32) -> Result<f64> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(process) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // Whoever has ended meanwhile is counted by its parent.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let [parent, own, ended] = read(&text).context("the kernel's word of a process cannot be read")?;
        if process == id || parent == u64::from(id) {
            ticks += own + ended;
        }
    }
    Ok(ticks as f64 / ticks_per_second())
}

/// The parent's id, and ticks of a process and of its children that have ended, out of `/proc/…/stat`.
fn read(text: &str) -> Option<[u64; 3]> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some([field(1)?, field(11)? + field(12)?, field(13)? + field(14)?])
}

/// Seconds of processor time that the machine was busy for, over all cores.
pub fn of_machine() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let first = text.lines().next().context("the kernel says nothing of its processors")?;
    // user, nice, system; then idle and waiting for disks; then interrupts of both kinds.
    let fields: Vec<u64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|place| fields.get(*place)).sum();
    Ok(busy as f64 / ticks_per_second())
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}
