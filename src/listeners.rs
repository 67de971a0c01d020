//! The listeners of the running process: what of them is shared by their connections, and what a reload may change
//! while they run (certificates, the limit on connections). Addresses, and TLS at all, take a restart.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{ListenerPlan, Plan};
use crate::edge::tls::{CertFiles, Certificates};
use crate::edge::{Connections, watch};

/// How often certificate files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One listener.
pub struct Listening {
    /// Its name.
    pub name: Arc<str>,
    /// Its connections.
    pub connections: Arc<Connections>,
    /// Its certificates; `None` = no TLS.
    pub certificates: Option<Arc<Certificates>>,
}

/// All listeners, as they were at the start.
#[derive(Default)]
pub struct Listeners(Vec<Arc<Listening>>);

impl Listeners {
    /// The plan's listeners, their certificates read.
    ///
    /// # Errors
    /// One line for each certificate that cannot be used.
    pub fn open(plan: &Plan) -> Result<Listeners, String> {
        let (mut open, mut errors) = (Vec::new(), Vec::new());
        for listener in &plan.listeners {
            let certificates = match files(listener) {
                files if files.is_empty() => None,
                files => Certificates::load(&files).map_err(|lines| errors.extend(lines)).ok(),
            };
            let connections = Connections::new(listener.max_connections);
            open.push(Arc::new(Listening { name: listener.name.clone(), connections, certificates }));
        }
        if errors.is_empty() { Ok(Listeners(open)) } else { Err(errors.join("\n")) }
    }

    /// The listener of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Listening>> {
        self.0.iter().find(|listening| *listening.name == *name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listening>> {
        self.0.iter()
    }

    /// Reads the certificates of a new plan. Nothing changes until [`Listeners::change`].
    ///
    /// # Errors
    /// One line for each certificate that cannot be used.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        Listeners::open(plan).map(drop)
    }

    /// Takes what a checked plan changes.
    pub fn change(&self, plan: &Plan) {
        for listener in &plan.listeners {
            let Some(running) = self.get(&listener.name) else { continue };
            running.connections.set_limit(listener.max_connections);
            let Some(certificates) = running.certificates.as_ref().filter(|_| !listener.tls.is_empty()) else {
                continue;
            };
            if let Err(lines) = certificates.replace(&files(listener)) {
                log::error!(
                    "listener {}: the certificates are kept as they were:\n{}",
                    listener.name,
                    lines.join("\n")
                );
            }
        }
    }

    /// Looks after certificate files that change, for ever. Needs a runtime.
    pub fn watch(&self) {
        for listening in self.iter() {
            let Some(certificates) = listening.certificates.clone() else { continue };
            let name = listening.name.clone();
            tokio::spawn(watch(certificates, LOOK_EVERY, move |result| match result {
                Ok(()) => log::info!("listener {name}: new certificates are in use"),
                Err(lines) => {
                    log::error!("listener {name}: the certificates are kept as they were:\n{}", lines.join("\n"));
                }
            }));
        }
    }
}

fn files(listener: &ListenerPlan) -> Vec<CertFiles> {
    let pairs = listener.tls.iter();
    pairs.map(|pair| CertFiles { cert: pair.cert.clone(), key: pair.key.clone() }).collect()
}
