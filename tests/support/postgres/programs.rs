//! The programs of an installed PostgreSQL, and who runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL does not run as root.
pub fn unprivileged(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// How a directory is made that user's.
pub fn handed_over(directory: &Path) -> Option<Command> {
    is_root().then(|| {
        let mut command = Command::new("chown");
        command.arg("nobody:nogroup").arg(directory);
        command
    })
}

/// Makes the directory of a server. Its superuser is `postgres`, and who is on this machine may connect.
pub fn initdb(programs: &Path, data: &Path) -> Command {
    let mut command = unprivileged(&programs.join("initdb"));
    command.arg("-D").arg(data);
    command.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-instructions"]);
    command
}

/// Where the newest version's programs are.
pub fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let all = versions.filter_map(|version| {
        let path = version.ok()?.path();
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, path.join("bin"))).filter(|(_, path)| path.join("initdb").exists())
    });
    all.max().map(|(_, path)| path)
}
