//! Odd and hostile requests, each with what RFC 9112 lets a server make of it.
//!
//! Long because it is a table and nothing else. In its texts `{post}` and `{get}` are the first lines of a hold and of a read, `{canary}` is a
//! request that holds a seat of its own, `{length}` and `{hex}` its length; each character is one byte (Latin-1).

/// What may come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// One refusal (`smuggling::REFUSALS`), and the end of the connection.
    Refused,
    /// Answers with these statuses, and the connection goes on with what follows, unless the last answer says otherwise.
    Framed(&'static [u16]),
    /// Either of both: the RFC leaves it open.
    Either(&'static [u16]),
    /// Answers with these statuses and the end of the connection: whatever is behind is no request any more.
    Last(&'static [u16]),
    /// The same of what the lane gives away: actix-http has read on, and what it took for requests may be answered too; 400
    /// if their canary must never run.
    LastThere(&'static [u16]),
    /// It never comes whole or has no end: at most these statuses (or one refusal), and what follows is never answered.
    Endless(&'static [u16]),
}

/// Where the canary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canary {
    /// In a body, or behind what ends the connection: executing it is the bug.
    Never,
    /// The next request, if the one before it was understood.
    Next,
}

/// Name, bytes, what may come of them, and where their canary is.
pub(super) type Case = (&'static str, &'static str, Expect, Canary);

use Canary::{Never, Next};
use Expect::{Either, Endless, Framed, Last, LastThere, Refused};

/// Two framings in one message, or one that cannot be understood.
const CODINGS: &[Case] = &[
    ("CL.TE", "{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{canary}", Refused, Never),
    (
        "TE.CL",
        "{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Refused,
        Never,
    ),
    (
        "CL.TE on a read",
        "{get}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "CL 0 and TE",
        "{post}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Refused,
        Never,
    ),
    (
        "TE twice",
        "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE chunked, TE identity",
        "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE rubbish, TE chunked",
        "{post}Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE in two cases",
        "{post}Transfer-encoding: identity\r\ntRANSFER-eNCODING: chunked\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE list ending in identity",
        "{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE list ending in chunked",
        "{post}Transfer-Encoding: identity, chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Either(&[400]),
        Never,
    ),
    ("TE gzip", "{post}Transfer-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    (
        "TE gzip, chunked",
        "{post}Transfer-Encoding: gzip, chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Either(&[400]),
        Never,
    ),
    ("TE identity", "{post}Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("TE xchunked", "{post}Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("TE chunkedx", "{post}Transfer-Encoding: chunkedx\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("TE quoted", "{post}Transfer-Encoding: \"chunked\"\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    (
        "TE with a parameter",
        "{post}Transfer-Encoding: chunked;q=1\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Either(&[400]),
        Never,
    ),
    (
        "TE with a comma behind",
        "{post}Transfer-Encoding: chunked,\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Either(&[400]),
        Never,
    ),
    ("TE empty", "{post}Transfer-Encoding:\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("TE with NUL", "{post}Transfer-Encoding: chunked\0\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("TE with VT", "{post}Transfer-Encoding: \x0bchunked\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    (
        "TE with NBSP",
        "{post}Transfer-Encoding: \u{a0}chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE with a space before the colon",
        "{post}Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE on a folded line",
        "{post}Transfer-Encoding:\r\n chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE folded onto another header",
        "{post}X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE with a tab and spaces around",
        "{post}Transfer-Encoding:\t chunked \t\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Framed(&[400]),
        Never,
    ),
    ("TE in capitals", "{post}TRANSFER-ENCODING: CHUNKED\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n", Framed(&[400]), Never),
    (
        "TE with an underscore is another header",
        "{post}Transfer_Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Framed(&[400]),
        Never,
    ),
    (
        "TE in HTTP/1.0",
        "{post1.0}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "TE in a read of HTTP/1.0",
        "GET /v1/events/{event}/availability HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Refused,
        Never,
    ),
    (
        "a read with a body in chunks",
        "{get}Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Framed(&[200]),
        Never,
    ),
];

/// Lengths.
const LENGTHS: &[Case] = &[
    ("a body of its length", "{post}Content-Length: {length}\r\n\r\n{canary}", Framed(&[400]), Never),
    ("a read with a body", "{get}Content-Length: {length}\r\n\r\n{canary}", Framed(&[200]), Never),
    (
        "a read of nothing with a body",
        "GET /v1/events/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{canary}",
        Framed(&[404]),
        Never,
    ),
    (
        "a HEAD with a body",
        "HEAD /v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{canary}",
        Framed(&[200]),
        Never,
    ),
    ("a length before another header", "{get}content-length:{length}\r\nX: y\r\n\r\n{canary}", Framed(&[200]), Never),
    ("a length of 0", "{post}Content-Length: 0\r\n\r\n{canary}", Framed(&[400, 201]), Next),
    ("no length", "{post}\r\n{canary}", Framed(&[400, 201]), Next),
    ("spaces around", "{post}Content-Length: \t {length}\t \r\n\r\n{canary}", Framed(&[400]), Never),
    ("zeros before", "{post}Content-Length: 00000{length}\r\n\r\n{canary}", Either(&[400]), Never),
    (
        "twice the same",
        "{post}Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{canary}",
        Either(&[400]),
        Never,
    ),
    ("twice, first 0", "{post}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("twice, last 0", "{post}Content-Length: {length}\r\ncontent-length: 0\r\n\r\n{canary}", Refused, Never),
    ("twice on a read", "{get}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("a list of the same", "{post}Content-Length: {length}, {length}\r\n\r\n{canary}", Either(&[400]), Never),
    ("a list, first 0", "{post}Content-Length: 0, {length}\r\n\r\n{canary}", Refused, Never),
    ("a plus", "{post}Content-Length: +{length}\r\n\r\n{canary}", Refused, Never),
    ("a plus on a read", "{get}Content-Length: +{length}\r\n\r\n{canary}", Refused, Never),
    ("a minus", "{post}Content-Length: -{length}\r\n\r\n{canary}", Refused, Never),
    ("minus 0", "{post}Content-Length: -0\r\n\r\n{canary}", Refused, Never),
    ("hexadecimal", "{post}Content-Length: 0x{hex}\r\n\r\n{canary}", Refused, Never),
    ("an exponent", "{post}Content-Length: 1e2\r\n\r\n{canary}", Refused, Never),
    ("a fraction", "{post}Content-Length: {length}.0\r\n\r\n{canary}", Refused, Never),
    ("an underscore", "{post}Content-Length: 1_0\r\n\r\n{canary}", Refused, Never),
    ("a space inside", "{post}Content-Length: 1 0\r\n\r\n{canary}", Refused, Never),
    ("letters behind", "{post}Content-Length: {length}x\r\n\r\n{canary}", Refused, Never),
    ("quoted", "{post}Content-Length: \"{length}\"\r\n\r\n{canary}", Refused, Never),
    ("empty", "{post}Content-Length:\r\n\r\n{canary}", Refused, Never),
    ("a NUL behind", "{post}Content-Length: {length}\0\r\n\r\n{canary}", Refused, Never),
    ("a digit that is not ASCII", "{post}Content-Length: \u{b2}\r\n\r\n{canary}", Refused, Never),
    ("a space before the colon", "{post}Content-Length : {length}\r\n\r\n{canary}", Refused, Never),
    ("on a folded line", "{post}Content-Length:\r\n {length}\r\n\r\n{canary}", Refused, Never),
    ("folded onto another header", "{post}X: y\r\n\tContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    ("2^64", "{post}Content-Length: 18446744073709551616\r\n\r\n{canary}", Refused, Never),
    ("2^64 and 10", "{post}Content-Length: 18446744073709551626\r\n\r\n{canary}", Refused, Never),
    ("2^64 - 1", "{post}Content-Length: 18446744073709551615\r\n\r\n{canary}", Endless(&[413]), Never),
    ("2^63 on a read", "{get}Content-Length: 9223372036854775808\r\n\r\n{canary}", Endless(&[200]), Never),
    ("a hundred digits", "{post}Content-Length: {nines}\r\n\r\n{canary}", Refused, Never),
    ("more than comes", "{post}Content-Length: 5000\r\n\r\n{canary}", Endless(&[400]), Never),
    (
        "named by Connection all the same",
        "{post}Connection: Content-Length\r\nContent-Length: {length}\r\n\r\n{canary}",
        Framed(&[400]),
        Never,
    ),
    ("none in a POST of HTTP/1.0", "{post1.0}\r\n{canary}", Either(&[400]), Never),
];

/// Chunks.
const CHUNKS: &[Case] = &[
    ("nothing in chunks", "{chunked}0\r\n\r\n{canary}", Framed(&[400, 201]), Next),
    ("several zeros", "{chunked}000000\r\n\r\n{canary}", Framed(&[400, 201]), Next),
    ("an extension", "{chunked}{hex};name=value\r\n{canary}\r\n0\r\n\r\n", Either(&[400]), Never),
    ("a quoted extension", "{chunked}{hex};name=\"a;b\"\r\n{canary}\r\n0;last\r\n\r\n", Either(&[400]), Never),
    ("an extension with a bare LF", "{chunked}2;\nxx\r\n{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("an extension with a bare CR", "{chunked}2;\rxx\r\n{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a long extension", "{chunked}{hex};{20000}\r\n{canary}\r\n0\r\n\r\n", Either(&[400]), Never),
    ("spaces behind the size", "{chunked}{hex} \t\r\n{canary}\r\n0\r\n\r\n", Either(&[400]), Never),
    ("a space before the size", "{chunked} {hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size with 0x", "{chunked}0x{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size with a plus", "{chunked}+{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size with a minus", "{chunked}-1\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size of letters", "{chunked}zz\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("no size", "{chunked}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size of 2^64", "{chunked}10000000000000000\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    (
        "a size that overflows to the right one",
        "{chunked}1000000000000{hex}\r\n{canary}\r\n0\r\n\r\n",
        Endless(&[400]),
        Never,
    ),
    ("a size too small", "{chunked}5\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("a size too large", "{chunked}ffff\r\n{canary}\r\n0\r\n\r\n", Endless(&[400]), Never),
    ("bare LF behind the size", "{chunked}{hex}\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("bare CR behind the size", "{chunked}{hex}\r{canary}\r\n0\r\n\r\n", Refused, Never),
    ("bare LF behind the bytes", "{chunked}1\r\nx\n{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("nothing behind the bytes", "{chunked}1\r\nx{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("two bytes behind the bytes", "{chunked}1\r\nxyz{hex}\r\n{canary}\r\n0\r\n\r\n", Refused, Never),
    ("bare LF behind the last", "{chunked}0\n\r\n{canary}", Refused, Never),
    ("trailers", "{chunked}{hex}\r\n{canary}\r\n0\r\nX: y\r\nContent-Length: 7\r\n\r\n", Either(&[400]), Never),
    (
        "trailers that frame",
        "{chunked}0\r\nTransfer-Encoding: chunked\r\nContent-Length: 900\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    ("no end", "{chunked}{hex}\r\n{canary}\r\n", Endless(&[400]), Never),
];

/// Ends of lines, folds and separators.
const LINES: &[Case] = &[
    (
        "bare LF everywhere",
        "GET /v1/events/{event}/availability HTTP/1.1\nHost: x\n\n{canary}",
        Either(&[200, 201]),
        Next,
    ),
    ("a length behind a bare LF", "{post}X: y\nContent-Length: {length}\r\n\r\n{canary}", Either(&[400]), Never),
    (
        "TE behind a bare LF",
        "{post}X: y\nTransfer-Encoding: chunked\r\n\r\n{hex}\r\n{canary}\r\n0\r\n\r\n",
        Either(&[400]),
        Never,
    ),
    ("a length behind a bare CR", "{post}X: y\rContent-Length: {length}\r\n\r\n{canary}", Refused, Never),
    (
        "TE behind a bare CR",
        "{post}Content-Length: {length}\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    ("bare CR everywhere", "GET /v1/events/{event}/availability HTTP/1.1\rHost: x\r\r{canary}", Refused, Never),
    ("CR CR LF", "{get}X: y\r\r\n\r\n{canary}", Refused, Never),
    ("an end of CR CR LF", "{get}\r\r\n{canary}", Refused, Never),
    ("LF CR", "{get}X: y\n\r\n\r{canary}", Endless(&[200, 400]), Never),
    ("an empty line before", "\r\n{get}\r\n{canary}", Framed(&[200, 201]), Next),
    ("empty lines before", "\r\n\r\n\r\n{get}\r\n{canary}", Either(&[200, 201]), Next),
    ("a bare LF before", "\n{get}\r\n{canary}", Either(&[200, 201]), Next),
    ("a space before", " {get}\r\n{canary}", Refused, Never),
    ("a fold", "{get}X: a\r\n b\r\n\r\n{canary}", Refused, Never),
    (
        "a fold right behind the first line",
        "GET /v1/events/{event}/availability HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "tabs in the first line",
        "GET\t/v1/events/{event}/availability\tHTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "two spaces in the first line",
        "GET  /v1/events/{event}/availability  HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a space behind the version",
        "GET /v1/events/{event}/availability HTTP/1.1 \r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a tab behind the version",
        "GET /v1/events/{event}/availability HTTP/1.1\t\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a space in the path",
        "GET /v1/events/{event}/availability x HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a request in the path",
        "GET /v1/events/{event}/availability%20HTTP/1.1%0d%0aHost:%20x HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Framed(&[404, 201]),
        Next,
    ),
];

/// Names and values of headers.
const HEADERS: &[Case] = &[
    ("no colon", "{get}X\r\n\r\n{canary}", Refused, Never),
    ("no name", "{get}: y\r\n\r\n{canary}", Refused, Never),
    ("a space in a name", "{get}X y: z\r\n\r\n{canary}", Refused, Never),
    ("a space behind a name", "{get}X : z\r\n\r\n{canary}", Refused, Never),
    ("a parenthesis in a name", "{get}X(y): z\r\n\r\n{canary}", Refused, Never),
    ("a name that is not ASCII", "{get}X\u{e4}: z\r\n\r\n{canary}", Refused, Never),
    ("a NUL in a name", "{get}X\0: z\r\n\r\n{canary}", Refused, Never),
    ("a NUL in a value", "{get}X: \0\r\n\r\n{canary}", Refused, Never),
    ("a DEL in a value", "{get}X: \x7f\r\n\r\n{canary}", Either(&[200, 201]), Next),
    ("a value that is not ASCII", "{get}X: \u{e4}\u{ff}\r\n\r\n{canary}", Either(&[200, 201]), Next),
    ("tabs in a value", "{get}X:\ta\tb\t\r\n\r\n{canary}", Framed(&[200, 201]), Next),
    ("no value", "{get}X:\r\n\r\n{canary}", Framed(&[200, 201]), Next),
    ("two Hosts", "{get}Host: y\r\n\r\n{canary}", Refused, Never),
    ("twice the same Host", "{get}Host: x\r\n\r\n{canary}", Refused, Never),
    ("no Host", "GET /v1/events/{event}/availability HTTP/1.1\r\n\r\n{canary}", Refused, Never),
    (
        "an empty Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost:\r\n\r\n{canary}",
        Either(&[200, 201]),
        Next,
    ),
    (
        "a space in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: a b\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "a list in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: a, b\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "a path in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: a/b\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "a user in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: a@b\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "a port of letters in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: a:http\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "a Host that is not ASCII",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: \u{e4}\r\n\r\n{canary}",
        Either(&[400, 201]),
        Next,
    ),
    (
        "an address of IPv6 in Host",
        "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: [::1]:80\r\n\r\n{canary}",
        Framed(&[200, 201]),
        Next,
    ),
    ("Connection: close", "{get}Connection: close\r\n\r\n{canary}", Last(&[200]), Never),
    ("close among others", "{get}Connection: keep-alive, Close\r\n\r\n{canary}", Last(&[200]), Never),
    ("close in a second line", "{get}Connection: keep-alive\r\nConnection: close\r\n\r\n{canary}", Last(&[200]), Never),
    ("close and a body", "{post}Connection: close\r\nContent-Length: {length}\r\n\r\n{canary}", Last(&[400]), Never),
    ("close behind an empty body", "{post}Connection: close\r\nContent-Length: 0\r\n\r\n{canary}", Last(&[400]), Never),
    (
        "close where nobody answers from memory",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{canary}",
        Last(&[200]),
        Never,
    ),
    ("close and an unknown option", "{get}Connection: close, x\r\n\r\n{canary}", LastThere(&[200]), Never),
    (
        "close and no chunks",
        "{post}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{canary}",
        LastThere(&[400]),
        Never,
    ),
    ("close behind chunks", "{chunked}0\r\n\r\n{get}Connection: close\r\n\r\n{canary}", LastThere(&[400, 200]), Never),
    ("close and Expect", "{get}Connection: close\r\nExpect: 100-continue\r\n\r\n{canary}", LastThere(&[200]), Never),
    ("Expect", "{post}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{canary}", Framed(&[400]), Never),
    ("Expect on a read", "{get}Expect: 100-continue\r\n\r\n{canary}", Framed(&[200, 201]), Next),
    ("Expect of something else", "{get}Expect: 200-ok\r\n\r\n{canary}", Either(&[200, 201]), Next),
    (
        "Upgrade: h2c",
        "{get}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n{canary}",
        LastThere(&[200]),
        Next,
    ),
    (
        "Upgrade: websocket where there is none",
        "{post}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n\r\n{canary}",
        Endless(&[400]),
        Never,
    ),
    (
        "Upgrade: websocket on a read",
        "{get}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n\r\n{canary}",
        Endless(&[200]),
        Never,
    ),
    ("60 headers", "{get}{60 headers}\r\n{canary}", Either(&[200, 201]), Next),
    ("96 headers", "{get}{95 headers}\r\n{canary}", Either(&[200, 201]), Next),
    ("97 headers", "{get}{96 headers}\r\n{canary}", Either(&[431, 201]), Next),
    ("2,000 headers", "{get}{2000 headers}\r\n{canary}", Either(&[431, 201]), Next),
    ("a value of 20,000 bytes", "{get}X: {20000}\r\n\r\n{canary}", Either(&[431, 201]), Next),
    ("a name of 20,000 bytes", "{get}{20000}: y\r\n\r\n{canary}", Either(&[431, 201]), Next),
    ("a head without an end", "{get}X: {200000}", Refused, Never),
];

/// First lines: methods, targets, versions.
const FIRST: &[Case] = &[
    (
        "a method in small letters",
        "get /v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Either(&[405, 201]),
        Next,
    ),
    (
        "a method that is no word",
        "G@T /v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a method of 20,000 bytes",
        "{20000} /v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Either(&[431, 201]),
        Next,
    ),
    ("a path of 20,000 bytes", "GET /v1/events/{20000} HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Either(&[414, 201]), Next),
    (
        "a query of 20,000 bytes",
        "GET /v1/events/{event}/availability?{20000} HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Either(&[414, 201]),
        Next,
    ),
    ("a path of 200,000 bytes", "GET /{200000} HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Either(&[414, 201]), Next),
    ("a NUL in the path", "GET /v1/events/{event}\0/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Refused, Never),
    (
        "a path that is not ASCII",
        "GET /v1/events/\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Either(&[404, 201]),
        Next,
    ),
    ("a path in UTF-8", "GET /v1/events/\u{c3}\u{a4} HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Either(&[404, 201]), Next),
    (
        "a path without a slash",
        "GET v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    (
        "a fragment",
        "GET /v1/events/{event}/availability#x HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Either(&[200, 201]),
        Next,
    ),
    (
        "absolute-form",
        "GET http://x/v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Framed(&[200, 201]),
        Next,
    ),
    (
        "absolute-form of another host",
        "GET http://y:81/v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n\r\n{canary}",
        Framed(&[200, 201]),
        Next,
    ),
    (
        "absolute-form with a body",
        "GET http://x/v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{canary}",
        Framed(&[200]),
        Never,
    ),
    ("authority-form", "GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Either(&[404, 201]), Next),
    ("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n{canary}", Endless(&[404]), Never),
    ("asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n{canary}", Either(&[404, 201]), Next),
    ("HTTP/0.9", "GET /v1/events/{event}/availability\r\n{canary}", Refused, Never),
    ("HTTP/1.0", "GET /v1/events/{event}/availability HTTP/1.0\r\nHost: x\r\n\r\n{canary}", Last(&[200]), Never),
    ("HTTP/1.0 and an empty body", "{post1.0}Content-Length: 0\r\n\r\n{canary}", Last(&[400]), Never),
    (
        "HTTP/1.0 behind chunks",
        "{chunked}0\r\n\r\nGET /v1/events/{event}/availability HTTP/1.0\r\n\r\n{canary}",
        LastThere(&[400, 200]),
        Never,
    ),
    (
        "HTTP/1.0 that stays",
        "GET /v1/events/{event}/availability HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{canary}",
        Either(&[200, 201]),
        Next,
    ),
    ("HTTP/1.2", "GET /v1/events/{event}/availability HTTP/1.2\r\nHost: x\r\n\r\n{canary}", Refused, Never),
    ("HTTP/1.10", "GET /v1/events/{event}/availability HTTP/1.10\r\nHost: x\r\n\r\n{canary}", Refused, Never),
    ("HTTP/2.0", "GET /v1/events/{event}/availability HTTP/2.0\r\nHost: x\r\n\r\n{canary}", Refused, Never),
    (
        "http in small letters",
        "GET /v1/events/{event}/availability http/1.1\r\nHost: x\r\n\r\n{canary}",
        Refused,
        Never,
    ),
    ("no version", "GET /v1/events/{event}/availability \r\nHost: x\r\n\r\n{canary}", Refused, Never),
    ("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{canary}", Refused, Never),
    ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03{canary}", Refused, Never),
];

/// All of them.
pub(super) fn cases() -> impl Iterator<Item = &'static Case> {
    [CODINGS, LENGTHS, CHUNKS, LINES, HEADERS, FIRST].into_iter().flatten()
}

/// The bytes of a case for this event, customer and canary.
pub(super) fn bytes(text: &str, event: &str, bearer: &str, canary: &str) -> Vec<u8> {
    let post = format!(
        "POST /v1/events/{event}/holds HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"
    );
    let headers = |count: usize| (0..count).map(|nth| format!("x-{nth}: y\r\n")).collect::<String>();
    let text = text
        .replace("{chunked}", "{post}Transfer-Encoding: chunked\r\n\r\n")
        .replace("{post1.0}", &post.replace("HTTP/1.1", "HTTP/1.0"))
        .replace("{post}", &post)
        .replace("{get}", "GET /v1/events/{event}/availability HTTP/1.1\r\nHost: x\r\n")
        .replace("{event}", event)
        .replace("{60 headers}", &headers(60))
        .replace("{95 headers}", &headers(95))
        .replace("{96 headers}", &headers(96))
        .replace("{2000 headers}", &headers(2000))
        .replace("{200000}", &"x".repeat(200_000))
        .replace("{20000}", &"x".repeat(20_000))
        .replace("{nines}", &"9".repeat(100))
        .replace("{hex}", &format!("{:x}", canary.len()))
        .replace("{length}", &canary.len().to_string())
        .replace("{canary}", canary);
    text.chars().map(|one| u8::try_from(u32::from(one)).expect("Latin-1")).collect()
}
