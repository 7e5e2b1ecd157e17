//! The command `bdl`.
fn main() {}
