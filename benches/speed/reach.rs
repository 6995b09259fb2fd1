//! S9: what a relay costs: two clients that discovery joins, beside the same two linked directly. Each is in a network
//! namespace of its own, between which discovery's routes or does not.
//!
//! ```text
//! alice (203.0.113.2) --- (203.0.113.1, discovery, 203.0.113.129) --- bob (203.0.113.130)
//! ```

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;

use crate::chat::{self, Pair, Person};
use crate::latency::latency;
use crate::measure::{FIRST, Goal, Row, SECOND, per_second, rounds};
use crate::server::{Discovery, Scratch};
use crate::stream::{COUNT, stream};
use crate::{Options, ms, programs};

/// Discovery's side of each of the two networks.
const NEAR: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 129)];
/// The clients' sides.
const FAR: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 130)];
/// How many messages are sent one after the other.
const TURNS: u64 = 1000;
/// Discovery is not to slow what it relays: KiB a second, of each link and of all.
const UNBOUNDED: &str = "10000000";

/// Three machines' networks, gone when dropped.
struct Network {
    prefix: String,
}

impl Network {
    /// With a way from one client to the other, or without: then nothing that they send reaches the other.
    fn new(has_way: bool) -> Result<Self> {
        let network = Self { prefix: format!("peerchat-speed-{}", std::process::id()) };
        let core = network.name("core");
        tool(Command::new("ip").args(["netns", "add", &core]))?;
        for ((who, near), far) in ["alice", "bob"].into_iter().zip(NEAR).zip(FAR) {
            let name = network.name(who);
            let ip = |of: &str, line: &str| {
                tool(Command::new("ip").args(["-n", of]).args(line.split(' ').map(|word| match word {
                    "CORE" => core.as_str(),
                    word => word,
                })))
            };
            tool(Command::new("ip").args(["netns", "add", &name]))?;
            ip(&name, &format!("link add eth0 type veth peer name {who} netns CORE"))?;
            ip(&name, &format!("addr add {far}/25 dev eth0"))?;
            ip(&name, "link set eth0 up")?;
            ip(&core, &format!("addr add {near}/25 dev {who}"))?;
            ip(&core, &format!("link set {who} up"))?;
            if has_way {
                ip(&name, &format!("route add default via {near}"))?;
            }
        }
        tool(network.program("core", "sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]))?;
        Ok(network)
    }

    fn name(&self, who: &str) -> String {
        format!("{}-{who}", self.prefix)
    }

    /// A command that runs a program on that machine, in the place of `ip`.
    fn program(&self, who: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(who)]).arg(program);
        command
    }

    /// The two clients, linked in that way.
    fn pair(&self, scratch: &Scratch, route: &str) -> Result<Pair> {
        chat::make(scratch, 0)?;
        let programs = programs()?;
        let mut discovery = self.program("core", programs.join("discovery"));
        discovery.args(["--relay-rate", UNBOUNDED, "--relay-total", UNBOUNDED]).arg("--db").arg(scratch.db());
        discovery.args(["0.0.0.0", "0"]);
        let discovery = Discovery::spawn(discovery)?;
        let port = discovery.address.port();
        let [[near_alice, alice], [near_bob, bob]] = [[NEAR[0], FAR[0]], [NEAR[1], FAR[1]]];
        let start = |core, name, near: Ipv4Addr, own| {
            let program = self.program(name, programs.join("client"));
            Person::spawn(core, program, scratch.path(), name, own, (near, port).into())
        };
        let receiver = start(SECOND, "bob", near_bob, bob)?;
        let sender = start(FIRST, "alice", near_alice, alice)?;
        Pair::of(sender, receiver, discovery, route)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for who in ["alice", "bob", "core"] {
            // Not all may be there.
            let mut command = Command::new("ip");
            let _ = command.args(["netns", "delete", &self.name(who)]).stderr(Stdio::null()).status();
        }
    }
}

fn tool(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// How a pair does.
struct Figures {
    rate: f64,
    /// From line to line, one message in flight: the median, and 99 of 100.
    times: [Duration; 2],
}

fn measure(options: &Options, route: &str) -> Result<Figures> {
    let scratch = options.scratch("reach")?;
    let network = Network::new(route == "direct")?;
    let mut pair = network.pair(&scratch, route)?;
    let stream = stream(&mut pair, COUNT)?;
    let times = latency(&mut pair, TURNS)?;
    pair.leave()?;
    stream.say(route);
    println!("   {route}, line to line: p50 {}, p99 {}", ms(times[0]), ms(times[1]));
    Ok(Figures { rate: stream.rate(), times })
}

pub fn run(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S9: {COUNT} messages, then one in flight, relayed and direct");
    if !geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
        println!("   left out: network namespaces need root and iproute2");
        return Ok(Vec::new());
    }
    let rounds = rounds(options.keep, |round| {
        // Neither is always the one that comes first.
        if round % 2 == 0 {
            let relayed = measure(options, "relayed")?;
            Ok([relayed, measure(options, "direct")?])
        } else {
            let direct = measure(options, "direct")?;
            Ok([measure(options, "relayed")?, direct])
        }
    })?;
    let stream = Row {
        id: "S9",
        what: "relayed stream".into(),
        reached: per_second(rounds.median(|[relayed, _]| relayed.rate)),
        against: format!("direct {}", per_second(rounds.median(|[_, direct]| direct.rate))),
        ratio: rounds.median(|[relayed, direct]| relayed.rate / direct.rate),
        goal: Goal::AtLeast(0.45),
        disturbed: rounds.disturbed,
    };
    let time = |what: &str, of: fn(&Figures) -> f64, goal| Row {
        id: "S9",
        what: format!("relayed, one message in flight, {what}"),
        reached: format!("{:.2} ms", rounds.median(|[relayed, _]| of(relayed))),
        against: format!("direct {:.2} ms", rounds.median(|[_, direct]| of(direct))),
        ratio: rounds.median(|[relayed, direct]| of(relayed) / of(direct)),
        goal,
        disturbed: rounds.disturbed,
    };
    Ok(vec![
        stream,
        time("median", |figures| figures.times[0].as_secs_f64() * 1000.0, Goal::AtMost(2.5)),
        time("99 of 100", |figures| figures.times[1].as_secs_f64() * 1000.0, Goal::None),
    ])
}
