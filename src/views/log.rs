//! Facts as log entries with structured fields.
