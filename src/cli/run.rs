//! `arriero run`: loads the configuration, makes the gateway, serves.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{RunArguments, config_path, fail, read_source};
use crate::bind::{Counters, bind};
use crate::config::{self, AdminBind, Plan, Source};
use crate::history::History;
use crate::learned;
use crate::listeners::Listeners;
use crate::observe::access_log::AccessLog;
use crate::observe::figures::AllFigures;
use crate::observe::metrics::Metrics;
use crate::proxy::Gateway;
use crate::proxy::body::BodyBudget;
use crate::registry::ModuleEntry;
use crate::server::{self, Setup};
use crate::upstream::herd::Herd;
use crate::upstream::roots;
use crate::upstream::watches::Watches;

pub(super) fn run(arguments: RunArguments, modules: Vec<ModuleEntry>) -> ExitCode {
    let loaded = if arguments.to.is_empty() {
        from_file(&arguments, &modules)
    } else {
        config::from_urls(&arguments.to, arguments.listen.as_deref(), arguments.balance.as_deref(), &modules)
            .map(|plan| (plan, None))
            .map_err(|errors| config::render(&errors))
    };
    let (plan, path) = match loaded {
        Ok(loaded) => loaded,
        Err(words) => return fail(words),
    };
    if let Err(words) = can_bind(&plan) {
        return fail(words);
    }
    let log = match AccessLog::open(&plan.access_log) {
        Ok(log) => log,
        Err(words) => return fail(words),
    };
    let file = path.as_ref().map(|path| path.display().to_string());
    let source = path
        .map(|path: PathBuf| Box::new(move || read_source(&path)) as Box<dyn Fn() -> io::Result<Source> + Send + Sync>);
    let banner: Vec<String> = plan.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    match gateway(plan, log) {
        Ok(gateway) => {
            start_log();
            learned::restore(&gateway);
            gateway.history.lock().file = file;
            let ready = Box::new(move || log::info!("listening on {}", banner.join(", ")));
            server::serve(Setup { gateway, source, modules, ready });
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

fn from_file(arguments: &RunArguments, modules: &[ModuleEntry]) -> Result<(Plan, Option<PathBuf>), String> {
    let path = config_path(&arguments.config)?;
    let source = read_source(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let plan = config::load(&source, modules).map_err(|errors| config::render(&errors))?;
    let rereadable = path.as_os_str() != "-";
    Ok((plan, rereadable.then_some(path)))
}

/// The shared state with its first generation applied.
pub(super) fn gateway(plan: Plan, log: AccessLog) -> Result<Arc<Gateway>, String> {
    let herd = Herd::new(fastrand::u64(..));
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let roots = roots::load(&plan)?;
    let listeners = Listeners::open(&plan)?;
    metrics.generation.set(1);
    metrics.reload_ok.set(1.0);
    let budget = BodyBudget::new(plan.limits.bodies);
    let figures = AllFigures::default();
    let snapshot = bind(&herd, plan, roots, None, Counters { metrics: &metrics, figures: &figures });
    Ok(Arc::new(Gateway {
        snapshot: ArcSwap::from_pointee(snapshot),
        herd,
        watches: Watches::default(),
        budget,
        metrics,
        figures,
        log: ArcSwap::from_pointee(log),
        listeners,
        live: Arc::default(),
        reloader: OnceLock::new(),
        history: Mutex::new(History::begin(None)),
        reloading: Mutex::new(()),
    }))
}

/// Every address is free, or who might have it.
pub(super) fn can_bind(plan: &Plan) -> Result<(), String> {
    let listeners = plan.listeners.iter().map(|listener| (listener.name.to_string(), listener.bind));
    let admin = plan.admin.as_ref().and_then(|admin| match admin.bind {
        AdminBind::Tcp(address) => Some(("admin".to_owned(), address)),
        AdminBind::Unix(_) => None,
    });
    let addresses = listeners.chain(admin);
    let busy: Vec<String> = addresses
        .filter_map(|(name, bind)| TcpListener::bind(bind).err().map(|error| (name, bind, error)))
        .map(|(name, bind, error)| {
            let hint = if bind.port() == 11434 {
                "; is Ollama running there? Start it elsewhere (OLLAMA_HOST=127.0.0.1:11435) or choose another --listen"
            } else {
                ""
            };
            format!("listener {name}: cannot listen on {bind}: {error}{hint}")
        })
        .collect();
    if busy.is_empty() { Ok(()) } else { Err(busy.join("\narriero: ")) }
}

/// Warnings and our own news on standard error; `RUST_LOG` says otherwise.
pub(super) fn start_log() {
    let wanted = env_logger::Env::default().default_filter_or("warn,arriero=info,pingora=off,pingora_core=error");
    // A second call (tests) is harmless.
    let _ = env_logger::Builder::from_env(wanted).format_target(false).try_init();
}
