//! Stories of notices on their way out.
#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Config, Smtp};

fn paid() -> OrderPaid {
    OrderPaid {
        order: "ord_1".to_owned(),
        email: "ada@example.org".to_owned(),
        concert: Concert {
            id: "aurora-night-1".to_owned(),
            name: "Aurora,\r\nBcc: all@example.org".to_owned(),
            venue: "Harbour Stadium".to_owned(),
            starts_at: "2027-06-12T19:00:00Z".to_owned(),
        },
        total: Money { amount: 15_500, currency: "EUR".to_owned() },
        tickets: vec![
            TicketLine {
                id: "tkt_1".to_owned(),
                block: "A".to_owned(),
                seat: Some("12-7".to_owned()),
                token: "x.y.z".to_owned(),
            },
            TicketLine { id: "tkt_2".to_owned(), block: "Floor".to_owned(), seat: None, token: "u.v.w".to_owned() },
        ],
    }
}

fn confirmation(id: &str) -> Notice {
    order_confirmation(id.to_owned(), paid())
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_confirmation_carries_every_ticket_and_no_foreign_headers() {
    let notice = confirmation("ntc_1");
    assert_eq!(notice.subject, "Your tickets for Aurora,  Bcc: all@example.org");
    for words in
        ["ord_1", "Harbour Stadium", "155.00 EUR", "A, seat 12-7", "tkt_1", "x.y.z", "Floor, standing", "u.v.w"]
    {
        assert!(notice.text.contains(words), "{words} missing in {}", notice.text);
    }
    let line = serde_json::to_value(&notice).unwrap();
    assert_eq!(line["data"]["tickets"][1]["seat"], serde_json::Value::Null);
    assert_eq!(line["data"]["total"], serde_json::json!({"amount": 15_500, "currency": "EUR"}));
    let back = refund(
        "ntc_2".to_owned(),
        OrderRefunded {
            order: "ord_1".to_owned(),
            email: "ada@example.org".to_owned(),
            concert: paid().concert,
            amount: paid().total,
        },
    );
    assert!(back.text.contains("refunded") && back.text.contains("155.00 EUR"));
    assert_eq!(back.kind, NoticeKind::Refund);
    assert_eq!(
        serde_json::to_value(&back).unwrap()["data"],
        serde_json::json!({"amount": {"amount": 15_500, "currency": "EUR"}})
    );
}

#[tokio::test]
async fn notices_become_lines_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notices.ndjson");
    let sink = FileSink::open(&path).unwrap();
    let notices: Vec<Notice> = (0..50).map(|n| confirmation(&format!("ntc_{n}"))).collect();
    let results = futures_util::future::join_all(notices.iter().map(|notice| sink.deliver(notice))).await;
    assert!(results.iter().all(Result::is_ok));
    let read: Vec<Notice> = lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, notices);
}

#[tokio::test]
async fn a_line_cut_off_by_a_kill_does_not_swallow_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notices.ndjson");
    std::fs::write(&path, "{\"id\":\"ntc_0\"}\n{\"id\":\"nt").unwrap();
    FileSink::open(&path).unwrap().deliver(&confirmation("ntc_1")).await.unwrap();
    let lines = lines(&path);
    assert_eq!(lines.len(), 3);
    assert_eq!(serde_json::from_str::<Notice>(&lines[2]).unwrap().id, "ntc_1");
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_told_and_a_good_one_is_used_again() {
    let full = FileSink::open(Path::new("/dev/full"));
    let error = full.unwrap().deliver(&confirmation("ntc_1")).await.unwrap_err();
    assert!(error.is_retryable, "{error}");
    assert!(FileSink::open(Path::new("/nowhere/notices.ndjson")).is_err());
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::open(&dir.path().join("notices.ndjson")).unwrap();
    let endless = Notice { text: "x".repeat(300_000), ..confirmation("ntc_1") };
    assert!(!sink.deliver(&endless).await.unwrap_err().is_retryable);
    sink.deliver(&confirmation("ntc_2")).await.unwrap();
}

