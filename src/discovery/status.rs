//! The status of a running discovery: for people, for scripts, and for Prometheus.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::registry::Figures;
use super::relay::rules as relay;
use super::shared;
use super::users::ByStrangers;
use crate::accounts::NodeId;
use crate::protocol::PublicKey;
use crate::protocol::rendezvous::RefusedCode;
use crate::transport::Rejected;

const REASONS: [(RefusedCode, &str); 16] = [
    (RefusedCode::NAME_TAKEN, "name-taken"),
    (RefusedCode::KEY_IN_USE, "key-in-use"),
    (RefusedCode::TOO_MANY_NAMES, "too-many-names"),
    (RefusedCode::TOO_MANY_REQUESTS, "too-many-requests"),
    (RefusedCode::TARGET_FULL, "target-full"),
    (RefusedCode::NOT_SAVED, "not-saved"),
    (RefusedCode::NOT_REGISTERED, "not-registered"),
    (RefusedCode::YOURSELF, "yourself"),
    (RefusedCode::RELEASED, "released"),
    (RefusedCode::CLOSED, "closed"),
    (RefusedCode::TOO_MANY_QUESTIONS, "too-many-questions"),
    (RefusedCode::TOO_SOON, "too-soon"),
    (RefusedCode::RELAY_OFF, "relay-off"),
    (RefusedCode::RELAY_FULL, "relay-full"),
    (RefusedCode::NOT_ONLINE, "not-online"),
    (RefusedCode::NOT_CONNECTED, "not-connected"),
];

/// How many refusals there were, by reason. Every reason is there from the start.
pub fn refused(
    by_code: &HashMap<u16, u64>,
    rejected: &Rejected,
    relay: relay::Figures,
) -> BTreeMap<&'static str, u64> {
    let Rejected { full, address_full, failed_handshakes } = rejected;
    let before = [("full", full), ("address-full", address_full), ("handshake-failed", failed_handshakes)];
    let before = before.map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
    let came_late = |code| if code == RefusedCode::RELAY_FULL { relay.full } else { 0 };
    let after = REASONS
        .map(|(code, reason)| (reason, by_code.get(&code.0).copied().unwrap_or_default() + came_late(code)));
    let relayed = [("relay-ticket", relay.refused_tickets), ("relay-alone", relay.alone)];
    before.into_iter().chain(after).chain(relayed).collect()
}

