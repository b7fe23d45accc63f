//! Table `groups`.

use std::ops::ControlFlow;

use crate::table::{Declared, TableInfo};

pub struct Group;

pub static GROUPS: Declared<Group> = Declared {
    info: TableInfo { name: "groups", module: "accounts", about: "", bound: None, live: false, example: "" },
    columns: &[],
    collect: |_| ControlFlow::Continue(()),
};
