//! Table `files`.

use std::ops::ControlFlow;

use crate::table::{Declared, TableInfo};

pub struct FileRow;

pub static FILES: Declared<FileRow> = Declared {
    info: TableInfo { name: "files", module: "files", about: "", bound: None, live: false, example: "" },
    columns: &[],
    collect: |_| ControlFlow::Continue(()),
};
