//! Who races: how each proxy is configured and started, each in front of the same origin, each with one thread.
//!
//! Configurations are the files in `conf/`, with `@PORT@`, `@ADMIN@`, `@ORIGIN@`, `@LOG@` and `@DIR@` filled in. All
//! run on one processor of their own (`taskset`), the race's client and origin on the other: what starts a thread per
//! processor starts one. A contestant whose program is missing is left out with a note.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::load;
use crate::machine::first_line;

/// Python programs load for long.
const START: Duration = Duration::from_secs(60);

/// One proxy of the race.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Its name in tables.
    pub name: &'static str,
    /// What it does beyond carrying bytes.
    pub does: &'static str,
    /// It is an LLM router, for the bar that compares with the best of them.
    pub is_router: bool,
    kind: Kind,
    program: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A configuration with places to fill in, and the arguments before its path.
    File(&'static str, &'static [&'static str]),
    Bare,
    /// Flags of the SGLang router and what came of it.
    Router(&'static [&'static str]),
}

const HAPROXY: &[&str] = &["-db", "-f"];

/// Where programs are looked for.
pub struct Programs {
    /// The `arriero` binary.
    pub arriero: PathBuf,
    /// The `bare` binary.
    pub bare: PathBuf,
    /// The folder with the routers' Python environments.
    pub routers: PathBuf,
}

/// All contestants, Arriero first; those whose program is missing are the second list, by name.
pub fn all(programs: &Programs) -> (Vec<Contestant>, Vec<&'static str>) {
    let system = |name: &str| {
        let places =
            ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(|place| Path::new(place).join(name));
        places.into_iter().find(|path| path.is_file()).unwrap_or_else(|| name.into())
    };
    let (haproxy, nginx) = (system("haproxy"), system("nginx"));
    let router = |name: &str, program: &str| programs.routers.join(name).join("bin").join(program);
    let file = |text, arguments| Kind::File(text, arguments);
    let launch: &[&str] = &["launch"];
    let table = [
        (
            "arriero",
            "route by body, access log, metrics",
            false,
            &programs.arriero,
            file(include_str!("../conf/arriero.yaml"), &["run", "-c"]),
        ),
        ("bare pingora", "carries", false, &programs.bare, Kind::Bare),
        ("haproxy", "carries", false, &haproxy, file(include_str!("../conf/haproxy.cfg"), HAPROXY)),
        ("haproxy httplog", "access log", false, &haproxy, file(include_str!("../conf/haproxy-httplog.cfg"), HAPROXY)),
        (
            "haproxy json",
            "route by body, access log",
            false,
            &haproxy,
            file(include_str!("../conf/haproxy-json.cfg"), HAPROXY),
        ),
        ("nginx", "access log", false, &nginx, file(include_str!("../conf/nginx.conf"), &["-c"])),
        (
            "sglang-router",
            "round robin, log level warn",
            true,
            &router("sglang-router", "sglang-router"),
            Kind::Router(launch),
        ),
        ("vllm-router", "round robin, log level warn", true, &router("vllm-router", "vllm-router"), Kind::Router(&[])),
        ("smg", "round robin, log level warn", true, &router("smg", "smg"), Kind::Router(launch)),
    ];
    let contestants = table.map(|(name, does, is_router, program, kind)| Contestant {
        name,
        does,
        is_router,
        kind,
        program: program.clone(),
    });
    let missing = contestants.iter().filter(|one| !one.program.is_file()).map(|one| one.name).collect();
    (contestants.into_iter().filter(|one| one.program.is_file()).collect(), missing)
}

impl Contestant {
    /// Its version, as it says it.
    pub fn version(&self) -> String {
        match (self.name, self.kind) {
            ("arriero", _) => first_line(&self.program.to_string_lossy(), &["--version"]),
            (_, Kind::Bare) => "pingora 0.9.1".into(),
            (_, Kind::Router(_)) => {
                let pip = self.program.with_file_name("pip");
                let list =
                    first_line("sh", &["-c", &format!("{} show {} 2>/dev/null | sed -n 2p", pip.display(), self.name)]);
                format!("{} {}", self.name, list.trim_start_matches("Version: "))
            }
            _ => first_line(&self.program.to_string_lossy(), &["-v"]),
        }
    }

    /// Starts it with its files in `folder`, through the program that `prefix` begins with if it is not empty
    /// (`taskset`, `valgrind`), and waits until it serves.
    pub async fn start(&self, folder: &Path, origin: SocketAddr, prefix: &[String]) -> anyhow::Result<Running> {
        let folder = folder.join(self.name.replace(' ', "-"));
        fs::create_dir_all(&folder)?;
        let (port, admin) = (free_port()?, free_port()?);
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        match self.kind {
            Kind::Bare => drop(command.arg(format!("127.0.0.1:{port}")).arg(origin.to_string())),
            Kind::File(text, arguments) => {
                let path = folder.join("configuration");
                let text = text.replace("@PORT@", &port.to_string()).replace("@ADMIN@", &admin.to_string());
                let text = text.replace("@ORIGIN@", &origin.to_string()).replace("@DIR@", &folder.to_string_lossy());
                fs::write(&path, text.replace("@LOG@", &folder.join("access.log").to_string_lossy()))?;
                command.args(arguments).arg(path);
            }
            Kind::Router(arguments) => {
                command.args(arguments).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
                command.args(["--prometheus-host", "127.0.0.1", "--prometheus-port", &admin.to_string()]);
                let level = if self.name == "vllm-router" { "warning" } else { "warn" };
                command.args(["--policy", "round_robin", "--log-level", level]);
                command.args(["--worker-urls", &format!("http://{origin}")]);
            }
        }
        let out = File::create(folder.join("out.log"))?;
        let errors = File::create(folder.join("errors.log"))?;
        command.stdin(Stdio::null()).stdout(out).stderr(errors).current_dir(&folder);
        let child = command.spawn().with_context(|| format!("{}: {}", self.name, self.program.display()))?;
        let running = Running { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        load::until_up(running.address, START)
            .await
            .with_context(|| format!("{}; see {}", self.name, folder.display()))?;
        Ok(running)
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A started contestant; ends with this value.
pub struct Running {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
}

impl Running {
    /// Its process; `taskset` and `valgrind` become the program that they start.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Running {
    /// Asks it to end at once (SIGINT) and waits until it has.
    pub async fn end(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg("-INT").arg(self.pid().to_string()).status()?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(begin.elapsed() < START, "it did not end within a minute of SIGINT");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The parent first, so that it starts no new children. What has ended already needs no killing.
        let family = crate::machine::family(self.child.id());
        let _ = self.child.kill();
        for pid in family.iter().skip(1) {
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let _ = self.child.wait();
    }
}
