//! The command from outside: what it prints, writes and refuses.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod choices;
mod commands;
mod common;
mod determinism;
mod idle_pipe;
mod images;
mod prune;
mod start_up;
