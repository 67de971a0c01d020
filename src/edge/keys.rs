//! Which client a key belongs to.
//!
//! Only SHA-256 digests of keys are known, never keys. Rule: hash what the client presents, compare with every digest
//! in constant time, answer with the name. All digests are looked at, whether or not one was found: the time tells
//! neither how much of a digest was right nor whose it was. That costs about 2 ns per key, so thousands of keys need
//! no index. No key, or an unknown one, is `None`.
//!
//! The client's key is for us alone and must not reach an engine: where keys are asked for at all, on routes open to
//! everybody too, all of [`KEY_HEADERS`] are taken away before the endpoint's own are set.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The headers in which a client may present its key, in the order in which they count.
pub const KEY_HEADERS: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// The value of `WWW-Authenticate` in a 401.
pub const CHALLENGE: &str = "Bearer";
/// The message to a client without a key.
pub const MISSING_KEY: &str = "no API key given; send it as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"";
/// The message to a client with an unknown key.
pub const WRONG_KEY: &str = "the API key is not known here";

/// The clients that are let in.
#[derive(Clone, Default)]
pub struct Keys {
    names: Vec<Arc<str>>,
    digests: Vec<Words>,
}

/// A SHA-256 digest; as words it compares some hundred times faster than byte by byte.
type Words = [u64; 4];

fn words(digest: [u8; 32]) -> Words {
    let (words, _) = digest.as_chunks::<8>();
    std::array::from_fn(|place| u64::from_ne_bytes(words[place]))
}

impl Keys {
    /// Clients by name, with the SHA-256 of their keys. A client may have several keys.
    pub fn new(clients: impl IntoIterator<Item = (Arc<str>, [u8; 32])>) -> Keys {
        let (names, digests) = clients.into_iter().map(|(name, digest)| (name, words(digest))).unzip();
        Keys { names, digests }
    }

    /// The name of the client that has this key.
    pub fn client(&self, presented: &[u8]) -> Option<Arc<str>> {
        const NOBODY: u64 = u64::MAX;
        let digest = words(Sha256::digest(presented).into());
        let mut found = NOBODY;
        for (place, known) in (0u64..).zip(&self.digests) {
            // no branch on the way: the bits that differ, of all words
            let differing = known.iter().zip(&digest).fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs));
            found.conditional_assign(&place, differing.ct_eq(&0));
        }
        self.names.get(usize::try_from(found).ok()?).cloned()
    }
}

impl fmt::Debug for Keys {
    /// Names only.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(&self.names).finish()
    }
}

/// The key that a request carries: `Authorization: Bearer KEY`, else `x-api-key` (Anthropic's clients), else `api-key`
/// (Azure's). Another kind of `Authorization` and an empty value are passed over. Query strings are never looked at:
/// they end up in logs.
pub fn presented_key(headers: &HeaderMap) -> Option<&[u8]> {
    KEY_HEADERS.iter().find_map(|name| {
        let value = headers.get(name)?.as_bytes();
        let key = if name == AUTHORIZATION { bearer(value)? } else { value };
        Some(key.trim_ascii()).filter(|key| !key.is_empty())
    })
}

/// What follows `Bearer`, a word whose letter case does not count.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn digest(key: &str) -> [u8; 32] {
        Sha256::digest(key).into()
    }

    fn keys(clients: &[(&str, &str)]) -> Keys {
        Keys::new(clients.iter().map(|(name, key)| (Arc::from(*name), digest(key))))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn each_key_names_its_client() {
        let keys = keys(&[("ann", "sk-1"), ("bob", "sk-2"), ("ann", "sk-3")]);
        let who = |key: &str| keys.client(key.as_bytes()).map(|name| name.to_string());
        assert_eq!(who("sk-1").as_deref(), Some("ann"));
        assert_eq!(who("sk-2").as_deref(), Some("bob"));
        assert_eq!(who("sk-3").as_deref(), Some("ann"));
        for wrong in ["", "sk-", "sk-12", "SK-1", "sk-1 "] {
            assert_eq!(who(wrong), None, "{wrong:?}");
        }
        assert_eq!(Keys::default().client(b""), None);
    }

    #[test]
    fn every_bit_of_a_digest_counts() {
        let digest = digest("sk-1");
        for bit in 0..256 {
            let mut other = digest;
            other[bit / 8] ^= 1 << (bit % 8);
            let keys = Keys::new([(Arc::from("ann"), other)]);
            assert_eq!(keys.client(b"sk-1"), None, "bit {bit}");
        }
    }

    #[test]
    fn the_digest_is_that_of_other_tools() {
        // echo -n "abc" | sha256sum
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let keys = Keys::new([(Arc::from("ann"), bytes.try_into().unwrap())]);
        assert_eq!(keys.client(b"abc").as_deref(), Some("ann"));
    }

    #[test]
    fn a_digest_is_no_key() {
        let keys = keys(&[("ann", "sk-1")]);
        assert_eq!(keys.client(&digest("sk-1")), None);
    }

    #[test]
    fn debug_text_holds_names_only() {
        assert_eq!(format!("{:?}", keys(&[("ann", "sk-1")])), "[\"ann\"]");
    }

    #[test]
    fn a_key_is_found_where_clients_put_it() {
        for (pairs, expected) in [
            (&[("authorization", "Bearer k")][..], Some("k")),
            (&[("authorization", "bEARER  k ")], Some("k")),
            (&[("x-api-key", "k")], Some("k")),
            (&[("api-key", "k")], Some("k")),
            (&[("x-api-key", "x"), ("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "Basic dTpw"), ("x-api-key", "k")], Some("k")),
            (&[("authorization", "Bearer "), ("api-key", "k")], Some("k")),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "Bearerk")], None),
            (&[("authorization", "k")], None),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            assert_eq!(presented_key(&headers(pairs)), expected.map(str::as_bytes), "{pairs:?}");
        }
    }

    proptest! {
        /// Agrees with a plain look-up.
        #[test]
        fn only_known_keys_open(known in proptest::collection::vec("[ab]{0,3}", 0..20), asked in "[abc]{0,3}") {
            let keys = Keys::new(known.iter().map(|key| (Arc::from(key.as_str()), digest(key))));
            let expected = known.iter().find(|key| **key == asked).map(String::as_str);
            let found = keys.client(asked.as_bytes());
            prop_assert_eq!(found.as_deref(), expected);
        }

        /// No header value is too strange.
        #[test]
        fn any_value_is_read(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
                let key = presented_key(&headers);
                prop_assert!(key.is_none_or(|key| !key.is_empty() && key.trim_ascii() == key));
            }
        }
    }
}
