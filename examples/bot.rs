//! `bot NOTES CLIENT USER PORT …` greets who asks for it, and says again what it is told. NOTES keeps what is answered: a message
//! may come twice, or only in the history, when a bot was killed; if that was between an answer and its note, it answers again.
#![allow(clippy::indexing_slicing, reason = "a JSON value without the field is null")]
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::{collections::HashSet, env, error::Error, fs::File, process};

fn chat(to: &Value, key: &Value, text: &str) -> Value {
    json!({"command": "chat", "to": to, "text": text, "ref": format!("{to} {key}")})
}
fn echo(message: &Value) -> Option<Value> {
    let text = message["text"].as_str().filter(|text| !text.starts_with("echo: "))?;
    Some(chat(&message["from"], &message["id"], &format!("echo: {text}")))
}
fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let mut notes = File::options().read(true).append(true).create(true).open(args.next().ok_or("NOTES")?)?;
    let mut client = process::Command::new(args.next().ok_or("CLIENT")?);
    let client = client.args(args).arg("--json").stdin(process::Stdio::piped());
    let mut client = client.stdout(process::Stdio::piped()).spawn()?;
    let (mut input, output) = (client.stdin.take().ok_or("no pipe")?, client.stdout.take().ok_or("no pipe")?);
    let mut answered: HashSet<String> = io::read_to_string(&notes)?.lines().map(str::to_owned).collect();
    for line in BufReader::new(output).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let each = |list: &str| event[list].as_array().into_iter().flatten();
        let history = |it: &Value| json!({"command": "history", "peer": it["peer"], "count": 1000});
        let commands: Vec<Value> = match event["event"].as_str().unwrap_or_default() {
            "ready" => vec![json!({"command": "contacts"})],
            "contacts" => each("contacts").map(history).collect(),
            "history" => each("messages").filter(|it| it["from"] == event["peer"]).filter_map(echo).collect(),
            "message" => echo(&event).into_iter().collect(),
            "request" => vec![chat(&event["from"], &json!("hello"), "Hello! I say again what you say.")],
            "queued" => notes.write_all(format!("{}\n", event["ref"]).as_bytes()).map(|()| vec![])?,
            _ => vec![],
        };
        let new = |it: &Value| it["ref"].is_null() || answered.insert(it["ref"].to_string());
        commands.into_iter().filter(new).try_for_each(|it| writeln!(input, "{it}"))?;
    }
    process::exit(client.wait()?.code().unwrap_or(1))
}
