//! Addresses below `/-/` steer the server while it runs: no bucket has such a name.
//!
//! - `GET /-/counters` tells the counters as JSON, `POST /-/counters` tells them and begins anew.
//! - `POST /-/settings?get-ms=15&busy=100` changes settings, by the words of the program's flags.

use hyper::{Method, Response, StatusCode, Uri};
use s3s::Body;

use crate::server::Shared;

/// Where such addresses begin.
const PREFIX: &str = "/-/";

/// The answer, if the address is one of these.
pub(crate) fn control(shared: &Shared, method: &Method, uri: &Uri) -> Option<Response<Body>> {
    let (status, text) = match (method, uri.path().strip_prefix(PREFIX)?) {
        (&Method::GET, "counters") => (StatusCode::OK, counters(shared, false)),
        (&Method::POST, "counters") => (StatusCode::OK, counters(shared, true)),
        (&Method::POST, "settings") => match shared.change(uri.query().unwrap_or_default()) {
            Ok(()) => (StatusCode::OK, String::new()),
            Err(text) => (StatusCode::BAD_REQUEST, text),
        },
        _ => (StatusCode::NOT_FOUND, "there are /-/counters and /-/settings\n".to_owned()),
    };
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    Some(answer)
}

fn counters(shared: &Shared, reset: bool) -> String {
    serde_json::to_string(&shared.counters.read(reset)).expect("numbers can be written") + "\n"
}
