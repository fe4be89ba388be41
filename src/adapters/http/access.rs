//! What a request must pass before anything is done for it, and who asks. Each request gets its [`Caller`] here.
//!
//! Over TCP, in this order: it says whom it is for; its client has not asked too often; its login, if it brings one, is
//! right; it has one where one is needed; and without a login it came under a name that is ours. Deeds must pass more
//! (`deeds`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::buckets::{Buckets, Rate, client};
use super::caller::Caller;
use super::denied::{Denial, Denials, Refusal};
use super::login::{Login, Logins};
use super::peer::{Peer, Remote};
use super::web::{Terms, Web};
use super::{Port, site};

/// A hundred browsers behind one proxy that all load the page at once are in the burst, and a script that asks without a
/// pause is not. What one client costs at this rate is a part of one core, of the thread that serves TCP.
const REQUESTS: Rate = Rate { per_second: 500.0, burst: 1000.0 };
/// Clients whose requests are counted; 100 bytes each.
const CLIENTS_MAX: usize = 4096;
/// The webhook has a token of its own.
pub const WEBHOOK: &str = "/api/v1/alertmanager";

/// A browser asks its user, and remembers what they say.
pub const BASIC: &str = "Basic realm=\"unitmedic\"";
/// A browser asks nobody: the page that made the request does.
pub const BEARER: &str = "Bearer realm=\"unitmedic\"";

/// What is kept of who asks over TCP.
pub struct Access {
    web: Arc<Web>,
    denials: Arc<Denials>,
    logins: Logins,
    requests: Mutex<Buckets<IpAddr>>,
}

impl Access {
    pub fn new(web: Arc<Web>, denials: Arc<Denials>) -> Arc<Self> {
        let requests = Mutex::new(Buckets::new(REQUESTS, CLIENTS_MAX));
        Arc::new(Self { web, denials, logins: Logins::new(), requests })
    }

    /// Before everything in `router`, also what it answers where there is nothing.
    pub fn guard<P: Port>(self: &Arc<Self>, router: Router, port: Arc<P>) -> Router {
        let access = self.clone();
        let admit = move |request: Request, next: Next| {
            let (access, port) = (access.clone(), port.clone());
            async move {
                let (mut parts, body) = request.into_parts();
                let remote = remote(&parts);
                let answer = match access.check(&parts, remote).await {
                    Ok(caller) => {
                        parts.extensions.insert(caller);
                        next.run(Request::from_parts(parts, body)).await
                    }
                    Err(refusal) => refusal.instead_of(body).await,
                };
                note(&access.denials, &*port, &answer, Some(remote.address));
                answer
            }
        };
        router.layer(middleware::from_fn(admit))
    }

    async fn check(&self, parts: &Parts, remote: Remote) -> Result<Caller, Refusal> {
        let (path, address) = (parts.uri.path(), remote.address);
        let host = site::asked(&parts.uri, &parts.headers).map_err(|why| Refusal::new(Denial::BadHost, why))?;
        if host.is_none() && !(is_for_machines(path) && parts.version < Version::HTTP_11) {
            return Err(Refusal::new(Denial::BadHost, "the header Host is missing"));
        }
        if !is_for_machines(path) {
            self.count(address)?;
        }
        let terms = self.web.terms();
        if path == WEBHOOK {
            return Ok(Caller::anonymous(address, terms.has_logins()));
        }
        if let Some(caller) = self.caller(&terms, parts, address).await? {
            return Ok(caller);
        }
        if !terms.reads_are_open() && !tells_nothing(path) {
            let detail = "user and password, or a token, of the web configuration are needed";
            return Err(Refusal::new(Denial::NoLogin, detail).challenge(challenge(&parts.method)));
        }
        let is_known = |name: &str| terms.is_host(name) || is_own_name(name);
        match host {
            Some(host) if !is_for_machines(path) && !host.is_ours(is_known) => {
                let detail = format!(
                    "this host is not known as {name}: add it to `hosts` in web_config_file (hosts: [{name}]), or ask \
                     by address",
                    name = host.name()
                );
                Err(Refusal::new(Denial::Host, detail))
            }
            _ => Ok(Caller::anonymous(address, terms.has_logins())),
        }
    }

    fn count(&self, address: IpAddr) -> Result<(), Refusal> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.take(&client(address), Instant::now()).map_err(|wait| {
            let detail = format!("more than {} requests a second from one address", REQUESTS.per_second);
            Refusal::new(Denial::Rate, detail).wait(wait)
        })
    }

    /// Who has signed in; `None` where nobody has tried to.
    async fn caller(&self, terms: &Terms, parts: &Parts, address: IpAddr) -> Result<Option<Caller>, Refusal> {
        match self.logins.check(terms, &parts.headers, address).await {
            Login::Absent => Ok(None),
            Login::Known { name, via } => {
                let role = terms.role(&name);
                Ok(Some(Caller::signed_in(name, role, via, address)))
            }
            Login::Wrong(name) => {
                let detail = "the password or the token is wrong";
                Err(Refusal::new(Denial::WrongLogin, detail).of(name).challenge(challenge(&parts.method)))
            }
            Login::TooMany(wait) => {
                let detail = "so many wrong logins came from this address that none is looked at for a while; a right \
                              token is";
                Err(Refusal::new(Denial::LoginRate, detail).wait(wait))
            }
        }
    }
}

/// What the control socket has instead: whoever can open it may do what is done there.
pub fn local<P: Port>(router: Router, port: Arc<P>, denials: Arc<Denials>) -> Router {
    let admit = move |mut request: Request, next: Next| {
        let (port, denials) = (port.clone(), denials.clone());
        async move {
            let caller = match request.extensions().get::<Peer>() {
                Some(Peer::Local(credentials)) => Caller::local(*credentials),
                Some(Peer::Remote(remote)) => Caller::anonymous(remote.address, false),
                None => Caller::anonymous(NOWHERE, false),
            };
            request.extensions_mut().insert(caller);
            let answer = next.run(request).await;
            note(&denials, &*port, &answer, None);
            answer
        }
    };
    router.layer(middleware::from_fn(admit))
}

/// The one place where refusals are counted, whoever made them.
fn note<P: Port>(denials: &Denials, port: &P, answer: &Response, from: Option<IpAddr>) {
    if let Some(refusal) = answer.extensions().get::<Refusal>() {
        port.denied(refusal.why);
        denials.note(refusal.why, from, refusal.name.as_deref());
    }
}

/// Of a request that came by no connection, as only a test makes one.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn remote(parts: &Parts) -> Remote {
    match parts.extensions.get::<Peer>() {
        Some(Peer::Remote(remote)) => *remote,
        Some(Peer::Local(_)) | None => Remote { address: NOWHERE, tls: false },
    }
}

/// What scrapers and load balancers ask for: under any name, as often as they like, and by HTTP/1.0 without one.
fn is_for_machines(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/-/")
}

/// The page without what it shows, and whether who asks must sign in: the page itself asks for the login.
fn tells_nothing(path: &str) -> bool {
    path == "/" || path == "/api/v1/me" || path.starts_with("/page/")
}

/// A deed comes from our page, which asks for the login itself, or from a script.
fn challenge(method: &Method) -> &'static str {
    if method == Method::POST { BEARER } else { BASIC }
}

/// What the kernel calls this host, and nothing that only begins or ends like it.
fn is_own_name(name: &str) -> bool {
    rustix::system::uname().nodename().to_str().is_ok_and(|own| own.eq_ignore_ascii_case(name))
}
