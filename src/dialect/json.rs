//! A push parser for JSON: chunks in, events out, one pass, constant memory.
//!
//! It takes exactly what RFC 8259 takes (no comments, no `NaN`, no trailing comma, no byte order mark, nothing after
//! the value), because an engine that reads a body more loosely than we do could see another model than we did. Text
//! inside strings is skipped in blocks; only what the [`Sink`] wants is kept.
//! Not checked in strings that nobody wants (prompts, mostly): UTF-8, escapes and raw control characters. None of them can
//! move the string's end, so no reader can see another model because of them; the engine judges them itself.

mod number;
pub(super) mod skip;

use std::ops::Range;

use self::number::Number;
use self::skip::{end_of_text, plain_run};
use super::fields::FieldError;

/// Objects and arrays inside one another: more is refused.
pub(super) const MAX_DEPTH: u32 = 128;
/// Bytes of one key as written, quotes included: more is refused.
pub(super) const MAX_KEY: usize = 4096;

/// One thing that the parser met. `depth` 1 = directly inside the outermost object.
pub(super) enum Event<'a> {
    /// A key, as written, with its quotes.
    Key { raw: &'a [u8], depth: u32 },
    /// An object or array begins as a value at `depth`.
    Open { depth: u32 },
    /// A string value. `raw` (with quotes) is `None` if it is longer than was wanted.
    Text { raw: Option<&'a [u8]>, token: Range<usize>, depth: u32 },
    /// A number, `true`, `false` or `null` that begins at `start`. `raw` is `None` if it is longer than was wanted.
    Scalar { raw: Option<&'a [u8]>, start: usize, depth: u32 },
}

/// Takes the events.
pub(super) trait Sink {
    /// How many bytes of the value that begins now (at `depth`) should be kept.
    fn wants(&self, depth: u32) -> usize;
    /// Takes one event.
    fn event(&mut self, event: Event<'_>) -> Result<(), FieldError>;
}

/// Where the parser stands between two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    CommaOrClose,
    Text {
        key: bool,
    },
    /// Text that nobody wants. `odd`: the next byte is escaped.
    Skip {
        odd: bool,
    },
    Escape {
        key: bool,
    },
    Hex {
        key: bool,
        left: u8,
    },
    Number(Number),
    Literal {
        word: &'static [u8],
        seen: usize,
    },
    Done,
}

/// The parser of one body.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    depth: u32,
    /// Bit n: the container at depth n + 1 is an object.
    objects: u128,
    kept: Vec<u8>,
    limit: usize,
    /// Offset of the current token's first byte in the body.
    token: usize,
    /// Bytes of earlier chunks.
    offset: usize,
}

impl Parser {
    /// A parser that expects an object.
    pub(super) fn new() -> Parser {
        Parser { state: State::Start, depth: 0, objects: 0, kept: Vec::new(), limit: 0, token: 0, offset: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// True once the object is closed: only white space may follow.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True if nothing but white space came.
    pub(super) fn is_blank(&self) -> bool {
        self.state == State::Start
    }

    /// Takes the next bytes of the body.
    pub(super) fn push<S: Sink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), FieldError> {
        let mut at = 0;
        while at < chunk.len() {
            match self.state {
                State::Text { key } => at += self.text(&chunk[at..], at, key, sink)?,
                State::Skip { odd } => at += self.skip(&chunk[at..], at, odd, sink)?,
                State::Number(number) => at += self.number(&chunk[at..], at, number, sink)?,
                _ => {
                    self.step(chunk[at], at, sink)?;
                    at += 1;
                }
            }
        }
        self.offset += chunk.len();
        Ok(())
    }

    fn step<S: Sink>(&mut self, byte: u8, at: usize, sink: &mut S) -> Result<(), FieldError> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::Escape { key } => {
                self.keep(&[byte]);
                self.state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text { key },
                    b'u' => State::Hex { key, left: 4 },
                    _ => return Err(self.syntax(at)),
                };
            }
            State::Hex { key, left } => {
                if !byte.is_ascii_hexdigit() {
                    return Err(self.syntax(at));
                }
                self.keep(&[byte]);
                self.state = if left == 1 { State::Text { key } } else { State::Hex { key, left: left - 1 } };
            }
            State::Literal { word, seen } => {
                if word[seen] != byte {
                    return Err(self.syntax(at));
                }
                self.keep(&[byte]);
                self.state = State::Literal { word, seen: seen + 1 };
                if seen + 1 == word.len() {
                    self.scalar(sink)?;
                }
            }
            _ if blank => {}
            State::Start if byte == b'{' => self.open(true, sink)?,
            State::Start => return Err(FieldError::NotAnObject),
            State::KeyOrClose if byte == b'}' => self.close(),
            State::Key | State::KeyOrClose if byte == b'"' => self.begin(byte, at, MAX_KEY, State::Text { key: true }),
            State::Colon if byte == b':' => self.state = State::Value,
            State::ValueOrClose if byte == b']' => self.close(),
            State::Value | State::ValueOrClose => self.value(byte, at, sink)?,
            State::CommaOrClose => match (byte, self.in_object()) {
                (b',', true) => self.state = State::Key,
                (b',', false) => self.state = State::Value,
                (b'}', true) | (b']', false) => self.close(),
                _ => return Err(self.syntax(at)),
            },
            State::Done => return Err(FieldError::Trailing),
            _ => return Err(self.syntax(at)),
        }
        Ok(())
    }

    fn value<S: Sink>(&mut self, byte: u8, at: usize, sink: &mut S) -> Result<(), FieldError> {
        let literal = |word: &'static [u8]| State::Literal { word, seen: 1 };
        let state = match byte {
            b'{' | b'[' => return self.open(byte == b'{', sink),
            b'"' => State::Text { key: false },
            b't' => literal(b"true"),
            b'f' => literal(b"false"),
            b'n' => literal(b"null"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            _ => return Err(self.syntax(at)),
        };
        let wanted = sink.wants(self.depth);
        let state = if byte == b'"' && wanted == 0 { State::Skip { odd: false } } else { state };
        self.begin(byte, at, wanted, state);
        Ok(())
    }

    /// Passes over the text of a string up to its end, or as far as the chunk goes. Returns how many bytes it took.
    fn skip<S: Sink>(&mut self, rest: &[u8], at: usize, odd: bool, sink: &mut S) -> Result<usize, FieldError> {
        match end_of_text(rest, odd) {
            Ok(end) => self.end_text(self.offset + at + end, false, sink).map(|()| end),
            Err(odd) => {
                self.state = State::Skip { odd };
                Ok(rest.len())
            }
        }
    }

    /// Takes the text of a string up to its end, or as far as the chunk goes. Returns how many bytes it took.
    fn text<S: Sink>(&mut self, rest: &[u8], at: usize, key: bool, sink: &mut S) -> Result<usize, FieldError> {
        let mut taken = 0;
        loop {
            let plain = plain_run(&rest[taken..]);
            self.keep(&rest[taken..taken + plain]);
            taken += plain;
            if key && self.kept.len() > MAX_KEY {
                return Err(FieldError::KeyTooLong);
            }
            let Some(&byte) = rest.get(taken) else { return Ok(taken) };
            match (byte, rest.get(taken + 1)) {
                // the frequent escapes need no state of their own
                (b'\\', Some(b'n' | b'"' | b'\\' | b't' | b'r' | b'/')) => {
                    self.keep(&rest[taken..taken + 2]);
                    taken += 2;
                }
                (b'\\', _) => {
                    self.keep(&[byte]);
                    self.state = State::Escape { key };
                    return Ok(taken + 1);
                }
                (b'"', _) => {
                    self.keep(&[byte]);
                    self.end_text(self.offset + at + taken + 1, key, sink)?;
                    return Ok(taken + 1);
                }
                _ => return Err(self.syntax(at + taken)),
            }
        }
    }

    /// Takes a number as far as the chunk goes. The byte after it belongs to what follows.
    fn number<S: Sink>(&mut self, rest: &[u8], at: usize, from: Number, sink: &mut S) -> Result<usize, FieldError> {
        let mut number = from;
        for (taken, &byte) in rest.iter().enumerate() {
            match number.next(byte) {
                Some(next) => number = next,
                None if number.may_end() => {
                    self.keep(&rest[..taken]);
                    self.scalar(sink)?;
                    return Ok(taken);
                }
                None => return Err(self.syntax(at + taken)),
            }
        }
        self.keep(rest);
        self.state = State::Number(number);
        Ok(rest.len())
    }

    fn end_text<S: Sink>(&mut self, end: usize, key: bool, sink: &mut S) -> Result<(), FieldError> {
        let depth = self.depth;
        let raw = (self.kept.len() <= self.limit).then_some(self.kept.as_slice());
        if !key {
            self.state = State::CommaOrClose;
            return sink.event(Event::Text { raw, token: self.token..end, depth });
        }
        self.state = State::Colon;
        match raw {
            Some(raw) => sink.event(Event::Key { raw, depth }),
            None => Err(FieldError::KeyTooLong),
        }
    }

    fn scalar<S: Sink>(&mut self, sink: &mut S) -> Result<(), FieldError> {
        self.state = State::CommaOrClose;
        let raw = (self.kept.len() <= self.limit).then_some(self.kept.as_slice());
        sink.event(Event::Scalar { raw, start: self.token, depth: self.depth })
    }

    fn open<S: Sink>(&mut self, object: bool, sink: &mut S) -> Result<(), FieldError> {
        if self.depth == MAX_DEPTH {
            return Err(FieldError::TooDeep);
        }
        if self.depth > 0 {
            sink.event(Event::Open { depth: self.depth })?;
        }
        let bit = 1u128 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.depth += 1;
        self.state = if object { State::KeyOrClose } else { State::ValueOrClose };
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.state = if self.depth == 0 { State::Done } else { State::CommaOrClose };
    }

    fn in_object(&self) -> bool {
        self.objects >> (self.depth - 1) & 1 == 1
    }

    /// A token begins with `byte`; at most `limit` bytes of it are kept.
    fn begin(&mut self, byte: u8, at: usize, limit: usize, state: State) {
        self.kept.clear();
        self.limit = limit;
        self.token = self.offset + at;
        self.state = state;
        self.keep(&[byte]);
    }

    /// Keeps bytes up to one beyond the limit: enough to know that the token is too long.
    fn keep(&mut self, bytes: &[u8]) {
        let room = (self.limit + 1).saturating_sub(self.kept.len());
        if room > 0 {
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn syntax(&self, at: usize) -> FieldError {
        FieldError::Syntax { offset: self.offset + at }
    }
}
