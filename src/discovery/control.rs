//! The operator's questions on the machine itself: through a Unix socket beside the database, which only root and the
//! user that discovery runs as can open.
//!
//! A question is one line, the answer one line of JSON: `{"Ok": text}` or `{"Err": text}`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use socket2::{Domain, SockAddr, Socket, Type};

use super::admin::Admin;
use super::deadline_stream::DeadlineStream;
use crate::protocol::{Name, PublicKey};
use crate::store;

const BACKLOG: i32 = 8;
/// How long a connection may take, with question and answer. The next one waits for it.
const SERVE_TIMEOUT: Duration = Duration::from_secs(6);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_QUESTION: u64 = 256;
const MAX_ANSWER: u64 = 64 * 1024;

/// The socket, removed when dropped.
pub struct Control(PathBuf);

impl Drop for Control {
    fn drop(&mut self) {
        // If it stays, the next discovery removes it: see `clear`.
        let _ = fs::remove_file(&self.0);
    }
}

impl Control {
    /// Takes questions for the discovery that has this database locked.
    pub fn open(database: &Path, admin: Admin) -> io::Result<Self> {
        let path = store::beside(database, ".sock");
        clear(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        let control = Self(path);
        // Nothing can connect before it listens.
        fs::set_permissions(&control.0, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        DeadlineStream::serve("operator", socket, SERVE_TIMEOUT, move |stream| serve(stream, &admin))?;
        Ok(control)
    }
}

/// Removes the socket of a discovery that was killed. No other can be using it, for this one holds the lock.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else at its path")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn serve(mut stream: DeadlineStream, admin: &Admin) -> io::Result<()> {
    let lines = stream.lines(MAX_QUESTION, |_| true)?;
    let question = lines.and_then(|lines| String::from_utf8(lines.concat()).ok()).unwrap_or_default();
    let answer = answer(&question, admin).map_err(|error| error.to_string());
    let json = serde_json::to_string(&answer).map_err(io::Error::other)?;
    stream.finish(format!("{json}\n").as_bytes())
}

fn answer(question: &str, admin: &Admin) -> anyhow::Result<String> {
    match question.split(' ').collect::<Vec<_>>()[..] {
        ["status"] => Ok(admin.status()?.text()),
        ["status", "json"] => Ok(serde_json::to_string(&admin.status()?)? + "\n"),
        ["release", name] => {
            let name: Name = name.parse()?;
            released(&name, admin.release(name.clone())?.map_err(|error| anyhow!(error))?)
        }
        _ => Err(anyhow!(
            "the running discovery is another version and does not know this question; restart it"
        )),
    }
}

/// What the operator is told of a name that was to be released.
pub fn released(name: &Name, key: Option<PublicKey>) -> anyhow::Result<String> {
    let key = key.ok_or_else(|| anyhow!("there is no user {name}"))?;
    Ok(format!("{name} is free. The key that had it, and can't take it again, is {key}\n"))
}

/// Asks the discovery that runs with this database. Returns `None` if none does.
pub fn ask(database: &Path, question: &str) -> anyhow::Result<Option<String>> {
    let path = store::beside(database, ".sock");
    let failed = || format!("can't ask discovery through {}", path.display());
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).with_context(failed)?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT)).with_context(failed)?;
    // A path too long for a socket: then none was ever opened there.
    let Ok(address) = SockAddr::unix(&path) else {
        return Ok(None);
    };
    match socket.connect(&address) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        connected => connected.with_context(failed)?,
    }
    let mut stream = DeadlineStream::new(socket, ANSWER_TIMEOUT);
    stream.write_all(format!("{question}\n").as_bytes()).with_context(failed)?;
    let lines = stream.lines(MAX_ANSWER, |_| true).with_context(failed)?;
    let lines =
        lines.ok_or_else(|| anyhow!("it closed the connection before it answered")).with_context(failed)?;
    let answer: Result<String, String> = serde_json::from_slice(&lines.concat()).with_context(failed)?;
    answer.map(Some).map_err(|error| anyhow!(error))
}
