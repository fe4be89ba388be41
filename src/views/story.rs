//! Facts as sentences for people.
