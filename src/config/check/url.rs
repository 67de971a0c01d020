//! An endpoint's URL: http or https, host, port, base path; no user, query or fragment.

use http::Uri;

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    /// Lower case, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// Empty, or from `/` on without a trailing `/`.
    pub(super) base_path: String,
}

/// What a URL may be, for findings.
pub(super) const ALLOWED: &str = "http:// or https://, a host, maybe a port and a base path: http://127.0.0.1:11434";

/// The parts, or what is wrong.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    if text.contains('#') {
        return Err("it has a fragment (`#`)".into());
    }
    let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(other) => return Err(format!("its scheme is `{other}`")),
        None => return Err("it has no scheme".into()),
    };
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("it holds a user or password; use `api_key_file` or `headers`".into());
    }
    if uri.query().is_some() {
        return Err("it has a query (`?`)".into());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let port_text = authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    let port = match port_text {
        None => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("`{port}` is no port")),
        },
    };
    if host.is_empty() {
        return Err("it has no host".into());
    }
    let base_path = uri.path().trim_end_matches('/').to_string();
    if base_path.contains("//") || base_path.split('/').any(|part| part == "." || part == "..") {
        return Err("its base path has empty, `.` or `..` parts".into());
    }
    Ok(Url { tls, host, port, base_path })
}

impl Url {
    /// The same for every way to write the same endpoint.
    pub(super) fn key(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_all_parts() {
        for (text, key) in [
            ("http://127.0.0.1:11435", "http://127.0.0.1:11435"),
            ("http://Gaming-PC.lan", "http://gaming-pc.lan:80"),
            ("https://api.example.net/v1/", "https://api.example.net:443/v1"),
            ("http://[::1]:8000", "http://::1:8000"),
        ] {
            assert_eq!(parse(text).map(|url| url.key()).as_deref(), Ok(key), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_no_meaning_here() {
        for (text, part) in [
            ("127.0.0.1:11434", ""),
            ("localhost", "no scheme"),
            ("ftp://a", "scheme is `ftp`"),
            ("http://user:pw@a", "password"),
            ("http://a?x=1", "query"),
            ("http://a#x", "fragment"),
            ("http://a:0", "no port"),
            ("http://a:99999", ""),
            ("http://a/../b", "base path"),
            ("http://", ""),
            ("http:// a", ""),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
