//! One run, from creating the events to the verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::audit;
use crate::engine::{self, Shared};
use crate::failure::Failure;
use crate::journal::{Line, Scribe, unix_ms};
use crate::plan::Plan;
use crate::proc::Proc;
use crate::progress::{self, Watched};
use crate::report::{Report, ServerCost, html, json};
use crate::stage::{self, Stage};

/// Runs the plan; the report says whether it passed. Files of the plan are written in any case.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    let resident = || plan.server.map(Proc::resident).transpose();
    let before = resident()?;
    let stage = stage::set(plan)?;
    let laid_out = resident()?;
    let journal = journal_path(plan, &stage);
    let mut scribe = journal.as_deref().map_or_else(|| Ok(Scribe::silent()), Scribe::create)?;
    note_start(plan, &stage, &mut scribe)?;

    let shared = Shared::default();
    let mut watched = Watched::default();
    let server_cpu = || plan.server.map(Proc::cpu).transpose();
    let (cpu_before, server_before) = (cpu_time(), server_cpu()?);
    let tally = engine::run(plan, &stage, &scribe, &shared, |clock| {
        watched = progress::watch(plan, &stage, &shared, clock);
    })?;
    let mut report = Report::new(plan, &stage.run, &tally, cpu_time().saturating_sub(cpu_before));
    if let (Some(from), Some(to), Some(before), Some(laid_out), Some(after)) =
        (server_before, server_cpu()?, before, laid_out, resident()?)
    {
        report.server = Some(ServerCost { cpu: to.saturating_sub(from), before, laid_out, after });
    }
    report.moments = watched.moments;
    report.sold_out_after = watched.sold_out_at.map(|at| Duration::from_nanos(at.0));

    scribe.note(&Line::End { at: unix_ms(SystemTime::now()) });
    scribe.flush()?;
    if let Some(path) = journal.as_deref().filter(|_| plan.audit) {
        report.audit = Some(audit::run(&plan.access, path)?);
    }
    report.judge(&plan.thresholds);
    leave(plan, &report, journal.as_deref())?;
    Ok(report)
}

/// Where acknowledgements go: where the plan says, or beside other temporary files when only the audit needs them.
fn journal_path(plan: &Plan, stage: &Stage) -> Option<PathBuf> {
    let temporary = || plan.audit.then(|| std::env::temp_dir().join(format!("loadgen-{}.ndjson", stage.run)));
    plan.outputs.journal.clone().or_else(temporary)
}

fn note_start(plan: &Plan, stage: &Stage, scribe: &mut Scribe) -> Result<(), Failure> {
    scribe.note(&Line::Run {
        at: unix_ms(SystemTime::now()),
        run: stage.run.as_str().into(),
        url: plan.access.urls().into(),
        customers: stage::customer_prefix(&stage.run).into(),
        events: stage.events.as_slice().into(),
    });
    scribe.flush()
}

/// Writes the reports. A temporary journal is kept only when there is something to look for in it.
fn leave(plan: &Plan, report: &Report, journal: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = &plan.outputs.json {
        std::fs::write(path, format!("{:#}\n", json::render(report))).map_err(Failure::file(path))?;
    }
    if let Some(path) = &plan.outputs.html {
        std::fs::write(path, html::render(report)).map_err(Failure::file(path))?;
    }
    if let Some(path) = journal.filter(|_| plan.outputs.journal.is_none() && report.passed()) {
        std::fs::remove_file(path).map_err(Failure::file(path))?;
    }
    Ok(())
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
