//! The `canvass-agent` program.

fn main() {}
