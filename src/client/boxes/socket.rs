//! Where boxes find the client of a user: a Unix socket that only the holder of the journal's lock makes, and that takes
//! no other user's programs.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};
use rustix::process::geteuid;

use crate::protocol::Name;

/// The directory of this program in a user's runtime directory.
const DIRECTORY: &str = "peerchat";

/// A socket that boxes can connect to. Its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    pub listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the sockets of the client that holds the lock of this journal: in the user's runtime directory, else beside the
    /// journal. One that is `lasting` is to be found there, too, for a runtime directory goes with the user's last session.
    ///
    /// # Errors
    /// There is none.
    pub fn make(user: &Name, journal: &Path, lasting: bool) -> io::Result<Vec<Self>> {
        let runtime = runtime_directory().filter(|it| is_private(it));
        let runtime = runtime.map(|directory| Self::in_runtime(&directory, user, journal));
        let wanted = lasting || !matches!(runtime, Some(Ok(_)));
        let beside = wanted.then(|| Self::at(beside(user, journal)));
        let (mut made, mut failed) = (Vec::new(), None);
        for socket in runtime.into_iter().chain(beside) {
            match socket {
                Ok(socket) => made.push(socket),
                Err(error) => failed = Some(error),
            }
        }
        failed.filter(|_| made.is_empty()).map_or(Ok(made), Err)
    }

    fn in_runtime(directory: &Path, user: &Name, journal: &Path) -> io::Result<Self> {
        let directory = directory.join(DIRECTORY);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::at(directory.join(file_name(user, journal)?)),
        }
    }

    /// What an earlier client has left there is removed.
    fn at(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let socket = Self { listener, path };
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What is left there is removed by the next client.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the client of a user that has this journal.
///
/// # Errors
/// There is none, or none that can be reached.
pub fn connect(user: &Name, journal: &Path) -> io::Result<UnixStream> {
    let mut last = io::ErrorKind::NotFound.into();
    for path in places(user, journal) {
        match UnixStream::connect(path) {
            Ok(stream) if is_own(&stream) => return Ok(stream),
            Ok(_) => last = io::ErrorKind::PermissionDenied.into(),
            // That a socket is there says more than that another one is not.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where the socket may be: a client that was started elsewhere may have had no runtime directory, or have known it.
fn places(user: &Name, journal: &Path) -> Vec<PathBuf> {
    let usual = PathBuf::from(format!("/run/user/{}", geteuid().as_raw()));
    let directories = runtime_directory().into_iter().chain([usual]);
    let name = file_name(user, journal).ok();
    let places = directories.filter_map(|it| Some(it.join(DIRECTORY).join(name.as_ref()?)));
    places.chain([beside(user, journal)]).collect()
}

/// Whether a program of this user is at the other end.
pub fn is_own(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == geteuid())
    }
    // Elsewhere the mode of the file alone keeps others out.
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        true
    }
}

fn runtime_directory() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Whether a directory is this user's, and no other can reach into it.
fn is_private(directory: &Path) -> bool {
    let own = |it: fs::Metadata| it.is_dir() && it.uid() == geteuid().as_raw() && it.mode() & 0o077 == 0;
    fs::metadata(directory).is_ok_and(own)
}

fn beside(user: &Name, journal: &Path) -> PathBuf {
    journal.with_file_name(format!("{user}.sock"))
}

/// One user may have several accounts of a name, in several directories.
fn file_name(user: &Name, journal: &Path) -> io::Result<String> {
    use std::os::unix::ffi::OsStrExt;
    let directory = journal.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let hash = Blake2s256::digest(fs::canonicalize(directory)?.as_os_str().as_bytes());
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{user}-{digits}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_found_and_removed_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (user, journal) = ("alice".parse().unwrap(), directory.path().join("alice.journal"));
        assert_eq!(connect(&user, &journal).unwrap_err().kind(), io::ErrorKind::NotFound);
        let path = beside(&user, &journal);
        // As a client that was killed leaves it.
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(connect(&user, &journal).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let socket = Socket::at(path.clone()).unwrap();
        assert_eq!((fs::metadata(&path).unwrap().mode() & 0o777, &socket.path), (0o600, &path));
        let stream = connect(&user, &journal).unwrap();
        assert!(is_own(&stream) && is_own(&socket.listener.accept().unwrap().0));
        drop(socket);
        assert!(connect(&user, &journal).is_err());
    }
}
