// Conveniences only: without this everything is readable.
"use strict";
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const made = (name, properties) => Object.assign(document.createElement(name), properties);
const asNumber = (text) => {
  const found = text.trim().replace(/\u2212/g, "-").match(/^(?:<\s*)?(-?[\d,]*\.?\d+(?:e-?\d+)?)/i);
  return found ? Number(found[1].replace(/,/g, "")) : null;
};

// tables sort by a click on a column's name
for (const table of all("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 3) continue;
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => {
    const text = row.cells[i].textContent;
    const number = asNumber(text);
    return number === null ? text.trim().toLowerCase() : number;
  };
  heads.forEach((head, i) => {
    const button = made("button", { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = [...body.rows].map((row) => [value(row, i), row]);
      keyed.sort(([x], [y]) => {
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what has no number stays at the end
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

// the table of all trials has a filter: words, and comparisons of a column such as lr<0.01 or state=pruned
for (const box of all(".scroll.searched")) {
  const table = box.querySelector("table");
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cells = [...row.cells].map((cell) => cell.textContent.trim());
    return { row, cells, text: cells.join(" ").toLowerCase() };
  });
  const label = made("label", { className: "filter", textContent: "Filter " });
  const field = made("input", { type: "search", placeholder: "pruned, or " + names[names.length > 3 ? 3 : 0] + "<1" });
  const told = made("span", { className: "told" });
  told.setAttribute("role", "status");
  label.append(field);
  box.before(label, told);
  const keeps = (part) => {
    const found = part.match(/^(.+?)(<=|>=|!=|=|<|>)(.+)$/);
    const i = found ? names.indexOf(found[1]) : -1;
    if (i < 0) return (each) => each.text.includes(part.toLowerCase());
    const [, , sign, wanted] = found;
    const limit = asNumber(wanted);
    return ({ cells }) => {
      const at = asNumber(cells[i]);
      const numeric = at !== null && limit !== null;
      const same = numeric ? at === limit : cells[i].toLowerCase().startsWith(wanted.toLowerCase());
      if (sign === "=") return same;
      if (sign === "!=") return !same;
      return numeric && (sign[0] === "<" ? at < limit : at > limit) || (sign.length > 1 && same);
    };
  };
  const filter = () => {
    const tests = field.value.split(/[\s]+/).filter(Boolean).map(keeps);
    let n = 0;
    for (const each of rows) {
      const shown = tests.every((test) => test(each));
      each.row.hidden = !shown;
      n += shown;
    }
    told.textContent = tests.length ? ` ${n} of ${rows.length}` : "";
  };
  field.addEventListener("input", filter);
}

// what does not scroll needs no stop of the Tab key
const stops = all("[role=group][tabindex]");
const settle = () => {
  const scrolls = stops.map((stop) => stop.scrollWidth > stop.clientWidth + 1 || stop.scrollHeight > stop.clientHeight + 1);
  stops.forEach((stop, i) => {
    if (scrolls[i]) stop.setAttribute("tabindex", "0");
    else stop.removeAttribute("tabindex");
  });
};
settle();
addEventListener("resize", settle);
all("details").forEach((fold) => fold.addEventListener("toggle", settle));
all(".copy input").forEach((choice) => choice.addEventListener("change", settle));

// on paper everything is open; afterwards it is as it was
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => folded.forEach((fold) => { fold.open = false; }));

// configurations and commands are copied by a button; a file has no clipboard of its own in every browser
const copied = (text) => {
  const area = made("textarea", { value: text });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
};
const copyButton = (after, text) => {
  const button = made("button", { type: "button", className: "copier", textContent: "Copy" });
  button.addEventListener("click", () => {
    button.textContent = copied(text()) ? "Copied" : "Select it by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
    button.focus();
  });
  after.after(button);
};
for (const box of all(".copy")) {
  copyButton(all("label", box).pop(), () => all("pre", box).find((pre) => pre.offsetParent !== null).textContent);
}
all(".next li code").forEach((code) => copyButton(code, () => code.textContent));

// what is under the pointer, or was tapped, tells its trial: with the parameters, if the table of all trials has it
const tip = document.getElementById("tip");
let on = [];
let rowOf = null;
const row = (key) => {
  if (rowOf === null) rowOf = new Map(all("tr[data-trial]").map((each) => [each.dataset.trial, each]));
  return rowOf.get(key);
};
const words = (mark) => {
  const title = mark.querySelector("title");
  if (title) { // the browser would tell it a second time
    mark.dataset.tell = title.textContent;
    title.remove();
  }
  const found = mark.dataset.trial && row(mark.dataset.trial);
  if (!found) return mark.dataset.tell || "";
  const names = [...found.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
  const cells = [...found.cells].map((cell) => cell.textContent.trim());
  const told = names.map((name, i) => `${name} ${cells[i]}`).filter((_, i) => cells[i] !== "\u2013");
  return `${mark.dataset.tell.split(/[:;]/)[0].startsWith("trial") ? "" : mark.dataset.tell + " \u00b7 "}${told.join(" \u00b7 ")}`;
};
const show = (mark, event) => {
  on.forEach((each) => each.classList.remove("on"));
  on = [];
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = words(mark);
  if (mark.dataset.trial) on = all(`svg [data-trial="${CSS.escape(mark.dataset.trial)}"]`, mark.closest("main"));
  else on = [mark];
  on.forEach((each) => each.classList.add("on"));
  const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const y = event.clientY + tip.offsetHeight + 24 > innerHeight ? event.clientY - tip.offsetHeight - 14 : event.clientY + 18;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${Math.max(8, y)}px`;
};
const markAt = (event) => {
  const mark = event.target.closest && event.target.closest("svg [data-trial], svg [data-tell], svg :has(> title)");
  return mark && mark.localName !== "svg" ? mark : null;
};
const tell = (event) => { const mark = markAt(event); show(mark, event); };
all("figure").forEach((figure) => {
  figure.addEventListener("pointerover", tell);
  figure.addEventListener("click", tell);
  figure.addEventListener("pointerleave", () => show(null));
});
addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });
