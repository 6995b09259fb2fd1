//! A public network with discovery on it, and sites that hang on it, each behind a router of some kind.
//!
//! ```text
//! core (203.0.113.1, discovery) --- br0 --- router (203.0.113.N) --- LAN (192.168.1.0/24) --- hosts
//! ```
//!
//! All LANs have the same addresses, as in life. A router forgets all flows when it is told to, and one that it does not
//! know is dropped: the machines at both ends hear nothing of it.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::postgres;
use crate::support::client::{ANSWER_ALL, Client};
use crate::support::discovery::Discovery;

/// Where discovery listens: on the one port that [`Kind::Only443`] lets out.
pub const DISCOVERY: &str = "203.0.113.1:443";
/// Where another node does, if there are two. Sites have no such address.
const OTHER_NODE: &str = "203.0.113.254:443";
/// Where clients listen for peers.
pub const PORT: u16 = 7000;
/// As many as the public network has addresses for.
const MAX_SITES: u32 = 250;

/// What is between a host and the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: its address is a public one.
    Public,
    /// A NAT that keeps the port and drops what it does not expect.
    Preserving,
    /// The same, but it answers what it does not expect with a reset.
    Reset,
    /// A NAT with another random port for each flow: symmetric.
    Random,
    /// A NAT that gives a flow's inner port the same outer one always, and lets in everything that comes to that.
    Cone,
    /// No NAT, but nothing comes in that was not asked for.
    Firewall,
    /// For IPv4 as [`Kind::Random`], for IPv6 as [`Kind::Firewall`].
    Six,
    /// Two NATs that keep the port, the outer one the provider's.
    Double,
    /// As [`Kind::Preserving`], and only TCP to port 443 gets out.
    Only443,
    /// As [`Kind::Preserving`], with miniupnpd, which maps ports on request.
    Mapping,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Public => "public",
            Self::Preserving => "nat",
            Self::Reset => "nat-rst",
            Self::Random => "symmetric",
            Self::Cone => "cone",
            Self::Firewall => "firewall",
            Self::Six => "six",
            Self::Double => "double",
            Self::Only443 => "only-443",
            Self::Mapping => "mapping",
        };
        f.pad(name)
    }
}

/// A machine's network. Gone when dropped, once the last program in it has ended.
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn add(name: String) -> Option<Self> {
        let added = Command::new("ip").args(["netns", "add", &name]).stderr(Stdio::null()).status();
        added.is_ok_and(|status| status.success()).then_some(())?;
        let namespace = Self { name };
        // Before any interface is there: addresses can be used at once.
        namespace.sysctl("net.ipv6.conf.default.accept_dad=0");
        namespace.ip("link set lo up");
        Some(namespace)
    }

    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).env_remove("RUST_LOG");
        command
    }

    /// Carries out lines for `ip`.
    pub fn ip(&self, lines: &str) {
        run(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines);
    }

    /// Carries out a file for `nft`.
    pub fn nft(&self, rules: &str) {
        run(self.program("nft").args(["-f", "-"]), rules);
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    fn sysctl(&self, setting: &str) {
        run(self.program("sysctl").args(["-q", "-w", setting]), "");
    }

    /// Counts from now on the packets of a hook, `input` or `output`, to which this rule of nftables comes.
    pub fn count(&self, hook: &str, rule: &str) {
        self.nft(&format!(
            "table inet watch {{
                counter seen {{ }}
                chain {hook} {{ type filter hook {hook} priority -300; {rule} counter name seen; }}
            }}"
        ));
    }

    pub fn counted(&self) -> u64 {
        let text = run(self.program("nft").args(["list", "counter", "inet", "watch", "seen"]), "");
        let packets = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        packets.and_then(|packets| packets.parse().ok()).unwrap_or_else(|| panic!("no counter: {text}"))
    }

    fn routes(&self) {
        for which in ["all", "default"] {
            // Machines that share a network with a third are not told of each other.
            self.sysctl(&format!("net.ipv4.conf.{which}.send_redirects=0"));
        }
        self.sysctl("net.ipv4.ip_forward=1");
        self.sysctl("net.ipv6.conf.all.forwarding=1");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Runs a tool that has to succeed, and returns what it says.
fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr:.2000}");
    String::from_utf8(output.stdout).unwrap()
}

/// Tries once more where that fails: some things hang on moments that a busy machine may miss.
pub fn twice<T>(mut attempt: impl FnMut() -> T) -> T {
    catch_unwind(AssertUnwindSafe(&mut attempt)).unwrap_or_else(|_| {
        println!("tried again");
        attempt()
    })
}

