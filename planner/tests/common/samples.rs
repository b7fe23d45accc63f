//! A table with little in it that differs, much that is NULL, and something of every type.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use canvass_tables::Table;
use canvass_tables::column::{Cell, Column, Form, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};

use super::dice::Dice;

#[derive(Debug, Clone, Copy)]
pub struct Sample {
    id: i64,
    t: Option<&'static str>,
    n: Option<i64>,
    m: Option<i64>,
    f: Option<f64>,
    b: Option<bool>,
    at: Option<i64>,
    h: Option<&'static str>,
}

pub const TEXTS: &[&str] = &["", "a", "A", "ab", "a_b", "a%b", "it's", "é", "root", "/etc", "/etc/ssh", "10.0.0.1"];
pub const DIGITS: &[&str] = &["00ff", "0a0b", "dead", "1234"];
/// Nanoseconds, and how a statement writes them.
pub const TIMES: &[(i64, &str)] = &[
    (0, "1970-01-01"),
    (1_793_527_200_000_000_000, "2026-11-01T10:00:00Z"),
    (1_793_527_200_500_000_000, "2026-11-01T10:00:00.5Z"),
];

pub static SAMPLES: Declared<Sample> = Declared {
    info: TableInfo {
        name: "samples",
        module: Module::reading("samples"),
        about: "",
        bound: None,
        live: false,
        follows: false,
        example: "",
    },
    columns: &[
        Column::field("id", Kind::Integer, "", |row: &Sample| row.id.into()),
        Column::field("t", Kind::Text, "", |row: &Sample| row.t.into()),
        Column::field("n", Kind::Integer, "", |row: &Sample| row.n.into()).form(Form::Bytes),
        Column::field("m", Kind::Integer, "", |row: &Sample| row.m.into()),
        Column::field("f", Kind::Float, "", |row: &Sample| row.f.map_or(Cell::Null, Cell::Float)),
        Column::field("b", Kind::Boolean, "", |row: &Sample| row.b.into()),
        Column::field("at", Kind::Timestamp, "", |row: &Sample| row.at.map_or(Cell::Null, Cell::Timestamp)),
        Column::field("h", Kind::Text, "", |row: &Sample| row.h.into()).hex(),
    ],
    // The same in every run, so that a seed alone tells a statement's rows again.
    collect: |collector| {
        let mut dice = Dice::new(7);
        for id in 0..24 {
            collector.row(sample(id, &mut dice))?;
        }
        ControlFlow::Continue(())
    },
};

/// The samples, and those of the fixture hosts' own tables that need no bound.
pub fn tables() -> &'static [&'static dyn Table] {
    static ALL: LazyLock<Vec<&dyn Table>> = LazyLock::new(|| {
        let fixed = ["users", "groups", "processes"];
        let own = canvass_tables::TABLES.iter().copied().filter(|table| fixed.contains(&table.info().name));
        own.chain([&SAMPLES as &dyn Table]).collect()
    });
    &ALL
}

fn sample(id: i64, dice: &mut Dice) -> Sample {
    Sample {
        id,
        t: maybe(dice, TEXTS),
        n: maybe(dice, &[-1, 0, 1, 2, 3]),
        m: maybe(dice, &[0, 1, 2]),
        f: maybe(dice, &[-1.5, 0.0, 0.5, 2.25]),
        b: maybe(dice, &[true, false]),
        at: maybe(dice, TIMES).map(|(at, _)| at),
        h: maybe(dice, DIGITS),
    }
}

fn maybe<T: Copy>(dice: &mut Dice, from: &[T]) -> Option<T> {
    if dice.once_in(5) { None } else { Some(*dice.pick(from)) }
}
