//! Tests of the walk through proxies, and of the headers that go on.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let mut headers = HeaderMap::new();
    pairs.for_each(|(name, value): (HeaderName, HeaderValue)| {
        headers.append(name, value);
    });
    headers
}

fn client(peer: &str, lists: &[&str], trusted: &[&str]) -> String {
    let pairs: Vec<_> = lists.iter().map(|list| ("x-forwarded-for", *list)).collect();
    client_ip(ip(peer), &headers(&pairs), &nets(trusted)).to_string()
}

#[test]
fn the_client_is_the_first_address_from_the_right_that_is_no_trusted_proxy() {
    let ours = &["10.0.0.0/8", "fd00::/8"];
    for (peer, lists, expected) in [
        ("203.0.113.9", &["1.2.3.4"][..], "203.0.113.9"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", &["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
        ("10.0.0.1", &["6.6.6.6", "1.2.3.4,10.2.2.2"], "1.2.3.4"),
        ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", &["1.1.1.1, [fd00::7]:443"], "1.1.1.1"),
        ("fd00::1", &["1.2.3.4"], "1.2.3.4"),
        ("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["1.2.3.4, , ,"], "1.2.3.4"),
        ("10.0.0.1", &["", " "], "10.0.0.1"),
    ] {
        assert_eq!(client(peer, lists, ours), expected, "{peer} {lists:?}");
    }
}

#[test]
fn garbage_ends_the_walk_at_the_proxy_that_wrote_it() {
    for garbage in ["unknown", "_hidden", "1.2.3", "1.2.3.4.5", "1.2.3.4:99999", "[::1", "a\u{e9}", "\"1.2.3.4\""] {
        assert_eq!(client("10.0.0.1", &[garbage], &["10.0.0.0/8"]), "10.0.0.1", "{garbage}");
        let list = format!("6.6.6.6, {garbage}, 10.0.0.2");
        assert_eq!(client("10.0.0.1", &[&list], &["10.0.0.0/8"]), "10.0.0.2", "{garbage}");
        let list = format!("{garbage}, 1.2.3.4");
        assert_eq!(client("10.0.0.1", &[&list], &["10.0.0.0/8"]), "1.2.3.4", "{garbage}");
    }
}

fn judged(peer: &str, by_tls: bool, authority: Option<&str>, pairs: &[(&'static str, &str)]) -> Forwarding {
    Forwarding::of(ip(peer), by_tls, authority, &headers(pairs), &nets(&["10.0.0.0/8"]))
}

fn set(forwarding: Forwarding) -> Vec<(String, String)> {
    forwarding.set().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_untrusted_peer_is_not_believed() {
    let told = [
        ("host", "api.test"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-prefix", "/a"),
        ("x_forwarded_for", "1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
        ("forwarded", "for=1.1.1.1"),
        ("accept", "*/*"),
    ];
    let forwarding = judged("203.0.113.9", false, None, &told);
    assert_eq!(forwarding.client, ip("203.0.113.9"));
    let mut removed: Vec<&str> = forwarding.remove.iter().map(HeaderName::as_str).collect();
    removed.sort_unstable();
    let expected = ["for", "host", "prefix", "proto"].map(|what| format!("x-forwarded-{what}"));
    assert_eq!(removed[1..5], expected);
    assert_eq!([removed[0], removed[5], removed[6]], ["forwarded", "x-real-ip", "x_forwarded_for"]);
    assert_eq!(removed.len(), 7);
    let expected =
        [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "api.test")];
    assert_eq!(set(forwarding), pairs(&expected));
}

#[test]
fn a_trusted_peers_word_goes_on() {
    let told = [
        ("host", "inner.test"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.test"),
        ("forwarded", "for=1.1.1.1"),
    ];
    let forwarding = judged("10.0.0.9", false, None, &told);
    assert_eq!(forwarding.client, ip("2.2.2.2"));
    assert_eq!(forwarding.remove, [] as [HeaderName; 0]);
    let expected = [
        ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.test"),
    ];
    assert_eq!(set(forwarding), pairs(&expected));
}

#[test]
fn what_nobody_told_is_what_we_saw() {
    let forwarding = judged("10.0.0.9", true, Some("h2.test:443"), &[("x-forwarded-proto", "gopher")]);
    let expected =
        [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "h2.test:443")];
    assert_eq!(set(forwarding), pairs(&expected));
    assert_eq!(judged("::ffff:1.2.3.4", true, None, &[]).forwarded_for, "1.2.3.4");
    assert_eq!(judged("1.2.3.4", true, None, &[]).host, None);
}

proptest! {
    /// A client behind a trusted proxy can write what it likes: it is found under its own address.
    #[test]
    fn nothing_that_a_client_writes_hides_it(forged in proptest::collection::vec(any::<Vec<u8>>(), 0..4), hops in 0u8..4) {
        let mut headers = HeaderMap::new();
        for value in forged.iter().filter_map(|bytes| HeaderValue::from_bytes(bytes).ok()) {
            headers.append(X_FORWARDED_FOR, value);
        }
        let trusted = nets(&["10.0.0.0/8"]);
        let true_client = ip("203.0.113.9");
        // the client's own hop, then each trusted proxy's
        let mut peer = true_client;
        for hop in 0..hops {
            let list = appended(peer, &headers, true);
            headers.insert(X_FORWARDED_FOR, list);
            peer = ip(&format!("10.0.0.{}", hop + 1));
        }
        prop_assert_eq!(client_ip(peer, &headers, &trusted), true_client);
        let forwarding = Forwarding::of(peer, false, None, &headers, &trusted);
        prop_assert!(forwarding.forwarded_for.as_bytes().ends_with(peer.to_string().as_bytes()));
    }
}
