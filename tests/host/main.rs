//! unitmedic as a service on a real systemd, each test with a host of its own.

#[path = "../testhost/testhost.rs"]
mod testhost;

mod fixture;

mod liveness;
mod operator;
