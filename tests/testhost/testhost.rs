//! Throwaway hosts with a real systemd, for tests that claim something about systemd.
//!
//! A [`Machine`] is systemd-nspawn on an overlay of this machine's root: everything installed here is installed
//! there, nothing written there reaches here, and it is up in about half a second. A test binary includes it with
//!
//! ```ignore
//! #[path = "../testhost/testhost.rs"]
//! mod testhost;
//! ```
//!
//! What the host cannot give (a memory controller where the outer machine keeps it on cgroup v1) is tested in the
//! virtual machine of `tests/vm`, whose cases use the same [`Place`].

// Each test binary that includes this uses another part of it.
#![allow(dead_code, unused_imports)]

mod bounded;
mod cgroup;
pub mod installed;
mod link;
mod machine;
mod owner;
mod place;
mod running;
mod session;
mod support;
mod tree;

pub use bounded::{Output, run_bounded};
pub use link::link;
pub use machine::{Builder, Machine, sweep};
pub use owner::{leftovers, new_name};
pub use place::{Failure, Here, Place, wait_for};
pub use running::Running;
pub use session::UserSession;
pub use tree::debian;
