//! How requests are refused: a status, one sentence, and what to do.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use canvass_protocol::api;
use canvass_protocol::openpgp::Fingerprint;
use tokio::time::timeout;

use crate::investigators::Stranger;
use crate::rates::TooOften;
use crate::store::StoreError;

/// How long a request's body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(60);

/// A refused request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    said: api::Problem,
    /// Who lacks which role, for the audit.
    refused: Option<Refused>,
}

/// That somebody lacks a role; goes with the reply as far as whoever writes it down.
#[derive(Debug, Clone)]
pub struct Refused {
    pub who: Fingerprint,
    pub role: &'static str,
}

impl Problem {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        Problem { status, said: api::Problem { error: error.into(), hint: None }, refused: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.said.hint = Some(hint.into());
        self
    }

    /// What was sent is not what this address takes.
    pub fn bad(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error)
    }

    pub fn not_found(what: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.said)).into_response();
        if let Some(refused) = self.refused {
            response.extensions_mut().insert(refused);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Taken(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
            error => {
                tracing::error!(%error, "a request failed");
                if let StoreError::Full(_) = error {
                    let hint = "tell whoever runs it; it goes on by itself when there is room again";
                    return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server's disk is full").hint(hint);
                }
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server cannot read or write its store now")
            }
        }
    }
}

impl From<Stranger> for Problem {
    fn from(stranger: Stranger) -> Problem {
        let status = match stranger {
            Stranger::Role(..) | Stranger::Nobody(_) => StatusCode::FORBIDDEN,
            Stranger::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNAUTHORIZED,
        };
        let problem = Problem::new(status, stranger.to_string());
        match stranger {
            Stranger::Role(who, role) => Problem { refused: Some(Refused { who, role }), ..problem },
            _ => problem,
        }
    }
}

impl From<TooOften> for Problem {
    fn from(TooOften: TooOften) -> Problem {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "this is asked too often").hint("wait a second and try again")
    }
}

/// A body as it came, whatever it calls itself.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Raw, Problem> {
        let read = timeout(BODY_WITHIN, Bytes::from_request(request, state)).await.map_err(|_| unended())?;
        read.map(Raw).map_err(|error| unread(error.status(), error.body_text()))
    }
}

/// JSON that says what is wrong with it as everything here does.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Body<T>, Problem> {
        let read = timeout(BODY_WITHIN, Json::<T>::from_request(request, state)).await;
        let Json(value) = read.map_err(|_| unended())?.map_err(|error| unread(error.status(), error.body_text()))?;
        Ok(Body(value))
    }
}

fn unended() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end")
}

fn unread(status: StatusCode, words: String) -> Problem {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "the request is longer than anything that this address takes")
        }
        status => Problem::new(status, words),
    }
}
