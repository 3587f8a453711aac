// The plain page: what the pipeline is, how it is doing, and the first rows of its views.
"use strict";

const ROWS_SHOWN = 20;
const REFRESH_MS_MIN = 500;
const element = (id) => document.getElementById(id);
const count = (number) => Math.round(number).toLocaleString("en");

function make(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  parent?.append(made);
  return made;
}

async function get(path) {
  const response = await fetch(`api/v1/${path}`);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error?.message ?? `the server answered ${response.status}`);
  return body;
}

function showState(text, isFailed) {
  element("state").textContent = text;
  element("state").classList.toggle("failed", isFailed);
}

function showStats(stats) {
  showState(stats.state, stats.state === "failed");
  element("epoch").textContent = stats.epoch;
  element("rows-per-s").textContent = count(stats.rows_per_s);
  element("rows-total").textContent = count(stats.rows_total);
  element("dead-letters").textContent = count(stats.dead_letters_total);
  const body = document.createElement("tbody");
  for (const [name, source] of Object.entries(stats.sources)) {
    const row = make("tr", null, body);
    make("td", name, row);
    const state = make("td", source.error ? `${source.state}: ${source.error}` : source.state, row);
    state.classList.toggle("failed", source.state === "failed");
    for (const number of [source.rows_total, source.rows_per_s, source.rejected_total]) {
      make("td", count(number), row);
    }
  }
  document.querySelector("#sources tbody").replaceWith(body);
}

const cell = (value) => {
  if (value === null) return "NULL";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

/** A table of a view; returns what brings it up to date, which fetches no more than twice a second. */
function addView(info) {
  const section = make("section", null, element("views"));
  make("h2", info.name, section);
  make("pre", info.sql, section);
  const size = make("p", "", section);
  const table = make("table", null, section);
  let timer;
  let notBefore = 0;
  const refresh = async () => {
    timer = undefined;
    notBefore = performance.now() + REFRESH_MS_MIN;
    try {
      const page = await get(`views/${encodeURIComponent(info.name)}?limit=${ROWS_SHOWN}`);
      size.textContent = `${count(page.total)} rows`;
      table.replaceChildren();
      const head = make("tr", null, make("thead", null, table));
      for (const column of page.columns) make("th", column.name, head);
      const body = make("tbody", null, table);
      for (const values of page.rows) {
        const row = make("tr", null, body);
        for (const value of values) make("td", cell(value), row);
      }
    } catch (error) {
      size.textContent = error.message;
    }
  };
  return () => {
    timer ??= setTimeout(refresh, Math.max(0, notBefore - performance.now()));
  };
}

async function start() {
  const pipeline = await get("pipeline");
  document.title = pipeline.name;
  element("name").textContent = pipeline.name;
  const refreshers = new Map();
  for (const view of pipeline.views.filter((view) => view.kept)) {
    refreshers.set(view.name, addView(view));
  }
  const events = new EventSource("api/v1/events");
  const on = (event, heard) =>
    events.addEventListener(event, (message) => heard(JSON.parse(message.data)));
  const refreshAll = () => refreshers.forEach((refresh) => refresh());
  on("hello", refreshAll);
  on("lagged", refreshAll);
  on("stats", showStats);
  on("view", ({ view }) => refreshers.get(view)?.());
  events.addEventListener("error", (event) => {
    if (!("data" in event)) showState("not connected", true);
  });
}

start().catch((error) => showState(error.message, true));
