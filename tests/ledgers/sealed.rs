//! Connections under TLS, as they are to every other machine.

use std::path::Path;
use std::process::Stdio;

use peerchat::store::postgres::{Options, Postgres};

use super::server::Cluster;

/// Two authorities, and a certificate of the first one for `localhost`.
const MAKE: &str = r#"
    cd "$1"
    new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for name in ours theirs; do
        openssl req -x509 $new -keyout $name.key -out $name.pem -subj /CN=$name -days 2
    done
    openssl req -new $new -keyout server.key -out server.csr -subj /CN=server
    echo subjectAltName=DNS:localhost > names
    openssl x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem
    chmod 600 server.key"#;

fn open(cluster: &Cluster, host: &str, name: &str, authority: &Path) -> Result<Postgres, String> {
    let (port, authority) = (cluster.port, authority.display());
    let url = format!("postgres://peerchat@{host}:{port}/{name}?sslmode=verify-full&sslrootcert={authority}");
    Postgres::open(&url, Options::default()).map_err(|error| error.to_string())
}

#[test]
fn the_server_has_to_prove_its_name() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let folder = cluster.folder("tls");
    let mut make = cluster.other_program("sh");
    make.args(["-ec", MAKE, "sh"]).arg(&folder).stdout(Stdio::null()).stderr(Stdio::null());
    if !make.status().is_ok_and(|status| status.success()) {
        println!("skipped: there is no openssl here");
        return;
    }
    let name = cluster.database();
    let ours = folder.join("ours.pem");
    let refused = open(&cluster, "localhost", &name, &ours).err().unwrap();
    assert!(refused.contains("server does not support TLS"), "{refused}");

    let admin = cluster.admin("postgres");
    for (setting, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")] {
        admin.run(&format!("ALTER SYSTEM SET {setting} = '{}'", folder.join(file).display()));
    }
    admin.run("ALTER SYSTEM SET ssl = on");
    admin.run("SELECT pg_reload_conf()");
    let ledger = loop {
        // The server takes its new settings when it gets round to it.
        if let Ok(it) = open(&cluster, "localhost", &name, &ours) {
            break it;
        }
    };
    let sealed =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'peerchat'";
    assert_eq!(admin.ask(sealed).as_deref(), Some("t"));
    drop(ledger);
    let other_authority = open(&cluster, "localhost", &name, &folder.join("theirs.pem")).err().unwrap();
    assert!(other_authority.contains("invalid peer certificate"), "{other_authority}");
    let other_name = open(&cluster, "127.0.0.1", &name, &ours).err().unwrap();
    assert!(other_name.contains("not valid for"), "{other_name}");
}
