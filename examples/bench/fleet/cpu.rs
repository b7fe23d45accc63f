//! Processor time, of a process and of the whole machine, as the kernel counts it.

use anyhow::{Context as _, Result};

/// Seconds of processor time that a process has used, all of its threads together.
pub fn of_process(id: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).context("a process is gone")?;
    let ticks = text.rsplit_once(") ").and_then(|(_, rest)| {
        let mut fields = rest.split(' ').skip(11).map(str::parse::<u64>);
        Some(fields.next()?.ok()? + fields.next()?.ok()?)
    });
    Ok(ticks.context("the kernel's word of a process cannot be read")? as f64 / ticks_per_second())
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
