//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use canvass_planner::error::closest;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::render::Format;
use crate::variables;

/// Asks a question in SQL of every endpoint and prints the answer as one table
#[derive(Debug, Clone, Parser)]
#[command(name = "canvass", version, disable_help_subcommand = true)]
#[command(
    after_help = "Without -c, -f or a sub-command: the prompt on a terminal, else statements from standard input."
)]
pub struct Args {
    /// Statements to run, as with -c
    #[arg(value_name = "SQL", value_parser = statements)]
    pub(crate) statements: Option<String>,
    /// Run statements; may be given several times, in turn with -f
    #[arg(short = 'c', value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) commands: Vec<String>,
    /// Run the statements of a file (`-` is standard input)
    #[arg(short = 'f', value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What -c and -f give, in the order in which they stand.
    #[arg(skip)]
    pub scripts: Vec<Script>,

    /// Ask a server's fleet [default: CANVASS_SERVER, or `server` in config.toml]
    #[arg(long, global = true, value_name = "URL", help_heading = "Whom to ask")]
    pub server: Option<String>,
    /// Ask this machine (the default where no server is named)
    #[arg(long, global = true, help_heading = "Whom to ask")]
    pub local: bool,
    /// Ask a folder of fixture hosts
    #[arg(long, global = true, value_name = "DIR", help_heading = "Whom to ask")]
    pub fleet: Option<PathBuf>,

    /// How to write results [default: by the ending of -o, else table on a terminal and tsv in a pipe]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", hide_possible_values = false)]
    pub format: Option<Format>,
    /// Write results there, whole or not at all
    #[arg(short = 'o', global = true, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Give `:name` in statements a value
    #[arg(short = 'v', global = true, value_name = "NAME=VALUE", value_parser = variables::parse)]
    pub variables: Vec<(String, String)>,
    /// Which key signs
    #[arg(long, global = true, value_name = "FILE|FINGERPRINT|NAME")]
    pub key: Option<String>,
    /// Ask no question
    #[arg(short = 'y', long = "yes", global = true)]
    pub yes: bool,
    /// Show every value of an action that is to be co-signed
    #[arg(long, global = true)]
    pub verbose: bool,
    /// In csv, put an apostrophe before texts that a spreadsheet would take for formulas
    #[arg(long, global = true)]
    pub safe_csv: bool,
    /// No progress and no footer
    #[arg(short = 'q', global = true)]
    pub quiet: bool,
    /// How long to follow: `30s`, or `expire` for to the end
    #[arg(long, global = true, value_name = "TIME")]
    pub wait: Option<String>,
    /// How long agents may still answer: `6h`
    #[arg(long, global = true, value_name = "TIME")]
    pub expire: Option<String>,
    /// Do not read init.sql before the first prompt
    #[arg(long, global = true)]
    pub no_init: bool,

    #[command(subcommand)]
    pub subcommand: Option<Sub>,
}

/// A text of statements, or the file that holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    Text(String),
    File(PathBuf),
}

impl Args {
    /// Reads the command line of this process; what is wrong with it is said, and ends the process.
    pub fn read() -> Args {
        Args::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn read_from<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Args, clap::Error> {
        let matches = Args::command().try_get_matches_from(words)?;
        let mut args = Args::from_arg_matches(&matches)?;
        args.scripts = args.in_order(&matches);
        Ok(args)
    }

    fn in_order(&self, matches: &ArgMatches) -> Vec<Script> {
        let places = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
        let texts = self.commands.iter().cloned().map(Script::Text);
        let files = self.files.iter().cloned().map(Script::File);
        let own = self.statements.iter().cloned().map(Script::Text);
        let mut scripts: Vec<(usize, Script)> = places("commands").into_iter().zip(texts).collect();
        scripts.extend(places("files").into_iter().zip(files));
        scripts.extend(places("statements").into_iter().zip(own));
        scripts.sort_by_key(|(place, _)| *place);
        scripts.into_iter().map(|(_, script)| script).collect()
    }
}

/// A word that is no sub-command is a mistyped one; statements have blanks, or are commands of the prompt.
fn statements(text: &str) -> Result<String, String> {
    let is_script = text.contains(|c: char| c.is_whitespace() || c == ';') || text.starts_with(['.', '\\']);
    if is_script {
        return Ok(text.to_owned());
    }
    let command = Args::command();
    let names = command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(clap::Command::get_name);
    match closest(text, names) {
        _ if std::path::Path::new(text).is_file() => Err(format!("`-f {text}` runs the statements of a file")),
        Some(close) => Err(format!("there is no sub-command `{text}`; did you mean `{close}`?")),
        None => Err(format!("there is no sub-command `{text}`; statements stand in quotes: 'SELECT …'")),
    }
}

#[derive(Debug, Clone, Subcommand)]
pub enum Sub {
    /// Make, take in, hand out, revoke and list investigators' keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Look at what was signed
    #[command(subcommand)]
    Action(ActionCommand),
    /// List the tables, or the columns of one
    Tables { table: Option<String> },
    /// Print a completion script
    Completions { shell: Shell },
    #[command(hide = true)]
    Check(Later),
    #[command(hide = true)]
    Import(Later),
    #[command(hide = true)]
    Serve(Later),
}

/// Whatever follows a sub-command that a later version brings.
#[derive(Debug, Clone, clap::Args)]
pub struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key; its passphrase comes from the prompt or CANVASS_PASSPHRASE
    New {
        name: String,
        /// Keep the secret key in the clear: whoever reads the file can sign as you
        #[arg(long)]
        no_passphrase: bool,
    },
    /// Take in a secret key, or a certificate this machine is to trust
    Import {
        file: PathBuf,
        /// Its name in the key store; the file's own where not given
        #[arg(long)]
        name: Option<String>,
    },
    /// Revoke a key for good and have a server tell its agents, or hand in the revocation in a file
    Revoke {
        /// A key of the key store; or the file of a revocation, as `gpg --gen-revoke` and this command make them
        #[arg(value_name = "NAME|FILE")]
        wanted: String,
        /// Why, for whoever reads the revocation: it counts all the same
        #[arg(long, value_enum, default_value = "compromised")]
        reason: Reason,
    },
    /// Print the public certificate, armored
    Export { name: String },
    /// List the keys and the certificates this machine trusts
    List,
}

