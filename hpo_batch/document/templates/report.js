// Conveniences only: without this everything is readable.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => {
    const text = row.cells[i].textContent.trim().replace(/\u2212/g, "-");
    const found = text.match(/^(?:<\s*)?(-?[\d,]*\.?\d+(?:e-?\d+)?)/i);
    return found ? Number(found[1].replace(/,/g, "")) : text.toLowerCase();
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a, i), y = value(b, i);
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what has no number stays at the end
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      body.append(...rows);
    });
  });
}
// what does not scroll needs no stop of the Tab key
const stops = [...document.querySelectorAll("[role=group][tabindex]")];
const settle = () => stops.forEach((stop) => {
  if (stop.scrollWidth > stop.clientWidth + 1) stop.setAttribute("tabindex", "0");
  else stop.removeAttribute("tabindex");
});
settle();
addEventListener("resize", settle);
document.querySelectorAll("details").forEach((fold) => fold.addEventListener("toggle", settle));
// on paper everything is open; afterwards it is as it was
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => folded.forEach((fold) => { fold.open = false; }));
for (const figure of document.querySelectorAll("figure")) {
  const tells = figure.querySelector(".tells");
  if (!tells) continue;
  tells.hidden = false;
  let on = null;
  const show = (line) => {
    if (on) on.classList.remove("on");
    on = line;
    if (line) line.classList.add("on");
    tells.textContent = line ? line.dataset.tell : tells.dataset.idle;
  };
  const at = (event) => event.target.closest ? event.target.closest("[data-tell]") : null;
  figure.addEventListener("pointerover", (event) => { const line = at(event); if (line) show(line); });
  figure.addEventListener("click", (event) => { const line = at(event); if (line) show(line); });
  figure.addEventListener("pointerleave", () => show(null));
}
