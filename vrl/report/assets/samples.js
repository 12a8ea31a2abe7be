"use strict";
// The sample browser: frames that the model saw, question and truth, completions side by side.

const SPECIAL = /(<\|[a-z_]+\|>)/;

function withTokens(text) {
  return text
    .split(SPECIAL)
    .filter(Boolean)
    .map((piece) => (SPECIAL.test(piece) ? node("span", { class: "token" }, piece) : document.createTextNode(piece)));
}

function frameStrip(group) {
  const inside = (time) => time !== null && group.spans.some(([start, end]) => start <= time && time < end);
  const strip = node("div", { class: "strip" });
  group.frames.forEach((source, i) => {
    const time = group.timestamps_s[i] ?? null;
    const label = time === null ? "image" : `${time.toFixed(2)} s`;
    const image = node("img", { src: source, alt: `frame at ${label}`, decoding: "async" });
    image.addEventListener("load", () => {
      if (image.naturalHeight < 92) image.classList.add("small");
      image.parentElement.style.flexBasis = `${(92 * image.naturalWidth) / image.naturalHeight}px`;
    });
    image.addEventListener("click", () => {
      const zoom = document.getElementById("zoom");
      zoom.querySelector("img").src = source;
      zoom.querySelector("p").textContent = `${label}, frame ${i + 1} of ${group.frames.length}`;
      zoom.showModal();
    });
    const citing = group.rollouts.flatMap((rollout, k) => (rollout.cited.includes(i + 1) ? [`#${k + 1}`] : []));
    const marks = [inside(time) ? "inside" : "", citing.length ? "cited" : ""].filter(Boolean).join(" ");
    const caption = node("figcaption", {}, label);
    if (citing.length) caption.append(node("span", { class: "marks", title: "cited by" }, `cited ${citing.join(" ")}`));
    strip.append(node("figure", marks ? { class: marks } : {}, image, caption));
  });
  return strip;
}

function timeBars(group) {
  const guessed = group.rollouts.some((rollout) => rollout.spans.length || rollout.cited.length);
  const guesses = guessed ? group.rollouts.map((rollout, i) => [`#${i + 1}`, rollout.spans, "guess"]) : [];
  const lanes = [["true", group.spans, "true"], ...guesses];
  const width = 1000,
    left = 34,
    right = 18,
    row = 13,
    duration = group.duration_s;
  const px = (time) => left + (Math.max(0, Math.min(time, duration)) / duration) * (width - left - right);
  const height = lanes.length * row + 18;
  const svg = node("svg", {
    class: "times",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": "predicted against true intervals",
  });
  lanes.forEach(([name, spans, kind], i) => {
    svg.append(node("text", { x: 0, y: i * row + 10 }, name));
    svg.append(
      node("rect", { class: "lane", x: left, y: i * row + 2, width: width - left - right, height: row - 4, rx: 3 }),
    );
    for (const [start, end] of spans) {
      const backwards = end <= start;
      const [low, high] = backwards ? [end, start] : [start, end];
      const bar = {
        class: backwards ? "wrong" : kind,
        x: px(low),
        y: i * row + 2,
        width: Math.max(2, px(high) - px(low)),
        height: row - 4,
        rx: 3,
      };
      svg.append(
        node(
          "rect",
          bar,
          node("title", {}, `${start.toFixed(2)} to ${end.toFixed(2)} s${backwards ? " (reversed)" : ""}`),
        ),
      );
    }
  });
  group.rollouts.forEach((rollout, k) => {
    for (const number of rollout.cited) {
      const time = group.timestamps_s[number - 1];
      if (time === undefined || time === null) continue;
      const dot = node("circle", { class: "cite", cx: px(time), cy: (k + 1) * row + 6.5, r: 4 });
      dot.append(node("title", {}, `frame ${number} at ${time.toFixed(2)} s, cited`));
      svg.append(dot);
    }
  });
  for (const time of ticks(0, duration, 8)) {
    svg.append(node("text", { x: px(time), y: height - 3, "text-anchor": "middle" }, `${show(time)} s`));
  }
  return svg;
}

function rolloutCard(rollout, index, range) {
  const share = range[1] > range[0] ? (rollout.reward - range[0]) / (range[1] - range[0]) : 1;
  const sign = rollout.advantage > 0 ? "up" : rollout.advantage < 0 ? "down" : "quiet";
  const [low, high] = rollout.versions;
  const parts = Object.entries(rollout.breakdown).map(([name, value]) =>
    node("span", value === null ? { class: "alert" } : {}, `${name} ${show(value)}`),
  );
  return node(
    "div",
    { class: "rollout" },
    node(
      "div",
      { class: "top" },
      node("span", { class: "quiet" }, `#${index + 1}`),
      node("span", { class: "quiet" }, "reward ", node("b", {}, show(rollout.reward))),
      node(
        "span",
        { class: "quiet" },
        "advantage ",
        node("b", { class: sign }, `${rollout.advantage > 0 ? "+" : ""}${show(rollout.advantage)}`),
      ),
    ),
    node("div", { class: "meter" }, node("div", { style: `width:${(100 * share).toFixed(0)}%` })),
    node("div", { class: "says" }, ...withTokens(rollout.completion)),
    node(
      "div",
      { class: "chips" },
      ...parts,
      node("span", {}, `${rollout.num_tokens} token${rollout.num_tokens === 1 ? "" : "s"}`),
      rollout.readable ? null : node("span", { class: "alert" }, "not parseable"),
      rollout.finish_reason === "length" ? node("span", { class: "alert" }, "truncated") : null,
      node("span", { title: "policy version" }, low === high ? `v${low}` : `v${low} to v${high}`),
    ),
  );
}

