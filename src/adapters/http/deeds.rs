//! What a request for a deed must pass: it is JSON, no page of another site made it, an operator asks, and not too often.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::access::BEARER;
use super::buckets::{Buckets, Rate};
use super::caller::{Caller, Role, Via};
use super::denied::{Denial, Refusal};
use super::peer::Peer;
use super::site;

/// A person who clicks through what waits for a yes is below it; what a loop asks for is noticed. Not on the control
/// socket, where a script of root goes through its workers as fast as it can.
const DEEDS: Rate = Rate { per_second: 5.0, burst: 20.0 };
/// All names that the web configuration can have.
const NAMES_MAX: usize = 512;
/// Passwords that come in the clear are told of so often.
const CLEAR_TOLD_EVERY: Duration = Duration::from_secs(3600);

/// What is kept of deeds that were asked for.
pub struct Deeds {
    rates: Mutex<Buckets<String>>,
    clear_told: Mutex<Option<Instant>>,
}

impl Deeds {
    pub fn new() -> Arc<Self> {
        let rates = Mutex::new(Buckets::new(DEEDS, NAMES_MAX));
        Arc::new(Self { rates, clear_told: Mutex::default() })
    }

    /// To be laid around every handler of a deed.
    pub async fn admit(self: Arc<Self>, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let caller = parts.extensions.get::<Caller>();
        let checked = is_json(&parts.headers).and_then(|()| {
            let asked = site::asked(&parts.uri, &parts.headers).map_err(|why| Refusal::new(Denial::BadHost, why))?;
            site::same_origin(&parts.headers, asked.as_ref()).map_err(|why| Refusal::new(Denial::Origin, why))?;
            self.may_act(caller)
        });
        if let Err(refusal) = checked {
            return refusal.of(caller.and_then(Caller::name)).instead_of(body).await;
        }
        if let Some(Peer::Remote(remote)) = parts.extensions.get::<Peer>()
            && !remote.tls
        {
            self.in_the_clear(remote.address);
        }
        next.run(Request::from_parts(parts, body)).await
    }

    fn may_act(&self, caller: Option<&Caller>) -> Result<(), Refusal> {
        let Some(caller) = caller.filter(|caller| caller.role != Role::Anonymous) else {
            let detail = match caller.is_some_and(|caller| caller.can_sign_in) {
                true => "sign in as one of the operators of web_config_file, or ask on the host itself: `unitmedic`",
                false => {
                    "nobody may ask for this over TCP: name operators in web_config_file, or ask on the host itself: \
                     `unitmedic`"
                }
            };
            return Err(Refusal::new(Denial::NoLogin, detail).challenge(BEARER));
        };
        if !caller.can_act() {
            let detail = "this login may only read; add its name to `operators` in web_config_file";
            return Err(Refusal::new(Denial::NotOperator, detail));
        }
        let Some(name) = caller.name().filter(|_| caller.via != Via::Socket) else { return Ok(()) };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(&name, Instant::now()).map_err(|wait| {
            let detail = format!("more than {} deeds a second by one operator", DEEDS.per_second);
            Refusal::new(Denial::DeedRate, detail).wait(wait)
        })
    }

    /// Taken all the same: TLS may end at a proxy on the way, of which we cannot know.
    fn in_the_clear(&self, from: IpAddr) {
        if from.to_canonical().is_loopback() || !self.is_time_to_tell(Instant::now()) {
            return;
        }
        let from = from.to_canonical().to_string();
        tracing::warn!(
            from,
            "a deed was asked for without TLS: whoever is on the way can read the password or the token; set \
             tls_server_config in web_config_file, or let a proxy on this host do it"
        );
    }

    fn is_time_to_tell(&self, now: Instant) -> bool {
        let mut told = self.clear_told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.is_none_or(|at| now.saturating_duration_since(at) >= CLEAR_TOLD_EVERY);
        if is_time {
            *told = Some(now);
        }
        is_time
    }
}

/// A form of another page cannot send this kind without asking first, and we never say yes.
fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match essence.eq_ignore_ascii_case("application/json") && headers.get_all(CONTENT_TYPE).iter().count() == 1 {
        true => Ok(()),
        false => Err(Refusal::new(Denial::ContentType, "a request for a deed has `Content-Type: application/json`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn signed_in(name: &str, role: Role) -> Caller {
        Caller::signed_in(name.into(), role, Via::Bearer, FROM)
    }

    #[test]
    fn operators_act_and_nobody_else_does() {
        let deeds = Deeds::new();
        let why = |caller: Option<&Caller>| deeds.may_act(caller).map_err(|refusal| refusal.why);
        assert_eq!(why(Some(&signed_in("alice", Role::Operator))), Ok(()));
        assert_eq!(why(Some(&signed_in("alice", Role::Reader))), Err(Denial::NotOperator));
        assert_eq!(why(Some(&Caller::anonymous(FROM, true))), Err(Denial::NoLogin));
        assert_eq!(why(None), Err(Denial::NoLogin));
    }

    #[test]
    fn each_operator_has_a_rate_and_the_control_socket_has_none() {
        let deeds = Deeds::new();
        let (alice, bob) = (signed_in("alice", Role::Operator), signed_in("bob", Role::Operator));
        let passed = (0..100).filter(|_| deeds.may_act(Some(&alice)).is_ok()).count();
        assert!((20..25).contains(&passed), "{passed}");
        assert_eq!(deeds.may_act(Some(&alice)).unwrap_err().why, Denial::DeedRate);
        assert!(deeds.may_act(Some(&bob)).is_ok());
        let root = Caller::local(super::super::peer::Credentials { uid: 0, pid: None });
        assert!((0..100).all(|_| deeds.may_act(Some(&root)).is_ok()));
    }

    #[test]
    fn passwords_in_the_clear_are_told_of_once_an_hour() {
        let (deeds, start) = (Deeds::new(), Instant::now());
        let told = [0, 1, 3599, 3600, 3601].map(|after| deeds.is_time_to_tell(start + Duration::from_secs(after)));
        assert_eq!(told, [true, false, false, true, false]);
    }

    #[test]
    fn json_and_nothing_else() {
        let check = |kinds: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for kind in kinds {
                headers.append(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
            }
            is_json(&headers).is_ok()
        };
        assert!(check(&["application/json"]) && check(&["Application/JSON; charset=utf-8"]));
        for kinds in [
            &[][..],
            &["text/plain"],
            &["text/plain; application/json"],
            &["application/json-patch+json"],
            &["application/json", "text/plain"],
            &["multipart/form-data"],
        ] {
            assert!(!check(kinds), "{kinds:?}");
        }
    }
}
