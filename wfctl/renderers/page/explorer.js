function exploreGraph(view, picked, first) {
  "use strict";
  const svg = view.querySelector("svg.wf"), nodes = [...svg.querySelectorAll(".n")], paths = [...svg.querySelectorAll(".e path")];
  const base = svg.viewBox.baseVal, W = base.width, H = base.height;
  const range = (text) => { const [from, to] = text.split("-").map(Number), all = []; for (let i = from; i <= (to ?? from); i++) all.push(i); return all; };
  const after = nodes.map(() => []), before = nodes.map(() => []), seen = new Map();
  const number = new Map(nodes.map((node, i) => [node.dataset.node, i]));
  const names = nodes.map((node) => node.querySelector("title").textContent.toLowerCase());
  paths.forEach((path, k) => {
    const [sources, targets] = path.dataset.e.split(" ").map((text) => { if (!seen.has(text)) seen.set(text, range(text)); return seen.get(text); });
    for (const i of sources) after[i].push([k, targets]);
    for (const j of targets) before[j].push([k, sources]);
  });
  let box = { x: 0, y: 0, w: W, h: H }, at = -1, found = [], turn = -1;
  const size = () => [view.clientWidth || 1, view.clientHeight || 1];
  const scale = () => { const [w, h] = size(); return Math.min(w / box.w, h / box.h); };
  const show = () => {
    svg.classList.toggle("far", scale() < 0.3);         // words could not be read: strong colours instead
    svg.setAttribute("viewBox", [box.x, box.y, box.w, box.h].map((v) => v.toFixed(2)).join(" "));
  };
  const fill = (k, x, y) => { const [w, h] = size(); box = { w: w / k, h: h / k, x: x - w / k / 2, y: y - h / k / 2 }; show(); };
  const fit = () => { const [w, h] = size(); fill(Math.min(w / W, h / H, 1.25), W / 2, H / 2); };
  const begin = () => {                     // all of it, if it can be read then; else its beginning
    const [w, h] = size(), whole = Math.min(w / W, h / H, 1.25);
    if (whole > 0.45) return fit();
    if (number.has(first)) return go(number.get(first));
    const k = Math.max(whole, Math.min(0.8, h / H > 0.45 ? h / H : 0.8));
    fill(k, Math.min(W / 2, w / k / 2), H * k <= h ? H / 2 : paths.length ? middle(k) : h / k / 2);
  };
  const spot = (i) => {
    const [x, y] = nodes[i].getAttribute("transform").match(/\d+/g).map(Number), r = nodes[i].querySelector("rect");
    return [x + r.getAttribute("width") / 2, y + r.getAttribute("height") / 2];
  };
  const middle = (k) => {                   // there are nodes at the left edge: go to the middle one of them
    const [w, h] = size(), ys = nodes.map((_, i) => spot(i)).filter(([x]) => x < w / k / 2).map(([, y]) => y).sort((a, b) => a - b);
    const y = ys.length ? ys[ys.length >> 1] : H / 2;
    return Math.max(h / k / 2, Math.min(H - h / k / 2, y));
  };
  const zoom = (factor, x, y) => {
    const [w, h] = size(), k = Math.max(Math.min(w / W, h / H, 1) / 2, Math.min(8, scale() * factor)), f = scale() / k;
    x ??= box.x + box.w / 2; y ??= box.y + box.h / 2;
    box = { x: x - (x - box.x) * f, y: y - (y - box.y) * f, w: box.w * f, h: box.h * f }; show();
  };
  const point = (x, y) => { const r = view.getBoundingClientRect(); return [box.x + (x - r.left) / scale(), box.y + (y - r.top) / scale()]; };
  const walk = (start, links, lit) => {
    const met = new Set([start]);
    for (const i of met) for (const [k, others] of links[i]) { if (!lit.has(k)) { lit.add(k); for (const j of others) met.add(j); } }
    met.delete(start); return met;
  };
  const light = (on, lines, it) => {
    svg.classList.toggle("some", on !== null);
    nodes.forEach((node, i) => { node.classList.toggle("on", on !== null && on.has(i)); node.classList.toggle("it", i === it); });
    paths.forEach((path, k) => path.classList.toggle("on", lines.has(k)));
  };
  const choose = (i) => {
    at = i; found = []; turn = -1;
    if (i < 0) { light(null, new Set(), -1); picked && picked(null); return; }
    const lines = new Set(), up = walk(i, before, lines), down = walk(i, after, lines);
    light(new Set([i, ...up, ...down]), lines, i);
    picked && picked(nodes[i].dataset.node, nodes[i].querySelector("title").textContent, up.size, down.size);
  };
  const go = (i, covered = 0) => { const [x, y] = spot(i), k = Math.max(scale(), 0.8); fill(k, x + covered / k / 2, y); };
  const mark = (ids) => { at = -1; found = []; turn = -1; light(ids && new Set(nodes.flatMap((node, i) => ids.has(node.dataset.node) ? [i] : [])), new Set(), -1); };
  const find = (words) => {
    words = words.trim().toLowerCase(); at = -1; turn = -1;
    found = words ? names.flatMap((name, i) => name.includes(words) ? [i] : []) : [];
    light(words ? new Set(found) : null, new Set(), -1); return found.length;
  };
  const next = (step = 1) => {               // which of how many found it is now, and its title
    if (!found.length) return null;
    turn = turn < 0 && step < 0 ? found.length - 1 : (turn + step + found.length) % found.length;
    nodes.forEach((node, i) => node.classList.toggle("it", i === found[turn])); go(found[turn]);
    return [turn + 1, found.length, nodes[found[turn]].querySelector("title").textContent];
  };
  const fingers = new Map();                // where a mouse that is pressed, or each finger, is
  let begun = null, moved = false;
  const apart = () => { const [a, b] = fingers.values(); return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    fingers.delete(event.pointerId); moved = fingers.size > 0; begun = [event.clientX, event.clientY];
    fingers.set(event.pointerId, begun);
  });
  addEventListener("pointermove", (event) => {
    const was = fingers.get(event.pointerId), now = [event.clientX, event.clientY];
    if (!was || !(moved ||= Math.hypot(now[0] - begun[0], now[1] - begun[1]) > 4)) return;
    const before = fingers.size === 2 ? apart() : 0;
    fingers.set(event.pointerId, now);
    box.x -= (now[0] - was[0]) / scale() / fingers.size; box.y -= (now[1] - was[1]) / scale() / fingers.size;
    if (before) { const [a, b] = fingers.values(); zoom(apart() / before, ...point((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)); } else show();
  });
  for (const name of ["pointerup", "pointercancel"]) addEventListener(name, (event) => fingers.delete(event.pointerId));
  view.addEventListener("click", (event) => { if (moved) return; const node = event.target.closest(".n"), i = node ? nodes.indexOf(node) : -1; choose(i === at ? -1 : i); });
  view.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...point(event.clientX, event.clientY)); }, { passive: false });
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const node = event.target.closest(".n"), step = 60 / scale(), pickIt = node && (() => choose(nodes.indexOf(node)));
    const act = { "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit, Escape: () => choose(-1),
      ArrowLeft: () => { box.x -= step; show(); }, ArrowRight: () => { box.x += step; show(); }, ArrowUp: () => { box.y -= step; show(); }, ArrowDown: () => { box.y += step; show(); },
      Enter: pickIt, " ": pickIt }[event.key];
    if (act) { event.preventDefault(); act(); }
  };
  view.addEventListener("keydown", press);
  view.addEventListener("focusin", (event) => { const node = event.target.closest(".n"); if (node && node.matches(":focus-visible")) { const [x, y] = spot(nodes.indexOf(node)); if (x < box.x || y < box.y || x > box.x + box.w || y > box.y + box.h) go(nodes.indexOf(node)); } });
  addEventListener("resize", () => { const k = scale(); fill(k, box.x + box.w / 2, box.y + box.h / 2); });
  view.tabIndex = 0; svg.setAttribute("role", "group");
  for (const node of nodes) { node.setAttribute("tabindex", "0"); node.setAttribute("role", "button"); }
  begin();
  return { zoom, fit, find, next, mark, press, pick: (id, covered) => { const i = number.get(id) ?? -1; choose(i); if (i >= 0) go(i, covered); return i >= 0; } };
}