/// Whether this machine has a program.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Whether there is a router for [`Kind::Mapping`]. It is said if not.
pub fn maps() -> bool {
    let maps = has("miniupnpd");
    if !maps {
        println!("skipped: no miniupnpd here");
    }
    maps
}

/// The program that passes on frames after a while, for kernels have no such thing everywhere.
fn delay_program(directory: &Path) -> Option<PathBuf> {
    const DEVICE: &str = "/dev/net/tun";
    if !Path::new(DEVICE).exists() {
        // Only the node may be missing.
        let _ = std::fs::create_dir_all("/dev/net");
        let _ = Command::new("mknod").args([DEVICE, "c", "10", "200"]).stderr(Stdio::null()).status();
    }
    if let Err(error) = std::fs::File::open(DEVICE) {
        println!("skipped: no lines with a delay here; {DEVICE}: {error}");
        return None;
    }
    let program = directory.join("delay");
    run(Command::new("cc").args(["-O2", "-x", "c", "-", "-o"]).arg(&program), include_str!("delay.c"));
    Some(program)
}

/// The public network, with a discovery, or two nodes of one.
pub struct Lab {
    /// They run until the end.
    nodes: Vec<Discovery>,
    core: Namespace,
    /// Tells these namespaces from all others.
    prefix: String,
    sites: AtomicU32,
    directory: tempfile::TempDir,
    /// The program of [`Lab::delays`], if this machine can have it.
    delay: OnceLock<Option<PathBuf>>,
}

impl Lab {
    /// `None`, and said so, where the machine can't do it.
    pub fn new() -> Option<Self> {
        let mut lab = Self::without_discovery()?;
        let mut discovery = lab.discovery();
        discovery.arg("--db").arg(lab.directory().join("discovery.db"));
        discovery.args(["--max-new-names", "1000", "::", "443"]);
        lab.nodes.push(Discovery::spawn(&mut discovery));
        Some(lab)
    }

    /// The same with two nodes over one PostgreSQL. Sites are told of one of them.
    pub fn with_two_nodes() -> Option<Self> {
        let mut lab = Self::without_discovery()?;
        let ledger = postgres::place()?;
        let [one, other]: [SocketAddr; 2] = [DISCOVERY, OTHER_NODE].map(|address| address.parse().unwrap());
        lab.core.ip(&format!("addr add {}/24 dev br0", other.ip()));
        for address in [one, other] {
            let ip = address.ip().to_string();
            let mut node = lab.discovery();
            node.env("XDG_DATA_HOME", lab.directory()).args(["--store", &ledger.socket_url()]);
            node.args(["--node", &ip, &ip, &address.port().to_string()]);
            lab.nodes.push(Discovery::spawn(&mut node));
        }
        Some(lab)
    }

