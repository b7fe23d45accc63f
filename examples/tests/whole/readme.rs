//! The README's transcripts, typed again: what it shows is what is printed.

use std::process::Command;

use canvass_examples::{program, workspace};

use crate::desk::Home;

/// A command of a transcript and what the README says it prints.
fn transcripts(readme: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        let open = found.last().is_some_and(|(command, _)| command.matches('"').count() % 2 == 1);
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ if open => found.last_mut().unwrap().0 += &format!("\n{line}"),
            _ => match line.strip_prefix("$ ") {
                Some(command) => found.push((command.to_owned(), String::new())),
                None => found.last_mut().unwrap().1 += &format!("{line}\n"),
            },
        }
    }
    found
}

/// The time a statement took is the only thing that may differ.
fn without_time(text: &str) -> String {
    let cut = |line: &str| match line.rfind(" · ") {
        Some(at) if line.ends_with(" s") => line[..at].to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| cut(line) + "\n").collect()
}

#[test]
fn the_readme_shows_what_is_printed() {
    let home = Home::new();
    home.canvass(&["-c", "SELECT 1"]);
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let transcripts = transcripts(&readme);
    assert!(transcripts.len() >= 3, "only {} transcripts were found", transcripts.len());
    for (command, shown) in transcripts {
        // A person sees a table and both outputs on one screen.
        let typed =
            format!("canvass() {{ '{}' --format table \"$@\" 2>&1; }}\n{command}", program("canvass").display());
        let output =
            Command::new("sh").args(["-c", &typed]).envs(home.environment()).current_dir(workspace()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(without_time(&printed), without_time(&shown), "{command}");
    }
}
