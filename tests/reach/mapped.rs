//! A real router that maps ports, asked in each way that it knows.

use std::process::Command;
use std::time::Instant;

use peerchat::client::network::mapping::gateway;
use peerchat::client::network::mapping::{Failure, Grant, Wanted, natpmp, pcp, upnp};

use crate::lab::{Kind, Lab, PORT, Site, maps, twice};

/// In which way the program of [`asks_as_it_is_told`] asks; nothing is done without it.
const WAY: &str = "PEERCHAT_TEST_ASKS_BY";

/// Maps a port, checks with `mapped` that it is, and removes it.
fn ask(way: &str, mapped: impl Fn(&Grant)) -> Result<(), Failure> {
    let gateway = gateway::find().expect("a default gateway");
    let wanted = Wanted { port: PORT, nonce: *b"abcdefghijkl", outer: None };
    match way {
        "pcp" => {
            mapped(&pcp::map(&gateway, &wanted)?);
            pcp::map(&gateway, &wanted)?;
            pcp::unmap(&gateway, &wanted)
        }
        "nat-pmp" => {
            mapped(&natpmp::map(&gateway, &wanted)?);
            natpmp::map(&gateway, &wanted)?;
            natpmp::unmap(&gateway, &wanted)
        }
        "upnp" => {
            let (grant, service) = upnp::map(&gateway, &wanted)?;
            mapped(&grant);
            upnp::map(&gateway, &wanted)?;
            upnp::unmap(&service, grant.outer.port())
        }
        other => panic!("{other}"),
    }
}

/// Run by the other test in a host's namespace, where it is a program of its own.
#[test]
fn asks_as_it_is_told() {
    let Ok(way) = std::env::var(WAY) else { return };
    let begun = Instant::now();
    let asked = ask(&way, |grant| println!("mapped {} after {:?}", grant.outer, begun.elapsed()));
    println!("asked {asked:?}");
}

/// What it says who asks in this way at a site's host.
fn asked(site: &Site, way: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let mut command: Command = site.host(0).program(program.to_str().unwrap());
    command.args(["--exact", "mapped::asks_as_it_is_told", "--nocapture"]).env(WAY, way);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_router_maps_a_port_in_each_way() {
    let Some(lab) = Lab::new() else { return };
    if !maps() {
        return;
    }
    let site = lab.site(Kind::Mapping);
    for way in ["pcp", "nat-pmp", "upnp"] {
        // A router that has not answered within a second counts as silent, and this one is a program on a busy machine.
        twice(|| {
            let said = asked(&site, way);
            println!("{way}: {said}");
            let mapped = said.contains(&format!("mapped {}:", site.address()));
            assert!(mapped && said.contains("asked Ok"), "{said}");
            assert!(!said.contains(&format!(":{PORT} ")), "that one is not to be had: {said}");
            assert!(!site.is_mapped(), "it is removed again");
        });
    }
    // A router that is silent, and one behind another: no port is mapped, and it is found out soon.
    let silent = lab.site(Kind::Preserving);
    for way in ["pcp", "nat-pmp", "upnp"] {
        let said = asked(&silent, way);
        assert!(said.contains("asked Err("), "{said}");
    }
}
