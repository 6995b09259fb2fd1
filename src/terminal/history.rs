//! The lines entered before, also in earlier sessions.

use std::path::{Path, PathBuf};

use rustyline::config::Config;
use rustyline::history::{FileHistory, History as _, SearchDirection};

/// How many lines are kept. There may be twice as many before the older half goes: each cut rewrites the file.
const LINES: usize = 1000;
/// How many bytes a line may have to be kept.
const LONGEST: usize = 4096;

/// The lines entered before, the latest last, and the file that keeps them.
pub struct History {
    lines: FileHistory,
    file: Option<PathBuf>,
}

impl History {
    /// Reads the file, if there is one. A file that can't be read is only logged: a history is a convenience.
    pub fn open(file: Option<PathBuf>) -> Self {
        let mut lines = empty();
        if let Some(file) = file.as_ref().filter(|file| file.exists())
            && let Err(error) = lines.load(file).and_then(|()| cut(&mut lines, file))
        {
            tracing::warn!(%error, file = %file.display(), "the history can't be read");
        }
        Self { lines, file }
    }

    /// Keeps a line, unless it is long, the same as the last, or begins with a space.
    pub fn add(&mut self, line: &str) {
        if line.len() > LONGEST || !matches!(self.lines.add(line), Ok(true)) {
            return;
        }
        if let Some(file) = &self.file
            && let Err(error) = self.lines.append(file).and_then(|()| cut(&mut self.lines, file))
        {
            tracing::warn!(%error, file = %file.display(), "the history can't be written");
            self.file = None;
        }
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        (index < self.len()).then(|| self.lines.iter().nth(index)).flatten().map(String::as_str)
    }

    /// The line nearest to `from` that contains the text, in either direction, `from` included.
    pub fn search(&self, text: &str, from: usize, older: bool) -> Option<usize> {
        let direction = if older { SearchDirection::Reverse } else { SearchDirection::Forward };
        self.lines.search(text, from, direction).ok().flatten().map(|found| found.idx)
    }
}

fn empty() -> FileHistory {
    // Only an absurd limit is refused.
    let config = Config::builder().history_ignore_space(true);
    let config = config.max_history_size(2 * LINES).and_then(|config| config.history_ignore_dups(true));
    config.map_or_else(|_| FileHistory::new(), |config| FileHistory::with_config(&config.build()))
}

/// Leaves only the latest lines if there is no room for more. The file is replaced as a whole, for the program may be
/// killed at any time.
fn cut(lines: &mut FileHistory, file: &Path) -> rustyline::Result<()> {
    if lines.len() < 2 * LINES {
        return Ok(());
    }
    let mut kept = empty();
    for line in lines.iter().skip(lines.len() - LINES) {
        kept.add(line)?;
    }
    let new = file.with_extension("history.new");
    kept.save(&new)?;
    std::fs::rename(new, file)?;
    *lines = empty();
    lines.load(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_lasts_over_sessions_is_bounded_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("alice.history");
        let mut history = History::open(Some(file.clone()));
        for line in ["one", "one", " secret", "two\nlines \\ and more", "three"] {
            history.add(line);
        }
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut history = History::open(Some(file.clone()));
        let kept: Vec<_> = (0..9).map_while(|index| history.get(index)).collect();
        assert_eq!(kept, ["one", "two\nlines \\ and more", "three"]);
        assert_eq!(history.search("e", 2, true), Some(2));
        assert_eq!(history.search("on", 2, true), Some(0));
        assert_eq!(history.search("on", 1, false), None);
        history.add(&"x".repeat(LONGEST + 1));
        assert_eq!(history.len(), 3);
        let bytes = |file| std::fs::metadata(file).unwrap().len();
        let mut cuts = 0;
        for number in 0..10 * LINES {
            let (line, before) = (format!("line {number}"), bytes(&file));
            history.add(&line);
            // All that is written is the line.
            cuts += usize::from(bytes(&file) != before + line.len() as u64 + 1);
        }
        assert_eq!(cuts, 9);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let history = History::open(Some(file));
        assert!((LINES..2 * LINES).contains(&history.len()), "{}", history.len());
        assert_eq!(history.get(history.len() - 1), Some("line 9999"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        // Without a file it still works.
        let mut history = History::open(None);
        history.add("here");
        assert_eq!(history.get(0), Some("here"));
    }
}
