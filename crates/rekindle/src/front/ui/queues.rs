//! Queues: a page of them, and one.

use std::collections::HashMap;

use maud::{Markup, html};
use rekindle_services::queues::QueueInfo;

use super::frame::{badge, nothing, scrolling};
use super::text;

/// Most queues of one page.
pub(super) const QUEUES_PAGE: usize = 100;

/// A page of queues.
#[derive(Clone, Debug, Default)]
pub(super) struct QueuesScreen {
    /// What their names begin with.
    pub(super) prefix: String,
    /// Behind which name this page begins.
    pub(super) after: String,
    /// The queues.
    pub(super) queues: Vec<QueueInfo>,
    /// Whether more follow.
    pub(super) more: bool,
    /// How old the oldest ready message of each is, where that is known, milliseconds.
    pub(super) oldest_ms: HashMap<String, u64>,
    /// What makes a first one.
    pub(super) first_command: String,
}

/// A path with its parameters; those without a value are left out.
pub(super) fn path(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The whole screen.
pub(super) fn screen(view: &QueuesScreen, table: &Markup) -> Markup {
    let last = view.queues.last().map_or("", |queue| queue.name.as_str());
    let first_page = path("/ui/queues", &[("prefix", &view.prefix)]);
    let next_page = path("/ui/queues", &[("prefix", &view.prefix), ("after", last)]);
    html! {
        section.card.wide aria-label="Queues" {
            form.filter method="get" action="/ui/queues" role="search" {
                label for="prefix" { "Names that begin with" }
                input #prefix name="prefix" type="text" value=(view.prefix) maxlength="255"
                    autocomplete="off" spellcheck="false";
                button type="submit" { "Filter" }
                @if !view.prefix.is_empty() { a href="/ui/queues" { "All queues" } }
            }
            (table)
            @if view.more || !view.after.is_empty() {
                nav.pages aria-label="Pages" {
                    @if !view.after.is_empty() {
                        a href=(first_page) { "⇤ First page" }
                    }
                    @if view.more {
                        a href=(next_page) rel="next" { "Next page →" }
                    }
                }
            }
        }
    }
}

/// The table, which is kept up to date.
pub(super) fn table(view: &QueuesScreen) -> Markup {
    if view.queues.is_empty() {
        return match (view.prefix.is_empty(), view.after.is_empty()) {
            (true, true) => nothing(
                "There are no queues yet. Make one and send to it:",
                Some(&view.first_command),
            ),
            (false, _) => nothing(&format!("No queue begins with {:?}.", view.prefix), None),
            (true, false) => nothing("No queue follows.", None),
        };
    }
    let table = html! {
        table.rows {
            caption.unseen { "Queues and how full they are" }
            thead {
                tr {
                    th scope="col" { "Queue" }
                    th.number scope="col" { "Ready" }
                    th.number scope="col" { "Leased" }
                    th.number scope="col" { "Delayed" }
                    th.number scope="col" { "Review" }
                    th.number scope="col" { "Keys" }
                    th.number scope="col" { "Oldest ready" }
                    th.number scope="col" { "Next lease ends" }
                    th.number scope="col" { "Next is due" }
                    th scope="col" { "Dead letters" }
                }
            }
            tbody { @for queue in &view.queues { (row(queue, view.oldest_ms.get(&queue.name))) } }
        }
    };
    scrolling("Queues and how full they are", &table)
}

fn row(queue: &QueueInfo, oldest_ms: Option<&u64>) -> Markup {
    let stats = &queue.stats;
    html! {
        tr {
            th scope="row" { a href={ "/ui/queues/" (queue.name) } { (queue.name) } }
            (amount(stats.ready)) (amount(stats.leased)) (amount(stats.delayed))
            td.number {
                @if stats.review > 0 { (badge("!", &text::number(stats.review), "warn")) }
                @else { span.quiet { "0" } }
            }
            (amount(stats.keys))
            td.number {
                @match oldest_ms {
                    Some(ms) if *ms > 0 => (text::span(*ms)),
                    _ => span.quiet { "–" },
                }
            }
            td.number { (due(stats.next_expiry_ms)) }
            td.number { (due(stats.next_ready_ms)) }
            td.dead { (dead_letter(queue)) }
        }
    }
}

/// A count; nothing is quiet, so that something is seen.
fn amount(value: u64) -> Markup {
    html! { td.number { @if value == 0 { span.quiet { "0" } } @else { (text::number(value)) } } }
}

fn due(ms: Option<u64>) -> Markup {
    html! {
        @match ms {
            Some(0) => "now",
            Some(ms) => { "in " (text::span(ms)) }
            None => { span.quiet { "–" } }
        }
    }
}

fn dead_letter(queue: &QueueInfo) -> Markup {
    html! {
        @match &queue.settings.dead_letter {
            Some(name) => {
                a href={ "/ui/queues/" (name) } { (name) }
                @let attempts = queue.settings.max_attempts.into();
                span.quiet { " after " (text::count(attempts, "attempt", "attempts")) }
            }
            None => { span.quiet { "–" } }
        }
    }
}

/// How full one queue is; kept up to date.
pub(super) fn standing(queue: &QueueInfo) -> Markup {
    let stats = &queue.stats;
    html! {
        dl.tiles {
            div { dt { "ready" } dd { (text::number(stats.ready)) } }
            div { dt { "leased" } dd { (text::number(stats.leased)) } }
            div { dt { "delayed" } dd { (text::number(stats.delayed)) } }
            div { dt { "under review" } dd { (text::number(stats.review)) } }
            div { dt { "keys that take turns" } dd { (text::number(stats.keys)) } }
            div { dt { "next lease ends" } dd { (due(stats.next_expiry_ms)) } }
            div { dt { "next delayed is due" } dd { (due(stats.next_ready_ms)) } }
        }
        @if stats.ready + stats.leased + stats.delayed + stats.review == 0 {
            p.quiet { "The queue is empty." }
        }
    }
}

/// What one queue is, and what one does with it.
pub(super) fn about(queue: &QueueInfo, address: &str) -> Markup {
    let settings = &queue.settings;
    let name = &queue.name;
    html! {
        section.card aria-labelledby="h-settings" {
            h2 #h-settings { "Settings" }
            table.figures {
                tbody {
                    tr {
                        th scope="row" { "a lease lasts" }
                        td.number { (text::span(settings.visibility_ms)) }
                    }
                    tr {
                        th scope="row" { "attempts" }
                        td.number {
                            @match settings.max_attempts { 0 => "no limit", most => (most) }
                        }
                    }
                    tr {
                        th scope="row" { "dead letters" }
                        td.number {
                            @match &settings.dead_letter {
                                Some(name) => a href={ "/ui/queues/" (name) } { (name) },
                                None => "none",
                            }
                        }
                    }
                    tr {
                        th scope="row" { "created" }
                        td.number {
                            time datetime=(text::machine_moment(queue.created_ms)) {
                                (text::moment(queue.created_ms))
                            }
                        }
                    }
                }
            }
        }
        section.card aria-labelledby="h-commands" {
            h2 #h-commands { "At a terminal" }
            p { "Look at the next message and give it back when its lease ends:" }
            pre { code { "rekindle queue receive " (name) (address) } }
            p { "Run a command for each message:" }
            pre { code { "rekindle queue work " (name) (address) " -- COMMAND" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle_services::queues::{QueueSettings, QueueStats};

    fn queue(name: &str, ready: u64) -> QueueInfo {
        QueueInfo {
            name: name.to_owned(),
            settings: QueueSettings::default(),
            created_ms: 0,
            stats: QueueStats { ready, review: 3, ..QueueStats::default() },
        }
    }

    /// Pages lead on, filters stay, and a filter that fits nothing says so.
    #[test]
    fn pages_lead_on() {
        let view = QueuesScreen {
            prefix: "a&b".to_owned(),
            after: "a0".to_owned(),
            queues: vec![queue("a1", 12_345), queue("a2", 0)],
            more: true,
            oldest_ms: HashMap::from([("a1".to_owned(), 61_000)]),
            first_command: "make one".to_owned(),
        };
        let text = screen(&view, &table(&view)).into_string();
        for part in [
            "href=\"/ui/queues?prefix=a%26b&amp;after=a2\" rel=\"next\"",
            "href=\"/ui/queues?prefix=a%26b\"",
            "value=\"a&amp;b\"",
            "href=\"/ui/queues/a1\"",
            "12,345",
            "1 m 1 s",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let none = QueuesScreen { queues: vec![], ..view };
        assert!(table(&none).into_string().contains("No queue begins with"));
        let first = QueuesScreen { prefix: String::new(), after: String::new(), ..none };
        assert!(table(&first).into_string().contains("make one"));
    }
}
