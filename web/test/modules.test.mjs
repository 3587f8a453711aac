// Tests of the modules that need no browser. Vite loads the TypeScript; there is no other tool.
import assert from "node:assert/strict";
import { test } from "node:test";
import { runnerImport } from "vite";

const load = async (path) => (await runnerImport(path, { configFile: false })).module;
const format = await load("./src/format.ts");
const { parseExact } = await load("./src/api/exact-json.ts");
const { parseRoute } = await load("./src/route.ts");
const pick = await load("./src/charts/pick.ts");
const { timeLabels } = await load("./src/charts/axis.ts");
const { appended, plotOf } = await load("./src/live/history.ts");
const { busiestOf } = await load("./src/live/operators.ts");
const { changedCells } = await load("./src/live/view-rows.ts");
const { cellText } = await load("./src/views/cell-text.ts");
const { originalOf } = await load("./src/dead-letters/original.ts");
const { columnDecimals, decimalsOf, numberText } = await load("./src/decimals.ts");
const past = await load("./src/views/past.ts");
const words = await load("./src/verification/words.ts");
const { placeAsTree, placeInFlow, withoutPassing } = await load("./src/graph/layout.ts");

const column = (name, type) => ({ name, type });

/** Checks that `f` maps each left side to its right side. */
function check(f, cases) {
  for (const [input, expected] of cases) assert.equal(f(input), expected, `of ${input}`);
}

test("figures are short and keep three digits", () => {
  check(format.short, [
    [0, "0"],
    [0.4217, "0.422"],
    [12.34, "12.3"],
    [999.6, "1k"],
    [1234, "1.23k"],
    [336_776, "337k"],
    [-1500, "-1.5k"],
    [null, "–"],
    [NaN, "–"],
  ]);
  check(format.rate, [
    [1234, "1.23k/s"],
    [0, "0/s"],
    [undefined, "–"],
  ]);
  check(format.milliseconds, [
    [3.4, "3.4 ms"],
    [1500, "1.5 s"],
  ]);
  check(format.percent, [
    [0, "0%"],
    [0.00001, "<0.01%"],
    [0.5, "50%"],
  ]);
  check(format.bytes, [
    [512, "512 B"],
    [1536, "1.5 KiB"],
  ]);
});

test("spans of time have one or two units", () => {
  check(format.seconds, [
    [0, "0 s"],
    [0.0123, "12.3 ms"],
    [12.3, "12.3 s"],
    [245, "4 min 5 s"],
    [11_520, "3 h 12 min"],
    [86_400, "1 d"],
    [-90, "−1 min 30 s"],
    [13 * 365.25 * 86_400, "13 y"],
  ]);
});

test("event times are shown in UTC, whatever zone they come in", () => {
  check(format.eventTime, [
    ["2013-02-08T12:00:00Z", "2013-02-08 12:00:00"],
    ["2013-02-08T12:00:00.125+00:00", "2013-02-08 12:00:00.125"],
    ["2013-02-08T12:00:00+02:00", "2013-02-08 10:00:00"],
    ["2013-02-08", "2013-02-08"],
    ["no time", "no time"],
  ]);
});

test("large integers stay exact", (t) => {
  const revives = JSON.parse("1", (_key, value, context) => context?.source ?? value) === "1";
  if (!revives) return t.skip("this runtime does not tell the source of a number");
  assert.deepEqual(parseExact("[9007199254740993,1.5,7]"), ["9007199254740993", 1.5, 7]);
});

test("routes", () => {
  assert.deepEqual(parseRoute(""), { page: "overview" });
  assert.deepEqual(parseRoute("#/views/a%2Fb"), { page: "view", name: "a/b" });
  assert.deepEqual(parseRoute("#/views/50%"), { page: "view", name: "50%" });
  assert.deepEqual(parseRoute("#/dead-letters/17"), { page: "dead-letters", id: "17" });
  assert.deepEqual(parseRoute("#/nowhere"), { page: "unknown" });
});

test("a chart chooses itself", () => {
  const origin = column("origin", "TEXT");
  const flights = column("flights", "BIGINT");
  const mean = column("mean_delay", "DOUBLE");
  const start = column("window_start", "TIMESTAMP WITH TIME ZONE");
  assert.deepEqual(pick.pickChart([origin, mean, flights], [0]), {
    kind: "bars",
    labels: [0],
    value: 1,
  });
  assert.deepEqual(pick.pickChart([start, origin, flights], [0, 1]), {
    kind: "line",
    time: 0,
    value: 2,
    split: 1,
  });
  // One row for each origin: its latest time is not a series.
  assert.equal(pick.pickChart([origin, start, flights], [0]).kind, "bars");
  assert.deepEqual(pick.pickChart([column("plane_id", "BIGINT"), origin], []), { kind: "none" });
});

