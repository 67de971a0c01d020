//! Answers that the proxy gives itself: errors in the API's own shape, local answers. The connection stays usable.

use bytes::Bytes;
use http::{StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::ctx::{Ctx, Refusal, Travel};
use crate::dialect::errors::{self, ErrorKind, error_body};
use crate::edge::keys::CHALLENGE;

/// Sends a refusal in the client's own API.
pub async fn refuse(session: &mut Session, ctx: &mut Ctx, refusal: &Refusal) -> Result<()> {
    if ctx.travel == Travel::Grpc {
        return refuse_grpc(session, ctx, refusal).await;
    }
    let body = error_body(ctx.dialect, refusal.kind, &refusal.message);
    let mut head = head(refusal.kind.status(), errors::CONTENT_TYPE, body.len())?;
    if let Some(seconds) = refusal.retry_after {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    if let Some(methods) = refusal.allow {
        head.insert_header(header::ALLOW, methods)?;
    }
    if refusal.kind == ErrorKind::Unauthorized {
        head.insert_header(header::WWW_AUTHENTICATE, CHALLENGE)?;
    }
    ctx.why.get_or_insert_with(|| refusal.message.clone());
    send(session, ctx, head, body).await
}

/// A gRPC client looks at `grpc-status` only: 3 invalid argument, 5 not found, 7 permission denied, 8 resource exhausted,
/// 14 unavailable, 16 unauthenticated.
async fn refuse_grpc(session: &mut Session, ctx: &mut Ctx, refusal: &Refusal) -> Result<()> {
    let code = match refusal.kind {
        ErrorKind::Unauthorized => 16,
        ErrorKind::Blocked => 7,
        ErrorKind::TooManyRequests | ErrorKind::TooLarge => 8,
        kind if kind.status() == StatusCode::NOT_FOUND => 5,
        kind if kind.status().is_client_error() => 3,
        _ => 14,
    };
    let mut head = head(StatusCode::OK, "application/grpc", 0)?;
    head.remove_header(&header::CONTENT_LENGTH);
    head.insert_header("grpc-status", code)?;
    let plain: String = refusal.message.chars().filter(|c| matches!(c, ' '..='~') && *c != '%').collect();
    head.insert_header("grpc-message", plain)?;
    ctx.why.get_or_insert_with(|| refusal.message.clone());
    send(session, ctx, head, Bytes::new()).await
}

/// Sends JSON.
pub async fn json(session: &mut Session, ctx: &mut Ctx, status: StatusCode, body: &serde_json::Value) -> Result<()> {
    let body = Bytes::from(body.to_string());
    let head = head(status, errors::CONTENT_TYPE, body.len())?;
    send(session, ctx, head, body).await
}

/// Sends nothing but a status: 204.
pub async fn nothing(session: &mut Session, ctx: &mut Ctx) -> Result<()> {
    let mut head = ResponseHeader::build(StatusCode::NO_CONTENT, Some(2))?;
    head.insert_header(header::ALLOW, "GET, HEAD, POST, DELETE, OPTIONS")?;
    send(session, ctx, head, Bytes::new()).await
}

/// Sends plain text.
pub async fn text(session: &mut Session, ctx: &mut Ctx, status: StatusCode, text: &'static str) -> Result<()> {
    let head = head(status, "text/plain; charset=utf-8", text.len())?;
    send(session, ctx, head, Bytes::from_static(text.as_bytes())).await
}

fn head(status: StatusCode, content_type: &str, length: usize) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::CONTENT_LENGTH, length)?;
    Ok(head)
}

async fn send(session: &mut Session, ctx: &mut Ctx, mut head: ResponseHeader, body: Bytes) -> Result<()> {
    head.insert_header("x-request-id", ctx.id.as_str())?;
    ctx.bytes_out += body.len() as u64;
    let bodyless = body.is_empty() || session.req_header().method == http::Method::HEAD;
    let downstream = session.as_downstream_mut();
    downstream.write_response_header(Box::new(head)).await?;
    if !bodyless {
        downstream.write_response_body(body, true).await?;
    } else {
        downstream.finish_body().await?;
    }
    Ok(())
}
