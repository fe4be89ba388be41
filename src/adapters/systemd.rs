//! systemd over D-Bus: signals in, jobs out.
