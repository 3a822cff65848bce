import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type BrowserContextOptions, chromium } from "playwright-core";
import { buildPage } from "../../bin/page.ts";
import type { Tell } from "../../src/console/messages.ts";
import type { Report } from "../../src/verifier/report.ts";

/** A real browser and the auditor's page, lying in a folder of its own. */
export interface Chromium {
  readonly browser: Browser;
  /** file: URL of the page as it is built now. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

export async function startChromium(): Promise<Chromium> {
  const folder = mkdtempSync(join(tmpdir(), "dragons-chromium-"));
  const file = join(folder, "auditor.html");
  writeFileSync(file, await buildPage());
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return {
    browser,
    url: pathToFileURL(file).href,
    close: async () => {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What is to be verified; `trust` is the text of a trust file. */
export interface Given {
  readonly pack: Uint8Array;
  readonly trust: string | null;
  readonly nowUs: number;
}

/**
 * What the page's own worker says of each, in order. The packs go through one worker, as they are: the
 * code is that of the page, taken out of it.
 * @throws Error when the worker says that it could not do it, or refuses a trust file.
 */
export async function verifyInChromium(
  { browser, url }: Chromium,
  given: readonly Given[],
): Promise<Report[]> {
  const options: BrowserContextOptions = { bypassCSP: true };
  const page = await browser.newPage(options);
  try {
    await page.goto(url);
    const reports: Report[] = [];
    // In portions, so that no message of the driver grows with the corpus.
    for (let at = 0; at < given.length; at += 50) {
      const portion = given.slice(at, at + 50).map(({ pack, trust, nowUs }) => ({
        pack: Buffer.from(pack).toString("base64"),
        trust,
        nowUs,
      }));
      const told = (await page.evaluate(`(${inPage})(${JSON.stringify(portion)})`)) as Tell[];
      for (const tell of told) {
        if (tell.tell !== "report") throw new Error(JSON.stringify(tell));
        reports.push(tell.report);
      }
    }
    return reports;
  } finally {
    await page.close();
  }
}

/** Runs in the page, as text: it knows nothing of this file. */
const inPage = `async (portion) => {
  const text = document.getElementById("worker").textContent;
  const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const told = [];
  for (const [id, { pack, trust, nowUs }] of portion.entries()) {
    const bytes = Uint8Array.from(atob(pack), (c) => c.charCodeAt(0));
    told.push(
      await new Promise((resolve, reject) => {
        worker.onerror = (event) => reject(new Error(event.message));
        worker.onmessage = ({ data }) => {
          if (data.tell === "report" || data.tell === "fault" || data.tell === "failure") resolve(data);
        };
        worker.postMessage({ ask: "verify", id, pack: new Blob([bytes]), trust, nowUs });
      }),
    );
  }
  worker.terminate();
  return told;
}`;
