//! Headers that are let in, and headers that are not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn framing(header: &str) -> Result<Framing, Refusal> {
    let (length, framing) = read(format!("{header}body\n").as_bytes())?.expect("a whole header");
    assert_eq!(length, header.len());
    assert_eq!(HeaderEnd::default().find(header.as_bytes()), Ok(Some(length)));
    Ok(framing)
}

fn status(header: &str) -> u16 {
    framing(header).map_or_else(|refusal| refusal.status, |_| 200)
}

/// A POST with these lines.
fn post(lines: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn framing_is_what_the_fields_say() {
    let none = Framing::default();
    assert_eq!(framing("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Ok(none));
    assert_eq!(framing(&post("content-length: 0")), Ok(Framing { content_length: Some(0), ..none }));
    assert_eq!(framing(&post("Content-Length:\t12 ")), Ok(Framing { content_length: Some(12), ..none }));
    assert_eq!(framing(&post("TRANSFER-ENCODING: Chunked")), Ok(Framing { chunked: true, ..none }));
    assert_eq!(framing(&post("upgrade: websocket")), Ok(Framing { upgrade: true, ..none }));
}

#[test]
fn what_is_well_formed_is_let_in() {
    for header in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nupgrade: x\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://a:80/x?y HTTP/1.1\r\nhost: a:80\r\n\r\n",
        "GET HTTPS://a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:my_engine.local:8080\r\n\r\n",
        "get /%00?{a}|b HTTP/1.1\r\nhost: a\r\nx-empty:\r\nx-latin: caf\u{e9}\r\nx-tab: a\tb\r\n!#$%&'*+-.^_`|~9: 1\r\n\r\n",
    ] {
        assert_eq!(status(header), 200, "{header:?}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (header, expected) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a:b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: :80\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: [::1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: [::1]x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: a,b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n host: a\r\n\r\n".to_owned(), 400),
        ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET http:/// HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET a HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /  HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /\tHTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET /\r\nhost: a\r\n\r\n".to_owned(), 400),
        (" GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("G(T / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / http/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.10\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\n".to_owned(), 505),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), 405),
        ("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(MAX_TARGET)), 414),
        (post("content-length: 5\r\ntransfer-encoding: chunked"), 400),
        (post("content-length: 5\r\ncontent-length: 5"), 400),
        (post("content-length: 5\r\nContent-Length: 6"), 400),
        (post("content-length: +13"), 400),
        (post("content-length: -1"), 400),
        (post("content-length: 13,13"), 400),
        (post("content-length: 1 3"), 400),
        (post("content-length: 0x10"), 400),
        (post("content-length:"), 400),
        (post("content-length: 99999999999999999999"), 400),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), 400),
        (post("transfer-encoding: identity"), 400),
        (post("transfer-encoding: xchunked"), 400),
        (post("transfer-encoding: chunked, identity"), 400),
        (post("transfer-encoding: gzip, chunked"), 501),
        (post("transfer-encoding: \"chunked\""), 400),
        (post("transfer-encoding:"), 400),
        (post("transfer-encoding : chunked"), 400),
        (post("transfer-encoding\t: chunked"), 400),
        (post("transfer-encoding: \x0bchunked"), 400),
        (post("x: a\r\n folded"), 400),
        (post("x: a\0b"), 400),
        (post("x: a\rb"), 400),
        (post("x: a\x7fb"), 400),
        (post("x: a\x1bb"), 400),
        (post("no colon"), 400),
        (post(": no name"), 400),
        (post("x(y): 1"), 400),
        (post("x\0y: 1"), 400),
        (post("x: 1\ny: 2"), 400),
        (post("x: 1\r\r\ny: 2"), 400),
    ] {
        assert_eq!(status(&header), expected, "{header:?}");
    }
}

#[test]
fn the_end_is_found_in_any_split() {
    let header = b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for step in 1..header.len() {
        let mut end = HeaderEnd::default();
        for upto in (step..header.len()).step_by(step) {
            assert_eq!(end.find(&header[..upto]), Ok(None), "{upto}");
            assert_eq!(read(&header[..upto]), Ok(None), "{upto}");
        }
        assert_eq!(end.find(&[header, &b"body\n"[..]].concat()), Ok(Some(header.len())), "in {step}");
    }
}

#[test]
fn paths_are_shown_without_their_query_and_only_if_printable() {
    for (header, expected) in [
        ("POST /api/chat?key=secret HTTP/1.1\r\n", "/api/chat"),
        ("POST http://a/v1/messages HTTP/1.1\r\n", "/v1/messages"),
        ("POST /a\x1b[31m HTTP/1.1\r\n", ""),
        ("POST\r\n", ""),
        ("POST /unfinished", ""),
        ("", ""),
    ] {
        assert_eq!(path(header.as_bytes()), expected, "{header:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), header in "[A-Za-z :/\r\n\t0-9.]{0,200}") {
        for bytes in [bytes.as_slice(), header.as_bytes()] {
            let _ = HeaderEnd::default().find(bytes);
            let _ = read(bytes);
            let _ = path(bytes);
        }
    }
}
