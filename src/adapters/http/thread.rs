//! The thread that serves TCP. Whatever comes from the network is read, judged and answered there: no flood of requests
//! can hold up the event loop, D-Bus or the control socket, which have threads of their own and go first.

use std::io;
use std::net::TcpListener as StdListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{BindError, DRAIN_TIMEOUT, Port, Served, Shutdown, Web, stopped};

/// Passwords are hashed there, two at a time, and token files read.
const BLOCKING_THREADS_MAX: usize = 4;
/// Where a core is short, what protects the workers gets three times as much of it (sched(7)).
const NICE: i32 = 5;
/// Pause before it is tried again after a panic.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Serves until `shutdown`; the handle resolves when the thread has ended. Needs the runtime on which the listeners
/// were made, which also makes the expositions.
pub fn spawn_tcp<P: Port>(
    listeners: Vec<TcpListener>,
    web: Arc<Web>,
    port: Arc<P>,
    shutdown: Shutdown,
) -> Result<JoinHandle<()>, BindError> {
    let listeners: io::Result<Vec<StdListener>> = listeners.into_iter().map(TcpListener::into_std).collect();
    let listeners = listeners.map_err(BindError::Thread)?;
    let (listeners, served) = (Mutex::new(listeners), Served::new(web, port, shutdown.clone()));
    let (running, ended) = oneshot::channel::<()>();
    let life = move || {
        be_nice();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| one_life(&listeners, &served, shutdown.clone()))) {
            let why = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(why, "the thread that serves HTTP on TCP has failed and begins anew; this is a bug");
            thread::sleep(AGAIN_AFTER);
        }
        drop(running);
    };
    thread::Builder::new().name("http".into()).spawn(life).map_err(BindError::Thread)?;
    Ok(tokio::spawn(async move {
        // An error means that the thread has ended: nothing is ever sent.
        let _ = ended.await;
    }))
}

/// `listeners` are there for the next life as well, and closed when the daemon stops: who comes then must not wait for a
/// server that does not come.
fn one_life<P: Port>(listeners: &Mutex<Vec<StdListener>>, served: &Served<P>, mut shutdown: Shutdown) {
    let lock = || listeners.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = match Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("http-blocking")
        .build()
    {
        Ok(runtime) => Waning(Some(runtime)),
        Err(error) => return tracing::error!(%error, "nothing is served on TCP: its thread has no runtime"),
    };
    runtime.0.as_ref().expect("it is taken at the end").block_on(async {
        let cloned = || lock().iter().map(|listener| TcpListener::from_std(listener.try_clone()?)).collect();
        let cloned: io::Result<Vec<TcpListener>> = cloned();
        match cloned {
            Ok(cloned) => {
                let serving = served.run(cloned, shutdown.clone());
                let closing = async {
                    stopped(&mut shutdown).await;
                    lock().clear();
                };
                tokio::join!(serving, closing);
            }
            Err(error) => tracing::error!(%error, "nothing is served on TCP: its sockets cannot be used"),
        }
    });
}

/// Does not wait for a password that is being hashed, also when there was a panic.
struct Waning(Option<Runtime>);

impl Drop for Waning {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(DRAIN_TIMEOUT);
        }
    }
}

/// On Linux the nice value is a thread's own (setpriority(2), NOTES), and the threads that it starts have it too.
fn be_nice() {
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), NICE) {
        tracing::info!(%error, "the thread that serves HTTP on TCP has the same priority as all others");
    }
}
