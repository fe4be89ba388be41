//! What the journal says of a unit's jobs; and where log lines go.
