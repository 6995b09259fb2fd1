//! A box on the socket of a running client, spoken to line by line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::discovery::DEADLINE;

/// Where a client listens that has no runtime directory.
pub fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// A box whose lines are read as they come. It goes when dropped, as one that is killed does.
pub struct Attached {
    stream: UnixStream,
    events: mpsc::Receiver<Value>,
    log: Vec<Value>,
}

impl Attached {
    /// Greeted.
    pub fn to(directory: &Path, name: &str) -> Self {
        let mut it = Self::over(UnixStream::connect(socket(directory, name)).unwrap());
        assert_eq!(it.next(DEADLINE).unwrap()["event"], "hello");
        it.wait("ready", |ready| ready["user"] == name);
        it
    }

    pub fn over(stream: UnixStream) -> Self {
        let reader = BufReader::new(stream.try_clone().unwrap());
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line)
                    && send.send(event).is_err()
                {
                    return;
                }
            }
        });
        Self { stream, events, log: Vec::new() }
    }

    pub fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next event, if there is one in time.
    pub fn next(&mut self, within: Duration) -> Option<Value> {
        let event = self.events.recv_timeout(within).ok()?;
        self.log.push(event.clone());
        Some(event)
    }

    /// The next event of this kind for which `fits` holds; what comes before is passed over.
    pub fn wait(&mut self, kind: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(event) if event["event"] == kind && fits(&event) => return event,
                Some(_) => {}
                None => panic!("the box was never told {kind}: {:#?}", self.log),
            }
        }
    }

    pub fn log(&self) -> &[Value] {
        &self.log
    }

    /// Everything that it was told until the end.
    pub fn rest(&mut self) -> &[Value] {
        while self.next(DEADLINE).is_some() {}
        &self.log
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
