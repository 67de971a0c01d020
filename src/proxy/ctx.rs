//! What is remembered of one request from its first byte to its access-log line.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arriero_core::{Explanation, Outcome, RequestFacts, Time, Usage};
use bytes::Bytes;
use tokio::time::Instant;

use super::Gateway;
use super::body::Held;
use super::control::Control;
use super::live::LiveRequest;
use super::pins::AnswerHead;
use super::shim;
use crate::config::{PoolPlan, RetryOn};
use crate::dialect::errors::ErrorKind;
use crate::dialect::paths::Dialect;
use crate::dialect::stream::Tap;
use crate::observe::figures::Entered;
use crate::snapshot::{RouteBinding, Snapshot, TargetBinding, Upstream};
use crate::upstream::herd::Slot;

/// What is known of a request that was not looked at yet.
static NO_FACTS: LazyLock<Arc<RequestFacts>> = LazyLock::new(Arc::default);

/// One request's memory.
pub struct Ctx {
    /// The generation that this request sees.
    pub snapshot: Arc<Snapshot>,
    /// `x-request-id`.
    pub id: String,
    /// Arrival on the fleet's clock: kept over retries.
    pub arrival: Time,
    /// Arrival, for durations.
    pub started: Instant,
    /// Arrival, for the log.
    pub wall: SystemTime,
    /// The API that the client speaks.
    pub dialect: Dialect,
    /// Index of the route in the plan.
    pub route: Option<usize>,
    /// Index of the route's pool among its targets.
    pub target: usize,
    /// How it goes to its engine.
    pub travel: Travel,
    /// The canonical path, where the engine is to see that one.
    pub path: Option<String>,
    /// The model as the client named it.
    pub model: Option<Arc<str>>,
    /// Some inventory or configuration knows that model.
    pub model_is_listed: bool,
    /// What the strategy knows.
    pub facts: Arc<RequestFacts>,
    /// The body, whole.
    pub body: Bytes,
    /// Its share of the budget.
    pub held: Held,
    /// The body was not read to its proper end: the connection cannot go on.
    pub body_is_broken: bool,
    /// The body is a JSON object.
    pub has_json: bool,
    /// The body is a form: its content type.
    pub form: Option<String>,
    /// Where the model's name stands in the body.
    pub model_range: Option<Range<usize>>,
    /// Where it stands in the query.
    pub model_in_query: Option<Range<usize>>,
    /// For this attempt: what to put there instead.
    pub query: Option<(Range<usize>, String)>,
    /// The client's address, behind trusted proxies.
    pub client: Option<IpAddr>,
    /// The client's name, by its key.
    pub user: Option<Arc<str>>,
    /// The socket address of the running attempt.
    pub connected_to: Option<SocketAddr>,
    /// A stale connection was already replaced by a fresh one to the same engine.
    pub reconnected: bool,
    /// True if a reset before the first byte may be tried elsewhere.
    pub replayable: bool,
    /// What the shim is told.
    pub control: Arc<Control>,
    /// Where the real session is while the shim stands in.
    pub shim: Option<shim::Slot>,
    /// The slot of the first attempt, until it begins.
    pub first_slot: Option<Slot>,
    /// The slot of the running attempt.
    pub slot: Option<Slot>,
    /// The endpoint of the last attempt.
    pub upstream: Option<Arc<Upstream>>,
    /// The module that chose it, and why in one line.
    pub module: Option<&'static str>,
    /// One line of reasons, where asked for.
    pub why: Option<String>,
    /// The client wants that line, or all clients get it.
    pub tell_reason: bool,
    /// This request was drawn to tell its decision in the log.
    pub log_decision: bool,
    /// The decision, then.
    pub decision: Option<Explanation>,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// The reply to send if all fails.
    pub refusal: Option<Refusal>,
    /// In the queue, over all attempts.
    pub queued: Duration,
    /// When the last attempt began to connect, and how long it took.
    pub connecting: Option<Instant>,
    /// How long it took.
    pub connect: Option<Duration>,
    /// How many waited when it began to wait.
    pub queue_before: Option<u32>,
    /// Connection to the head of the answer, in the last attempt.
    pub response: Option<Duration>,
    /// When the latest part of the answer came.
    pub latest_part: Option<Instant>,
    /// The longest pause between two of them.
    pub longest_gap: Option<Duration>,
    /// The running attempt's limit from its connection to its first byte.
    pub first_byte_limit: Option<Duration>,
    /// Arrival to first byte of body.
    pub first_byte: Option<Duration>,
    /// Arrival to first token: TTFT.
    pub first_token: Option<Duration>,
    /// Arrival to last byte.
    pub last_byte: Option<Duration>,
    /// The beginning of an answer whose id is still to be found.
    pub answer_head: AnswerHead,
    /// An attempt had no first byte in time, and the request was tried elsewhere: once is enough.
    pub was_late: bool,
    /// What the whole answer cost.
    pub told: Option<Usage>,
    /// Two letters.
    pub end: End,
    /// Bytes of body sent.
    pub bytes_out: u64,
    /// Counted among its route's until dropped.
    pub entered: Option<Entered>,
    /// Counted among the live ones until dropped.
    pub _live: LiveRequest,
}