/// Why a key is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reason {
    /// Somebody else has it, or may
    Compromised,
    /// Another key takes its place
    Superseded,
    /// Its owner signs no more
    Retired,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ActionCommand {
    /// Print the signed bytes of an action
    Show { id: String },
    /// Write ID.json and ID.json.asc into the folder of -o, for `gpg --verify`
    Export { id: String },
    /// Show what an action makes agents do, and sign it too; with --server
    Cosign {
        /// The start of its id, or the file of an exported one
        id: String,
    },
    /// Withdraw an action: nobody begins it any more; with --server
    Cancel { id: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Args, clap::Error> {
        Args::read_from(std::iter::once("canvass").chain(words.split_whitespace()))
    }

    #[test]
    fn the_declaration_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_stand_on_either_side_of_a_subcommand() {
        for words in [
            "--format json -q --fleet d tables",
            "tables --format json -q --fleet d",
            "--fleet d tables -q --format json",
        ] {
            let args = parse(words).unwrap();
            assert_eq!(args.format, Some(Format::Json), "{words}");
            assert!(args.quiet && args.fleet.is_some(), "{words}");
            assert!(matches!(args.subcommand, Some(Sub::Tables { table: None })));
        }
        let args = parse("action export -o out 0199 --key alice").unwrap();
        assert_eq!((args.output, args.key), (Some("out".into()), Some("alice".into())));
    }

    #[test]
    fn statements_and_variables_repeat() {
        let args = parse("-c a -v x=1 -c b -v y=a=b -y --wait 5s --expire 6h").unwrap();
        assert_eq!(args.scripts, [Script::Text("a".into()), Script::Text("b".into())]);
        assert_eq!(args.variables, [("x".into(), "1".into()), ("y".into(), "a=b".into())]);
        assert!(args.yes);
    }

    #[test]
    fn statements_and_files_keep_their_order() {
        let names = |words: &[&str]| {
            let args = Args::read_from(std::iter::once("canvass").chain(words.iter().copied())).unwrap();
            let name = |script: Script| match script {
                Script::Text(text) => text,
                Script::File(path) => path.display().to_string(),
            };
            args.scripts.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&["-f", "a.sql", "-c", "SELECT 1", "-f", "-", "-c", "-- x"]),
            ["a.sql", "SELECT 1", "-", "-- x"]
        );
        assert_eq!(names(&["SELECT 1"]), ["SELECT 1"]);
        assert_eq!(names(&["-q", ".tables", "-c", "SELECT 2"]), [".tables", "SELECT 2"]);
        assert_eq!(names(&["tables", "files"]), [] as [&str; 0]);
    }

    #[test]
    fn a_mistyped_sub_command_is_no_statement() {
        let said = |word: &str| parse(word).unwrap_err().to_string();
        assert!(said("tabels").contains("did you mean `tables`?"), "{}", said("tabels"));
        assert!(said("frobnicate").contains("statements stand in quotes"), "{}", said("frobnicate"));
    }

    #[test]
    fn bad_usage_is_exit_2() {
        for words in ["--format xml", "-v x", "frobnicate", "key new", "completions tcl", "--nonsense"] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn what_comes_later_is_parsed_so_that_it_can_be_answered() {
        assert!(matches!(parse("check a --diff").unwrap().subcommand, Some(Sub::Check(_))));
        assert!(matches!(parse("import openioc f").unwrap().subcommand, Some(Sub::Import(_))));
    }
}
