"use strict";
// Builds the page from the data block.

const data = JSON.parse(document.getElementById("data").textContent);
const summary = data.summary || {};
const steps = data.rows.map((row) => row.step);
const catalogued = (name) =>
  data.catalogue[name] || data.catalogue[name.replace(/\/[^/]*$/, "/*")] || { unit: "", meaning: "" };
const names = [...new Set(data.rows.flatMap((row) => Object.keys(row)))].filter((name) => name !== "step");
const pointsOf = (name) =>
  data.rows.filter((row) => typeof row[name] === "number").map((row) => [row.step, row[name]]);

function heldOut(task) {
  const points = pointsOf(task ? `val/reward/${task}` : "val/reward");
  const key = task || "mean",
    last = steps.length ? steps[steps.length - 1] : 0;
  if (summary.val_before && key in summary.val_before) points.unshift([0, summary.val_before[key]]);
  if (summary.val_after && key in summary.val_after && !points.some(([x]) => x === last && x > 0))
    points.push([last, summary.val_after[key]]);
  return points;
}

function heldOutTasks() {
  const known = [...Object.keys(summary.val_before || {}), ...Object.keys(summary.val_after || {})].filter(
    (key) => key !== "mean" && !key.includes("/"),
  );
  const logged = names
    .filter((name) => name.startsWith("val/reward/"))
    .map((name) => name.slice("val/reward/".length));
  return [...new Set([...known, ...logged])].sort();
}

function charts() {
  const line = (name, shown) => ({
    name: shown || name,
    metric: name,
    points: pointsOf(name),
    sparse: name.startsWith("val/"),
    meaning: catalogued(name).meaning,
  });
  const family = (prefix) =>
    names
      .filter((name) => name.startsWith(prefix))
      .sort()
      .map((name) => line(name, name.slice(prefix.length)));
  const parts = names
    .filter((name) => /^reward\/[^/]+$/.test(name) && !["reward/mean", "reward/seconds"].includes(name))
    .sort();
  const rewards = [null, ...heldOutTasks()].map((task) => ({
    name: task || "mean",
    points: heldOut(task),
    sparse: true,
    meaning: "held-out samples",
  }));
  const wanted = [
    {
      title: "Reward",
      unit: "of rollouts by task",
      series: [line("reward/mean", "mean"), ...family("reward/task/")],
      from_zero: true,
    },
    { title: "Held-out reward", unit: "by task", series: rewards, from_zero: true },
    {
      title: "Reward parts",
      unit: "mean over rollouts it applies to",
      series: parts.map((name) => line(name, name.slice(7))),
      from_zero: true,
    },
    { title: "Held-out format", unit: "fraction", series: family("val/format/"), from_zero: true },
    {
      title: "Cross-entropy",
      unit: "nats per target token",
      series: [line("loss/sft", "training"), line("val/loss", "held-out")],
      from_zero: true,
    },
    { title: "Policy loss", unit: "nats", series: [line("loss/policy", "policy")] },
    {
      title: "Engine against learner",
      unit: "mismatch KL, nats per token",
      series: [line("loss/mismatch_kl", "mismatch KL")],
      log: true,
    },
    { title: "KL to the reference", unit: "nats per token", series: [line("loss/kl", "k3")], from_zero: true },
    { title: "Entropy", unit: "nats", series: [line("loss/entropy", "policy")], from_zero: true },
    {
      title: "Groups and completions",
      unit: "fraction",
      series: [
        line("group/zero_spread_frac", "groups without spread"),
        line("rollout/truncated_frac", "completions truncated"),
        line("loss/clip_frac", "tokens clipped"),
      ],
      from_zero: true,
    },
    {
      title: "Where the time of a step goes",
      unit: "seconds",
      series: ["step", "rollout", "reward", "learn", "push", "idle"].map((part) => line(`${part}/seconds`, part)),
      from_zero: true,
    },
    {
      title: "Throughput",
      unit: "tokens per second",
      series: [line("rollout/tokens_per_s", "sampled"), line("learner/tokens_per_s", "trained on")],
      from_zero: true,
    },
    {
      title: "Completion length",
      unit: "tokens",
      series: [line("rollout/completion_tokens", "mean")],
      from_zero: true,
    },
    {
      title: "Policy age",
      unit: "steps, oldest token",
      series: [line("rollout/policy_age_max", "oldest")],
      from_zero: true,
      if_any: true,
    },
    { title: "Gradient norm", unit: "before clipping", series: [line("learner/grad_norm", "norm")], from_zero: true },
    { title: "Learning rate", unit: "", series: [line("learner/lr", "lr")], from_zero: true },
  ];
  for (const chart of wanted) {
    const main = chart.series[0];
    if (!main || !data.others.length) continue;
    const compared = chart.title === "Reward" ? "reward/mean" : main.metric;
    for (const other of data.others) {
      const points = other.rows
        .filter((row) => typeof row[compared] === "number")
        .map((row) => [row.step, row[compared]]);
      chart.series.push({ name: `${other.title}: ${main.name}`, points, sparse: main.sparse, meaning: main.meaning });
    }
  }
  return wanted
    .map((chart) => ({ ...chart, series: chart.series.filter((s) => s.points.length) }))
    .filter(
      (chart) =>
        chart.series.length && !(chart.if_any && chart.series.every((s) => s.points.every(([, y]) => y === 0))),
    );
}

