//! Where the admin API listens: an address, or a socket file that only its owner may open.
//!
//! The socket file has mode 0600 before anyone can connect, for nobody listens on it earlier. One that a dead process
//! left is replaced; one that is answered, or anything that is no socket, is left alone.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixSocket};

pub use crate::config::AdminBind;

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 128;

/// Listens.
#[derive(Debug)]
pub struct AdminListener {
    // Dropped before the socket, which pins the file's inode: until then no other file can have it.
    file: Option<SocketFile>,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminListener {
    /// Listens. Needs a runtime.
    ///
    /// # Errors
    /// The address is taken, the path is, or the system refuses.
    pub async fn open(bind: &AdminBind) -> Result<AdminListener> {
        match bind {
            AdminBind::Tcp(address) => {
                Ok(AdminListener { socket: Socket::Tcp(TcpListener::bind(address).await?), file: None })
            }
            AdminBind::Unix(path) => {
                make_way(path).await?;
                let socket = UnixSocket::new_stream()?;
                socket.bind(path)?;
                let file = SocketFile::of(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                Ok(AdminListener { socket: Socket::Unix(socket.listen(BACKLOG)?), file: Some(file) })
            }
        }
    }

    /// The address, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The socket's file, for a process that ends without dropping its listeners. Else it goes with the listener.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }
}

/// Removes what a dead process left.
async fn make_way(path: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(Error::new(ErrorKind::AlreadyExists, "the path exists and is no socket"));
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(Error::new(ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}

/// A socket's file. Dropped, it removes the file, unless another one has taken its place. Drop it before its listener.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    fn of(path: &Path) -> Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

/// Device, inode, and when it was made: seconds and nanoseconds.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> Result<Identity> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let mine = identity(&self.path).is_ok_and(|found| found == self.identity);
        if mine && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("admin: {} stays behind: {error}", self.path.display());
        }
    }
}
