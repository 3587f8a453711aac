// Starts what the test looks at: the demo pipeline and a browser.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const ADDRESS = /http:\/\/127\.0\.0\.1:\d+\//;

/** Runs the demo on a free port and resolves once it has told the address of its page. */
export async function startDemo(binary) {
  const dir = await mkdtemp(join(tmpdir(), "syncline-e2e-"));
  const args = ["demo", "--listen", "127.0.0.1:0", "--dir", dir];
  const demo = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise((resolve) => demo.once("exit", resolve));
  const stop = async () => {
    demo.kill("SIGTERM");
    const timer = setTimeout(() => demo.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    return { url: await addressOf(demo), stop };
  } catch (error) {
    // Without a process there is no exit to wait for.
    if (demo.pid !== undefined) await stop();
    throw error;
  }
}

function addressOf(demo) {
  return new Promise((resolve, reject) => {
    let said = "";
    const fail = (why) => reject(new Error(`${why}; the demo said:\n${said}`));
    const timer = setTimeout(() => fail("no address of the page in time"), START_TIMEOUT_MS);
    const listen = (chunk) => {
      said += chunk;
      const address = ADDRESS.exec(said);
      if (!address) return;
      clearTimeout(timer);
      resolve(address[0]);
    };
    demo.stdout.on("data", listen);
    demo.stderr.on("data", listen);
    demo.once("error", (error) => (clearTimeout(timer), fail(error.message)));
    demo.once("exit", (code) => (clearTimeout(timer), fail(`the demo ended with ${code}`)));
  });
}

export function startBrowser() {
  const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
  const quiet = ["background-networking", "component-update", "sync"].map((f) => `--disable-${f}`);
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: [...flags, ...quiet] });
}
