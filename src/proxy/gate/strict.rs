//! The strict reading of one HTTP/1 header: what two readers could read in two ways is refused before anybody routes on it.
//!
//! [`read`] goes through the header once and says where it ends and how the body is framed; [`HeaderEnd`] finds the blank
//! line of one that comes in many pieces, without starting over at each. Lines end in CRLF, names are tokens, nothing holds
//! control bytes. Sizes are in bytes. No length and no transfer coding means: no body.

use memchr::memchr;

use super::refusal::Refusal;

/// Longest request target.
pub const MAX_TARGET: usize = 16 * 1024;
/// Longest request line that may still turn out to hold a target within its limit.
const MAX_REQUEST_LINE: usize = MAX_TARGET + 64;
/// Longest path that is shown of a refused request.
const MAX_SHOWN: usize = 1024;
/// Most fields of one header.
const MAX_FIELDS: usize = 200;
/// Digits of the largest length that is read: all such numbers fit into 64 bits.
const MAX_DIGITS: usize = 18;

const BARE_LF: Refusal = Refusal::bad("a header line ends without CRLF");

/// How a request goes on after its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// The body's length, if it was given.
    pub content_length: Option<u64>,
    /// The body comes in chunks.
    pub chunked: bool,
    /// The client offers to go on in another protocol.
    pub upgrade: bool,
}

/// Finds the end of a header that may arrive in pieces. Empty lines before the request line are passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderEnd {
    scanned: usize,
    line: usize,
    begun: bool,
}

impl HeaderEnd {
    /// Nothing was searched yet.
    pub fn is_new(&self) -> bool {
        self.scanned == 0
    }

    /// The header's length, blank line included, once it is whole. `bytes` starts where it started the last time.
    ///
    /// # Errors
    /// A line that ends in a bare LF, or a beginning that cannot become a request line.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(found) = memchr(b'\n', &bytes[self.scanned..]) {
            let at = self.scanned + found;
            if at == self.line || bytes[at - 1] != b'\r' {
                return Err(BARE_LF);
            }
            let empty = at - 1 == self.line;
            self.scanned = at + 1;
            self.line = at + 1;
            if empty && self.begun {
                return Ok(Some(at + 1));
            }
            self.begun |= !empty;
        }
        self.scanned = bytes.len();
        if !self.begun {
            self.check_start(&bytes[self.line..])?;
        }
        Ok(None)
    }

    /// An unfinished request line: refused as soon as it can only be wrong.
    fn check_start(&self, line: &[u8]) -> Result<(), Refusal> {
        // a method is far shorter than this; longer ones are judged when the line is whole
        let method = &line[..line.len().min(32)];
        let method = method.split(|byte| *byte == b' ').next().unwrap_or_default();
        if !is_token(method) && !matches!(method, b"" | b"\r") {
            return Err(Refusal::bad("the request line is malformed"));
        }
        if line.len() > MAX_REQUEST_LINE { Err(Refusal::URI_TOO_LONG) } else { Ok(()) }
    }
}

/// Reads the header that `bytes` begin with: its length, blank line included, and the framing of the body. `None` while
/// the header is not whole.
///
/// # Errors
/// What is wrong with it, with the status to answer.
pub fn read(bytes: &[u8]) -> Result<Option<(usize, Framing)>, Refusal> {
    let mut lines = Lines { bytes, at: 0, count: 0 };
    let line = loop {
        match lines.next()? {
            None => return Ok(None),
            Some([]) => {}
            Some(line) => break line,
        }
    };
    let request = RequestLine::read(line)?;
    let mut seen = Seen::default();
    for nth in 0.. {
        match lines.next()? {
            None => return Ok(None),
            Some([]) => break,
            Some(_) if nth == MAX_FIELDS => return Err(Refusal::new(431, "the request has too many header fields")),
            Some(line) => seen.field(line)?,
        }
    }
    // each line has its CR and LF, so there must be no others
    if controls(&bytes[..lines.at]) != 2 * lines.count {
        return Err(Refusal::bad("the header has control bytes"));
    }
    Ok(Some((lines.at, seen.judge(&request)?)))
}

/// The path of a refused request, without its query: empty where there is none, or none to show.
pub fn path(header: &[u8]) -> &str {
    let start = header.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(header.len());
    let Some((line, _)) = split(&header[start..], b'\r') else { return "" };
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = split_absolute(target).map_or(target, |(_, path)| path);
    let path = &path[..memchr(b'?', path).unwrap_or(path.len())];
    let fine = path.len() <= MAX_SHOWN && path.iter().all(|byte| TARGET[*byte as usize]);
    if fine { std::str::from_utf8(path).unwrap_or_default() } else { "" }
}

/// Lines without their CRLF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, Refusal> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr(b'\n', rest) else { return Ok(None) };
        let line = rest[..end].strip_suffix(b"\r").ok_or(BARE_LF)?;
        self.at += end + 1;
        self.count += 1;
        Ok(Some(line))
    }
}

