//! What is remembered: incidents in SQLite, safety state and intents in files, inputs in a ring.
