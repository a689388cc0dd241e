"use strict";

/* Review page: marks by keyboard, and one answer to the form of Airflow. Texts go to textContent. */
(() => {
  const page = document.body.dataset;
  const byId = (id) => document.getElementById(id);
  const tiles = [...document.querySelectorAll(".candidate:not([disabled])")];
  const isMultiple = page.multiple === "yes";
  const canAnswer = page.answerable === "yes";
  const storeKey = `flux-review:${location.pathname}${location.search}`;
  const marks = new Map(); // number -> "yes" or "no"
  const requests = new Map();
  let current = 0;
  let pinned = null;
  let isSending = false;
  let pending = null;

  /* Theme: that of Airflow, which shows this page in a frame. */
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch { /* no storage: the theme of the system */ }

  const numberOf = (tile) => Number(tile.dataset.number);
  const chosen = () => tiles.map(numberOf).filter((number) => marks.get(number) === "yes");

  function figureOf(tile) {
    const figure = document.createElement("figure");
    const number = numberOf(tile);
    figure.className = marks.get(number) || "";
    const media = document.createElement(tile.dataset.kind === "video" ? "video" : "img");
    if (tile.dataset.kind === "video") {
      media.controls = media.loop = media.muted = true;
      media.src = tile.dataset.full;
    } else {
      media.alt = tile.getAttribute("aria-label");
      media.src = tile.dataset.thumb; // at hand, until the full size has arrived
      const full = new Image();
      full.onload = () => { if (media.isConnected) { media.src = full.src; media.dataset.full = "yes"; } };
      full.src = tile.dataset.full;
    }
    const caption = document.createElement("figcaption");
    caption.textContent = number + (pinned === tile ? " (kept to compare)" : "");
    figure.append(media, caption);
    return figure;
  }

  function show() {
    const tile = tiles[current];
    if (!tile) return;
    for (const other of tiles) {
      const mark = marks.get(numberOf(other)) || "";
      other.classList.toggle("yes", mark === "yes");
      other.classList.toggle("no", mark === "no");
      other.setAttribute("aria-pressed", String(mark === "yes"));
      if (other === tile) other.setAttribute("aria-current", "true");
      else other.removeAttribute("aria-current");
    }
    const figures = [tile];
    if (pinned && pinned !== tile) figures.unshift(pinned);
    byId("stage").replaceChildren(...figures.map(figureOf));
    byId("caption").textContent = tile.dataset.caption;
    tile.scrollIntoView({ block: "nearest" });
    for (const ahead of tiles.slice(current + 1, current + 4)) {
      if (ahead.dataset.kind === "image") new Image().src = ahead.dataset.full;
    }
    count();
    showPrompt(tile);
  }

  function count() {
    const text = byId("count");
    if (!text) return;
    const yes = chosen().length;
    const open = tiles.length - marks.size;
    text.textContent = isMultiple
      ? `${current + 1} of ${tiles.length}. ${yes} chosen, ${open} without a decision.`
      : `${current + 1} of ${tiles.length}. ${yes ? `Candidate ${chosen()[0]} is chosen.` : "None is chosen."}`;
  }

  async function showPrompt(tile) {
    const text = byId("prompt-text");
    text.textContent = requests.get(tile) || "";
    if (requests.has(tile) || !tile.dataset.request) return;
    await new Promise((resolve) => { setTimeout(resolve, 250); }); // not for each of many keys
    if (tiles[current] !== tile) return;
    try {
      const answer = await fetch(tile.dataset.request);
      requests.set(tile, answer.ok ? (await answer.json()).prompt || "" : "");
    } catch { return; }
    if (tiles[current] === tile) text.textContent = requests.get(tile);
  }

  function go(index) {
    current = Math.max(0, Math.min(tiles.length - 1, index));
    show();
  }

  function mark(value, { advance = false } = {}) {
    if (!canAnswer || !tiles.length) return;
    const number = numberOf(tiles[current]);
    if (!isMultiple) marks.clear();
    if (value) marks.set(number, value);
    else marks.delete(number);
    try { sessionStorage.setItem(storeKey, JSON.stringify([...marks])); } catch { /* only a comfort */ }
    if (advance && current < tiles.length - 1) current += 1;
    show();
  }

  function nextOpen() {
    const order = [...tiles.slice(current + 1), ...tiles.slice(0, current + 1)];
    const open = order.find((tile) => !marks.has(numberOf(tile)));
    if (open) go(tiles.indexOf(open));
  }

  /* Answers */
  function ask(text, options) {
    if (!canAnswer || isSending) return;
    pending = options;
    byId("confirm-text").textContent = text;
    byId("confirm").showModal();
    byId("confirm-yes").focus();
  }

  function approve() {
    const numbers = chosen();
    if (!numbers.length) {
      if (isMultiple && marks.size === tiles.length) reject();
      else say("Nothing is chosen. Choose with A, or reject all with R.");
      return;
    }
    const open = tiles.length - marks.size;
    const rest = isMultiple && open ? ` ${open} without a decision count as not chosen.` : "";
    const what = isMultiple ? `${numbers.length} of ${tiles.length} candidates` : `candidate ${numbers[0]}`;
    const isAll = isMultiple && numbers.length === tiles.length;
    ask(`Approve ${what}?${rest}`, isAll ? [page.all] : numbers.map(String));
  }

  function reject() { ask(`Reject all ${tiles.length} candidates?`, [page.reject]); }

  function askAgain() {
    if (!byId("ask-again")) return;
    const seed = byId("seed").value.trim();
    if (seed && !/^[0-9]+$/.test(seed)) { say("The seed must be a whole number."); byId("seed").focus(); return; }
    ask("Ask for other candidates? BFL bills them.", [page.again]);
  }

  function fields() {
    const value = (id) => (byId(id) ? byId(id).value.trim() || null : null);
    const seed = value("seed");
    const known = {
      comment: value("comment"), prompt: value("prompt"),
      seed: seed === null ? null : Number(seed), round: Number(page.round),
    };
    return Object.fromEntries(page.fields.split(" ").filter(Boolean).map((name) => [name, known[name] ?? null]));
  }

  async function send(options) {
    isSending = true;
    setDisabled(true);
    say("Sending...");
    try {
      const answer = await fetch(page.api, {
        method: "PATCH",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ chosen_options: options, params_input: fields() }),
      });
      if (answer.ok) {
        try { sessionStorage.removeItem(storeKey); } catch { /* only a comfort */ }
        say("Recorded. Airflow carries it out now.");
        look(500);
        return;
      }
      const reason = await answer.json().then((body) => body.detail, () => "");
      if (answer.status === 409) { say("Somebody else has answered."); look(0); return; }
      say(`Airflow refused the answer (${answer.status}). ${typeof reason === "string" ? reason : ""}`);
    } catch {
      say("The answer did not reach Airflow. Try again.");
    }
    isSending = false;
    setDisabled(false);
  }

  function say(text) { byId("status").textContent = text; }
  function setDisabled(value) {
    for (const button of document.querySelectorAll("#answer button")) button.disabled = value;
  }

  /* Changes: another reviewer, a new round, the end. */
  let timer = 0;
  function look(delay) {
    clearTimeout(timer);
    timer = setTimeout(check, delay);
  }
  async function check() {
    let state = null;
    try {
      const answer = await fetch(page.state);
      state = answer.ok ? await answer.json() : null;
    } catch { /* asked again below */ }
    const isOver = state && !state.is_waiting && ["success", "skipped", "failed"].includes(state.task_state);
    if (state && state.is_waiting && state.version !== page.version) { location.reload(); return; }
    if (state && !state.is_waiting) {
      isSending = true;
      setDisabled(true);
      const who = state.answered_by || "the default of the timeout";
      // A page that was opened after the answer says so itself.
      if (state.answer && (canAnswer || state.version !== page.version)) say(`${state.answer.length > 5 ? `${state.answer.length} candidates` : state.answer.join(", ")}: answered by ${who}. The task is ${state.task_state}.`);
      if (state.next) { byId("next").href = state.next; byId("next").hidden = false; }
    }
    if (!isOver) look(state && !state.is_waiting ? 2000 : 10000);
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && canAnswer) look(0); });

  /* Keys */
  const KEYS = {
    ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1),
    j: () => go(current + 1), k: () => go(current - 1),
    Home: () => go(0), End: () => go(tiles.length - 1),
    a: () => mark("yes", { advance: isMultiple }),
    x: () => { if (isMultiple) mark("no", { advance: true }); },
    " ": () => mark(tiles.length && marks.get(numberOf(tiles[current])) === "yes" ? (isMultiple ? "no" : null) : "yes"),
    n: nextOpen, r: reject, Enter: approve,
    c: () => { pinned = pinned === tiles[current] ? null : tiles[current]; show(); },
    f: () => { if (tiles[current]) window.open(tiles[current].dataset.full, "_blank", "noopener"); },
    e: () => { if (byId("comment")) byId("comment").focus(); },
    "?": () => byId("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); askAgain(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    const isWriting = target.matches("textarea, input");
    if (isWriting) { if (event.key === "Escape") target.blur(); return; }
    if (document.querySelector("dialog[open]")) return;
    if (target.matches("#answer button, summary, a, video") && (event.key === "Enter" || event.key === " ")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (/^[1-9]$/.test(key)) {
      const index = tiles.findIndex((tile) => numberOf(tile) === Number(key));
      if (index >= 0) { go(index); if (!isMultiple) mark("yes"); }
      event.preventDefault();
      return;
    }
    if (KEYS[key]) { event.preventDefault(); KEYS[key](); }
  });

  for (const [index, tile] of tiles.entries()) {
    tile.addEventListener("click", () => {
      const isSame = index === current;
      go(index);
      if (isSame || !isMultiple) mark(marks.get(numberOf(tile)) === "yes" ? null : "yes");
    });
  }
  if (canAnswer) {
    byId("answer").addEventListener("submit", (event) => { event.preventDefault(); approve(); });
    byId("reject").addEventListener("click", reject);
    byId("help-button").addEventListener("click", () => byId("help").showModal());
    if (byId("ask-again")) byId("ask-again").addEventListener("click", askAgain);
    try {
      for (const [number, value] of JSON.parse(sessionStorage.getItem(storeKey) || "[]")) marks.set(number, value);
    } catch { /* only a comfort */ }
  }
  byId("confirm-yes").addEventListener("click", () => { byId("confirm").close(); send(pending); });
  byId("confirm-no").addEventListener("click", () => byId("confirm").close());
  byId("help-close").addEventListener("click", () => byId("help").close());
  show();
  look(canAnswer ? 10000 : 0);
})();
