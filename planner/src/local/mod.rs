//! Local files that stand after FROM: the desk alone reads them, and it does so while it plans.
//!
//! Whatever is wrong with a file is therefore found before anything is signed, and what an endpoint is told of a file's
//! values is what its rows are joined with.

mod csv;
mod json;
mod names;
mod parquet;
mod typing;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::statement::InputFile;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use sha2::{Digest as _, Sha256};

use crate::catalog::type_name;
use crate::depth;
use crate::error::{Error, Span, closest, locate};
use crate::kept::Keeper;

/// Bytes of a text file: it is read whole, and its cells take a few times their letters.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Rows of one batch; what is planned in one piece is handed on in pieces that can be shown.
const BATCH_ROWS: usize = 8192;

/// How a file is read, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Json,
    Parquet,
}

/// The ends of names that are read.
pub const ENDINGS: &[&str] = &[".csv", ".json", ".jsonl", ".ndjson", ".parquet"];

impl Kind {
    fn of(name: &str) -> Option<Kind> {
        let ending = Path::new(name).extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "csv" => Kind::Csv,
            "json" | "jsonl" | "ndjson" => Kind::Json,
            "parquet" => Kind::Parquet,
            _ => return None,
        })
    }
}

/// A local file as a table.
pub struct LocalFile {
    /// As it stands in the statement.
    pub name: String,
    pub rows: usize,
    /// What was read, as an action records it.
    pub input: InputFile,
    /// Where the statement names it.
    span: Option<Span>,
    schema: SchemaRef,
    source: Source,
}

enum Source {
    /// Text is read whole, because only all values of a column tell its type.
    Read(Vec<RecordBatch>),
    /// Of a parquet file only the columns that the statement needs are read.
    Parquet(Arc<parquet::Parquet>),
}

/// What is wrong with the inside of a file, in words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

/// Which contents the files of a statement have.
#[derive(Clone)]
pub enum Contents {
    /// Those that stand at their paths.
    Now,
    /// Those that an action was planned with: a copy that was kept, or what stands at their paths where that is the same and
    /// the action is this user's `own`. Whatever somebody else names is not even looked for.
    Then { files: Vec<InputFile>, keeper: Arc<dyn Keeper>, own: bool },
}

impl Contents {
    fn open(&self, name: &str) -> Result<LocalFile, Error> {
        let Contents::Then { files, keeper, own } = self else { return LocalFile::open(name) };
        let foreign = || {
            Error::usage(format!("`{name}` is a local file of whoever asked, and is not opened here"))
                .hint("no copy of it was kept on this machine; whoever asked has one")
        };
        let Some(then) = files.iter().find(|file| file.name == name) else {
            // What an action does not record it was not planned with: another version takes for a file what was none.
            return if *own { LocalFile::open(name) } else { Err(foreign()) };
        };
        let same = |file: &LocalFile| file.input.sha256 == then.sha256;
        let copy = keeper.file(&then.sha256).zip(Kind::of(name));
        if let Some(copy) = copy.and_then(|(copy, kind)| LocalFile::of(name, kind, copy).ok()).filter(same) {
            return Ok(copy);
        }
        if !own {
            return Err(foreign());
        }
        let wrong = |what: &str| {
            let was = format!("it was {} bytes of SHA-256 {}", then.bytes, then.sha256);
            Error::usage(format!("`{name}` {what} since this was asked: {was}"))
                .hint("no copy of it was kept on this machine; bring back the file of then, or ask again")
        };
        match LocalFile::open(name) {
            Ok(file) if same(&file) => Ok(file),
            Ok(_) => Err(wrong("has changed")),
            Err(_) if std::fs::metadata(name).is_err() => Err(wrong("has gone")),
            Err(_) => Err(wrong("has changed")),
        }
    }
}

/// Opens the local files that a statement names; `is_table` knows the names that are no files.
///
/// From then on a file without an alias goes by its name without folder and ending, where no other relation does.
pub async fn open(
    statement: &mut Statement,
    text: &str,
    contents: &Contents,
    is_table: impl Fn(&str) -> bool,
) -> Result<Vec<Arc<LocalFile>>, Error> {
    let mut files = Vec::new();
    for name in names::of(statement, &is_table) {
        let span = locate(text, &name).filter(|_| !name.is_empty());
        let opening = {
            let (name, contents) = (name.clone(), contents.clone());
            tokio::task::spawn_blocking(move || depth::with_stack(|| contents.open(&name)))
        };
        // A library that gives up on a file must not take the prompt with it.
        let opened = opening.await.unwrap_or_else(|_| Err(unreadable(&name, "it is not written as its name says")));
        let file = opened.map_err(|error| error.at(span))?;
        files.push(Arc::new(LocalFile { span, ..file }));
    }
    let is_file = |name: &str| files.iter().any(|file| file.name == name);
    names::shorten(statement, &is_file, &is_table);
    Ok(files)
}