/// The name, the kind, what it says, and the samples with their labels.
type Metric = (&'static str, &'static str, &'static str, Vec<(String, i128)>);

/// How a node stands among the others with which it shares its ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub name: String,
    pub id: NodeId,
    /// How many turns of others it does not know yet.
    pub lag: u64,
    /// How many turns there have been, of all nodes.
    pub turns: u64,
    /// For how many seconds the ledger has taken no changes, if it takes none.
    pub away: Option<u64>,
    pub others: Vec<Other>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Other {
    pub name: String,
    pub id: NodeId,
    pub address: SocketAddr,
    /// "up", "away" (without its connection to the ledger), "lost", or "unknown" while this node can't see the others.
    pub state: &'static str,
}

impl Standing {
    pub fn new(name: &str, standing: shared::Standing, away: Option<Duration>) -> Self {
        let shared::Standing { own, lag, turns, is_old, nodes } = standing;
        let others = nodes.into_iter().filter(|node| node.id != own).map(|node| Other {
            name: node.name,
            id: node.id,
            address: node.address,
            state: match (node.lost, node.leased) {
                _ if is_old => "unknown",
                (true, _) => "lost",
                (false, true) => "up",
                (false, false) => "away",
            },
        });
        let away = away.map(|away| away.as_secs());
        Self { name: name.into(), id: own, lag, turns, away, others: others.collect() }
    }

    fn text(&self) -> String {
        let Self { name, id, lag, away, others, turns: _ } = self;
        let ledger = away.map_or_else(
            || "works".into(),
            |away| format!("away or full for {:#}: changes are refused; see the log", seconds(away)),
        );
        let mut text =
            format!("node          {name} (run {id}), {lag} turns behind\nledger        {ledger}\n");
        for Other { name, id, address, state } in others {
            // Writing into a String does not fail.
            let _ = writeln!(text, "other node    {name} (run {id}) at {address}: {state}");
        }
        text
    }

    fn metrics(&self) -> [Metric; 5] {
        let one = |value: u64| vec![(String::new(), i128::from(value))];
        let states = ["up", "away", "lost", "unknown"].map(|state| {
            let count = self.others.iter().filter(|other| other.state == state).count();
            (format!("{{state=\"{state}\"}}"), count as i128)
        });
        let up = one(u64::from(self.away.is_none()));
        let node = vec![(format!("{{node=\"{}\"}}", self.name), 1)];
        [
            ("node_info", "gauge", "What this node is called.", node),
            ("ledger_up", "gauge", "1 while the ledger takes changes, and 0 while it is away or full.", up),
            ("other_nodes", "gauge", "The other nodes, by how they are.", states.into()),
            ("turns_total", "counter", "Turns of all nodes.", one(self.turns)),
            ("turns_behind", "gauge", "Turns of other nodes that this one does not know yet.", one(self.lag)),
        ]
    }
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub address: SocketAddr,
    pub database: String,
    pub key: PublicKey,
    /// How long it has been running, in seconds.
    pub uptime: u64,
    /// When it was started, in seconds since 1970.
    pub started: i64,
    #[serde(flatten)]
    pub figures: Figures,
    /// `None` if nothing is relayed.
    pub relay: Option<relay::Figures>,
    /// `None` for a discovery that is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Standing>,
    pub failed_saves: u64,
    pub refused: BTreeMap<&'static str, u64>,
}

impl Status {
    /// For people.
    pub fn text(&self) -> String {
        let Self {
            version, address, database, key, uptime, figures, relay, node, failed_saves, refused, ..
        } = self;
        let node = node.as_ref().map_or_else(String::new, Standing::text);
        let Figures { users, online, sessions, connections, requests, refusals, strangers } = figures;
        let ByStrangers { open, ask, all, closed } = strangers;
        let uptime = seconds(*uptime);
        let relay = relay.map_or_else(
            || "off".into(),
            |relay::Figures { links, links_total, bytes_total, .. }| {
                format!("{links} links, {links_total} since the start, {bytes_total} bytes")
            },
        );
        let refused = refused.iter().filter(|(_, count)| **count > 0);
        let refused: Vec<_> = refused.map(|(reason, count)| format!("{reason} {count}")).collect();
        let refused = if refused.is_empty() { "nothing".into() } else { refused.join(", ") };
        format!(
            "version       {version}\n\
             listening on  {address}\n\
             database      {database}\n\
             key           {key}\n\
             running for   {uptime:#}\n\
             users         {users}\n\
             online        {online}\n\
             sessions      {sessions}\n\
             connections   {connections}\n\
             requests      {requests} pending\n\
             refusals      {refusals}\n\
             strangers     open {open}, ask {ask}, all {all}, closed {closed}\n\
             relayed       {relay}\n\
             {node}\
             failed saves  {failed_saves}\n\
             refused       {refused}\n"
        )
    }

    /// For Prometheus, in its text format.
    pub fn metrics(&self) -> String {
        let Figures { users, online, sessions, connections, requests, refusals, strangers } = self.figures;
        let ByStrangers { open, ask, all, closed } = strangers;
        let by_strangers = [("open", open), ("ask", ask), ("all", all), ("closed", closed)];
        let by_strangers =
            by_strangers.map(|(policy, count)| (format!("{{strangers=\"{policy}\"}}"), i128::from(count)));
        let relay::Figures { links, links_total, bytes_total, .. } = self.relay.unwrap_or_default();
        let one = |value| vec![(String::new(), i128::from(value))];
        let by_reason = |(reason, count): (&_, &_)| (format!("{{reason=\"{reason}\"}}"), i128::from(*count));
        let build = vec![(format!("{{version=\"{}\"}}", self.version), 1)];
        let saves = one(self.failed_saves);
        let started = vec![(String::new(), i128::from(self.started))];
        let refused = self.refused.iter().map(by_reason).collect();
        let metrics = [
            ("build_info", "gauge", "The running version.", build),
            ("start_time_seconds", "gauge", "When discovery was started, in seconds since 1970.", started),
            ("users", "gauge", "Registered accounts.", one(users)),
            ("users_online", "gauge", "Accounts with a live session.", one(online)),
            ("sessions", "gauge", "Connections that have proved their key.", one(sessions)),
            ("connections", "gauge", "Pairs of users who have both asked.", one(connections)),
            ("requests_pending", "gauge", "Requests that are waiting for an answer.", one(requests)),
            ("refusals", "gauge", "Users dropped by others, who would be told.", one(refusals)),
            ("accounts", "gauge", "Registered accounts, by how they meet strangers.", by_strangers.into()),
            ("relayed_links", "gauge", "Links between clients that are relayed.", one(links)),
            ("relayed_links_total", "counter", "Links that were relayed.", one(links_total)),
            ("relayed_bytes_total", "counter", "Bytes that were relayed.", one(bytes_total)),
            ("failed_saves_total", "counter", "Transactions that could not be saved.", saves),
            ("refusals_total", "counter", "Refusals, by reason.", refused),
        ];
        let of_nodes = self.node.iter().flat_map(Standing::metrics);
        let mut text = String::new();
        for (name, kind, help, samples) in metrics.into_iter().chain(of_nodes) {
            // Writing into a String does not fail.
            let _ = writeln!(text, "# HELP peerchat_{name} {help}\n# TYPE peerchat_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "peerchat_{name}{labels} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::accounts::Snapshot;
    use crate::discovery::registry::{Limits, Registry};

    fn of_a_node() -> Status {
        let address = SocketAddr::from(([192, 0, 2, 1], 7667));
        let other = Other { name: "two".into(), id: 2, address, state: "up" };
        let node = Standing { name: "one".into(), id: 1, lag: 0, turns: 7, away: None, others: vec![other] };
        Status {
            version: "1",
            address,
            database: String::new(),
            key: PublicKey([0; 32]),
            uptime: 0,
            started: 0,
            figures: Registry::new(1, Snapshot::default(), Limits::default()).figures(),
            relay: None,
            node: Some(node),
            failed_saves: 0,
            refused: refused(&HashMap::new(), &Rejected::default(), relay::Figures::default()),
        }
    }

    /// The metrics that a text names.
    fn named(text: &str) -> BTreeSet<&str> {
        let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        words.filter(|word| word.starts_with("peerchat_")).collect()
    }

    #[test]
    fn what_rules_dashboard_and_documentation_name_is_there() {
        let metrics = of_a_node().metrics();
        let samples: BTreeSet<_> =
            metrics.lines().filter(|line| !line.starts_with('#')).flat_map(named).collect();
        let (rules, dashboard) = (
            include_str!("../../packaging/nodes/alerts.yml"),
            include_str!("../../packaging/nodes/grafana.json"),
        );
        for text in [rules, dashboard] {
            let unknown: Vec<_> = named(text).difference(&samples).copied().collect();
            assert!(!named(text).is_empty() && unknown.is_empty(), "{unknown:?}");
            // The values of labels, too. JSON escapes their quotes.
            let text = text.replace('\\', "");
            for label in ["state", "reason"] {
                for selector in [format!("{{{label}=\""), format!("{{{label}!=\"")] {
                    for value in text.split(&selector).skip(1).filter_map(|rest| rest.split('"').next()) {
                        assert!(metrics.contains(&format!("{{{label}=\"{value}\"}} ")), "{label} {value}");
                    }
                }
            }
        }
        assert_eq!(named(include_str!("../../docs/operating.md")), samples);
    }

    #[test]
    fn a_ledger_that_is_away_shows_and_so_does_that_the_others_can_t_be_seen() {
        let mut status = of_a_node();
        assert!(status.text().contains("\nledger        works\n"));
        assert!(status.metrics().contains("\npeerchat_ledger_up 1\n"));
        let address = status.address;
        let seen = |id, lost, leased| crate::store::postgres::watch::NodeSeen {
            id,
            name: id.to_string(),
            address,
            lost,
            beat: 1,
            leased,
        };
        let nodes =
            vec![seen(1, false, true), seen(2, false, true), seen(3, false, false), seen(4, true, false)];
        let standing = shared::Standing { own: 1, lag: 0, turns: 7, is_old: false, nodes };
        let states = |standing: &Standing| standing.others.iter().map(|it| it.state).collect::<Vec<_>>();
        assert_eq!(states(&Standing::new("one", standing.clone(), None)), ["up", "away", "lost"]);
        let old = shared::Standing { is_old: true, ..standing };
        let old = Standing::new("one", old, Some(Duration::from_millis(61_900)));
        assert_eq!(states(&old), ["unknown"; 3]);
        status.node = Some(old);
        let text = status.text();
        assert!(text.contains("\nledger        away or full for 1m 1s: changes are refused"), "{text}");
        assert!(status.metrics().contains("\npeerchat_ledger_up 0\n"));
    }
}
