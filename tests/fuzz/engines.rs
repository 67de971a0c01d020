//! What real engines answer, path by path, cut down to what matters; and odd values to put into it.

/// Answers by path.
type Paths = &'static [(&'static str, &'static str)];

/// Engines by the name of their kind.
pub(crate) const ENGINES: [(&str, Paths); 6] = [
    ("ollama", OLLAMA),
    ("llama-cpp", LLAMA_CPP),
    ("llama-cpp", ROUTER),
    ("vllm", VLLM),
    ("sglang", SGLANG),
    ("openai", &[("/v1/models", r#"{"object":"list","data":[{"id":"big","object":"model","owned_by":"someone"}]}"#)]),
];

const OLLAMA: Paths = &[
    ("/", "Ollama is running"),
    ("/api/version", r#"{"version":"0.33.1"}"#),
    (
        "/api/tags",
        r#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2026-10-01T09:00:00.5+02:00",
        "size":2019393189,"digest":"a80c","details":{"family":"llama"},"capabilities":["completion"]},
        {"name":"qwen3:8b","model":"qwen3:8b","modified_at":"2026-11-01T09:00:00Z","size":5225388164}]}"#,
    ),
    (
        "/api/ps",
        r#"{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":6000000000,"expires_at":"2026-11-21T20:00:00Z",
        "size_vram":5500000000,"context_length":8192}]}"#,
    ),
    (
        "/v1/models",
        r#"{"object":"list","data":[{"id":"llama3.2:latest","object":"model","created":1790000000,"owned_by":"library"},
        {"id":"qwen3:8b","object":"model","created":1790000001,"owned_by":"library"}]}"#,
    ),
];

const LLAMA_CPP: Paths = &[
    ("/health", r#"{"status":"ok"}"#),
    ("/props", r#"{"total_slots":4,"build_info":"b11669","model_path":"/models/tiny.gguf"}"#),
    (
        "/v1/models",
        r#"{"object":"list","data":[{"id":"tiny","aliases":["small"],"object":"model","owned_by":"llamacpp",
        "meta":{"size":4096,"n_ctx_train":2048}}]}"#,
    ),
    ("/models", r#"{"object":"list","data":[{"id":"tiny","object":"model","owned_by":"llamacpp"}]}"#),
    (
        "/slots",
        r#"[{"id":0,"n_ctx":2048,"is_processing":true},{"id":1,"n_ctx":2048,"is_processing":false},{"id":2},{"id":3}]"#,
    ),
    (
        "/metrics",
        "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n",
    ),
];

const ROUTER: Paths = &[
    ("/health", r#"{"status":"ok"}"#),
    ("/props", r#"{"role":"router","build_info":"b11669"}"#),
    ("/v1/models", ROUTED),
    ("/models", ROUTED),
    ("/slots?model=a&autoload=false", r#"[{"id":0,"is_processing":true},{"id":1,"is_processing":true}]"#),
    ("/metrics?model=a&autoload=false", "llamacpp:requests_deferred 2\n"),
];

const ROUTED: &str = r#"{"object":"list","data":[
    {"id":"a","object":"model","owned_by":"llamacpp","status":{"value":"loaded","args":["--api-key","odd-secret"]}},
    {"id":"b","object":"model","owned_by":"llamacpp","status":{"value":"loading"}},
    {"id":"c","object":"model","owned_by":"llamacpp","status":{"value":"unloaded"}}]}"#;

const VLLM: Paths = &[
    ("/health", ""),
    ("/version", r#"{"version":"0.32.0"}"#),
    ("/load", r#"{"server_load":0}"#),
    (
        "/v1/models",
        r#"{"object":"list","data":[{"id":"qwen","object":"model","owned_by":"vllm","root":"Qwen/Qwen3",
        "parent":null,"max_model_len":32768},
        {"id":"lora","object":"model","owned_by":"vllm","parent":"qwen","max_model_len":null}]}"#,
    ),
    (
        "/metrics",
        "# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{engine=\"0\",model_name=\"qwen\"} 4.0\n\
         vllm:num_requests_running{engine=\"1\",model_name=\"qwen\"} 3.0\n\
         vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 6.0\n\
         vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 2.0\n\
         vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"deferred\"} 4.0\n\
         vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"qwen\"} 0.25\n\
         vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"qwen\"} 0.75\n\
         vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"+Inf\"} 7.0\n",
    ),
];

