//! What must hold for the reading of a head, whatever the bytes: checked by the fuzz target in `fuzz/`, and with a corpus and
//! many mutations of it by the tests here. Not part of the server.
//!
//! The lane and actix-web share connections, so a head that the lane calls ordinary must have the same border, method,
//! target and body for both, and be the last for both or for none. Anything else would be a way to smuggle.

use actix_http::error::ParseError;
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::{ConnectionType, ServiceConfig, Version};
use actix_rt::{System, SystemRunner};
use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::head::{self, Head, Method, Read};

/// Reads the head that these bytes begin with and holds it against what must be so.
///
/// # Panics
/// It is not so.
pub fn check(bytes: &[u8]) {
    let Some((length, body)) = borders(bytes) else { return };
    assert!(length <= bytes.len(), "a head ends within what came");
    let alone = &bytes[..length];
    assert!(alone.ends_with(b"\r\n\r\n"));
    assert_eq!(borders(alone), Some((length, body)), "what is behind a head changes nothing");
    // As it comes, piece by piece: nothing is decided before the end is there, and nothing is decided otherwise.
    for cut in [1, length / 3, length / 2, length - 3, length - 1] {
        assert!(matches!(head::read(&alone[..cut]), Read::Partial), "decided after {cut} of {length} bytes");
    }
    match head::read(alone) {
        Read::Ordinary(head) => agrees_with_slow_way(&head, alone),
        Read::Upgrade(_) => is_an_upgrade_there(alone),
        Read::Partial | Read::Unusual => {}
    }
}

fn borders(bytes: &[u8]) -> Option<(usize, usize)> {
    match head::read(bytes) {
        Read::Ordinary(head) => Some((head.length, head.body)),
        Read::Upgrade(length) => Some((length, 0)),
        Read::Partial | Read::Unusual => None,
    }
}

thread_local! {
    /// What actix-http's reader needs around it: a system, which keeps the time of its `date`.
    static SYSTEM: (SystemRunner, ServiceConfig) = {
        let system = System::new();
        let config = system.block_on(async { ServiceConfig::default() });
        (system, config)
    };
}

/// What is behind the head of an upgrade waits until it is answered, so it must be no part of the request to actix-web.
fn is_an_upgrade_there(alone: &[u8]) {
    let mut codec = Codec::new(SYSTEM.with(|(_, config)| config.clone()));
    let mut left = BytesMut::from(alone);
    let request = match codec.decode(&mut left) {
        Ok(Some(Message::Item(request))) => request,
        // It is refused, and that ends the connection.
        Err(ParseError::Uri(_)) => return,
        other => panic!("an upgrade for the lane, and for actix-web {other:?}"),
    };
    assert!(left.is_empty(), "actix-web leaves {} bytes of the head", left.len());
    assert!(request.head().upgrade() && request.method() == "GET", "no upgrade for actix-web");
    assert!(matches!(codec.message_type(), MessageType::Stream), "a body for actix-web");
}

fn agrees_with_slow_way(head: &Head<'_>, alone: &[u8]) {
    let mut codec = Codec::new(SYSTEM.with(|(_, config)| config.clone()));
    let mut left = BytesMut::from(alone);
    let request = match codec.decode(&mut left) {
        Ok(Some(Message::Item(request))) => request,
        // It is lent, refused there, and that ends the connection.
        Err(error) if super::hot(head).is_none() => {
            assert!(
                matches!(error, ParseError::Uri(_) | ParseError::Method),
                "ordinary for the lane, and for actix-web {error}"
            );
            return;
        }
        other => panic!("ordinary for the lane, and for actix-web {other:?}"),
    };
    assert!(left.is_empty(), "actix-web leaves {} bytes of the head", left.len());
    let ends = request.head().connection_type() == ConnectionType::Close;
    assert_eq!(head.is_last, ends, "whether the connection goes on");
    assert!(ends || request.version() == Version::HTTP_11);
    let method = match request.method().as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => Method::Other,
    };
    assert_eq!(head.method, method);
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    // actix-web drops a fragment, which no client sends and no route looks at.
    assert_eq!(head.target.split('#').next(), Some(target));
    assert!(!request.head().upgrade(), "an upgrade is not ordinary");
    let has_body = match codec.message_type() {
        MessageType::None => false,
        MessageType::Payload => true,
        MessageType::Stream => panic!("a body without an end is not ordinary"),
    };
    assert_eq!(head.body > 0, has_body);
    if has_body {
        let mut body = BytesMut::from(&vec![b'x'; head.body.min(BODY_TRIED)][..]);
        body.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let taken = taken(&mut codec, &mut body);
        assert_eq!(taken.min(BODY_TRIED), head.body.min(BODY_TRIED), "the body ends elsewhere for actix-web");
    }
}

/// Longest body whose end is looked for.
const BODY_TRIED: usize = 4096;

/// How many of these bytes the codec takes for the body.
fn taken(codec: &mut Codec, bytes: &mut BytesMut) -> usize {
    let mut taken = 0;
    while let Ok(Some(Message::Chunk(Some(chunk)))) = codec.decode(bytes) {
        taken += chunk.len();
    }
    taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    /// Mutations of the corpus.
    const MUTATIONS: u64 = 200_000;
    /// What mutations insert: the words and bytes that framing is about.
    const WORDS: &[&str] = &[
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        ":",
        " ",
        "\t",
        "\0",
        ",",
        "Content-Length: 5\r\n",
        "content-length:0\r\n",
        "+5",
        "-1",
        "0x5",
        "Transfer-Encoding: chunked\r\n",
        "Host: x\r\n",
        "Host: a b\r\n",
        "Connection: close\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "HTTP/1.0",
        "HTTP/1.1",
        "HTTP/1.1\r\n",
        "GET / ",
        "GET http://x/ ",
        "\u{e4}",
        "#",
        "?",
        "99999999999",
    ];

    /// splitmix64, by Sebastiano Vigna (public domain).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % limit as u64) as usize
        }
    }

    fn corpus() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/lane_head");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    }

    fn mutate(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => drop(bytes.drain(at..(at + chance.below(20)).min(bytes.len()))),
            3 => drop(bytes.splice(at..at, other[..chance.below(other.len() + 1)].iter().copied())),
            _ => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].bytes())),
        }
    }

    #[test]
    fn the_corpus_and_its_mutations_have_one_reading() {
        let corpus = corpus();
        corpus.iter().for_each(|bytes| check(bytes));
        let mut ordinary = 0;
        for seed in 0..MUTATIONS {
            let mut chance = Chance(seed);
            let mut bytes = corpus[chance.below(corpus.len())].clone();
            let other = &corpus[chance.below(corpus.len())];
            for _ in 0..1 + chance.below(3) {
                mutate(&mut bytes, other, &mut chance);
            }
            ordinary += u64::from(borders(&bytes).is_some());
            let shown = bytes.clone();
            if std::panic::catch_unwind(|| check(&bytes)).is_err() {
                panic!("mutation {seed}: {:?}", String::from_utf8_lossy(&shown));
            }
        }
        assert!(
            (MUTATIONS / 20..MUTATIONS).contains(&ordinary),
            "{ordinary} of {MUTATIONS} were ordinary: says nothing"
        );
    }

    #[test]
    fn the_check_fails_where_two_readings_differ() {
        let bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        let Read::Ordinary(head) = head::read(bytes) else { panic!("ordinary") };
        agrees_with_slow_way(&head, bytes);
        let wrong = Head { body: 4, ..head };
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| agrees_with_slow_way(&wrong, bytes))).is_err()
        );
    }
}
