//! The page in headless Chromium, with real data: `cargo xtask campaign page`.
//!
//! `REKINDLE_PICTURES=DIR` keeps a picture of each screen in each width and colour scheme.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use rekindle::boot::Refused;
use rekindle::config::Config;
use rekindle::progress::Stage;
use rekindle::serve::serve as run;
use rekindle::state::Server as Inside;
use serde_json::{Value, json};

use super::browser::Browser;
use super::harness::{DEADLINE, Server, block_on, create, receive_all, send, serve};
use super::hooked_disk::Hooks;
use super::server_alerts::{quiet, rotten};
use super::server_page::{fill, flip};
use super::server_page_jobs::{claimed, submitted, worked};
use super::server_page_loops::{complete, looped, missed};
use super::server_recovery_mode::Limited;
use super::server_reviews::damaged;

/// Below it the smallest telephones, above it a wide screen.
const WIDTHS: [u32; 2] = [400, 1_600];
const SCHEMES: [&str; 2] = ["light", "dark"];
const TAB: &str = "\u{E004}";

/// A store that lived: queues with messages ready and leased, and a kill.
fn lived(data: &Path) -> Server {
    let server = Server::start(data);
    let bodies: Vec<String> = (0..200).map(|number| format!("message {number}")).collect();
    block_on(async {
        let mut queues = server.queues().await;
        for name in ["emails", "jobs", "a-queue-with-a-rather-long-name.that-goes-on-and-on"] {
            create(&mut queues, name).await;
            send(&mut queues, name, &bodies).await;
        }
        receive_all(&mut queues, "emails").await;
    });
    server.kill();
    Server::start(data)
}

