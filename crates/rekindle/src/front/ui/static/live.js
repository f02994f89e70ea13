// Keeps an open page up to date. Without it the page shows the moment at which it was loaded.
//
// The server sends the new markup of parts that changed, made by the functions that made the page.
// A part that somebody is in (keyboard focus, selected text, a form that they began) waits until
// they have left it; what they have unfolded stays so. And lines for a terminal have a button that
// copies them.
"use strict";
(() => {
  const AGAIN_MS = 2000;

  // Away from this machine the page is no secure context: then the line is only selected.
  const copy = async (line) => {
    document.getSelection().selectAllChildren(line);
    if (!navigator.clipboard) return "Selected";
    try {
      await navigator.clipboard.writeText(line.textContent);
      return "Copied";
    } catch {
      return "Selected";
    }
  };

  for (const line of document.querySelectorAll("pre[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    const does = line.parentElement.previousElementSibling;
    if (does) button.setAttribute("aria-label", `Copy the line: ${does.textContent}`);
    button.addEventListener("click", async () => {
      button.textContent = await copy(line);
      setTimeout(() => { button.textContent = "Copy"; }, AGAIN_MS);
    });
    line.before(button);
  }
})();
(() => {
  const body = document.body;
  const url = body.dataset.live;
  const status = document.getElementById("live-state");
  if (!url || !window.EventSource || !status) return;

  const AGAIN_MS = 3000;
  let source = null;
  let paused = false;
  let retry = 0;
  const late = new Map();

  const button = document.createElement("button");
  button.type = "button";
  button.className = "live";
  const words = document.createElement("span");
  status.replaceChildren(words, " ", button);

  const say = (text, gone) => {
    words.textContent = text;
    body.classList.toggle("stale", gone);
  };

  // Whoever has begun to fill in a form keeps what they wrote.
  const writing = (inside) => [...inside.querySelectorAll("input, textarea")]
    .some((field) => field.type !== "hidden"
      && (field.value !== field.defaultValue || field.checked !== field.defaultChecked));

  const occupied = (element) => {
    if (element.contains(document.activeElement) || writing(element)) return true;
    const selection = document.getSelection();
    return Boolean(selection) && !selection.isCollapsed
      && element.contains(selection.anchorNode);
  };

  const put = (id, html) => {
    const element = document.getElementById(id);
    if (!element || !("part" in element.dataset)) return;
    if (occupied(element)) {
      late.set(id, html);
      return;
    }
    late.delete(id);
    const boxes = () => [...element.querySelectorAll(".scroll")];
    const scrolled = boxes().map((box) => box.scrollLeft);
    const opened = [...element.querySelectorAll("details[open][id]")].map((it) => it.id);
    element.innerHTML = html;
    for (const details of opened) document.getElementById(details)?.setAttribute("open", "");
    boxes().forEach((box, at) => { box.scrollLeft = scrolled[at] || 0; });
  };

  const catchUp = () => {
    for (const [id, html] of [...late]) put(id, html);
  };

  const close = () => {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  };

  const open = () => {
    close();
    source = new EventSource(url);
    source.addEventListener("open", () => say("Live: every second.", false));
    source.addEventListener("part", (event) => {
      const part = JSON.parse(event.data);
      put(part.id, part.html);
    });
    source.addEventListener("epoch", (event) => {
      if (event.data === body.dataset.epoch) return;
      if (writing(document)) {
        close();
        say("The server has moved on: load this page again before you send the form.", true);
      } else {
        location.reload();
      }
    });
    source.addEventListener("error", () => {
      const time = new Date().toLocaleTimeString();
      say(`The server does not answer since ${time}: what you see is from before.`, true);
      if (source && source.readyState === EventSource.CLOSED) retry = setTimeout(open, AGAIN_MS);
    });
  };

  const show = () => {
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) {
      close();
      say("Paused.", false);
    } else if (!document.hidden) {
      say("Connecting…", false);
      open();
    }
  };

  button.addEventListener("click", () => {
    paused = !paused;
    show();
  });
  document.addEventListener("focusout", () => setTimeout(catchUp, 0));
  document.addEventListener("selectionchange", catchUp);
  // A page that nobody sees holds no connection.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else show();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) show();
  });
  show();
})();
