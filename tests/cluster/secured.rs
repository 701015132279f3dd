//! NATS servers that let in only whom they know: by certificate, user and password, or credentials.

use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair as Nkey;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::nats::Nats;
use crate::nodes::Cluster;
use crate::prober::Prober;

/// An authority and the files of whom it certified.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Its own certificate is `NAME.pem`.
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut described = CertificateParams::new([]).unwrap();
        described.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.join(format!("{name}.pem")), described.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder: folder.to_owned(), issuer: Issuer::new(described, key) }
    }

    /// A certificate for whoever is on this machine, as `NAME.pem` and `NAME.key`.
    fn certify(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let described = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = described.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// One server, and one node with `settings` that is let in and sells.
#[track_caller]
fn joins_and_serves(nats: Nats, settings: &[&str]) -> Nats {
    let settings = [&["cluster.replicas=1"], settings].concat();
    let cluster = Cluster::start_on(nats, 1, &settings);
    let mut prober = Prober::open(&cluster, "secured");
    prober.hold_on(&cluster, &[0, 1], &[0], Instant::now());
    cluster.nats
}

/// What a node with `settings` says that is not let in.
#[track_caller]
fn refused(nats: Nats, settings: &[&str]) -> (Nats, String) {
    let settings = [&["cluster.replicas=1"], settings].concat();
    let cluster = Cluster::prepare_on(nats, 1, &settings);
    let said = cluster.node(0).refuses_to_start();
    (cluster.nats, said)
}

#[test]
fn servers_that_want_a_certificate_and_a_password_let_in_who_has_both() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.certify("server");
    authority.certify("node");
    Authority::new(folder.path(), "stranger").certify("forged");
    let at = folder.path().display();
    let nats = Nats::one_with(&format!(
        "tls {{ cert_file: \"{at}/server.pem\", key_file: \"{at}/server.key\", ca_file: \"{at}/ca.pem\", verify: true }}\n\
         authorization {{ user: box-office, password: \"open sesame\" }}\n"
    ));
    let (trust, user) = (format!("cluster.nats.ca_file={at}/ca.pem"), "cluster.nats.username=box-office");
    let certificate = |name: &str| {
        [format!("cluster.nats.cert_file={at}/{name}.pem"), format!("cluster.nats.key_file={at}/{name}.key")]
    };
    let ([cert, key], [forged_cert, forged_key]) = (certificate("node"), certificate("forged"));
    let (required, password) = ("cluster.nats.tls=true", "cluster.nats.password=open sesame");

    let nats = joins_and_serves(nats, &[required, &trust, &cert, &key, user, password]);

    let wrong = "cluster.nats.password=open barley";
    let (nats, said) = refused(nats, &[required, &trust, &cert, &key, user, wrong]);
    assert!(said.contains("`cluster.nats.password`") && !said.contains("barley"), "{said}");
    let (nats, said) = refused(nats, &[required, &trust, &cert, &key]);
    assert!(said.contains("`cluster.nats.username`"), "{said}");
    let (nats, said) = refused(nats, &[required, &trust, user, password]);
    assert!(said.contains("`cluster.nats.cert_file`"), "{said}");
    let (nats, said) = refused(nats, &[required, &trust, &forged_cert, &forged_key, user, password]);
    assert!(said.contains("`cluster.nats.cert_file`"), "{said}");
    let (_, said) = refused(nats, &[required, &cert, &key, user, password]);
    assert!(said.contains("`cluster.nats.ca_file`"), "{said}");
}

/// A token as NATS reads it: what `issuer` says about `subject`.
fn token(issuer: &Nkey, subject: &Nkey, name: &str, mut says: Value) -> String {
    says["version"] = json!(2);
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": says
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let said = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(said.as_bytes()).unwrap());
    format!("{said}.{signature}")
}

fn account_token(operator: &Nkey, account: &Nkey, name: &str) -> String {
    let most = |kind: &str| (kind.to_owned(), json!(-1));
    let kinds =
        ["subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"];
    let mut limits: serde_json::Map<String, Value> = kinds.into_iter().chain(["consumer"]).map(most).collect();
    limits.insert("wildcards".to_owned(), json!(true));
    token(operator, account, name, json!({"type": "account", "limits": limits}))
}

/// The credentials file of a user.
fn credentials(account: &Nkey, user: &Nkey) -> String {
    let token = token(account, user, "box-office", json!({"type": "user", "subs": -1, "data": -1, "payload": -1}));
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[test]
fn servers_of_an_operator_let_in_who_has_credentials_of_an_account() {
    let folder = tempfile::tempdir().unwrap();
    let operator = Nkey::new_operator();
    let [system, sales, strangers] = [(); 3].map(|()| Nkey::new_account());
    let operator_token = token(&operator, &operator, "operator", json!({"type": "operator"}));
    let known = [(&system, "system"), (&sales, "sales")];
    let [system_line, sales_line] =
        known.map(|(account, name)| format!("{}: {}", account.public_key(), account_token(&operator, account, name)));
    let nats = Nats::one_with(&format!(
        "operator: {operator_token}\nsystem_account: {}\nresolver: MEMORY\n\
         resolver_preload {{\n{system_line}\n{sales_line}\n}}\n",
        system.public_key()
    ));
    let file = |name: &str, account: &Nkey| {
        let path = folder.path().join(name);
        std::fs::write(&path, credentials(account, &Nkey::new_user())).unwrap();
        format!("cluster.nats.credentials_file={}", path.display())
    };
    let nats = joins_and_serves(nats, &[&file("sales.creds", &sales)]);
    let (nats, said) = refused(nats, &[&file("strangers.creds", &strangers)]);
    assert!(said.contains("`cluster.nats.credentials_file`"), "{said}");
    let (_, said) = refused(nats, &[]);
    assert!(said.contains("`cluster.nats.credentials_file`"), "{said}");
}
