//! Where an HTTP/1 request and its answer end: by length or by chunks. What has neither ends with its connection.

/// The head of a request.
pub struct Head {
    text: String,
    length: usize,
}

impl Head {
    /// The head at the beginning of `bytes`, if it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Head> {
        let length = end_of_head(bytes)?;
        Some(Head { text: String::from_utf8_lossy(&bytes[..length]).to_lowercase(), length })
    }

    /// Bytes of head and body.
    pub fn size(&self) -> usize {
        self.length + self.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0)
    }

    /// True if it asks for tokens: what a cap is about.
    pub fn inference(&self) -> bool {
        self.text.starts_with("post ")
    }

    /// When its client sent it, in microseconds on the run's clock.
    pub fn sent(&self) -> Option<u64> {
        self.header("x-soak-sent")?.parse().ok()
    }

    fn header(&self, name: &str) -> Option<&str> {
        header(&self.text, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4)
}

/// How much of an answer has passed.
#[derive(Default)]
pub struct Answer {
    part: Part,
    /// What has come and is not understood yet.
    unread: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Part {
    #[default]
    Head,
    /// Bytes that are left.
    Body(usize),
    ChunkSize,
    /// Bytes that are left, the line's end behind them included.
    Chunk(usize),
    /// Behind the last chunk.
    Trailer,
    /// Ends with the connection.
    Open,
    End,
}

impl Answer {
    /// Looks at the next bytes; true once the answer is whole.
    pub fn passes(&mut self, bytes: &[u8]) -> bool {
        self.unread.extend_from_slice(bytes);
        while self.step() {}
        self.part == Part::End
    }

    /// Understands one part; false if that needs more bytes.
    fn step(&mut self) -> bool {
        match self.part {
            Part::End => false,
            Part::Open => {
                self.unread.clear();
                false
            }
            Part::Head => match end_of_head(&self.unread) {
                Some(end) => {
                    let head = String::from_utf8_lossy(&self.unread[..end]).to_lowercase();
                    self.unread.drain(..end);
                    self.part = body_of(&head);
                    true
                }
                None => false,
            },
            Part::Body(left) => self.skip(left, Part::Body, Part::End),
            Part::Chunk(left) => self.skip(left, Part::Chunk, Part::ChunkSize),
            Part::ChunkSize => match self.line() {
                Some(line) => {
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(digits, 16).expect("an engine's chunk has a size");
                    self.part = if size == 0 { Part::Trailer } else { Part::Chunk(size + 2) };
                    true
                }
                None => false,
            },
            Part::Trailer => match self.line() {
                Some(line) => {
                    self.part = if line.is_empty() { Part::End } else { Part::Trailer };
                    true
                }
                None => false,
            },
        }
    }

    fn skip(&mut self, left: usize, more: fn(usize) -> Part, next: Part) -> bool {
        let here = left.min(self.unread.len());
        self.unread.drain(..here);
        self.part = if here == left { next } else { more(left - here) };
        here == left
    }

    fn line(&mut self) -> Option<String> {
        let end = self.unread.windows(2).position(|two| two == b"\r\n")?;
        let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 2);
        Some(line)
    }
}

fn body_of(head: &str) -> Part {
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('1') {
        Part::Head
    } else if ["204", "304"].contains(&status) {
        Part::End
    } else if header(head, "transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        Part::ChunkSize
    } else {
        match header(head, "content-length").and_then(|length| length.parse().ok()) {
            Some(length) => Part::Body(length),
            None => Part::Open,
        }
    }
}

#[test]
fn answers_end_where_they_say() {
    let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".as_slice();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\r\n\r\n2\r\nbc\r\n0\r\n\r\n".as_slice();
    let continued = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".as_slice();
    for whole in [plain, chunked, continued] {
        for size in 1..whole.len() {
            let mut answer = Answer::default();
            let ends: Vec<bool> = whole.chunks(size).map(|piece| answer.passes(piece)).collect();
            let (last, before) = ends.split_last().expect("pieces");
            assert!(*last && !before.contains(&true), "pieces of {size}: {ends:?}");
        }
    }
}
