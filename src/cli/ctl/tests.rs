//! Commands against the API with a control of plain memory, by TCP and by a socket file.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;

use super::{CtlArguments, run};
use crate::admin::tests::fake::{Fake, NASTY};
use crate::admin::{AdminBind, AdminListener, Token, serve_on};

/// The command line of these tests.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    ctl: CtlArguments,
}

/// An admin listener that lives as long as this.
struct Served {
    admin: String,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn at(bind: AdminBind, token: Option<Token>) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(AdminListener::open(&bind)).expect("it listens");
        let admin = listener.address().map_or_else(|| bind.to_string(), |address| address.to_string());
        runtime.spawn(serve_on(listener, token, Arc::new(Fake::new())));
        Served { admin, _runtime: runtime }
    }

    fn open() -> Served {
        Served::at(AdminBind::Tcp("127.0.0.1:0".parse().expect("an address")), None)
    }

    fn ctl(&self, words: &[&str]) -> Result<String, String> {
        run(&line(&[&["--admin", &self.admin], words].concat()))
    }
}

fn line(words: &[&str]) -> CtlArguments {
    let all = std::iter::once(&"ctl").chain(words);
    Line::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).ctl
}

#[test]
fn each_command_is_answered() {
    let served = Served::open();
    for (words, expected) in [
        (&["status"][..], "arriero 0.1.0: ready, up 2h1min, 3 requests\ngeneration 7, 61s old, from arriero.yaml\n"),
        (&["pools"], "chat           2   2  4/1000"),
        (&["endpoints"], "http://10.0.0.2:8000/v1"),
        (&["routes"], "chat   chat   queue-aware  least-connection  one model"),
        (&["queues"], "embed       4     0   1000"),
        (&["stat"], "PXNAME  SVNAME"),
        (&["stat", "--csv"], "# pxname,svname,qcur,"),
        (&["show", "http://10.0.0.2:8000/v1"], "pool      chat, backup\n"),
        (&["show", NASTY], "in flight 3, at most 8\n"),
        (&["set", "gpu-1", "--weight", "5", "--max-in-flight", "none"], "3/-  182ms"),
        (&["set", "gpu-1", "--weight", "file", "--state", "maint"], "gpu-1     chat  maint  up          10"),
        (&["drain", "gpu-1"], "gpu-1     chat  drain"),
        (&["maint", "gpu-1"], "gpu-1     chat  maint"),
        (&["ready", "gpu-1"], "gpu-1     chat  up"),
        (&["add", "chat", "http://10.0.0.9:1", "--name", "new", "--set", "weight=5"], "generation 8 is in force\n"),
        (&["remove", "new", "--if-generation", "8"], "generation 9 is in force\n  endpoint new: left\n"),
        (&["balance", "chat", "hash"], "route chat: \"hash\""),
        (&["balance", "chat", r#"{"hash":{"spill":"wait"}}"#], r#"route chat: {"hash":{"spill":"wait"}}"#),
        (&["explain", "--model", "qwen3:8b"], "the request goes to gpu-1 (chosen by queue-aware)\n"),
        (&["explain", "--path", "/nowhere", "--header", "X-User: a"], "is refused with 404: nothing at this path\n"),
        (&["affinity", "--pool", "chat"], "00000000deadbeef  key   chat  gpu-1       3s       29min"),
        (&["clear-affinity", "--key", "deadbeef"], "1 entry forgotten"),
        (&["reload"], "generation 12 is in force\n"),
        (&["generation"], "generation 12, 61s old"),
        (&["--json", "generation"], "\"generation\": 12"),
        (&["show", "gpu-1", "--json"], "\"pool\": \"chat\""),
    ] {
        let told = served.ctl(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(told.contains(expected), "{words:?}:\n{told}");
    }
}

#[test]
fn what_is_refused_is_told_in_one_line() {
    let served = Served::open();
    for (words, expected) in [
        (&["show", "gpu-2"][..], "there is no endpoint `gpu-2`; allowed: gpu-1, http"),
        (&["set", "gpu-1", "--weight", "300"], "weight 300 is out of range; allowed: 0 to 256"),
        (&["set", "gpu-1"], "nothing to set: --weight, --max-in-flight or --state"),
        (&["add", "chat", "http://x", "--set", "weight"], "--set weight: KEY=VALUE is wanted"),
        (&["add", "chat", "http://x", "--set", "url=http://y"], "`url` is given twice"),
        (&["balance", "chat", "{"], "the balance is no JSON: "),
        (&["explain", "--body", "/no/such/file"], "/no/such/file: "),
        (&["explain", "--header", "x"], "--header x: `name: value` is wanted"),
        (&["clear-affinity", "--key", "no"], "`no` is no key; allowed: the key's hash"),
        (&["--if-generation", "3", "reload"], "generation 7 is in force, the change was made for generation 3"),
    ] {
        let error = served.ctl(words).expect_err("refused");
        assert!(error.contains(expected) && !error.contains('\n'), "{words:?}: {error}");
    }
    for words in [&["set", "gpu-1", "--weight", "-1"][..], &["set", "gpu-1", "--state", "down"], &["nonsense"], &[]] {
        let all = std::iter::once(&"ctl").chain(words);
        assert!(Line::try_parse_from(all).is_err(), "{words:?}");
    }
}

#[test]
fn a_broken_configuration_is_told_with_its_places() {
    let served = Served::open();
    served.ctl(&["add", "chat", "http://10.0.0.9:1"]).expect("added");
    let error = served.ctl(&["reload"]).expect_err("broken");
    assert!(error.contains("\narriero.yaml:3:5: unknown key `wieght`\n 3 |     wieght: 2\n"), "{error}");
}

#[test]
fn a_body_is_explained_byte_by_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("body.json");
    std::fs::write(&file, "{ \"model\" : \"m\" }\n").expect("written");
    let told = Served::open().ctl(&["explain", "--body", file.to_str().expect("a plain path")]).expect("explained");
    assert!(told.contains("why       18 bytes\n"), "{told}");
}

#[test]
fn a_socket_file_and_a_token_work_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, file): (PathBuf, PathBuf) = (folder.path().join("admin.sock"), folder.path().join("token"));
    std::fs::write(&file, "a-token-of-our-own\n").expect("written");
    let served = Served::at(AdminBind::Unix(socket), Some(Token::new("a-token-of-our-own")));
    let refused = served.ctl(&["generation"]).expect_err("no token");
    assert!(refused.ends_with("(--token-file or ARRIERO_ADMIN_TOKEN_FILE)"), "{refused}");
    let file = file.to_str().expect("a plain path");
    let told = served.ctl(&["--token-file", file, "generation"]).expect("told");
    assert!(told.starts_with("generation 7, "), "{told}");
    assert!(served.ctl(&["--token-file", "/no/such/file", "generation"]).is_err());
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let at = unused.to_string();
    let error = run(&line(&["--admin", &at, "status"])).expect_err("nobody listens");
    assert!(error.starts_with(&format!("cannot connect to the admin listener at {at}: ")), "{error}");
    assert!(error.contains("`admin:` in its configuration"), "{error}");
    for wrong in ["nohost", "host:", ":9901", "host:99999", "unix:"] {
        let error = run(&line(&["--admin", wrong, "status"])).expect_err("no address");
        assert!(error.contains(wrong), "{error}");
    }
}
