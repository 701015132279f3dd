//! Writes requests into a buffer that the caller keeps. Nothing is allocated here once the buffer has its size.

use super::Target;

/// What a request says besides its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// From `/v1` on, in parts that are written one behind the other.
    pub path: &'a [&'a str],
    /// The whole `authorization` value, when there is one.
    pub authorization: Option<&'a str>,
    /// The idempotency key, when there is one.
    pub key: Option<&'a str>,
}

/// Appends one request. A body is JSON; an empty one is none.
pub fn write(out: &mut Vec<u8>, target: &Target, head: Head<'_>, body: &[u8]) {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    for part in head.path {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(target.host.as_bytes());
    if let Some(authorization) = head.authorization {
        out.extend_from_slice(b"\r\nauthorization: ");
        out.extend_from_slice(authorization.as_bytes());
    }
    if let Some(key) = head.key {
        out.extend_from_slice(b"\r\nidempotency-key: ");
        out.extend_from_slice(key.as_bytes());
    }
    if !body.is_empty() {
        out.extend_from_slice(b"\r\ncontent-type: application/json");
    }
    if !body.is_empty() || head.method == "POST" {
        out.extend_from_slice(b"\r\ncontent-length: ");
        write_number(out, body.len() as u64);
    }
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Appends a number in decimal digits.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_reads_as_the_contract_has_it() {
        let target = Target::parse("http://127.0.0.1:8080").unwrap();
        let mut out = Vec::new();
        let path = ["/v1/events/", "aurora", "/holds"];
        let head = Head { method: "POST", path: &path, authorization: Some("Bearer t"), key: Some("k-1") };
        write(&mut out, &target, head, b"{}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /v1/events/aurora/holds HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nauthorization: Bearer t\r\n\
             idempotency-key: k-1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 1234567890, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