    fn without_discovery() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("peerchat-reach-{}-{number}-", std::process::id());
        let core = if has("nft") && has("conntrack") && has("sysctl") {
            Namespace::add(format!("{prefix}core"))
        } else {
            None
        };
        let Some(core) = core else {
            println!("skipped: no routers here; they need root, iproute2, nftables, conntrack and procps");
            return None;
        };
        core.routes();
        core.ip("link add br0 type bridge\n\
                 addr add 203.0.113.1/24 dev br0\n\
                 addr add 2001:db8::1/64 dev br0\n\
                 link set br0 up");
        let (directory, sites, delay) = (tempfile::tempdir().unwrap(), AtomicU32::new(1), OnceLock::new());
        Some(Self { nodes: Vec::new(), core, prefix, sites, directory, delay })
    }

    fn discovery(&self) -> Command {
        let mut discovery = self.core.program(env!("CARGO_BIN_EXE_discovery"));
        discovery.stdin(Stdio::null());
        discovery
    }

    /// Whether lines may take their time. It is said if not.
    pub fn delays(&self) -> bool {
        self.delay.get_or_init(|| delay_program(self.directory())).is_some()
    }

    /// Another site, with one host.
    pub fn site(&self, kind: Kind) -> Site<'_> {
        self.distant_site(kind, Duration::ZERO)
    }

    /// A site from which all takes so long to the public network, and back, if [`Lab::delays`].
    pub fn distant_site(&self, kind: Kind, delay: Duration) -> Site<'_> {
        let number = self.sites.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < MAX_SITES, "no address is left");
        let mut site = Site {
            lab: self,
            kind,
            number,
            discovery: DISCOVERY,
            delay,
            line: None,
            miniupnpd: None,
            routers: Vec::new(),
            hosts: Vec::new(),
        };
        let (ip, subnet) = (site.in_segment(), site.subnet());
        match kind {
            Kind::Public => {}
            Kind::Double => {
                let outer = site.router("outer", &self.core, "br0", &ip, "100.64.0.1/24");
                let inner = site.router("router", &outer, "", "100.64.0.2", "192.168.1.1/24");
                inner.ip("route add default via 100.64.0.1");
                site.routers.extend([outer, inner]);
            }
            _ => {
                let router = site.router("router", &self.core, "br0", &ip, "192.168.1.1/24");
                router.ip(&format!("addr add {subnet}1/64 dev lan"));
                site.routers.push(router);
            }
        }
        if let Some(outermost) = site.routers.first() {
            let six = site.six();
            outermost.ip(&format!(
                "addr add {six}/64 dev wan\nroute add default via 203.0.113.1\nroute add default via 2001:db8::1"
            ));
            self.core.ip(&format!("route add {subnet}/64 via {six}"));
        }
        if kind == Kind::Mapping {
            site.routers[0].ip(&format!("addr add {}/32 dev wan", site.address()));
            site.route_to_address();
        }
        site.rules(kind);
        site.add_host();
        site
    }

    pub fn core(&self) -> &Namespace {
        &self.core
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A host or some, and the routers between them and the public network.
pub struct Site<'lab> {
    lab: &'lab Lab,
    kind: Kind,
    number: u32,
    /// Where its clients connect to.
    discovery: &'static str,
    /// Of the line to the public network, each way, and what passes on all frames there.
    delay: Duration,
    line: Option<Child>,
    miniupnpd: Option<Child>,
    /// From the outermost.
    routers: Vec<Namespace>,
    hosts: Vec<Namespace>,
}

