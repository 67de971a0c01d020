//! Errors in the shape of the API that the client speaks, so that its SDK shows the message.
//!
//! OpenAI: `{"error":{"message","type","param","code"}}`; Ollama: `{"error":"..."}`;
//! Anthropic: `{"type":"error","error":{"type","message"}}`. All are `application/json`.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::fields::FieldError;
use super::paths::Dialect;

/// The content type of every error body.
pub const CONTENT_TYPE: &str = "application/json";
/// At most this many known models are named to a client that asks for an unknown one.
pub const KNOWN_NAMES: usize = 20;

/// The message for [`ErrorKind::MissingModel`].
pub const MISSING_MODEL: &str = "the request names no model; add \"model\" to its JSON body";

/// What went wrong, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 400: no JSON, cut off, too deep, ...
    InvalidRequest,
    /// 400: no `model`, and the route needs one.
    MissingModel,
    /// 400: more than one `model`.
    DuplicateModel,
    /// 401: no key or a wrong one.
    Unauthorized,
    /// 403: an engine's control endpoint that the route does not allow.
    Blocked,
    /// 404: no engine has the model.
    UnknownModel,
    /// 404: no such endpoint.
    NotFound,
    /// 405: the endpoint does not take this method.
    MethodNotAllowed,
    /// 408: the client is too slow.
    RequestTimeout,
    /// 413: the body is over the limit.
    TooLarge,
    /// 414: the request target is over the limit.
    UriTooLong,
    /// 426: a WebSocket is expected.
    UpgradeRequired,
    /// 429: too many requests, or a full queue.
    TooManyRequests,
    /// 431: the header is over the limit.
    HeaderTooLarge,
    /// 500: our own fault.
    Internal,
    /// 502: the engine failed.
    BadGateway,
    /// 503: no engine can take it now.
    Unavailable,
    /// 504: the engine is too slow.
    GatewayTimeout,
}

impl ErrorKind {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorKind::InvalidRequest | ErrorKind::MissingModel | ErrorKind::DuplicateModel => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Blocked => StatusCode::FORBIDDEN,
            ErrorKind::UnknownModel | ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ErrorKind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::UriTooLong => StatusCode::URI_TOO_LONG,
            ErrorKind::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            ErrorKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::BadGateway => StatusCode::BAD_GATEWAY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// OpenAI's `code`.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidRequest => "invalid_request",
            ErrorKind::MissingModel => "model_missing",
            ErrorKind::DuplicateModel => "model_ambiguous",
            ErrorKind::Unauthorized => "invalid_api_key",
            ErrorKind::Blocked => "endpoint_blocked",
            ErrorKind::UnknownModel => "model_not_found",
            ErrorKind::NotFound => "not_found",
            ErrorKind::MethodNotAllowed => "method_not_allowed",
            ErrorKind::RequestTimeout => "request_timeout",
            ErrorKind::TooLarge => "request_too_large",
            ErrorKind::UriTooLong => "uri_too_long",
            ErrorKind::UpgradeRequired => "upgrade_required",
            ErrorKind::TooManyRequests => "rate_limit_exceeded",
            ErrorKind::HeaderTooLarge => "header_too_large",
            ErrorKind::Internal => "internal_error",
            ErrorKind::BadGateway => "engine_failed",
            ErrorKind::Unavailable => "engine_unavailable",
            ErrorKind::GatewayTimeout => "engine_timeout",
        }
    }

    /// OpenAI's `type`.
    pub fn openai_type(self) -> &'static str {
        match self {
            ErrorKind::Unauthorized => "authentication_error",
            ErrorKind::Blocked => "permission_error",
            ErrorKind::TooManyRequests => "rate_limit_error",
            _ if self.status().is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Anthropic's `type`.
    pub fn anthropic_type(self) -> &'static str {
        match self {
            ErrorKind::Unauthorized => "authentication_error",
            ErrorKind::Blocked => "permission_error",
            ErrorKind::UnknownModel | ErrorKind::NotFound => "not_found_error",
            ErrorKind::TooLarge => "request_too_large",
            ErrorKind::TooManyRequests => "rate_limit_error",
            ErrorKind::Unavailable => "overloaded_error",
            ErrorKind::GatewayTimeout => "timeout_error",
            ErrorKind::Internal | ErrorKind::BadGateway => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// OpenAI's `param`: the field to blame, where it is one.
    fn param(self) -> Option<&'static str> {
        matches!(self, ErrorKind::MissingModel | ErrorKind::DuplicateModel | ErrorKind::UnknownModel).then_some("model")
    }
}

