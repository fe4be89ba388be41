//! The edges: one module per external system. They know `model` only, and never each other.

pub mod cgroup;
pub mod clock;
pub mod heartbeat;
pub mod host;
pub mod http;
pub mod journal;
pub mod notify;
pub mod probe;
pub mod rabbitmq;
pub mod store;
pub mod systemd;
