//! What all screens share: the head with the server's facts, the navigation, the foot.
//!
//! Invariants: a page holds no script and no style of its own (the policy of [`reply::html`] would
//! not run them); what scripts keep up to date is a part with an id, rendered here like the rest,
//! so a page says the same with and without scripts.
//!
//! [`reply::html`]: crate::front::http::reply::html

use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};

/// The screens of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// How the server stands.
    Overview,
    /// What recovery found and did.
    Recovery,
    /// Queues.
    Queues,
    /// Jobs and their types.
    Jobs,
    /// Jobs by the clock.
    Schedules,
    /// Who has jobs in work.
    Workers,
    /// Plans and executions.
    Loops,
    /// What waits for a person.
    Reviews,
    /// What fires.
    Alerts,
    /// What people did.
    Audit,
}

/// In the order of the navigation.
const SCREENS: [(Screen, &str, &str); 10] = [
    (Screen::Overview, "/ui/", "Overview"),
    (Screen::Recovery, "/ui/recovery", "Recovery"),
    (Screen::Queues, "/ui/queues", "Queues"),
    (Screen::Jobs, "/ui/jobs", "Jobs"),
    (Screen::Schedules, "/ui/schedules", "Schedules"),
    (Screen::Workers, "/ui/workers", "Workers"),
    (Screen::Loops, "/ui/loops", "Loops"),
    (Screen::Reviews, "/ui/reviews", "Reviews"),
    (Screen::Alerts, "/ui/alerts", "Alerts"),
    (Screen::Audit, "/ui/audit", "Audit"),
];

/// How the server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It recovers; the stage.
    Starting(String),
    /// Work is accepted.
    Serving,
    /// It ends.
    Ending,
    /// A write or sync failed: why.
    Failed(String),
    /// The start was refused: with which code, and why.
    Refused(i32, String),
    /// It was started to be looked at: what that found.
    RecoveryMode(String),
}

impl State {
    /// A sign, words and a class.
    fn shown(&self) -> (&'static str, String, &'static str) {
        match self {
            Self::Starting(stage) => ("◌", format!("starting: {stage}"), "warn"),
            Self::Serving => ("●", "serving".to_owned(), "ok"),
            Self::Ending => ("◌", "shutting down".to_owned(), "warn"),
            Self::Failed(_) => ("✖", "store failed".to_owned(), "bad"),
            Self::RecoveryMode(_) => ("◐", "recovery mode".to_owned(), "warn"),
            Self::Refused(code, _) => ("✖", format!("start refused ({code})"), "bad"),
        }
    }
}

/// What the head says of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// How it is reached: its address.
    pub(super) name: String,
    /// The store's directory.
    pub(super) data: String,
    /// The number of this run, once recovery knows it.
    pub(super) run: Option<u64>,
    /// The durability mode, and what it promises.
    pub(super) durability: String,
    /// How it stands.
    pub(super) state: State,
    /// Whether other machines can reach it.
    pub(super) exposed: bool,
    /// Changes when a page that is open must be loaded again.
    pub(super) epoch: String,
}

/// A page to be framed.
#[derive(Clone, Debug)]
pub(super) struct Page<'a> {
    /// Which entry of the navigation is this one.
    pub(super) screen: Option<Screen>,
    /// What the title and the heading say.
    pub(super) title: &'a str,
    /// What gives the live parts, if anything does.
    pub(super) live: Option<&'a str>,
    /// Seconds after which a browser without scripts loads the page again.
    pub(super) reload_s: Option<u64>,
    /// Everything below the heading.
    pub(super) body: Markup,
}

/// A part of the page that is kept up to date.
pub(super) fn part(id: &str, content: &Markup) -> Markup {
    html! { div id=(id) data-part { (content) } }
}

/// The state, as the head shows it.
pub(super) fn state(facts: &Facts) -> Markup {
    let (sign, word, class) = facts.state.shown();
    html! {
        span.state.(class) { span.sign aria-hidden="true" { (sign) } " " (word) }
        @if let State::Failed(reason) | State::Refused(_, reason) | State::RecoveryMode(reason) =
            &facts.state
        {
            " " span.why { (reason) }
        }
    }
}