/// The smallest contrast of any text on the page, as `ratio: text`, where it is below what WCAG AA
/// asks for (4.5, large text 3).
const FAINT: &str = r#"
    const channel = (value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    };
    const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
      }
      return [255, 255, 255];
    };
    const faint = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || !element.getClientRects().length) continue;
      if (element.closest("noscript, title")) continue;
      const style = getComputedStyle(element);
      const [a, b] = [light(parse(style.color)), light(ground(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 600);
      if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${texts.currentNode.data}`);
    }
    return faint;
"#;

/// Everything that can be focused and seen, in the order of the document; radios of a group are one
/// stop, at the first.
const REACHABLE: &str = r#"
    const all = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
    return [...document.querySelectorAll(all)]
      .filter((it) => it.tabIndex >= 0 && it.getClientRects().length && it.checkVisibility())
      .filter((it) => it.type !== "radio" || it.form.elements[it.name][0] === it
        || it.form.elements[it.name] === it)
      .map((it, at) => { it.dataset.tab = at; return it.outerHTML.slice(0, 80); });
"#;

/// Which of them has the focus, and whether one sees that.
const FOCUSED: &str = r#"
    const it = document.activeElement;
    const style = getComputedStyle(it);
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return [it.dataset.tab === undefined ? -1 : Number(it.dataset.tab), seen];
"#;

/// No screen is wider than its window, too faint to read, or complains.
fn check(browser: &Browser, http: SocketAddr, path: &str) {
    browser.open(&format!("http://{http}{path}"));
    browser.wait("!document.body.dataset.live || /Live/.test(document.body.innerText)");
    for width in WIDTHS {
        for scheme in SCHEMES {
            browser.look(width, scheme);
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{path} is {wide} wide at {width}");
            let faint = browser.run(FAINT);
            assert_eq!(faint, Value::Array(vec![]), "{path}, {scheme}: hard to read");
            keep(browser, path, width, scheme);
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
}

/// Keeps a picture, where somebody wants to look at it.
fn keep(browser: &Browser, path: &str, width: u32, scheme: &str) {
    let Some(folder) = std::env::var_os("REKINDLE_PICTURES") else { return };
    let name = path.trim_matches('/').replace(['/', '?', '='], "_");
    let png = base64::engine::general_purpose::STANDARD.decode(browser.picture(width)).unwrap();
    let file = Path::new(&folder).join(format!("{name}-{width}-{scheme}.png"));
    std::fs::write(file, png).unwrap();
}

/// The tabulator reaches everything, in the order of the document, and one sees where one is.
fn tab_through(browser: &Browser, http: SocketAddr, path: &str) {
    browser.open(&format!("http://{http}{path}"));
    browser.wait("/Live/.test(document.body.innerText)");
    // What is kept up to date would lose its marks.
    browser.run("document.querySelector('button.live').click()");
    let all = browser.run(REACHABLE);
    let all = all.as_array().unwrap();
    assert!(all.len() > 6, "{path}: {all:?}");
    for (at, element) in all.iter().enumerate() {
        browser.press(TAB);
        let focused = browser.run(FOCUSED);
        assert_eq!(focused[0], at, "{path}: {element} is not reached in its turn");
        assert_eq!(focused[1], true, "{path}: the focus on {element} is not seen");
    }
}

/// Every screen, in both widths and both colour schemes, without a complaint of the browser.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_every_screen() {
    let dir = tempfile::tempdir().unwrap();
    let review = format!("/ui/reviews/{}", damaged(dir.path()));
    let server = lived(dir.path());
    let job = format!("/ui/jobs/{}", worked(&server));
    let all = looped(&server);
    let [plan, execution] = [&all.plan, &all.fix].map(|id| format!("/ui/loops/{id}"));
    let transcript = format!("{execution}/events");
    let asked = format!("/ui/reviews/{}", all.stuck);
    let browser = Browser::start();
    let screens = [
        "/ui/",
        "/ui/recovery",
        "/ui/recovery/1",
        "/ui/queues",
        "/ui/queues/emails",
        "/ui/jobs",
        "/ui/jobs?type=report&newest_first=false",
        &job,
        "/ui/job-types",
        "/ui/schedules",
        "/ui/workers",
        "/ui/loops",
        &plan,
        &execution,
        &transcript,
        "/ui/reviews",
        &review,
        &asked,
        "/ui/alerts",
        "/ui/audit",
    ];
    for path in screens {
        check(&browser, server.http, path);
        tab_through(&browser, server.http, path);
    }
    drop(browser);
    assert_eq!(server.stop(), 0);
}

/// A job on an open page: what happens to it is told at once; a reason that is being written stays
/// while that happens; it is cancelled and retried, and a line for a terminal is copied.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_of_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let id = submitted(&server, &json!({ "type": "mail" }));
    let browser = Browser::start();
    browser.open(&format!("http://{}/ui/jobs/{id}", server.http));
    browser.wait("/Live/.test(document.body.innerText)");
    browser.run("window.same = 1");
    browser.run("document.getElementById('reason').value = 'not needed'");
    claimed(&server, "mail", "ada");
    browser.wait("/by ada/.test(document.getElementById('job-story').innerText) && window.same");
    assert_eq!(browser.run("return document.getElementById('reason').value"), "not needed");
    browser.run("document.querySelector('#job-actions button').click()");
    browser.wait("!window.same && /cancelled/.test(document.getElementById('job').innerText)");
    browser.wait("/not needed/.test(document.getElementById('job-story').innerText)");
    browser.run("document.querySelector('.copies button').click()");
    browser.wait("/Copied|Selected/.test(document.querySelector('.copies button').textContent)");
    browser.run("document.querySelector('form[action$=retry] button').click()");
    browser.wait("/pending/.test(document.getElementById('job').innerText)");
    browser.wait("!document.querySelector('form[action$=retry]')");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    assert_eq!(server.stop(), 0);
}

/// A loop on an open page: what happens to it is told at once, and what somebody unfolded stays so;
/// a reason that is being written stays, too; it is paused and resumed; the transcript is walked to
/// its beginning, and a review is decided.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_of_a_loop() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let all = looped(&server);
    let browser = Browser::start();
    browser.open(&format!("http://{}/ui/loops", server.http));
    browser.run(&format!("document.querySelector('a[href=\"/ui/loops/{}\"]').click()", all.fix));
    browser.wait("/Live/.test(document.body.innerText) && document.querySelector('.strip')");
    assert_eq!(browser.run("return document.querySelectorAll('.strip a').length"), 10);
    browser.run("window.same = 1; document.querySelector('#o40').open = true");
    browser.run("document.getElementById('reason').value = 'too dear'");
    complete(&server, &all.step, &json!({ "exit_code": 1, "output": "one more\n" }));
    missed(&server, "b", 11);
    browser.wait("document.querySelectorAll('.strip a').length === 12 && window.same");
    browser.wait("document.querySelector('#o40')?.open");
    assert_eq!(browser.run("return document.getElementById('reason').value"), "too dear");
    browser.run("document.querySelector('#loop-actions [value=pause]').click()");
    browser.run("document.querySelector('#loop-actions button').click()");
    browser
        .wait("!window.same && /Paused by page/.test(document.getElementById('loop').innerText)");
    browser.wait("document.querySelector('#loop-actions [value=resume]')");
    browser.run("document.querySelector('#loop-actions [value=resume]').click()");
    browser.run("document.getElementById('reason').value = 'paid'");
    browser.run("document.querySelector('#loop-actions button').click()");
    browser.wait("document.querySelector('#loop-actions [value=pause]')");
    browser.run("document.querySelector('.strip a').click()");
    browser.wait("/Events 3 to /.test(document.body.innerText)");
    browser.run("document.querySelector('#j3 summary').click()");
    browser.wait("/\"sequence\": 3/.test(document.querySelector('#j3').innerText)");
    browser.run(
        "[...document.querySelectorAll('.pages a')].find(it => /Oldest/.test(it.text)).click()",
    );
    browser.wait("document.querySelector('#e1') && !document.querySelector('[rel=prev]')");
    browser.open(&format!("http://{}/ui/reviews/{}", server.http, all.stuck));
    browser.run("document.querySelector('[value=approve]').click()");
    browser.run("document.getElementById('reason').value = 'go on'");
    browser.run("document.querySelector('.decide button').click()");
    browser.wait("/review.approve/.test(document.body.innerText)");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    assert_eq!(server.stop(), 0);
}

/// Recovery mode, and an alert of damage: their forms are reached, filled and sent with a browser.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_forms_of_an_operator() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    fill(&server);
    server.kill();
    flip(dir.path(), "message 7");
    let limited = Limited::start(dir.path());
    let browser = Browser::start();
    check(&browser, limited.http, "/ui/recovery");
    tab_through(&browser, limited.http, "/ui/recovery");
    browser.open(&format!("http://{}/ui/recovery", limited.http));
    browser.run("document.querySelector('form[action=\"/ui/repair\"] [name=accepted]').click()");
    browser.run("document.querySelector('form[action=\"/ui/repair\"] textarea').value = 'a test'");
    browser.run("document.querySelector('form[action=\"/ui/repair\"] button').click()");
    browser.wait("/Nothing stands in the way/.test(document.body.innerText)");
    keep(&browser, "/ui/repaired", 1_600, "light");
    drop(browser);
    assert_eq!(limited.stop(), 0);

    let dir = tempfile::tempdir().unwrap();
    rotten(dir.path());
    let server = Server::spawn(quiet(serve(dir.path(), &[])));
    let alerts = format!("http://{}/ui/alerts", server.http);
    let browser = Browser::start();
    browser.open(&alerts);
    browser.wait("/scrub-1/.test(document.body.innerText)");
    check(&browser, server.http, "/ui/alerts");
    tab_through(&browser, server.http, "/ui/alerts");
    browser.open(&alerts);
    browser.run("document.querySelector('form textarea').value = 'a disk was changed'");
    browser.run("document.querySelector('form button').click()");
    browser.wait("/taken note of/.test(document.body.innerText)");
    drop(browser);
    assert_eq!(server.stop(), 0);
}

/// An open page changes with the store, and is not loaded again for it; it can be paused; it says
/// when the server is gone, and comes back with the next one.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_is_live() {
    let dir = tempfile::tempdir().unwrap();
    let server = lived(dir.path());
    let browser = Browser::start();
    browser.open(&format!("http://{}/ui/queues", server.http));
    browser.wait("/Live/.test(document.body.innerText)");
    browser.run("window.same = 1");
    let sent = || {
        block_on(async {
            let mut queues = server.queues().await;
            for _ in 0..2 {
                send(&mut queues, "jobs", &vec!["x".to_owned(); 517]).await;
            }
        });
    };
    sent();
    browser.wait("/1,234/.test(document.getElementById('queues').innerText) && window.same");
    // A filter that is being written is not taken away.
    browser.run("document.getElementById('prefix').value = 'jo'");
    browser.run("document.querySelector('button.live').click()");
    browser.wait("/Paused/.test(document.getElementById('live-state').innerText)");
    sent();
    browser.run("document.querySelector('button.live').click()");
    browser.wait("/2,268/.test(document.getElementById('queues').innerText) && window.same");
    assert_eq!(browser.run("return document.getElementById('prefix').value"), "jo");
    browser.run("document.getElementById('prefix').value = ''");
    let address = server.http.to_string();
    server.kill();
    browser.wait("/does not answer/.test(document.getElementById('live-state').innerText)");
    assert_eq!(browser.run("return document.body.classList.contains('stale')"), true);
    let mut command = super::harness::rekindle(&["serve", "--http", &address, "--data"]);
    command.arg(dir.path()).args(["--grpc", "127.0.0.1:0"]);
    let server = Server::spawn(command);
    browser.wait("!window.same && /Live/.test(document.body.innerText)");
    drop(browser);
    assert_eq!(server.stop(), 0);
}

/// Holds a start on this directory in this process, lets somebody look at it with a browser, and
/// gives how it ended.
fn held(
    data: &Path,
    look: impl FnOnce(&Browser, &str, &Hooks) + Send + 'static,
) -> Result<(), Refused> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let hooks = Arc::new(Hooks::default());
        hooks.hold();
        let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config =
            Config { data: data.to_path_buf(), grpc: free, http: free, ..Config::default() };
        let server = Inside::new(config, &hooks.env());
        let started = Arc::clone(&server);
        let running = tokio::spawn(async move { run(&started).await });
        // A store that lived is locked before its stages begin, so that they are not waited for.
        while server.addresses().is_none() {
            assert!(!running.is_finished());
            tokio::task::yield_now().await;
        }
        let page = format!("http://{}", server.addresses().unwrap().http);
        let looked = tokio::task::spawn_blocking(move || look(&Browser::start(), &page, &hooks));
        tokio::time::timeout(6 * DEADLINE, looked).await.unwrap().unwrap();
        server.progress.enter(Stage::Shutdown);
        running.await.unwrap()
    })
}

/// Without scripts a page says the same; with them, a page of a start in progress becomes that of
/// the recovery by itself.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_of_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let ended = held(dir.path(), |browser, page, hooks| {
        let scripts = |off: bool| {
            let value = json!({ "value": off });
            browser.chrome("Emulation.setScriptExecutionDisabled", value);
        };
        scripts(true);
        browser.open(&format!("{page}/ui/queues"));
        let whole = browser.chrome("DOM.getOuterHTML", json!({ "backendNodeId": root(browser) }));
        let text = whole["outerHTML"].as_str().unwrap();
        assert!(text.contains("being recovered") && text.contains("starting: "), "{text}");
        scripts(false);
        browser.open(&format!("{page}/ui/recovery"));
        browser.wait("/This start/.test(document.body.innerText)");
        browser.wait("/Live/.test(document.body.innerText)");
        hooks.release();
        browser.wait("/of this run/.test(document.body.innerText)");
        browser.wait("!/This start/.test(document.body.innerText)");
    });
    assert_eq!(ended, Ok(()));
}

/// A page that is open when the start is refused says so, and why.
#[test]
#[ignore = "needs chromium and chromedriver: cargo xtask campaign page"]
fn campaign_page_of_a_refused_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    fill(&server);
    server.kill();
    flip(dir.path(), "message 7");
    let ended = held(dir.path(), |browser, page, hooks| {
        browser.open(&format!("{page}/ui/recovery"));
        browser.wait("/Live/.test(document.body.innerText)");
        hooks.release();
        browser.wait("/start refused .65./.test(document.getElementById('state').innerText)");
        browser.wait("/journal-/.test(document.getElementById('state').innerText)");
    });
    assert_eq!(ended.unwrap_err().code, 65);
}

/// The document, as the browser's own protocol names it.
fn root(browser: &Browser) -> Value {
    let document = browser.chrome("DOM.getDocument", json!({}));
    document["root"]["backendNodeId"].clone()
}
