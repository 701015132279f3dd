//! `loadgen`: parse, run, say what came of it. `onsale` is in [`loadgen::onsale`], `audit` in [`loadgen::audit`].
//!
//! Exit codes: 0 passed; 1 a threshold or the audit failed; 2 the command line means nothing; 3 the run could not be
//! carried out.

use std::process::ExitCode;

use clap::Parser;
use loadgen::audit;
use loadgen::cli::{AuditArgs, Cli, Command, CompareArgs, FloorArgs, LiveArgs, OnsaleArgs};
use loadgen::compare;
use loadgen::failure::Failure;
use loadgen::floor::Floor;
use loadgen::live;
use loadgen::onsale;
use loadgen::report::table;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Onsale(args) => onsale(&args),
        Command::Audit(args) => audit(&args),
        Command::Floor(args) => floor(&args),
        Command::Compare(args) => compare(&args),
        Command::Live(args) => live(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            let usage = matches!(failure, Failure::Usage { .. });
            ExitCode::from(if usage { 2 } else { 3 })
        }
    }
}

fn onsale(args: &OnsaleArgs) -> Result<bool, Failure> {
    let report = onsale::run(&args.meaning()?)?;
    if !args.load.quiet || !report.passed() {
        print!("{}", table::render(&report));
    }
    for warning in report.warnings() {
        eprintln!("loadgen: warning: {warning}");
    }
    for failure in &report.failures {
        eprintln!("loadgen: failed: {failure}");
    }
    Ok(report.passed())
}

fn audit(args: &AuditArgs) -> Result<bool, Failure> {
    let verdict = audit::run(&args.access.meaning()?, &args.journal)?;
    println!("{}", verdict.summary());
    for finding in &verdict.details {
        println!("  {:?} {}: {}", finding.kind, finding.subject, finding.why);
    }
    if let Some(path) = &args.json {
        let json = serde_json::json!({"audit": verdict});
        std::fs::write(path, format!("{json:#}\n")).map_err(Failure::file(path))?;
    }
    Ok(verdict.passed)
}

/// Prints where it listens, for scripts that let the system choose a port, and serves until it is stopped.
fn floor(args: &FloorArgs) -> Result<bool, Failure> {
    let floor = Floor::bind(args.listen, args.answer()?)?;
    println!("http://{}", floor.address()?);
    floor.serve().map(|()| true)
}

/// Turns are told as they end; the table comes last.
fn compare(args: &CompareArgs) -> Result<bool, Failure> {
    let summary = compare::run(args, |line| eprintln!("{line}"))?;
    print!("{}", summary.table());
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", summary.json())).map_err(Failure::file(path))?;
    }
    Ok(true)
}

fn live(args: &LiveArgs) -> Result<bool, Failure> {
    let report = live::run(args)?;
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report.json())).map_err(Failure::file(path))?;
    }
    Ok(report.passed())
}