function card(label, value, note) {
  return node(
    "div",
    { class: "panel" },
    node("div", { class: "label" }, label),
    node("div", { class: "value" }, value),
    node("div", { class: "note" }, note || ""),
  );
}

function cards() {
  const last = data.rows[data.rows.length - 1] || {};
  const dropped = Object.entries(summary.groups_dropped || {})
    .filter(([, n]) => n)
    .map(([reason, n]) => `${n} dropped (${reason}), `)
    .join("");
  const made = [card("steps", String(summary.steps ?? last.step ?? 0), data.steps ? `of ${data.steps}` : "")];
  const before = (summary.val_before || {}).mean,
    after = (summary.val_after || {}).mean;
  if (after !== undefined)
    made.push(
      card(
        "held-out reward",
        show(after),
        before !== undefined
          ? `${show(before)} before, ${after >= before ? "+" : ""}${show(after - before)}`
          : "at the end",
      ),
    );
  if ("reward/mean" in last)
    made.push(
      card("reward, last step", show(last["reward/mean"]), `first step ${show(data.rows[0]["reward/mean"])}`),
    );
  if ("loss/sft" in last)
    made.push(card("training loss", show(last["loss/sft"]), `first step ${show(data.rows[0]["loss/sft"])}`));
  if (summary.wall_s !== undefined)
    made.push(
      card(
        "wall time",
        seconds(summary.wall_s),
        summary.steps ? `${seconds(summary.wall_s / summary.steps)} per step` : "",
      ),
    );
  if (summary.groups_started !== undefined)
    made.push(
      card(
        "groups trained",
        String(summary.groups_trained),
        `of ${summary.groups_started} started; ${dropped}${summary.groups_unfinished} unfinished`,
      ),
    );
  if (summary.samples_seen !== undefined)
    made.push(card("samples seen", String(summary.samples_seen), `${summary.decodes} decodes`));
  if ("loss/mismatch_kl" in last)
    made.push(
      card(
        "mismatch KL",
        show(Math.max(...pointsOf("loss/mismatch_kl").map(([, y]) => y))),
        "maximum over all steps, nats",
      ),
    );
  return made;
}

function beforeAfter() {
  const before = summary.val_before || {},
    after = summary.val_after || {};
  const keys = ["mean", ...heldOutTasks()].filter((key) => key in after);
  if (!keys.length) return null;
  const top = Math.max(1, ...keys.flatMap((key) => [before[key] ?? 0, after[key]]));
  const rows = keys.flatMap((key) => {
    const [from, to] = [((before[key] ?? 0) / top) * 100, (after[key] / top) * 100];
    const svg = node(
      "svg",
      { viewBox: "0 0 100 18", preserveAspectRatio: "none" },
      node("rect", { x: 0, y: 6, width: 100, height: 6, fill: "var(--wash)" }),
      node("rect", { x: 0, y: 6, width: Math.max(0, to), height: 6, fill: "var(--accent)" }),
      key in before
        ? node("rect", { x: Math.max(0, from) - 0.15, y: 1, width: 0.3, height: 16, fill: "var(--ink)" })
        : null,
    );
    const text = key in before ? `${show(before[key])} to ${show(after[key])}` : show(after[key]);
    return [node("span", {}, key === "mean" ? "all" : key), svg, node("span", {}, text)];
  });
  const title = Object.keys(before).length ? "Held-out reward: line before, bar after" : "Held-out reward";
  return node(
    "div",
    { class: "panel" },
    node("div", { class: "label quiet" }, title),
    node("div", { class: "ranges" }, ...rows),
  );
}

