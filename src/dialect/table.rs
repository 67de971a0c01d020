//! The endpoints that engines are known to have, as data: which go by the model in the body, which are blocked.
//! What is in neither table is answered by the proxy (see `paths`) or unknown.

use arriero_core::PathClass;

/// `POST` endpoints with the model in the body: JSON, or a form with files.
pub(super) const ROUTES: &[(&str, PathClass)] = &[
    ("/v1/chat/completions", PathClass::OpenAi),
    ("/v1/completions", PathClass::OpenAi),
    ("/v1/chat/completions/batch", PathClass::OpenAi),
    ("/v1/moderations", PathClass::OpenAi),
    ("/invocations", PathClass::OpenAi),
    ("/generate", PathClass::OpenAi),
    ("/generate_stream", PathClass::OpenAi),
    ("/encode", PathClass::OpenAi),
    ("/v1/messages", PathClass::Anthropic),
    ("/v1/messages/count_tokens", PathClass::Anthropic),
    ("/v1/responses", PathClass::Responses),
    ("/v1/embeddings", PathClass::Embeddings),
    ("/api/chat", PathClass::Ollama),
    ("/api/generate", PathClass::Ollama),
    ("/api/embed", PathClass::Ollama),
    ("/api/embeddings", PathClass::Ollama),
    ("/api/show", PathClass::Ollama),
    ("/rerank", PathClass::Rerank),
    ("/v1/rerank", PathClass::Rerank),
    ("/v2/rerank", PathClass::Rerank),
    ("/reranking", PathClass::Rerank),
    ("/v1/reranking", PathClass::Rerank),
    ("/score", PathClass::Rerank),
    ("/v1/score", PathClass::Rerank),
    ("/classify", PathClass::Rerank),
    ("/pooling", PathClass::Rerank),
    ("/generative_scoring", PathClass::Rerank),
    ("/v1/audio/speech", PathClass::Media),
    ("/v1/audio/transcriptions", PathClass::Media),
    ("/v1/audio/translations", PathClass::Media),
    ("/v1/images/generations", PathClass::Media),
    ("/v1/images/edits", PathClass::Media),
    ("/v1/images/variations", PathClass::Media),
    ("/completion", PathClass::LlamaCpp),
    ("/completions", PathClass::LlamaCpp),
    ("/chat/completions", PathClass::LlamaCpp),
    ("/embedding", PathClass::LlamaCpp),
    ("/embeddings", PathClass::LlamaCpp),
    ("/infill", PathClass::LlamaCpp),
    ("/apply-template", PathClass::LlamaCpp),
    ("/tokenize", PathClass::Tokens),
    ("/detokenize", PathClass::Tokens),
    ("/v1/chat/completions/render", PathClass::Tokens),
    ("/v1/chat/completions/derender", PathClass::Tokens),
    ("/v1/completions/render", PathClass::Tokens),
    ("/v1/completions/derender", PathClass::Tokens),
];

/// Every method.
pub(super) const ANY: &str = "any";

/// Blocked endpoints: the name in `allow`, the methods that are blocked, patterns in lower case. A pattern that ends
/// in `*` stands for everything that begins so; any other also covers what lies below it.
pub(super) const CONTROLS: &[(&str, &str, &[&str])] = &[
    ("pull", ANY, &["/api/pull"]),
    ("create", ANY, &["/api/create"]),
    ("copy", ANY, &["/api/copy"]),
    ("delete", ANY, &["/api/delete"]),
    ("push", ANY, &["/api/push"]),
    ("blobs", ANY, &["/api/blobs"]),
    ("node", ANY, &["/api/me", "/api/signout", "/api/signin", "/api/user", "/api/status", "/api/experimental"]),
    ("node", ANY, &["/get_server_info", "/server_info", "/get_model_info", "/model_info", "/v1/loads", "/load"]),
    ("node", ANY, &["/server/info", "/kv_event_sources", "/get_load", "/info", "/version", "/abort_request"]),
    ("slots", ANY, &["/slots"]),
    ("props", ANY, &["/props"]),
    ("lora", ANY, &["/lora-adapters", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"]),
    ("lora", ANY, &["/load_lora_adapter*", "/unload_lora_adapter*"]),
    ("models", ANY, &["/models/load", "/models/unload", "/models/sse", "/models/download", "/api/v0", "/api/v1"]),
    ("models", "POST, PUT, PATCH, DELETE", &["/models"]),
    ("models", "POST, PUT, PATCH, DELETE", &["/v1/models"]),
    ("sleep", ANY, &["/sleep", "/wake_up", "/is_sleeping", "/pause", "/resume", "/is_paused"]),
    ("scale", ANY, &["/scale_elastic_ep", "/is_scaling_elastic_ep", "/collective_rpc", "/inference"]),
    ("cache", ANY, &["/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/flush_cache"]),
    ("cache", ANY, &["/clear_hicache_storage_backend", "/release_memory_occupation", "/resume_memory_occupation"]),
    (
        "weights",
        ANY,
        &["/update_weights*", "/update_weight*", "/init_weight*", "/get_weights_by_name", "/destroy_weight*"],
    ),
    ("profile", ANY, &["/start_profile", "/stop_profile", "/start_expert_distribution_record", "/v1/profile"]),
    ("profile", ANY, &["/stop_expert_distribution_record", "/dump_expert_distribution_record", "/configure_logging"]),
    ("files", ANY, &["/v1/files", "/v1/uploads"]),
    ("batches", ANY, &["/v1/batches", "/v1/messages/batches"]),
    ("fine-tuning", ANY, &["/v1/fine_tuning", "/v1/evals"]),
    ("assistants", ANY, &["/v1/assistants", "/v1/threads", "/v1/vector_stores", "/v1/containers"]),
    ("conversations", ANY, &["/v1/conversations"]),
    ("videos", ANY, &["/v1/videos"]),
    ("account", ANY, &["/v1/organization", "/v1/organizations", "/v1/projects"]),
    ("docs", ANY, &["/docs", "/redoc", "/openapi.json"]),
    ("metrics", ANY, &["/metrics", "/prometheus"]),
];

/// Every name that a route's `allow` may list: the control families, [`GRPC`] and [`OTHER`].
pub fn allow_names() -> impl Iterator<Item = &'static str> {
    CONTROL_NAMES.iter().copied().chain([GRPC, OTHER])
}

/// The name in `allow` that lets gRPC calls through.
pub const GRPC: &str = "grpc";

/// The name in `allow` that lets unknown paths through.
pub const OTHER: &str = "other";

/// The names that `allow` may list.
pub const CONTROL_NAMES: &[&str] = &[
    "pull",
    "create",
    "copy",
    "delete",
    "push",
    "blobs",
    "node",
    "slots",
    "props",
    "lora",
    "models",
    "sleep",
    "scale",
    "cache",
    "weights",
    "profile",
    "files",
    "batches",
    "fine-tuning",
    "assistants",
    "conversations",
    "videos",
    "account",
    "docs",
    "metrics",
];
