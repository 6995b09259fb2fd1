//! What the simulation has found, each in the few steps that it takes.

use std::net::SocketAddr;
use std::time::Duration;

use peerchat::client::command::Command;
use peerchat::client::event::{Action, ConnectionId, Input, Missed, Path, Problem, Reached};
use peerchat::client::node::{Node, OUTPUT_BATCHES, Setup};
use peerchat::client::notice::Notice;
use peerchat::protocol::peer::{Bye, ByeReason, Cursor, Hello, Kind, Message, Peer, STRANGER_MESSAGES, Via};
use peerchat::protocol::rendezvous::{
    Asks, REQUEST_LASTS, Refused, RefusedCode, Registered, Request, Status, Strangers, ToClient, ToDiscovery,
};
use peerchat::protocol::{Name, PublicKey, VERSION};
use peerchat::store::journal::{ContactRow, Journal, Standing};
use peerchat::time::{Instant, Now};
use peerchat::transport::Route;
use peerchat::transport::noise::Keypair;

use super::reach::DISCOVERY;
use super::world::moment;

const BOB: PublicKey = PublicKey([7; 32]);
const SESSION: ConnectionId = 1;
const LINK: ConnectionId = 2;

struct Alice {
    node: Node,
    journal: Journal,
    now: u64,
    wall: i64,
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// One whose public key is lower than bob's: this side decides which link stays.
fn low_keypair() -> Keypair {
    let mut seed = [0; 32];
    seed[0] = 160;
    let keypair = Keypair::from_secret(&seed).unwrap();
    assert!(keypair.public() < BOB);
    keypair
}

fn address() -> SocketAddr {
    "192.0.2.1:4000".parse().unwrap()
}

impl Alice {
    fn new() -> Self {
        Self::meeting(Strangers::All)
    }

    /// Alice meets strangers in this way.
    fn meeting(strangers: Strangers) -> Self {
        let journal = Journal::in_memory(&name("alice"), &low_keypair()).unwrap();
        Self::start(journal, strangers, 1, 0)
    }

    /// The next start, with the same journal, at this time on the wall clock.
    fn restarted(self, strangers: Strangers, wall: i64) -> Self {
        Self::start(self.journal, strangers, 2, wall)
    }

    fn start(journal: Journal, strangers: Strangers, epoch: u64, wall: i64) -> Self {
        let setup = Setup {
            name: name("alice"),
            keypair: low_keypair(),
            listen: address(),
            endpoints: [DISCOVERY.to_owned()].into(),
            discovery_key: None,
            strangers,
            silent: false,
            segment: 5,
            linger: None,
            epoch,
            seed: 1,
        };
        let node = Node::new(setup, Now { mono: Instant::START, wall }, &journal).unwrap();
        Self { node, journal, now: 0, wall }
    }

    fn clock(&mut self) -> Now {
        self.now += 1;
        Now { mono: moment(self.now), wall: self.wall }
    }

    /// A transaction that is committed.
    fn takes(&mut self, inputs: &[Input]) -> Vec<Action> {
        let now = self.clock();
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(now, &self.journal, input).unwrap());
        self.node.finish(now, &self.journal).unwrap();
        self.journal.commit().unwrap();
        self.node.committed()
    }

    /// A transaction that is decided and can't be committed.
    fn fails_to_commit(&mut self, inputs: &[Input]) -> Vec<Action> {
        let now = self.clock();
        self.journal.begin().unwrap();
        inputs.iter().for_each(|input| self.node.handle(now, &self.journal, input).unwrap());
        self.node.finish(now, &self.journal).unwrap();
        self.journal.rollback();
        self.node.failed(now, &self.journal, inputs, self.now).unwrap()
    }

    /// A transaction that fails before any of its inputs is looked at.
    fn fails_at_once(&mut self, inputs: &[Input]) -> Vec<Action> {
        let now = self.clock();
        self.node.failed(now, &self.journal, inputs, self.now).unwrap()
    }

    /// A session with discovery, which says where bob is.
    fn logs_in(&mut self) {
        self.takes(&[]);
        self.takes(&[Input::RendezvousUp {
            session: SESSION,
            key: PublicKey([3; 32]),
            path: path(),
            reached: Reached::default(),
        }]);
        let bob = Status {
            name: name("bob"),
            key: BOB,
            address: Some(address()),
            online: Some(true),
            asks: Asks::No,
            connected: true,
            also: vec![],
            room: false,
        };
        let says = vec![
            ToClient::Registered(Registered { address: address(), observed: address() }),
            ToClient::Status(bob),
            ToClient::Synced,
        ];
        self.takes(&[Input::RendezvousSays(SESSION, says)]);
    }

