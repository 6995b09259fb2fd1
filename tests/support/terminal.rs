//! A real client at a real pseudo-terminal, whose screen can be looked at.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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
    /// Whether it says what it is and where its cursor is when it is asked.
    pub answers: bool,
    /// Whether a new width breaks its rows anew.
    pub reflows: bool,
}

/// How a client is started in a terminal, line by line.
pub fn command(directory: &Path, name: &str, discovery: SocketAddr, options: &[&str]) -> Command {
    full_screen(directory, name, discovery, options).arg("--line")
}

/// How a client is started that draws the whole of its terminal.
pub fn full_screen(directory: &Path, name: &str, discovery: SocketAddr, options: &[&str]) -> Command {
    Command::new(env!("CARGO_BIN_EXE_client"))
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env_remove("XDG_RUNTIME_DIR")
        .env("XDG_CONFIG_HOME", "/nowhere")
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

    /// One of so many columns and rows.
    pub fn sized(command: Command, width: u16, height: u16) -> Self {
        let mut terminal = Self::made(command, width, height);
        terminal.read();
        terminal
    }

    /// One of which nothing is read yet: a program that writes to it is soon stopped.
    pub fn unread(command: Command) -> Self {
        Self::made(command, 80, 24)
    }

    /// One behind a line of so many bytes a second.
    pub fn slow(command: Command, rate: u32) -> Self {
        let mut terminal = Self::unread(command);
        terminal.read_slowly(rate);
        terminal
    }

    fn made(command: Command, width: u16, height: u16) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(pty_process::Size::new(height, width)).unwrap();
        let file = File::from(OwnedFd::from(pty));
        let modes = tcgetattr(&file).unwrap();
        let child = command.spawn(pts).unwrap();
        let screen = vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), SCROLLBACK);
        Self {
            file,
            child,
            screen,
            output: mpsc::channel().1,
            written: Vec::new(),
            modes,
            answers: false,
            reflows: false,
        }
    }

    /// Reads from now on.
    pub fn read(&mut self) {
        self.read_pieces(64 * 1024, Duration::ZERO);
    }

    /// Reads so many bytes a second from now on, as a slow line would.
    pub fn read_slowly(&mut self, rate: u32) {
        const STEPS: u32 = 20;
        self.read_pieces((rate / STEPS).try_into().unwrap(), Duration::from_secs(1) / STEPS);
    }

    fn read_pieces(&mut self, size: usize, pause: Duration) {
        let mut reader = self.file.try_clone().unwrap();
        let (send, output) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = vec![0; size];
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                if send.send(piece[..read].to_vec()).is_err() {
                    return;
                }
                thread::sleep(pause);
            }
        });
        self.output = output;
    }

    /// The terminal is closed, of which nothing was read. How the program ended.
    pub fn close(&mut self) -> ExitStatus {
        self.file = File::open("/dev/null").unwrap();
        self.status()
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

    /// Types pieces that the program reads one by one, as over a slow line. Returns how long that took.
    pub fn type_in_pieces(&mut self, pieces: &[&str]) -> Duration {
        let start = Instant::now();
        for piece in pieces {
            let before = self.reads();
            self.type_in(piece);
            while self.reads() == before {
                assert!(start.elapsed() < DEADLINE, "{piece:?} is not read");
                thread::yield_now();
            }
        }
        start.elapsed()
    }

    /// What the system says of the thread that reads keys.
    fn keys(&self) -> Option<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
        let of = |task: &Path, file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let keys = tasks.map(|task| task.path()).find(|task| of(task, "comm").trim() == "keys")?;
        Some(of(&keys, "status"))
    }

    /// How often the thread that reads keys has had to wait for more.
    fn reads(&self) -> String {
        let status = self.keys().unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
    }

    /// Waits until the program reads keys, also where nothing of what it shows is read.
    pub fn until_it_reads_keys(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.keys().is_none() {
            assert!(Instant::now() < deadline, "it reads no keys");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn enter(&mut self, text: &str) {
        self.type_in(&format!("{text}\r"));
    }

    pub fn resize(&mut self, width: u16, height: u16) {
        if self.reflows {
            self.reflow(width, height);
        } else {
            self.screen.screen_mut().set_size(height.try_into().unwrap(), width.try_into().unwrap());
        }
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.file, size).unwrap();
    }

    /// Breaks the lines of what is shown anew. Keeps no colours, and knows of no wide characters.
    fn reflow(&mut self, width: u16, height: u16) {
        let (row, column) = self.screen.screen().cursor_position();
        let old_width = self.screen.screen().size().1.get();
        let (mut lines, mut cursor) = (vec![String::new()], (0, 0));
        let rows = self.rows().len().max(usize::from(row) + 1);
        for at in 0..u16::try_from(rows).unwrap() {
            if at == row {
                cursor = (lines.len() - 1, lines.last().unwrap().len() + usize::from(column));
            }
            let line = lines.last_mut().unwrap();
            line.push_str(&self.screen.screen().contents_between(at, 0, at, old_width));
            if !self.screen.screen().row_wrapped(at) {
                lines.push(String::new());
            }
        }
        lines.pop();
        let line = lines.get_mut(cursor.0).unwrap();
        *line = format!("{line:<0$}", cursor.1);
        let rows = |line: &String| line.trim_end().len().div_ceil(width.into()).max(1);
        let above: usize = lines.iter().take(cursor.0).map(rows).sum();
        let (row, column) = (above + cursor.1 / usize::from(width), cursor.1 % usize::from(width));
        let shown: usize = lines.iter().map(rows).sum();
        assert!(shown.max(row + 1) <= height.into(), "this terminal does not scroll while it breaks rows");
        self.screen = vt100::Parser::new(height.try_into().unwrap(), width.try_into().unwrap(), SCROLLBACK);
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        self.screen.process(format!("{}\x1b[{};{}H", lines.join("\r\n"), row + 1, column + 1).as_bytes());
    }

    /// Waits for the screen to be so, no longer than that. Returns whether it is.
    pub fn is_within(&mut self, within: Duration, fits: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + within;
        while !fits(self) {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.take(&bytes),
                Err(_) => return false,
            }
        }
        true
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

    /// Another program writes to it.
    pub fn scribble(&mut self, text: &str) {
        self.screen.process(text.as_bytes());
    }

    /// What the program believes to be the last column no longer ends the rows: what is wider than it thinks goes on there, and
    /// wraps nowhere.
    pub fn widen_unseen(&mut self, columns: u16) {
        let (height, width) = self.screen.screen().size();
        self.screen.screen_mut().set_size(height, width.saturating_add(columns));
    }

    /// What is in a cell.
    pub fn cell(&self, row: u16, column: u16) -> String {
        self.screen.screen().cell(row, column).map(|cell| cell.contents().to_string()).unwrap_or_default()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        let asked =
            |question: &[u8]| bytes.windows(question.len()).filter(|piece| *piece == question).count();
        let questions = if self.answers { [asked(b"\x1b[>c"), asked(b"\x1b[6n")] } else { [0, 0] };
        for _ in 0..questions[0] {
            // As tmux and xterm do.
            self.type_in(if self.reflows { "\x1b[>84;0;0c" } else { "\x1b[>41;390;0c" });
        }
        for _ in 0..questions[1] {
            let (row, column) = self.screen.screen().cursor_position();
            self.type_in(&format!("\x1b[{};{}R", row + 1, column + 1));
        }
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

    /// Whether nothing of the line that is being typed is still to come: at last the cursor is put into its column.
    pub fn is_drawn(&self) -> bool {
        self.written.ends_with(b"C") || (self.written.ends_with(b"\r") && self.line() == (String::new(), 0))
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

    /// What is on the screen, cell by cell.
    pub fn screen(&self) -> &vt100::Screen {
        self.screen.screen()
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

    /// Whether a private mode was set by the program, and not reset.
    pub fn mode(&self, number: u16) -> bool {
        let last = |end: char| {
            let sequence = format!("\x1b[?{number}{end}");
            self.written.windows(sequence.len()).rposition(|bytes| bytes == sequence.as_bytes())
        };
        last('h') > last('l')
    }

    /// Whether the whole of it is drawn.
    pub fn is_full(&self) -> bool {
        self.screen.screen().alternate_screen()
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
        let modes = [1000, 1002, 1003, 1004, 1006, 1049, 2004].map(|mode| (mode, self.mode(mode)));
        assert!(!modes.iter().any(|(_, set)| *set), "{modes:?}");
        assert!(!self.marks_pastes());
        assert_eq!(self.screen.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::None);
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
