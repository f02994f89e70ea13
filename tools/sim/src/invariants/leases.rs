//! B4: a lease whose time is not over is kept, and its token still works; old tokens never do.

use rekindle_services::queues::{Settled, Token};

use super::Check;
use crate::model::Model;
use crate::request::{Answer, How, Request};
use crate::store::Store;

/// Acks everything that is leased, and tries tokens of finished work.
///
/// # Errors
/// When a token that must work does not, or one that must not does.
pub fn check(model: &mut Model, store: &Store) -> Check {
    let old: Vec<Token> = model.fenced.iter().copied().collect();
    for (token, result) in old.iter().zip(ack(store, &old)?) {
        match result {
            Err(kind) if kind == "Fenced" => {}
            other => return Err(format!("old token {token}: {other:?} instead of fenced")),
        }
    }
    let live = model.live_tokens();
    for (token, result) in live.iter().zip(ack(store, &live)?) {
        if result != Ok(Settled::Acked) {
            return Err(format!("the lease of {token} was not kept: {result:?}"));
        }
        let (how, now_ms) = (How::Ack, store.database.log_time_ms());
        let result = result.ok();
        model.apply(0, &crate::effect::Effect::Settled { token: *token, how, result, now_ms })?;
    }
    Ok(())
}

fn ack(store: &Store, tokens: &[Token]) -> Result<Vec<Result<Settled, String>>, String> {
    if tokens.is_empty() {
        return Ok(vec![]);
    }
    let request = Request::Settle(tokens.to_vec(), How::Ack, None);
    match crate::execute::execute(store, &request, None)? {
        Answer::Settled(_, results) => {
            Ok(results.into_iter().map(|one| one.map_err(|refusal| refusal.kind)).collect())
        }
        other => Err(format!("acks were answered {other:?}")),
    }
}