function truth(group) {
  if (group.options.length) {
    return node(
      "ul",
      { class: "options" },
      ...group.options.map((option, i) => {
        const letter = String.fromCharCode(65 + i);
        return node("li", letter === group.answer.trim() ? { class: "true" } : {}, `${letter}. ${option}`);
      }),
    );
  }
  const spans = group.spans.map(([start, end]) => `${start.toFixed(2)} to ${end.toFixed(2)} s`).join(", ");
  return node(
    "div",
    {},
    "truth ",
    node("span", { class: "truth" }, group.answer || spans || group.key_elements.join(", ") || "not given"),
  );
}

function groupCard(group, range) {
  const bars = group.duration_s > 0 && (group.spans.length || group.rollouts.some((r) => r.spans.length || r.cited.length));
  return node(
    "article",
    { class: "panel group" },
    node(
      "div",
      { class: "head" },
      node("span", { class: "pill" }, group.task),
      node("span", {}, `step ${group.step}`),
      node("span", {}, `group ${group.group_id}`),
      node("span", {}, group.sample_id),
      group.duration_s > 0 ? node("span", {}, `${show(group.duration_s)} s clip`) : null,
      node("span", {}, "mean reward ", node("b", {}, show(group.mean))),
    ),
    node("div", { class: "question" }, group.question),
    truth(group),
    group.frames.length ? frameStrip(group) : null,
    bars ? timeBars(group) : null,
    node("div", { class: "rollouts" }, ...group.rollouts.map((rollout, i) => rolloutCard(rollout, i, range))),
    node(
      "details",
      {},
      node("summary", {}, `Prompt, ${group.num_prompt_tokens} tokens`),
      node("pre", {}, ...withTokens(group.prompt)),
    ),
  );
}

function browse(groups, omitted) {
  const element = (id) => document.getElementById(id);
  if (!groups.length) {
    element("samples").replaceChildren(
      node("div", { class: "bar" }, node("h2", {}, "Samples")),
      node(
        "p",
        { class: "empty" },
        "No sample files in this run (log.samples_every sets how often they are written).",
      ),
    );
    return;
  }
  const rewards = groups.flatMap((group) => group.rollouts.map((rollout) => rollout.reward));
  const range = [Math.min(0, ...rewards), Math.max(...rewards)];
  const spread = (group) =>
    Math.max(...group.rollouts.map((r) => r.reward)) - Math.min(...group.rollouts.map((r) => r.reward));
  const orders = {
    newest: (a, b) => b.step - a.step,
    oldest: (a, b) => a.step - b.step,
    best: (a, b) => b.mean - a.mean,
    worst: (a, b) => a.mean - b.mean,
    spread: (a, b) => spread(b) - spread(a),
    longest: (a, b) => Math.max(...b.rollouts.map((r) => r.num_tokens)) - Math.max(...a.rollouts.map((r) => r.num_tokens)),
  };
  const kinds = {
    "": () => true,
    unreadable: (group) => group.rollouts.some((r) => !r.readable),
    cut: (group) => group.rollouts.some((r) => r.finish_reason === "length"),
    missing: (group) => group.rollouts.some((r) => Object.values(r.breakdown).includes(null)),
    flat: (group) => spread(group) < 1e-9,
  };
  const fill = (select, name, values) =>
    select.append(node("option", { value: "" }, name), ...values.map((v) => node("option", { value: v }, String(v))));
  fill(element("by-task"), "all", [...new Set(groups.map((group) => group.task))].sort());
  fill(
    element("by-step"),
    "all",
    [...new Set(groups.map((group) => group.step))].sort((a, b) => a - b),
  );
  let shown = 8;
  const refresh = () => {
    const [task, step, words] = [
      element("by-task").value,
      element("by-step").value,
      element("find").value.toLowerCase(),
    ];
    const found = groups.filter(
      (group) =>
        (!task || group.task === task) &&
        kinds[element("only").value](group) &&
        (!step || String(group.step) === step) &&
        (!words ||
          [group.question, ...group.rollouts.map((r) => r.completion)].some((text) =>
            text.toLowerCase().includes(words),
          )),
    );
    found.sort(orders[element("sort").value]);
    element("groups").replaceChildren(...found.slice(0, shown).map((group) => groupCard(group, range)));
    const left = omitted ? `; ${omitted} more are in the sample files, omitted here to keep the page small` : "";
    element("count").textContent = `${Math.min(shown, found.length)} of ${found.length} groups${left}`;
    element("more").hidden = found.length <= shown;
  };
  for (const id of ["by-task", "by-step", "sort", "only", "find"])
    element(id).addEventListener("input", () => {
      shown = 8;
      refresh();
    });
  element("more").addEventListener("click", () => {
    shown += 8;
    refresh();
  });
  element("zoom").addEventListener("click", () => element("zoom").close());
  refresh();
}