impl Site<'_> {
    /// From where others see its hosts.
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Firewall => format!("198.51.100.{}", self.number),
            // As if it were public: miniupnpd does not take those for documentation.
            Kind::Mapping => format!("11.0.0.{}", self.number),
            _ => self.in_segment(),
        }
    }

    /// Clients that are started from now on connect to the other node.
    pub fn use_other_node(&mut self) {
        self.discovery = OTHER_NODE;
    }

    /// Its address in the public network's own segment.
    fn in_segment(&self) -> String {
        format!("203.0.113.{}", self.number)
    }

    /// Has what is sent to its address come to it.
    fn route_to_address(&self) {
        self.lab.core.ip(&format!("route add {}/32 via {}", self.address(), self.in_segment()));
    }

    fn six(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.number as u16)
    }

    /// Its IPv6 network's prefix.
    fn subnet(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 1, self.number as u16, 0, 0, 0, 0)
    }

    fn namespace(&self, name: &str) -> Namespace {
        let name = format!("{}{}-{name}", self.lab.prefix, self.number);
        Namespace::add(name).expect("there were namespaces before")
    }

    /// A router whose `wan` is a cable to a machine, or to that one's bridge, and whose `lan` is a bridge.
    fn router(&mut self, name: &str, to: &Namespace, bridge: &str, wan: &str, lan: &str) -> Namespace {
        let router = self.namespace(name);
        router.routes();
        // A flow that it does not know is none, however far it is.
        router.sysctl("net.netfilter.nf_conntrack_tcp_loose=0");
        if bridge.is_empty() {
            self.cable(&router, "wan", to, "lan");
        } else if self.delay.is_zero() {
            self.cable(&router, "wan", to, bridge);
        } else {
            self.line(&router, "wan", to, bridge);
        }
        router.ip(&format!(
            "link add lan type bridge\naddr add {lan} dev lan\nlink set lan up\naddr add {wan}/24 dev wan"
        ));
        router
    }

    fn cable(&self, from: &Namespace, interface: &str, to: &Namespace, bridge: &str) {
        let end = self.far_end(interface);
        from.ip(&format!("link add {interface} type veth peer name {end} netns {}", to.name));
        to.ip(&format!("link set {end} master {bridge}\nlink set {end} up"));
        from.ip(&format!("link set {interface} up"));
    }

    fn far_end(&self, interface: &str) -> String {
        format!("s{}-{interface}{}", self.number, self.hosts.len())
    }

    /// A cable on which all takes its time.
    fn line(&mut self, from: &Namespace, interface: &str, to: &Namespace, bridge: &str) {
        let program = self.lab.delay.get().and_then(Option::as_ref).expect("lines may take their time");
        let end = self.far_end(interface);
        let mut command = Command::new(program);
        command.args([&from.path(), interface, &to.path(), &end]).arg(self.delay.as_millis().to_string());
        let mut line = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(line.stdout.take().unwrap()).lines().next();
        self.line = Some(line);
        assert!(matches!(said, Some(Ok(said)) if said == "ready"), "no line");
        to.ip(&format!("link set {end} master {bridge}\nlink set {end} up"));
        from.ip(&format!("link set {interface} up"));
    }

    /// One more host behind the same router.
    pub fn add_host(&mut self) {
        let index = self.hosts.len();
        let last = index + 2;
        let host = self.namespace(&format!("host{index}"));
        let (six, subnet) = (self.six(), self.subnet());
        match (self.routers.last(), self.kind) {
            (None, _) => {
                assert_eq!(index, 0, "one address, one host");
                self.cable(&host, "eth0", &self.lab.core, "br0");
                host.ip(&format!(
                    "addr add {}/24 dev eth0\nroute add default via 203.0.113.1\naddr add {six}/64 dev eth0\n\
                     route add default via 2001:db8::1",
                    self.address()
                ));
            }
            (Some(router), Kind::Firewall) => {
                assert_eq!(index, 0, "one address, one host");
                self.cable(&host, "eth0", router, "lan");
                let ip = self.address();
                host.ip(&format!(
                    "addr add {ip}/32 dev eth0\nroute add 192.168.1.1 dev eth0\nroute add default via 192.168.1.1"
                ));
                router.ip(&format!("route add {ip}/32 dev lan"));
                self.route_to_address();
            }
            (Some(router), kind) => {
                self.cable(&host, "eth0", router, "lan");
                host.ip(&format!("addr add 192.168.1.{last}/24 dev eth0\nroute add default via 192.168.1.1"));
                if kind == Kind::Six {
                    host.ip(&format!(
                        "addr add {subnet}{last:x}/64 dev eth0\nroute add default via {subnet}1"
                    ));
                }
                if kind == Kind::Cone {
                    host.sysctl(&format!("net.ipv4.ip_local_port_range={}", CONE.inner()));
                }
            }
        }
        self.hosts.push(host);
    }

    /// Has the routers do from now on as that kind's do. Flows that are known go on.
    pub fn rules(&mut self, kind: Kind) {
        self.kind = kind;
        for router in &self.routers {
            router.nft(&rules(kind, &self.address()));
        }
        if kind == Kind::Mapping && self.miniupnpd.is_none() {
            self.miniupnpd = Some(self.start_miniupnpd());
        }
    }

    fn start_miniupnpd(&self) -> Child {
        let [router] = self.routers.as_slice() else { panic!("one router maps") };
        let place = |name: &str| self.lab.directory().join(format!("miniupnpd-{}{name}", self.number));
        std::fs::write(place(".conf"), MINIUPNPD.replace("EXT", &self.address())).unwrap();
        let mut command = router.program("miniupnpd");
        command.arg("-d").arg("-f").arg(place(".conf")).arg("-P").arg(place(".pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut miniupnpd = command.spawn().unwrap();
        // It is ready when it has said so, and goes on talking.
        let mut lines = BufReader::new(miniupnpd.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        while said.last().is_none_or(|line: &String| !line.contains("NAT-PMP/PCP")) {
            said.push(lines.next().unwrap_or_else(|| panic!("miniupnpd has ended: {said:?}")));
        }
        thread::spawn(move || lines.for_each(drop));
        miniupnpd
    }

    /// Whether the router maps a port to the client's.
    pub fn is_mapped(&self) -> bool {
        let [router] = self.routers.as_slice() else { panic!("one router maps") };
        let list = ["list", "chain", "inet", "lab", "prerouting_miniupnpd"];
        run(router.program("nft").args(list), "").contains(&format!(":{PORT}"))
    }

    /// The routers forget every flow, and each machine that they stood between is told nothing.
    pub fn forget(&self) {
        for router in &self.routers {
            // It says on standard error that it has done so.
            run(router.program("conntrack").arg("-F"), "");
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn host(&self, index: usize) -> &Namespace {
        &self.hosts[index]
    }

    pub fn routers(&self) -> &[Namespace] {
        &self.routers
    }

    /// A client at the first host that is registered.
    pub fn client(&self, name: &str) -> Client {
        self.client_at(0, name, &ANSWER_ALL)
    }

    pub fn client_at(&self, host: usize, name: &str, options: &[&str]) -> Client {
        self.client_with(host, name, if self.kind == Kind::Six { "::" } else { "0.0.0.0" }, options)
    }

    /// One that listens at an address, and gives it out.
    pub fn client_with(&self, host: usize, name: &str, listen: &str, options: &[&str]) -> Client {
        let mut command = self.hosts[host].program(env!("CARGO_BIN_EXE_client"));
        command.env("XDG_CONFIG_HOME", "/nowhere");
        command.args(options).arg("--data-dir").arg(self.lab.directory());
        let discovery: SocketAddr = self.discovery.parse().unwrap();
        command.args([name, &PORT.to_string(), listen]);
        command.args([discovery.ip().to_string(), discovery.port().to_string()]);
        let mut client = Client::run(name, &mut command);
        client.expect_registered();
        client
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        for program in [&mut self.miniupnpd, &mut self.line].into_iter().flatten() {
            let _ = program.kill();
            let _ = program.wait();
        }
        for what in [self.subnet().to_string() + "/64", self.address() + "/32"] {
            // Not all have both.
            let mut command = Command::new("ip");
            command.args(["-n", &self.lab.core.name, "route", "del", &what]).stderr(Stdio::null());
            let _ = command.status();
        }
    }
}

/// The ports of a full cone: `COUNT` inner ones from the first on, and where they are outside.
struct Cone {
    inner: u16,
    outer: u16,
}

const CONE: Cone = Cone { inner: 40_000, outer: 50_000 };

impl Cone {
    const COUNT: u16 = 256;

    fn inner(&self) -> String {
        format!("{} {}", self.inner, self.inner + Self::COUNT - 1)
    }

    /// The two maps, from outside and from inside.
    fn maps(&self) -> [String; 2] {
        let pairs = (0..Self::COUNT).map(|at| (self.inner + at, self.outer + at));
        let (inwards, outwards): (Vec<_>, Vec<_>) =
            pairs.map(|(inner, outer)| (format!("{outer} : {inner}"), format!("{inner} : {outer}"))).unzip();
        [inwards, outwards].map(|map| map.join(", "))
    }
}

/// It does not give the port that is asked for first, so that what is mapped can be told from what is not.
const MINIUPNPD: &str = "\
ext_ifname=wan
ext_ip=EXT
listening_ip=lan
ipv6_disable=yes
enable_natpmp=yes
enable_upnp=yes
upnp_table_name=lab
upnp_nat_table_name=lab
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=6c3cbd4e-2b0c-4a53-8f0d-6a1d9f6d9c11
secure_mode=yes
deny 7000 0.0.0.0/0 0-65535
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";

/// What a router of this kind does, one for all of its site's.
fn rules(kind: Kind, address: &str) -> String {
    let out = if kind == Kind::Only443 { "tcp dport 443" } else { "" };
    let unexpected = if kind == Kind::Reset { "meta l4proto tcp reject with tcp reset" } else { "" };
    let four = "oifname wan meta nfproto ipv4";
    let [inwards, outwards] = CONE.maps();
    let (dnat, snat) = match kind {
        Kind::Public | Kind::Firewall => (String::new(), String::new()),
        Kind::Random | Kind::Six => (String::new(), format!("{four} masquerade fully-random")),
        Kind::Cone => (
            format!("iifname wan meta l4proto tcp dnat ip to 192.168.1.2 : tcp dport map {{ {inwards} }}"),
            format!(
                "{four} meta l4proto tcp snat ip to {address} : tcp sport map {{ {outwards} }}\n{four} masquerade"
            ),
        ),
        Kind::Mapping => (String::new(), format!("{four} snat ip to {address}")),
        Kind::Preserving | Kind::Reset | Kind::Double | Kind::Only443 => {
            (String::new(), format!("{four} masquerade"))
        }
    };
    format!(
        "table inet lab\ndelete table inet lab\ntable inet lab {{
            chain miniupnpd {{ }}
            chain prerouting_miniupnpd {{ }}
            chain postrouting_miniupnpd {{ }}
            chain input {{
                type filter hook input priority filter; policy drop;
                iifname {{ lo, lan }} accept
                ct state established,related accept
                meta l4proto {{ icmp, ipv6-icmp }} accept
                {unexpected}
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                iifname lan oifname lan accept
                ct state established,related accept
                ct status dnat accept
                ct state new iifname lan oifname wan {out} accept
                jump miniupnpd
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat; policy accept;
                {dnat}
                jump prerouting_miniupnpd
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                jump postrouting_miniupnpd
                {snat}
            }}
        }}"
    )
}
