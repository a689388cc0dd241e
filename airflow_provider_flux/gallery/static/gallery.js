/* The gallery: theme, virtual scrolling, viewer, comparison and keys. Texts of the page are only
   moved as nodes or set as textContent, so nothing in them can become markup. */
"use strict";

(() => {
  const root = document.documentElement;

  /* The theme of the Airflow around this page, or the one Airflow last stored, or the system's. */
  function readTheme() {
    try {
      if (window.parent !== window) {
        const classes = window.parent.document.documentElement.classList;
        if (classes.contains("dark")) return "dark";
        if (classes.contains("light")) return "light";
      }
      const stored = location.protocol.startsWith("http") ? localStorage.getItem("theme") : null;
      return stored === "dark" || stored === "light" ? stored : "";
    } catch {
      return "";
    }
  }

  function applyTheme() {
    const theme = readTheme();
    root.classList.toggle("dark", theme === "dark");
    root.classList.toggle("light", theme === "light");
  }

  function watchTheme() {
    addEventListener("storage", applyTheme);
    try {
      if (window.parent !== window) {
        const options = { attributes: true, attributeFilter: ["class"] };
        new MutationObserver(applyTheme).observe(window.parent.document.documentElement, options);
      }
    } catch {
      /* The page around this one is of another site. */
    }
  }

  applyTheme();
  watchTheme();

  /* Airflow shows this page in a sandbox that opens no windows: its own page opens them then. */
  function openLink(href, target) {
    try {
      if (window.parent === window) throw new Error("not in a frame");
      const link = window.parent.document.createElement("a");
      Object.assign(link, { href, target: target === "_top" ? "_self" : target, rel: "noopener" });
      window.parent.document.body.append(link);
      link.click();
      link.remove();
    } catch {
      window.open(href, target, "noopener");
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[target]");
    if (!link || event.defaultPrevented || window.parent === window) return;
    event.preventDefault();
    openLink(link.href, link.target);
  });

  document.addEventListener("DOMContentLoaded", () => {
    const grid = document.querySelector(".tiles");
    const form = document.querySelector(".filters");
    if (form) startForm(form, grid);
    if (grid) startGallery(grid, form);
  });

  function startForm(form, grid) {
    const advanced = form.querySelector(".advanced");
    advanced.open = false;
    document.addEventListener("click", (event) => {
      if (!advanced.contains(event.target)) advanced.open = false;
    });
    advanced.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !advanced.open) return;
      advanced.open = false;
      advanced.querySelector("summary").focus();
      event.preventDefault();
    });
    if (document.body.classList.contains("sheet")) return startSheetFilter(form, grid);
    form.addEventListener("submit", () => {
      for (const input of form.elements) if (input.name && input.value === "") input.disabled = true;
    });
    addEventListener("pageshow", () => {
      for (const input of form.elements) input.disabled = false;
    });
    form.addEventListener("change", (event) => {
      if (event.target.type === "checkbox") form.requestSubmit();
    });
  }

  /* A sheet has all its tiles, and filters them by itself. */
  function startSheetFilter(form, grid) {
    const tiles = [...grid.children];
    const texts = tiles.map((tile) => tile.textContent.toLowerCase());
    const keys = tiles.map((tile) => tile.querySelector(".key").textContent.toLowerCase());
    const total = (name) => document.querySelector(`[data-total="${name}"]`);
    const format = (number) => number.toLocaleString("en-US", { maximumFractionDigits: 2 });

    function apply() {
      const data = new FormData(form);
      const sets = ["outcome", "model", "run"].map((name) => [name, new Set(data.getAll(name))]);
      const text = data.get("text").toLowerCase();
      const key = data.get("key").toLowerCase();
      const least = data.get("min_cost") === "" ? null : Number(data.get("min_cost"));
      const most = data.get("max_cost") === "" ? null : Number(data.get("max_cost"));
      let cards = 0, images = 0, credits = 0;
      tiles.forEach((tile, index) => {
        const { cost } = tile.dataset;
        const passes =
          sets.every(([name, values]) => !values.size || values.has(tile.dataset[name])) &&
          texts[index].includes(text) && keys[index].includes(key) &&
          (least === null || (cost !== "" && Number(cost) >= least)) &&
          (most === null || (cost !== "" && Number(cost) <= most));
        tile.hidden = !passes;
        if (passes) {
          cards += 1;
          images += tile.dataset.media ? 1 : 0;
          credits += Number(cost || 0);
        }
      });
      total("cards").textContent = format(cards);
      total("images").textContent = format(images);
      total("credits").textContent = format(credits);
      total("usd").textContent = `$${(credits / 100).toFixed(2)}`;
    }

    let timer;
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(apply, 120); });
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
  }

  /* All tiles of a sheet are in the page: positions are those of the tiles that pass the filter. */
  function allTiles(grid) {
    const shown = () => [...grid.children].filter((tile) => !tile.hidden);
    return {
      get total() { return shown().length; },
      load: async (position) => shown()[position],
      find: (position) => shown()[position],
      position: (tile) => shown().indexOf(tile),
      reveal: (position) => shown()[position]?.scrollIntoView({ block: "nearest" }),
      columns: () => getComputedStyle(grid).gridTemplateColumns.split(" ").length,
    };
  }

  /* The tiles near the window are in the page; the others are space above and below them. */
  function scrolledTiles(grid, url, limit) {
    const KEPT_PAGES = 12;
    const pages = new Map(); // number of a page: its tiles by position, or the promise of them
    let total = Number(grid.dataset.total);
    let rowHeight = 0, columns = 1, drawn = "", waiting = 0;

    function keep(tiles, number) {
      const page = new Map();
      for (const tile of tiles) page.set(Number(tile.dataset.position), tile);
      pages.delete(number);
      pages.set(number, page);
      for (const old of pages.keys()) {
        if (pages.size <= KEPT_PAGES) break;
        pages.delete(old);
      }
      return page;
    }

    function fetchPage(number) {
      if (pages.has(number)) return Promise.resolve(pages.get(number));
      const promise = fetch(`${url}&offset=${number * limit}`, { credentials: "same-origin" })
        .then((answer) => {
          if (!answer.ok) throw new Error(answer.status);
          return answer.text();
        })
        .then((text) => {
          const list = new DOMParser().parseFromString(text, "text/html").querySelector(".tiles");
          total = Number(list.dataset.total);
          return keep([...list.children].map((tile) => document.adoptNode(tile)), number);
        })
        .catch((error) => {
          pages.delete(number);
          toast("Images could not be loaded. Scroll to try again.");
          throw error;
        });
      pages.set(number, promise);
      return promise;
    }

    function find(position) {
      const page = pages.get(Math.floor(position / limit));
      return page instanceof Map ? page.get(position) : undefined;
    }

    function blank(position) {
      const tile = document.createElement("li");
      tile.className = "tile blank";
      tile.dataset.position = position;
      tile.ariaBusy = "true";
      const frame = document.createElement("div");
      frame.className = "frame";
      const caption = document.createElement("div");
      caption.className = "caption";
      tile.append(frame, caption);
      return tile;
    }

    function measure() {
      const tile = grid.querySelector(".tile");
      const style = getComputedStyle(grid);
      columns = style.gridTemplateColumns.split(" ").length;
      rowHeight = tile.offsetHeight + parseFloat(style.rowGap);
    }

    function draw() {
      const scrolled = Math.max(0, -grid.getBoundingClientRect().top);
      const rows = Math.ceil(total / columns);
      const first = Math.min(Math.max(0, Math.floor(scrolled / rowHeight) - 3), Math.max(0, rows - 1));
      const last = Math.min(rows, Math.ceil((scrolled + innerHeight) / rowHeight) + 3);
      const from = first * columns, to = Math.min(total, last * columns);
      const missing = new Set();
      const nodes = [];
      for (let position = from; position < to; position += 1) {
        const tile = find(position);
        if (!tile) missing.add(Math.floor(position / limit));
        nodes.push(tile || grid.querySelector(`.blank[data-position="${position}"]`) || blank(position));
      }
      place(nodes);
      const above = `${first * rowHeight}px`, below = `${(rows - last) * rowHeight}px`;
      if (drawn !== above + below) {
        drawn = above + below;
        grid.style.paddingTop = above;
        grid.style.paddingBottom = below;
      }
      clearTimeout(waiting);
      if (missing.size) waiting = setTimeout(() => missing.forEach((number) => fetchPage(number).then(draw, () => {})), 60);
    }

    /* Nodes that stay are not moved, so that the focus stays, too. */
    function place(nodes) {
      const kept = new Set(nodes);
      for (const child of [...grid.children]) {
        if (!kept.has(child) && !child.contains(document.activeElement)) child.remove();
        else if (!kept.has(child)) { document.activeElement.blur(); child.remove(); }
      }
      let next = grid.firstElementChild;
      for (const node of nodes) {
        if (node === next) next = next.nextElementSibling;
        else grid.insertBefore(node, next);
      }
    }

    let frame = 0;
    const redraw = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };
    const offset = Number(grid.dataset.offset);
    const first = [...grid.children];
    measure();
    if (offset % limit === 0) keep(first, offset / limit);
    addEventListener("scroll", redraw, { passive: true });
    addEventListener("resize", () => { measure(); redraw(); });
    draw();
    if (offset) scrollTo(0, grid.offsetTop + Math.floor(offset / columns) * rowHeight - 120);

    return {
      get total() { return total; },
      load: async (position) => (await fetchPage(Math.floor(position / limit))).get(position),
      find,
      position: (tile) => Number(tile.dataset.position),
      reveal(position) {
        const head = document.querySelector(".filters").offsetHeight + 12;
        const top = grid.getBoundingClientRect().top + Math.floor(position / columns) * rowHeight;
        if (top < head) scrollBy(0, top - head);
        else if (top + rowHeight > innerHeight) scrollBy(0, top + rowHeight - innerHeight);
        draw();
      },
      columns: () => columns,
    };
  }

  function toast(text) {
    const place = document.querySelector(".toast");
    place.textContent = text;
    place.classList.add("shown");
    clearTimeout(place.timer);
    place.timer = setTimeout(() => place.classList.remove("shown"), 2400);
  }

  async function copy(text, message) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a frame or a file may not use the clipboard
      const area = document.createElement("textarea");
      area.value = text;
      (document.querySelector("dialog[open]") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    toast(message);
  }

  const linkOf = (tile, part) => tile.querySelector(`.more > a.${part}`)?.href;
  const keyOf = (tile) => tile.querySelector(".key").textContent;

  async function copyCode(tile) {
    const source = linkOf(tile, "source");
    if (!source) return copy(tile.querySelector("pre.source")?.textContent || "", "Copied as DAG code");
    const answer = await fetch(source, { credentials: "same-origin" });
    if (!answer.ok) return toast("The code could not be loaded.");
    return copy(await answer.text(), "Copied as DAG code");
  }

  /* The picture of a tile in full size, its video, or the reason why there is none. */
  function pictureOf(tile) {
    const frame = tile.querySelector(".frame");
    if (frame.href && tile.dataset.media === "video") {
      const video = document.createElement("video");
      const poster = frame.querySelector("img")?.src || "";
      Object.assign(video, { src: frame.href, poster, controls: true, autoplay: true, loop: true, muted: true });
      return [video];
    }
    const small = frame.querySelector("img");
    const shown = [];
    if (small) shown.push(Object.assign(document.createElement("img"), { src: small.src, alt: small.alt }));
    if (frame.href && tile.dataset.media === "image") {
      const large = Object.assign(document.createElement("img"), { src: frame.href, alt: small?.alt || keyOf(tile) });
      large.addEventListener("load", () => shown[0] !== large && shown[0]?.remove());
      large.addEventListener("error", () => large.remove());
      shown.push(large);
    }
    return shown.length ? shown : [frame.querySelector(".why").cloneNode(true)];
  }

  function startGallery(grid, form) {
    root.classList.add("js");
    const { limit, url } = document.body.dataset;
    const isSheet = document.body.classList.contains("sheet");
    const list = isSheet ? allTiles(grid) : scrolledTiles(grid, url, Number(limit));
    const viewer = document.querySelector(".viewer");
    const compare = document.querySelector(".compare");
    const picked = [];
    let current = 0;
    let viewed = 0; // a closing viewer gives the focus back to the tile that opened it, so current changes

    async function show(position) {
      if (position < 0 || position >= list.total) return;
      const tile = await list.load(position);
      if (!tile) return;
      current = viewed = position;
      viewer.dataset.kind = tile.dataset.kind;
      viewer.querySelector("h2").textContent = keyOf(tile);
      viewer.querySelector(".outcome").textContent = tile.querySelector(".outcome").textContent;
      const more = tile.querySelector(".more").cloneNode(true);
      more.hidden = false;
      for (const part of more.querySelectorAll(".prompt, pre.source")) part.tabIndex = 0; // they may scroll
      viewer.querySelector(".body").replaceChildren(more);
      viewer.querySelector(".stage").replaceChildren(...pictureOf(tile));
      const full = tile.querySelector("a.frame")?.href;
      const open = viewer.querySelector(".open");
      open.hidden = !full;
      if (full) open.href = full;
      viewer.querySelector(".copy-code").hidden = !tile.querySelector(".source");
      viewer.querySelector(".previous").disabled = position === 0;
      viewer.querySelector(".next").disabled = position === list.total - 1;
      if (!viewer.open) viewer.showModal();
      history.replaceState(null, "", `#image-${position}`);
    }

    async function focus(position) {
      if (position < 0 || position >= list.total) return;
      list.reveal(position);
      const tile = await list.load(position);
      list.reveal(position);
      tile?.querySelector(".frame").focus({ preventScroll: true });
    }

    function pick(tile, isPicked) {
      const at = picked.indexOf(tile);
      if (at >= 0) picked.splice(at, 1);
      if (isPicked) picked.push(tile);
      if (picked.length > 2) picked.shift().querySelector(".pick input").checked = false;
      tile.querySelector(".pick input").checked = isPicked;
      const bar = document.querySelector(".picked");
      bar.hidden = !picked.length;
      bar.querySelector("span").textContent = picked.length < 2 ? "Choose one more to compare" : "2 images chosen";
      bar.querySelector(".show").hidden = picked.length < 2;
    }

    function showCompare() {
      const sides = picked.map((tile) => {
        const section = document.createElement("section");
        const stage = document.createElement("div");
        stage.className = "stage";
        section.dataset.kind = tile.dataset.kind;
        stage.append(...pictureOf(tile));
        const text = document.createElement("div");
        text.className = "text";
        text.tabIndex = 0; // it may scroll
        const title = document.createElement("h3");
        title.textContent = keyOf(tile);
        text.append(title, ...[...tile.querySelectorAll(".more > .prompt, .more > dl")].map((node) => node.cloneNode(true)));
        section.append(stage, text);
        return section;
      });
      const facts = sides.map((side) => new Map([...side.querySelectorAll("dl > div")].map((row) => [row.firstElementChild.textContent, row])));
      for (const [name, row] of facts[0]) {
        const other = facts[1].get(name);
        if (row.lastElementChild.textContent !== other?.lastElementChild.textContent) {
          row.classList.add("differs");
          other?.classList.add("differs");
        }
      }
      compare.querySelector(".sides").replaceChildren(...sides);
      compare.showModal();
    }

    const currentTile = () => list.find(current);
    /* The page of the task names the image by its row: on other pages, later runs change positions. */
    const copyLink = (tile) => copy(new URL(tile.dataset.link || location.href, location.href).href, "Link copied");
    const openKeys = () => document.querySelector("dialog.keys").showModal();

    grid.addEventListener("click", (event) => {
      const frame = event.target.closest(".frame");
      const tile = event.target.closest(".tile:not(.blank)");
      if (!frame || !tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(list.position(tile));
    });
    grid.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile:not(.blank)");
      if (tile) current = list.position(tile);
    });
    grid.addEventListener("change", (event) => {
      if (event.target.closest(".pick")) pick(event.target.closest(".tile"), event.target.checked);
    });
    document.querySelector(".picked .show").addEventListener("click", showCompare);
    document.querySelector(".picked .clear").addEventListener("click", () => [...picked].forEach((tile) => pick(tile, false)));
    form.querySelector(".help").addEventListener("click", openKeys);
    viewer.querySelector(".previous").addEventListener("click", () => show(current - 1));
    viewer.querySelector(".next").addEventListener("click", () => show(current + 1));
    viewer.querySelector(".copy-code").addEventListener("click", () => copyCode(currentTile()));
    viewer.querySelector(".copy-link").addEventListener("click", () => copyLink(currentTile()));
    compare.addEventListener("close", () => focus(current));
    viewer.addEventListener("close", () => {
      viewer.querySelector(".stage").replaceChildren();
      history.replaceState(null, "", location.pathname + location.search);
      focus(viewed);
    });
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.querySelector(".close").addEventListener("click", () => dialog.close());
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    }

    const actions = {
      f: (tile) => { const full = tile.querySelector("a.frame")?.href; if (full) openLink(full, "_blank"); },
      c: (tile) => pick(tile, !picked.includes(tile)),
      d: copyCode,
      l: async (tile) => { await show(list.position(tile)); copyLink(tile); },
    };

    document.addEventListener("keydown", (event) => {
      const isText = event.target.matches("input:not([type=checkbox]), textarea");
      if (isText || event.ctrlKey || event.metaKey || event.altKey || compare.open) return;
      if (event.key === "?") { openKeys(); return; }
      const isFree = event.target === document.body || event.target.closest?.(".picked, .help");
      const focused = event.target.closest?.(".tile:not(.blank)") || (isFree ? list.find(current) : null);
      const step = viewer.open
        ? { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key]
        : { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -list.columns(), ArrowDown: list.columns() }[event.key];
      const at = viewer.open ? current : focused ? list.position(focused) : -1;
      const tile = viewer.open ? currentTile() : focused;
      const go = viewer.open ? show : focus;
      if (step && (viewer.open || focused)) go(Math.min(Math.max(at + step, 0), list.total - 1));
      else if (event.key === "Home" && tile) go(0);
      else if (event.key === "End" && tile) go(list.total - 1);
      else if (event.key === "/" && !viewer.open) form.querySelector("[type=search]").focus();
      else if (tile && actions[event.key.toLowerCase()]) actions[event.key.toLowerCase()](tile);
      else return;
      event.preventDefault();
    });

    const linked = /^#image-(\d+)$/.exec(location.hash);
    if (linked) {
      const position = Number(linked[1]);
      list.reveal(position);
      show(position);
    }
  }
})();
