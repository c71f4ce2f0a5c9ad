"use strict";
// The explorers of a report. Each reads its own JSON and touches nothing outside its own element.
(() => {
  const POSITIONS = 1000; // of a slider, from its low to its high value
  const GREY = "#bfbfbf"; // where undefined
  const REGIONS = { fitted: "fitted", held_out: "held out", excluded_early: "early, excluded" };
  const SYMBOLS = { alpha: "α", beta: "β", gamma: "γ", num_tasks_c: "D_c", eta: "η" };
  const FONT = "12px system-ui, sans-serif";

  // ---- the account

  // log π_k = −γ N^(1−α) L_k − ln2 K_k^β + const, times the ceiling; row by row of the diagram
  function firstWeights(data, params, plateau) {
    const evidence = data.steps.map((step) => params.gamma * step ** (1 - params.alpha));
    return data.num_tasks.map((tasks, row) => {
      const loss = data.loss[row];
      const prior = data.complexity[row].map((bits) => Math.LN2 * bits ** params.beta);
      const most = plateau ? 1 / (1 + (tasks / params.num_tasks_c) ** params.eta) : 1;
      return evidence.map((nats) => {
        let odds = 0; // of all strategies against the first
        for (let k = 0; k < loss.length; k++) {
          odds += Math.exp(nats * (loss[0] - loss[k]) + prior[0] - prior[k]);
        }
        return most / odds;
      });
    });
  }

  const difference = (predicted, observed) =>
    predicted.map((values, row) => values.map((value, column) => value - observed[row][column]));

  // Where difference colours end: what the first parameters need, in tenths
  function colourSpan(apart) {
    const sizes = apart.flat().map(Math.abs).filter((size) => !isNaN(size));
    return Math.max(0.1, Math.ceil(10 * Math.max(0, ...sizes) - 1e-9) / 10);
  }

  // ---- drawing

  // Cell edges halfway, in the logarithm, between neighbouring centres
  function logEdges(centres) {
    const log = centres.map(Math.log);
    if (log.length === 1) return [log[0] - 0.35, log[0] + 0.35];
    const middle = log.slice(1).map((value, i) => (value + log[i]) / 2);
    const last = log.length - 1;
    return [2 * log[0] - middle[0], ...middle, 2 * log[last] - middle[last - 1]];
  }

  // 256 colours from evenly spaced hexadecimal stops
  function shades(stops) {
    const rgb = stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
    return Array.from({ length: 256 }, (_, i) => {
      const at = (i / 255) * (rgb.length - 1);
      const low = Math.min(Math.floor(at), rgb.length - 2);
      const mixed = rgb[low].map((value, c) => value + (at - low) * (rgb[low + 1][c] - value));
      return `rgb(${mixed.map(Math.round).join(",")})`;
    });
  }

  const shade = (colours, share) =>
    isNaN(share) ? GREY : colours[Math.round(255 * Math.min(1, Math.max(0, share)))];

  // A cleared canvas at the screen's own resolution, and the box of its axes
  function blank(canvas, height) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const [wide, high] = [width, height(width)].map((size) => Math.round(size * ratio));
    if (canvas.width !== wide) canvas.width = wide; // setting it is slow
    if (canvas.height !== high) canvas.height = high;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    Object.assign(context, { font: FONT, fillStyle: "#fff", strokeStyle: "#222", lineWidth: 1 });
    context.fillRect(0, 0, width, high / ratio);
    context.fillStyle = "#222";
    const box = { left: 56, top: 28, right: width - 72, bottom: high / ratio - 44 };
    return { context, ratio, width, ...box };
  }

  function text(context, words, x, y, align = "center", turned = false, room = undefined) {
    context.save();
    context.translate(x, y);
    if (turned) context.rotate(-Math.PI / 2);
    context.textAlign = align;
    context.textBaseline = "middle";
    context.fillText(words, 0, 0, room);
    context.restore();
  }

  // Powers of ten, with 2 and 5 between them over few decades; failing those, the ends
  function stepTicks(steps) {
    const [first, last] = [steps[0], steps.at(-1)];
    const between = last / first < 3000 ? [1, 2, 5] : [1];
    const all = Array.from({ length: 19 }, (_, i) => between.map((digit) => digit * 10 ** i)).flat();
    const inside = all.filter((step) => step >= first && step <= last);
    return inside.length > 1 ? inside : [...new Set([first, last])];
  }

  function stepAxis(paper, steps, across) {
    const { context, bottom, left, right } = paper;
    let free = -Infinity;
    for (const step of stepTicks(steps)) {
      const words = step >= 1e6 ? step.toExponential(0).replace("e+", "e") : count(step);
      const half = context.measureText(words).width / 2;
      context.fillRect(across(Math.log(step)) - 0.5, bottom, 1, 4);
      if (across(Math.log(step)) - half < free) continue;
      text(context, words, across(Math.log(step)), bottom + 13);
      free = across(Math.log(step)) + half + 6;
    }
    text(context, "training step N", (left + right) / 2, bottom + 32);
  }

  function diversityAxis(paper, data, edges, up) {
    const { context, left, top, bottom } = paper;
    let free = Infinity;
    data.num_tasks.forEach((tasks) => {
      const y = up(Math.log(tasks));
      context.fillRect(left - 4, y - 0.5, 4, 1);
      if (y > free) return;
      text(context, count(tasks), left - 7, y, "right");
      free = y - 13;
    });
    text(context, "task diversity D", 9, (top + bottom) / 2, "center", true);
  }

  function colourBar(paper, colours, labels, words) {
    const { context, right, top, bottom, width } = paper;
    const high = (bottom - top) / 256;
    colours.forEach((colour, i) => {
      context.fillStyle = colour;
      context.fillRect(right + 10, bottom - (i + 1) * high, 14, high + 0.5);
    });
    context.fillStyle = "#222";
    labels.forEach((label, i) => {
      const y = bottom - (i / (labels.length - 1)) * (bottom - top);
      text(context, label, right + 28, Math.min(bottom - 5, Math.max(top + 5, y)), "left");
    });
    text(context, words, width - 7, (top + bottom) / 2, "center", true);
  }

  // Early cells are hatched, the fitted ones outlined, as in the figures
  function markRegions(paper, data, rectangle) {
    const { context, left, right, top, bottom } = paper;
    context.save();
    context.beginPath();
    const fitted = [];
    data.region.forEach((names, row) =>
      names.forEach((name, column) => {
        if (name === "excluded_early") context.rect(...rectangle(row, column));
        if (name === "fitted") fitted.push(rectangle(row, column));
      }),
    );
    context.clip();
    context.beginPath();
    for (let x = left - (bottom - top); x < right; x += 7) {
      context.moveTo(x, bottom);
      context.lineTo(x + bottom - top, top);
    }
    context.strokeStyle = "#595959";
    context.stroke();
    context.restore();
    if (!fitted.length) return;
    const low = [0, 1].map((axis) => Math.min(...fitted.map((cell) => cell[axis])));
    const far = [0, 1].map((axis) => Math.max(...fitted.map((cell) => cell[axis] + cell[axis + 2])));
    context.lineWidth = 1.5;
    context.strokeStyle = "#000";
    context.strokeRect(low[0], low[1], far[0] - low[0], far[1] - low[1]);
  }

  function outline(context, cell) {
    for (const [colour, width] of [["#fff", 4], ["#000", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(...cell);
    }
  }

  // A scale from [low, high] to [from, to]
  const scale = (low, high, from, to) => (value) =>
    from + ((value - low) / (high - low)) * (to - from);

  function drawMap(paper, data, view) {
    const { context, ratio, left, right, top, bottom } = paper;
    const snap = (value) => Math.round(value * ratio) / ratio;
    const x = view.across.map((edge) =>
      snap(scale(view.across[0], view.across.at(-1), left, right)(edge)),
    );
    const y = view.up.map((edge) => snap(scale(view.up[0], view.up.at(-1), bottom, top)(edge)));
    const rectangle = (row, column) => [
      x[column], y[row + 1], x[column + 1] - x[column], y[row] - y[row + 1],
    ];
    view.values.forEach((values, row) =>
      values.forEach((value, column) => {
        context.fillStyle = shade(view.colours, view.share(value));
        context.fillRect(...rectangle(row, column));
      }),
    );
    markRegions(paper, data, rectangle);
    context.fillStyle = "#222";
    text(context, view.title, left, 13, "left", false, paper.width - left - 4);
    stepAxis(paper, data.steps, scale(view.across[0], view.across.at(-1), left, right));
    diversityAxis(paper, data, view.up, scale(view.up[0], view.up.at(-1), bottom, top));
    colourBar(paper, view.colours, view.labels, view.words);
    const chosen = (y[view.row] + y[view.row + 1]) / 2; // an arrowhead at the row of the curve
    context.beginPath();
    context.moveTo(right + 1, chosen);
    context.lineTo(right + 8, chosen - 5);
    context.lineTo(right + 8, chosen + 5);
    context.fill();
    if (view.cursor) outline(context, rectangle(...view.cursor));
    return { x, y, width: paper.width };
  }

  const hue = (index, number) => `hsl(${(360 * index) / number + 15} 60% 42%)`;

  // Filled where fitted, open where held out, a cross where early
  function drawPoint(context, x, y, region) {
    context.beginPath();
    if (region === "excluded_early") {
      context.moveTo(x - 3, y - 3);
      context.lineTo(x + 3, y + 3);
      context.moveTo(x - 3, y + 3);
      context.lineTo(x + 3, y - 3);
    } else context.arc(x, y, 3, 0, 2 * Math.PI);
    if (region === "fitted") context.fill();
    context.stroke();
  }

  function line(context, points) {
    context.beginPath();
    points.forEach(([x, y], i) => {
      const starts = !i || isNaN(points[i - 1][1]);
      if (!isNaN(y)) context[starts ? "moveTo" : "lineTo"](x, y);
    });
    context.stroke();
  }

  function drawCurve(paper, data, view) {
    const { context, left, right, top, bottom } = paper;
    const logX = scale(view.across[0], view.across.at(-1), left, right);
    const y = scale(0, 1, bottom, top);
    const points = (values) => values.map((value, i) => [logX(Math.log(data.steps[i])), y(value)]);
    context.strokeStyle = "#999";
    context.strokeRect(left, top, right - left, bottom - top);
    for (const tick of [0, 0.5, 1]) {
      text(context, String(tick), left - 7, y(tick), "right");
      context.fillRect(left - 4, y(tick) - 0.5, 4, 1);
    }
    text(context, view.words, 9, (top + bottom) / 2, "center", true);
    text(context, `D = ${count(data.num_tasks[view.row])}`, left, 13, "left");
    stepAxis(paper, data.steps, logX);
    view.runs.forEach((run, index) => {
      context.fillStyle = context.strokeStyle = hue(index, view.runs.length);
      context.lineWidth = 1.2;
      points(run.observed).forEach(([x, at], column) => {
        if (!isNaN(at)) drawPoint(context, x, at, data.region[view.row][column]);
      });
    });
    context.strokeStyle = "#000";
    context.lineWidth = 2.5;
    line(context, points(view.predicted));
  }

  // ---- numbers as words

  const count = (value) => value.toLocaleString("en");
  const shown = (value) => (isNaN(value) ? "–" : value.toFixed(4));
  const signed = (value) => (value > 0 ? "+" : "") + shown(value).replace("-", "−");
  const short = (value) => String(Number(value.toPrecision(4))).replace("-", "−");

  // ---- one explorer

  function start(root) {
    const find = (selector) => root.querySelector(selector);
    const data = JSON.parse(find("script").textContent, (_, value) => value ?? NaN);
    const first = data.strategies[0].replaceAll("_", " ");
    const observed = data.observed;
    const colours = { weight: shades(data.colours.weight), difference: shades(data.colours.difference) };
    const [map, curve] = [find(".explorer-map"), find(".explorer-curve")];
    const [across, up] = [logEdges(data.steps), logEdges(data.num_tasks)];
    const fitted = Object.fromEntries(
      Object.entries(data.parameters).map(([name, one]) => [name, one.value]),
    );
    const state = {
      params: { ...fitted },
      plateau: data.plateau,
      mode: "predicted",
      cursor: null,
      row: Math.floor((data.num_tasks.length - 1) / 2),
      edges: null, // of the cells drawn last, in pixels
    };
    const span = colourSpan(difference(firstWeights(data, fitted, data.plateau), observed));

    // Sliders hold a position; a parameter keeps its exact value until its slider is moved
    const sliders = [...root.querySelectorAll("input[type=range]")];
    const plateau = find("input[type=checkbox]");

    function position(name) {
      const { low, high, logarithmic } = data.parameters[name];
      const [from, to, at] = [low, high, state.params[name]].map(logarithmic ? Math.log : Number);
      return Math.round((POSITIONS * (at - from)) / (to - from));
    }

    function valueAt(name, place) {
      const { low, high, logarithmic } = data.parameters[name];
      const share = place / POSITIONS;
      return logarithmic ? low * (high / low) ** share : low + (high - low) * share;
    }

    function label(slider) {
      const words = short(state.params[slider.name]);
      slider.setAttribute("aria-valuetext", words);
      slider.closest("label").querySelector("output").textContent = words;
    }

    function showParameters() {
      for (const slider of sliders) {
        slider.value = position(slider.name);
        label(slider);
      }
      plateau.checked = state.plateau;
      find(".explorer-plateau").disabled = !state.plateau;
    }

    function title() {
      if (state.mode === "observed") return "observed: best mixtures";
      const names = ["alpha", "beta", "gamma", ...(state.plateau ? ["num_tasks_c", "eta"] : [])];
      const values = names.map((name) => `${SYMBOLS[name]} ${short(state.params[name])}`);
      return `${state.mode === "predicted" ? "predicted" : "difference"}: ${values.join(", ")}`;
    }

    function colouring() {
      if (state.mode !== "difference") {
        const words = `weight of ${first}`;
        return { colours: colours.weight, labels: ["0", "0.5", "1"], words, share: (value) => value };
      }
      const labels = [`−${span}`, "0", `+${span}`];
      const share = (value) => (value / span + 1) / 2;
      return { colours: colours.difference, labels, words: "predicted − observed", share };
    }

    function showCell(predicted) {
      if (!state.cursor) return;
      const [row, column] = state.cursor;
      const [seen, own] = [observed[row][column], predicted[row][column]];
      const words = {
        num_tasks: [data.num_tasks[row], count],
        step: [data.steps[column], count],
        observed: [seen, shown],
        predicted: [own, shown],
        difference: [own - seen, signed],
        region: [REGIONS[data.region[row][column]] ?? (isNaN(seen) ? "not logged" : "between steps"), String],
      };
      for (const [name, [value, format]] of Object.entries(words)) {
        const cell = find(`[data-field=${name}]`);
        cell.value = value;
        cell.textContent = format(value);
      }
    }

    function redraw() {
      const predicted = firstWeights(data, state.params, state.plateau);
      const apart = () => difference(predicted, observed);
      const choices = { observed: () => observed, predicted: () => predicted, difference: apart };
      const values = choices[state.mode]();
      const paper = blank(map, (width) => Math.min(420, Math.max(260, 0.62 * width)));
      const common = { across, up, row: state.row, cursor: state.cursor, title: title() };
      state.edges = drawMap(paper, data, { ...common, values, ...colouring() });
      const [runs, words] = [chosenRuns(), `weight of ${first}`];
      const curves = { ...common, runs, words, predicted: predicted[state.row] };
      drawCurve(blank(curve, () => 240), data, curves);
      showCell(predicted);
    }

    const chosenRuns = () => data.runs.filter((run) => run.row === state.row);

    // Names of runs come from files: text, never markup
    function showRuns() {
      const runs = chosenRuns();
      const entries = runs.map((run, index) => [run.name, hue(index, runs.length), "●"]);
      entries.push(["predicted", "#000", "━"]);
      const items = entries.map(([name, colour, mark]) => {
        const [item, sign] = [document.createElement("li"), document.createElement("span")];
        sign.style.color = colour;
        sign.textContent = mark;
        item.append(sign, ` ${name}`);
        return item;
      });
      find(".explorer-runs").replaceChildren(...items);
    }

    function choose(row) {
      state.row = row;
      showRuns();
      redraw();
    }

    // ---- what the reader does

    function cellAt(event) {
      const seen = map.getBoundingClientRect();
      const factor = state.edges.width / seen.width;
      const [x, y] = [(event.clientX - seen.left) * factor, (event.clientY - seen.top) * factor];
      const column = state.edges.x.findIndex((edge, i) => edge <= x && x < state.edges.x[i + 1]);
      const row = state.edges.y.findIndex((edge, i) => edge > y && y >= state.edges.y[i + 1]);
      return row < 0 || column < 0 ? null : [row, column];
    }

    function point(event) {
      const cell = cellAt(event);
      if (!cell || String(cell) === String(state.cursor)) return;
      state.cursor = cell;
      redraw();
    }

    function walk(event) {
      const [row, column] = state.cursor ?? [state.row, 0];
      const moves = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const move = moves[event.key];
      if (!move && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      if (!move) return choose(row);
      const inside = (place, length) => Math.min(length - 1, Math.max(0, place));
      const to = [row + move[0], column + move[1]];
      const moved = [inside(to[0], data.num_tasks.length), inside(to[1], data.steps.length)];
      state.cursor = state.cursor ? moved : [row, column];
      redraw();
    }

    for (const slider of sliders) {
      slider.addEventListener("input", () => {
        state.params[slider.name] = valueAt(slider.name, Number(slider.value));
        label(slider);
        redraw();
      });
    }
    plateau.addEventListener("change", () => {
      state.plateau = plateau.checked;
      showParameters();
      redraw();
    });
    for (const mode of root.querySelectorAll("input[type=radio]")) {
      mode.addEventListener("change", () => {
        state.mode = mode.value;
        redraw();
      });
    }
    find("button").addEventListener("click", () => {
      Object.assign(state, { params: { ...fitted }, plateau: data.plateau });
      showParameters();
      redraw();
    });
    map.addEventListener("pointermove", point);
    map.addEventListener("pointerdown", point);
    map.addEventListener("click", (event) => {
      const cell = cellAt(event);
      if (cell) choose(cell[0]);
    });
    map.addEventListener("keydown", walk);

    find(".explorer-body").hidden = false;
    find(`input[value=${state.mode}]`).checked = true; // a browser may remember another
    showParameters();
    choose(state.row);
    const refit = () => map.clientWidth === state.edges.width || redraw();
    new ResizeObserver(() => requestAnimationFrame(refit)).observe(root);
  }

  document.querySelectorAll(".explorer").forEach(start);
})();