const SGLANG_LOADS: &str = r#"{"timestamp":"2026-11-21T20:00:00","version":"0.5.6","dp_rank_count":2,"loads":[
    {"dp_rank":0,"num_running_reqs":3,"num_waiting_reqs":1,"num_waiting_uncached_tokens":100,"num_used_tokens":512,
     "max_total_num_tokens":4096,"token_usage":0.13,"gen_throughput":88.5,"cache_hit_rate":0.4},
    {"dp_rank":1,"num_running_reqs":2,"num_waiting_reqs":0,"num_used_tokens":0,"max_total_num_tokens":4096}]}"#;

const SGLANG: Paths = &[
    ("/health", ""),
    (
        "/v1/models",
        r#"{"object":"list","data":[{"id":"qwen","object":"model","owned_by":"sglang","max_model_len":4096}]}"#,
    ),
    ("/v1/loads", SGLANG_LOADS),
    ("/v1/loads?include=core", SGLANG_LOADS),
    ("/get_load", r#"[{"dp_rank":0,"num_reqs":4,"num_waiting_reqs":1,"num_tokens":512}]"#),
    ("/get_model_info", r#"{"model_path":"Qwen/Qwen3-8B","is_generation":true}"#),
    ("/get_server_info", r#"{"model_path":"Qwen/Qwen3-8B","version":"0.5.6","max_running_requests":64}"#),
    ("/metrics", "sglang:num_running_reqs{tp_rank=\"0\"} 3.0\nsglang:num_queue_reqs 1.0\nsglang:token_usage 0.13\n"),
];

/// Values that an engine should not give where another is expected.
pub(crate) const ODD: [&str; 24] = [
    "null",
    "true",
    "0",
    "-1",
    "1e308",
    "1.5",
    "18446744073709551615",
    "4294967296",
    "\"\"",
    "\"x\"",
    "\":latest\"",
    "\"1e3\"",
    "[]",
    "[[]]",
    "[null]",
    "{}",
    "{\"value\":\"loaded\"}",
    "\"loaded\"",
    "\"loading\"",
    "\"\\u0000\\n\"",
    "\"\\ud83d\\ude00\"",
    "\"9999-99-99T99:99:99Z\"",
    "\"1969-12-31T23:59:59Z\"",
    "[{\"id\":\"x\"},{\"id\":\"x\"},{}]",
];

/// Values that no gauge should have, each with the end of its line.
pub(crate) const ODD_NUMBERS: [&str; 12] = [
    "7\n",
    "1.0001\n",
    "-1\n",
    "-0\n",
    "NaN\n",
    "+Inf\n",
    "-Inf\n",
    "1e308\n",
    "1e999\n",
    "4294967296\n",
    "0x10\n",
    "\n",
];

/// What is put into broken places.
pub(crate) const WORDS: [&[u8]; 32] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"\"data\":",
    b"\"models\":",
    b"\"id\":\"x\"",
    b"NaN",
    b"+Inf",
    b"-Inf",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b" ",
    b"\n",
    b"\r\n",
    b"#",
    b"vllm:num_requests_running",
    b"llamacpp:requests_deferred ",
    b"vllm:kv_cache_usage_perc ",
    b"{engine=\"0\"}",
    b"}}",
    b"\xff",
    b"\x00",
    b"\xc3\xbc",
    b"0.5",
    b"Ollama is running",
    b"\\",
];
