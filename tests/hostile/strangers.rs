//! What strangers, thieves and liars try, on the real programs: each attack as it succeeded once, and more.
//!
//! | attack | test |
//! | --- | --- |
//! | a stolen key asks for the past | [`past::a_stolen_key_opens_nothing_of_the_past`] |
//! | a new name floods the disk | [`door::a_new_name_does_not_fill_the_disk`] |
//! | an address given out that is another's | [`dials::an_address_that_is_another_s_is_not_dialled`] |
//! | a crowd asks for one user | [`crowd::a_crowd_that_asks_keeps_no_one_out`], [`crowd::a_crowd_that_links_keeps_no_one_out`] |
//! | keys that never register | [`crowd::keys_that_never_register_keep_no_one_out`] |
//! | a text that looks like another's | [`screen::a_text_never_stands_where_a_name_stands`] |
//! | names and presence asked for by the thousand | [`crowd::names_can_t_be_asked_for_by_the_thousand`] |
//! | a discovery that invents contacts | [`liar::invented_contacts_are_bounded_and_not_dialled`] |
//! | contacts that never answer a dial | [`dials::tar_pits_do_not_delay_a_friend`] |
//! | a link that flaps | [`flood::a_flapping_link_is_paced`] |
//! | a version stripped on the way | [`handshake::a_version_list_changed_on_the_way_makes_no_link`] |
//! | keys of small order | [`handshake::keys_of_small_order_are_refused`] |
//! | one digit of a new key | [`liar::a_new_key_needs_sixteen_digits`] |
//! | an acknowledgement of what was not sent | [`past::what_was_not_sent_is_not_delivered`] |
//! | an export that is killed | [`machine::an_export_that_is_killed_leaves_no_plaintext`] |
//! | core files and memory | [`machine::memory_is_not_for_others`] |
//! | names alike, invisible characters | [`screen::a_name_alike_is_pointed_out`], [`screen::what_is_invisible_is_written_out`] |

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::support::client::Client;

mod crowd;
mod dials;
mod door;
mod flood;
mod handshake;
mod liar;
mod machine;
mod past;
mod screen;

/// A registered client that meets strangers in this way.
fn meeting(strangers: &str, directory: &Path, name: &str, discovery: SocketAddr) -> Client {
    let mut client = Client::start_with(directory, name, 0, discovery, &["--strangers", strangers]);
    client.expect_registered();
    client
}

/// How often it has said this so far.
fn said(client: &mut Client, event: &str) -> usize {
    client.settle().iter().filter(|it| it["event"] == event).count()
}

/// How many lines it has been told that answer nothing. Links are counted by themselves: those of strangers are no lines
/// on a screen.
fn told(client: &mut Client) -> usize {
    let others = ["help", "contacts", "history", "why", "ready", "queued", "contact", "link"];
    client.settle().iter().filter(|it| !others.contains(&it["event"].as_str().unwrap())).count()
}

/// The same by what they say, for the reader of a failure.
fn lines(client: &mut Client) -> std::collections::BTreeMap<String, usize> {
    let mut lines = std::collections::BTreeMap::new();
    for it in client.settle() {
        let kind = [&it["event"], &it["code"]].map(|it| it.as_str().unwrap_or_default()).join(" ");
        *lines.entry(kind).or_default() += 1;
    }
    lines
}

/// The texts of this sender that it has shown so far.
fn shown(client: &mut Client, from: &str) -> Vec<String> {
    let of = |it: &&Value| it["event"] == "message" && it["from"] == from;
    let text = |it: &Value| it["text"].as_str().unwrap_or_default().to_owned();
    client.settle().iter().filter(of).map(text).collect()
}

/// What it says of everyone it knows.
fn contacts(client: &mut Client) -> Vec<Value> {
    client.say("CONTACTS");
    client.wait("contacts", |_| true)["contacts"].as_array().unwrap().clone()
}

fn numbered(what: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{what} {number}")).collect()
}