function faults() {
  const total = (name) => Math.max(0, ...pointsOf(name).map(([, y]) => y));
  const rows = [];
  const add = (what, count, detail) => rows.push([what, count, detail || ""]);
  for (const [reason, count] of Object.entries(summary.groups_dropped || {}))
    add(`groups dropped: ${reason}`, count, reason === "zero_spread" ? "equal rewards give no learning signal; not a failure" : "");
  for (const [reason, count] of Object.entries(summary.samples_dropped || {})) add(`samples left out: ${reason}`, count);
  for (const name of names.filter((one) => one.startsWith("fault/")).sort())
    add(name, total(name), catalogued(name).meaning);
  if (total("learner/nonfinite_steps")) add("steps dropped: loss or gradient not finite", total("learner/nonfinite_steps"));
  const judge = pointsOf("judge/failures").reduce((sum, [, y]) => sum + y, 0);
  if (judge) add("questions without an answer from the judge", judge);
  const bad = (summary.dropped_samples || []).map((one) => `${one.sample_id} (${one.reason}): ${one.message}`);
  const shown = rows.filter(([, count]) => count);
  if (!shown.length && !bad.length)
    return node("span", { class: "quiet" }, data.summary ? "Nothing failed." : "No failures so far.");
  const table = node(
    "table",
    {},
    ...shown.map(([what, count, detail]) =>
      node(
        "tr",
        {},
        node("td", {}, what),
        node("td", { class: "number" }, show(count)),
        node("td", { class: "quiet" }, detail),
      ),
    ),
  );
  const list = bad.length
    ? node("details", {}, node("summary", {}, `${bad.length} samples`), node("pre", {}, bad.join("\n")))
    : null;
  return node("div", {}, table, list);
}

function comparison() {
  if (!data.others.length) return null;
  const runs = [data, ...data.others];
  const last = (run, name) => {
    const found = run.rows.filter((row) => typeof row[name] === "number");
    return found.length ? found[found.length - 1][name] : null;
  };
  const cells = [
    ["steps", (run) => last(run, "step")],
    ["held-out reward", (run) => ((run.summary || {}).val_after || {}).mean ?? last(run, "val/reward")],
    ["reward, last step", (run) => last(run, "reward/mean")],
    ["seconds per step", (run) => last(run, "step/seconds")],
    ["sampled tokens/s", (run) => last(run, "rollout/tokens_per_s")],
  ];
  return node(
    "div",
    { class: "panel" },
    node("div", { class: "label quiet" }, "Runs side by side"),
    node(
      "table",
      {},
      node("tr", {}, node("th", {}, "run"), ...cells.map(([name]) => node("th", {}, name)), node("th", {}, "configuration differences")),
      ...runs.map((run) =>
        node(
          "tr",
          {},
          node("td", {}, run.title),
          ...cells.map(([, value]) => node("td", { class: "number" }, show(value(run)))),
          node("td", {}, run === data ? "" : node("pre", {}, run.differs.join("\n"))),
        ),
      ),
    ),
  );
}

function metricTable() {
  const rows = names.map((name) => {
    const values = pointsOf(name).map(([, y]) => y);
    const number = (value) => node("td", { class: "number" }, show(value));
    return node(
      "tr",
      {},
      node("td", {}, name),
      number(values[0]),
      number(Math.min(...values)),
      number(Math.max(...values)),
      number(values[values.length - 1]),
      node("td", {}, catalogued(name).unit),
      node("td", { class: "quiet" }, catalogued(name).meaning),
    );
  });
  const head = ["metric", "first", "min", "max", "last", "unit", "meaning"].map((title) => node("th", {}, title));
  return node("table", {}, node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...rows));
}

function main() {
  const element = (id) => document.getElementById(id);
  document.title = `${data.title} - vrl report`;
  element("title").textContent = data.title;
  const ended = summary.ended || (data.summary ? "finished" : "unfinished");
  const kinds = { rl: "reinforcement learning", sft: "cold start" };
  element("status").textContent = [kinds[data.kind], ended].filter(Boolean).join(", ");
  element("status").classList.add(ended === "finished" ? "good" : "bad");
  element("cards").append(...cards());
  const ranges = beforeAfter();
  if (ranges) element("heldout").append(ranges);
  const compared = comparison();
  if (compared) element("heldout").append(compared);
  element("faultlist").append(faults());
  timeline(data.timeline, data.busy);
  const drawn = charts(),
    slider = element("smoothing");
  const draw = () =>
    element("charts").replaceChildren(
      ...(drawn.length
        ? drawn.map((chart) => drawChart(chart, Number(slider.value)))
        : [node("p", { class: "empty" }, "No steps logged yet.")]),
    );
  slider.value = steps.length > 40 ? 0.7 : 0;
  slider.addEventListener("input", draw);
  draw();
  browse(data.groups, data.omitted_groups);
  element("table").append(metricTable());
  element("summary").textContent = data.summary
    ? JSON.stringify(data.summary, null, 1)
    : "The run has not finished, so there is no summary.json yet.";
  element("config").textContent = data.config;
}

main();
