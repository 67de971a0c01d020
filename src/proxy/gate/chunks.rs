//! Follows a body to its end without touching it: a length is counted down, chunks are read strictly.
//!
//! A chunk is `hex [; extension] CRLF data CRLF`; the last one has size 0 and is followed by trailers and an empty line.
//! Sizes have at most 15 digits; extensions and trailers together at most [`MAX_EXTRA`] bytes per body.

use super::strict::{Framing, is_token_byte};

/// Bytes of extensions and trailers in one body.
const MAX_EXTRA: u16 = 8 * 1024;
/// Digits of a chunk's size, leading zeros included.
const MAX_DIGITS: u8 = 15;

/// The part of a body that is still to come.
#[derive(Debug)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes belong to it.
    Open,
    /// Its last byte was seen.
    Ended,
    /// What came is no proper chunk.
    Broken(&'static str),
}

impl Body {
    /// The body that this header announces.
    pub fn of(framing: Framing) -> Body {
        match framing {
            Framing { chunked: true, .. } => Body::Chunked(Chunks::default()),
            Framing { content_length, .. } => Body::Length(content_length.unwrap_or(0)),
        }
    }

    /// How many of these bytes belong to the body: all, up to its end, or up to where it breaks.
    pub fn follow(&mut self, bytes: &[u8]) -> usize {
        match self {
            Body::Length(left) => {
                let taken = (bytes.len() as u64).min(*left);
                *left -= taken;
                taken as usize
            }
            Body::Chunked(chunks) => chunks.follow(bytes),
        }
    }

    /// Where the body is after all that was followed.
    pub fn progress(&self) -> Progress {
        match self {
            Body::Length(0) => Progress::Ended,
            Body::Length(_) => Progress::Open,
            Body::Chunked(chunks) => match chunks.at {
                At::Ended => Progress::Ended,
                At::Broken(why) => Progress::Broken(why),
                _ => Progress::Open,
            },
        }
    }
}

/// A reader of chunk framing.
#[derive(Debug, Default)]
pub struct Chunks {
    at: At,
    /// What is left of the chunk, or of its size as read so far.
    size: u64,
    digits: u8,
    extra: u16,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataEnd,
    Trailers,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastEnd,
    Ended,
    Broken(&'static str),
}

impl Chunks {
    fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            if let At::Data = self.at {
                let data = self.size.min((bytes.len() - taken) as u64);
                self.size -= data;
                taken += data as usize;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            if let At::Ended | At::Broken(_) = self.at {
                break;
            }
            self.at = self.step(*byte);
            if !matches!(self.at, At::Broken(_)) {
                taken += 1;
            }
        }
        taken
    }

    fn step(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Size, b'\r') | (At::Extension, b'\r') if self.digits > 0 => At::SizeEnd,
            (At::Size, b';') if self.digits > 0 => self.extra(At::Extension),
            (At::Size, _) => self.digit(byte),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extra(At::Extension),
            (At::SizeEnd, b'\n') if self.size == 0 => At::Trailers,
            (At::SizeEnd, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => {
                self.digits = 0;
                At::Size
            }
            (At::Trailers, b'\r') => At::LastEnd,
            (At::Trailers | At::TrailerName, _) if is_token_byte(byte) => self.extra(At::TrailerName),
            (At::TrailerName, b':') => self.extra(At::TrailerValue),
            (At::TrailerValue, b'\r') => At::TrailerEnd,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.extra(At::TrailerValue),
            (At::TrailerEnd, b'\n') => At::Trailers,
            (At::LastEnd, b'\n') => At::Ended,
            (At::Trailers | At::TrailerName | At::TrailerValue | At::TrailerEnd, _) => {
                At::Broken("a trailer is malformed")
            }
            _ => At::Broken("a chunk is malformed"),
        }
    }

    fn digit(&mut self, byte: u8) -> At {
        match (byte as char).to_digit(16) {
            Some(_) if self.digits == MAX_DIGITS => At::Broken("a chunk is too large"),
            Some(digit) => {
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                At::Size
            }
            None => At::Broken("a chunk size is malformed"),
        }
    }

    fn extra(&mut self, next: At) -> At {
        self.extra += 1;
        if self.extra > MAX_EXTRA { At::Broken("chunk extensions and trailers are too large") } else { next }
    }
}
