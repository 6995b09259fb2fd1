//! Where the ledger is, and how the way there is protected.
//!
//! A connection to another machine is sealed by TLS, and the server's certificate is verified against its name. The key
//! of discovery and all names pass there. Of what does that for `tokio-postgres`, `tokio-postgres-rustls` was
//! taken: it has no unsafe code, and `rustls` builds on `ring`, which is here already, while OpenSSL would have to be
//! installed where peerchat is built. The authorities are those that the system trusts.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{PostgresError, Problem};

/// For each address of each host.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long what was sent may be on its way.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Place {
    pub config: Config,
    /// None where the way stays on this machine.
    pub tls: Option<MakeRustlsConnect>,
    shown: String,
}

impl Place {
    /// Understands a URL as `psql` does. Of `sslmode` only "disable" makes a difference, and only for a server on this
    /// machine: to others it is refused, and the rest means full verification. `sslrootcert` names a file with the
    /// authorities, in PEM.
    pub fn parse(url: &str) -> Result<Self, PostgresError> {
        let anonymous = |problem| PostgresError { place: "--store".into(), problem };
        let unreadable = |why: String| anonymous(Problem::Url(why));
        let (rest, wanted) = take_tls(url).map_err(unreadable)?;
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            unreadable(
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unreadable(
                "it names no host; a local server is meant by ?host=/run/postgresql".into(),
            ));
        }
        if config.get_password().is_none()
            && let Some(password) = std::env::var_os("PGPASSWORD")
        {
            config.password(password.as_encoded_bytes());
        }
        config
            .application_name("peerchat")
            // Of several hosts the one that is no standby.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_WITHIN)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3);
        let shown = show(&config);
        let error = |problem| PostgresError { place: shown.clone(), problem };
        let is_local = is_local(&config);
        if wanted.mode == Mode::Disable && !is_local {
            return Err(error(Problem::Clear));
        }
        let sealed = !is_local || wanted.mode == Mode::Require;
        let tls = sealed.then(|| authorities(wanted.roots.as_deref()).and_then(verifying)).transpose();
        let tls = tls.map_err(|why| error(Problem::Authorities(why)))?;
        config.ssl_mode(if sealed { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls, shown })
    }

    pub fn error(&self, problem: Problem) -> PostgresError {
        PostgresError { place: self.shown.clone(), problem }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

#[derive(Default)]
struct Wanted {
    mode: Mode,
    /// A file.
    roots: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    Disable,
    #[default]
    Unsaid,
    Require,
}

/// Takes out of a URL what says how it is verified: the driver leaves that to its caller.
fn take_tls(url: &str) -> Result<(String, Wanted), String> {
    let mut wanted = Wanted::default();
    let Some((before, query)) = url.split_once('?') else {
        return Ok((url.into(), wanted));
    };
    let mut rest = Vec::new();
    for option in query.split('&') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (key, value) {
            ("sslmode", "disable") => wanted.mode = Mode::Disable,
            ("sslmode", "allow" | "prefer") => wanted.mode = Mode::Unsaid,
            ("sslmode", "require" | "verify-ca" | "verify-full") => wanted.mode = Mode::Require,
            ("sslmode", _) => return Err(format!("there is no sslmode {value:?}")),
            ("sslrootcert", "system") => wanted.roots = None,
            ("sslrootcert", path) => {
                let path = percent_decode_str(path).decode_utf8().map_err(|error| error.to_string())?;
                wanted.roots = Some(path.into_owned());
            }
            _ => rest.push(option),
        }
    }
    let rest = if rest.is_empty() { before.into() } else { format!("{before}?{}", rest.join("&")) };
    Ok((rest, wanted))
}

fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    })
}

fn show(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(index)),
        Host::Unix(path) => format!("{}:{}", path.display(), port(index)),
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    let user = config.get_user().map_or_else(String::new, |user| format!("{user}@"));
    let database = config.get_dbname().map_or_else(String::new, |name| format!("/{name}"));
    format!("postgres://{user}{hosts}{database}")
}

fn authorities(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| format!("{file}: {error}"))? {
            let certificate = certificate.map_err(|error| format!("{file}: {error}"))?;
            roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        // Some that are of no use do no harm.
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() { Err("there are none".into()) } else { Ok(roots) }
}

fn verifying(roots: RootCertStore) -> Result<MakeRustlsConnect, String> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(MakeRustlsConnect::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Place::parse(url).err().map(|error| error.to_string()).unwrap()
    }

    #[test]
    fn a_local_way_is_clear_and_any_other_one_sealed() {
        for url in [
            "postgres://peerchat@127.0.0.1/db",
            "postgres://peerchat@[::1]:5433/db?sslmode=disable",
            "postgresql://peerchat@localhost/db?sslmode=prefer",
            "postgres:///db?host=/run/postgresql&user=peerchat",
        ] {
            assert!(Place::parse(url).unwrap().tls.is_none(), "{url}");
        }
        for (url, host) in [
            ("postgres://peerchat@192.0.2.1/db?sslmode=disable", "192.0.2.1:5432/db"),
            (
                "postgres://peerchat@localhost,db.example/db?sslmode=disable",
                "localhost:5432,db.example:5432/db",
            ),
        ] {
            let error = refused(url);
            assert!(error.starts_with(&format!("postgres://peerchat@{host}: sslmode=disable ")), "{error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = refused(&format!("postgres://db.example/db?sslrootcert={}", file.path().display()));
        assert!(error.contains("there are none"), "{error}");
    }

    #[test]
    fn a_password_is_not_told() {
        let place = Place::parse("postgres://peerchat:s3cret@localhost:5433/db").unwrap();
        assert_eq!(place.to_string(), "postgres://peerchat@localhost:5433/db");
        assert_eq!(place.config.get_password(), Some(&b"s3cret"[..]));
        assert!(!refused("postgres://peerchat:s3cret@192.0.2.1/db?sslmode=disable").contains("s3cret"));
        assert!(!refused("postgres://peerchat:s3cret@/db?wrong=1").contains("s3cret"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (url, why) in [
            ("postgres://peerchat@/db", "names no host"),
            ("postgres://localhost/db?sslmode=maybe", "no sslmode \"maybe\""),
            ("postgres://localhost/db?sslcolour=red", "unknown option"),
        ] {
            let error = refused(url);
            assert!(error.starts_with("--store: this is not understood (") && error.contains(why), "{error}");
        }
    }
}
