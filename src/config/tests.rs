//! Stories of configurations: what is accepted, what is refused and in which words.
#![allow(clippy::unwrap_used)]

use super::*;

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).to_owned()).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The single problem of a configuration given on the command line.
fn refused(given: &[&str]) -> Problem {
    let error = Config::load(None, &sets(given)).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    error.problems.into_iter().next().unwrap()
}

#[test]
fn the_defaults_are_what_the_file_says() {
    let config = Config::defaults();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.cluster.shards, 64);
    assert_eq!(config.holds.ttl, std::time::Duration::from_secs(420));
    assert_eq!(config.http.body_max, ByteSize(256 * 1024));
    assert_eq!(config.limits.customer.unwrap().interval(), std::time::Duration::from_millis(20));
    assert!(config.limits.address.is_none() && config.auth.hs256_secret.is_none());
    assert_eq!(config.payments.gateway, GatewayKind::Simulated);
    assert_eq!(config.notices_path().unwrap(), Path::new("data/notices.ndjson"));
    assert_eq!(config.ticket_key_path(), TicketKeyPath::Own("data/ticket-key.pem".into()));
}

#[test]
fn every_key_of_the_defaults_has_a_comment_above_it() {
    let mut above = "";
    for line in DEFAULTS.lines() {
        let is_key = line.starts_with(|c: char| c.is_ascii_lowercase());
        assert!(!is_key || above.starts_with('#'), "no comment above: {line}");
        above = line;
    }
}

#[test]
fn the_command_line_beats_the_file_and_the_file_beats_the_defaults() {
    let file = file("[http]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n[holds]\nttl = \"1m\"\n");
    let loaded = Config::load_with_origins(Some(file.path()), &sets(&["http.listen=127.0.0.1:2"])).unwrap();
    assert_eq!(loaded.config.http.listen.port(), 2);
    assert_eq!(loaded.config.http.workers, 3);
    assert_eq!(loaded.config.holds.ttl.as_secs(), 60);
    let origin = |key: &str| loaded.effective.iter().find(|e| e.key == key).unwrap().origin.to_string();
    assert_eq!(origin("http.listen"), "--set");
    assert_eq!(origin("http.workers"), format!("{}:3", file.path().display()));
    assert_eq!(origin("cluster.shards"), "default");
}

#[test]
fn values_of_the_command_line_need_no_quotes() {
    let digest = "ab".repeat(32);
    let given = [
        "auth.hs256_secret=01234567890123456789012345678901".to_owned(),
        format!("auth.organizer_keys=sha256:{digest},sha256:{digest}"),
        "holds.ttl=\"90s\"".to_owned(),
        "notices.file=".to_owned(),
        "http.cors_origins=[\"https://a.example\"]".to_owned(),
    ];
    let config = Config::load(None, &given).unwrap();
    assert_eq!(config.auth.hs256_secret.as_ref().unwrap().expose().len(), 32);
    assert_eq!(config.auth.organizer_keys.len(), 2);
    assert_eq!(config.auth.organizer_keys[0].to_string(), format!("sha256:{digest}"));
    assert_eq!(config.holds.ttl.as_secs(), 90);
    assert!(config.notices_path().is_none());
    assert_eq!(config.http.cors_origins, ["https://a.example"]);
    config.check_keys_present().unwrap();
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_guess() {
    let file = file("[http]\n\nlisen = \"127.0.0.1:1\"\n[wings]\nfeathers = 2\n");
    let error = Config::load(Some(file.path()), &[]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("`http.lisen` ({}:3): unknown key; did you mean `http.listen`?", file.path().display())),
        "{text}"
    );
    assert!(text.contains("`wings.feathers`") && text.contains(":5): unknown key"), "{text}");
}

#[test]
fn all_problems_are_told_at_once() {
    let file =
        file("[holds]\nttl = 7\n[http]\nlisten = \"nowhere\"\nbody_max = \"64KB\"\n[cluster]\nshards = \"64\"\n");
    let error = Config::load(Some(file.path()), &sets(&["limits.customer=50", "payments.gateway=bank", "nonsense"]))
        .unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|p| p.key.as_str()).collect();
    for key in [
        "holds.ttl",
        "http.listen",
        "http.body_max",
        "cluster.shards",
        "limits.customer",
        "payments.gateway",
        "nonsense",
    ] {
        assert!(keys.contains(&key), "{key} missing in {keys:?}");
    }
    assert_eq!(keys.len(), 7);
    let ttl = error.problems.iter().find(|p| p.key == "holds.ttl").unwrap();
    assert_eq!(
        (ttl.value.as_str(), &ttl.origin),
        ("7", &Origin::File { path: file.path().display().to_string(), line: 2 })
    );
}

