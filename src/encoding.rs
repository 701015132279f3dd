//! Finished answers: one body in the encodings that clients accept, each with its own strong ETag.
//!
//! A body is compressed at most once per encoding, when somebody first asks for it, and then shared. Nothing here
//! knows what a body means or how long it stays true.

use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// Bodies below this many bytes are not compressed: headers and packets outweigh what could be saved.
pub const COMPRESS_MIN: usize = 256;

/// Levels for answers that change several times a second. Measured on 30 KiB of availability JSON (release build, one
/// core): zstd 1 makes 3,154 bytes in 48 µs, brotli 3 3,544 in 139 µs, gzip 3 3,809 in 143 µs; brotli 5 needs 485 µs for
/// 3,080 bytes, and zstd 3 is no smaller than zstd 1.
const GZIP_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 1;
const BROTLI_QUALITY: i32 = 3;
const BROTLI_WINDOW: i32 = 18;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// Brotli, RFC 7932.
    Br,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Encoding {
    /// All of them, the preferred first among equals: the smallest for the least work.
    pub const ALL: [Encoding; 4] = [Encoding::Zstd, Encoding::Br, Encoding::Gzip, Encoding::Identity];

    /// The name in `Content-Encoding`; none for identity, which has no header.
    #[must_use]
    pub fn header(self) -> Option<&'static str> {
        match self {
            Encoding::Identity => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Br => Some("br"),
            Encoding::Zstd => Some("zstd"),
        }
    }

    fn name(self) -> &'static str {
        self.header().unwrap_or("identity")
    }
}

/// The encoding to answer with for an `Accept-Encoding` header (RFC 9110, 12.5.3); none when the client rules out all
/// of them (`identity;q=0` or `*;q=0` without an alternative), which is answered `406`.
///
/// Without a header, or with one that cannot be read, it is identity.
#[must_use]
pub fn negotiate(accept: Option<&str>) -> Option<Encoding> {
    let Some(accept) = accept.filter(|header| !header.trim().is_empty()) else {
        return Some(Encoding::Identity);
    };
    let mut best: Option<(Encoding, u16)> = None;
    for encoding in Encoding::ALL {
        let quality = quality_of(accept, encoding);
        if quality > best.map_or(0, |(_, known)| known) {
            best = Some((encoding, quality));
        }
    }
    best.map(|(encoding, _)| encoding)
}

/// Thousandths of preference for one encoding.
fn quality_of(accept: &str, encoding: Encoding) -> u16 {
    const LEAST: u16 = 1;
    let mut any = None;
    for item in accept.split(',') {
        let mut parts = item.split(';');
        let coding = parts.next().unwrap_or_default().trim();
        let quality = parts.find_map(quality).unwrap_or(1000);
        let is_gzip = encoding == Encoding::Gzip && coding.eq_ignore_ascii_case("x-gzip");
        if coding.eq_ignore_ascii_case(encoding.name()) || is_gzip {
            return quality;
        }
        if coding == "*" {
            any = Some(quality);
        }
    }
    match (encoding, any) {
        // identity is acceptable unless ruled out, but nobody who lists encodings wants it first
        (Encoding::Identity, None | Some(1..)) => LEAST,
        (Encoding::Identity, Some(0)) | (Encoding::Gzip | Encoding::Br | Encoding::Zstd, None) => 0,
        (Encoding::Gzip | Encoding::Br | Encoding::Zstd, Some(quality)) => quality,
    }
}

/// `q=0.5` as 500; what cannot be read counts as refused, so that a typing error never picks an encoding.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(0);
    }
    let thousandths = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => Some(0),
    }
}

/// One finished body in one encoding.
#[derive(Debug, Clone)]
pub struct Variant {
    /// How the body is encoded.
    pub encoding: Encoding,
    /// The bytes to send.
    pub body: Bytes,
    /// The strong ETag with its quotes, such as `"9a0364b9e99bb480-br"`.
    pub etag: String,
}

