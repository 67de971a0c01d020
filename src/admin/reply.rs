//! Answers and what is read of a request: JSON both ways, errors as `{ "error": { "message", "allowed"? } }`.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::{ControlError, Expected, Finding};

/// What every error looks like.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorWords,
}

/// An error in words.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ErrorWords {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What is allowed instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// Of a broken configuration: each mistake with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// An error's answer.
pub(super) fn error(status: StatusCode, message: impl Into<String>, allowed: Option<String>) -> Response {
    words(status, ErrorWords { message: message.into(), allowed, findings: Vec::new() })
}

fn words(status: StatusCode, error: ErrorWords) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let message = self.to_string();
        match self {
            ControlError::NotFound { allowed, .. } => error(StatusCode::NOT_FOUND, message, allowed),
            ControlError::Invalid { allowed, .. } => error(StatusCode::UNPROCESSABLE_ENTITY, message, allowed),
            ControlError::Broken { findings, .. } => {
                words(StatusCode::UNPROCESSABLE_ENTITY, ErrorWords { message, allowed: None, findings })
            }
            ControlError::Forbidden(_) => error(StatusCode::FORBIDDEN, message, None),
            ControlError::Conflict(_) => error(StatusCode::CONFLICT, message, None),
            ControlError::Stale { .. } => error(StatusCode::PRECONDITION_FAILED, message, None),
            ControlError::Failed(_) => error(StatusCode::INTERNAL_SERVER_ERROR, message, None),
        }
    }
}

/// A handler's answer: JSON, or the error.
pub(super) type Answer<T> = Result<Json<T>, ControlError>;

/// A value with the generation that it was told in.
pub(super) struct Tagged<T>(pub(super) u64, pub(super) T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut answer = Json(self.1).into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.0)) {
            answer.headers_mut().insert(header::ETAG, tag);
        }
        answer
    }
}

/// A body of JSON, whatever its content type says: `curl -d` sends what it likes, and pages were looked at before.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let refused = |rejection: BytesRejection| error(rejection.status(), rejection.body_text(), None);
        let bytes = Bytes::from_request(request, state).await.map_err(refused)?;
        serde_json::from_slice(&bytes).map(Body).map_err(|wrong| {
            let status = if wrong.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            error(status, format!("the body is not what this wants: {wrong}"), None)
        })
    }
}

/// The name in the path, decoded.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let refused = |rejection: PathRejection| error(rejection.status(), rejection.body_text(), None);
        Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| Name(name)).map_err(refused)
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let refused = |rejection: QueryRejection| error(StatusCode::UNPROCESSABLE_ENTITY, rejection.body_text(), None);
        Query::<T>::from_request_parts(parts, state).await.map(|Query(asked)| Asked(asked)).map_err(refused)
    }
}

/// `If-Match`: the generation that the change was made for; none, or `*`, is any.
pub(super) struct IfMatch(pub(super) Expected);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        expected(&parts.headers).map(IfMatch)
    }
}

fn expected(headers: &HeaderMap) -> Result<Expected, ControlError> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let word = value.to_str().unwrap_or_default().trim();
    let plain = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word);
    match plain.parse() {
        _ if all.next().is_some() => {}
        Ok(generation) => return Ok(Some(generation)),
        Err(_) if word == "*" => return Ok(None),
        Err(_) => {}
    }
    Err(ControlError::invalid("If-Match names no generation", "the ETag of an earlier answer, like \"7\", or *"))
}
