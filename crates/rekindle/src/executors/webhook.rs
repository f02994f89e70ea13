//! One job by a webhook: a signed POST of the payload, whose answer is the result.
//!
//! The signature is that of Standard Webhooks 1.0 (`v1`: HMAC-SHA256 over `ID.TIMESTAMP.BODY`);
//! `webhook-id` is the job's id, the same in every attempt, so that a receiver can tell a repeated
//! one. Invariants: a request is bounded in time and its answer in bytes; redirects are not
//! followed; the claim is kept meanwhile.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use rekindle_services::jobs::Claimed;
use rekindle_services::limits::RESULT_BYTES_MAX;
use sha2::Sha256;

use super::held::{Held, Phase};
use super::settings::{Secret, WebhookSettings};
use super::verdict::Verdict;
use crate::posting::{Answer, Post, post};

/// The most of a refusal that is kept as the error, bytes.
const REFUSAL_BYTES_MAX: usize = 500;
/// The longest pause that an answer can ask for, milliseconds: a day.
const RETRY_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// Posts a job.
pub(super) async fn run(held: Held, settings: &WebhookSettings, job: &Claimed) {
    let now_s = held.context.env.clock.wall_ms() / 1_000;
    let verdict = match headers(&settings.secret, job, now_s) {
        Err(error) => Some(Verdict::Fail(format!("no header holds this: {error}"), None)),
        Ok(headers) => {
            let body = job.payload().to_vec();
            let request = Post { headers, body, answer_bytes_max: RESULT_BYTES_MAX };
            let posting = post(&settings.target, request);
            tokio::select! {
                answer = tokio::time::timeout(settings.time_limit, posting) => match answer {
                    Ok(Ok(answer)) => Some(judge(answer)),
                    Ok(Err(error)) => Some(Verdict::Fail(error, None)),
                    Err(_) => {
                        let error = format!("no answer within {:?}", settings.time_limit);
                        Some(Verdict::Fail(error, None))
                    }
                },
                // Nobody asks for the answer any more.
                () = held.lost() => None,
                () = held.context.reached(Phase::Stopping) => Some(Verdict::Stop),
            }
        }
    };
    if let Some(verdict) = verdict {
        held.tell(&verdict).await;
    }
}

/// What an answer means.
fn judge(answer: Answer) -> Verdict {
    match answer {
        Answer { status: 200..300, whole: true, body, .. } => Verdict::Complete(body),
        Answer { status: 200..300, .. } => {
            Verdict::Fail(format!("the answer has more than {RESULT_BYTES_MAX} bytes"), None)
        }
        Answer { status, body, retry_after_s, .. } => {
            let text = String::from_utf8_lossy(&body);
            let text = text.get(..text.floor_char_boundary(REFUSAL_BYTES_MAX)).unwrap_or_default();
            let retry_in_ms = retry_after_s.map(|s| s.saturating_mul(1_000).min(RETRY_MS_MAX));
            Verdict::Fail(format!("status {status}: {}", text.trim()), retry_in_ms)
        }
    }
}

fn headers(secret: &Secret, job: &Claimed, now_s: u64) -> Result<HeaderMap, InvalidHeaderValue> {
    let (id, timestamp) = (job.id.to_string(), now_s.to_string());
    let signature = sign(secret, &id, &timestamp, job.payload());
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(job.payload()).is_ok();
    let content = if json { "application/json" } else { "application/octet-stream" };
    let named = [
        ("content-type", content.to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
        ("rekindle-job-type", job.kind.clone()),
        ("rekindle-job-attempt", job.attempt.to_string()),
    ];
    let mut headers = HeaderMap::with_capacity(named.len());
    for (name, value) in named {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value)?);
    }
    Ok(headers)
}

/// `v1,` and the base 64 of the HMAC.
fn sign(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length will do");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.into(), whole: true, retry_after_s: None }
    }

    /// The example of the specification (Standard Webhooks, "Signature scheme").
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = Secret(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = sign(&secret, id, "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn an_answer_decides_about_the_job() {
        assert_eq!(judge(answer(200, "7")), Verdict::Complete(b"7".to_vec()));
        let cut = Answer { whole: false, ..answer(201, "x") };
        assert!(matches!(judge(cut), Verdict::Fail(..)));
        assert_eq!(judge(answer(302, "")), Verdict::Fail("status 302: ".into(), None));
        let busy = Answer { retry_after_s: Some(7), ..answer(503, " busy\n") };
        assert_eq!(judge(busy), Verdict::Fail("status 503: busy".into(), Some(7_000)));
        let long = Answer { retry_after_s: Some(u64::MAX), ..answer(429, &"é".repeat(400)) };
        let Verdict::Fail(error, pause) = judge(long) else { unreachable!() };
        assert!(error.len() <= REFUSAL_BYTES_MAX + 12 && pause == Some(RETRY_MS_MAX));
    }
}