/// A pipe takes every byte and cannot be synced: what is written and not on a disk is not delivered, for each of the batch.
#[tokio::test]
async fn of_a_batch_that_was_written_and_not_synced_nothing_is_delivered() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let sink = FileSink::open(Path::new(&format!("/proc/self/fd/{}", writer.as_raw_fd()))).unwrap();
    let notices: Vec<Notice> = (0..10).map(|n| confirmation(&format!("ntc_{n}"))).collect();
    let results = futures_util::future::join_all(notices.iter().map(|notice| sink.deliver(notice))).await;
    for result in results {
        assert!(result.unwrap_err().is_retryable);
    }
    let mut first = [0; 1];
    reader.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"{", "it was written");
}

/// A mail server that takes one mail and gives `answer_to_recipient`. Returns its port and what it was sent.
async fn mail_server(answer_to_recipient: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.test ESMTP\r\n").await.unwrap();
        let (mut heard, mut is_data) = (String::new(), false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return heard;
            }
            heard.push_str(&line);
            let answer = match line.trim_end() {
                "." => {
                    is_data = false;
                    "250 taken"
                }
                _ if is_data => continue,
                "DATA" => {
                    is_data = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                command if command.starts_with("RCPT") => answer_to_recipient,
                _ => "250 fine",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
    });
    (port, server)
}

fn settings(port: u16) -> Smtp {
    let sets = [
        "notices.smtp.enabled=true".to_owned(),
        "notices.smtp.host=127.0.0.1".to_owned(),
        "notices.smtp.tls=none".to_owned(),
        "notices.smtp.from=Box office <tickets@example.org>".to_owned(),
        format!("notices.smtp.port={port}"),
    ];
    Config::load(None, &sets).unwrap().notices.smtp
}

#[tokio::test]
async fn a_notice_becomes_a_mail_with_an_id_of_its_own() {
    let (port, server) = mail_server("250 known").await;
    let sink = SmtpSink::new(&settings(port)).unwrap();
    sink.deliver(&confirmation("ntc_1")).await.unwrap();
    drop(sink);
    let heard = server.await.unwrap();
    for words in [
        "MAIL FROM:<tickets@example.org>",
        "RCPT TO:<ada@example.org>",
        "Message-ID: <ntc_1@example.org>",
        "Subject: Your tickets for Aurora,  Bcc: all@example.org",
        "A, seat 12-7",
    ] {
        assert!(heard.contains(words), "{words} missing in {heard}");
    }
    assert!(!heard.contains("\r\nBcc:"), "{heard}");
}

#[tokio::test]
async fn a_mail_servers_never_is_told_from_its_not_now() {
    for (answer, is_retryable) in
        [("550 no such mailbox", false), ("450 greylisted", true), ("535 wrong password", true), ("552 too big", false)]
    {
        let (port, server) = mail_server(answer).await;
        let error = SmtpSink::new(&settings(port)).unwrap().deliver(&confirmation("ntc_1")).await.unwrap_err();
        assert_eq!(error.is_retryable, is_retryable, "{answer}: {error}");
        server.abort();
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = SmtpSink::new(&settings(gone)).unwrap().deliver(&confirmation("ntc_1")).await.unwrap_err();
    assert!(error.is_retryable, "nobody listens: {error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_not_tried_again() {
    let sink = SmtpSink::new(&settings(1)).unwrap();
    for to in ["", "ada", "ada@example.org, eve@example.org", "ada@example.org\r\nRCPT TO:<eve@example.org>"] {
        let error = sink.deliver(&Notice { to: to.to_owned(), ..confirmation("ntc_1") }).await.unwrap_err();
        assert!(!error.is_retryable, "{to}: {error}");
    }
    let without_sender = Smtp { from: Some("nobody".to_owned()), ..settings(1) };
    assert!(SmtpSink::new(&without_sender).is_err());
}

#[tokio::test]
async fn all_sinks_must_have_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::defaults();
    config.data.dir = dir.path().to_owned();
    let mut sinks = Sinks::open(&config).unwrap();
    sinks.deliver(&confirmation("ntc_1")).await.unwrap();
    sinks.add(FileSink::open(Path::new("/dev/full")).unwrap());
    sinks.deliver(&confirmation("ntc_2")).await.unwrap_err();
    assert_eq!(lines(&config.notices_path().unwrap()).len(), 2);
    config.notices.file = None;
    Sinks::open(&config).unwrap().deliver(&confirmation("ntc_3")).await.unwrap();
}
