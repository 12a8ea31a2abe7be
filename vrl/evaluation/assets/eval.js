"use strict";
// The page of an evaluation. Everything from outside becomes a text node: nothing here makes HTML out of strings.

const data = JSON.parse(document.getElementById("data").textContent);
const results = data.results;
const PAGE = 25;
const RIGHT = 0.5;

function node(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function show(value, unit) {
  return unit === "share" ? `${(100 * value).toFixed(1)} %` : `${value.toFixed(2)} ${unit}`;
}

function track(found) {
  const at = (share) => `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
  const width = `${(100 * (found.high - found.low)).toFixed(2)}%`;
  return node(
    "div",
    { class: "track" },
    node("i", { style: `left:${at(found.low)};width:${width}` }),
    node("b", { style: `left:${at(found.value)}` }),
  );
}

function row(name, found, unit, meaning) {
  const interval = `${show(found.low, unit)} to ${show(found.high, unit)}`;
  return node(
    "tr",
    {},
    node("td", {}, name),
    node("td", { class: "n" }, show(found.value, unit)),
    node("td", { class: "n quiet" }, interval),
    node("td", {}, unit === "share" ? track(found) : ""),
    node("td", { class: "n quiet" }, String(found.count)),
    node("td", { class: "quiet" }, meaning),
  );
}

function table(title, first, rows) {
  const heads = [first, "value", `${100 * results.interval.level} % interval`, "", "items", ""];
  const numeric = [1, 2, 4];
  const head = node("tr", {}, ...heads.map((text, i) => node("th", { class: numeric.includes(i) ? "n" : "" }, text)));
  return [node("div", { class: "bar" }, node("h2", {}, title)), node("table", { class: "numbers" }, head, ...rows)];
}

function drawNumbers() {
  document.title = `${results.name}: ${results.benchmark}`;
  document.getElementById("title").textContent = document.title;
  const failed = results.failures.listed.length;
  const status = document.getElementById("status");
  status.textContent = `${results.items} items, ${failed} failed (counted as ${results.failures.rule})`;
  status.classList.add(failed ? "bad" : "good");
  const metrics = Object.entries(results.metrics).map(([name, m]) => row(name, m, m.unit, m.meaning));
  const overall = row("score", results.overall, "share", results.overall.by);
  const about = `Model ${results.model}, strategy ${results.strategy}, questions asked ${results.task}, ` +
    `replies read by the ${results.reading.rule} rule (${results.reading.source}).`;
  document
    .getElementById("numbers")
    .append(...table("Numbers", "metric", [overall, ...metrics]), node("p", { class: "quiet" }, about));
  for (const [key, groups] of Object.entries(results.groups)) {
    const rows = Object.entries(groups).map(([name, found]) => row(name, found, "share", ""));
    document.getElementById("groups").append(...table(`Score by ${key}`, "group", rows));
  }
}

function card(item) {
  const score = item.score === null ? "not scored" : item.score.toFixed(2);
  const made = node(
    "div",
    { class: "item" },
    node("h3", {}, item.question),
    node("div", { class: "quiet" }, [item.sample_id, item.video, ...item.groups].join("  \u00b7  ")),
  );
  item.options.forEach((option, i) => made.append(node("div", {}, `${String.fromCharCode(65 + i)}. ${option}`)));
  if (item.failure) {
    made.append(node("p", { class: "bad" }, item.failure));
  } else {
    const verdict = item.score !== null && item.score >= RIGHT ? "good" : "bad";
    made.append(
      node(
        "p",
        {},
        "true ",
        node("b", {}, item.truth),
        "  said ",
        node("b", { class: verdict }, item.answer || "nothing readable"),
        `  score ${score}`,
      ),
      node("pre", {}, item.text),
    );
  }
  return made;
}

let shown = PAGE;

function drawItems() {
  const kind = document.getElementById("kind").value;
  const group = document.getElementById("group").value;
  const wanted = document.getElementById("find").value.toLowerCase();
  const fits = {
    all: () => true,
    failed: (item) => Boolean(item.failure),
    right: (item) => item.score !== null && item.score >= RIGHT,
    wrong: (item) => !item.failure && item.score !== null && item.score < RIGHT,
  }[kind];
  const found = data.items.filter(
    (item) =>
      fits(item) &&
      (!group || item.groups.includes(group)) &&
      `${item.question}\n${item.answer}\n${item.text}`.toLowerCase().includes(wanted),
  );
  const omitted = data.omitted ? `; ${data.omitted} more are in scores.jsonl` : "";
  document.getElementById("count").textContent = `${found.length} of ${data.items.length} items${omitted}`;
  document.getElementById("list").replaceChildren(...found.slice(0, shown).map(card));
  document.getElementById("more").hidden = found.length <= shown;
}

function listen() {
  const groups = [...new Set(data.items.flatMap((item) => item.groups))].sort();
  const select = document.getElementById("group");
  select.append(node("option", { value: "" }, "all"), ...groups.map((name) => node("option", { value: name }, name)));
  for (const id of ["kind", "group", "find"]) {
    document.getElementById(id).addEventListener("input", () => {
      shown = PAGE;
      drawItems();
    });
  }
  document.getElementById("more").addEventListener("click", () => {
    shown += PAGE;
    drawItems();
  });
}

drawNumbers();
listen();
drawItems();
