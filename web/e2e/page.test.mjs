// The page against a real pipeline, in a real browser. Needs SYNCLINE_BIN (the binary, with the
// page built in); CHROMIUM names the browser if it is not /usr/bin/chromium.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startBrowser, startDemo } from "./demo.mjs";

const binary = process.env.SYNCLINE_BIN;
const results = fileURLToPath(new URL("../test-results/", import.meta.url));
const WAIT_MS = 20_000;
const DESKTOP = { width: 1440, height: 1000 };
const PHONE = { width: 390, height: 844 };
const SECTIONS = ["#/", "#/dead-letters", "#/alerts", "#/query"];

if (!binary) {
  console.error("\n*** SKIPPED: the browser test needs SYNCLINE_BIN, the path of the binary. ***\n");
}

describe("the page of the demo", { skip: !binary && "SYNCLINE_BIN is not set" }, () => {
  let demo, browser;
  const problems = [];

  before(async () => {
    await mkdir(results, { recursive: true });
    demo = await startDemo(binary);
    browser = await startBrowser();
  });

  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  /** A page of its own, live, that remembers every error of its scripts. */
  async function open(hash, options = {}) {
    const context = await browser.newContext({ viewport: DESKTOP, colorScheme: "light", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(demo.url + hash);
    await page.getByTestId("connection").getByText("Live", { exact: true }).waitFor();
    await page.locator("main h1").first().waitFor({ state: "attached" });
    return page;
  }

  const shot = (page, name) => page.screenshot({ path: `${results}${name}.png`, fullPage: true });

  /** Waits until `read` gives something for which `accept` holds, and returns it. */
  async function until(what, read, accept) {
    const deadline = Date.now() + WAIT_MS;
    let last;
    do {
      last = await read();
      if (accept(last)) return last;
      await new Promise((resolve) => setTimeout(resolve, 100));
    } while (Date.now() < deadline);
    return assert.fail(`${what} did not happen; last seen: ${last}`);
  }

  const figure = (text) => {
    const [, digits, scale] = /([\d.,]+)\s*([kMGT]?)/.exec(text) ?? [];
    const powers = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
    return Number((digits ?? "NaN").replaceAll(",", "")) * (powers[scale] ?? 1);
  };

  test("rows flow: the rate is above zero and the total moves", async () => {
    const page = await open("#/");
    const rate = () => page.getByTestId("rows-per-s").innerText();
    const total = () => page.getByTestId("rows-total").innerText();
    await until("a rate above zero", rate, (text) => figure(text) > 0);
    const first = figure(await total());
    await until("a larger total", total, (text) => figure(text) > first);
    assert.ok((await page.locator('[data-testid^="node-"]').count()) > 2, "the graph has nodes");
    assert.ok((await page.locator(".chart canvas").count()) >= 4, "the charts are drawn");
    await shot(page, "overview-light");
    await page.context().close();
  });

  test("the rows of a view change while one looks", async () => {
    const page = await open("#/");
    const cards = page.locator('article[data-testid^="view-"]');
    await cards.first().waitFor();
    const contents = async () => {
      const texts = [];
      for (const card of await cards.all()) {
        // Only what is on the screen is fetched.
        await card.scrollIntoViewIfNeeded();
        texts.push((await card.getByTestId("row").allInnerTexts()).join("\n"));
      }
      return texts;
    };
    const filled = await until("a view with rows", contents, (texts) => texts.some(Boolean));
    const changed = (texts) => texts.findIndex((text, i) => filled[i] && text && text !== filled[i]);
    const later = await until("a change of rows", contents, (texts) => changed(texts) >= 0);
    const card = cards.nth(changed(later));

    await card.getByRole("heading").getByRole("link").click();
    await page.locator(".rows-card").getByTestId("row").first().waitFor();
    assert.match(await page.locator(".sql").innerText(), /select/i);
    await shot(page, "view-light");
    await page.context().close();
  });

  test("what the page shows is verified when one asks for it", async () => {
    const page = await open("#/");
    const panel = page.getByTestId("reproducible");
    await panel.getByRole("button", { name: "Verify now" }).click();
    const state = panel.getByTestId("verification-state");
    await until("an end", () => state.innerText(), (word) => !/never|verifying/.test(word));
    assert.equal(await state.innerText(), "verified");
    assert.match(await panel.innerText(), /At the end of epoch [\d,]+/);
    assert.match(await panel.innerText(), /asked for on the page/);
    assert.equal(await page.getByTestId("mismatch-banner").count(), 0);
    const digest = page.locator(".view-card .hash").first();
    await digest.waitFor();
    assert.match(await digest.getAttribute("title"), /^[0-9a-f]{64}$/);
    await panel.scrollIntoViewIfNeeded();
    await shot(page, "verified-light");
    await page.context().close();
  });

  test("the slider shows a view as it was, by pointer and by keyboard", async () => {
    const page = await open("#/views/delay_by_airport");
    const rows = () => page.locator(".rows-card").getByTestId("row").allInnerTexts();
    const slider = page.getByRole("slider", { name: "Epoch" });
    const state = page.getByTestId("past-state");
    assert.equal(await state.innerText(), "live");
    await page.locator(".rows-card").getByTestId("row").first().waitFor();
    const last = Number(await slider.getAttribute("max")) - 1;
    const then = Math.ceil(last / 2);
    await slider.fill(String(then));
    const settled = (text) => /^as of epoch [\d,]+, /.test(text);
    await until("an earlier view", () => state.innerText(), settled);
    const earlier = await rows();
    const live = await (await fetch(`${demo.url}api/v1/views/delay_by_airport`)).json();
    const was = await (await fetch(`${demo.url}api/v1/views/delay_by_airport?at=${then}`)).json();
    assert.equal(was.epoch, then);
    assert.equal(earlier.length, was.rows.length);
    assert.notDeepEqual(was.rows, live.rows);
    for (const [i, [origin]] of was.rows.entries()) assert.ok(earlier[i].startsWith(origin), earlier[i]);
    await shot(page, "past-light");
    await slider.focus();
    await page.keyboard.press("ArrowLeft");
    const before = `as of epoch ${(then - 1).toLocaleString("en-US")}, `;
    await until("the epoch before", () => state.innerText(), (text) => text.startsWith(before));
    await page.keyboard.press("End");
    await until("the present", () => state.innerText(), (text) => text === "live");
    await until("the rows of the present", rows, (texts) => texts.join() !== earlier.join());
    await page.context().close();
  });

  test("a dead letter tells its reason and shows the original text", async () => {
    const page = await open("#/dead-letters");
    const letter = page.getByTestId("dead-letter").first();
    await letter.waitFor();
    const reason = await letter.locator(".badge").first().innerText();
    await letter.getByRole("link").click();
    const detail = page.getByTestId("dead-letter-detail");
    await detail.locator(".letter-reason").waitFor();
    assert.equal(await detail.locator(".letter-reason .badge").innerText(), reason);
    assert.notEqual((await detail.locator(".letter-full-message").innerText()).trim(), "");

    const id = decodeURIComponent(new URL(page.url()).hash.split("/").at(-1));
    const { text } = await (await fetch(`${demo.url}api/v1/dead-letters/${id}`)).json();
    assert.notEqual(text.trim(), "");
    assert.equal(await detail.locator(".original").last().textContent(), text);
    assert.equal(await detail.getByRole("textbox").inputValue(), text.replaceAll("\r\n", "\n"));
    assert.ok(await detail.getByRole("button", { name: "Retry as it is" }).isEnabled());
    await shot(page, "dead-letter-light");
    await page.context().close();
  });

  test("a query answers, and a wrong one says what is wrong", async () => {
    const page = await open("#/query");
    const sql = page.getByRole("textbox", { name: "SQL" });
    await sql.fill("SELECT 40 + 2 AS answer");
    await sql.press("Control+Enter");
    const row = page.getByTestId("row").first();
    await row.waitFor();
    assert.equal(await row.innerText(), "42");
    await sql.fill("SELECT * FROM no_such_view");
    await page.getByRole("button", { name: "Run" }).click();
    const error = page.getByRole("alert");
    await error.waitFor();
    assert.match(await error.innerText(), /no_such_view/);
    await page.context().close();
  });

  test("light and dark follow the system, and the reader's choice stays", async () => {
    const page = await open("#/", { colorScheme: "dark" });
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const brightness = (color) => Math.max(...color.match(/\d+/g).slice(0, 3).map(Number));
    assert.ok(brightness(await background()) < 60, "dark by the system's wish");
    await shot(page, "overview-dark");
    await page.getByRole("button", { name: "Light", exact: true }).click();
    assert.ok(brightness(await background()) > 200, "light by choice");
    await page.reload();
    await page.getByTestId("rows-per-s").waitFor();
    assert.ok(brightness(await background()) > 200, "still light after a reload");
    await page.context().close();
  });

  test("on a phone no section is wider than the screen", async () => {
    const page = await open("#/", { viewport: PHONE, isMobile: true, hasTouch: true });
    const view = await page.locator('.nav a[href^="#/views/"]').first().getAttribute("href");
    for (const hash of [...SECTIONS, view]) {
      await page.goto(demo.url + hash);
      await page.locator("main h1").first().waitFor({ state: "attached" });
      await page.waitForLoadState("networkidle", { timeout: 1000 }).catch(() => {});
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= PHONE.width, `${hash} is ${width} px wide`);
      await shot(page, `phone-${hash.replaceAll(/\W+/g, "-").replace(/^-|-$/g, "") || "overview"}`);
    }
    await page.context().close();
  });

  test("everything can be reached with the keyboard", async () => {
    const page = await open("#/");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "MAIN");
    const isNode = () => document.activeElement.dataset.testid?.startsWith("node-") ?? false;
    let reached = false;
    for (let i = 0; i < 40 && !reached; i += 1) {
      await page.keyboard.press("Tab");
      reached = await page.evaluate(isNode);
    }
    assert.ok(reached, "a node of the graph has the focus");
    await page.context().close();
  });

  test("a mismatch that another process has found stands on the top of every page", async () => {
    const page = await open("#/query");
    const { name } = await (await fetch(`${demo.url}api/v1/pipeline`)).json();
    const rows = ['computed again: +1 ["JFK",31]'];
    const report = {
      verdict: "mismatch",
      pipeline: name,
      epoch: 2,
      input: { epochs: 2, rows: 7, root: "00", chain: "00" },
      views: [],
      sinks: [],
      mismatches: [{ what: "view fleet", epoch: 2, message: "they are not the same", rows }],
      unchecked: ["views of epochs 3 to 9, which are after it"],
      notes: [],
    };
    const told = await fetch(`${demo.url}api/v1/verification`, { method: "PUT", body: JSON.stringify(report) });
    assert.equal(told.status, 200);
    const banner = page.getByTestId("mismatch-banner");
    await banner.waitFor();
    assert.match(await banner.innerText(), /1 difference[^]*view fleet, epoch 2/);
    await banner.getByRole("link").click();
    const panel = page.getByTestId("reproducible");
    await panel.getByText(rows[0]).waitFor();
    assert.match(await panel.innerText(), /mismatch[^]*by verify --watch[^]*not the same[^]*Not checked/);
    await shot(page, "mismatch-light");
    await page.context().close();
  });

  test("the page admits that the connection is gone", async () => {
    const page = await open("#/");
    await until("a rate", () => page.getByTestId("rows-per-s").innerText(), (t) => figure(t) >= 0);
    await demo.stop();
    await page.getByTestId("connection").getByText("Connection lost", { exact: true }).waitFor();
    const banner = page.getByTestId("connection-banner");
    await until(
      "a banner that counts",
      () => banner.innerText(),
      (text) => /lost [1-9]\d* s ago/.test(text) && /from \d\d:\d\d:\d\d/.test(text),
    );
    assert.notEqual(await page.getByTestId("rows-per-s").innerText(), "", "the old figures stay");
    await shot(page, "connection-lost");
    await page.context().close();
  });

  test("no script has failed meanwhile", () => assert.deepEqual(problems, []));
});
