//! `--send` while a client runs: the text goes through that one.

use std::io::Write;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::errand::Errand;
use super::link::{Link, line};
use crate::client::Config;
use crate::client::command::{Command, Reference};
use crate::client::notice::Told;
use crate::client::one_shot::OneShot;

/// How long the client may take to say why a text has not arrived.
const WHY: Duration = Duration::from_secs(1);

/// Sends the text, and returns the exit status.
pub fn send(
    config: &Config,
    one: &OneShot,
    signals: &Receiver<()>,
    (link, first): (Link, Vec<Told>),
) -> anyhow::Result<u8> {
    let say =
        |(command, reference): (Command, Reference)| _ = link.say.send(line(&command, Some(&reference)));
    let (mut errand, text) = Errand::new(config.user.clone(), one.clone());
    let mut deadline = config.linger.and_then(|linger| Instant::now().checked_add(linger));
    let mut over = false;
    show(config, &first)?;
    say(text);
    while errand.status().is_none() {
        let wait = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let signals = if over { &never() } else { signals };
        let mut late = false;
        select! {
            recv(link.told) -> told => match told {
                Ok(batch) => {
                    show(config, &batch)?;
                    batch.iter().flat_map(|told| errand.heard(told)).collect::<Vec<_>>().into_iter().for_each(say);
                }
                Err(_) => errand.waits("your client has ended"),
            },
            recv(signals) -> _ => late = true,
            default(wait) => late = true,
        }
        if late && over {
            errand.waits("your client does not say why");
        } else if late {
            over = true;
            deadline = Some(Instant::now() + WHY);
            errand.over().into_iter().for_each(say);
        }
    }
    let (status, why) = errand.status().unwrap_or_default();
    if let Some(why) = why {
        let _ = writeln!(std::io::stderr(), "client: {why}");
    }
    Ok(status)
}

/// A script may want to know all that happens meanwhile.
fn show(config: &Config, batch: &[Told]) -> std::io::Result<()> {
    if !config.json {
        return Ok(());
    }
    let mut out = Vec::new();
    batch.iter().for_each(|told| told.write_json(&mut out));
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&out).and_then(|()| stdout.flush())
}
