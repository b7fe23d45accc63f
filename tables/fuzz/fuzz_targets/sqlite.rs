//! Whatever a SQLite file and its log hold: no panic, no more memory than promised, no more rows than there is room for, and an end.
//!
//! The input is the length of the file in four bytes, the least significant first, the file, and its log.
#![no_main]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

use canvass_tables::host::{Host, HostSpec};
use canvass_tables::sqlite::Database;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MEMORY_MAX: usize = 20 << 20;

static HOST: LazyLock<Host> = LazyLock::new(|| Host::open(&HostSpec::Machine).expect("this machine"));

fuzz_target!(|input: &[u8]| {
    let Some((length, rest)) = input.split_first_chunk::<4>() else { return };
    let Some((file, log)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
    let path = format!("/dev/shm/canvass-fuzz-{}.db", std::process::id());
    std::fs::write(&path, file).expect("/dev/shm has room");
    std::fs::write(format!("{path}-wal"), log).expect("/dev/shm has room");
    let host = &*HOST;
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    if let Ok(Some(mut database)) = Database::open(host, Path::new(&path))
        && let Ok(Some(mut table)) = database.table("t")
    {
        let mut rows = 0;
        let (flow, _) = table.for_each(&mut |row| {
            rows += 1;
            row.all().for_each(drop);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        assert!(rows <= (file.len() + log.len()) / 2, "{rows} rows");
    }
    let memory = ALLOCATOR.peak_usage() - before;
    assert!(memory <= MEMORY_MAX, "{memory} bytes of memory");
});
