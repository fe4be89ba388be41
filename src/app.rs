//! The composition root and the event loop.