/// A body and its encodings, each made when first asked for.
#[derive(Debug)]
pub struct Encoded {
    identity: Variant,
    gzip: OnceLock<Option<Variant>>,
    br: OnceLock<Option<Variant>>,
    zstd: OnceLock<Option<Variant>>,
}

impl Encoded {
    /// Takes a finished body. Hashing it is all the work done now.
    #[must_use]
    pub fn new(body: Bytes) -> Encoded {
        let etag = format!("\"{:016x}\"", xxh3_64(&body));
        let identity = Variant { encoding: Encoding::Identity, body, etag };
        Encoded { identity, gzip: OnceLock::new(), br: OnceLock::new(), zstd: OnceLock::new() }
    }

    /// The body in `encoding`; in identity where the body is too small to gain. Compresses on the first call.
    #[must_use]
    pub fn get(&self, encoding: Encoding) -> &Variant {
        let slot = match encoding {
            Encoding::Identity => return &self.identity,
            Encoding::Gzip => &self.gzip,
            Encoding::Br => &self.br,
            Encoding::Zstd => &self.zstd,
        };
        slot.get_or_init(|| self.make(encoding)).as_ref().unwrap_or(&self.identity)
    }

    /// The body as it is.
    #[must_use]
    pub fn identity(&self) -> &Variant {
        &self.identity
    }

    /// Whether an `If-None-Match` header names this body in any encoding (RFC 9110, 13.1.2: weak comparison). A client
    /// that has it in one encoding has it.
    #[must_use]
    pub fn matches(&self, if_none_match: &str) -> bool {
        let own = self.hash();
        if_none_match.split(',').map(str::trim).any(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let opaque = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            tag == "*" || opaque.is_some_and(|opaque| opaque.split('-').next() == Some(own))
        })
    }

    fn hash(&self) -> &str {
        self.identity.etag.trim_matches('"')
    }

    fn make(&self, encoding: Encoding) -> Option<Variant> {
        let body = &self.identity.body;
        if body.len() < COMPRESS_MIN {
            return None;
        }
        let smaller = compress(body, encoding)?;
        if smaller.len() >= body.len() {
            return None;
        }
        let etag = format!("\"{}-{}\"", self.hash(), encoding.name());
        Some(Variant { encoding, body: Bytes::from(smaller), etag })
    }
}

