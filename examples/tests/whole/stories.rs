//! The stories of `examples/stories`, told to the fixture fleet. What each prints is a snapshot.

use std::process::Command;

use canvass_examples::{folder, program};

use crate::desk::Home;

#[test]
fn stories_answer_on_the_fixture_fleet() {
    let home = Home::new();
    // The key that a first question makes has another fingerprint each time.
    home.canvass(&["-c", "SELECT 1"]);
    let mut told = 0;
    let mut stories: Vec<_> =
        std::fs::read_dir(folder().join("stories")).unwrap().map(|entry| entry.unwrap().path()).collect();
    stories.sort();
    for story in stories {
        let name = story.file_stem().unwrap().to_string_lossy().into_owned();
        let output = Command::new(program("canvass"))
            .envs(home.environment())
            .args(["--fleet", "examples/fleet", "--format", "table", "-f"])
            .arg(story.strip_prefix(canvass_examples::workspace()).unwrap())
            .current_dir(canvass_examples::workspace())
            .output()
            .unwrap();
        let text = std::fs::read_to_string(&story).unwrap();
        insta::with_settings!({ description => text, omit_expression => true, filters => vec![(r" · \d+\.\d+ m?s", " · [time]")] }, {
            insta::assert_snapshot!(name, crate::desk::transcript(&output));
        });
        told += 1;
    }
    assert!(told >= 10, "only {told} stories were found");
}
