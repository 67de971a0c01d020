//! The two proxies as programs: started with a set-up, reloaded with another, ended with their value.
//!
//! HAProxy runs in the foreground with one thread, and reloads as its own documents say: a new process that is told the
//! old one's number. Arriero reloads by SIGHUP. What a set-up needs and the Arriero at hand does not know (`check`
//! refuses it) is a [`Pending`], not a failure.

use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::engine::PATIENCE;
use crate::setup::Setup;
use crate::wire::{Ask, Connection};

/// Between two looks at something that only the proxy knows.
const LOOK: Duration = Duration::from_millis(2);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// HAProxy.
    HAProxy,
    /// Ours.
    Arriero,
}

impl fmt::Display for Side {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(if *self == Side::HAProxy { "HAProxy" } else { "Arriero" })
    }
}

/// Something that this Arriero does not have yet; the text says what.
#[derive(Debug)]
pub struct Pending(pub String);

impl fmt::Display for Pending {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Pending {}

/// The programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `haproxy` program.
    pub haproxy: PathBuf,
    /// The `arriero` program.
    pub arriero: PathBuf,
}

/// A running proxy; ends with this value.
pub struct Proxy {
    /// Which it is.
    pub side: Side,
    /// Where it serves.
    pub address: SocketAddr,
    /// Where Arriero is asked about itself.
    pub admin: SocketAddr,
    program: PathBuf,
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Proxy {
    /// Starts it and waits until it serves. A port that was free may be taken before it is bound: then once more.
    pub async fn start(
        side: Side,
        programs: &Programs,
        setup: &Setup,
        engines: &[SocketAddr],
    ) -> anyhow::Result<Proxy> {
        let program = if side == Side::HAProxy { &programs.haproxy } else { &programs.arriero };
        let mut last = None;
        for _ in 0..3 {
            let [address, admin] = free_addresses()?;
            let folder = tempfile::Builder::new().prefix("side-").tempdir()?;
            let mut proxy = Proxy { side, address, admin, program: program.clone(), folder, children: Vec::new() };
            proxy.write(setup, engines)?;
            proxy.check()?;
            proxy.spawn(&[])?;
            match proxy.serves().await {
                Ok(()) => return Ok(proxy),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no try")?)
    }

    /// Replaces its configuration file.
    fn write(&self, setup: &Setup, engines: &[SocketAddr]) -> anyhow::Result<()> {
        let text = match self.side {
            Side::HAProxy => setup.haproxy_text(self.address.port(), self.folder.path(), engines),
            Side::Arriero => setup.arriero_text(self.address.port(), self.admin.port(), engines),
        };
        Ok(std::fs::write(self.configuration(), text)?)
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join(if self.side == Side::HAProxy { "haproxy.cfg" } else { "arriero.yaml" })
    }

    /// HAProxy's control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    fn check(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        match self.side {
            Side::HAProxy => command.arg("-c").arg("-f"),
            Side::Arriero => command.args(["check", "-c"]),
        };
        let checked = command.arg(self.configuration()).stdin(Stdio::null()).output()?;
        if checked.status.success() {
            return Ok(());
        }
        let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        let written = std::fs::read_to_string(self.configuration())?;
        if self.side == Side::Arriero
            && let Some(at) = said.find("unknown key")
        {
            bail!(Pending(said[at..].lines().next().unwrap_or_default().to_owned()));
        }
        bail!("{}: its configuration is refused\n{said}\n{written}", self.side)
    }

    fn spawn(&mut self, more: &[String]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        match self.side {
            Side::HAProxy => command.args(["-db", "-f"]),
            Side::Arriero => command.args(["run", "-c"]),
        };
        command.arg(self.configuration()).args(more).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(File::create(self.folder.path().join("errors"))?);
        self.children.push(command.spawn().with_context(|| format!("{}", self.program.display()))?);
        Ok(())
    }

    /// The process that serves new requests.
    pub fn pid(&self) -> u32 {
        self.children.last().map_or(0, Child::id)
    }

    /// What it wrote to standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }

    /// Waits until it answers: for HAProxy the newest process, for Arriero the admin listener, too.
    async fn serves(&mut self) -> anyhow::Result<()> {
        let (side, address, admin, pid) = (self.side, self.address, self.admin, self.pid().to_string());
        let child = self.children.last_mut().context("no process")?;
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < PATIENCE && child.try_wait()?.is_none() {
            let path = if side == Side::HAProxy { "/pid" } else { "/health" };
            if let Ok(answer) = Connection::to(address).ask(&Ask::get(path), None).await
                && (side == Side::Arriero || answer.body == pid.as_bytes())
                && (side == Side::HAProxy || Connection::to(admin).ask(&Ask::get("/health"), None).await.is_ok())
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("{side} does not serve:\n{}", self.errors())
    }

    /// Puts another set-up in force, without an end of service, and waits until it is.
    pub async fn reload(&mut self, setup: &Setup, engines: &[SocketAddr]) -> anyhow::Result<()> {
        self.write(setup, engines)?;
        self.check()?;
        if self.side == Side::HAProxy {
            let old = self.pid().to_string();
            self.spawn(&["-sf".to_owned(), old])?;
            self.serves().await?;
            let alone = async |proxy: &Proxy| Ok((listening(proxy.address.port())? == 1).then_some(()));
            return self.until("the old process to stop listening", alone).await;
        }
        let before = self.generation().await?;
        self.signal("HUP")?;
        self.until("the reload", async |proxy| Ok((proxy.generation().await? > before).then_some(()))).await
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status()?;
        ensure!(sent.success(), "no signal to {}", self.side);
        Ok(())
    }

    /// Asks the proxy again and again until it says what is waited for.
    pub async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn(&Proxy) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let begin = tokio::time::Instant::now();
        loop {
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
            if begin.elapsed() > PATIENCE {
                bail!("{}: {what}: not in {PATIENCE:?}; {:?}\n{}", self.side, self.rows().await, self.errors());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let bound = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
    Ok([bound[0].local_addr()?, bound[1].local_addr()?])
}

/// How many sockets listen on a port of the loopback address.
fn listening(port: u16) -> anyhow::Result<usize> {
    let place = format!(" 0100007F:{port:04X} 00000000:0000 0A ");
    Ok(std::fs::read_to_string("/proc/net/tcp")?.lines().filter(|line| line.contains(&place)).count())
}

/// The first of the usual places that has the program.
pub fn found(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
}

/// The first line that a program prints with these arguments.
pub fn first_line(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
