//! Whether a throwaway host can run on this machine, and why not.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::bounded::run_bounded;
use super::cgroup::unified_mount;
use super::owner;

const TRIAL_LIMIT: Duration = Duration::from_secs(10);

/// Makes the mounts that a host needs in the namespaces that it needs. They are gone when the script ends.
const TRIAL: &str = "mount -t tmpfs none \"$0\" && cd \"$0\" && mkdir upper work root &&
    mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root";

/// The reason is a sentence for a person. Asked once for a process.
pub fn supported() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(look).clone()
}

fn look() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("a systemd-nspawn host needs root".to_owned());
    }
    for tool in ["systemd-nspawn", "nsenter", "unshare", "setpriv", "mount"] {
        if !in_path(tool) {
            return Err(format!("`{tool}` is not installed (on Debian: `make setup`)"));
        }
    }
    if !Path::new("/lib/systemd/systemd").exists() {
        return Err("systemd is not installed".to_owned());
    }
    try_cgroup()?;
    try_namespaces()
}

fn in_path(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

fn try_cgroup() -> Result<(), String> {
    let directory = unified_mount().map_err(|error| error.to_string())?.join(owner::new_name());
    fs::create_dir(&directory).map_err(|error| format!("cgroup v2 cannot be written: {error}"))?;
    let has_kill = directory.join("cgroup.kill").exists();
    let _ = fs::remove_dir(&directory);
    if has_kill { Ok(()) } else { Err("the kernel has no cgroup.kill (5.14 is the first that does)".to_owned()) }
}

fn try_namespaces() -> Result<(), String> {
    let directory = env::temp_dir().join(owner::new_name());
    fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup"])
        .args(["--propagation", "private", "sh", "-c", TRIAL])
        .arg(&directory);
    let tried = run_bounded(command, "unshare", b"", TRIAL_LIMIT).and_then(|output| output.success());
    let _ = fs::remove_dir(&directory);
    tried.map(|_| ()).map_err(|error| format!("namespaces or mounts are not allowed here: {error}"))
}
