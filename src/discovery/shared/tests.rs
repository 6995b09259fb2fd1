use crossbeam_channel::never;

use super::*;
use crate::accounts::ledger::Turn;

/// A ledger in which nothing is new.
struct Still;

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
        Given::Saved
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
        ledger: Still,
        limits: Limits { new_names: limit, questions: limit },
        node: 1,
        is_up: true,
        is_fenced: false,
        is_stale: false,
        era: 0,
        said,
        seen: Arc::default(),
        log_limit: LogLimit::new(LOGGED_AGAIN),
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