/// Refuses a name that could not be a file of a kind that is read; the reason comes with a way out.
fn check_name(name: &str) -> Result<Kind, Error> {
    if let Some((scheme, _)) = name.split_once("://") {
        return Err(Error::usage(format!("`{name}` is not a file of this machine"))
            .hint(format!("only local files can be read here; fetch it without `{scheme}://` first")));
    }
    if name.contains('\0') || name.is_empty() {
        return Err(Error::usage(format!("`{name}` names no file")));
    }
    let metadata = std::fs::metadata(name);
    if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
        return Err(
            Error::usage(format!("`{name}` is a folder")).hint("name one file; UNION ALL puts several together")
        );
    }
    if let Some(kind) = Kind::of(name) {
        return Ok(kind);
    }
    let tables = canvass_tables::TABLES.iter().map(|table| table.info().name).chain([crate::catalog::AGENTS]);
    let error = Error::usage(format!("`{name}` is neither a table nor a file that can be read"));
    Err(match closest(name, tables).filter(|_| metadata.is_err() && !name.contains(['/', '.'])) {
        Some(table) => error.hint(format!("did you mean `{table}`?")),
        None => error.hint(format!("files end in {}", ENDINGS.join(", "))),
    })
}

/// Says why a file cannot be had, with the name that may have been meant.
fn missing(name: &str, error: &std::io::Error) -> Error {
    let problem = Error::usage(match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file `{name}`"),
        std::io::ErrorKind::PermissionDenied => format!("the file `{name}` cannot be opened: permission denied"),
        _ => format!("the file `{name}` cannot be opened: {error}"),
    });
    if error.kind() != std::io::ErrorKind::NotFound {
        return problem;
    }
    if name.starts_with('~') {
        return problem.hint("`~` is not expanded here; write the whole path");
    }
    if name.contains(['*', '?', '[']) {
        return problem.hint("a pattern is not expanded here; name one file, and put several together with UNION ALL");
    }
    let path = Path::new(name);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return problem.hint(format!("there is no folder `{}`", folder.display()));
    };
    let beside: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let beside = beside.iter().map(String::as_str).filter(|name| Kind::of(name).is_some());
    let wanted = path.file_name().and_then(|name| name.to_str()).unwrap_or(name);
    match closest(wanted, beside) {
        Some(near) => {
            let near = path.with_file_name(near);
            problem.hint(format!("did you mean '{}'?", near.display()))
        }
        None => problem,
    }
}

fn unreadable(name: &str, reason: &str) -> Error {
    Error::usage(format!("`{name}` cannot be read: {reason}"))
}

impl LocalFile {
    fn open(name: &str) -> Result<LocalFile, Error> {
        let kind = check_name(name)?;
        // Anything but a file, such as a pipe, could keep us waiting for ever, so it is not even opened.
        let metadata = std::fs::metadata(name).map_err(|error| missing(name, &error))?;
        if !metadata.is_file() {
            return Err(unreadable(name, "it is not a regular file"));
        }
        LocalFile::of(name, kind, File::open(name).map_err(|error| missing(name, &error))?)
    }

