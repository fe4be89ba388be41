//! unitmedic as a service on a real systemd, each test with a host of its own.

#[path = "../testhost/testhost.rs"]
mod testhost;

mod broker;
mod documented;
mod fixture;
mod tls;

mod advised;
mod alerting;
mod api;
mod authority;
mod beats;
mod configuration;
mod connections;
mod controls;
mod dashboards;
mod errors;
mod families;
mod guard;
mod hooks;
mod learning;
mod liveness;
mod many;
mod operator;
mod packages;
mod page;
mod passed;
mod probes;
mod queues;
mod replayed;
mod resilience;
mod running_out;
mod store;
mod telling;
mod walk;
mod web;
mod webhook;
mod work;
