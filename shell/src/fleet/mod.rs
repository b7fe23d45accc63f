//! The fleets that can be asked: a server's, this machine, and a folder of fixture hosts. The last two run in this program, which remembers
//! what they answered.

mod believed;
mod fixtures;
mod here;
mod kept;
mod local;
mod pins;
mod remembering;
mod remote;
mod signed;
mod wire;

pub use fixtures::fixtures;
pub use here::Here;
pub use local::local;
pub use remembering::{Remembering, of_folder, this_machine};
pub use remote::{Heard, Remote};
pub use signed::{action_of, verify};

use canvass_agent::agent::AgentError;
use canvass_planner::error::Error;

/// A policy, identity or journal that cannot be read is the user's to mend; nothing was sent.
fn of_agent(error: &AgentError) -> Error {
    Error::usage(format!("the agent cannot be opened: {error}"))
}

fn program() -> Result<std::path::PathBuf, Error> {
    std::env::current_exe().map_err(|error| Error::internal(format!("cannot find the program itself: {error}")))
}