    /// Reads a file that is open.
    fn of(name: &str, kind: Kind, mut file: File) -> Result<LocalFile, Error> {
        let metadata = file.metadata().map_err(|error| missing(name, &error))?;
        if metadata.len() == 0 {
            return Err(unreadable(name, "it is empty").hint(match kind {
                Kind::Csv => "the first line of a csv file names its columns",
                Kind::Json => "each line of a json file is one object, or the file is one list of objects",
                Kind::Parquet => "even a parquet file without rows says what its columns are",
            }));
        }
        let wrong = |Malformed(reason)| unreadable(name, &reason);
        let input = |bytes: u64, hash: Sha256| {
            let sha256 = hex::encode(hash.finalize());
            InputFile { name: name.to_owned(), bytes, sha256 }
        };
        if kind == Kind::Parquet {
            let (bytes, hash) = digest(&mut file).map_err(|error| missing(name, &error))?;
            let parquet = parquet::Parquet::open(file).map_err(wrong)?;
            let (rows, schema) = (parquet.rows(), parquet.schema());
            let (name, input, source) = (name.to_owned(), input(bytes, hash), Source::Parquet(Arc::new(parquet)));
            return Ok(LocalFile { name, rows, input, span: None, schema, source });
        }
        let text = read_text(file).map_err(wrong)?;
        let input = input(text.len() as u64, Sha256::new_with_prefix(&text));
        let name = name.to_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let columns = if kind == Kind::Csv { csv::read(text) } else { json::read(text) }.map_err(wrong)?;
        let whole = batch_of(columns).map_err(wrong)?;
        let pieces = (0..whole.num_rows()).step_by(BATCH_ROWS);
        let pieces = pieces.map(|at| whole.slice(at, BATCH_ROWS.min(whole.num_rows() - at))).collect();
        let (rows, schema) = (whole.num_rows(), whole.schema());
        Ok(LocalFile { name, rows, input, span: None, schema, source: Source::Read(pieces) })
    }

    /// Its columns, each with the name of its type.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.schema.fields().iter().map(|field| (field.name().as_str(), type_name(field.data_type())))
    }

    /// The file in words: its name, how many rows it has, and their columns.
    pub fn describe(&self) -> String {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let rows = if self.rows == 1 { "1 row".to_owned() } else { format!("{} rows", self.rows) };
        format!("'{}': {rows} of {}", self.name, names.join(", "))
    }
}

/// The length and the hash of a file, which is read from its beginning again afterwards.
fn digest(file: &mut File) -> std::io::Result<(u64, Sha256)> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    file.rewind()?;
    Ok((bytes, hash))
}

fn read_text(file: File) -> Result<String, Malformed> {
    let mut bytes = Vec::new();
    // What grows while it is read is not read for ever.
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| Malformed(error.to_string()))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Malformed("it is larger than 1 GiB; a parquet file may be".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Malformed("it is written in UTF-16; save it as UTF-8".to_owned());
        }
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Malformed(format!("line {line} is not UTF-8"))
    })
}

fn batch_of(columns: Vec<(String, ArrayRef)>) -> Result<RecordBatch, Malformed> {
    let names = distinct(columns.iter().map(|(name, _)| name.as_str()));
    let rows = columns.first().map_or(0, |(_, values)| values.len());
    let fields: Vec<Field> = names
        .iter()
        .zip(&columns)
        .map(|(name, (_, values))| Field::new(name, values.data_type().clone(), true))
        .collect();
    let values = columns.into_iter().map(|(_, values)| values).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), values, &options)
        .map_err(|error| Malformed(error.to_string()))
}

/// Names that can be told apart: a second `a` becomes `a_2`, one without letters is called by its place.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let typed: Vec<&str> = names.collect();
    let mut given: Vec<String> = Vec::with_capacity(typed.len());
    let mut seen = std::collections::HashSet::new();
    for (index, name) in typed.iter().enumerate() {
        let base = if name.is_empty() { format!("column{}", index + 1) } else { (*name).to_owned() };
        let mut name = base.clone();
        let mut count = 1;
        while seen.contains(&name) || (name != typed[index] && typed.contains(&name.as_str())) {
            count += 1;
            name = format!("{base}_{count}");
        }
        seen.insert(name.clone());
        given.push(name);
    }
    given
}

impl std::fmt::Debug for LocalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalFile").field("name", &self.name).finish()
    }
}

#[async_trait]
impl TableProvider for LocalFile {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        match &self.source {
            Source::Read(batches) => {
                let exec = MemorySourceConfig::try_new_exec(
                    std::slice::from_ref(batches),
                    self.schema.clone(),
                    projection.cloned(),
                )?;
                Ok(exec)
            }
            Source::Parquet(parquet) => {
                let parquet = parquet.clone();
                let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
                let schema = Arc::new(self.schema.project(&columns)?);
                let reading = tokio::task::spawn_blocking(move || depth::with_stack(|| parquet.read(&columns)));
                let read = reading.await.unwrap_or_else(|_| Err(Malformed("it is damaged".to_owned())));
                let batches = read.map_err(|Malformed(reason)| {
                    DataFusionError::from(unreadable(&self.name, &reason).at(self.span))
                })?;
                Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?)
            }
        }
    }
}
