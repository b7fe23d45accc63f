//! What was asked and answered by every released version gives the rows that it gave then.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use canvass_planner::desk::{Desk, State};
use canvass_planner::error::Error;
use canvass_planner::fleet::{Delivery, Endpoint, Fleet};
use canvass_planner::kept::{Inventory, Keeper};
use canvass_planner::settings::Settings;
use canvass_protocol::action::Action;
use canvass_protocol::api::Record;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::statement::InputFile;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt as _;
use tokio::sync::mpsc;

/// A fleet of which nothing is left but one action and its answers.
struct Remembered {
    folder: PathBuf,
    envelope: Envelope,
    fleet: String,
}

impl Remembered {
    fn open(folder: &Path) -> Remembered {
        let envelope: Envelope = serde_json::from_slice(&fs::read(folder.join("envelope.json")).unwrap()).unwrap();
        let fleet = Action::parse(envelope.payload.as_bytes()).unwrap().fleet;
        Remembered { folder: folder.to_owned(), envelope, fleet }
    }

    fn records(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.folder.join("answers.jsonl")).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[async_trait]
impl Fleet for Remembered {
    fn name(&self) -> &str {
        &self.fleet
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(Vec::new())
    }

    async fn ask(&self, _: Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(Error::internal("nobody is left to be asked"))
    }

    async fn asked(&self, _: &Action) -> Result<Vec<String>, Error> {
        let agents = self.records().into_iter().filter_map(|record| match record {
            Record::Part(part) => Some(part.agent),
            _ => None,
        });
        Ok(agents.collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn signed(&self, _: &str) -> Result<Envelope, Error> {
        Ok(self.envelope.clone())
    }

    async fn stored(&self, _: &Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let records = self.records();
        let (sender, receiver) = mpsc::channel(records.len().max(1));
        for record in records {
            if let Record::Part(part) = record {
                sender.try_send(Delivery::Part { agent: part.agent.clone(), part: part.into() }).unwrap();
            }
        }
        Ok(receiver)
    }

    async fn follow(&self, envelope: &Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        self.stored(envelope, agents).await
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

/// What the desk that asked kept of it.
struct Shelf(PathBuf);

impl Keeper for Shelf {
    fn keep_inventory(&self, _: &Action, _: &Inventory) -> Result<(), Error> {
        Err(Error::internal("nothing is kept anew"))
    }

    fn inventory(&self, _: &Action) -> Result<Option<Inventory>, Error> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("inventory.json")).unwrap()).unwrap())
    }

    fn keep_file(&self, _: &InputFile) -> Result<(), Error> {
        Err(Error::internal("nothing is kept anew"))
    }

    fn file(&self, sha256: &str) -> Option<File> {
        File::open(self.0.join("files").join(sha256)).ok()
    }
}

/// Rows as `--format csv` writes those that need no quotes.
fn csv(schema: &Schema, batches: &[RecordBatch]) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut text = names.join(",") + "\n";
    for batch in batches {
        let options = FormatOptions::default();
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            text += &(cells.join(",") + "\n");
        }
    }
    text
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn the_rows_are_the_same_for_ever() {
    let sets = folders(Path::new("tests/goldens"));
    assert!(!sets.is_empty());
    for golden in sets.iter().flat_map(|set| folders(set)) {
        let about = golden.display();
        let rows = fs::read_to_string(golden.join("rows.csv")).unwrap();
        assert!(rows.lines().count() > 1, "{about} has no rows");
        let fleet = Arc::new(Remembered::open(&golden));
        let mut desk = Desk::new(fleet.clone(), Settings::default()).kept_by(Arc::new(Shelf(golden.join("kept"))));

        let action = Action::parse(fleet.envelope.payload.as_bytes()).unwrap();
        let planned = desk.plan_again(&action).await.unwrap_or_else(|error| panic!("{about}: {error:?}"));
        assert_eq!(planned.remarks, [] as [&str; 0], "{about}");
        let schema = planned.schema.clone();
        let running = desk.resume(planned, fleet.envelope.clone()).await.unwrap();
        let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
        assert_eq!(csv(&schema, &batches), rows, "{about}: .resume");
        let entries = running.account.entries();
        assert!(
            !entries.is_empty() && entries.iter().all(|entry| entry.state == State::Answered),
            "{about}: {entries:?}"
        );

        let planned = desk.plan(&format!("SELECT * FROM results('{}')", action.id)).await.unwrap();
        assert_eq!(planned.remarks, [] as [&str; 0], "{about}");
        let schema = planned.schema.clone();
        let running = desk.run(planned, None).await.unwrap();
        let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
        assert_eq!(csv(&schema, &batches), rows, "{about}: results");
    }
}
