//! The `uringmq` command.
fn main() {}