impl Ctx {
    /// For a request that comes now.
    pub fn new(gateway: &Gateway) -> Ctx {
        Ctx {
            snapshot: gateway.snapshot.load_full(),
            id: String::new(),
            arrival: gateway.herd.now(),
            started: Instant::now(),
            wall: SystemTime::now(),
            dialect: Dialect::default(),
            route: None,
            target: 0,
            travel: Travel::default(),
            path: None,
            model: None,
            model_is_listed: false,
            facts: NO_FACTS.clone(),
            body: Bytes::new(),
            held: Held::none(&gateway.budget),
            body_is_broken: false,
            has_json: false,
            form: None,
            model_range: None,
            model_in_query: None,
            query: None,
            client: None,
            user: None,
            connected_to: None,
            reconnected: false,
            replayable: false,
            control: Arc::new(Control::default()),
            shim: None,
            first_slot: None,
            slot: None,
            upstream: None,
            module: None,
            why: None,
            tell_reason: false,
            log_decision: false,
            decision: None,
            outcome: None,
            refusal: None,
            queued: Duration::ZERO,
            connecting: None,
            connect: None,
            queue_before: None,
            response: None,
            latest_part: None,
            longest_gap: None,
            first_byte_limit: None,
            first_byte: None,
            first_token: None,
            last_byte: None,
            answer_head: None,
            was_late: false,
            told: None,
            end: End::OK,
            bytes_out: 0,
            entered: None,
            _live: gateway.live.enter(),
        }
    }

    /// The route as the fleet knows it.
    pub fn binding(&self) -> Option<&RouteBinding> {
        self.snapshot.routes.get(self.route?)
    }

    /// The route's pool that this request goes to.
    pub fn target(&self) -> Option<&TargetBinding> {
        self.binding()?.targets.get(self.target)
    }

    /// The plan of that pool.
    pub fn pool_plan(&self) -> Option<&PoolPlan> {
        self.snapshot.plan.pools.get(self.target()?.place)
    }

    /// After what the request's pool tries again.
    pub fn retry_on(&self) -> RetryOn {
        self.pool_plan().map_or(RetryOn::default(), |pool| pool.retry.on)
    }

    /// What the answer cost, as far as it said so far.
    pub fn usage(&self) -> Usage {
        if let Some(told) = self.told {
            return told;
        }
        self.control.answer().tap.as_ref().map(Tap::usage).unwrap_or_default()
    }

    /// Gives the memory of the request's body back.
    pub fn let_body_go(&mut self) {
        self.body = Bytes::new();
        self.held.let_go();
        self.control.set_body(Default::default());
    }

    /// The model as a metric label: names that no endpoint was found for are all `other`.
    pub fn bounded_model(&self) -> &str {
        match &self.facts.model {
            Some(model) if self.model_is_listed => model,
            Some(_) => "other",
            None => "",
        }
    }
}

/// How a request goes to its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Travel {
    /// Its body is read whole first, and replayed on every attempt by the shim.
    #[default]
    Held,
    /// A WebSocket: passed through both ways; never retried once it is connected.
    WebSocket,
    /// A gRPC call: passed through with its own framing and trailers; never retried once it is connected.
    Grpc,
}

/// Why a request is refused, and how to say so.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Kind of error: status and words of each API.
    pub kind: ErrorKind,
    /// For the client.
    pub message: String,
    /// Seconds.
    pub retry_after: Option<u32>,
    /// The methods that would do, for a 405.
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal that coming again will not mend.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Refusal {
        Refusal { kind, message: message.into(), retry_after: None, allow: None }
    }
}

/// Who ended the request, and in which phase: the access log's `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End(pub &'static str);

impl End {
    /// Completed.
    pub const OK: End = End("--");
    /// Answered by the proxy itself.
    pub const LOCAL: End = End("L-");
    /// The client left while sending its request.
    pub const CLIENT_REQUEST: End = End("CR");
    /// The client left while queued.
    pub const CLIENT_QUEUE: End = End("CQ");
    /// The client left before the first byte.
    pub const CLIENT_HEADER: End = End("CH");
    /// The client stopped reading the answer.
    pub const CLIENT_STALL: End = End("cD");
    /// The client left during the answer.
    pub const CLIENT_DATA: End = End("CD");
    /// The client was too slow sending its request.
    pub const CLIENT_SLOW: End = End("cR");
    /// We refused the request.
    pub const REFUSED: End = End("PR");
    /// The queue was full.
    pub const QUEUE_FULL: End = End("PQ");
    /// Waited too long in the queue.
    pub const QUEUE_TIMEOUT: End = End("sQ");
    /// No endpoint could serve it.
    pub const NO_ENDPOINT: End = End("SQ");
    /// No connection to the engine.
    pub const CONNECT: End = End("SC");
    /// The engine failed before the first byte.
    pub const ENGINE_HEADER: End = End("SH");
    /// The engine took too long for its first byte.
    pub const ENGINE_SLOW: End = End("sH");
    /// The engine failed during the answer.
    pub const ENGINE_DATA: End = End("SD");
    /// The request's own total time ran out.
    pub const TOTAL: End = End("PT");
    /// The engine paused too long during the answer.
    pub const ENGINE_STALL: End = End("sD");
    /// Our own mistake.
    pub const INTERNAL: End = End("I-");
}
