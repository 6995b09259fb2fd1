use std::io;

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::accounts::ledger::Turn;
use crate::store::postgres::error::Problem;

/// A ledger in which nothing is new.
#[derive(Default)]
struct Still {
    /// Why it takes no changes, if it does not.
    refuses: Option<&'static str>,
}

impl Ledger for Still {
    type Error = PostgresError;

    fn join(&mut self) -> Result<NodeId, Trouble<PostgresError>> {
        Ok(1)
    }

    fn load(&mut self) -> Result<Snapshot, Trouble<PostgresError>> {
        Ok(Snapshot::default())
    }

    fn take(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        Ok(Vec::new())
    }

    fn give(&mut self, _: &[Change]) -> Given<PostgresError> {
        let Some(why) = self.refuses else { return Given::Saved };
        let problem = Problem::Unconfirmed(why.into());
        Given::Refused(Trouble::Down(PostgresError { place: "here".into(), problem }))
    }

    fn roll_back(&mut self) {}

    fn position(&self) -> i64 {
        0
    }

    fn read(&mut self) -> Result<Vec<Turn>, Trouble<PostgresError>> {
        Ok(Vec::new())
    }
}

fn clerk(said: Sender<Said>) -> Clerk<Still> {
    let limit = crate::discovery::registry::Limit { each: 9, loopback: false };
    Clerk {
        ledger: Still::default(),
        limits: Limits { new_names: limit, questions: limit },
        node: 1,
        is_up: true,
        is_fenced: false,
        is_stale: false,
        era: 0,
        said,
        seen: Arc::default(),
        log_limit: ReasonLimit::new(LOGGED_AGAIN),
        is_logged: false,
    }
}

#[test]
fn the_next_turn_can_be_asked_for_before_the_end_of_the_last_one_is_noticed() {
    let (orders, ordered) = bounded(ORDERS);
    let shared = Shared { orders, said: never(), era: Cell::default(), left: never(), seen: Arc::default() };
    shared.order(Order::RollBack);
    shared.order(Order::Take);
    // What is ordered after the ledger was away is told apart from what was ordered before.
    shared.note(&Report::Down);
    shared.note(&Report::Up(Vec::new()));
    shared.order(Order::Take);
    let orders: Vec<_> = ordered.try_iter().collect();
    assert_eq!(orders, [(0, Order::RollBack), (0, Order::Take), (1, Order::Take)]);
}

#[test]
fn a_read_is_reported_to_the_loop_that_has_ordered_it() {
    let (orders, ordered) = bounded(ORDERS);
    let (wake, woken) = bounded(1);
    let (saying, said) = bounded(REPORTS);
    let mut clerk = clerk(saying);
    wake.send(()).unwrap();
    assert!(clerk.go_on(&ordered, &woken).is_ok());
    assert!(said.is_empty(), "nothing was ordered, and nothing is new");
    // The first one was ordered before the ledger was away.
    clerk.era = 1;
    for era in [0, 1] {
        orders.send((era, Order::Read)).unwrap();
        assert!(clerk.go_on(&ordered, &woken).is_ok());
    }
    assert!(matches!(said.try_recv(), Ok(Said::Report(Report::Read(turns))) if turns.is_empty()));
    assert!(said.is_empty());
}

#[test]
fn a_ledger_that_is_away_is_tried_again_however_often_others_have_their_turns() {
    let (_orders, ordered) = bounded(ORDERS);
    let (wake, woken) = bounded(1);
    let (saying, said) = bounded(REPORTS);
    let mut clerk = clerk(saying);
    clerk.is_up = false;
    wake.send(()).unwrap();
    assert!(clerk.go_on(&ordered, &woken).is_ok());
    assert!(matches!(said.try_recv(), Ok(Said::Report(Report::Up(_)))));
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn a_new_reason_is_logged_at_once_and_each_return_once_a_reason() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let (orders, ordered) = bounded(ORDERS);
        let (_wake, woken) = bounded(1);
        let (saying, said) = bounded(1000);
        let mut clerk = clerk(saying);
        for why in ["full", "full", "full", "read-only", "read-only"] {
            clerk.ledger.refuses = Some(why);
            orders.send((clerk.era, Order::Take)).unwrap();
            orders.send((clerk.era, Order::Give(Vec::new()))).unwrap();
            assert!(clerk.go_on(&ordered, &woken).is_ok());
            assert!(!clerk.is_up);
            assert!(clerk.go_on(&ordered, &woken).is_ok());
            assert!(clerk.is_up);
        }
        drop(said);
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> =
        log.lines().map(|line| ["full", "read-only", "again"].map(|it| line.contains(it))).collect();
    let again = [false, false, true];
    let full = [true, false, true];
    let read_only = [false, true, true];
    assert_eq!(lines, [full, again, read_only, again], "{log}");
}
