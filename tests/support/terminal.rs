//! A real client at a real pseudo-terminal, whose screen can be looked at.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use pty_process::blocking::{Command, open};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::client::answering;
use super::discovery::{DEADLINE, wait};

/// How many lines the terminal remembers.
const SCROLLBACK: usize = 20_000;

/// A terminal and the program in it, which is killed when dropped. It never answers a query.
pub struct Terminal {
    file: File,
    child: Child,
    screen: vt100::Parser,
    output: mpsc::Receiver<Vec<u8>>,
    /// Every byte that the program has written.
    pub written: Vec<u8>,
    /// The modes before the program was started.
    pub modes: Termios,
}

/// How a client is started in a terminal.
pub fn command(directory: &Path, name: &str, discovery: SocketAddr, options: &[&str]) -> Command {
    Command::new(env!("CARGO_BIN_EXE_client"))
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env_remove("XDG_RUNTIME_DIR")
        .env("TERM", "xterm-256color")
        .args(["--data-dir", directory.to_str().unwrap()])
        .args(answering(options))
        .args([name, "0", "127.0.0.1", "127.0.0.1", &discovery.port().to_string()])
}

impl Terminal {
    /// A terminal of 80 by 24 in which the command runs.
    pub fn run(command: Command) -> Self {
        let mut terminal = Self::unread(command);
        terminal.read();
        terminal
    }

    /// One of which nothing is read yet: a program that writes to it is soon stopped.
    pub fn unread(command: Command) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let file = File::from(OwnedFd::from(pty));
        let modes = tcgetattr(&file).unwrap();
        let child = command.spawn(pts).unwrap();
        let screen = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), SCROLLBACK);
        Self { file, child, screen, output: mpsc::channel().1, written: Vec::new(), modes }
    }

    /// Reads from now on.
    pub fn read(&mut self) {
        let mut reader = self.file.try_clone().unwrap();
        let (send, output) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 64 * 1024];
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                if send.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        self.output = output;
    }

    /// A client, once it is registered.
    pub fn client(directory: &Path, name: &str, discovery: SocketAddr, options: &[&str]) -> Self {
        let mut terminal = Self::run(command(directory, name, discovery, options));
        terminal.expect("discovery: up");
        terminal
    }

    pub fn type_in(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    pub fn enter(&mut self, text: &str) {
        self.type_in(&format!("{text}\r"));
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        self.screen.screen_mut().set_size(height.try_into().unwrap(), width.try_into().unwrap());
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.file, size).unwrap();
    }

    /// Waits until the screen is as it should be.
    pub fn wait(&mut self, what: &str, fits: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !fits(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(why) => panic!("{what}: {why}; the screen shows\n{}", self.rows().join("\n")),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.written.extend_from_slice(bytes);
    }

    /// Waits until the text is somewhere on the screen.
    pub fn expect(&mut self, text: &str) {
        self.wait(text, |terminal| terminal.screen.screen().contents().contains(text));
    }

    /// Waits until the row with the cursor is this, and the cursor is in this column.
    pub fn expect_line(&mut self, line: &str, column: u16) {
        let what = format!("{line:?} with the cursor at {column}");
        self.wait(&what, |terminal| terminal.line() == (line.to_owned(), column));
    }

    /// The row with the cursor and its column.
    pub fn line(&self) -> (String, u16) {
        let (row, column) = self.screen.screen().cursor_position();
        (self.row(row), column)
    }

    fn row(&self, row: u16) -> String {
        let screen = self.screen.screen();
        let width = screen.size().1.get();
        screen.contents_between(row, 0, row, width).trim_end().to_owned()
    }

    /// What the screen shows, without what is empty below.
    pub fn rows(&self) -> Vec<String> {
        let height = self.screen.screen().size().0.get();
        let mut rows: Vec<_> = (0..height).map(|row| self.row(row)).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// Everything from the oldest line that the terminal remembers, line by line.
    pub fn everything(&mut self) -> Vec<String> {
        let height = usize::from(self.screen.screen().size().0.get());
        self.screen.screen_mut().set_scrollback(usize::MAX);
        let mut above = self.screen.screen().scrollback();
        let mut lines = Vec::new();
        while above > 0 {
            self.screen.screen_mut().set_scrollback(above);
            let rows = above.min(height);
            lines.extend((0..rows).map(|row| self.row(row.try_into().unwrap())));
            above -= rows;
        }
        self.screen.screen_mut().set_scrollback(0);
        lines.extend(self.rows());
        lines
    }

    /// The modes now.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.file).unwrap()
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn signal(&self, signal: &str) {
        let status = std::process::Command::new("kill").args([signal, &self.pid()]).status();
        assert!(status.unwrap().success());
    }

    /// How often the bell has rung.
    pub fn bells(&self) -> usize {
        self.written.iter().filter(|byte| **byte == 0x07).count()
    }

    /// Whether pastes are marked.
    pub fn marks_pastes(&self) -> bool {
        self.screen.screen().bracketed_paste()
    }

    /// How it ended.
    pub fn status(&mut self) -> ExitStatus {
        wait(&mut self.child, DEADLINE)
    }

    /// How it ended; what it had written by then is on the screen.
    pub fn ended(&mut self) -> ExitStatus {
        let status = self.status();
        while let Ok(bytes) = self.output.recv_timeout(DEADLINE) {
            self.take(&bytes);
        }
        status
    }

    /// It has ended, and the terminal is as it was.
    pub fn expect_end(&mut self, status: i32) {
        assert_eq!(self.ended().code(), Some(status), "{}", self.rows().join("\n"));
        self.expect_as_before();
    }

    /// The terminal is as it was before the program was started.
    pub fn expect_as_before(&self) {
        assert_eq!(format!("{:?}", self.modes()), format!("{:?}", self.modes));
        assert!(!self.marks_pastes());
        assert!(!self.screen.screen().hide_cursor() && !self.screen.screen().alternate_screen());
        let (row, column) = self.line();
        assert_eq!((row.as_str(), column), ("", 0), "{}", self.rows().join("\n"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