    /// Where bob is dialled, there is no answer.
    fn does_not_reach_bob(&mut self) {
        let problems = vec![(Route::Direct { remote: address() }, Problem::Other("refused".into()))];
        self.takes(&[Input::DialFailed { contact: bob(self).id, problems }]);
    }

    /// A link to bob, who writes something.
    fn hears(&mut self, start: u64) -> Vec<Action> {
        let up = Input::LinkUp {
            link: LINK,
            key: BOB,
            version: VERSION,
            dialled: None,
            route: Route::Direct { remote: address() },
            budget: 1 << 20,
        };
        let hello = Hello {
            name: name("bob"),
            epoch: start,
            port: 4000,
            window: 1 << 20,
            cursors: Vec::new(),
            hold: None,
            via: Via::Direct,
            linked: true,
            room: false,
        };
        let message = Message {
            epoch: start,
            number: 1,
            kind: Kind::TEXT,
            sent: 0,
            body: b"hi".to_vec(),
            original: None,
        };
        self.takes(&[up, Input::LinkSays(LINK, vec![Peer::Hello(hello), Peer::Message(message)])])
    }
}

fn path() -> Path {
    Path { local: address(), remote: address(), rtt: Duration::ZERO, own: Vec::new() }
}

fn shows(actions: &[Action]) -> bool {
    actions.iter().any(|action| match action {
        Action::Print(notices) => notices.iter().any(|told| matches!(told.notice, Notice::Message { .. })),
        _ => false,
    })
}

#[test]
fn a_dial_outlives_a_failed_transaction() {
    let mut alice = Alice::new();
    let actions = alice.fails_to_commit(&[]);
    assert!(actions.iter().any(|action| matches!(action, Action::DialRendezvous { .. })), "{actions:?}");
    let mut alice = Alice::new();
    alice.logs_in();
    alice.does_not_reach_bob();
    alice.now += 10_000;
    let actions = alice.fails_to_commit(&[Input::typed(Ok(Command::Help))]);
    let later = alice.takes(&[]);
    let dialled = actions.iter().chain(&later).any(|action| matches!(action, Action::Dial { .. }));
    assert!(dialled, "{actions:?}, then {later:?}");
}

#[test]
fn an_end_outlives_a_failed_transaction() {
    let mut alice = Alice::new();
    alice.logs_in();
    let actions = alice.fails_to_commit(&[Input::typed(Ok(Command::Logout))]);
    assert!(actions.iter().any(|action| matches!(action, Action::Exit(0, None))), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Close(SESSION))), "{actions:?}");
}

#[test]
fn the_consoles_answer_outlives_a_failed_transaction() {
    let mut alice = Alice::new();
    let first = alice.takes(&[]);
    assert!(first.iter().any(|action| matches!(action, Action::Print(_))));
    alice.fails_at_once(&[Input::Printed]);
    alice.takes(&[Input::RendezvousFailed(vec![Missed {
        at: DISCOVERY.into(),
        problem: Problem::Other("down".into()),
    }])]);
    alice.takes(&[Input::Printed]);
    let last = alice.takes(&[Input::InputEnded]);
    assert!(last.iter().any(|action| matches!(action, Action::Exit(0, None))), "{last:?}");
}

#[test]
fn what_was_shown_is_not_shown_again_after_a_failed_transaction() {
    let mut alice = Alice::new();
    alice.logs_in();
    assert!(shows(&alice.hears(5)));
    (0..8).for_each(|_| _ = alice.takes(&[Input::Printed]));
    let actions = alice.fails_to_commit(&[Input::typed(Ok(Command::Chat(name("bob").into(), "x".into())))]);
    let later = alice.takes(&[]);
    assert!(!shows(&actions) && !shows(&later), "{actions:?}, then {later:?}");
}

#[test]
fn discovery_is_heard_again_after_a_failed_transaction() {
    let mut alice = Alice::new();
    alice.takes(&[]);
    alice.fails_at_once(&[Input::RendezvousUp {
        session: SESSION,
        key: PublicKey([3; 32]),
        path: path(),
        reached: Reached::default(),
    }]);
    alice.now += 60_000;
    let actions = alice.takes(&[]);
    assert!(actions.iter().any(|action| matches!(action, Action::DialRendezvous { .. })), "{actions:?}");

    let mut alice = Alice::new();
    alice.logs_in();
    let actions = alice.fails_at_once(&[Input::RendezvousSays(SESSION, vec![ToClient::Synced])]);
    assert!(actions.iter().any(|action| matches!(action, Action::Close(SESSION))), "{actions:?}");
}

