//! nginx as the reverse proxy in front of a node, listening at a socket file: no port that another test may take.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::stream::Stream;
use crate::process::{Process, pinned, until};

/// Whether the proxy reads a request's body before it sends it on (and frames it anew) or passes it on as it comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bodies {
    Gathered,
    Streamed,
}

/// A running nginx. Dropping it kills the process that it started and nothing else.
pub(super) struct Proxy {
    process: Process,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// One in front of this node, with one connection to it that stays: the nginx that `tests/nginx` fetches once.
    #[track_caller]
    pub(super) fn before(node: SocketAddr, bodies: Bodies) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = folder.path().display().to_string();
        fs::write(folder.path().join("nginx.conf"), configuration(&at, node, bodies)).expect("a configuration");
        let log = fs::File::create(folder.path().join("said")).expect("a log file");
        let process = Process::spawn(
            Command::new(pinned("nginx"))
                .args(["-p", &at, "-c", "nginx.conf", "-e", "stderr"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );
        let mut proxy = Self { process, folder };
        until("nginx listens", || {
            let said = fs::read_to_string(proxy.folder.path().join("said")).unwrap_or_default();
            assert!(proxy.process.is_running(), "nginx ended: {said}");
            std::os::unix::net::UnixStream::connect(proxy.socket()).is_ok()
        });
        proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The `X-Request-Id` of every request that the proxy understood to be one.
    pub(super) fn requests(&self) -> BTreeSet<String> {
        let log = fs::read_to_string(self.folder.path().join("requests")).expect("its log");
        log.lines().map(str::to_owned).collect()
    }

    pub(super) fn connect(&self) -> Stream {
        Stream::to_file(&self.socket())
    }
}

/// In the foreground and without a master, so that ending the process that was started ends all of it.
fn configuration(at: &str, node: SocketAddr, bodies: Bodies) -> String {
    let user = match fs::metadata("/proc/self").map(|own| own.uid()) {
        Ok(0) => "user root;",
        Ok(_) | Err(_) => "",
    };
    let gathered = match bodies {
        Bodies::Gathered => "on",
        Bodies::Streamed => "off",
    };
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .concat();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/pid; {user}
        events {{ worker_connections 128; }}
        http {{
            log_format ids '$http_x_request_id';
            access_log {at}/requests ids;
            {folders}
            client_header_timeout 1s; client_body_timeout 1s; lingering_close off;
            large_client_header_buffers 4 32k;
            upstream node {{ server {node}; keepalive 1; }}
            server {{
                listen unix:{at}/socket;
                location / {{
                    proxy_pass http://node;
                    proxy_http_version 1.1;
                    proxy_set_header Connection '';
                    proxy_request_buffering {gathered};
                    proxy_next_upstream off;
                    proxy_ignore_client_abort on;
                }}
            }}
        }}"
    )
}