test("lines hold gaps where a series has no row, and the mean where it has several", () => {
  const rows = [
    ["2013-01-01T00:00:00Z", "JFK", 2],
    ["2013-01-01T00:00:00Z", "JFK", 4],
    ["2013-01-01T01:00:00Z", "LGA", "1.50"],
  ];
  const { times, lines, mergedPoints } = pick.linesOf(rows, { kind: "line", time: 0, value: 2, split: 1 });
  assert.equal(times[1] - times[0], 3600);
  assert.deepEqual(lines, [
    { label: "JFK", values: [3, null] },
    { label: "LGA", values: [null, 1.5] },
  ]);
  assert.equal(mergedPoints, 1);
});

test("bars stand by value, or by their label if it is a number", () => {
  const text = [column("origin", "TEXT"), column("mean", "DOUBLE")];
  const number = [column("wind", "INT"), column("mean", "DOUBLE")];
  const choice = { kind: "bars", labels: [0], value: 1 };
  const labels = (rows, columns) => pick.barsOf(rows, columns, choice).map((bar) => bar.label);
  assert.deepEqual(labels([["a", 1], ["b", null], ["c", 3]], text), ["c", "a"]);
  assert.deepEqual(labels([[10, 1], [5, 0]], number), ["5", "10"]);
});

test("the axis tells the date once", () => {
  const midnight = Date.UTC(2013, 0, 2) / 1000;
  const labels = timeLabels([midnight - 7200, midnight, midnight + 7200], 7200, true, true);
  assert.deepEqual(labels, ["22:00\nJan 1", "00:00\nJan 2", "02:00"]);
});

test("history keeps one point a second, the latest, and shows gaps as gaps", () => {
  const point = (second, rows) => ({ time_ms: second * 1000, rows_per_s: rows });
  const points = [point(10, 1), point(11, 2)];
  assert.deepEqual(appended(points, point(11, 3)), [point(10, 1), point(11, 3)]);
  assert.deepEqual(appended(points, point(11 + 901, 9)), [point(912, 9)]);
  const [times, rows] = plotOf([point(10, 1), point(60, 2)], ["rows_per_s"]);
  assert.deepEqual([times, rows], [[10, 11, 60], [1, null, 2]]);
});

test("the busiest operator keeps its mark until another is clearly busier", () => {
  const ratios = (a, b) => new Map([["a", a], ["b", b]]);
  assert.equal(busiestOf(ratios(0.5, 0.55), "a"), "a");
  assert.equal(busiestOf(ratios(0.5, 0.7), "a"), "b");
  assert.equal(busiestOf(ratios(0.001, 0.002), null), null);
});

test("only cells that the stream told of flash", () => {
  const before = { rows: [["JFK", 1, 2], ["LGA", 5, 6]] };
  const after = { rows: [["JFK", 1, 3], ["LGA", 5, 7], ["EWR", 1, 1]] };
  const told = (row) => row !== '["LGA",5,7]';
  const changed = changedCells(before, after, [0], told);
  assert.deepEqual([...changed], [
    [0, new Set([2])],
    [2, new Set([0, 1, 2])],
  ]);
});

test("cells", () => {
  assert.equal(cellText(12.345678, column("x", "DOUBLE"), false), "12.346");
  assert.equal(cellText(0.00001234, column("x", "DOUBLE"), false), "0.0000123");
  assert.equal(cellText(336_776, column("x", "BIGINT"), false), "336,776");
  assert.equal(cellText(336_776, column("id", "BIGINT"), true), "336776");
  assert.equal(cellText("1.50", column("x", "DECIMAL(10,2)"), false), "1.50");
  assert.equal(cellText(null, column("x", "TEXT"), false), "null");
  assert.equal(cellText([1, "a"], column("x", "LIST"), false), '[1,"a"]');
});

