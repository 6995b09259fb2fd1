//! The conversation that was open last, in a small file beside the journal. It is a convenience: what can't be read or written is
//! only logged.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::client::addressee::Addressee;

/// No name of a conversation is longer.
const LONGEST: u64 = 256;

/// See the module.
#[derive(Debug)]
pub struct Last {
    file: PathBuf,
}

impl Last {
    pub fn new(data_dir: &Path, user: &str) -> Self {
        Self { file: data_dir.join(format!("{user}.open")) }
    }

    pub fn read(&self) -> Option<Addressee> {
        let mut text = String::new();
        File::open(&self.file).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        text.trim_end().parse().ok()
    }

    /// The file is replaced as a whole, for the program may be killed at any time.
    pub fn write(&self, open: Option<&Addressee>) {
        if let Err(error) = self.replace(open) {
            tracing::warn!(%error, file = %self.file.display(), "the last conversation can't be kept");
        }
    }

    fn replace(&self, open: Option<&Addressee>) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        // It has mode 0600, as everything here.
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        open.map_or(Ok(()), |who| writeln!(new, "{who}"))?;
        new.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_kept_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let last = Last::new(directory.path(), "alice");
        assert_eq!(last.read(), None);
        for who in ["bob", "#lab~2"] {
            let who: Addressee = who.parse().unwrap();
            last.write(Some(&who));
            assert_eq!(last.read(), Some(who));
        }
        assert_eq!(std::fs::metadata(&last.file).unwrap().permissions().mode() & 0o777, 0o600);
        last.write(None);
        assert_eq!(last.read(), None);
        std::fs::write(&last.file, [b'x'; 5000]).unwrap();
        assert_eq!(last.read(), None);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        Last::new(Path::new("/nowhere"), "alice").write(None);
    }
}