#[test]
fn bad_values_name_the_rule() {
    for (set, rule) in [
        ("holds.ttl=soon", "a time with a unit"),
        ("holds.ttl=0s", "more than 0"),
        ("holds.ttl=300000h", "at most 24h"),
        ("http.body_max=64", "a size with a unit"),
        ("http.body_max=999999999999999999TiB", "a size with a unit"),
        ("limits.customer=0/s", "a rate above 0"),
        ("payments.simulated.decline_rate=101%", "\"100%\""),
        ("payments.simulated.decline_rate=NaN%", "\"100%\""),
        ("cluster.shards=0", "from 1 to 1024"),
        ("cluster.shards=-1", "whole number"),
        ("cluster.seeds=127.0.0.1:4222", "must be NATS servers"),
        ("cluster.name=a.b", "letters, digits"),
        ("cluster.replicas=2", "1, 3 or 5"),
        ("cluster.streams=0", "from 1 to 64"),
        ("cluster.nats.cert_file=node.pem", "together with `cluster.nats.key_file`"),
        ("auth.organizer_keys=sha256:12", "64 hexadecimal digits"),
        ("auth.organizer_keys=sha256:+1", "64 hexadecimal digits"),
        ("node.name=a b", "letters, digits"),
        ("telemetry.level=loud", "error, warn, info"),
        ("telemetry.log=xml", "\"human\" or \"json\""),
        ("notices.smtp.enabled=perhaps", "true or false"),
        ("http.cors_origins=*", "without path or wildcard"),
        ("http=3", "unknown key"),
        ("=3", "unknown key"),
    ] {
        let problem = refused(&[set]);
        assert!(problem.rule.contains(rule), "{set}: {problem}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    assert_eq!(refused(&["payments.backoff_min=1m"]).key, "payments.backoff_min");
    assert_eq!(refused(&["payments.simulated.latency_p50=1s"]).key, "payments.simulated.latency_p50");
    assert_eq!(refused(&["runtime.clock_offset=-5s"]).key, "runtime.clock_offset");
    assert_eq!(refused(&["runtime.resend_max=1s"]).key, "runtime.resend_min");
    assert_eq!(refused(&["notices.timeout=1s"]).key, "notices.timeout");
    assert_eq!(refused(&["notices.smtp.enabled=true"]).key, "notices.smtp.from");
    assert_eq!(refused(&["notices.smtp.username=u"]).key, "notices.smtp.username");
    assert_eq!(
        refused(&["notices.smtp.username=u", "notices.smtp.password=p", "notices.smtp.tls=none"]).key,
        "notices.smtp.tls"
    );
    assert_eq!(refused(&["journal.max_bytes=64MiB"]).key, "journal.max_bytes");
    assert_eq!(
        refused(&["payments.simulated.decline_rate=60%", "payments.simulated.late_rate=60%"]).key,
        "payments.simulated.decline_rate"
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = "this-secret-must-not-appear-anywhere";
    let given = sets(&["notices.smtp.username=u"]);
    let all = [given, vec![format!("auth.hs256_secret={secret}"), format!("notices.smtp.password={secret}")]].concat();
    let loaded = Config::load_with_origins(None, &all).unwrap();
    let printed: String = loaded.effective.iter().map(|e| format!("{e}\n")).collect();
    assert!(!printed.contains(secret) && printed.contains("auth.hs256_secret = [redacted]"), "{printed}");
    assert!(!format!("{:?}", loaded.config).contains(secret));

    let short = refused(&["auth.hs256_secret=too-short-secret"]);
    assert!(!short.to_string().contains("too-short-secret") && short.rule.contains("32 bytes"), "{short}");
}

#[test]
fn a_broken_or_missing_file_is_one_clear_problem() {
    let broken = file("[http]\nlisten = \n");
    let error = Config::load(Some(broken.path()), &[]).unwrap_err();
    assert!(error.to_string().contains(":2): not valid TOML"), "{error}");
    let error = Config::load(Some(Path::new("/nowhere/at/all.toml")), &[]).unwrap_err();
    assert!(error.to_string().contains("(/nowhere/at/all.toml): cannot be read"), "{error}");
    let twice = file("[http]\nworkers = 1\nworkers = 2\n");
    assert!(Config::load(Some(twice.path()), &[]).unwrap_err().to_string().contains(":3)"));
}

#[test]
fn a_server_without_keys_does_not_start() {
    let error = Config::defaults().check_keys_present().unwrap_err();
    assert_eq!(error.problems.len(), 2, "{error}");
}
