//! Disks that are full, damaged or emptied: writes are refused and come back, reads go on, nothing is guessed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::{Client, small_event};
use crate::process::until;
use crate::provider::Provider;
use crate::server::Server;

/// A journal of two small segments.
const SMALL: [&str; 3] = ["journal.segment_bytes=1MiB", "journal.group_bytes_max=256KiB", "journal.max_bytes=2MiB"];
/// More events than the small journal has room for.
const EVENTS_MAX: usize = 2_000;

/// Creates events with long lists of rows until one is refused; returns the refusal.
fn fill(organizer: &Client, prefix: &str) -> crate::client::Answer {
    let rows: Vec<Value> = (0..1000).map(|row| json!({"row": format!("row-{row:05}"), "seats": 4})).collect();
    for number in 0..EVENTS_MAX {
        let event = json!({
            "id": format!("{prefix}-{number}"), "name": "Filler", "venue": "Hall", "starts_at": "2027-06-12T19:00:00Z",
            "currency": "EUR", "blocks": [{"id": "A", "kind": "seated", "price": 1, "rows": rows}]
        });
        let answer = organizer.post("/v1/events", &event);
        if answer.status != 201 {
            return answer;
        }
    }
    panic!("the journal was never full");
}

/// What is sold and held before the trouble, and that it is there afterwards.
struct Sale {
    order: Value,
    hold: Value,
}

impl Sale {
    fn make(server: &Server) -> Self {
        server.organizer().post("/v1/events", &small_event("gig")).expect(201);
        let ann = server.customer("ann");
        Self { order: ann.buy("gig", "A", &["1-5", "1-6"]), hold: ann.hold("gig", "A", &["2-5", "2-6"]) }
    }

    #[track_caller]
    fn is_there(&self, server: &Server) {
        let ann = server.customer("ann");
        let order = ann.get(&format!("/v1/orders/{}", self.order["id"].as_str().unwrap())).expect(200);
        assert_eq!((&order["state"], &order["tickets"]), (&json!("paid"), &self.order["tickets"]));
        assert_eq!(ann.get(&format!("/v1/holds/{}", self.hold["id"].as_str().unwrap())).expect(200), self.hold);
        let audit = server.organizer().get("/v1/events/gig/audit").expect(200);
        assert_eq!(audit["violations"], json!([]));
    }
}

/// Writes are refused clearly, reads are answered, and the node says why it is not ready.
#[track_caller]
fn is_read_only(server: &Server, refused: crate::client::Answer) {
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    assert_eq!(refused.expect_problem(503, "unavailable")["reason"], "disk full");
    assert_eq!(server.client().get("/readyz").expect_problem(503, "not_ready")["reason"], "disk full");
    assert_eq!(server.client().get("/healthz").status, 200);
    let availability = server.client().get("/v1/events/gig/availability").expect(200);
    assert_eq!(availability["blocks"][0]["sold"], 2);
    let bob = server.customer("bob");
    let hold = bob.post("/v1/events/gig/holds", &json!({"block": "A", "seats": ["3-5"]}));
    assert_eq!(hold.expect_problem(503, "unavailable")["reason"], "disk full");
}

#[test]
fn a_full_journal_refuses_writes_and_loses_nothing() {
    let mut server = Server::start_with(&SMALL);
    server.set("snapshots.interval=1h");
    server.kill();
    server.restart();
    let sale = Sale::make(&server);
    let refused = fill(&server.organizer(), "filler");
    is_read_only(&server, refused);
    sale.is_there(&server);
    server.kill();

    server.set("journal.max_bytes=64MiB");
    server.restart();
    sale.is_there(&server);
    server.customer("bob").buy("gig", "A", &["3-5", "3-6"]);
}

/// Snapshots let old segments go, also when nothing can change any more.
#[test]
fn a_full_journal_takes_writes_again_when_snapshots_have_made_room() {
    let mut server = Server::start_with(&SMALL);
    server.set("snapshots.interval=3s");
    server.kill();
    server.restart();
    let sale = Sale::make(&server);
    for time in 0..3 {
        // It may be over by now: only this answer is sure.
        let refused = fill(&server.organizer(), &format!("filler-{time}"));
        assert_eq!(refused.expect_problem(503, "unavailable")["reason"], "disk full");
        until("ready again", || server.client().get("/readyz").status == 200);
        let bob = server.customer(&format!("bob-{time}"));
        until("a hold", || bob.post("/v1/events/gig/holds", &json!({"block": "FLOOR", "quantity": 1})).status == 201);
    }
    server.kill();
    server.restart();
    sale.is_there(&server);
    let floor = server.client().get("/v1/events/gig/availability").expect(200)["blocks"][2].clone();
    assert_eq!((&floor["block"], &floor["held"]), (&json!("FLOOR"), &json!(3)));
}

/// A file system of its own in a mount namespace of its own, which lives as long as this does.
struct SmallDisk {
    keeper: Child,
    at: PathBuf,
}

