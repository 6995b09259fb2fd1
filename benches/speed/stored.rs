//! S6: what is stored already must cost nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use peerchat::protocol::{Name, PublicKey};
use peerchat::store::directory::Directory;

use crate::chat::{Pair, Person, make};
use crate::crowd::{self, Account, accounts};
use crate::measure::{FIRST, Goal, Row, per_second, pinned, rounds};
use crate::requests::{ASKING, Looks, load};
use crate::server::{Discovery, Scratch};
use crate::stream::{COUNT, stream};
use crate::{Options, ms, programs, quantile};

/// How many messages are in each journal.
const MESSAGES: u64 = 1_000_000;
/// How many users there are.
const USERS: usize = 1_000_000;
const FEW_USERS: usize = 1_000;
/// How long look-ups are counted.
const TIME: Duration = Duration::from_secs(3);
/// How often a client is started.
const STARTS: usize = 5;

pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut rows = journals(options)?;
    rows.push(users(options)?);
    Ok(rows)
}

fn journals(options: &Options) -> Result<Vec<Row>> {
    println!("\n== S6: a stream of {COUNT} messages where {MESSAGES} are in both journals");
    let full = options.scratch("full")?;
    make(&full, MESSAGES)?;
    let ready = {
        let discovery = Discovery::start(programs()?, &full.db(), 0, &[])?;
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let receiver = Person::start(FIRST, full.path(), "bob", discovery.address)?;
            times.push(receiver.ready);
            receiver.leave()?;
        }
        println!(
            "   a client with {MESSAGES} messages is ready after {} (median of {STARTS})",
            ms(quantile(&mut times, 0.5))
        );
        quantile(&mut times, 0.5).as_secs_f64() * 1000.0
    };
    let rounds = rounds(options.keep, |_| {
        let empty = options.scratch("empty")?;
        let mut pair = Pair::fresh(&empty)?;
        let before = stream(&mut pair, COUNT)?;
        pair.leave()?;
        before.say("empty journals");
        let mut pair = Pair::start(&full)?;
        let after = stream(&mut pair, COUNT)?;
        pair.leave()?;
        after.say("full journals");
        Ok([after.rate(), before.rate()])
    })?;
    let stream = Row {
        id: "S6",
        what: "stream, 1,000,000 messages in both journals".into(),
        reached: per_second(rounds.median(|[full, _]| *full)),
        against: format!("empty journals {}", per_second(rounds.median(|[_, empty]| *empty))),
        ratio: rounds.median(|[full, empty]| full / empty),
        goal: Goal::AtLeast(0.9),
        disturbed: rounds.disturbed,
    };
    let start = Row {
        id: "S6",
        what: "a client with 1,000,000 messages, ready".into(),
        reached: format!("{ready:.0} ms"),
        against: "100 ms".into(),
        ratio: ready / 100.0,
        goal: Goal::AtMost(1.0),
        disturbed: rounds.disturbed,
    };
    Ok(vec![stream, start])
}

/// A discovery that knows so many users, with the few who ask, and the keys to ask for.
struct Town {
    _scratch: Scratch,
    discovery: Discovery,
    askers: Vec<Arc<Account>>,
    keys: Vec<PublicKey>,
}

fn town(options: &Options, users: usize) -> Result<Town> {
    let scratch = options.scratch(&format!("users{users}"))?;
    let askers = accounts(0, ASKING)?;
    let mut names: Vec<Name> = askers.iter().map(|account| account.name.clone()).collect();
    let mut keys: Vec<PublicKey> = askers.iter().map(|account| account.keypair.public()).collect();
    let mut random = fastrand::Rng::with_seed(1);
    for number in ASKING..users {
        names.push(format!("user{number}").parse()?);
        // No client comes to prove it.
        let mut key = [0; 32];
        random.fill(&mut key);
        keys.push(PublicKey(key));
    }
    write(&scratch, &names, &keys)?;
    let discovery = pinned(FIRST, || Discovery::start(programs()?, &scratch.db(), 0, &[]))?;
    Ok(Town { _scratch: scratch, discovery, askers, keys })
}

fn write(scratch: &Scratch, names: &[Name], keys: &[PublicKey]) -> Result<()> {
    let users = (1..).zip(names.iter().zip(keys)).map(|(id, (name, key))| crowd::new_user(id, name, *key));
    Ok(Directory::open(&scratch.db())?.save(&users.collect::<Vec<_>>())?)
}

fn users(options: &Options) -> Result<Row> {
    println!("\n== S6: look-ups among {USERS} users");
    let towns = [town(options, FEW_USERS)?, town(options, USERS)?];
    let rounds = rounds(options.keep, |_| {
        let rates = towns.each_ref().map(|town| {
            let mut looks = Looks::all(town.discovery.address, &town.askers, &town.keys)?;
            let before = town.discovery.cpu()?;
            let load = load(&mut looks, TIME)?;
            let after = town.discovery.cpu()?;
            Ok::<_, anyhow::Error>(load.say(&format!("among {}", town.keys.len()), before, after))
        });
        let [few, many] = rates;
        Ok([many?.rate, few?.rate])
    })?;
    Ok(Row {
        id: "S6",
        what: "look-ups among 1,000,000 users".into(),
        reached: per_second(rounds.median(|[many, _]| *many)),
        against: format!("among 1,000: {}", per_second(rounds.median(|[_, few]| *few))),
        ratio: rounds.median(|[many, few]| many / few),
        goal: Goal::AtLeast(0.8),
        disturbed: rounds.disturbed,
    })
}
