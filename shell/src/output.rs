//! Where results go: standard output, or a file that appears whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// The place of all results of one run.
pub struct Output {
    place: Place,
    /// Results written so far.
    pub results: usize,
    /// Whoever read standard output has gone; there is nobody left to write for.
    closed: bool,
}

enum Place {
    Stdout(BufWriter<Stdout>),
    /// Renamed to its path at the end.
    File {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
    /// A device or pipe, which cannot be renamed onto.
    Special(BufWriter<File>),
}

impl Output {
    pub fn stdout() -> Output {
        Output { place: Place::Stdout(BufWriter::new(io::stdout())), results: 0, closed: false }
    }

    /// Opens a file to be; fails at once where it could not be written in the end.
    pub fn file(path: &Path) -> io::Result<Output> {
        // A link keeps being one: what it points to is written.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let place = match path.metadata() {
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(metadata) if !metadata.is_file() => {
                Place::Special(BufWriter::new(File::options().write(true).open(&path)?))
            }
            existing => {
                let mode = existing.map_or(0o666, |metadata| metadata.permissions().mode() & 0o777);
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                folder.metadata()?;
                let file = tempfile::Builder::new()
                    .prefix(".canvass-")
                    .permissions(std::fs::Permissions::from_mode(mode))
                    .tempfile_in(folder)
                    // Its own words name the temporary file, of which nobody has heard.
                    .map_err(|error| io::Error::from(error.kind()))?;
                Place::File { file: BufWriter::new(file), path }
            }
        };
        Ok(Output { place, results: 0, closed: false })
    }

    /// Whether results go to standard output.
    pub fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout(_))
    }

    /// The file, where results go into one that appears at the end.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File { path, .. } => Some(path),
            Place::Stdout(_) | Place::Special(_) => None,
        }
    }

    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Brings everything to its place.
    pub fn finish(self) -> io::Result<()> {
        match self.place {
            Place::Stdout(mut out) => ignore_closed(out.flush()),
            Place::Special(mut out) => out.flush(),
            Place::File { file, path } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(path).map_err(|error| error.error)?;
                Ok(())
            }
        }
    }

    /// Leaves nothing behind: what was written to a file is forgotten.
    pub fn discard(self) -> io::Result<()> {
        match self.place {
            Place::Stdout(mut out) => ignore_closed(out.flush()),
            Place::Special(_) | Place::File { .. } => Ok(()),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.place {
            Place::Stdout(out) => out,
            Place::File { file, .. } => file,
            Place::Special(out) => out,
        }
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer().write(bytes);
        self.noting(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer().flush();
        self.noting(flushed)
    }
}

fn ignore_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let mut output = Output::file(&path).unwrap();
        output.write_all(b"half").unwrap();
        output.flush().unwrap();
        assert!(!path.exists());
        output.discard().unwrap();
        assert!(names(folder.path()).is_empty());

        let mut output = Output::file(&path).unwrap();
        output.write_all(b"whole").unwrap();
        output.finish().unwrap();
        assert_eq!(names(folder.path()), ["out.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn what_was_there_keeps_its_mode_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut output = Output::file(&link).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn places_that_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Output::file(folder.path()).is_err());
        let error = Output::file(&folder.path().join("no/such/folder")).err().unwrap();
        assert!(!error.to_string().contains(".canvass"), "{error}");
        Output::file(Path::new("/dev/null")).unwrap().finish().unwrap();
    }
}
