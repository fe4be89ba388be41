//! An error as `application/problem+json` (RFC 9457), the same shape for server and client.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::request::Reply;

pub const PROBLEM_JSON: &str = "application/problem+json";

/// `type` is always `about:blank`: the status says what class of problem it is, `detail` what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    #[serde(rename = "type", default = "blank")]
    pub kind: Cow<'static, str>,
    #[serde(default)]
    pub title: Cow<'static, str>,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub detail: String,
    /// Of a request for a deed: why it was not done, in all its parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// The same request may succeed in a moment: the answer has Retry-After.
    #[serde(skip)]
    pub retry: bool,
}

fn blank() -> Cow<'static, str> {
    "about:blank".into()
}

impl Problem {
    pub fn new(status: hyper::StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: blank(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            reply: None,
            retry: false,
        }
    }
}
