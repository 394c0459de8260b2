//! Network side.
