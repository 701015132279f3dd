//! The command line: keys, tokens, configuration, and a look into the journal.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::client::small_event;
use crate::server::{SECRET, Server, binary};

fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn keys_and_tokens_that_are_printed_are_accepted() {
    let made = [run(&["key", "new"]), run(&["key", "new"])].map(|made| out(&made));
    assert_ne!(made[0], made[1]);
    let (key, digest) = made[0].trim().split_once('\n').unwrap();
    let (key, digest) = (key.strip_prefix("key=").unwrap(), digest.strip_prefix("digest=").unwrap());
    assert!(key.starts_with("sk_") && digest.starts_with("sha256:") && digest.len() == 7 + 64, "{made:?}");
    let server = Server::start_with(&[&format!("auth.organizer_keys=[\"{digest}\"]")]);
    server.client().with_bearer(key).get("/v1/cluster").expect(200);
    server.organizer().get("/v1/cluster").expect_problem(401, "unauthenticated");

    let secret = format!("auth.hs256_secret={SECRET}");
    let token = run(&["token", "--customer", "ann", "--ttl", "5m", "--set", &secret]);
    let token = out(&token).trim().to_owned();
    server.client().with_bearer(&token).get("/v1/orders").expect(200);
    let bad = run(&["token", "--customer", "two words", "--set", &secret]);
    assert!(!bad.status.success(), "{}", out(&bad));
    let bad = run(&["token", "--customer", "ann", "--ttl", "soon", "--set", &secret]);
    assert!(!bad.status.success() && said(&bad).contains("--ttl"), "{}", said(&bad));
}

#[test]
fn the_ticket_key_is_made_once_and_a_node_signs_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticket-key.pem");
    let made = run(&["key", "ticket", file.to_str().unwrap()]);
    assert!(made.status.success() && out(&made).starts_with("kid="), "{}", said(&made));
    assert_eq!(out(&run(&["key", "ticket", file.to_str().unwrap()])), out(&made), "one that is there stays");
    let server = Server::start_with(&[&format!("tickets.key_file={}", file.display())]);
    let keys = server.client().get("/v1/keys").expect(200);
    assert_eq!(format!("kid={}", keys["keys"][0]["kid"].as_str().unwrap()), out(&made).trim());
}

#[test]
fn check_config_prints_every_key_and_names_what_is_wrong() {
    let secret = format!("auth.hs256_secret={SECRET}");
    let digest = format!("auth.organizer_keys=[\"sha256:{}\"]", "0".repeat(64));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "[holds]\nttl = \"9m\"\n").unwrap();
    let path = file.to_str().unwrap();
    let good = run(&["check-config", "--config", path, "--set", &secret, "--set", &digest, "--set", "node.name=n1"]);
    assert!(good.status.success(), "{}", said(&good));
    let text = out(&good);
    for key in ["http.listen", "data.dir", "cluster.shards", "payments.gateway", "journal.segment_bytes"] {
        assert!(text.contains(key), "{key} is not in {text}");
    }
    assert!(text.lines().any(|line| line.contains("holds.ttl") && line.contains("9m") && line.contains("node.toml")));
    assert!(text.lines().any(|line| line.contains("node.name") && line.contains("n1") && line.contains("--set")));
    assert!(!text.contains(SECRET), "a secret is not printed");

    for (setting, names) in [
        ("http.lisen=127.0.0.1:0", "http.lisen"),
        ("nonsense=1", "nonsense"),
        ("http.listen=everywhere", "http.listen"),
        ("holds.ttl=7", "holds.ttl"),
        ("holds.ttl=-7m", "holds.ttl"),
        ("cluster.shards=0", "cluster.shards"),
        ("cluster.shards=many", "cluster.shards"),
        ("cluster.seeds=[\"http://x\"]", "cluster.seeds"),
        ("payments.gateway=real", "payments.gateway"),
        ("payments.simulated.decline_rate=200%", "payments.simulated.decline_rate"),
        ("limits.customer=50", "limits.customer"),
        ("auth.hs256_secret=short", "auth.hs256_secret"),
        ("auth.organizer_keys=[\"sk_plain\"]", "auth.organizer_keys"),
        ("http.body_max=64", "http.body_max"),
        ("telemetry.log=loud", "telemetry.log"),
        ("node.name=", "node.name"),
        ("no-equals-sign", "no-equals-sign"),
    ] {
        for command in ["check-config", "serve"] {
            let refused = run(&[command, "--set", &secret, "--set", &digest, "--set", setting]);
            assert_eq!(refused.status.code(), Some(2), "{command} {setting}: {}", said(&refused));
            assert!(said(&refused).contains(names), "{command} {setting}: {}", said(&refused));
            assert!(!said(&refused).contains("short\"") && !said(&refused).contains("sk_plain"), "{}", said(&refused));
        }
    }
    std::fs::write(&file, "[holds]\nttl = \"9m\"\ntlt = \"1m\"\n[http]\nlisten = 7\n").unwrap();
    let refused = run(&["check-config", "--config", path, "--set", &secret, "--set", &digest]);
    for name in ["holds.tlt", "http.listen", "node.toml"] {
        assert!(said(&refused).contains(name), "all at once: {}", said(&refused));
    }
    let missing = run(&["check-config", "--config", "/nowhere/node.toml"]);
    assert!(!missing.status.success() && said(&missing).contains("/nowhere/node.toml"), "{}", said(&missing));
}

