//! Where configuration comes from, and reading it with limits: sizes, counts, and who could have written it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::settings::DaemonSettings;

use super::SOCKET_NAME;
use super::errors::ConfigErrors;

/// Largest fragment, bytes. A thousand workers with every key set are half of this.
pub const FILE_MAX: u64 = 1 << 20;
/// Most files in the directory of fragments.
pub const FRAGMENTS_MAX: usize = 256;

const SYSTEM_MAIN: &str = "/etc/unitmedic/unitmedic.toml";
const MAIN_NAME: &str = "unitmedic.toml";
const FRAGMENTS_NAME: &str = "conf.d";

/// Files to read, and whose manager they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub main: PathBuf,
    /// Read after the main file, in name order. `None`: the main file stands alone.
    pub fragments_dir: Option<PathBuf>,
    pub mode: Mode,
}

/// Whose units are watched; it decides the defaults of paths and of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    System,
    User(UserDirs),
}

/// Base directories of a user, as the XDG specification has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDirs {
    pub config: PathBuf,
    pub state: PathBuf,
    pub runtime: PathBuf,
}

impl UserDirs {
    /// From the variables of the environment; the error says which one is missing.
    pub fn from_vars(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, String> {
        let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
        let at_home = |name: &str, below: &str| {
            let path = absolute(name).or_else(|| Some(absolute("HOME")?.join(below)));
            path.ok_or_else(|| format!("neither ${name} nor $HOME is an absolute path; set one of them"))
        };
        let runtime = absolute("XDG_RUNTIME_DIR")
            .ok_or("$XDG_RUNTIME_DIR is not set; log in with a session, or set it to /run/user/UID")?;
        Ok(Self {
            config: at_home("XDG_CONFIG_HOME", ".config")?,
            state: at_home("XDG_STATE_HOME", ".local/state")?,
            runtime,
        })
    }
}

impl Mode {
    /// `--user` or not, with the directories of the environment.
    pub fn from_env(user: bool) -> Result<Self, ConfigErrors> {
        if !user {
            return Ok(Mode::System);
        }
        let dirs = UserDirs::from_vars(|name| std::env::var_os(name).map(PathBuf::from));
        dirs.map(Mode::User).map_err(|why| ConfigErrors::of_file(Path::new("environment"), why))
    }

    /// Settings of the daemon before any file is read.
    pub fn daemon_defaults(&self) -> DaemonSettings {
        let system = DaemonSettings::default();
        match self {
            Mode::System => system,
            Mode::User(dirs) => {
                let runtime_dir = dirs.runtime.join("unitmedic");
                DaemonSettings {
                    listen: None,
                    control_socket: runtime_dir.join(SOCKET_NAME),
                    control_group: String::new(),
                    state_dir: dirs.state.join("unitmedic"),
                    runtime_dir,
                    ..system
                }
            }
        }
    }

    fn default_main(&self) -> PathBuf {
        match self {
            Mode::System => SYSTEM_MAIN.into(),
            Mode::User(dirs) => dirs.config.join("unitmedic").join(MAIN_NAME),
        }
    }
}

impl Source {
    /// `config` is what `--config` said: that file is read alone, unless it is the default one.
    pub fn new(config: Option<&Path>, mode: Mode) -> Self {
        let default = mode.default_main();
        match config {
            Some(main) if main != default => Self { main: main.into(), fragments_dir: None, mode },
            _ => Self { fragments_dir: Some(default.with_file_name(FRAGMENTS_NAME)), main: default, mode },
        }
    }

    /// The text of all fragments, the main file first.
    pub fn read(&self) -> Result<Vec<(PathBuf, String)>, ConfigErrors> {
        let trust = Trust::of_this_process(&self.mode);
        let mut files = vec![(self.main.clone(), self.read_main(&trust)?)];
        for path in self.fragments(&trust)? {
            let text = read_file(&path, &trust).map_err(|why| ConfigErrors::of_file(&path, why))?;
            files.push((path, text));
        }
        Ok(files)
    }

    fn read_main(&self, trust: &Trust) -> Result<String, ConfigErrors> {
        let dir = self.main.parent().filter(|dir| !dir.as_os_str().is_empty());
        trust.check_dir(dir.unwrap_or(Path::new(".")))?;
        read_file(&self.main, trust).map_err(|why| {
            let why = match fs::symlink_metadata(&self.main) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => MISSING.to_string(),
                _ => why,
            };
            ConfigErrors::of_file(&self.main, why)
        })
    }

    fn fragments(&self, trust: &Trust) -> Result<Vec<PathBuf>, ConfigErrors> {
        let Some(dir) = &self.fragments_dir else { return Ok(Vec::new()) };
        let failed = |error: io::Error| ConfigErrors::of_file(dir, format!("cannot be listed: {error}"));
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        trust.check_dir(dir)?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden || path.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            paths.push(path);
            if paths.len() > FRAGMENTS_MAX {
                let text = format!("has more than {FRAGMENTS_MAX} files; put several workers into one");
                return Err(ConfigErrors::of_file(dir, text));
            }
        }
        paths.sort();
        Ok(paths)
    }
}

const MISSING: &str = "does not exist; `unitmedic discover` proposes what to write in it, \
    or start with: [worker.NAME] and unit = \"NAME.service\"";

/// Who may have written configuration. It steers acts with the power of root, so nobody else may.
struct Trust {
    /// Files must be owned by root.
    root_only: bool,
}

impl Trust {
    fn of_this_process(mode: &Mode) -> Self {
        Self { root_only: *mode == Mode::System && rustix::process::geteuid().is_root() }
    }

    fn check_dir(&self, dir: &Path) -> Result<(), ConfigErrors> {
        let Ok(meta) = fs::metadata(dir) else { return Ok(()) };
        // In a sticky directory, such as /tmp, nobody can replace the file of another.
        const STICKY: u32 = 0o1000;
        let shared = meta.mode() & STICKY != 0;
        let wrong = if shared { None } else { self.wrong(&meta, dir) };
        wrong.map_or(Ok(()), |why| Err(ConfigErrors::of_file(dir, why)))
    }

    /// What is wrong with owner or mode, and how to mend it.
    fn wrong(&self, meta: &Metadata, path: &Path) -> Option<String> {
        let others = meta.mode() & 0o002 != 0;
        let group = self.root_only && meta.mode() & 0o020 != 0 && meta.gid() != 0;
        if others || group {
            let who = if others { "everybody" } else { "a group other than root" };
            let path = path.display();
            return Some(format!("can be written by {who}, who could so steer unitmedic; run: chmod go-w {path}"));
        }
        if self.root_only && meta.uid() != 0 {
            let (uid, path) = (meta.uid(), path.display());
            return Some(format!("is owned by uid {uid}, who could so steer unitmedic; run: chown root:root {path}"));
        }
        None
    }
}

fn read_file(path: &Path, trust: &Trust) -> Result<String, String> {
    // A FIFO would block the open without NONBLOCK.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = file.map_err(|error| format!("cannot be opened: {error}"))?;
    let meta = file.metadata().map_err(|error| format!("cannot be examined: {error}"))?;
    if !meta.is_file() {
        return Err("is not a regular file".into());
    }
    if let Some(why) = trust.wrong(&meta, path) {
        return Err(why);
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("is larger than {} KiB; that is no configuration", FILE_MAX >> 10));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8 (line {line}); save it as UTF-8")
    })
}