#[test]
fn discovery_is_asked_for_somebody_no_longer_blocked() {
    let mut alice = Alice::new();
    alice.logs_in();
    alice.takes(&[Input::typed(Ok(Command::Request(name("carol"))))]);
    alice.takes(&[Input::typed(Ok(Command::Block(name("carol"))))]);
    let actions = alice.takes(&[Input::typed(Ok(Command::Unblock(name("carol"))))]);
    let asked = actions.iter().any(|action| match action {
        Action::TellDiscovery(_, said) => matches!(said[..], [ToDiscovery::Request(_)]),
        _ => false,
    });
    assert!(asked, "{actions:?}");
}

#[test]
fn the_loop_rests_while_nobody_reads() {
    let mut alice = Alice::new();
    (0..OUTPUT_BATCHES).for_each(|_| _ = alice.takes(&[Input::typed(Ok(Command::Help))]));
    alice.now += 10_000;
    alice.takes(&[]);
    alice.takes(&[]);
    assert!(alice.node.deadline() > moment(alice.now), "{:?} at {}", alice.node.deadline(), alice.now);
}

#[test]
fn another_address_is_tried_after_one_where_a_link_is_refused() {
    let mut alice = Alice::new();
    alice.logs_in();
    alice.does_not_reach_bob();
    alice.hears(5);
    // Bob is told to be elsewhere, and an older client of his refuses links at the old address.
    let elsewhere: SocketAddr = "192.0.2.9:4000".parse().unwrap();
    let moved = Status {
        name: name("bob"),
        key: BOB,
        address: Some(elsewhere),
        online: Some(true),
        asks: Asks::No,
        connected: true,
        also: vec![],
        room: false,
    };
    alice.takes(&[Input::RendezvousSays(SESSION, vec![ToClient::Status(moved)])]);
    let mut tried = Vec::new();
    alice.takes(&[Input::LinkClosed(LINK)]);
    for link in 10..14 {
        alice.now += 60_000;
        let actions = alice.takes(&[]);
        let dial = actions.iter().find_map(|action| match action {
            Action::Dial { contact, routes, .. } => Some((*contact, routes[0])),
            _ => None,
        });
        let Some((contact, route)) = dial else {
            continue;
        };
        tried.push(route);
        let up = Input::LinkUp {
            link,
            key: BOB,
            version: VERSION,
            dialled: Some(contact),
            route,
            budget: 1 << 20,
        };
        let refusal = Peer::Bye(Bye { reason: ByeReason::NOT_ACCEPTED });
        alice.takes(&[up, Input::LinkSays(link, vec![refusal]), Input::LinkClosed(link)]);
    }
    assert!(tried.contains(&elsewhere.into()) && tried.contains(&address().into()), "{tried:?}");
}

#[test]
fn an_answer_that_discovery_could_not_save_is_given_again() {
    let mut alice = Alice::new();
    alice.takes(&[]);
    alice.takes(&[Input::RendezvousUp {
        session: SESSION,
        key: PublicKey([3; 32]),
        path: path(),
        reached: Reached::default(),
    }]);
    let bob = Status {
        name: name("bob"),
        key: BOB,
        address: None,
        online: None,
        asks: Asks::Typed,
        connected: false,
        also: vec![],
        room: false,
    };
    let says = vec![
        ToClient::Registered(Registered { address: address(), observed: address() }),
        ToClient::Status(bob),
        ToClient::Synced,
        ToClient::Refused(Refused { code: RefusedCode::NOT_SAVED, name: Some(name("bob")) }),
    ];
    alice.takes(&[Input::RendezvousSays(SESSION, says)]);
    alice.now += 61_000;
    let actions = alice.takes(&[Input::RendezvousSays(SESSION, vec![ToClient::Pong])]);
    // It is an answer, and not a request that her user has typed.
    let answer = Request { name: name("bob"), typed: false };
    let answered = actions.iter().any(|action| match action {
        Action::TellDiscovery(_, said) => said.contains(&ToDiscovery::Request(answer.clone())),
        _ => false,
    });
    assert!(answered, "{actions:?}");
}

#[test]
fn a_loss_is_told_again_by_a_client_that_was_killed_before_it_was_read() {
    let mut alice = Alice::new();
    alice.logs_in();
    alice.hears(5);
    alice.takes(&[Input::typed(Ok(Command::Chat(name("bob").into(), "x".into())))]);
    alice.takes(&[Input::LinkSays(LINK, vec![Peer::Ack(Cursor { epoch: 1, number: 2 })])]);
    alice.takes(&[Input::LinkClosed(LINK)]);
    let loss = |actions: &[Action]| {
        actions.iter().any(|action| match action {
            Action::Print(told) => {
                told.iter().any(|it| matches!(it.notice, Notice::Lost { messages: 1, .. }))
            }
            _ => false,
        })
    };
    assert!(loss(&alice.hears(6)));
    let mut again = alice.restarted(Strangers::All, 0);
    assert!(loss(&again.takes(&[])));
    again.takes(&[Input::typed(Ok(Command::Resend(name("bob"))))]);
    assert!(!loss(&again.restarted(Strangers::All, 0).takes(&[])));
}

