//! unitmedic's own files in the places where a package puts them.

use super::place::{Failure, Place};

macro_rules! tree {
    ($($target:literal = $source:literal),+ $(,)?) => {
        /// Target and text of each file of `systemd/` that the daemon needs.
        pub const FILES: &[(&str, &str)] =
            &[$(($target, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/", $source)))),+];
    };
}
tree! {
    "/etc/systemd/system/unitmedic.service" = "unitmedic.service",
    "/etc/systemd/system/unitmedic-helper.socket" = "unitmedic-helper.socket",
    "/etc/systemd/system/unitmedic-helper.service" = "unitmedic-helper.service",
    "/usr/lib/sysusers.d/unitmedic.conf" = "sysusers.d/unitmedic.conf",
    "/usr/lib/tmpfiles.d/unitmedic.conf" = "tmpfiles.d/unitmedic.conf",
}

/// Puts them on a host that runs, for systemd to know at its next daemon-reload.
pub fn put(place: &(impl Place + ?Sized)) -> Result<(), Failure> {
    for (target, text) in FILES {
        place.write(target, text)?;
    }
    settle(place)
}

/// What the scripts of a package do: the user and the directory of the daemon.
pub fn settle(place: &(impl Place + ?Sized)) -> Result<(), Failure> {
    place.sh("systemd-sysusers unitmedic.conf && systemd-tmpfiles --create unitmedic.conf").map(drop)
}
