//! How a line of the access log is written: JSON by hand, since it is written for every request. Absent values are left
//! out, milliseconds have up to three decimals, `estimated` stands only where it is true.

use serde::Serialize;

use super::access_log::Line;

impl Line<'_> {
    /// Appends the line, without a line end.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut line = Object { out, begun: false };
        line.number("time", self.time);
        line.text("id", self.id);
        line.number("generation", self.generation);
        line.maybe("client", self.client.as_deref());
        line.maybe("user", self.user);
        line.text("method", self.method);
        line.text("path", self.path);
        line.number("status", self.status.into());
        line.maybe("route", self.route);
        line.maybe("model", self.model);
        line.maybe("endpoint", self.endpoint);
        if let Some(labels) = self.labels {
            line.key("labels");
            let mut inner = Object { out: line.out, begun: false };
            labels.iter().for_each(|(name, value)| inner.text(name, value));
            inner.end();
        }
        line.maybe("trace", self.trace);
        line.maybe("module", self.module);
        line.millis("queue_ms", Some(self.queue_ms));
        line.count("queue_before", self.queue_before);
        line.millis("connect_ms", self.connect_ms);
        line.millis("response_ms", self.response_ms);
        line.millis("ttft_ms", self.ttft_ms);
        line.millis("gap_ms", self.gap_ms);
        line.millis("total_ms", Some(self.total_ms));
        line.count("prompt_tokens", self.prompt_tokens);
        line.count("output_tokens", self.output_tokens);
        if self.estimated {
            line.key("estimated");
            line.out.extend_from_slice(b"true");
        }
        line.number("retries", self.retries.into());
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.text("end", self.end);
        line.maybe("reason", self.reason);
        if let Some(decision) = self.decision {
            line.json("decision", &decision.candidates);
        }
        line.end();
    }
}

/// A JSON object that grows.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        self.out.push(if self.begun { b',' } else { b'{' });
        self.begun = true;
        self.quoted(key);
        self.out.push(b':');
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn count(&mut self, key: &str, value: Option<u32>) {
        if let Some(value) = value {
            self.number(key, value.into());
        }
    }

    fn millis(&mut self, key: &str, value: Option<f64>) {
        let Some(value) = value else { return };
        let micros = (value * 1e3).round() as u64; // negative and endless values become 0 and the largest
        self.number(key, micros / 1000);
        let rest = micros % 1000;
        if rest > 0 {
            let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
            self.out.push(b'.');
            self.out.extend_from_slice(&digits);
        }
    }

    fn quoted(&mut self, text: &str) {
        // without a branch, so that it becomes vector code
        let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let is_plain = !text.bytes().fold(false, |hit, byte| hit | is_special(byte));
        if is_plain {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        } else if serde_json::to_writer(&mut *self.out, text).is_err() {
            self.out.extend_from_slice(b"null"); // a Vec takes everything: never
        }
    }

    fn json(&mut self, key: &str, value: &impl Serialize) {
        self.key(key);
        if serde_json::to_writer(&mut *self.out, value).is_err() {
            self.out.extend_from_slice(b"null"); // names and numbers only: never
        }
    }

    fn end(self) {
        if !self.begun {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn read(line: &Line<'_>) -> Value {
        let mut out = Vec::new();
        line.write_to(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_value_comes_out_as_it_went_in() {
        let labels = BTreeMap::from([("host".to_owned(), "fa\"st".to_owned())]);
        let line = Line {
            time: u64::MAX,
            id: "a\u{1}\\\"ü",
            client: Some("10.0.0.1:7".into()),
            labels: Some(&labels),
            queue_ms: 0.0005,
            ttft_ms: Some(1234.5678),
            total_ms: 7.0,
            output_tokens: Some(3),
            estimated: true,
            status: 200,
            end: "--",
            ..Line::default()
        };
        let expected = json!({
            "time": u64::MAX, "id": "a\u{1}\\\"ü", "generation": 0, "client": "10.0.0.1:7", "method": "", "path": "",
            "status": 200, "labels": { "host": "fa\"st" }, "queue_ms": 0.001, "ttft_ms": 1234.568, "total_ms": 7,
            "output_tokens": 3, "estimated": true, "retries": 0, "bytes_in": 0, "bytes_out": 0, "end": "--",
        });
        assert_eq!(read(&line), expected);
    }

    #[test]
    fn an_empty_line_has_what_every_line_has() {
        let line = read(&Line::default());
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["bytes_in", "bytes_out", "end", "generation", "id", "method", "path", "queue_ms", "retries"];
        assert_eq!(keys, [&expected[..], &["status", "time", "total_ms"]].concat());
    }
}