#[test]
fn what_is_written_after_a_forget_and_a_restart_is_not_taken_for_delivered() {
    let mut alice = Alice::new();
    alice.logs_in();
    alice.hears(5);
    alice.takes(&[Input::typed(Ok(Command::Forget(name("bob"))))]);
    let mut alice = alice.restarted(Strangers::All, 0);
    let written = Command::Chat(name("bob").into(), "x".into());
    alice.takes(&[Input::typed(Ok(Command::Request(name("bob")))), Input::typed(Ok(written))]);
    let actions = alice.takes(&[Input::typed(Ok(Command::Outbox))]);
    let waits = actions.iter().any(|action| match action {
        Action::Print(told) => told.iter().any(|it| matches!(it.notice, Notice::Outbox { waiting: 1, .. })),
        _ => false,
    });
    assert!(waits, "{actions:?}");
    let bob = bob(&alice);
    assert_eq!(alice.journal.count_sent_after(bob.id, bob.outgoing.delivered).unwrap(), 1);
}

/// What is known of bob.
fn bob(alice: &Alice) -> ContactRow {
    alice.journal.contacts().unwrap().remove(0)
}

#[test]
fn a_stranger_who_is_blocked_stays_so() {
    let mut alice = Alice::meeting(Strangers::Open);
    alice.logs_in();
    alice.takes(&[Input::typed(Ok(Command::Block(name("bob"))))]);
    assert!(bob(&alice).identity.blocked);
    let later = i64::try_from(REQUEST_LASTS.as_millis()).unwrap();
    let mut alice = alice.restarted(Strangers::Open, later);
    alice.takes(&[]);
    assert!(bob(&alice).identity.blocked);
}

#[test]
fn what_a_stranger_has_sent_stays_counted_when_they_are_blocked_for_a_while() {
    let mut alice = Alice::meeting(Strangers::Open);
    alice.logs_in();
    alice.hears(5);
    alice.takes(&[Input::typed(Ok(Command::Block(name("bob"))))]);
    alice.takes(&[Input::typed(Ok(Command::Unblock(name("bob"))))]);
    let bob = bob(&alice);
    assert_eq!(alice.journal.cursor(bob.id, 5).unwrap(), 1, "or it would be shown again");
    assert_eq!((bob.identity.standing, bob.identity.blocked), (Standing::Stranger, false));
    assert_eq!(alice.journal.received_size(bob.id).unwrap().0, 1);
}

#[test]
fn a_stranger_who_has_had_all_is_told_of_again_after_a_restart() {
    let mut alice = Alice::meeting(Strangers::Open);
    alice.logs_in();
    alice.hears(5);
    for number in 2..=STRANGER_MESSAGES {
        let message =
            Message { epoch: 5, number, kind: Kind::TEXT, sent: 0, body: b"hi".to_vec(), original: None };
        alice.takes(&[Input::LinkSays(LINK, vec![Peer::Message(message)])]);
    }
    // The hello of the next start says that nothing is taken, and so bob sends nothing that could be refused.
    let mut alice = alice.restarted(Strangers::Open, 0);
    alice.logs_in();
    let actions = alice.hears(5);
    let told = actions.iter().any(|action| match action {
        Action::Print(told) => told.iter().any(|it| matches!(it.notice, Notice::Full { .. })),
        _ => false,
    });
    assert!(told, "{actions:?}");
}

#[test]
fn what_was_lost_is_taken_in_any_order() {
    let mut alice = Alice::new();
    alice.logs_in();
    alice.hears(5);
    // Her journal is from before bob's earlier start 4. A copy of its last message has waited since bob sent again what
    // she had lost then; with her next loss he sends the others.
    let again = |number: u64, first: u64| {
        let original = Some(Cursor { epoch: 4, number: first });
        let body = b"hi".to_vec();
        Peer::Message(Message { epoch: 5, number, kind: Kind::TEXT, sent: 0, body, original })
    };
    assert!(shows(&alice.takes(&[Input::LinkSays(LINK, vec![again(2, 9)])])));
    assert!(shows(&alice.takes(&[Input::LinkSays(LINK, vec![again(3, 1)])])));
}
