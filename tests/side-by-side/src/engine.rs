//! Counting engines: they hold each request until the driver lets it go, and know at every instant how many they have.
//!
//! An engine looks like an OpenAI server: any GET is answered at once (with a list of one model, `m`), which is what
//! health checks and inventories ask; every POST counts. The count goes down just before the answer is written, so a
//! proxy that waits for the answer can never be seen above its cap by mistake. A request is known by its `x-id` header;
//! one without has the number [`NAMELESS`]. A request whose client leaves ends and is counted down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::served;

/// The number of a request that has none.
pub const NAMELESS: u64 = u64::MAX;

/// Longer than anything takes on a machine that works.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How an engine meets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Keeps each until it is let go.
    Hold,
    /// Answers at once.
    Answer,
    /// Answers at once with this status.
    Refuse(u16),
    /// Reads the request, then resets the connection.
    Reset,
}

/// One request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The number in its `x-id`.
    pub id: u64,
    /// Who got it.
    pub engine: usize,
}

/// What is known of all engines of a stage.
#[derive(Debug, Default)]
pub struct State {
    ways: Vec<Way>,
    /// Engines that answer 503 to checks.
    sick: Vec<bool>,
    /// Requests that each engine has now.
    pub in_flight: Vec<u32>,
    /// The most it ever had at once.
    pub most: Vec<u32>,
    /// Every request, in the order of arrival.
    pub arrivals: Vec<Arrival>,
    held: BTreeMap<u64, oneshot::Sender<()>>,
}

impl State {
    /// Requests that each engine got since the arrival numbered `from`.
    pub fn shares(&self, from: usize) -> Vec<usize> {
        let mut shares = vec![0; self.in_flight.len()];
        for arrival in &self.arrivals[from..] {
            shares[arrival.engine] += 1;
        }
        shares
    }
}

#[derive(Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, make: impl FnOnce(&mut State) -> T) -> T {
        let made = make(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        made
    }

    /// The status of an answer to a check.
    pub(crate) fn check(&self, engine: usize) -> u16 {
        if self.lock().sick[engine] { 503 } else { 200 }
    }

    /// Counts a request in; what comes back counts it out when dropped.
    pub(crate) fn arrive(&self, id: u64, engine: usize) -> Stay {
        let (sender, released) = oneshot::channel();
        let way = self.change(|state| {
            state.in_flight[engine] += 1;
            state.most[engine] = state.most[engine].max(state.in_flight[engine]);
            state.arrivals.push(Arrival { id, engine });
            let way = state.ways[engine];
            if way == Way::Hold {
                state.held.insert(id, sender);
            }
            way
        });
        Stay { shared: self.clone(), engine, way, released }
    }
}

/// One request's time at an engine.
pub(crate) struct Stay {
    shared: Shared,
    engine: usize,
    /// How it is to be met.
    pub(crate) way: Way,
    /// Says when a held one may go.
    pub(crate) released: oneshot::Receiver<()>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.shared.change(|state| state.in_flight[self.engine] -= 1);
    }
}

/// The engines of one stage; they end with this value.
pub struct Engines {
    shared: Shared,
    addresses: Vec<SocketAddr>,
    tasks: Vec<Arc<Mutex<Vec<AbortHandle>>>>,
}

impl Engines {
    /// Starts so many, all of them answering at once.
    pub fn start(count: usize) -> anyhow::Result<Engines> {
        let state = State {
            ways: vec![Way::Answer; count],
            sick: vec![false; count],
            in_flight: vec![0; count],
            most: vec![0; count],
            ..State::default()
        };
        let shared = Shared { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::Sender::new(0)) };
        let mut engines = Engines { shared, addresses: Vec::new(), tasks: Vec::new() };
        for engine in 0..count {
            let listener = listen(SocketAddr::from((own_address(), 0)))?;
            engines.addresses.push(listener.local_addr()?);
            engines.tasks.push(Arc::default());
            engines.serve(engine, listener);
        }
        Ok(engines)
    }

    fn serve(&self, engine: usize, listener: TcpListener) {
        let (shared, tasks) = (self.shared.clone(), self.tasks[engine].clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = tokio::spawn(served::serve(stream, engine, shared.clone()));
                keep(&tasks, serving.abort_handle());
            }
        });
        keep(&self.tasks[engine], accepting.abort_handle());
    }

    /// Where each listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How one meets requests from now on.
    pub fn meet(&self, engine: usize, way: Way) {
        self.shared.change(|state| state.ways[engine] = way);
    }

    /// Whether one fails its checks; requests are met as before.
    pub fn sicken(&self, engine: usize, sick: bool) {
        self.shared.change(|state| state.sick[engine] = sick);
    }

    /// How all of them meet requests from now on.
    pub fn meet_all(&self, way: Way) {
        self.shared.change(|state| state.ways.fill(way));
    }

    /// Stops listening and cuts all connections: whoever connects is refused. Returns when that is so.
    pub async fn close(&self, engine: usize) -> anyhow::Result<()> {
        let tasks = std::mem::take(&mut *self.tasks[engine].lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(AbortHandle::abort);
        let closed = async { while TcpStream::connect(self.addresses[engine]).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, closed).await.context("an engine does not close")
    }

    /// Listens again, at the same address.
    pub fn open(&self, engine: usize) -> anyhow::Result<()> {
        self.serve(engine, listen(self.addresses[engine])?);
        Ok(())
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Lets a held request go; `false` if none of that number is held.
    pub fn release(&self, id: u64) -> bool {
        let held = self.shared.change(|state| state.held.remove(&id));
        held.is_some_and(|sender| sender.send(()).is_ok())
    }

    /// Waits until `found` finds something.
    pub async fn until<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> anyhow::Result<T> {
        let mut changes = self.shared.changes.subscribe();
        let looking = async {
            loop {
                changes.borrow_and_update();
                if let Some(it) = found(&self.shared.lock()) {
                    return it;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, looking).await;
        in_time
            .with_context(|| format!("{what}: never came; in flight {:?}", self.read(|state| state.in_flight.clone())))
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for tasks in &self.tasks {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(AbortHandle::abort);
        }
    }
}

/// A loopback address that nobody else connects from or listens on, so that a closed engine's port stays its own.
fn own_address() -> [u8; 4] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [.., high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    [127, 1, high, low.max(1)]
}

fn keep(tasks: &Mutex<Vec<AbortHandle>>, task: AbortHandle) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    tasks.retain(|task| !task.is_finished());
    tasks.push(task);
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("an engine on {address}"))?;
    Ok(socket.listen(1024)?)
}