impl From<&FieldError> for ErrorKind {
    fn from(error: &FieldError) -> ErrorKind {
        match error {
            FieldError::DuplicateModel | FieldError::ModelCase(_) => ErrorKind::DuplicateModel,
            _ => ErrorKind::InvalidRequest,
        }
    }
}

/// The body of an error answer.
pub fn error_body(dialect: Dialect, kind: ErrorKind, message: &str) -> Bytes {
    let body = match dialect {
        Dialect::Ollama => json!({ "error": message }),
        Dialect::OpenAi => openai_error(kind, message),
        Dialect::Anthropic => {
            json!({ "type": "error", "error": { "type": kind.anthropic_type(), "message": message } })
        }
    };
    Bytes::from(body.to_string())
}

/// OpenAI's error object.
pub(super) fn openai_error(kind: ErrorKind, message: &str) -> serde_json::Value {
    let (class, param, code) = (kind.openai_type(), kind.param(), kind.code());
    json!({ "error": { "message": message, "type": class, "param": param, "code": code } })
}

/// The message for a model that no engine has, with the first known names.
pub fn unknown_model<'a>(dialect: Dialect, model: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(KNOWN_NAMES);
    names.truncate(KNOWN_NAMES);
    let mut message = match dialect {
        Dialect::Ollama => format!("model '{model}' not found"),
        Dialect::OpenAi => format!("The model `{model}` does not exist"),
        Dialect::Anthropic => format!("model: {model}"),
    };
    match (names.is_empty(), more) {
        (true, _) => message.push_str("; no model is known here"),
        (false, 0) => message.push_str(&format!("; known models: {}", names.join(", "))),
        (false, more) => message.push_str(&format!("; known models: {} and {more} more", names.join(", "))),
    }
    message
}

/// The message for a control endpoint that the route does not allow.
pub fn blocked(path: &str, name: &str) -> String {
    format!("{path} acts on a single engine and is blocked here; a route opens it with `allow: [{name}]`")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn body(dialect: Dialect, kind: ErrorKind) -> Value {
        serde_json::from_slice(&error_body(dialect, kind, "it \"broke\"\n")).unwrap()
    }

    #[test]
    fn each_api_gets_its_own_shape() {
        let openai = json!({"error": {"message": "it \"broke\"\n", "type": "invalid_request_error", "param": "model",
            "code": "model_not_found"}});
        assert_eq!(body(Dialect::OpenAi, ErrorKind::UnknownModel), openai);
        assert_eq!(body(Dialect::Ollama, ErrorKind::UnknownModel), json!({"error": "it \"broke\"\n"}));
        let anthropic = json!({"type": "error", "error": {"type": "overloaded_error", "message": "it \"broke\"\n"}});
        assert_eq!(body(Dialect::Anthropic, ErrorKind::Unavailable), anthropic);
    }

    #[test]
    fn types_follow_the_status() {
        assert_eq!(ErrorKind::GatewayTimeout.openai_type(), "server_error");
        assert_eq!(ErrorKind::TooLarge.openai_type(), "invalid_request_error");
        assert_eq!(ErrorKind::Blocked.anthropic_type(), "permission_error");
        assert_eq!(ErrorKind::HeaderTooLarge.status(), 431);
        assert_eq!(ErrorKind::from(&FieldError::DuplicateModel), ErrorKind::DuplicateModel);
        assert_eq!(ErrorKind::from(&FieldError::Truncated), ErrorKind::InvalidRequest);
    }

    #[test]
    fn an_unknown_model_names_the_known_ones_within_bounds() {
        let message = unknown_model(Dialect::Ollama, "x", ["b", "a", "b"]);
        assert_eq!(message, "model 'x' not found; known models: a, b");
        let names: Vec<String> = (100..150).map(|n| format!("m{n}")).collect();
        let message = unknown_model(Dialect::OpenAi, "x", names.iter().map(String::as_str));
        assert!(message.ends_with("m119 and 30 more") && !message.contains("m120"), "{message}");
        assert!(unknown_model(Dialect::Anthropic, "x", []).ends_with("no model is known here"));
    }
}