/// The compressed bytes. Writing to memory cannot fail; if a library says otherwise the body goes out as it is.
fn compress(body: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Identity => None,
        Encoding::Gzip => {
            let mut writer =
                flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::new(GZIP_LEVEL));
            writer.write_all(body).ok()?;
            writer.finish().ok()
        }
        Encoding::Br => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: body.len(),
                ..Default::default()
            };
            let mut compressed = Vec::with_capacity(body.len() / 4);
            let mut rest = body;
            brotli::BrotliCompress(&mut rest, &mut compressed, &params).ok()?;
            Some(compressed)
        }
        Encoding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL).ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read as _;

    use super::*;

    #[test]
    fn clients_get_the_encoding_they_ask_for() {
        use Encoding::{Br, Gzip, Identity, Zstd};
        for (header, expected) in [
            (None, Some(Identity)),
            (Some(""), Some(Identity)),
            (Some("gzip, deflate, br, zstd"), Some(Zstd)),
            (Some("gzip, deflate, br"), Some(Br)),
            (Some("gzip, deflate"), Some(Gzip)),
            (Some("zstd, gzip"), Some(Zstd)),
            (Some("X-GZIP"), Some(Gzip)),
            (Some("gzip;q=1.0, br;q=0.5"), Some(Gzip)),
            (Some("gzip; q=0.5 , br; Q=0.501"), Some(Br)),
            (Some("br;q=0, gzip"), Some(Gzip)),
            (Some("*"), Some(Zstd)),
            (Some("*;q=0.1, gzip;q=0.2"), Some(Gzip)),
            (Some("zstd;q=0, *"), Some(Br)),
            (Some("identity"), Some(Identity)),
            (Some("identity, gzip;q=0.5"), Some(Identity)),
            (Some("deflate"), Some(Identity)),
            (Some("gzip;q=0"), Some(Identity)),
            (Some("gzip;q=0.0001"), Some(Identity)),
            (Some("gzip;q=2"), Some(Identity)),
            (Some("gzip;q=1.001"), Some(Identity)),
            (Some("gzip;q=nonsense"), Some(Identity)),
            (Some(";;;,,,"), Some(Identity)),
            (Some("identity;q=0"), None),
            (Some("*;q=0"), None),
            (Some("identity;q=0, deflate"), None),
            (Some("*;q=0, gzip"), Some(Gzip)),
            (Some("*;q=0, identity"), Some(Identity)),
            (Some("identity;q=0, *;q=0.1"), Some(Zstd)),
        ] {
            assert_eq!(negotiate(header), expected, "{header:?}");
        }
    }

    fn body() -> Bytes {
        let blocks: Vec<String> = (0..60).map(|n| format!(r#"{{"block":"B{n}","free":{}}}"#, n * 17 % 1000)).collect();
        Bytes::from(format!("[{}]", blocks.join(",")))
    }

    #[test]
    fn every_encoding_unpacks_to_the_same_body() {
        let encoded = Encoded::new(body());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&encoded.get(Encoding::Gzip).body[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, body());
        unpacked.clear();
        brotli::BrotliDecompress(&mut &encoded.get(Encoding::Br).body[..], &mut unpacked).unwrap();
        assert_eq!(unpacked, body());
        assert_eq!(zstd::bulk::decompress(&encoded.get(Encoding::Zstd).body, 1 << 20).unwrap(), body());
        assert_eq!(encoded.get(Encoding::Identity).body, body());
        for encoding in [Encoding::Gzip, Encoding::Br, Encoding::Zstd] {
            let variant = encoded.get(encoding);
            assert_eq!(variant.encoding, encoding);
            assert!(variant.body.len() * 3 < body().len(), "{encoding:?}: {}", variant.body.len());
            assert_eq!(variant.body.as_ptr(), encoded.get(encoding).body.as_ptr(), "made once");
        }
    }

    #[test]
    fn what_would_not_shrink_stays_as_it_is() {
        let small = Encoded::new(Bytes::from_static(b"{}"));
        assert_eq!(small.get(Encoding::Br).encoding, Encoding::Identity);
        assert_eq!(small.get(Encoding::Br).etag, small.identity().etag);
        let noise: Vec<u8> = (0..2000_u64).flat_map(|n| xxh3_64(&n.to_le_bytes()).to_le_bytes()).collect();
        let noise = Encoded::new(Bytes::from(noise));
        assert_eq!(noise.get(Encoding::Zstd).encoding, Encoding::Identity);
        assert_eq!(noise.get(Encoding::Gzip).encoding, Encoding::Identity);
    }

    #[test]
    fn etags_tell_bodies_and_encodings_apart_and_match_across_encodings() {
        let (one, other) = (Encoded::new(body()), Encoded::new(Bytes::from_static(b"[]")));
        let br = &one.get(Encoding::Br).etag;
        assert!(br.starts_with('"') && br.ends_with("-br\""));
        assert_ne!(*br, one.identity().etag);
        assert_ne!(*br, one.get(Encoding::Gzip).etag);
        assert_ne!(one.identity().etag, other.identity().etag);
        assert_eq!(Encoded::new(body()).get(Encoding::Br).etag, *br, "the same on every node");
        for header in [br.as_str(), "*", &format!("W/{br}"), &format!("\"x\", {br}"), &one.identity().etag] {
            assert!(one.matches(header), "{header}");
        }
        for header in ["", "\"\"", "\"x-br\"", br.trim_matches('"'), &other.identity().etag] {
            assert!(!one.matches(header), "{header}");
        }
    }
}