#[test]
fn a_node_that_nobody_could_use_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("data.dir={}", folder.path().join("data").display());
    let secret = format!("auth.hs256_secret={SECRET}");
    let no_organizers = run(&["serve", "--set", &data, "--set", &secret, "--set", "http.listen=127.0.0.1:0"]);
    assert!(!no_organizers.status.success());
    assert!(said(&no_organizers).contains("auth.organizer_keys"), "{}", said(&no_organizers));
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::shared();
    let folder = tempfile::tempdir().unwrap();
    let data = format!("data.dir={}", folder.path().join("data").display());
    let mut command = server.command();
    let taken = format!("http.listen={}", server.listen());
    let second = command.args(["--set", &data, "--set", &taken]).output().unwrap();
    assert!(!second.status.success());
    assert!(said(&second).contains("http.listen"), "{}", said(&second));
}

#[test]
fn the_journal_can_be_read_while_the_node_runs_and_when_it_is_stopped() {
    let mut server = Server::start();
    server.organizer().post("/v1/events", &small_event("gig")).expect(201);
    let hold = server.customer("ann").hold("gig", "A", &["1-1", "1-2"]);
    let data = server.data();
    let folder = data.to_str().unwrap().to_owned();
    let look = |server: &str| {
        let verified = run(&["journal", "verify", &folder]);
        assert!(verified.status.success(), "{server}: {}", said(&verified));
        assert!(
            out(&verified).contains("in order") && out(&verified).contains("shard"),
            "{server}: {}",
            out(&verified)
        );
        let dumped = run(&["journal", "dump", &folder]);
        assert!(dumped.status.success(), "{server}: {}", said(&dumped));
        let lines: Vec<Value> = out(&dumped).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["shard"].is_u64() && line["seq"].is_u64() && line["cell"].is_string()));
        lines
    };
    let running = look("running");
    let text = json!(running).to_string();
    assert!(text.contains("ann") && text.contains("gig"), "the hold {hold} is in it");
    assert_eq!(server.stop(), Some(0));
    let stopped = look("stopped");
    assert!(stopped.len() >= running.len());
    assert_eq!(stopped[..running.len().min(3)], running[..running.len().min(3)]);
    let inside = data.join("journal");
    assert!(run(&["journal", "verify", inside.to_str().unwrap()]).status.success(), "the folder itself will do");

    let nothing = run(&["journal", "verify", "/nowhere"]);
    assert!(!nothing.status.success() && said(&nothing).contains("/nowhere"), "{}", said(&nothing));
}

#[test]
fn help_and_version_are_there() {
    let version = out(&run(&["--version"]));
    assert!(version.starts_with("stampede ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let help = out(&run(&["--help"]));
    for command in ["demo", "serve", "key", "token", "check-config", "journal"] {
        assert!(help.contains(command), "{command}");
    }
    assert_eq!(run(&["sell"]).status.code(), Some(2));
}
