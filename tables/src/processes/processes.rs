//! Table `processes`.

use std::ops::ControlFlow;

use crate::table::{Declared, TableInfo};

pub struct Process;

pub static PROCESSES: Declared<Process> = Declared {
    info: TableInfo { name: "processes", module: "processes", about: "", bound: None, live: false, example: "" },
    columns: &[],
    collect: |_| ControlFlow::Continue(()),
};
