//! The root side: checks (verb, unit) against the configuration, acts, nothing else.