/// The whole document.
pub(super) fn document(facts: &Facts, page: &Page<'_>) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · " (facts.name) " · Rekindle" }
                link rel="icon" href=(ICON.path()) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.path());
                @if let Some(seconds) = page.reload_s {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
                script src=(SCRIPT.path()) defer {}
            }
            body data-live=[page.live] data-epoch=(facts.epoch) {
                a.skip href="#main" { "Skip to the content" }
                (head(facts, page.screen))
                main #main tabindex="-1" {
                    h1 { (page.title) }
                    (page.body)
                }
                (foot())
            }
        }
    };
    markup.into_string()
}

fn head(facts: &Facts, current: Option<Screen>) -> Markup {
    let run = facts.run.map_or_else(|| "–".to_owned(), |run| run.to_string());
    html! {
        header.top {
            div.brand {
                a href="/ui/" { "Rekindle" }
                span.name { (facts.name) }
            }
            (part("state", &state(facts)))
            dl.facts {
                div { dt { "Run" } dd { (run) } }
                div { dt { "Durability" } dd { (facts.durability) } }
                div.data { dt { "Data" } dd { (facts.data) } }
            }
            @if facts.exposed {
                p.exposed {
                    span aria-hidden="true" { "⚠ " }
                    "Other machines can reach this server, and nobody is asked who they are."
                }
            }
            nav aria-label="Screens" {
                ul {
                    @for (screen, path, name) in SCREENS {
                        li {
                            @let page = (current == Some(screen)).then_some("page");
                            a href=(path) aria-current=[page] {
                                (name)
                            }
                        }
                    }
                }
            }
        }
    }
}

fn foot() -> Markup {
    html! {
        footer {
            p #live-state role="status" {
                noscript { "Without scripts this page shows the moment at which it was loaded." }
            }
            p {
                "Rekindle " (env!("CARGO_PKG_VERSION")) " · times are UTC · "
                a href="/metrics" { "metrics" } " · "
                a href="/healthz" { "health" } " · "
                a href="/v1/limits" { "limits" } " · "
                a href="/ui/api" { "interface" }
            }
        }
    }
}

/// A word with its sign, in the colour of its class.
pub(super) fn badge(sign: &str, word: &str, class: &str) -> Markup {
    html! { span.badge.(class) { span aria-hidden="true" { (sign) } " " (word) } }
}

/// Wide content that scrolls inside its own box; `label` names it for who cannot see it.
pub(super) fn scrolling(label: &str, content: &Markup) -> Markup {
    html! { div.scroll role="region" tabindex="0" aria-label=(label) { (content) } }
}

/// What stands where there is nothing yet, and what to do about it.
pub(super) fn nothing(text: &str, command: Option<&str>) -> Markup {
    html! {
        div.nothing {
            p { (text) }
            @if let Some(command) = command { pre { code { (command) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::front::ui) fn facts() -> Facts {
        Facts {
            name: "127.0.0.1:7610".to_owned(),
            data: "/data/<b>".to_owned(),
            run: Some(7),
            durability: "strict".to_owned(),
            state: State::Serving,
            exposed: false,
            epoch: "e".to_owned(),
        }
    }

    /// The head says who the server is; whatever comes from outside is text and never markup.
    #[test]
    fn everything_is_escaped() {
        let mut facts = facts();
        facts.state = State::Failed("<script>alert(1)</script>".to_owned());
        let page = Page {
            screen: Some(Screen::Recovery),
            title: "A & B",
            live: Some("/ui/live?page=\"x\""),
            reload_s: None,
            body: html! { p { "<i>" } },
        };
        let text = document(&facts, &page);
        assert!(text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{text}");
        for part in [
            "<title>A &amp; B · 127.0.0.1:7610 · Rekindle</title>",
            "/data/&lt;b&gt;",
            "&lt;script&gt;alert(1)",
            "&lt;i&gt;",
            "data-live=\"/ui/live?page=&quot;x&quot;\"",
            "aria-current=\"page\"",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("<script>"), "{text}");
        assert!(!text.contains(" style="), "{text}");
    }
}
