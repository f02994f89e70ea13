//! What can be asked about an execution, or about all executions of a plan.
//!
//! Invariants: only what the service takes is offered, by a form with this process's token and a
//! reason; looking asks for nothing.

use maud::{Markup, html};
use rekindle_services::loops::{Ask, LoopId};

use super::words::{api, link};
use crate::front::http::token::FormToken;
use crate::front::ui::curl;
use crate::front::ui::frame::nothing;
use crate::front::ui::reviews::signature;

/// What asking for it does, in words.
const fn means(ask: Ask) -> &'static str {
    match ask {
        Ask::Approve => "The draft runs.",
        Ask::Pause => "Nothing more is begun; a step that runs goes on to its end.",
        Ask::Resume => "It goes on.",
        Ask::Cancel => "It is called off, with the step that runs.",
        Ask::Retry => "It begins again behind what was done, with its whole budget.",
    }
}

/// A radio for each, one reason, one button. Without a token it is only looked at.
pub(in crate::front::ui) fn actions(
    id: LoopId,
    takes: impl Fn(Ask) -> bool,
    token: Option<&FormToken>,
) -> Markup {
    let Some(token) = token else {
        return nothing("The server is in recovery mode: this is decided once it serves.", None);
    };
    let asks: Vec<Ask> = Ask::ALL.into_iter().filter(|ask| takes(*ask)).collect();
    if asks.is_empty() {
        return nothing("It is completed: there is nothing left to do about it.", None);
    }
    html! {
        form.decide method="post" action=(link(id)) {
            input type="hidden" name=(FormToken::FIELD) value=(token.as_str());
            fieldset {
                legend { "What is to be done" }
                @for ask in asks {
                    label.choice {
                        input type="radio" name="ask" value=(ask.as_str()) required;
                        span { b { (ask.as_str()) } " " (means(ask)) }
                    }
                }
            }
            (signature("the audit log"))
            button.main type="submit" { "Do it" }
        }
    }
}

/// The same at a terminal.
pub(in crate::front::ui) fn commands(id: LoopId, address: &str, is_plan: bool) -> Markup {
    let path = api(id);
    let reason = r#"{"reason":"so"}"#;
    let mut lines = vec![("show", curl::get(address, &path))];
    if !is_plan {
        lines.push(("events", curl::get(address, &format!("{path}/events"))));
    }
    for ask in Ask::ALL {
        let line = curl::post(address, &format!("{path}/{}", ask.as_str()), reason);
        lines.push((ask.as_str(), line));
    }
    html! {
        section.card.wide[!is_plan] aria-labelledby="h-curl" {
            h2 #h-curl { "The same at a terminal" }
            (curl::lines(&lines))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::execution::tests::{ID, info};
    use super::*;
    use rekindle_env::OsRandom;
    use rekindle_services::loops::Status;

    /// What the service refuses is not offered, and everything that it takes is.
    ///
    /// proves: L10
    #[test]
    fn only_what_is_taken_is_offered() {
        let token = FormToken::draw(&OsRandom);
        for status in Status::ALL {
            for paused in [false, true] {
                let mut one = info(status);
                (one.paused, one.draft) = (paused, status == Status::Draft);
                let text = actions(one.id, |ask| one.takes(ask), Some(&token)).into_string();
                for ask in Ask::ALL {
                    let offered = text.contains(&format!("value=\"{}\"", ask.as_str()));
                    assert_eq!(offered, one.takes(ask), "{status}, {paused}, {ask:?}: {text}");
                }
                let forms = text.matches("<form").count();
                assert_eq!(forms == 0, text.contains("nothing left to do"), "{text}");
                assert_eq!(text.matches(token.as_str()).count(), forms, "{text}");
                assert_eq!(text.matches("required").count() > forms, forms > 0, "{text}");
                assert!(!actions(one.id, |_| true, None).into_string().contains("<form"));
            }
        }
        let lines = commands(ID.parse().expect("an id"), "h:1", false).into_string();
        assert!(lines.contains(&format!("-X POST 'http://h:1/v1/loops/{ID}/retry'")), "{lines}");
    }
}
