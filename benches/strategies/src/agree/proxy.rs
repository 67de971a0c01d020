//! One started Arriero: its configuration goes in by standard input, what it says goes to a file that is told in errors.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// A running proxy; ends with this value.
pub(super) struct Proxy {
    child: Child,
    log: PathBuf,
    /// Where it serves.
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// Starts `program` with these pools and routes on a free loopback port, and waits until it listens.
    pub(super) fn start(program: &Path, pools: &str) -> Result<Proxy, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("agree-{}-{number}.log", std::process::id()));
        let wrong = |error: std::io::Error| format!("{}: {error}", program.display());
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).map_err(wrong)?.port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let yaml = format!("listen: \"{address}\"\naccess_log: none\n{pools}");
        let out = File::create(&log).map_err(wrong)?;
        let mut child = Command::new(program)
            .args(["run", "-c", "-"])
            .stdin(Stdio::piped())
            .stdout(out.try_clone().map_err(wrong)?)
            .stderr(out)
            .spawn()
            .map_err(wrong)?;
        let told = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(yaml.as_bytes()));
        let mut proxy = Proxy { child, log, address };
        told.map_err(wrong)?;
        proxy.await_listener()?;
        Ok(proxy)
    }

    fn await_listener(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if ended || begin.elapsed() > START {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("the proxy does not listen on {}; it says: {said}", self.address));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        let _gone = std::fs::remove_file(&self.log);
    }
}
