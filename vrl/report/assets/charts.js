"use strict";
// Small building blocks and the line chart. All text becomes text nodes, so nothing a model wrote can become markup.

function node(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "text", "circle", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function show(value) {
  if (value === null || value === undefined) return "missing";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  if (size >= 1e5) return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
  if (size > 0 && size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

function seconds(value) {
  if (value < 90) return `${show(value)} s`;
  const minutes = value / 60;
  return minutes < 90 ? `${show(Number(minutes.toFixed(1)))} min` : `${show(Number((minutes / 60).toFixed(1)))} h`;
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step)
    found.push(Number(at.toPrecision(12)));
  return found;
}

function smooth(points, weight) {
  let mean = 0,
    total = 0;
  return points.map(([x, y]) => {
    mean = weight * mean + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return [x, mean / total];
  });
}

// chart: {title, unit, series: [{name, points: [[step, value]], sparse}], log, from_zero}
function drawChart(chart, smoothing) {
  const width = 400,
    height = 215,
    left = 46,
    right = 8,
    top = 10,
    bottom = 24;
  const log = chart.log && chart.series.every((s) => s.points.every(([, y]) => y > 0));
  const scale = log ? Math.log10 : (y) => y;
  const all = chart.series.flatMap((s) => s.points);
  let xs = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  if (xs[0] === xs[1]) xs = [xs[0] - 1, xs[1] + 1];
  let ys = [Math.min(...all.map(([, y]) => scale(y))), Math.max(...all.map(([, y]) => scale(y)))];
  if (chart.from_zero && !log) ys = [Math.min(0, ys[0]), Math.max(0, ys[1])];
  const room = (ys[1] - ys[0]) * 0.05 || Math.abs(ys[1]) * 0.1 || 0.5;
  ys = [chart.from_zero && !log && ys[0] === 0 ? 0 : ys[0] - room, ys[1] + room];
  const px = (x) => left + ((x - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const py = (y) => height - bottom - ((scale(y) - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  const colour = (i) => `var(--c${i % 8})`;

  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": chart.title });
  for (const y of ticks(ys[0], ys[1], log ? 3 : 5)) {
    if (log && !Number.isInteger(y) && ys[1] - ys[0] > 1) continue;
    const at = height - bottom - ((y - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
    svg.append(node("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    svg.append(node("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, show(log ? 10 ** y : y)));
  }
  for (const x of ticks(xs[0], xs[1], 5).filter(Number.isInteger)) {
    svg.append(node("text", { x: px(x), y: height - 7, "text-anchor": "middle" }, String(x)));
  }
  chart.series.forEach((series, i) => {
    const path = (points) =>
      points.map(([x, y], k) => `${k ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    const soft = smoothing > 0 && !series.sparse && series.points.length > 4;
    const line = { fill: "none", stroke: colour(i), "stroke-linejoin": "round" };
    if (soft) svg.append(node("path", { ...line, d: path(series.points), opacity: 0.22 }));
    svg.append(
      node("path", {
        ...line,
        d: path(soft ? smooth(series.points, smoothing) : series.points),
        "stroke-width": 1.8,
      }),
    );
    if (series.sparse || series.points.length < 12) {
      for (const [x, y] of series.points)
        svg.append(node("circle", { cx: px(x), cy: py(y), r: 2.8, fill: colour(i) }));
    }
  });

  const cursor = node("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  svg.append(cursor);
  const values = chart.series.map(() => node("span"));
  const where = node("span", { class: "quiet" });
  const legend = node(
    "div",
    { class: "legend" },
    ...chart.series.map((series, i) =>
      node(
        "span",
        { title: series.meaning },
        node("i", { style: `background:${colour(i)}` }),
        `${series.name} `,
        values[i],
      ),
    ),
    where,
  );
  const read = (step) => {
    chart.series.forEach((series, i) => {
      const upto = series.points.filter(([x]) => step === null || x <= step);
      values[i].textContent = upto.length ? show(upto[upto.length - 1][1]) : "";
    });
    where.textContent = step === null ? "" : `at step ${step}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x =
      xs[0] + ((((event.clientX - box.left) / box.width) * width - left) / (width - left - right)) * (xs[1] - xs[0]);
    const nearest = all.reduce((best, [at]) => (Math.abs(at - x) < Math.abs(best - x) ? at : best), all[0][0]);
    cursor.setAttribute("x1", px(nearest));
    cursor.setAttribute("x2", px(nearest));
    cursor.setAttribute("visibility", "visible");
    read(nearest);
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    read(null);
  });
  read(null);
  return node(
    "div",
    { class: "panel chart" },
    node("h3", {}, chart.title, " ", node("span", {}, chart.unit)),
    svg,
    legend,
  );
}
