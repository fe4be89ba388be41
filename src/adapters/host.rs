//! Host totals.
