//! Facts and status as metrics.
