
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { run, nodes, texts, looks } = data;
  const text = (place) => texts[place || 0];
  const SVG = "http://www.w3.org/2000/svg";
  const CHUNK = 200, PRINTED = 2000, ROWS = 60, UNDOS = 300, LANES = 48, BAD = ["failed", "timed_out", "undo_failed"];

  // -- what everything is made of: text is set as text, and never read as anything else

  function fill(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      made.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return made;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  function duration(ms) {
    const s = ms / 1000;
    if (s < 0) return "-" + duration(-ms);
    if (s < 0.0005) return "0s";
    if (s < 0.00995) return Math.round(ms) + "ms";
    if (s < 0.995) return s.toFixed(2) + "s";
    if (s < 9.95) return s.toFixed(1) + "s";
    const whole = Math.round(s), two = (n) => String(n).padStart(2, "0");
    if (whole < 60) return whole + "s";
    if (whole < 3600) return Math.floor(whole / 60) + "m " + two(whole % 60) + "s";
    if (whole < 86400) return Math.floor(whole / 3600) + "h " + two(Math.floor(whole / 60) % 60) + "m";
    return Math.floor(whole / 86400) + "d " + two(Math.floor(whole / 3600) % 24) + "h";
  }
  const number = (value) => value < 10000 ? String(value) : value.toLocaleString("en");  // as a terminal is told
  const plural = (count, noun) => number(count) + " " + noun + (count === 1 ? "" : "s");
  function amount(value, unit) {
    if (unit !== "bytes") return String(Math.round(value * 100) / 100);
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let place = 0;
    while (value >= 1023.95 && place < 4) { value /= 1024; place += 1; }
    return value.toFixed(1).replace(/\.0$/, "") + " " + units[place];
  }
  function clock(ms, full) {
    const date = new Date(run.began + ms), two = (n, size = 2) => String(n).padStart(size, "0");
    const time = two(date.getHours()) + ":" + two(date.getMinutes()) + ":" + two(date.getSeconds());
    if (!full) return time + "." + two(date.getMilliseconds(), 3);
    const off = -date.getTimezoneOffset(), zone = "UTC" + (off ? (off < 0 ? "−" : "+") + two(Math.floor(Math.abs(off) / 60)) + ":" + two(Math.abs(off) % 60) : "");
    return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate()) + " " + time + " " + zone;
  }
  const word = (state) => state.replaceAll("_", " ");
  const look = (state) => looks[state] || ["·", "mute"];
  const mark = (state) => el("span", { class: "mark " + look(state)[1], "aria-hidden": "true" }, look(state)[0]);
  const quoted = (name) => /^[\w.-]+$/.test(name) ? name : "'" + name.replaceAll("'", "'\\''") + "'";

  function command(line) {
    const button = el("button", { type: "button", "aria-label": "copy " + line, onclick: () => {
      const said = (how) => { button.textContent = how; setTimeout(() => { button.textContent = "copy"; }, 1200); };
      if (navigator.clipboard) navigator.clipboard.writeText(line).then(() => said("copied"), () => said("select it"));
      else said("select it");
    } }, "copy");
    return el("span", { class: "cmd" }, el("code", {}, line), button);
  }
  const named = (place) => el("button", { type: "button", class: "name", "data-n": place }, nodes[place].id);
  const some = (places, most = 12) => [
    places.slice(0, most).map((place, i) => [i ? ", " : "", named(place)]), places.length > most ? " and " + number(places.length - most) + " more" : "",
  ];
  const section = (id, title, ...rest) => el("section", { id, "aria-label": title }, rest);

  // -- what is worked out once

  const now = run.end ?? (run.live && run.made !== null ? run.made - run.began : run.last);
  // A night before a resume is no time that the run took, and would leave no room in the timeline for what ran.
  const driven = (at) => at - data.breaks.reduce((sum, [from, to]) => sum + Math.max(0, Math.min(at, to) - from), 0);
  const between = (from, to) => driven(to) - driven(from);
  const lasted = (one) => one[5] ?? (one[2] === null || (one[3] === null && one[4] !== "running") ? null : between(one[2], one[3] ?? now));
  for (const [place, node] of nodes.entries()) {
    node.i = place;
    node.tries = (node.tries || []).map((one) => Array.from({ length: 10 }, (_, i) => one[i] ?? null));
    const last = node.tries.at(-1);
    node.start = node.start ?? (last ? last[2] : null);
    node.took = last ? lasted(last) : node.children && node.start !== null && node.end !== undefined ? between(node.start, node.end) : null;
    const waits = node.tries.filter((one) => one[1] !== null && one[2] !== null).map((one) => Math.max(0, between(one[1], one[2])));
    node.queue = waits.length ? waits.reduce((a, b) => a + b) : null;
    node.ratio = node.est && node.took !== null && !node.children && node.state !== "cached" ? node.took / node.est : null;
    node.find = [node.id, text(node.kind), text(node.note), text(node.does), word(node.state), ...(node.uses || []).map(([name]) => name)].join("\n").toLowerCase();
    node.feeds = [];
  }
  for (const node of nodes) for (const need of node.needs || []) nodes[need].feeds.push(node.i);
  const counts = new Map();
  for (const node of nodes) counts.set(node.state, (counts.get(node.state) || 0) + 1);
  const states = [...data.order.filter((state) => counts.has(state)), ...[...counts.keys()].filter((state) => !data.order.includes(state))];
  const failed = (node) => BAD.includes(node.state) || node.state === "tolerated";
  const wrong = nodes.filter((node) => failed(node) && !(node.children && nodes.some((one) => one.parent === node.i && failed(one))));
  const failedAt = (node) => node.state === "undo_failed" ? Infinity : node.tries.at(-1)?.[3] ?? node.end ?? now;
  const innocent = (node) => Number(node.state === "tolerated");
  wrong.sort((a, b) => innocent(a) - innocent(b) || failedAt(a) - failedAt(b) || a.i - b.i);  // what failed first is what it began with
  const undoneAt = (step) => nodes[step.node]?.undone?.at(-1)[2] ?? Infinity;
  const undos = [...data.rollback?.steps || []].sort((a, b) => undoneAt(a) - undoneAt(b) || 0);  // as it went, not as it was planned

  const view = { text: "", states: new Set(), sort: "order", down: false, chosen: null, shown: [] };
  const listeners = [];
  const matches = (node) => (!view.states.size || view.states.has(node.state)) && (!view.text || node.find.includes(view.text));

  // -- the head

  function head() {
    const share = el("div", { class: "share", role: "img", "aria-label": run.headline });
    const chips = el("div", { class: "chips", role: "group", "aria-label": "show only nodes in these states" });
    for (const state of states) {
      const part = el("span", { class: look(state)[1], title: counts.get(state) + " " + word(state) });
      part.style.flexGrow = counts.get(state);
      share.append(part);
      const chip = el("button", { type: "button", class: "chip " + look(state)[1], "aria-pressed": "false", onclick: () => {
        if (!view.states.delete(state)) view.states.add(state);
        changed();
      } }, el("b", {}, look(state)[0] + " " + number(counts.get(state))), " " + word(state));
      listeners.push(() => chip.setAttribute("aria-pressed", view.states.has(state)));
      chips.append(chip);
    }
    const ended = run.end !== null ? ["ended", run.end] : run.live ? ["written", now] : ["last heard of", now];
    return el("header", {},
      el("div", { class: "title" }, el("span", { class: "badge " + look(run.state)[1] }, look(run.state)[0] + " " + word(run.state)), el("h1", {}, run.workflow)),
      el("p", { class: "headline" }, run.headline),
      undoing(),
      run.error ? el("p", { class: "error" }, run.error) : null,
      run.next.length ? el("div", { class: "next" }, run.next.map(([what, line]) => [el("span", { class: "soft" }, what), command(line)])) : null,
      share, chips,
      el("p", { class: "note" }, "started " + clock(0, true) + ", " + ended[0] + " " + clock(ended[1], true) + " · run " + run.id + (run.exit === null ? "" : " · exit code " + run.exit)),
      run.outputs.length ? pairs(run.outputs) : null);
  }
  const tally = (some_) => states.map((state) => [state, some_.filter((node) => node.state === state).length]).filter(([, count_]) => count_).map(([state, count_]) => number(count_) + " " + word(state)).join(", ");
  const pairs = (told) => el("dl", { class: "pairs" }, told.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  function undoing() {  // in a few words; the whole story has a part of its own
    const told = data.rollback;
    if (!told || !told.steps) return null;
    const of = (state) => undos.filter((step) => step.state === state && step.node >= 0 && step.how !== "skip").map((step) => step.node);
    const lines = [["undone", of("undone")], ["being undone", of("undoing")], ["waits for what was not undone", told.blocked], ["stays, for the point of no return was passed", told.kept_by_pivot]].filter(([, places]) => places.length);
    return lines.length ? el("p", { class: "undone" }, lines.map(([label, places]) => el("span", {}, el("span", { class: "soft" }, label + ": "), some(places))), el("a", { href: "#rollback" }, "how")) : null;
  }
  function about() {
    const facts = [["workflow file", run.file], ["folder of the run", run.folder], ["policy", run.policy], ["nodes", number(nodes.length)], ["prepared transactions", run.transactions.join("\n")]].filter(([, value]) => value);
    return section("about", "Run", el("div", { class: "head" }, el("h2", {}, "Run")), pairs(facts), run.params.length ? [el("h3", {}, "Params"), pairs(run.params)] : null);
  }

  function bar(sections) {
    const search = el("input", { type: "search", id: "search", placeholder: "search nodes  /", "aria-label": "search nodes", autocomplete: "off", spellcheck: "false",
      oninput: () => { view.text = search.value.trim().toLowerCase(); changed(); } });
    const lamp = el("button", { type: "button", class: "btn", id: "theme", "aria-label": "light or dark", onclick: turn }, "◐");
    return el("nav", { class: "bar", "aria-label": "parts of the page" }, el("div", {},
      el("div", { class: "links" }, sections.map((one) => el("a", { href: "#" + one.id }, one.getAttribute("aria-label")))),
      el("span", { class: "push" }, search, lamp, el("button", { type: "button", class: "btn", "aria-label": "keys", onclick: () => keys.showModal() }, "?"))));
  }
  const root = document.documentElement, night = matchMedia("(prefers-color-scheme: dark)");
  let theme = "";  // what somebody chose
  const dress = () => { root.dataset.theme = theme || (night.matches ? "dark" : "light"); };
  function turn() {
    theme = root.dataset.theme === "dark" ? "light" : "dark";
    dress();
  }
  night.addEventListener("change", dress);
  dress();

  // -- what went wrong

  const scroller = (label, shown, end) => el("pre", { class: end ? "log end" : "log", tabindex: "0", role: "region", "aria-label": label }, shown);
  function toEnds(parent) {  // what is last in a log says most; so it is what is seen of it
    for (const made of parent.querySelectorAll("pre.end")) made.scrollTop = made.scrollHeight;
  }
  function log(one) {
    const [, name, size, end, cut] = one;
    if (!size) return null;
    return [el("p", { class: "note" }, name + (cut ? ": its end, of " + amount(size, "bytes") : "")), scroller("log " + name, end, true)];
  }
  function story(node) {
    const end = (node.logs || []).at(-1);
    return el("div", { class: "wrong " + look(node.state)[1] },
      el("p", {}, mark(node.state), el("strong", {}, named(node.i)), " " + (text(node.note) || word(node.state)),
        node.tries.length > 1 ? el("span", { class: "soft" }, " after " + plural(node.tries.length, "attempt")) : "",
        node.state === "tolerated" ? el("span", { class: "soft" }, "; tolerated") : "",
        node.state === "running" && node.took !== null ? el("span", { class: "soft" }, " for " + duration(node.took)) : ""),
      node.does ? el("p", { class: "note" }, el("code", {}, text(node.does))) : null,
      end && end[3] ? scroller("end of the log of " + node.id, end[3], true) : null,
      node.held ? el("p", { class: "note" }, text(node.held)) : null,
      end && !end[2] ? el("p", { class: "note" }, "it wrote nothing") : node.tries.length && text(node.kind) !== "ask" ? el("p", { class: "note" }, "whole log: ", el("code", {}, "wfctl logs " + run.id + " " + quoted(node.id))) : null);
  }
  function attention() {
    const first = [["What went wrong", wrong], ["What waits for an answer", nodes.filter((node) => node.state === "waiting_input")],
      ["What was interrupted", nodes.filter((node) => node.state === "interrupted" && !node.children)], ["What is running", nodes.filter((node) => ["running", "retrying", "undoing"].includes(node.state) && !node.children)]].filter(([, found]) => found.length);
    if (!first.length) return null;
    const title = run.state === "succeeded" && wrong.length ? "What failed, and was tolerated" : first[0][0];
    const told = first.flatMap(([, found]) => found);
    return section("wrong", title, el("div", { class: "head" }, el("h2", {}, title), el("span", { class: "count" }, plural(told.length, "node"))),
      told.slice(0, 20).map(story), told.length > 20 ? el("p", { class: "note" }, "and " + number(told.length - 20) + " more: choose a state above to see them in the table") : null);
  }

  // -- the graph: the nodes of the file, and for each that holds others a level of its own

  const FEW = 60, MANY = 800;
  const levels = new Map([...document.querySelectorAll(".level")].map((made) => [Number(made.dataset.of), { frame: made, svg: made.querySelector("svg"), walker: null }]));
  const path = el("nav", { class: "path", "aria-label": "where in the graph" }), stage = el("div", {}), drawn = el("span", { class: "count" });
  let level = -1, looked = false, walking = false;
  const outer = (node) => node.parent ?? -1;
  const walker = () => levels.get(level)?.walker;
  function standsFor(node, place_) {  // the box that shows a node on a level: it, or what it lies in
    while (node && outer(node) !== place_) node = nodes[node.parent];
    return node;
  }

  function graph() {
    if (!levels.size) return section("graph", "Graph", el("div", { class: "head" }, el("h2", {}, "Graph")), el("p", { class: "note" }, "There are more nodes than a browser can draw. A part of them: "), el("p", { class: "next" }, command("wfctl graph " + run.id + " --focus NODE --depth 2")));
    const button = (label, sign, what) => el("button", { type: "button", class: "btn", "aria-label": label, onclick: what }, sign);
    for (const { frame, svg } of levels.values()) {  // each has its place from the start, and is drawn when it is looked at
      frame.classList.add("wf-view");
      frame.style.height = "min(62vh, 34rem, " + Math.max(140, Math.round(svg.height.baseVal.value * 1.25)) + "px)";
      svg.classList.add("unseen");
      stage.append(frame);
    }
    stage.addEventListener("wheel", (event) => {  // who only scrolls by is not to be caught
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey && !stage.contains(document.activeElement)) event.stopPropagation();
    }, { capture: true, passive: true });
    enter(-1);
    return section("graph", "Graph", el("div", { class: "head" }, el("h2", {}, "Graph"), drawn,
      el("span", { class: "push" }, button("nearer", "+", () => walker().zoom(1.3)), button("farther", "−", () => walker().zoom(1 / 1.3)), button("all of it", "all", () => walker().fit()))),
      path, stage, el("p", { class: "note" }, "Thick: the critical path of the plan. Drag to move; ctrl and the wheel, or + and −, zoom; a click on a node shows what is before and after it."));
  }
  function enter(place_) {
    level = place_;
    for (const [of, one] of levels) one.frame.hidden = of !== level;
    const way = [];
    for (let node = nodes[level]; node; node = nodes[node.parent]) way.unshift(node);
    const step = (name, to) => to === level ? el("span", { "aria-current": "true" }, name) : el("button", { type: "button", class: "name", onclick: () => enter(to) }, name);
    path.hidden = level < 0;
    path.replaceChildren(step(run.workflow, -1), ...way.flatMap((node) => [el("span", { class: "soft", "aria-hidden": "true" }, "›"), step(node.id, node.i)]));
    const boxes = levels.get(level).svg.querySelectorAll(".n").length;
    drawn.textContent = level >= 0 || boxes === nodes.length ? plural(boxes, "node") : plural(boxes, "box").replace(/xs$/, "xes") + " for " + plural(nodes.length, "node") + (levels.size > 1 ? ": + opens one that holds others" : "");
    walk();
  }
  function lookInside(place_) {
    if (!levels.has(place_)) return;
    if (!panel.hidden) choose(null);
    enter(place_);
    document.getElementById("graph").scrollIntoView({ block: "nearest" });
    levels.get(level).frame.focus({ preventScroll: true });
  }
  function walk() {
    const one = levels.get(level);
    if (!looked) return;
    if (!one.walker) {
      const boxes = [...one.svg.querySelectorAll(".n")], urgent = standsFor(wrong[0], level);
      if (boxes.length > MANY) cull(one.svg, boxes);
      for (const box of boxes) {
        const place_ = byId.get(box.dataset.node);
        if (!levels.has(place_)) continue;
        const wide = box.querySelector("rect").width.baseVal.value;
        box.append(draw("g", { class: "into", transform: "translate(" + (wide - 11) + " -7)", "aria-hidden": "true", onclick: (event) => { event.stopPropagation(); lookInside(place_); } },
          draw("title", {}, "look inside"), draw("rect", { width: 16, height: 16, rx: 4 }), draw("text", { x: 4.4, y: 12 }, "+")));
      }
      one.walker = exploreGraph(one.frame, (id) => {
        if (walking) return;
        walking = true;
        choose(id !== null && byId.has(id) ? byId.get(id) : null, true);
        const box = id !== null && one.svg.querySelector(".n.it"), frame = one.frame.getBoundingClientRect();
        if (box && covered() && box.getBoundingClientRect().right > frame.right - covered()) walker().pick(id, covered());
        walking = false;
      }, urgent?.id);
      one.svg.classList.remove("unseen");  // only now, so that it is laid out once
      if (boxes.length > FEW) for (const box of boxes) box.tabIndex = -1;  // the table is the way of keys to so many
    }
    findInGraph();
  }
  function reach(d) {  // the corners of what an arrow may touch, by the points that it is drawn with
    let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
    for (const [, kind, rest] of d.matchAll(/([MHC])([^MHCm]*)/g)) for (const [i, text_] of rest.trim().split(" ").entries()) {
      const value = Number(text_);
      if (kind === "H" || i % 2 === 0) { left = Math.min(left, value); right = Math.max(right, value); } else { top = Math.min(top, value); bottom = Math.max(bottom, value); }
    }
    return [left, top - 4, right, bottom + 4];
  }
  function cull(svg, boxes) {
    // Of many boxes and arrows only those are drawn that can be seen.
    const parts = [...svg.querySelectorAll(".e path"), ...boxes], places = parts.map((part) => {
      if (part.localName === "path") return reach(part.getAttribute("d"));
      const { e, f } = part.transform.baseVal[0].matrix, frame = part.querySelector("rect");
      return [e, f, e + frame.width.baseVal.value, f + frame.height.baseVal.value];
    });
    const seen = new Uint8Array(parts.length);
    const look_ = () => {
      const { x, y, width, height } = svg.viewBox.baseVal;
      for (const [i, [left, top, right, bottom]] of places.entries()) {
        const now_ = right >= x && left <= x + width && bottom >= y && top <= y + height ? 1 : 0;
        if (now_ === seen[i]) continue;
        seen[i] = now_;
        parts[i].classList.toggle("off", !now_);
      }
    };
    for (const part of parts) part.classList.add("off");
    new MutationObserver(look_).observe(svg, { attributeFilter: ["viewBox"] });
  }
  function findInGraph() {
    if (!walker() || walking) return;
    if (view.text || view.states.size) walker().mark(new Set(order.map((node) => standsFor(node, level)?.id)));
    else if (view.chosen === null) walker().mark(null);
  }
  function onPaper() {  // all of it, whatever part of it is walked now
    for (const of of new Set(levels.size ? [-1, level] : [])) {
      const { frame, svg } = levels.get(of), whole_ = svg.cloneNode(true);
      whole_.classList.remove("some", "unseen");
      whole_.classList.toggle("far", svg.width.baseVal.value > 6000 || svg.height.baseVal.value > 4000);
      whole_.setAttribute("viewBox", [0, 0, svg.getAttribute("width"), svg.getAttribute("height")].join(" "));
      for (const part of whole_.querySelectorAll(".off")) part.classList.remove("off");
      frame.after(el("div", { class: "paper" }, of < 0 ? null : el("h3", {}, "inside of " + nodes[of].id), whole_));
    }
  }
  function covered() {  // how much of the graph lies under the panel; where that is nearly all, nothing helps
    const frame = levels.get(level).frame.getBoundingClientRect(), under = panel.hidden ? 0 : frame.right - panel.getBoundingClientRect().left;
    return under < frame.width - 100 ? Math.max(0, under) : 0;
  }
  function showInGraph(place_) {
    if (!looked || walking) return;
    let node = place_ === null ? null : nodes[place_];
    while (node && !levels.has(outer(node))) node = nodes[node.parent];  // what it lies in is drawn
    walking = true;
    if (node) {
      if (outer(node) !== level) enter(outer(node));
      walker().pick(node.id, covered());
    } else walker().pick("");
    walking = false;
    if (!node) findInGraph();
  }

  // -- the timeline

  const today = driven(now), did = [], meant = [];
  for (const node of nodes) {
    if (node.plan) meant.push({ node, at: node.plan[0], start: node.plan[0], end: node.plan[1] });
    for (const one of node.tries) {
      if (one[2] === null) continue;
      did.push({ node, ready: one[1] && driven(one[1]), at: one[2], start: driven(one[2]), end: driven(Math.max(one[2], one[3] ?? now)), state: one[4] });
    }
    for (const one of node.undone || []) did.push({ node, ready: null, at: one[2], start: driven(one[2]), end: driven(one[3] ?? now), state: one[4], undo: true });
  }
  did.sort((a, b) => a.start - b.start || a.end - b.end);
  meant.sort((a, b) => a.start - b.start || a.end - b.end);
  const whole = Math.max(1, today, ...[did, meant].map((bars) => bars.reduce((most, one) => Math.max(most, one.end), 0)));
  const ran = Math.max(1, did.reduce((most, one) => Math.max(most, one.end), 0)) * 1.02;
  const time = { from: 0, to: whole > 3 * ran && did.length ? ran : whole, by: nodes.length <= 60 ? "node" : "resource", rows: ROWS, width: 0 };

  function lanes(bars) {
    const free = [];
    for (const one of bars) {
      if (one.node.children || text(one.node.kind) === "ask") { one.lane = -1; continue; }
      let lane = free.findIndex((end) => end <= one.start + 1);  // times are in whole milliseconds
      if (lane < 0) lane = free.push(0) - 1;
      free[lane] = one.end;
      one.lane = lane;
    }
    return free.length;
  }
  const laneCount = [lanes(meant), lanes(did)];

  function steps(bars, resource) {
    const moves = [];
    for (const one of bars) {
      if (one.node.children) continue;
      const use = resource === "slots" ? (text(one.node.kind) === "ask" ? 0 : 1) : ((one.node.uses || []).find(([name]) => name === resource) || [0, 0])[1];
      if (use && (!one.undo || resource === "slots")) moves.push([one.start, use], [one.end, -use]);
    }
    moves.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const found = [];
    let level = 0;
    for (const [at, by] of moves) {
      level += by;
      if (found.length && found.at(-1)[0] === at) found.at(-1)[1] = level; else found.push([at, level]);
    }
    return found;
  }
  const use = data.resources.map((resource) => ({ ...resource, did: steps(did, resource.name), meant: steps(meant, resource.name) }));

  const canvas = el("div", { class: "time", tabindex: "0", role: "group", "aria-label": "timeline; plus and minus zoom, arrows move, 0 shows all" });

  function timeline() {
    const by = (what, label) => {
      const button = el("button", { type: "button", class: "btn", onclick: () => { time.by = what; paint(); } }, label);
      listeners.push(() => button.setAttribute("aria-pressed", time.by === what));
      return button;
    };
    const zoomer = (label, sign, what) => el("button", { type: "button", class: "btn", "aria-label": label, onclick: what }, sign);
    const longest = nodes.filter((node) => node.longest).sort((a, b) => a.start - b.start);
    const chain = longest.length ? el("div", { class: "chain" }, el("span", { class: "soft" }, "What decided its length:"),
      longest.slice(-12).map((node, i) => [i ? el("span", { class: "soft" }, "→") : longest.length > 12 ? "… →" : "", el("span", {}, named(node.i), " ", el("span", { class: "soft" }, duration(node.took ?? 0) + (node.queue > 50 ? ", waited " + duration(node.queue) : "")))])) : null;
    const legend = el("div", { class: "legend" }, [["did", "what happened, in the colour of its state"], ["plan", "planned at the start"], ["critical", "on the planned critical path"], ["queue", "ready, and waiting to start"], ["dash", "planned use"], ["limit", "all there is"], ...data.breaks.length ? [["idle", "nobody drove it for a while, which is left out"]] : []].map(([name, what]) => el("span", {}, el("i", { class: name }), what)));
    canvas.addEventListener("wheel", (event) => {
      if (!(event.ctrlKey || event.metaKey || event.shiftKey)) return;
      event.preventDefault();
      zoom(event.deltaY + event.deltaX > 0 ? 1.25 : 0.8, place(event.clientX));
    }, { passive: false });
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, from: time.from, moved: false }; });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag || !event.buttons || time.to - time.from >= whole) return;
      const by = (event.clientX - drag.x) / (time.width - time.left) * (time.to - time.from);
      if (Math.abs(event.clientX - drag.x) > 4) { drag.moved = true; move(drag.from - by); }
    });
    canvas.addEventListener("click", (event) => { if (drag && drag.moved) event.stopPropagation(); drag = null; }, true);
    canvas.addEventListener("keydown", (event) => {
      const span = time.to - time.from;
      const act = { "+": () => zoom(0.8), "=": () => zoom(0.8), "-": () => zoom(1.25), 0: () => show(whole), ArrowLeft: () => move(time.from - span / 8), ArrowRight: () => move(time.from + span / 8) }[event.key];
      if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); act(); }
    });
    if (time.to < whole) legend.append(el("span", {}, "What was planned goes on behind the end of what ran: see all."));
    return section("timeline", "Timeline",
      el("div", { class: "head" }, el("h2", {}, "Timeline"), el("span", { class: "count" }, verdict()),
        el("span", { class: "push" }, by("node", "by node"), by("resource", "by resource"), zoomer("nearer", "+", () => zoom(0.6)), zoomer("farther", "−", () => zoom(1.6)), zoomer("what ran", "what ran", () => show(ran)), zoomer("all of it", "all", () => show(whole)))),
      canvas, legend, chain, el("p", { class: "note" }, data.planned.note,
        data.plans.length > 1 ? " It was planned again " + plural(data.plans.length - 1, "time") + " on the way (" + [...new Set(data.plans.slice(1).map((one) => one[1]))].join(", ") + ")." : ""));
  }
  function verdict() {
    const work = (bars) => bars.filter((one) => !one.undo && !one.node.finally).reduce((most, one) => Math.max(most, one.end), 0);
    const planned = work(meant), actual = work(did);
    if (!planned) return duration(today);
    return "planned " + duration(planned) + ", " + (run.live ? "so far " : "took ") + duration(actual);
  }
  const place = (x) => time.from + Math.max(0, x - canvas.getBoundingClientRect().left - time.left) / (time.width - time.left) * (time.to - time.from);
  function zoom(factor, around = (time.from + time.to) / 2) {
    const before = time.to - time.from, span = Math.min(whole, Math.max(whole / 100000, 1, before * factor));
    move(around - span * (around - time.from) / before, span);
  }
  function show(end) {
    time.to = Math.min(end, whole);
    time.from = 0;
    paint();
  }
  function move(from, span = time.to - time.from) {
    time.from = Math.min(Math.max(0, from), whole - span);
    time.to = time.from + span;
    paint();
  }
  function ticks() {
    const span = time.to - time.from, rough = span / Math.max(2, (time.width - time.left) / 110);
    const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 144e5, 216e5, 432e5, 864e5];
    const step = nice.find((one) => one >= rough) || Math.ceil(rough / 864e5) * 864e5, found = [];
    for (let at = Math.ceil(time.from / step) * step; at <= time.to - span / 30; at += step) found.push(at);
    return found;
  }

  function paint(width) {
    time.width = width || canvas.clientWidth || 1000;
    const byNode = time.by === "node";
    time.left = byNode ? Math.min(220, time.width * 0.26) : Math.min(120, time.width * 0.2);
    const x = (at) => time.left + (at - time.from) / (time.to - time.from) * (time.width - time.left);
    const svg = draw("svg", { role: "img", "aria-label": "timeline" });
    const marks = draw("g", {}), rows = draw("g", {});
    const height = 22 + (byNode ? paintNodes(rows, x) : paintResources(rows, x));
    for (const at of ticks()) {
      marks.append(draw("line", { class: "grid", x1: x(at), x2: x(at), y1: 16, y2: height }), draw("text", { class: "soft", x: x(at) + 3, y: 11 }, duration(at)));
    }
    if (run.live && today <= time.to) marks.append(draw("line", { class: "now", x1: x(today), x2: x(today), y1: 16, y2: height }));
    for (const [from, to] of data.breaks) {
      const at = driven(from);
      if (at >= time.from && at <= time.to) marks.append(draw("g", { class: "idle" }, draw("title", {}, "nobody drove the run for " + duration(to - from)), draw("line", { x1: x(at), x2: x(at), y1: 16, y2: height }), draw("circle", { cx: x(at), cy: 18, r: 3.5 })));
    }
    svg.setAttribute("viewBox", "0 0 " + time.width + " " + height);
    svg.setAttribute("height", height);
    svg.append(marks, rows);
    canvas.replaceChildren(svg);
    if (byNode && time.left_out) canvas.append(el("p", { class: "note" }, number(time.left_out) + " more nodes ", el("button", { type: "button", class: "btn", onclick: () => { time.rows += 300; paint(); } }, "show more")));
    for (const tell of listeners) tell();
  }
  function visible(start, end, x) {
    if (end < time.from || start > time.to) return null;
    const left = Math.max(time.left, x(start)), right = Math.min(time.width, x(end));
    return [left, Math.max(right - left, 1.5)];
  }
  function box(one, x, y, high, kind) {
    const seen = visible(one.start, one.end, x);
    if (!seen) return null;
    const title = one.node.id + ": " + (kind === "plan" ? "planned " : (one.undo ? "undo, " : "") + word(one.state) + ", ") + duration(one.end - one.start) + " from " + duration(one.at);
    const dim = matches(one.node) ? "" : " dim";
    const color = dim + (kind === "plan" ? (one.node.critical ? " critical" : "") : " " + look(one.state)[1] + (view.chosen === one.node.i ? " on" : ""));
    return draw("rect", { class: kind + color, x: seen[0], width: seen[1], y, height: high, rx: Math.min(2.5, seen[1] / 3), "data-n": one.node.i }, draw("title", {}, title));
  }
  function paintNodes(rows, x) {
    const byRow = new Map();
    const row = (node) => byRow.get(node.i) || byRow.set(node.i, { node, did: [], meant: [], first: Infinity }).get(node.i);
    for (const [name, bars] of [["did", did], ["meant", meant]]) for (const one of bars) {
      if (one.node.children || !matches(one.node)) continue;
      const found = row(one.node);
      found[name].push(one);
      if (name === "did" || !found.did.length) found.first = Math.min(found.first, one.start);
    }
    const all = [...byRow.values()].sort((a, b) => a.first - b.first || a.node.i - b.node.i), shown = all.slice(0, time.rows);
    time.left_out = all.length - shown.length;
    let y = 22;
    for (const one of shown) {
      const label = clipped(one.node.id, Math.floor((time.left - 24) / 6.1));
      rows.append(draw("text", { x: 0, y: y + 12, class: "label" }, draw("title", {}, one.node.id), look(one.node.state)[0] + "  " + label));
      rows.lastChild.setAttribute("data-n", one.node.i);
      for (const bar of one.meant) { const made = box(bar, x, y + 1, 4.5, "plan"); if (made) rows.append(made); }
      for (const bar of one.did) {
        const wait = bar.ready === null ? null : visible(bar.ready, bar.start, x);
        if (wait && bar.start - bar.ready > whole / 1000) rows.append(draw("line", { class: "queue", x1: wait[0], x2: wait[0] + wait[1], y1: y + 11, y2: y + 11 }));
        const made = box(bar, x, y + 7, 9, "did");
        if (made) rows.append(made);
      }
      y += 21;
    }
    if (!shown.length) rows.append(draw("text", { class: "soft", x: 0, y: y + 14 }, "nothing that ran, or was planned, matches the search"));
    return Math.max(24, y - 22);
  }
  function paintResources(rows, x) {
    let y = 22;
    const label = (what, top) => rows.append(draw("text", { class: "soft", x: 0, y: top }, what));
    for (const [what, bars, count, kind, high] of [["planned", meant, laneCount[0], "plan", 11], ["happened", did, laneCount[1], "did", 15]]) {
      if (!count || count > LANES) continue;
      label(what, y + 11);
      const last = [], first = [];
      for (const one of bars) {
        if (one.lane < 0 || (one.undo && kind === "plan")) continue;
        const seen = visible(one.start, one.end, x);
        if (!seen) continue;
        const before = last[one.lane];  // what is thinner than can be seen is one with its neighbour
        if (before && seen[1] < 2 && seen[0] - before.right < 0.8 && before.state === one.state && before.seen === matches(one.node) && before.width < 40) { before.right = seen[0] + seen[1]; before.width = before.right - before.left; before.box.setAttribute("width", before.width); continue; }
        const made = box(one, x, y + one.lane * (high + 2), high, kind);
        if (kind === "did" && BAD.includes(one.state)) {  // seen however short it was, and however many are beside it
          made.setAttribute("width", Math.max(seen[1], 3));
          first.push(made);
          continue;
        }
        rows.append(made);
        last[one.lane] = { left: seen[0], right: seen[0] + seen[1], width: seen[1], state: one.state, seen: matches(one.node), box: made };
        if (kind === "did" && seen[1] > 34) rows.append(draw("text", { class: "in", x: seen[0] + 4, y: y + one.lane * (high + 2) + 11 }, clipped(one.node.id, Math.floor((seen[1] - 6) / 6.2))));
      }
      rows.append(...first);
      y += count * (high + 2) + 12;
    }
    for (const one of use) {
      const high = 46, peak = Math.max(one.budget || 0, ...one.did.map((step) => step[1]), ...one.meant.map((step) => step[1]), 1e-9);
      const top = one.did.reduce((most, step) => Math.max(most, step[1]), 0), level = (value) => y + high - value / peak * (high - 4);
      label(one.name, y + 12);
      label("peak " + amount(top, one.unit), y + 26);
      label("of " + amount(one.budget, one.unit), y + 39);
      const area = curve(one.did, x, level, run.live ? today : null);
      if (area) rows.append(draw("path", { class: "area", d: area + "V" + level(0) + "H" + time.left + "Z" }));
      const dash = curve(one.meant, x, level, null);
      if (dash) rows.append(draw("path", { class: "dash", d: dash }));
      rows.append(draw("line", { class: "grid", x1: time.left, x2: time.width, y1: y + high, y2: y + high }), draw("line", { class: "limit", x1: time.left, x2: time.width, y1: level(one.budget), y2: level(one.budget) }));
      y += high + 14;
    }
    if (laneCount[1] > LANES) { label("", y); rows.append(draw("text", { class: "soft", x: 0, y: y + 10 }, plural(laneCount[1], "node") + " ran at once: too many for a lane each")); y += 18; }
    return y - 22;
  }
  function curve(found, x, level, until) {
    if (!found.length) return "";
    const end = until === null ? time.to : Math.min(time.to, until);
    const inside = found.filter(([at]) => at >= time.from && at <= time.to);
    let before = found.reduce((last, [at, value]) => at < time.from ? value : last, 0);
    let path = "M" + time.left + " " + level(before);
    if (inside.length <= (time.width - time.left) / 2) {
      for (const [at, value] of inside) path += "H" + x(at) + "V" + level(value);
      return path + "H" + x(end);
    }
    const wide = (time.to - time.from) / (time.width - time.left) * 4;  // more steps than can be seen: means of four dots each
    for (let from = time.from, i = 0; from < end; from += wide) {
      const to = from + wide;
      let sum = 0, at = from;
      for (; i < inside.length && inside[i][0] < to; i += 1) {
        sum += before * (inside[i][0] - at);
        [at, before] = inside[i];
      }
      path += "V" + level((sum + before * (to - at)) / wide) + "H" + Math.min(x(to), x(end));
    }
    return path;
  }
  const clipped = (name, most) => name.length <= most ? name : most < 3 ? "" : name.slice(0, Math.ceil(most / 2) - 1) + "…" + name.slice(-Math.floor(most / 2) + 1);

  // -- the nodes

  const COLUMNS = [
    ["state", "state", (node) => states.indexOf(node.state), (node) => el("td", { class: "w" }, mark(node.state), " " + word(node.state) + (node.unknown && !["running", "interrupted"].includes(node.state) ? ", unknown" : ""))],
    ["node", "node", (node) => node.id, (node) => el("td", { class: "t" }, named(node.i), node.critical ? el("span", { class: "slow", title: "on the planned critical path" }, " ◆") : "", node.children ? el("span", { class: "soft" }, "  holds " + number(node.children)) : "")],
    ["kind", "kind", (node) => text(node.kind), (node) => el("td", { class: "w soft" }, text(node.kind))],
    ["start", "start", (node) => node.start, (node) => el("td", { class: "n", title: node.start === null || node.start === undefined ? null : clock(node.start) }, span(node.start))],
    ["queue", "queued", (node) => node.queue, (node) => el("td", { class: "n" }, node.queue === null ? "" : node.queue < 1 ? "0s" : duration(node.queue))],
    ["took", "took", (node) => node.took, (node) => el("td", { class: "n" }, span(node.took))],
    ["est", "estimate", (node) => node.est, (node) => el("td", { class: "n soft", title: text(node.from) }, span(node.est))],
    ["ratio", "took / est.", (node) => node.ratio, (node) => el("td", { class: "n" + (node.ratio > 1.5 && node.took - node.est > 100 ? " slow" : "") }, node.ratio === null ? "" : node.ratio < 0.1 ? "<×0.1" : "×" + (node.ratio < 10 ? node.ratio.toFixed(1) : number(Math.round(node.ratio))))],
    ["tries", "attempts", (node) => node.tries.length || null, (node) => el("td", { class: "n" }, node.tries.length || "")],
    ["note", "note", null, (node) => el("td", { class: "t" }, clipped(text(node.note), 160))],
  ];
  const span = (ms) => ms === null || ms === undefined ? "" : duration(ms);
  const body = el("tbody", {}), count = el("span", { class: "count", role: "status", "aria-live": "polite" });
  const rest = el("p", { class: "note" });
  let order = nodes, filled = 0;

  function table() {
    const heads = COLUMNS.map(([key, label, value]) => {
      if (!value) return el("th", { scope: "col", "data-label": label }, el("span", {}, label));
      const head = el("th", { scope: "col", class: ["state", "node", "kind"].includes(key) ? null : "right", "data-label": label }, el("button", { type: "button", onclick: () => {
        view.down = view.sort === key ? !view.down : !["node", "kind", "state", "start"].includes(key);
        view.sort = key;
        changed();
      } }, label));
      listeners.push(() => { if (view.sort === key) head.setAttribute("aria-sort", view.down ? "descending" : "ascending"); else head.removeAttribute("aria-sort"); });
      return head;
    });
    const box = el("div", { class: "scroll" }, el("table", { class: "nodes" }, el("thead", {}, el("tr", {}, heads)), body));
    box.addEventListener("scroll", () => { if (box.scrollTop + box.clientHeight > box.scrollHeight - 800) more(CHUNK); }, { passive: true });
    const clear = el("button", { type: "button", class: "btn", onclick: () => { view.text = document.getElementById("search").value = ""; view.states.clear(); view.sort = "order"; changed(); } }, "show all");
    listeners.push(() => { clear.hidden = !view.text && !view.states.size && view.sort === "order"; });
    return section("nodes", "Nodes", el("div", { class: "head" }, el("h2", {}, "Nodes"), count, el("span", { class: "push" }, clear)), box, rest);
  }
  function refill() {
    order = nodes.filter(matches);
    const column = COLUMNS.find(([key]) => key === view.sort);
    if (column) {
      const value = column[2], sign = view.down ? -1 : 1;
      const key = new Map(order.map((node) => [node, value(node) ?? null]));
      order.sort((a, b) => {
        const x = key.get(a), y = key.get(b);
        if (x === null || y === null) return (x === null) - (y === null) || a.i - b.i;  // what has none is last, always
        return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || a.i - b.i;
      });
    }
    body.replaceChildren();
    filled = 0;
    more(CHUNK);
    count.textContent = order.length === nodes.length ? number(nodes.length) : number(order.length) + " of " + number(nodes.length);
  }
  function more(by) {
    const end = Math.min(order.length, filled + by), piece = document.createDocumentFragment();
    for (; filled < end; filled += 1) {
      const node = order[filled];
      piece.append(el("tr", { "data-row": node.i, class: view.chosen === node.i ? "on" : null }, COLUMNS.map((column) => column[3](node))));
    }
    body.append(piece);
    rest.textContent = filled < order.length ? number(order.length - filled) + " more rows come as you scroll" : "";
  }

  // -- one node

  const panel = el("aside", { hidden: true, tabindex: "-1" });
  let opener = null;

  function choose(place_, quiet) {
    view.chosen = place_;
    for (const row of body.querySelectorAll("tr.on")) row.classList.remove("on");
    if (place_ === null) {
      panel.hidden = true;
      if (opener && opener.isConnected) opener.focus();
      opener = null;
      address("");
    } else {
      if (panel.hidden) opener = document.activeElement;
      panel.replaceChildren(...detail(nodes[place_]));
      panel.setAttribute("aria-label", nodes[place_].id);
      panel.hidden = false;
      panel.scrollTop = 0;
      toEnds(panel);
      if (!quiet) panel.focus();
      const row = body.querySelector("tr[data-row='" + place_ + "']");
      if (row) row.classList.add("on");
      address("#node=" + encodeURIComponent(nodes[place_].id));
    }
    for (const made of canvas.querySelectorAll("rect.did")) made.classList.toggle("on", Number(made.dataset.n) === place_);
    showInGraph(place_);
  }
  function detail(node) {
    const parts = [el("div", { class: "top" }, el("span", { class: "badge " + look(node.state)[1] }, look(node.state)[0] + " " + word(node.state)), el("h2", {}, node.id),
      el("button", { type: "button", class: "btn", "aria-label": "close", onclick: () => choose(null) }, "✕"))];
    const inside = nodes.filter((one) => one.parent === node.i).sort((a, b) => states.indexOf(a.state) - states.indexOf(b.state) || a.i - b.i);
    const slow = inside.filter((one) => one.took !== null).sort((a, b) => b.took - a.took);
    const facts = [
      ["what for", text(node.about)], ["does", node.does ? el("code", {}, text(node.does)) : null], ["kind", text(node.kind)],
      ["said", text(node.note)], ["outcome", node.unknown ? "unknown: it may have done its work or not" : null],
      ["took", node.took === null ? null : duration(node.took) + (node.est ? ", estimate " + duration(node.est) + " (" + text(node.from) + ")" : "")],
      ["estimate", node.took === null && node.est && !node.children ? duration(node.est) + " (" + text(node.from) + ")" : null],
      ["queued", node.queue === null ? null : duration(node.queue)],
      ["planned", node.plan ? "from " + duration(node.plan[0]) + " to " + duration(node.plan[1]) + (node.critical ? ", on the critical path" : "") : null],
      ["uses", node.uses ? node.uses.map(([name, value]) => name + " " + amount(value, (data.resources.find((one) => one.name === name) || {}).unit)).join(", ") : null],
      ["when", node.when ? el("code", {}, text(node.when)) : null], ["level", text(node.level)],
      ["point of no return", node.pivot ? "yes: once it succeeded it stays, and all that it depends on" : null],
      ["inside of", node.parent === undefined ? null : named(node.parent)],
      ["needs", node.needs ? some(node.needs) : null], ["needed by", node.feeds.length ? some(node.feeds) : null],
      ["the longest of them", slow.length > 1 ? slow.slice(0, 3).map((one, i) => [i ? ", " : "", named(one.i), " " + duration(one.took)]) : null],
      ["holds", node.children ? [tally(inside), ": ", some(inside.map((one) => one.i)), levels.has(node.i) ? [" ", el("button", { type: "button", class: "btn", onclick: () => lookInside(node.i) }, "look inside")] : null] : null],
    ].filter(([, value]) => value !== null && value !== "");
    parts.push(pairs(facts));
    if (node.tries.length) parts.push(el("h3", {}, "Attempts"), el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ["attempt", "start", "queued", "took", "exit", "note"].map((label) => el("th", { scope: "col", class: ["attempt", "note"].includes(label) ? null : "right", "data-label": label }, el("span", {}, label))))), el("tbody", {}, node.tries.map((one) => el("tr", {},
      el("td", { class: "w" }, mark(one[4]), " " + (one[0] || "") + " " + word(one[4])), el("td", { class: "n", title: one[2] === null ? null : clock(one[2]) }, span(one[2])), el("td", { class: "n" }, one[1] === null || one[2] === null ? "" : duration(Math.max(0, between(one[1], one[2])))),
      el("td", { class: "n" }, span(lasted(one))), el("td", { class: "n" }, one[6] ?? ""), el("td", { class: "t" }, [text(one[7]), one[8] ? "on " + one[8] : "", one[9] ? "again in " + duration(one[9] - one[3]) : ""].filter(Boolean).join("; "))))))));
    const logs = node.logs || [];
    if (logs.length || node.held) parts.push(el("h3", {}, "Log"), [...logs].reverse().map(log), logs.every((one) => !one[2]) && logs.length ? el("p", { class: "note" }, "it wrote nothing") : null, node.held ? el("p", { class: "note" }, text(node.held)) : null, el("p", { class: "next" }, command("wfctl logs " + run.id + " " + quoted(node.id))));
    if (node.out) {
      const [value, size, how] = node.out, cut = how === "file" || value.length < size;
      parts.push(el("h3", {}, "Output"), how === "file" ? el("p", { class: "note" }, "it is large, and lies in a file of the run") : scroller("output of " + node.id, value), cut ? el("p", { class: "next" }, command("wfctl output " + run.id + " " + quoted(node.id))) : null);
    }
    if (node.why) parts.push(el("h3", {}, "Why it ran, or did not"), el("p", {}, text(node.why)), node.changes ? scroller("what changed", node.changes.map(text).join("\n")) : null, node.key ? el("p", { class: "note" }, "key ", el("code", {}, node.key)) : null);
    if (node.undo) parts.push(el("h3", {}, "How it is undone"), el("ol", { class: "steps" }, node.undo.map((step) => el("li", {}, el("code", {}, text(step))))));
    if (node.undone) parts.push(el("h3", {}, "Its undo"), el("div", { class: "wide" }, el("table", {}, el("tbody", {}, node.undone.map(([step, n, start, end, state, error]) => el("tr", {}, el("td", { class: "w" }, mark(state), " step " + step + ", try " + n), el("td", { class: "n" }, span(start)), el("td", { class: "n" }, end === null ? "" : duration(end - start)), el("td", { class: "t" }, text(error))))))));
    const told = data.events.filter((event) => event[2] === node.i);
    if (told.length) parts.push(el("h3", {}, "Events"), el("div", { class: "wide" }, eventTable(told.slice(0, 200), false)));
    return parts.flat(3).filter(Boolean);
  }

  // -- what was undone, where one can come back to, what happened

  function rollback() {
    const told = data.rollback;
    if (!told) return null;
    const list = (label, places) => places && places.length ? [el("dt", {}, label), el("dd", {}, some(places))] : null;
    const how = (step) => step.how === "done" ? "undone by hand, says " + step.by + (step.reason ? ": " + step.reason : "") : step.how === "skip" ? "left as it is, says " + step.by + (step.reason ? ": " + step.reason : "") : step.state === "waiting" ? "not undone yet" : word(step.state);
    const begun = told.begun.map(([at, strategy, why, by, then]) => el("li", {}, el("strong", {}, strategy), " at " + duration(at) + (by ? ", asked for by " + by : "") + ": " + why + (then ? "; then " + then : "")));
    return section("rollback", "Rollback", el("div", { class: "head" }, el("h2", {}, "Rollback"), told.state ? el("span", { class: "badge " + look(told.state)[1] }, look(told.state)[0] + " " + word(told.state)) : null),
      el("h3", {}, "Why this strategy"), el("ul", { class: "steps" }, begun),
      told.steps ? [
        el("dl", { class: "pairs" }, list("failed", told.failed), [el("dt", {}, "touched"), el("dd", {}, plural(told.affected.length, "node") + ", " + told.consistency + ", complexity " + told.complexity)],
          list("stays: no steps", told.without.filter((place_) => !told.steps.some((step) => step.node === place_))), list("stays: no return", told.kept_by_pivot), list("unknown outcome", told.unknown), list("waits for a person", told.blocked)),
        el("h3", {}, "What was undone, and what was not"),
        el("ol", { class: "steps" }, undos.slice(0, UNDOS).map((step) => el("li", {}, mark(step.state), step.node >= 0 ? named(step.node) : "", " " + how(step) + (undoneAt(step) < Infinity ? " at " + duration(undoneAt(step)) : "") + (step.steps > 1 && step.state !== "undone" ? " (step " + step.step + " of " + step.steps + ")" : ""),
          step.error && step.state !== "undone" ? el("p", { class: "error" }, step.error) : null, step.does.map((line) => el("p", {}, el("code", { class: "soft" }, line))),
          step.removed.length ? el("p", { class: "note" }, "removed " + step.removed.join(", ")) : null, step.left.length ? el("p", { class: "note" }, "left " + step.left.join("; ")) : null))),
        undos.length > UNDOS ? el("p", { class: "note" }, "and " + number(undos.length - UNDOS) + " more; all of them: ", el("code", {}, "wfctl status " + run.id)) : null,
      ] : null);
  }
  function checkpoints() {
    if (!data.checkpoints.length) return null;
    return section("checkpoints", "Checkpoints", el("div", { class: "head" }, el("h2", {}, "Checkpoints"), el("span", { class: "count" }, "places to come back to")),
      el("ul", { class: "steps" }, data.checkpoints.map(([name, at, files, bytes]) => el("li", {}, el("strong", {}, name), " at " + duration(at) + ", " + (files.length ? plural(files.length, "file") + " saved, " + amount(bytes, "bytes") : "no files saved"),
        files.length ? el("p", { class: "note" }, files.slice(0, 20).join(", ") + (files.length > 20 ? " and " + (files.length - 20) + " more" : "")) : null, el("p", { class: "next" }, command("wfctl resume " + run.id + " --from-checkpoint " + quoted(name)))))));
  }
  const eventTable = (told, withNode) => el("table", { class: withNode ? "events" : null }, el("tbody", {}, told.map(([at, kind, place_, details]) => el("tr", {}, el("td", { class: "n soft", title: clock(at) }, "+" + duration(at)), el("td", { class: "w" }, data.kinds[kind]), withNode ? el("td", { class: "t" }, place_ >= 0 ? named(place_) : "") : null, el("td", { class: "t soft" }, text(details))))));
  function events() {
    const box = el("div", { class: "scroll" }), all = data.events;
    let shown = 0;
    const add = () => {
      if (shown >= all.length) return;
      const made = eventTable(all.slice(shown, shown + CHUNK), true);
      if (shown) box.querySelector("tbody").append(...made.querySelectorAll("tr")); else box.append(made);
      shown += CHUNK;
    };
    add();
    box.addEventListener("scroll", () => { if (box.scrollTop + box.clientHeight > box.scrollHeight - 800) add(); }, { passive: true });
    return section("events", "Events", el("div", { class: "head" }, el("h2", {}, "Events"), el("span", { class: "count" }, number(all.length) + (data.events_left_out ? ", " + number(data.events_left_out) + " in the middle left out" : ""))), box);
  }

  // -- together

  const keys = el("dialog", {}, el("h2", {}, "Keys"), el("dl", { class: "pairs" }, [["/", "search; Enter opens the first that is found"], ["Esc", "close, or clear the search"], ["j  k", "next and previous node of the table"], ["o  u", "in the graph: look inside of what is chosen; out again"], ["t", "light or dark"], ["+  −  0", "in graph and timeline: nearer, farther, all of it"], ["arrows", "in graph and timeline: move"], ["?", "this"]].map(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])), el("form", { method: "dialog" }, el("button", { class: "btn" }, "close")));
  const parts = [attention(), graph(), timeline(), table(), rollback(), checkpoints(), about(), events()].filter(Boolean);
  const made = run.made === null ? "" : " Made " + clock(run.made - run.began, true) + (run.live ? ", while it was under way: make it again to see what came since." : ".");
  document.body.append(head(), bar(parts), el("main", {}, parts), panel, el("footer", {}, "wfctl " + run.version + " · run " + run.id + " ·" + made), keys);

  let painted = 0;
  function changed() {
    refill();
    cancelAnimationFrame(painted);
    painted = requestAnimationFrame(() => paint());
    findInGraph();
  }
  const byId = new Map(nodes.map((node) => [node.id, node.i]));
  document.addEventListener("click", (event) => {
    const one = event.target.closest("[data-n]");
    if (one) choose(Number(one.dataset.n));
  });
  document.addEventListener("keydown", (event) => {
    const search = document.getElementById("search"), typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "Escape" && !keys.open) {
      if (!panel.hidden) choose(null);
      else if (typing) { search.value = view.text = ""; search.blur(); changed(); }
      return;
    }
    if (event.key === "Enter" && document.activeElement === search && order.length) { event.preventDefault(); choose(order[0].i); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    const step = (by) => {
      const at = order.findIndex((node) => node.i === view.chosen), to = order[Math.min(order.length - 1, Math.max(0, at + by))];
      if (to) choose(to.i);
    };
    const act = { "/": () => search.focus(), j: () => step(1), k: () => step(-1), o: () => lookInside(view.chosen ?? byId.get(document.activeElement.dataset.node)), u: () => lookInside(level < 0 ? null : outer(nodes[level])), t: turn, "?": () => keys.showModal() }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => paint(), 100); });
  addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    more(PRINTED - filled);
    paint(1000);
    onPaper();
  });
  addEventListener("afterprint", () => { dress(); paint(); for (const one of document.querySelectorAll(".paper")) one.remove(); });
  function address(end) {
    try { history.replaceState(null, "", location.pathname + location.search + end); } catch { /* a page that may not have one */ }
  }
  function fromAddress() {
    const found = /^#node=(.*)$/.exec(location.hash);
    let name = null;
    try { name = found && decodeURIComponent(found[1]); } catch { name = null; }
    if (name !== null && byId.has(name)) choose(byId.get(name), true);
  }
  addEventListener("hashchange", fromAddress);
  if (levels.size) new IntersectionObserver((seen, observer) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    observer.disconnect();
    setTimeout(() => { looked = true; walk(); if (view.chosen !== null) showInGraph(view.chosen); });
  }, { rootMargin: "200px" }).observe(stage);
  toEnds(document);
  changed();
  paint();
  fromAddress();
  root.dataset.ready = "yes";
})();