/// Control bytes, tabs not counted.
fn controls(bytes: &[u8]) -> usize {
    // sums of at most 255 ones, so that the compiler can take many bytes at a time
    let sum = |bytes: &[u8]| {
        let ones = bytes.iter().map(|byte| u8::from((*byte < b' ') & (*byte != b'\t') | (*byte == 0x7f)));
        usize::from(ones.fold(0, u8::wrapping_add))
    };
    bytes.chunks(255).map(sum).sum()
}

struct RequestLine<'a> {
    /// HTTP/1.1, not 1.0.
    is_11: bool,
    /// Of a target in absolute form.
    authority: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Result<RequestLine<'a>, Refusal> {
        let malformed = Refusal::bad("the request line is malformed");
        let (method, rest) = split(line, b' ').ok_or(malformed)?;
        let (target, version) = split(rest, b' ').ok_or(malformed)?;
        if !is_token(method) {
            return Err(malformed);
        }
        let is_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Refusal::new(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
            }
            _ => return Err(malformed),
        };
        if method == b"CONNECT" {
            return Err(Refusal::new(405, "this is no proxy that connects to others"));
        }
        if target.len() > MAX_TARGET {
            return Err(Refusal::URI_TOO_LONG);
        }
        if !target.iter().all(|byte| TARGET[*byte as usize]) {
            return Err(Refusal::bad("the request target has bytes that must be escaped"));
        }
        let authority = match target {
            [b'/', ..] => None,
            b"*" if method == b"OPTIONS" => None,
            _ => Some(split_absolute(target).ok_or(malformed)?.0),
        };
        Ok(RequestLine { is_11, authority })
    }
}

/// What the fields said so far.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl<'a> Seen<'a> {
    fn field(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        if matches!(line, [b' ' | b'\t', ..]) {
            return Err(Refusal::bad("a header line is folded"));
        }
        let end = line.iter().position(|byte| !TOKEN[*byte as usize]).unwrap_or(line.len());
        let (name, value) = match line.split_at(end) {
            ([_, ..], [b':', ..]) => (&line[..end], &line[end + 1..]),
            ([_, ..], []) => return Err(Refusal::bad("a header line has no colon")),
            _ => return Err(Refusal::bad("a header name is malformed")),
        };
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(trim(value)),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if !is_authority(value) {
            return Err(Refusal::bad("the Host header is malformed"));
        }
        match self.host.replace(value) {
            Some(_) => Err(Refusal::bad("the request has more than one Host header")),
            None => Ok(()),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::bad("the Content-Length header is malformed"));
        }
        let length = value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0'));
        match self.length.replace(length) {
            Some(_) => Err(Refusal::bad("the request has more than one Content-Length header")),
            None => Ok(()),
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::bad("the request has more than one Transfer-Encoding header"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        Err(if last.len() < value.len() && trim(last).eq_ignore_ascii_case(b"chunked") {
            Refusal::new(501, "the only transfer coding known here is chunked")
        } else {
            Refusal::bad("the only transfer coding known here is chunked")
        })
    }

    fn judge(self, request: &RequestLine<'_>) -> Result<Framing, Refusal> {
        if request.is_11 && self.host.is_none() {
            return Err(Refusal::bad("the request has no Host header"));
        }
        if let Some(authority) = request.authority
            && (!is_authority(authority) || self.host.is_some_and(|host| host != authority))
        {
            return Err(Refusal::bad("the request target names another host than the Host header"));
        }
        if self.chunked && self.length.is_some() {
            return Err(Refusal::bad("the request has both Content-Length and Transfer-Encoding"));
        }
        if self.chunked && !request.is_11 {
            return Err(Refusal::bad("HTTP/1.0 knows no Transfer-Encoding"));
        }
        Ok(Framing { content_length: self.length, chunked: self.chunked, upgrade: self.upgrade && request.is_11 })
    }
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(at, bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Authority and path of a target in absolute form.
fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = split(target, b':')?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"//")?;
    Some(rest.split_at(rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len())))
}

/// Without spaces and tabs at both ends.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A host name or address with an optional port.
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some((address, port)) = split(rest, b']') else { return false };
            let fine = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if !address.iter().all(fine) {
                return false;
            }
            (address, port)
        }
        _ => {
            let (host, port) = value.split_at(memchr(b':', value).unwrap_or(value.len()));
            if !host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%'))
            {
                return false;
            }
            (host, port)
        }
    };
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && port_is_fine
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[*byte as usize])
}

/// Bytes of methods and field names.
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// Bytes of request targets: what URIs are made of, and a few that clients leave unescaped.
const TARGET: [bool; 256] = table(b"-._~:/?[]@!$&'()*+,;=%|^`{}");

const fn table(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
}

/// Whether a byte may be in a method or a field name.
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

#[cfg(test)]
mod tests;