impl SmallDisk {
    /// `None` where the kernel lets nobody make one.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let script = format!("mount -t tmpfs -o size=12m none '{}' && touch '{0}/mounted' && exec cat", at.display());
        let keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut disk = Self { keeper, at };
        let mut gone = false;
        until("a small disk or none", || {
            gone = disk.keeper.try_wait().unwrap().is_some();
            gone || disk.seen().join("mounted").exists()
        });
        (!gone).then_some(disk)
    }

    /// The disk as seen from outside its namespace.
    fn seen(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.keeper.id(), self.at.display()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// The same with a file system that is really full. Where the kernel gives nobody a mount namespace, the two stories
/// above have to do.
#[test]
fn a_full_file_system_refuses_writes_until_there_is_space() {
    let mut server = Server::prepare(&[
        "journal.segment_bytes=1MiB",
        "journal.group_bytes_max=256KiB",
        "snapshots.interval=1h",
        "payments.attempts_max=1000",
        "payments.backoff_max=1s",
        "notices.backoff_max=1s",
    ]);
    let Some(disk) = SmallDisk::mount(server.data()) else {
        println!("no mount namespace for anybody here: not tested with a real full disk");
        return;
    };
    let keeper = disk.keeper.id().to_string();
    server.run_within(&["nsenter", "--user", "--mount", "--preserve-credentials", "--target", &keeper]);
    server.restart();
    let sale = Sale::make(&server);
    let filler = disk.seen().join("filler");
    let mut space = File::create(&filler).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(7), &mut space);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // There is room in the segments that were reserved, but neither in the provider's books nor for letters.
    let buyers: Vec<Client> = (0..45).map(|number| server.customer(&format!("buyer-{number}"))).collect();
    let place = |buyer: &Client| {
        let hold = buyer.post("/v1/events/gig/holds", &json!({"block": "FLOOR", "quantity": 1})).expect(201);
        buyer.order(&hold, "tok_ok")["id"].as_str().unwrap().to_owned()
    };
    let orders: Vec<String> = buyers.iter().map(place).collect();
    until("the provider cannot write", || server.log().contains("provider ledger cannot be written"));
    let refused = fill(&server.organizer(), "filler");
    is_read_only(&server, refused);
    sale.is_there(&server);

    std::fs::remove_file(&filler).unwrap();
    drop(space);
    until("ready again", || server.client().get("/readyz").status == 200);
    for (buyer, order) in buyers.iter().zip(&orders) {
        buyer.await_state(order, "paid");
    }
    let late = server.customer("bob").buy("gig", "A", &["3-5", "3-6"]);
    server.kill();
    server.restart();
    sale.is_there(&server);
    let order = format!("/v1/orders/{}", late["id"].as_str().unwrap());
    assert_eq!(server.customer("bob").get(&order).expect(200)["state"], "paid");
    let mut provider = Provider::default();
    provider.expect(&server.organizer(), "gig");
    provider.agrees_with(&disk.seen());
    server.kill();
}

fn flip(file: &File, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

/// A segment, open, and the offset of its last byte that is not zero.
fn open_segment(path: &std::path::Path) -> (File, u64) {
    let last = std::fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    (File::options().read(true).write(true).open(path).unwrap(), last as u64)
}

#[test]
fn damage_in_the_middle_is_refused_with_file_offset_and_reason() {
    let mut server = Server::start();
    let sale = Sale::make(&server);
    server.kill();
    let path = server.segments()[0].clone();
    let (segment, last) = open_segment(&path);
    flip(&segment, 4096 + (last - 4096) / 2);

    let said = server.refuses_to_start();
    let name = path.file_name().unwrap().to_str().unwrap();
    for word in ["damaged", name, "offset="] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let (is_well, verified) = server.verify_journal();
    assert!(!is_well && verified.contains(name) && verified.contains("offset="), "{verified}");
    flip(&segment, 4096 + (last - 4096) / 2);
    assert!(server.verify_journal().0);
    server.restart();
    sale.is_there(&server);
}

#[test]
fn a_torn_end_is_cut_and_said() {
    let mut server = Server::start();
    let sale = Sale::make(&server);
    assert_eq!(server.stop(), Some(0));
    let path = server.segments()[0].clone();
    let (segment, last) = open_segment(&path);
    // What a power cut in the middle of a write leaves: bytes that make no group.
    let end = (last + 1).next_multiple_of(8);
    segment.write_all_at(&[0x5a; 700], end).unwrap();

    server.restart();
    let log = server.log();
    let said = log.lines().rev().find(|line| line.contains("journal is open")).unwrap();
    assert!(said.contains("torn: Some") && said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
    sale.is_there(&server);
    assert_eq!(server.stop(), Some(0));
    assert!(server.verify_journal().1.contains("torn: None"), "a cut is for ever");
}

#[test]
fn without_snapshots_the_journal_is_replayed_whole() {
    let mut server = Server::start_with(&["snapshots.interval=1s"]);
    let sale = Sale::make(&server);
    until("snapshots", || server.metric("stampede_snapshots_total{outcome=\"written\"}") > 0.0);
    let snapshots = server.data().join("snapshots");

    server.kill();
    std::fs::remove_dir_all(&snapshots).unwrap();
    server.restart();
    sale.is_there(&server);

    until("snapshots", || server.metric("stampede_snapshots_total{outcome=\"written\"}") > 0.0);
    assert_eq!(server.stop(), Some(0));
    let store = std::fs::read_dir(&snapshots).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file());
    for file in store {
        let bytes = std::fs::metadata(&file).unwrap().len();
        let file = File::options().write(true).open(&file).unwrap();
        file.write_all_at(&vec![0xa5; bytes as usize], 0).unwrap();
    }
    server.restart();
    sale.is_there(&server);
}

#[test]
fn a_journal_that_was_cut_is_not_replayed_without_its_snapshots() {
    let mut server = Server::start_with(&SMALL);
    server.set("snapshots.interval=1s");
    server.kill();
    server.restart();
    Sale::make(&server);
    let first = server.segments()[0].clone();
    let mut fillers = 0;
    until("the journal is cut", || {
        fill(&server.organizer(), &format!("filler-{fillers}"));
        fillers += 1;
        server.segments()[0] != first
    });
    server.kill();
    std::fs::remove_dir_all(server.data().join("snapshots")).unwrap();
    let said = server.refuses_to_start();
    assert!(said.contains("journal was cut and no snapshot can be verified"), "{said}");
}
