import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { StatusError } from "../../wire/status.ts";
import type { Control } from "../client.ts";
import { Unreachable } from "../failure.ts";
import { watchOrganisms } from "./organism.ts";
import { watchReceipts } from "./receipt.ts";

/** A control plane whose every stream ends as the test wants; tells with which tokens it was asked. */
function control(...streams: (readonly [revisions: number[], end: unknown])[]) {
  const asked: string[] = [];
  async function* watch({ resumeToken = "" }: { resumeToken?: string }) {
    asked.push(resumeToken);
    const [revisions, end] = streams.shift() ?? [[], null];
    for (const n of revisions) {
      yield { event: 3, revision: BigInt(n), resumeToken: `after ${n}` };
    }
    if (end !== null) throw end;
  }
  const fake = { organisms: { watch }, ledgers: { watchReceipts: watch } } as unknown as Control;
  return { asked, control: fake };
}

beforeEach(() => {
  // Pauses between tries pass at once.
  vi.useFakeTimers().setTimerTickMode("nextTimerAsync");
});
afterEach(() => vi.useRealTimers());

async function revisions(c: Control, enough: number): Promise<number[]> {
  const seen: number[] = [];
  for await (const { revision } of watchOrganisms(c)) {
    seen.push(revision);
    if (seen.length === enough) break;
  }
  return seen;
}

const lost = new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "the control plane ends; come back");

describe("a watch that breaks off", () => {
  test("goes on after the last message that was seen", async () => {
    const c = control([[1, 2], lost], [[3], new Unreachable("gone")], [[4], null]);
    expect(await revisions(c.control, 4)).toEqual([1, 2, 3, 4]);
    expect(c.asked).toEqual(["", "after 2", "after 3"]);
  });

  test("begins anew with what is there when its token is too old", async () => {
    const old = new StatusError("OUT_OF_RANGE", "TOKEN_EXPIRED", "list again");
    const c = control([[1], lost], [[], old], [[7], null]);
    expect(await revisions(c.control, 2)).toEqual([1, 7]);
    expect(c.asked).toEqual(["", "after 1", ""]);
  });

  test("takes the token that it is given when it was too slow", async () => {
    const slow = new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "too slow", {
      resume_token: "from the server",
    });
    const c = control([[1], slow], [[2], null]);
    expect(await revisions(c.control, 2)).toEqual([1, 2]);
    expect(c.asked).toEqual(["", "from the server"]);
  });

  test("that never began says why instead of trying for ever", async () => {
    await expect(revisions(control([[], new Unreachable("nobody")]).control, 1)).rejects.toThrow(
      "nobody",
    );
  });

  test("ends at what no other try would cure", async () => {
    const refused = new StatusError("PERMISSION_DENIED", "ROLE_INSUFFICIENT", "no");
    await expect(revisions(control([[1], refused]).control, 2)).rejects.toBe(refused);
  });

  test("of receipts does not leave any out: a token that is not known is an error", async () => {
    const unknown = new StatusError("OUT_OF_RANGE", "TOKEN_EXPIRED", "not of this store");
    const c = control([[1], lost], [[], unknown]);
    await expect(watchReceipts(c.control, {}).next()).rejects.toBe(unknown);
    expect(c.asked).toEqual(["", "after 1"]);
  });

  test("ends when nobody is interested any more", async () => {
    const abort = new AbortController();
    const c = control([[1], lost], [[2], null]);
    const seen: number[] = [];
    for await (const { revision } of watchOrganisms(c.control, {}, abort.signal)) {
      seen.push(revision);
      abort.abort();
    }
    expect(seen).toEqual([1]);
  });
});