test("a column has the fewest decimals that show its values", () => {
  check(decimalsOf, [
    [[8.6, 12], 1],
    [[8, null, 12], 0],
    [[1 / 3, 2], 3],
    [["1.50", "2.00"], 2],
    [[0.1 + 0.2], 1],
  ]);
  const columns = [column("n", "BIGINT"), column("mean", "DOUBLE")];
  assert.deepEqual(columnDecimals(columns, [[1, 8.6], [2, 9.25]]), [0, 2]);
  assert.equal(cellText(9, columns[1], false, 2), "9.00");
  assert.equal(numberText(12_345.6, 1), "12,345.6");
  assert.equal(cellText("9007199254740993", columns[0], false), "9007199254740993");
  const choice = { kind: "bars", labels: [0], value: 1 };
  assert.deepEqual(pick.visibleDecimals(columns, [[1, 8]], [[1, 8], [2, 9.5]], choice, 9), [0, 1]);
});

test("a card shows first what its chart is about, and no end of a window", () => {
  const names = ["window_start", "window_end", "origin", "flights", "mean"];
  const columns = names.map((name) => column(name, "TEXT"));
  const choice = { kind: "line", time: 0, value: 4, split: 2 };
  assert.deepEqual(pick.columnOrder(columns, choice), [0, 2, 4, 3]);
});

test("projections between two nodes are not drawn", () => {
  const node = (id, kind, label) => ({ id, kind, label });
  const nodes = [
    node("s", "source", "s"),
    node("p", "operator", "project"),
    node("q", "operator", "project"),
    node("shared", "operator", "project"),
    node("v", "view", "v"),
    node("w", "view", "w"),
  ];
  const edge = (from, to) => ({ from, to });
  const edges = [edge("s", "p"), edge("p", "q"), edge("q", "v"), edge("s", "v")];
  const shared = [edge("s", "shared"), edge("shared", "v"), edge("shared", "w")];
  const drawn = withoutPassing({ nodes, edges: [...edges, ...shared] });
  assert.deepEqual(drawn.nodes.map(({ id }) => id), ["s", "shared", "v", "w"]);
  assert.deepEqual(drawn.edges, [edge("s", "v"), ...shared]);
});

test("the slider has every epoch, and the present to the right of them", () => {
  assert.deepEqual(past.placeOf(null, 41), { position: 42, max: 42 });
  assert.deepEqual(past.placeOf(1, 41), { position: 1, max: 42 });
  assert.deepEqual(past.placeOf(99, 41), { position: 41, max: 42 });
  assert.deepEqual(past.placeOf(null, 0), { position: 2, max: 2 });
  for (const epoch of [1, 17, 41, null]) assert.equal(past.epochOf(past.placeOf(epoch, 41)), epoch);
});

test("a verification in words", () => {
  assert.equal(words.shortDigest("0123456789abcdef"), "0123456789ab…");
  assert.equal(words.shortDigest("0123"), "0123");
  const mismatch = { what: "view totals", epoch: 1200, message: "", rows: [] };
  assert.equal(words.placeOf(mismatch), "view totals, epoch 1,200");
  assert.equal(words.placeOf({ ...mismatch, what: "the lock", epoch: null }), "the lock");
  const report = { input: { epochs: 41, rows: 1 }, views: [{}], mismatches: [] };
  assert.equal(words.summary(report), "41 epochs and 1 row of the journal, 1 view as recorded");
  const differing = { input: null, views: [], mismatches: [mismatch] };
  assert.equal(words.summary(differing), "0 views as recorded; 1 difference");
});

test("bytes that are no text are recognised", () => {
  assert.deepEqual(originalOf(btoa("abc")), { sizeBytes: 3, isText: true });
  assert.deepEqual(originalOf(btoa("\xff\xfe")), { sizeBytes: 2, isText: false });
});

test("the graph has every node after what it reads", () => {
  const nodes = ["view", "join", "a", "b"].map((id) => ({ id }));
  const edges = [
    { from: "a", to: "join" },
    { from: "b", to: "join" },
    { from: "join", to: "view" },
    { from: "gone", to: "view" },
  ];
  const tree = placeAsTree(nodes, edges, 360);
  const lines = [...tree.boxes].sort((p, q) => p[1].y - q[1].y).map(([id]) => id);
  assert.deepEqual(lines, ["a", "b", "join", "view"]);
  for (const box of tree.boxes.values()) assert.ok(box.x + box.width <= 360);
  const flow = placeInFlow(nodes, edges, 2000);
  assert.ok(flow.boxes.get("join").x > flow.boxes.get("b").x);
  assert.ok(flow.boxes.get("view").x > flow.boxes.get("join").x);
  const recursive = placeAsTree([{ id: "x" }], [{ from: "x", to: "x" }], 360);
  assert.equal(recursive.boxes.size, 1);
});
