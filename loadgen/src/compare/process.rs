//! Processes of a comparison: pinned when they start, ended when they are dropped, by the id they were given.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;
use crate::proc::Proc;

/// A folder that goes when this does.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new folder below the system's temporary one.
    pub(super) fn create() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("loadgen-compare-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(Failure::file(&path))?;
        Ok(Self(path))
    }

    /// A place in it.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clear: it lies below its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Which core a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Core {
    /// All there are.
    Any,
    /// The first of those we have.
    Server,
    /// The last of those we have.
    Generator,
    /// All there are, for what others leave of them.
    Spare,
}

impl Core {
    /// A command that runs a program as this says, to be started by [`run`] or [`Server::start`] with the same.
    pub(super) fn command(self, program: &Path) -> Command {
        match self {
            Self::Any | Self::Server | Self::Generator => Command::new(program),
            Self::Spare => {
                let mut command = Command::new("nice");
                command.args(["-n", "19"]).arg(program);
                command
            }
        }
    }

    /// Cores that a server has when the generator has these: one beside a generator with a core of its own, else all.
    pub(super) fn left_to_the_server(self) -> f64 {
        match self {
            Self::Generator | Self::Server => 1.0,
            Self::Any | Self::Spare => std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
        }
    }

    /// Runs `start` with this thread on the core: a process inherits the cores of the thread that starts it.
    fn with<T>(self, start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        let ours = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| ours.is_set(*core));
        let core = match self {
            Self::Any | Self::Spare => None,
            Self::Server => cores.next(),
            Self::Generator => cores.next_back(),
        };
        let Some(core) = core else { return start() };
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one)?;
        let started = start();
        sched_setaffinity(None, &ours)?;
        started
    }
}

/// A server that was started here; it is killed when dropped.
#[derive(Debug)]
pub(super) struct Server(Child);

impl Server {
    /// Starts a program that says nothing on its standard output that matters.
    pub(super) fn start(command: &mut Command, core: Core) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        core.with(|| command.spawn()).map(Self).map_err(failed(command))
    }

    /// Starts a program whose first line on its standard output is wanted.
    pub(super) fn start_and_hear(command: &mut Command, core: Core) -> Result<(Self, String), Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = core.with(|| command.spawn()).map_err(failed(command))?;
        let said = child.stdout.take();
        let server = Self(child);
        let mut line = String::new();
        if let Some(said) = said {
            BufReader::new(said).read_line(&mut line).map_err(failed(command))?;
        }
        Ok((server, line.trim().to_owned()))
    }

    /// The process.
    pub(super) fn process(&self) -> Proc {
        Proc(self.0.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; its data goes with its folder.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command, core: Core) -> Result<Output, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = core.with(|| command.output()).map_err(failed(command))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let reason = format!("{}: {}", output.status, String::from_utf8_lossy(&said).trim());
        return Err(failed(command)(std::io::Error::other(reason)));
    }
    Ok(output)
}

fn failed(command: &Command) -> impl Fn(std::io::Error) -> Failure + use<> {
    let path = Path::new(command.get_program()).to_owned();
    move |source| Failure::File { path: path.clone(), source }
}

/// Where a program lies on the search path, or in the places of system programs.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A port of the loopback that nobody uses now.
pub(super) fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::system("listen"))?;
    Ok(listener.local_addr().map_err(Failure::system("listen"))?.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_runs_on_its_core_and_ends_with_its_owner() {
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        let status = String::from_utf8(run(&mut command, Core::Server).unwrap().stdout).unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert!(allowed.trim().parse::<u32>().is_ok(), "one core: {allowed}");
        let server = Server::start(Command::new("sleep").arg("60"), Core::Any).unwrap();
        let process = PathBuf::from(format!("/proc/{}", server.0.id()));
        assert!(process.exists() && server.process().cpu().is_ok());
        drop(server);
        assert!(!process.exists());
    }

    #[test]
    fn what_fails_says_so() {
        let failure = run(Command::new("sh").args(["-c", "echo no seats; exit 3"]), Core::Any).unwrap_err().to_string();
        assert!(failure.contains("no seats"), "{failure}");
    }
}
