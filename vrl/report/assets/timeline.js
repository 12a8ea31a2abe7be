"use strict";
// The timeline of a step: what every process did, and where it waited.

const WORK = ["prepare", "generate", "score", "forward_backward", "verify", "optimizer", "push", "receive", "logprobs"];
const WAITS = ["wait_groups", "wait_prompts"];

function workColour(name) {
  if (WAITS.includes(name)) return "var(--line)";
  const index = WORK.indexOf(name);
  return index < 0 ? "var(--quiet)" : `var(--c${index % 8})`;
}

function lanesOf(step) {
  const order = ["driver", "data", "rollout", "reward", "learner"];
  const place = (lane) => order.indexOf(lane.split(" ")[0]) * 1000 + Number(lane.split(" ")[1]);
  return [...new Set(step.spans.map(([lane]) => lane))].sort((a, b) => place(a) - place(b));
}

// Rows of a lane: overlapping spans are stacked, at most three deep.
function rowsOf(spans) {
  const ends = [];
  return spans.map((span) => {
    let row = ends.findIndex((end) => end <= span[2] + 1e-6);
    if (row < 0) row = Math.min(ends.length, 2);
    ends[row] = Math.max(ends[row] || 0, span[3]);
    return row;
  });
}

function drawStep(step) {
  const width = 1180,
    left = 92,
    right = 14,
    row = 17;
  const px = (time) => left + (time / step.seconds) * (width - left - right);
  const svg = node("svg", { class: "timeline", role: "img", "aria-label": `timeline of step ${step.step}` });
  let top = 4;
  for (const lane of lanesOf(step)) {
    const spans = step.spans.filter((span) => span[0] === lane).sort((a, b) => a[2] - b[2]);
    const rows = rowsOf(spans),
      height = (Math.max(...rows) + 1) * row;
    svg.append(node("rect", { class: "lane", x: left, y: top, width: width - left - right, height: height, rx: 3 }));
    svg.append(node("text", { x: 0, y: top + 12 }, lane));
    spans.forEach(([, name, start, end], i) => {
      const wide = Math.max(1.2, px(end) - px(start));
      const box = { x: px(start), y: top + rows[i] * row + 1.5, width: wide, height: row - 3, rx: 2.5 };
      const hint = node("title", {}, `${name}: ${show(end - start)} s, from ${show(start)} to ${show(end)} s`);
      svg.append(node("rect", { ...box, fill: workColour(name) }, hint));
      if (wide > 7 * name.length + 8)
        svg.append(node("text", { class: WAITS.includes(name) ? "" : "on", x: px(start) + 5, y: top + rows[i] * row + 12.5 }, name));
    });
    top += height + 5;
  }
  for (const time of ticks(0, step.seconds, 8))
    svg.append(node("text", { x: px(time), y: top + 12, "text-anchor": "middle" }, `${show(time)} s`));
  svg.setAttribute("viewBox", `0 0 ${width} ${top + 18}`);
  return svg;
}

function busyTable(busy) {
  const rows = busy.lanes.flatMap((lane) => {
    const parts = Object.entries(lane.by_name).sort((a, b) => b[1] - a[1]);
    const bar = node(
      "div",
      { class: "meter wideMeter" },
      node("div", { style: `width:${(100 * lane.busy).toFixed(1)}%` }),
    );
    const text = parts.filter(([, share]) => share >= 0.005).map(([name, share]) => `${name} ${(100 * share).toFixed(0)} %`).join(", ");
    return [
      node("span", {}, lane.name),
      bar,
      node("span", { class: "quiet" }, `${(100 * lane.busy).toFixed(0)} % busy: ${text}`),
    ];
  });
  return node("div", { class: "ranges" }, ...rows);
}

function timeline(steps, busy) {
  const section = document.getElementById("time");
  if (!steps.length) {
    section.append(node("p", { class: "empty" }, "No spans in this run (set log.spans to write them)."));
    return;
  }
  const select = node(
    "select",
    { id: "which-step" },
    ...steps.map((step, i) => node("option", { value: i }, `step ${step.step}, ${show(step.seconds)} s`)),
  );
  const where = node("div", {});
  const draw = () => where.replaceChildren(drawStep(steps[Number(select.value)]));
  select.value = String(Math.floor(steps.length / 2));
  select.addEventListener("input", draw);
  const used = WORK.filter((name) => steps.some((step) => step.spans.some((span) => span[1] === name)));
  const key = [...used, "waiting"].map((name) =>
    node(
      "span",
      {},
      node("i", { style: `background:${name === "waiting" ? workColour("wait_groups") : workColour(name)}` }),
      name,
    ),
  );
  section.append(
    node(
      "div",
      { class: "panel" },
      node("div", { class: "bar" }, node("h3", {}, "One step"), node("label", {}, "step ", select)),
      where,
      node("div", { class: "legend" }, ...key),
    ),
    node(
      "div",
      { class: "panel" },
      node(
        "div",
        { class: "label quiet" },
        `All steps: ${busy.bottleneck} is the bottleneck; no actor worked for ${(100 * busy.idle).toFixed(0)} % of the time`,
      ),
      busyTable(busy),
    ),
  );
  draw();
}
