//! Logs, for whoever runs a program: to standard error, as much as `RUST_LOG` says.

use tracing_subscriber::EnvFilter;

/// Sends logs to standard error from now on: what `RUST_LOG` asks for, else what `default` does. A
/// standard error that is closed loses them and harms nothing.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A failed write must not be reported by another one to the same place, which would panic.
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // Fails only if logs go somewhere already.
    let _ = logging.try_init();
}
