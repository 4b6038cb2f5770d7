const said = document.querySelector("footer"), hint = said.textContent, search = document.querySelector("input");
const some = (n) => n + (n === 1 ? " node" : " nodes");
const graph = exploreGraph(document.querySelector("main"), (id, title, up, down) => {
  said.textContent = id === null ? hint : title + " — " + some(up) + " before it, " + some(down) + " after it";
});
search.addEventListener("input", () => { const n = graph.find(search.value); said.textContent = search.value.trim() ? some(n) + " found" + (n ? "; Enter goes to the next" : "") : hint; });
search.addEventListener("keydown", (event) => {
  const met = event.key === "Enter" && graph.next(event.shiftKey ? -1 : 1);
  if (met) said.textContent = met[0] + " of " + met[1] + ": " + met[2];
  if (event.key === "Escape") { search.value = ""; graph.find(""); said.textContent = hint; search.blur(); }
});
const acts = { nearer: () => graph.zoom(1.3), farther: () => graph.zoom(1 / 1.3), all: () => graph.fit() };
for (const button of document.querySelectorAll("button")) button.addEventListener("click", acts[button.name]);
addEventListener("keydown", (event) => {
  if (event.target === search) return;
  if (event.key === "/") { event.preventDefault(); search.focus(); }
  else if (!event.target.closest("main")) graph.press(event);  // in the picture it is heard already
});
document.documentElement.dataset.ready = "yes";
