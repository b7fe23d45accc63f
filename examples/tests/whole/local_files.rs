//! Local files in statements, as a person types them.

use std::fs;

use crate::desk::{Home, stderr, stdout, transcript};

/// How many actions were signed here.
fn signed(home: &Home) -> usize {
    let Ok(entries) = fs::read_dir(home.path().join(".local/share/canvass/actions")) else { return 0 };
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "json")).count()
}

#[test]
fn a_file_alone_asks_and_signs_nothing() {
    let home = Home::new();
    fs::write(home.path().join("iocs.csv"), "sha256,count\n007,1\n,2\n").unwrap();
    let output = home.canvass(&["-c", "SELECT * FROM 'iocs.csv'"]);
    assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
    assert_eq!(stdout(&output), "sha256\tcount\n007\t1\n\\N\t2\n");
    assert!(stderr(&output).contains("2 rows"), "{}", transcript(&output));
    assert_eq!(signed(&home), 0);
}

#[test]
fn a_wrong_file_is_pointed_at_before_anything_is_signed() {
    let home = Home::new();
    fs::write(home.path().join("ragged.csv"), "path,n\n/etc/passwd\n").unwrap();
    for (name, said) in [
        ("nothing.csv", "there is no file"),
        ("ragged.csv", "line 2 has 1 value"),
        ("https://example.org/x.csv", "not a file of this machine"),
        ("ragged.txt", "neither a table nor a file"),
    ] {
        let output = home.canvass(&["-c", &format!("SELECT f.path FROM files f JOIN '{name}' i ON f.path = i.path")]);
        assert_eq!(output.status.code(), Some(2), "{}", transcript(&output));
        let caret = format!("  | {}{}\n", " ".repeat(33), "^".repeat(name.len()));
        assert!(stderr(&output).contains(said) && stderr(&output).contains(&caret), "{}", transcript(&output));
        assert!(stdout(&output).is_empty());
    }
    assert_eq!(signed(&home), 0);
}

#[test]
fn an_endpoint_returns_what_a_file_asks_for() {
    let home = Home::new();
    fs::write(home.path().join("paths.csv"), "path,why\n/etc/passwd,accounts\n/does/not/exist,\n").unwrap();
    let join = "SELECT f.path, p.why, f.type FROM files f JOIN 'paths.csv' p ON f.path = p.path";
    let output = home.canvass(&["-c", join]);
    assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
    assert_eq!(stdout(&output), "path\twhy\ttype\n/etc/passwd\taccounts\tfile\n");
    assert_eq!(signed(&home), 1);
    let explained = stdout(&home.canvass(&["-c", &format!("EXPLAIN {join}")]));
    assert!(explained.contains("2 values from path of 'paths.csv'"), "{explained}");
}

#[test]
fn a_result_written_to_a_file_is_a_table_again() {
    let home = Home::new();
    let select = "SELECT path, size, mtime, type FROM files WHERE path IN ('/etc/passwd', '/etc')";
    for ending in ["csv", "json", "jsonl"] {
        let file = format!("found.{ending}");
        let written = home.canvass(&["--format", ending, "-o", &file, "-c", &format!("{select} ORDER BY path")]);
        assert_eq!(written.status.code(), Some(0), "{}", transcript(&written));
        let asked = home.canvass(&[
            "-c",
            &format!(
                "SELECT count(*) AS same FROM '{file}' l JOIN ({select}) f \
            ON f.path = l.path AND f.mtime = l.mtime AND f.type = l.type AND f.size = l.size"
            ),
        ]);
        assert_eq!(stdout(&asked), "same\n2\n", "{ending}\n{}", transcript(&asked));
    }
}
