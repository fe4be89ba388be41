//! Who asks, and what they may: read, or also ask for deeds.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query};
use axum::response::{IntoResponse, Response};
use hyper::header::CACHE_CONTROL;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::peer::Credentials;
use super::problem::Problem;

/// What somebody may do, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Nobody has said who it is.
    Anonymous,
    /// May see what is shown.
    Reader,
    /// May ask for deeds as well.
    Operator,
}

/// By what it is known who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The kernel's word, on the control socket.
    Socket,
    /// A password of the web configuration.
    Basic,
    /// A token of the web configuration.
    Bearer,
    None,
}

/// Who asks. Every request has one among its extensions, made by `access` and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub role: Role,
    pub via: Via,
    /// Whether signing in could help.
    pub can_sign_in: bool,
    who: Who,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// Named only when somebody wants to know: for the name a file is read.
    Local(Credentials),
    Remote {
        name: Option<String>,
        address: IpAddr,
    },
}

impl Caller {
    /// Whoever can open the control socket may do what is done there.
    pub fn local(credentials: Credentials) -> Self {
        Self { role: Role::Operator, via: Via::Socket, can_sign_in: false, who: Who::Local(credentials) }
    }

    pub fn anonymous(address: IpAddr, can_sign_in: bool) -> Self {
        Self { role: Role::Anonymous, via: Via::None, can_sign_in, who: Who::Remote { name: None, address } }
    }

    /// `name` as the web configuration has it.
    pub fn signed_in(name: String, role: Role, via: Via, address: IpAddr) -> Self {
        Self { role, via, can_sign_in: true, who: Who::Remote { name: Some(name), address } }
    }

    pub fn can_act(&self) -> bool {
        self.role == Role::Operator
    }

    /// Whence it asks over TCP.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.who {
            Who::Local(_) => None,
            Who::Remote { address, .. } => Some(*address),
        }
    }

    /// The user of the control socket, or the name in the web configuration. May read /etc/passwd.
    pub fn name(&self) -> Option<String> {
        match &self.who {
            Who::Local(credentials) => Some(credentials.name()),
            Who::Remote { name, .. } => name.clone(),
        }
    }

    /// Who it is, for the history: `alice (uid 1000, pid 4242)`, `deploy-bot (token, from 192.0.2.7)`.
    pub fn who(&self) -> String {
        match &self.who {
            Who::Local(credentials) => credentials.who(),
            Who::Remote { name, address } => {
                let name = name.as_deref().unwrap_or("somebody");
                let by = match self.via {
                    Via::Basic => "basic auth, ",
                    Via::Bearer => "token, ",
                    Via::Socket | Via::None => "",
                };
                format!("{name} ({by}from {})", address.to_canonical())
            }
        }
    }
}

/// The answer of `/api/v1/me`.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Me {
    name: Option<String>,
    role: Role,
    via: Via,
    can_act: bool,
    can_sign_in: bool,
}

/// There is nothing to ask for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

pub async fn me(
    Extension(caller): Extension<Caller>,
    query: Result<Query<Nothing>, QueryRejection>,
) -> Result<Response, Problem> {
    query?;
    let Caller { role, via, can_sign_in, .. } = caller;
    let me = Me { name: caller.name(), role, via, can_act: caller.can_act(), can_sign_in };
    Ok(([(CACHE_CONTROL, "no-store")], Json(me)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_with_how_it_is_known() {
        let address: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let signed_in = |name: &str, via| Caller::signed_in(name.into(), Role::Operator, via, address).who();
        assert_eq!(signed_in("alice", Via::Basic), "alice (basic auth, from 192.0.2.7)");
        assert_eq!(signed_in("deploy-bot", Via::Bearer), "deploy-bot (token, from 192.0.2.7)");
        let nobody = Caller::anonymous("2001:db8::1".parse().unwrap(), true);
        assert_eq!(
            (nobody.who().as_str(), nobody.name(), nobody.can_act()),
            ("somebody (from 2001:db8::1)", None, false)
        );
        let local = Caller::local(Credentials { uid: 4_000_000, pid: Some(7) });
        assert_eq!((local.who().as_str(), local.can_act()), ("uid 4000000, pid 7", true));
        assert_eq!(local.name().as_deref(), Some("uid 4000000"));
    }
}
