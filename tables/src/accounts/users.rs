//! Table `users`.

use std::ops::ControlFlow;

use crate::table::{Declared, TableInfo};

pub struct User;

pub static USERS: Declared<User> = Declared {
    info: TableInfo { name: "users", module: "accounts", about: "", bound: None, live: false, example: "" },
    columns: &[],
    collect: |_| ControlFlow::Continue(()),
};
