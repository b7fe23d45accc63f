//! Statements that somebody else wrote, planned again: they change nothing here, and open nothing.

use std::sync::Arc;

use canvass_planner::desk::Gives;
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet as _;
use canvass_protocol::action::Action;

use super::common::changing::{Changing, Notebook};
use super::{Hunt, TABLES, sealed};

/// An action as somebody may sign it whose desk is of his own making: its words need not be those that its scans came from.
async fn with_words(hunt: &mut Hunt, words: &str) -> (Action, String) {
    let planned = hunt.desk.plan("SELECT host, n FROM numbers").await.unwrap();
    let mut action = planned.action.clone().unwrap();
    words.clone_into(&mut action.statements[0].sql);
    let envelope = sealed(action.to_bytes());
    drop(hunt.fleet.ask(envelope, vec![]).await.unwrap());
    let id = action.id.to_string();
    (action, id)
}

#[tokio::test]
async fn the_words_of_others_change_nothing_here_and_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever opened it would wait for ever.
    let pipe = folder.path().join("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let there = folder.path().join("there.csv");
    std::fs::write(&there, "word\none\n").unwrap();
    let missing = folder.path().join("missing.parquet");
    let files = [&pipe, &there, &missing].map(|path| format!("SELECT * FROM '{}'", path.display()));
    let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
    for words in ["SET canvass.confirm_above = 1000000000", "SET canvass.follow = true"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
    {
        let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
        hunt.desk.plan("SET canvass.confirm_above = 3").await.unwrap();
        let before = hunt.desk.settings().clone();
        let (action, id) = with_words(&mut hunt, words).await;
        let is_file = words.contains(folder.path().to_str().unwrap());
        let not_opened = |error: &Error| {
            // All three in the same words, whether there is something or not.
            error.message.ends_with("is a local file of whoever asked, and is not opened here")
        };
        match hunt.desk.gives(&action).await {
            Ok(gives) => assert!(gives == Gives::Others && !is_file, "{words}"),
            Err(error) => assert!(is_file && not_opened(&error), "{words}: {error:?}"),
        }
        let error = hunt.desk.plan_again(&action).await.err().unwrap();
        assert!(!is_file || not_opened(&error), "{words}: {error:?}");
        let error = hunt.desk.plan(&format!("SELECT * FROM results('{id}')")).await.err().unwrap();
        assert!(!is_file || not_opened(&error), "{words}: {error:?}");
        assert_eq!(*hunt.desk.settings(), before, "{words}");
    }
}

#[tokio::test]
async fn what_was_asked_before_is_read_as_of_now_and_that_is_said() {
    let fleet = Arc::new(Changing::new(TABLES, &["alpha", "beta"]));
    let mut hunt = Hunt::new(&fleet, Arc::new(Notebook::default()));
    for (words, expected) in [
        ("SELECT n.host, a.state FROM numbers n CROSS JOIN actions a", &["actions"][..]),
        ("SELECT host, n FROM numbers WHERE n IN (SELECT rows FROM commands)", &["commands"]),
        ("SELECT host, n FROM numbers", &[]),
    ] {
        let (action, _) = with_words(&mut hunt, words).await;
        let remarks = hunt.desk.plan_again(&action).await.unwrap().remarks;
        let said: Vec<String> =
            expected.iter().map(|name| format!("`{name}` is read as it is now: how it was then is not kept")).collect();
        assert_eq!(remarks, said, "{words}");
    }
}
