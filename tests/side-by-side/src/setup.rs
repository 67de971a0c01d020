//! One set-up in two languages: the lines that HAProxy reads and the YAML that Arriero reads.
//!
//! Both get a fixed frame (one listener, one pool; names `e0`, `e1`, ... for engines) and what a case adds to it. Only
//! what a case adds is told in the report.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// What a case configures beyond the frame.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    haproxy: Vec<String>,
    pool: Vec<String>,
    route: Vec<String>,
    engines: Vec<[String; 2]>,
    /// Engines of the stage that are not configured (yet).
    left_out: Vec<usize>,
}

impl Setup {
    /// So many engines, all alike, no health checks.
    pub fn of(engines: usize) -> Setup {
        Setup { engines: vec![[String::new(), String::new()]; engines], ..Setup::default() }.pool("health: none")
    }

    /// `balance`, in both languages.
    pub fn balance(self, haproxy: &str, arriero: &str) -> Setup {
        self.haproxy(&format!("balance {haproxy}")).route(&format!("balance: {arriero}"))
    }

    /// A line of HAProxy's section.
    pub fn haproxy(mut self, line: &str) -> Setup {
        self.haproxy.push(line.to_owned());
        self
    }

    /// A key of our pool; a later one of the same name replaces it.
    pub fn pool(mut self, line: &str) -> Setup {
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
        self.pool.retain(|kept| name(kept) != name(line));
        self.pool.push(line.to_owned());
        self
    }

    /// A key of our route.
    pub fn route(mut self, line: &str) -> Setup {
        self.route.push(line.to_owned());
        self
    }

    /// Options of one engine, in both languages.
    pub fn engine(mut self, engine: usize, haproxy: &str, arriero: &str) -> Setup {
        for (own, more, comma) in [(0, haproxy, " "), (1, arriero, ", ")] {
            let options = &mut self.engines[engine][own];
            if !options.is_empty() && !more.is_empty() {
                options.push_str(comma);
            }
            options.push_str(more);
        }
        self
    }

    /// Options of every engine.
    pub fn engines(self, haproxy: &str, arriero: &str) -> Setup {
        (0..self.engines.len()).fold(self, |setup, engine| setup.engine(engine, haproxy, arriero))
    }

    /// A weight for each engine.
    pub fn weights(self, weights: &[u32]) -> Setup {
        let both = |weight: &u32| (format!("weight {weight}"), format!("weight: {weight}"));
        weights
            .iter()
            .map(both)
            .enumerate()
            .fold(self, |setup, (engine, (theirs, ours))| setup.engine(engine, &theirs, &ours))
    }

    /// Active checks in both, quick ones.
    pub fn checked(self) -> Setup {
        self.haproxy("option httpchk GET /v1/models")
            .haproxy("timeout check 2s")
            .engines("check inter 100ms fall 2 rise 2", "")
            .pool("health: { every: 100ms, timeout: 2s, fall: 2, rise: 2 }")
    }

    /// The same without one of the engines.
    pub fn without(mut self, engine: usize) -> Setup {
        self.left_out.push(engine);
        self
    }

    /// How many engines the stage has.
    pub fn count(&self) -> usize {
        self.engines.len()
    }

    /// What the case says in HAProxy's words and in ours, for the report.
    pub fn words(&self) -> [String; 2] {
        let mut theirs = self.haproxy.clone();
        let mut ours: Vec<String> = self.route.iter().chain(&self.pool).cloned().collect();
        ours.retain(|line| line != "health: none");
        for (side, words, mark) in [(0, &mut theirs, "server"), (1, &mut ours, "endpoint")] {
            let options: Vec<&String> = self.engines.iter().map(|engine| &engine[side]).collect();
            if options.iter().all(|one| *one == options[0]) {
                if !options[0].is_empty() {
                    words.push(format!("{mark}: {}", options[0]));
                }
            } else {
                let each = (0..).zip(&options).filter(|(_, one)| !one.is_empty());
                words.extend(each.map(|(nth, one)| format!("{mark} e{nth}: {one}")));
            }
        }
        [theirs.join("; "), ours.join("; ")]
    }

    /// HAProxy's configuration.
    pub fn haproxy_text(&self, port: u16, folder: &Path, engines: &[SocketAddr]) -> String {
        let mut text = format!(
            "global\n    nbthread 1\n    maxconn 4000\n    stats socket {}/control level admin\n\
             defaults\n    mode http\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n    \
             timeout queue 30s\n    timeout http-keep-alive 60s\n\
             listen p\n    bind 127.0.0.1:{port}\n    \
             http-request return status 200 content-type text/plain lf-string \"%pid\" if {{ path /pid }}\n",
            folder.display()
        );
        for line in &self.haproxy {
            let _ = writeln!(text, "    {line}");
        }
        for (nth, address) in engines.iter().enumerate().filter(|(nth, _)| !self.left_out.contains(nth)) {
            let _ = writeln!(text, "    server e{nth} {address} {}", self.engines[nth][0]);
        }
        text
    }

    /// Our configuration.
    pub fn arriero_text(&self, port: u16, admin: u16, engines: &[SocketAddr]) -> String {
        let mut text = format!(
            "listen: \"127.0.0.1:{port}\"\nadmin: {{ bind: \"127.0.0.1:{admin}\" }}\naccess_log: none\n\
             pools:\n  p:\n"
        );
        for line in &self.pool {
            let _ = writeln!(text, "    {line}");
        }
        text += "    endpoints:\n";
        for (nth, address) in engines.iter().enumerate().filter(|(nth, _)| !self.left_out.contains(nth)) {
            let more = &self.engines[nth][1];
            let comma = if more.is_empty() { "" } else { ", " };
            let _ = writeln!(
                text,
                "      - {{ name: e{nth}, url: \"http://{address}\", engine: openai, models: [m]{comma}{more} }}"
            );
        }
        text += "routes:\n  - name: r\n    pool: p\n";
        for line in &self.route {
            let _ = writeln!(text, "    {line}");
        }
        text
    }
}
