//! Table `system`.

use std::ops::ControlFlow;

use crate::table::{Declared, TableInfo};

pub struct System;

pub static SYSTEM: Declared<System> = Declared {
    info: TableInfo { name: "system", module: "system", about: "", bound: None, live: false, example: "" },
    columns: &[],
    collect: |_| ControlFlow::Continue(()),
};
