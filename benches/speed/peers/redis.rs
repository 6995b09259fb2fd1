//! Redis: `GET`, and `SET` that is on the disk before it is answered.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Server;
use crate::Options;
use crate::requests::{ASKING, Asker, Figure, load as ask};

/// How many different keys there are.
const KEYS: u64 = 1000;
/// How many bytes a value has.
const VALUE: usize = 64;
/// How long requests are counted.
const TIME: Duration = Duration::from_secs(3);

struct Connection {
    stream: TcpStream,
    durable: bool,
    number: u64,
    read: usize,
}

impl Connection {
    fn say(&mut self, words: &[&str]) -> Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    fn set(&mut self) -> Result<()> {
        let key = format!("user{}", self.number % KEYS);
        self.say(&["SET", &key, &"x".repeat(VALUE)])
    }
}

impl Asker for Connection {
    fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn ask(&mut self) -> Result<bool> {
        self.number += 7919;
        if self.durable {
            self.set()?;
        } else {
            let key = format!("user{}", self.number % KEYS);
            self.say(&["GET", &key])?;
        }
        Ok(true)
    }

    fn answered(&mut self) -> Result<bool> {
        // "+OK", or a value with its length before it.
        let whole = if self.durable { 5 } else { 5 + VALUE + 2 };
        let mut answer = [0; 128];
        match self.stream.read(&mut answer) {
            Ok(0) => bail!("Redis has ended"),
            Ok(read) => {
                if self.read == 0 && !matches!(answer[0], b'+' | b'$') {
                    bail!("Redis says {}", String::from_utf8_lossy(&answer));
                }
                self.read += read;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let answered = self.read == whole;
        if answered {
            self.read = 0;
        }
        Ok(answered)
    }
}

/// How it does.
pub fn load(options: &Options, program: &Path, durable: bool) -> Result<Figure> {
    let scratch = options.scratch("redis")?;
    let server = Server::start(program, scratch.path(), |port| {
        let durable = if durable { "yes" } else { "no" };
        let port = port.to_string();
        [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            durable,
            "--appendfsync",
            "always",
        ]
        .map(str::to_owned)
        .to_vec()
    })?;
    let mut connections = Vec::new();
    for number in 0..ASKING as u64 {
        connections.push(Connection { stream: server.connect()?, durable, number, read: 0 });
    }
    // Every key is there.
    for number in 0..KEYS {
        let mut connection = Connection { stream: server.connect()?, durable: true, number, read: 0 };
        connection.set()?;
        while !connection.answered()? {}
    }
    let before = server.cpu()?;
    let load = ask(&mut connections, TIME)?;
    let after = server.cpu()?;
    Ok(load.say(if durable { "Redis SET, appendfsync always" } else { "Redis GET" }, before, after))
}
