//! The edges: one module per external system. They know `model` only, and never each other;
//! `secret` and `tls` are what several of them need.

pub mod alertmanager;
pub mod cgroup;
pub mod clock;
pub mod heartbeat;
pub mod host;
pub mod http;
pub mod journal;
pub mod notify;
pub mod passed;
pub mod probe;
pub mod rabbitmq;
pub mod secret;
pub mod store;
pub mod systemd;
pub mod tls;
