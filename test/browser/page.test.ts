import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GoalBody } from "../../src/domain/payload.ts";
import { locateReceiptByte, tamper } from "../../src/verifier/tamper.ts";
import { lacks } from "../skips.ts";
import { check, goodStory, type Story } from "../verifier/build.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { type Chromium, startChromium } from "./chromium.ts";

const HOME = join(import.meta.dirname, "../..");

describe.skipIf(lacks("chromium"))("the auditor's page", () => {
  let chromium: Chromium;
  let page: Page;
  const requests: string[] = [];

  beforeAll(async () => {
    chromium = await startChromium();
    page = await chromium.browser.newPage();
    page.on("request", (r) => requests.push(r.url()));
    // A dialog would be a script of the pack's.
    page.on("dialog", (dialog) => {
      throw new Error(`the page said ${dialog.message()}`);
    });
  });
  afterAll(() => chromium.close());

  const file = (name: string, bytes: Uint8Array | string) => ({
    name,
    mimeType: "application/octet-stream",
    buffer: Buffer.from(bytes),
  });
  const trustOf = (story: Story) => JSON.stringify(trustJson(story.trust));
  const words = (selector: string) => page.locator(selector).innerText();

  /** A fresh page, both files chosen, and the outcome on it. */
  async function open(pack: Uint8Array, trust: string | null): Promise<void> {
    await page.goto(chromium.url);
    await page.setInputFiles("#pack-file", file("evidence.dragons", pack));
    if (trust === null) await page.click("#check");
    else await page.setInputFiles("#trust-file", file("trust.json", trust));
    await page.waitForSelector("#outcome > section");
  }

  test("works from a file, and asks nobody for anything", async () => {
    const story = await goodStory();
    let reached = 0;
    const server = createServer((socket) => {
      reached++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    requests.length = 0;
    await open(await story.pack(), trustOf(story));
    expect(await words("#verdict h1")).toBe("ANCHORED");
    expect(requests.filter((url) => !url.startsWith("blob:"))).toEqual([chromium.url]);
    // Not for want of trying: whatever would fetch is stopped by the page's own policy. To go to another
    // page is what no policy forbids, and only scripts that the policy names by hash could do it.
    const tried = (await page.evaluate(`new Promise((resolve) => {
      const stopped = new Set();
      const stop = (by) => stopped.add(by).size === 6 && resolve([...stopped].sort());
      addEventListener("securitypolicyviolation", (e) => stop(e.effectiveDirective));
      const at = "//127.0.0.1:${port}/";
      fetch("http:" + at).catch(() => {});
      try { new WebSocket("ws:" + at); } catch {}
      navigator.sendBeacon("http:" + at, "x");
      for (const tag of ["img", "audio", "script"]) {
        const element = document.createElement(tag);
        try { element.src = "http:" + at; } catch { stop("thrown"); }
        document.body.append(element);
      }
      document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "http:" + at }));
    })`)) as string[];
    expect(tried).toEqual([
      "connect-src",
      "img-src",
      "media-src",
      "require-trusted-types-for",
      "style-src-elem",
      "thrown",
    ]);
    const [worker] = page.workers();
    const spoke = `fetch("http://127.0.0.1:${port}/").then(() => "spoke", () => "stopped")`;
    expect(await worker?.evaluate(spoke)).toBe("stopped");
    expect(reached).toBe(0);
    await new Promise((resolve) => server.close(resolve));
  });

  test("says word for word what `dragons verify -o json` prints", async () => {
    const folder = mkdtempSync(join(tmpdir(), "dragons-page-"));
    try {
      const story = await goodStory();
      const good = await story.pack();
      const bad = tamper(good, await locateReceiptByte(good, 3));
      const [pack, trust] = [join(folder, "p.dragons"), join(folder, "trust.json")];
      writeFileSync(trust, trustOf(story));
      for (const bytes of [good, bad]) {
        writeFileSync(pack, bytes);
        const args = ["bin/dragons", "verify", pack, "--trust", trust, "-o", "json"];
        const cli = spawnSync(process.execPath, args, { cwd: HOME, encoding: "utf8" });
        expect(cli.status).toBe(bytes === good ? 0 : 2);
        await open(bytes, trustOf(story));
        await page.click("#report summary");
        await page.waitForSelector("#report pre:not(:empty)");
        expect(await page.locator("#report pre").textContent()).toBe(cli.stdout);
        const saving = page.waitForEvent("download");
        await page.click("#report a[download]");
        expect(readFileSync(await (await saving).path(), "utf8")).toBe(cli.stdout);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("shows the first break with what was expected and what was found", async () => {
    const story = await goodStory();
    const good = await story.pack();
    const bad = tamper(good, await locateReceiptByte(good, 3));
    const { broken } = await check(story, bad);
    await open(bad, trustOf(story));
    expect(await words("#verdict h1")).toBe("BROKEN");
    expect(await words("#break h2")).toBe("First break: receipt 3");
    const hashes = await page.locator("#break .hash").allTextContents();
    expect(hashes).toEqual([broken?.expected, broken?.found]);
    expect(await words("#break .bad")).toBe("3");
    expect(await page.locator("#receipts .unproven").innerText()).toContain("proves nothing");
    const statuses = await page.locator(".checks .status").allTextContents();
    expect(statuses.filter((s) => s === "FAIL")).toHaveLength(1);
    expect(await page.locator("#verdict-said").textContent()).toMatch(
      /^BROKEN\. BROKEN\(E_RECEIPT_SIG, 3\)/,
    );
  });

  test("without a trust file it ticks nothing off, and says UNPINNED", async () => {
    await open(await (await goodStory()).pack(), null);
    expect(await words("#verdict h1")).toBe("UNPINNED");
    expect(await page.locator(".ladder .reached").count()).toBe(0);
    expect(await words("#verdict")).toContain("exit code 78");
    expect(await page.locator(".is-unpinned #proves").count()).toBe(1);
  });

  test("takes a pack and a trust file that are dropped anywhere, in any order and by any name", async () => {
    const story = await goodStory();
    await page.goto(chromium.url);
    const given = { pack: [...(await story.pack())], trust: trustOf(story) };
    await page.evaluate(`{
      const { pack, trust } = ${JSON.stringify(given)};
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([trust], "a"));
      dataTransfer.items.add(new File([new Uint8Array(pack)], "b"));
      document.querySelector("footer").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    }`);
    await page.waitForSelector("#verdict");
    expect(await words("#verdict h1")).toBe("ANCHORED");
    expect(await words("#pack-name")).toMatch(/^b /);
  });

  test("a trust file that is none is told with its field and its fix", async () => {
    const story = await goodStory();
    await open(await story.pack(), '{"format":"dragons trust 0","tenant":"acme","rootKey":"00"}');
    expect(await words("#outcome")).toContain("rootKey: write 64 lower-case hexadecimal digits");
    expect(await page.locator("#verdict").count()).toBe(0);
  });

  test("words of a pack are text, however hostile, and what would hide is written out", async () => {
    const story = await goodStory();
    const goal = (text: string) =>
      GoalBody.encode({ version: 1, purpose: "reconcile payments", goal: text, traceparent: "" });
    await story.act({ goal: goal("<img src=x onerror=alert(1)></bdi><h1>WITNESSED</h1>") });
    await story.act({ goal: goal("pay \u202e0001\u0000\u2028") });
    await story.act({ goal: goal("x".repeat(100_000)) });
    await open(await story.pack(), trustOf(story));
    const elements = await page.locator("h1, img, script, iframe").count();
    await page.locator(".receipt-list").focus();
    await page.keyboard.press("Home");
    for (let seq = 2; seq <= 6; seq++) await page.keyboard.press("ArrowDown");
    const detail = page.locator(".receipt");
    await detail.getByText("onerror=alert(1)></bdi><h1>WITNESSED</h1>").waitFor();
    await page.keyboard.press("ArrowDown");
    await detail.getByText("U+202E").waitFor();
    expect(await detail.locator(".escape").allTextContents()).toEqual([
      "U+202E",
      "U+0000",
      "U+2028",
    ]);
    await page.keyboard.press("ArrowDown");
    await detail.getByText("98\u202f000 more characters").waitFor();
    expect(await page.locator("h1, img, script, iframe").count()).toBe(elements);
  });

  test("reads each receipt from goal to outcome, by keyboard, and shows what is withheld as withheld", async () => {
    const story = await goodStory();
    await open(await story.pack({ disclose: ["goal", "claim"] }), trustOf(story));
    await page.locator(".receipt-list").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    const steps = page.locator(".receipt .step");
    await page.locator(".receipt h3").getByText("Receipt 2").waitFor();
    expect(await steps.locator("h4").allInnerTexts()).toEqual(
      ["Goal", "Action", "Evidence", "Outcome", "Claim"].map((t) => expect.stringContaining(t)),
    );
    expect(await steps.nth(0).innerText()).toContain("reconcile payments");
    for (const n of [1, 2, 3]) expect(await steps.nth(n).innerText()).toContain("Withheld");
    expect(await steps.nth(4).innerText()).toContain("the same");
    const active = await page.locator(".receipt-list").getAttribute("aria-activedescendant");
    expect(await page.locator(`#${active}`).getAttribute("aria-selected")).toBe("true");
  });

  test("draws no more of a long list than is in sight, and finds in all of it", async () => {
    const story = await goodStory();
    for (let n = 0; n < 8; n++) await story.deny({ path: "/payments.v1.Payments/Refund" });
    for (let n = 0; n < 25; n++) await story.act();
    await story.checkpoint();
    await page.setViewportSize({ width: 1280, height: 300 });
    await open(await story.pack(), trustOf(story));
    const rows = page.locator(".receipt-list .row");
    expect(await rows.count()).toBeLessThan(30);
    await page.locator(".receipt-list").focus();
    await page.keyboard.press("End");
    await page.locator(".receipt h3").getByText("Receipt 38").waitFor();
    await page.fill("input[type=search]", "refund");
    await page.getByText("9 of 38 receipts").waitFor();
    expect(await rows.count()).toBe(9);
    await page.setViewportSize({ width: 1280, height: 720 });
  });
});
