//! A scan that runs once, in a real cage on a fixture host, and is replayed by every agent that is asked the same.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::StringArray;
use arrow::record_batch::RecordBatch;
use canvass_agent::cage::{Cage, CageError, Frame, Job, Ran, Scans};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits::FRAME_BYTES_MAX;
use canvass_tables::frame;

use super::behaviour::Behaviour;

/// Scans remembered; a load asks the same few again and again.
const RUNS_MAX: usize = 64;

/// What has run, by its jobs.
pub struct Replay {
    cage: Cage,
    runs: Mutex<HashMap<String, Arc<OnceLock<Replayable>>>>,
}

/// Frames of a run and its records, one a scan.
type Replayable = Result<(Vec<Frame>, BTreeMap<u32, ScanRecord>), CageError>;

impl Replay {
    pub fn new(program: PathBuf) -> Replay {
        Replay { cage: Cage(program), runs: Mutex::default() }
    }

    /// What these jobs give; whoever asks first waits for the real run, and the others with it.
    fn ran(&self, jobs: &[(u32, Job)]) -> Replayable {
        let key = serde_json::to_string(jobs).expect("jobs have text keys");
        let run = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            if runs.len() >= RUNS_MAX && !runs.contains_key(&key) {
                runs.clear();
            }
            runs.entry(key).or_default().clone()
        };
        let ran = run.get_or_init(|| {
            let mut frames = Vec::new();
            // Whoever is stopped while the others wait would stop them all, so nobody stops this run.
            let ran = self.cage.run(jobs.to_vec(), jobs.len().max(1), &AtomicBool::new(false), &mut |frame| {
                frames.push(frame);
                Ok(())
            })?;
            frames.extend(ran.last);
            Ok((frames, ran.records))
        });
        ran.clone()
    }
}

/// Runs scans for one agent of a swarm.
pub struct Replayed {
    pub replay: Arc<Replay>,
    pub behaviour: Behaviour,
    /// What the agent calls itself.
    pub name: String,
}

impl Scans for Replayed {
    fn run(
        &self,
        jobs: Vec<(u32, Job)>,
        _: usize,
        _: &AtomicBool,
        out: &mut dyn FnMut(Frame) -> io::Result<()>,
    ) -> Result<Ran, CageError> {
        if self.behaviour == Behaviour::Failing {
            return Err(CageError::Failed("this agent of the swarm fails".into()));
        }
        let (mut frames, mut records) = self.replay.ran(&jobs)?;
        match self.behaviour {
            Behaviour::Empty => frames.clear(),
            Behaviour::Oversize => {
                frames.truncate(1);
                frames.iter_mut().for_each(|frame| frame.body.resize(FRAME_BYTES_MAX + 1, 0));
            }
            _ => frames.iter_mut().for_each(|frame| rename(frame, &jobs, &self.name)),
        }
        for (scan, record) in &mut records {
            let own = || frames.iter().filter(|frame| frame.scan == *scan);
            record.rows = own().map(|frame| frame.rows).sum();
            record.bytes = own().map(|frame| frame.body.len() as u64).sum();
        }
        let last = frames.pop();
        // Whoever does not take a frame takes none after it.
        let _ = frames.into_iter().try_for_each(out);
        Ok(Ran { records, last })
    }
}

/// Puts the agent's name where rows carry the fixture's own. Elsewhere a host's name is the desk's to add.
fn rename(carried: &mut Frame, jobs: &[(u32, Job)], name: &str) {
    let Some((_, job)) = jobs.iter().find(|(index, _)| *index == carried.scan) else { return };
    let Some(place) = job.scan.columns.iter().position(|column| column == "hostname") else { return };
    let Some(table) = canvass_tables::find(&job.scan.table) else { return };
    let schema = Arc::new(table.schema(&job.scan.columns));
    let Ok(batch) = frame::decode(&carried.body, &schema) else { return };
    let mut columns = batch.columns().to_vec();
    let names = vec![name; batch.num_rows()];
    columns[place] = Arc::new(StringArray::from(names));
    if let Ok(renamed) = RecordBatch::try_new(schema, columns) {
        carried.body = frame::encode(&renamed);
    }
}
