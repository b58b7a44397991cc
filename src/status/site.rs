//! The resources of the page, and what every answer says to browsers: run nothing but this page's own scripts, send nothing
//! anywhere, keep nothing, be in nobody's frame.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
        RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{Status, detail::Refused};
use crate::metrics::Asked;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Path, kind and bytes of what the page is made of.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("/status", HTML, include_str!("page/status.html")),
    ("/status.css", CSS, include_str!("page/status.css")),
    ("/status/figures.css", CSS, include_str!("page/figures.css")),
    ("/status/tables.css", CSS, include_str!("page/tables.css")),
    ("/status/narrow.css", CSS, include_str!("page/narrow.css")),
    ("/status.js", SCRIPT, include_str!("page/status.js")),
    ("/status/attention.js", SCRIPT, include_str!("page/attention.js")),
    ("/status/cellmap.js", SCRIPT, include_str!("page/cellmap.js")),
    ("/status/chart.js", SCRIPT, include_str!("page/chart.js")),
    ("/status/clients.js", SCRIPT, include_str!("page/clients.js")),
    ("/status/detail.js", SCRIPT, include_str!("page/detail.js")),
    ("/status/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/status/facts.js", SCRIPT, include_str!("page/facts.js")),
    ("/status/format.js", SCRIPT, include_str!("page/format.js")),
    ("/status/overview.js", SCRIPT, include_str!("page/overview.js")),
    ("/status/price.js", SCRIPT, include_str!("page/price.js")),
    ("/status/rates.js", SCRIPT, include_str!("page/rates.js")),
    ("/status/row.js", SCRIPT, include_str!("page/row.js")),
    ("/status/space.js", SCRIPT, include_str!("page/space.js")),
];

/// Answers one request.
pub(super) async fn answer(status: &Status, asked: &Asked) -> Response<Full<Bytes>> {
    if let Some(&(_, kind, body)) = RESOURCES.iter().find(|(path, ..)| *path == asked.path) {
        return response(StatusCode::OK, kind, Bytes::from_static(body.as_bytes()));
    }
    match asked.path.as_str() {
        "/" => {
            let mut there = text(StatusCode::TEMPORARY_REDIRECT, "the status page is at /status\n");
            there.headers_mut().insert(LOCATION, HeaderValue::from_static("/status"));
            there
        }
        "/status.json" => response(StatusCode::OK, JSON, status.overview.get(status, asked).await),
        "/status/export.json" => export(status, asked).await,
        _ => text(StatusCode::NOT_FOUND, "not found: ask for /status, /metrics, /healthz or /livez\n"),
    }
}

async fn export(status: &Status, asked: &Asked) -> Response<Full<Bytes>> {
    let query = asked.query.as_deref().unwrap_or_default();
    let Some((_, name)) = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "name") else {
        return text(StatusCode::BAD_REQUEST, "which export? add ?name=NAME; an empty NAME is the default export\n");
    };
    match status.details.get(status, &asked.metrics, &name).await {
        Ok(body) => response(StatusCode::OK, JSON, body),
        Err(Refused::Unknown) => text(StatusCode::NOT_FOUND, "there is no export of that name\n"),
        Err(Refused::Busy) => {
            let mut busy = text(StatusCode::SERVICE_UNAVAILABLE, "many ask at once: try again\n");
            busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            busy
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    response(status, TEXT, Bytes::from_static(body.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
