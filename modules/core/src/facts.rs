//! What is known of one request when an endpoint is chosen. Made by the dialect, outside any lock.

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::EndpointId;

/// A request's number, unique within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A family of paths that an engine either speaks or does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum PathClass {
    /// Ollama's own `/api/*`.
    Ollama = 1,
    /// `/v1/chat/completions`, `/v1/completions` and kin.
    #[default]
    OpenAi = 1 << 1,
    /// `/v1/embeddings`.
    Embeddings = 1 << 2,
    /// `/v1/responses`.
    Responses = 1 << 3,
    /// `/v1/messages`.
    Anthropic = 1 << 4,
    /// `/rerank`, `/score` and kin.
    Rerank = 1 << 5,
    /// `/v1/audio/*`, `/v1/images/*`.
    Media = 1 << 6,
    /// llama.cpp's own `/completion`, `/infill`, `/apply-template`.
    LlamaCpp = 1 << 7,
    /// `/tokenize`, `/detokenize`.
    Tokens = 1 << 8,
    /// Any path that no dialect knows and a route lets through.
    Other = 1 << 9,
}

/// A set of [`PathClass`]es: what one engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathClasses(u16);

impl PathClasses {
    /// Every class: an engine of which nothing is known is tried with anything.
    pub const ALL: PathClasses = PathClasses(u16::MAX);

    /// The set of the given classes.
    pub fn of(classes: &[PathClass]) -> PathClasses {
        PathClasses(classes.iter().fold(0, |set, class| set | *class as u16))
    }

    /// True if the engine speaks `class`.
    pub fn contains(self, class: PathClass) -> bool {
        self.0 & class as u16 != 0
    }
}

impl Default for PathClasses {
    fn default() -> Self {
        PathClasses::ALL
    }
}

/// Some endpoints of a pool. Cheap to clone; made of ids in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointSet(Arc<[EndpointId]>);

impl EndpointSet {
    /// True if the endpoint is one of them.
    pub fn contains(&self, id: EndpointId) -> bool {
        self.0.binary_search(&id).is_ok()
    }
}

impl FromIterator<EndpointId> for EndpointSet {
    fn from_iter<I: IntoIterator<Item = EndpointId>>(ids: I) -> Self {
        let mut ids: Vec<EndpointId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        EndpointSet(ids.into())
    }
}

/// A request's tie to one endpoint. It goes before any strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// To which.
    pub to: PinTo,
    /// If that endpoint cannot be used: true = the request is refused, false = the strategy decides.
    pub hard: bool,
}

/// What a request is tied by. A key or an id that the pool does not know ties to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinTo {
    /// To the endpoint that served this key before. Noted anew whenever the key gets a slot.
    Key {
        /// The key's hash.
        key: u64,
        /// How long it is remembered after its last use.
        ttl: Duration,
    },
    /// To this one: the client named it.
    Endpoint(EndpointId),
    /// To the endpoint that holds this state ([`crate::Fleet::pin`]).
    Id(u64),
}

/// Everything a strategy may know of a request. Cheap to clone; one value per attempt.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RequestFacts {
    /// The request's number; the same for all its attempts.
    pub id: RequestId,
    /// The route's name.
    pub route: Arc<str>,
    /// The model after the route's alias, as inventories name it; `None` where the path has no model.
    pub model: Option<Arc<str>>,
    /// Hash of the options that make an engine reload a model (`num_ctx` ...); 0 = all on default.
    pub runner_key: u64,
    /// The family of the path.
    pub path_class: PathClass,
    /// Priority class, lower first; 0 is normal.
    pub class: i16,
    /// Prompt length in tokens: bytes / 4 unless better is known.
    pub prompt_tokens: u32,
    /// The client's own bound on output tokens.
    pub max_output: Option<u32>,
    /// Expected output tokens of such a request, where its route's answers differ from the model's usual ones. The fleet
    /// fills it.
    pub output_tokens: Option<f64>,
    /// True if the answer is streamed.
    pub stream: bool,
    /// True if the model's weights are not used (`/api/show`, tokenizing, unloading): neither residency nor rates are
    /// learned from it.
    pub metadata_only: bool,
    /// Hash of the session (conversation, user), where the request has one.
    pub session: Option<u64>,
    /// Hash (xxh3) of the value of the first of the strategy's [`crate::Needs::keys`] that the request has; `None` if
    /// it has none of them, or the strategy asks for none.
    pub hash_key: Option<u64>,
    /// Chained hashes of the prompt's 1 KiB blocks; empty unless a strategy needs them.
    pub prompt_blocks: Arc<[u64]>,
    /// Bytes of body held in memory for this request: counted by the queue's bound.
    pub body_bytes: u64,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// The route's subset (`where:`): nobody else is a candidate, and whether the model is known, somebody is ready or
    /// all were tried is judged among these. `None` = the whole pool.
    pub among: Option<EndpointSet>,
    /// The route knows no caps (`caps: false`): every candidate counts as free, so the request never waits for a slot.
    /// It is in-flight all the same, and fills the caps that other routes go by.
    pub uncapped: bool,
    /// The endpoint that this request belongs to, if to any.
    pub pin: Option<Pin>,
    /// Endpoints that already failed this request.
    pub tried: Vec<EndpointId>,
    /// True if the decision is to be explained: strategies then write their priced terms.
    pub explain: bool,
}

impl RequestFacts {
    /// True unless the route's subset leaves the endpoint out.
    pub fn admits(&self, endpoint: EndpointId) -> bool {
        self.among.as_ref().is_none_or(|subset| subset.contains(endpoint))
    }
}
