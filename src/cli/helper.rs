//! `helper`: the root side of the daemon, started by systemd when the daemon connects. Nobody else calls it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::{error, info};

use super::exit;
use crate::adapters::http::user_id;
use crate::adapters::passed::{self, Passed};
use crate::adapters::systemd::BusAddress;
use crate::config::kept::Kept;
use crate::config::{Mode, Source};
use crate::helper::Helper;
use crate::helper::serve::{Terms, serve};
use crate::model::Settings;
use crate::views::log::{self, LogTarget};

/// What only root may write: originals that are to be put back.
const RECORDS: &str = "/run/unitmedic-helper";
/// Whose orders are taken: the user of unitmedic.service.
const DAEMON_USER: &str = "unitmedic";

pub fn run() -> anyhow::Result<u8> {
    // SAFETY: no other thread has been started yet, and nothing has been opened.
    let passed = unsafe { passed::take_from_env() };
    log::init(LogTarget::Auto, LevelFilter::INFO);
    let no_user = || format!("there is no user {DAEMON_USER}; systemd-sysusers makes it");
    let uid = user_id(DAEMON_USER).with_context(no_user)?;
    let socket = the_one(passed.context("the socket that systemd passed cannot be taken")?)?;
    let source = Source::new(None, Mode::System);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(attend(socket, uid, source))?;
    Ok(exit::OK)
}

async fn attend(socket: OwnedFd, uid: u32, source: Source) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener).context("what systemd passed is not a socket that listens")?;
    let (in_force, settings) = watch::channel(Arc::new(Settings::empty()));
    let following = Following { kept: Mutex::new((Kept::new(source), Err("not read yet".into()))), in_force };
    let helper = Arc::new(Helper::new(BusAddress::System, settings, Path::new(RECORDS)));
    helper.prepare().await;
    info!(uid, "orders of the daemon are taken");
    let refresh = Arc::new(move || following.refresh());
    let stop = async move {
        let _ = terminate.recv().await;
    };
    Ok(serve(listener, helper, Arc::new(Terms { uid, refresh }), stop).await?)
}

/// The settings as root has them in /etc, whatever the daemon believes.
struct Following {
    /// With whether there are any.
    kept: Mutex<(Kept, Result<(), String>)>,
    in_force: watch::Sender<Arc<Settings>>,
}

impl Following {
    /// Reads the files again when they have changed. Those with errors leave the last good ones in force.
    fn refresh(&self) -> Result<(), String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.0.changed() {
            None => {}
            Some(Ok(settings)) => {
                self.in_force.send_replace(Arc::new(settings));
                kept.1 = Ok(());
            }
            Some(Err(errors)) => {
                errors.problems().iter().for_each(|problem| error!("{problem}"));
                if kept.1.is_err() {
                    kept.1 = Err("its configuration has errors; unitmedic check-config shows them".into());
                }
            }
        }
        kept.1.clone()
    }
}

fn the_one(mut passed: Vec<Passed>) -> anyhow::Result<OwnedFd> {
    match (passed.pop(), passed.is_empty()) {
        (Some(one), true) => Ok(one.socket),
        _ => bail!("helper is started by unitmedic-helper.socket alone: systemctl start unitmedic-helper.socket"),
    }
}
