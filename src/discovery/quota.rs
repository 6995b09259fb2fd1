//! How many new names each address may register.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Instant;
use crate::undo::{Table, transactional};

/// How long the new names of an address are counted together.
const WINDOW: Duration = Duration::from_secs(3600);

/// How many new names one address (an IPv6 network of 64 bits counts as one) may register in an hour.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From anywhere else.
    pub new_names: u32,
    /// From this machine itself, if that is limited.
    pub new_names_loopback: Option<u32>,
}

#[derive(Debug)]
pub struct Quota {
    limits: Limits,
    window_start: Instant,
    new_names: Table<HashMap<IpAddr, u32>>,
}

impl Quota {
    pub fn new(limits: Limits) -> Self {
        Self { limits, window_start: Instant::START, new_names: Table::default() }
    }

    pub fn allows(&mut self, network: IpAddr, now: Instant) -> bool {
        if now.since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.new_names = Table::default();
        }
        let Limits { new_names, new_names_loopback } = self.limits;
        let limit = if network.is_loopback() { new_names_loopback } else { Some(new_names) };
        let registered = self.new_names.get(&network).copied().unwrap_or_default();
        limit.is_none_or(|limit| registered < limit)
    }

    pub fn count(&mut self, network: IpAddr) {
        let registered = self.new_names.get(&network).copied().unwrap_or_default();
        self.new_names.insert(network, registered.saturating_add(1));
    }
}

transactional!(Quota { new_names });
