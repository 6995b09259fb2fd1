//! The ledgers that the suite runs on, each with its way to the same faults.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use peerchat::accounts::ledger::{Given, Ledger, Trouble, Turn};
use peerchat::accounts::{Change, NodeId, Snapshot};
use peerchat::store::StoreError;
use peerchat::store::directory::Directory;
use peerchat::store::postgres::error::PostgresError;
use peerchat::store::postgres::{Options, Postgres};
use peerchat::transport::noise::Keypair;

use super::ledger::{Fate, Model, Truth};
use super::line::Line;
use super::server::{Admin, Place, place};

/// A ledger.
pub trait Lab: Sized {
    type Node: Faulty;
    /// Whether there can be other nodes.
    const IS_SHARED: bool = true;

    /// None where this kind is missing.
    fn new() -> Option<Self>;
    /// One that has neither joined nor loaded.
    fn node(&self) -> Self::Node;
    /// What of all that there is it keeps.
    fn kept(all: Snapshot) -> Snapshot {
        all
    }
}

/// A ledger that several nodes share.
pub trait Shared: Lab {
    /// All turns but the last are not told any more.
    fn cut(&self);
    /// Another server takes over, which has only so many turns.
    fn fail_over(&self, kept: usize);
}

pub trait Faulty: Ledger<Error: Debug> {
    /// What becomes of the changes that are given next, in a turn that was not taken yet.
    fn meet(&mut self, fate: Fate);
}

pub struct InMemory(Rc<RefCell<Truth>>);

impl Lab for InMemory {
    type Node = Model;

    fn new() -> Option<Self> {
        Some(Self(Rc::default()))
    }

    fn node(&self) -> Model {
        Model::new(&self.0)
    }
}

impl Shared for InMemory {
    fn cut(&self) {
        self.0.borrow_mut().cut(usize::MAX);
    }

    fn fail_over(&self, kept: usize) {
        self.0.borrow_mut().fail_over(kept);
    }
}

impl Faulty for Model {
    fn meet(&mut self, fate: Fate) {
        self.fate = fate;
    }
}

pub struct OnPostgres {
    pub place: Place,
}

/// A node, its line to the server, and the superuser there.
pub struct Wired {
    pub ledger: Postgres,
    line: Line,
    admin: Admin,
    fate: Fate,
}

impl Lab for OnPostgres {
    type Node = Wired;

    fn new() -> Option<Self> {
        place().map(|place| Self { place })
    }

    fn node(&self) -> Wired {
        let line = Line::to(self.place.cluster.port);
        let url = format!("postgres://peerchat@127.0.0.1:{}/{}", line.port, self.place.name);
        let ledger = Postgres::open(&url, Options::default()).unwrap();
        Wired { ledger, line, admin: self.place.admin(), fate: Fate::Saved }
    }
}

impl Shared for OnPostgres {
    fn cut(&self) {
        self.place.admin().run("DELETE FROM peerchat.turns WHERE n < (SELECT max(n) FROM peerchat.turns)");
    }

    fn fail_over(&self, kept: usize) {
        self.place.admin().run(&format!("DELETE FROM peerchat.turns WHERE n > {kept}"));
    }
}

impl Faulty for Wired {
    fn meet(&mut self, fate: Fate) {
        self.fate = fate;
    }
}

impl Ledger for Wired {
    type Error = PostgresError;

    fn join(&mut self) -> Result<NodeId, Trouble<PostgresError>> {
        self.ledger.join()
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<PostgresError>> {
        self.ledger.load()
    }

    fn position(&self) -> i64 {
        self.ledger.position()
    }

    fn take(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        if self.fate == Fate::Refused {
            self.admin.run("ALTER TABLE peerchat.turns ADD CONSTRAINT full_disk CHECK (n < 0) NOT VALID");
        }
        self.ledger.take()
    }

    fn give(&mut self, changes: &[Change]) -> Given<PostgresError> {
        let fate = std::mem::take(&mut self.fate);
        match fate {
            Fate::UnsureAndSaved => self.line.cut_answering(),
            Fate::UnsureAndLost => self.line.cut_asking(),
            Fate::Saved | Fate::Refused => {}
        }
        let given = self.ledger.give(changes);
        if fate == Fate::Refused {
            self.admin.run("ALTER TABLE peerchat.turns DROP CONSTRAINT full_disk");
        }
        given
    }

    fn roll_back(&mut self) {
        self.ledger.roll_back();
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        self.ledger.read()
    }
}

pub struct OnSqlite(Rc<RefCell<Directory>>);

/// All of these are one node: its database is open once.
pub struct Alone {
    directory: Rc<RefCell<Directory>>,
    fate: Fate,
}

impl Lab for OnSqlite {
    type Node = Alone;
    const IS_SHARED: bool = false;

    fn new() -> Option<Self> {
        let keypair = Keypair::generate().unwrap();
        Some(Self(Rc::new(RefCell::new(Directory::in_memory(&keypair).unwrap()))))
    }

    fn node(&self) -> Alone {
        Alone { directory: Rc::clone(&self.0), fate: Fate::Saved }
    }

    /// Not who is online where, for that is in memory.
    fn kept(all: Snapshot) -> Snapshot {
        let Snapshot { accounts, connections, requests, refusals, released, .. } = all;
        Snapshot { accounts, connections, requests, refusals, released, ..Snapshot::default() }
    }
}

impl Faulty for Alone {
    fn meet(&mut self, fate: Fate) {
        assert!(matches!(fate, Fate::Saved | Fate::Refused), "{fate:?}: it always knows what is saved");
        self.fate = fate;
    }
}

impl Ledger for Alone {
    type Error = StoreError;

    fn join(&mut self) -> Result<NodeId, Trouble<StoreError>> {
        self.directory.borrow_mut().join()
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<StoreError>> {
        Ledger::load(&mut *self.directory.borrow_mut())
    }

    fn position(&self) -> i64 {
        self.directory.borrow().position()
    }

    fn take(&mut self) -> Result<Vec<Turn>, Trouble<StoreError>> {
        self.directory.borrow_mut().take()
    }

    fn give(&mut self, changes: &[Change]) -> Given<StoreError> {
        let is_refused = std::mem::take(&mut self.fate) == Fate::Refused;
        let mut directory = self.directory.borrow_mut();
        if is_refused {
            // What comes before the first request of a turn was written by then.
            let full = "BEFORE INSERT ON requests BEGIN SELECT RAISE(ABORT, 'full'); END";
            directory.execute_batch(&format!("CREATE TEMP TRIGGER full_disk {full}")).unwrap();
        }
        let given = directory.give(changes);
        if is_refused {
            directory.execute_batch("DROP TRIGGER full_disk").unwrap();
        }
        given
    }

    fn roll_back(&mut self) {
        self.directory.borrow_mut().roll_back();
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<StoreError>> {
        self.directory.borrow_mut().read()
    }
}
