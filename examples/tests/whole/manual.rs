//! `docs/tables.md` follows from the declarations of the tables, and of what is known of agents.

use std::fmt::Write as _;

use canvass_examples::workspace;
use canvass_tables::TABLES;

use crate::desk::{Home, stdout};

fn manual() -> String {
    let mut text = "# Tables\n\nWritten from the declarations in `tables/src`; a test keeps it so. Every table but `agents` also has `host` (text) and \
                    `agent` (struct), which the desk fills in.\n"
        .to_owned();
    for table in TABLES {
        let info = table.info();
        let _ = write!(text, "\n## {}\n\n{}. Module `{}`.", info.name, info.about, info.module.name);
        if let Some(bound) = info.bound {
            let _ = write!(text, " Has to be told {}: {} must be bounded.", bound.about, bound.keys);
        }
        let _ = write!(
            text,
            "\n\n```sql\n{};\n```\n\n| column | type | class | in `*` | |\n| --- | --- | --- | --- | --- |\n",
            info.example
        );
        for column in table.columns() {
            let kind = column.kind.as_str();
            let class = format!("{}{}", column.class.as_str(), if column.secret { ", secret" } else { "" });
            let in_star = if column.probe { "no" } else { "yes" };
            let about = column.about.replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {kind} | {class} | {in_star} | {about} |", column.name);
        }
    }
    text.push_str(
        "\n## agents\n\nThe inventory, one row an agent, which the desk has; the same stands in the column `agent` of every other table.\n\n\
         ```sql\nSELECT name, status, revoked_keys FROM agents WHERE revoked_keys IS NOT NULL;\n```\n\n\
         | column | type | said by | |\n| --- | --- | --- | --- |\n",
    );
    let fields = stdout(&Home::new().canvass(&["-q", "-c", ".schema agents"]));
    for field in fields.lines().skip(1) {
        let (name, rest) = field.split_once('\t').unwrap();
        let _ = writeln!(text, "| `{name}` | {} |", rest.replace('\t', " | "));
    }
    text
}

#[test]
fn the_manual_follows_from_the_declarations() {
    let file = workspace().join("docs/tables.md");
    let manual = manual();
    if std::env::var_os("CANVASS_WRITE_DOCS").is_some() {
        std::fs::write(&file, &manual).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == manual, "docs/tables.md is out of date; run this test with CANVASS_WRITE_DOCS=1");
}

#[test]
fn the_page_of_the_prompt_lists_every_setting() {
    let page = std::fs::read_to_string(workspace().join("docs/prompt.md")).unwrap();
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| *name != "SET canvass.…")
        .collect();
    let settings = stdout(&Home::new().canvass(&["-q", "-c", ".set"]));
    let settings: Vec<&str> = settings.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(listed, settings);
}
