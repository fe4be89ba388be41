//! The HTTP server: metrics, health and the API, on TCP and on the control socket.

pub mod client;
pub mod problem;
