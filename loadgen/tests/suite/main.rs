//! The load generator against a box office of its own, over real sockets.
//!
//! [`box_office`] keeps a tiny inventory, speaks the public API, and misbehaves on request; every other file tells what
//! the generator then reports. No server of the product is involved.
// One fault is looked for among others: all the rest mean nothing there.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod audit;
mod box_office;
mod commands;
mod nodes;
mod retry;
mod sale;
mod stall;

use clap::Parser;
use loadgen::cli::{Cli, Command};
use loadgen::plan::Plan;
use loadgen::report::Report;

/// The plan for flags as they are typed.
fn plan(url: &str, flags: &str) -> Plan {
    let given = ["loadgen", "onsale", "--quiet", "--organizer-key", "sk_test", "--auth-secret", "secret", "--url", url];
    match Cli::try_parse_from(given.into_iter().chain(flags.split_whitespace())).unwrap().command {
        Command::Onsale(args) => args.meaning().unwrap(),
        Command::Audit(_) | Command::Floor(_) | Command::Compare(_) | Command::Live(_) => panic!("an onsale was typed"),
    }
}

/// Runs a plan with these flags.
fn run(url: &str, flags: &str) -> Report {
    loadgen::onsale::run(&plan(url, flags)).unwrap()
}

/// How often a code was counted.
fn count(codes: &[loadgen::report::Code], code: &str) -> u64 {
    codes.iter().filter(|counted| counted.code == code).map(|counted| counted.count).sum()
}
