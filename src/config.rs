//! From TOML files to validated settings.
