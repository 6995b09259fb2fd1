//! The bot in `examples/`, built as its users build it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{ANSWER_ALL, Client};
use crate::support::discovery::{DEADLINE, Discovery, scratch};

/// Builds the bot the way these tests were built.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.parent().and_then(Path::parent).unwrap();
    let profile = directory.file_name().unwrap().to_str().unwrap().replace("debug", "dev");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", "bot", "--profile", &profile]);
    let built = build.arg("--target-dir").arg(directory.parent().unwrap()).status().unwrap();
    assert!(built.success());
    directory.join("examples/bot")
}

/// Killed when dropped, as by `kill -9`; its client then ends by itself.
struct Bot(Child);

impl Bot {
    fn start(program: &Path, directory: &Path, discovery: &Discovery) -> Self {
        let mut command = Command::new(program);
        command
            .env("XDG_CONFIG_HOME", "/nowhere")
            .arg(directory.join("notes"))
            .arg(env!("CARGO_BIN_EXE_client"));
        command.args(["echo", "0", "127.0.0.1", "127.0.0.1", &discovery.address.port().to_string()]);
        command
            .args(ANSWER_ALL)
            .args(["--linger", "0", "--data-dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_bot_greets_and_answers_each_message_once_though_it_is_killed_between_two() {
    let program = built();
    let (directory, db) = scratch();
    let directory = directory.path();
    let discovery = Discovery::start(&db);
    // A name that is registered can be asked for before it is there.
    Client::online(directory, "echo", discovery.address).log_out();
    let mut alice = Client::online(directory, "alice", discovery.address);
    alice.say("REQUEST echo");
    alice.wait("requested", |_| true);
    let bot = Bot::start(&program, directory, &discovery);
    alice.expect_message("echo", "Hello! I say again what you say.");
    alice.say(r#"{"command":"chat","to":"echo","text":"one\ntwo"}"#);
    alice.expect_message("echo", "echo: one\ntwo");
    // Killed before it has noted that, it would answer again.
    let deadline = Instant::now() + DEADLINE;
    let noted = || std::fs::read_to_string(directory.join("notes")).unwrap().lines().count();
    while noted() < 2 {
        assert!(Instant::now() < deadline);
        let _ = alice.next(Duration::from_millis(20));
    }

    drop(bot);
    alice.expect_gone("echo");
    alice.say("CHAT echo while you were away");
    alice.wait("queued", |_| true);
    let mut bot = Bot::start(&program, directory, &discovery);
    let deadline = Instant::now() + DEADLINE;
    loop {
        // The client of the one that was killed may still hold the journal for a moment.
        match alice.next(Duration::from_millis(100)) {
            Some(event) if event["event"] == "message" => {
                assert_eq!(event["text"], "echo: while you were away");
                break;
            }
            Some(_) => {}
            None if bot.0.try_wait().unwrap().is_some() => bot = Bot::start(&program, directory, &discovery),
            None => assert!(Instant::now() < deadline),
        }
    }
    alice.say("CHAT echo last");
    alice.expect_message("echo", "echo: last");
    alice.say("HISTORY echo");
    let history = alice.wait("history", |_| true);
    let answers = history["messages"].as_array().unwrap().iter().filter(|line| line["from"] == "echo");
    assert_eq!(answers.count(), 4, "{history}");
}
