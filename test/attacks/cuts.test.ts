import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CARRIERS, CUTS, type Cut } from "../../sidecar/gate/cuts.ts";
import { cutBoundaryUs, unaryGraceUs } from "../../src/domain/limits.ts";
import { ActionBody, OutcomeBody } from "../../src/domain/payload.ts";
import { REASONS, type Reason } from "../../src/domain/reason.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { MINUTE_US, openRig, type Rig } from "../datapath/harness.ts";
import { type Flow, WALKS, type Way } from "./cut-flows.ts";

/** Taking leave back, walked row by row, carrier by carrier: what passes in each direction, on the wire. */

const NOW_US = 1_800_000_000_000_000;
const rows = CUTS.flatMap((row) => row.reasons.map((reason): [Reason, Cut] => [reason, row]));

let clock: ManualClock;
let rig: Rig;

beforeEach(async () => {
  clock = new ManualClock(NOW_US);
  rig = await openRig({}, clock);
});
afterEach(() => rig.close());

/** The one receipt: CUT, for this reason, and nothing left after leave was taken back. */
async function receipt(reason: Reason, cutAtUs: number) {
  await rig.ledger.receipts(1);
  expect(rig.ledger.closed).toMatchObject([{ verdict: "CUT", reason }]);
  const [closing] = rig.ledger.closed as [(typeof rig.ledger.closed)[0]];
  expect(closing.egressLastUs).toBeGreaterThan(0);
  expect(closing.egressLastUs).toBeLessThan(cutAtUs);
  return {
    action: ActionBody.decode(closing.action),
    outcome: OutcomeBody.decode(closing.outcome),
  };
}

describe.each(WALKS.map((walk) => [`${walk.carrier} over ${walk.wire}`, walk] as const))(
  "%s",
  (_, walk) => {
    const { carrier, pieces } = walk;
    const { boundary } = CARRIERS[carrier];
    /** HTTP has no words for a reason once an answer was begun. */
    const tells = carrier === "GRPC" || carrier === "WEB_SOCKET";
    /** Nobody knows whether anything of it was answered, and there are no words at all. */
    const opaque = carrier === "OPAQUE";
    let way: Way;
    let cutAtUs: number;

    beforeEach(async () => {
      way = await walk.open(rig);
    });
    afterEach(() => way.close());

    /** Takes leave back a second later than anything left. */
    const takeBack = (reason: Reason) => {
      clock.advance(1_000_000);
      cutAtUs = clock.nowUs();
      rig.gate.cutAll(reason, "taken back");
      clock.advance(1);
    };

    test.each(rows)("%s, of what was asked and is to be answered", async (reason, row) => {
      const flow = await way.asked();
      const given = flow.given();
      takeBack(reason);
      const finishes = row.response.answering === "finish";
      if (finishes) flow.answer();
      const told = await flow.told;
      expect(flow.given()).toBe(given);
      if (finishes && carrier !== "WEB_SOCKET" && !opaque) {
        expect(told).toMatchObject({ body: pieces.half + pieces.rest, whole: true });
        await rig.ledger.receipts(1);
        expect(rig.ledger.closed).toMatchObject([{ verdict: "COMPLETED" }]);
        return;
      }
      // An answer that opens a stream is none that is owed: it is refused like all the others.
      if (!opaque) expect(told.text).toContain(reason);
      await flow.gone;
      const { outcome } = await receipt(reason, cutAtUs);
      expect(outcome.bodyBytes).toBe(0);
    });

    test.each(rows)("%s, of a message that has begun to arrive", async (reason, row) => {
      const flow = await way.half();
      takeBack(reason);
      const whole = boundary !== null && row.response.streaming !== "nothing";
      flow.goOn();
      const told = await flow.told;
      expect(told.body).toBe(whole ? pieces.half + pieces.rest : pieces.half);
      expect(told.whole).toBe(false);
      if (tells) expect(told.text).toContain(reason);
      const { outcome } = await receipt(reason, cutAtUs);
      expect(outcome.bodyBytes).toBe(pieces.bytes[whole ? 1 : 0]);
    });

    test.each(rows)("%s, of what the agent still says", async (reason, row) => {
      expect(row.request).toBe("nothing");
      const flow = await way.half();
      const given = flow.given();
      takeBack(reason);
      flow.sayMore();
      flow.finish();
      clock.advance(cutBoundaryUs);
      await Promise.all([flow.told, flow.gone]);
      expect(flow.given()).toBe(given);
      await receipt(reason, cutAtUs);
    });

    const begun = walk.held === true ? [] : rows;
    test.for(begun)("%s, of what is half asked", async ([reason]) => {
      const flow = await way.asking();
      const given = flow.given();
      takeBack(reason);
      flow.sayMore();
      flow.finish();
      const [told] = await Promise.all([flow.told, flow.gone]);
      if (!opaque) expect(told.text).toContain(reason);
      expect(flow.given()).toBe(given);
      await receipt(reason, cutAtUs);
    });

    /** The clock was set, and no timer has told anybody yet. */
    const lapse = () => {
      clock.setWall(NOW_US + MINUTE_US);
      cutAtUs = clock.nowUs();
    };

    const parts: [string, () => Promise<Flow>, (flow: Flow) => void][] = [
      ["the rest of a message", () => way.asking(), (flow: Flow) => flow.sayMore()],
      ["the end", () => way.unended(), (flow: Flow) => flow.finish()],
    ];
    test.for(walk.held === true ? [] : parts)(
      "a lease that ran out unnoticed lets %s of what is asked not pass",
      async ([, begin, say]) => {
        const flow = await begin();
        const given = flow.given();
        lapse();
        say(flow);
        const [told] = await Promise.all([flow.told, flow.gone]);
        if (!opaque) expect(told.text).toContain("LEASE_EXPIRED");
        expect(flow.given()).toBe(given);
        await receipt("LEASE_EXPIRED", cutAtUs);
      },
    );
  },
);

describe("what may finish", () => {
  const some = WALKS.filter((walk) => walk.carrier !== "OPAQUE");
  test.each(some.map((walk) => [`${walk.carrier} over ${walk.wire}`, walk] as const))(
    "is cut when its grace is over: %s",
    async (_, walk) => {
      const way = await walk.open(rig);
      const flow = await way.asked();
      rig.gate.cutAll("LEASE_EXPIRED", "taken back");
      clock.advance(unaryGraceUs);
      expect((await flow.told).text).toContain("LEASE_EXPIRED");
      way.close();
    },
  );
});

test("no cause is in two rows", () => {
  const reasons = rows.map(([reason]) => reason);
  expect(new Set(reasons).size).toBe(reasons.length);
});

const source = (path: string): string =>
  readFileSync(join(import.meta.dirname, "../..", path), "utf8");

test("every reason for which authority is refused has a row", () => {
  const said = new Set(source("src/domain/authorize.ts").match(/"[A-Z_]+"/g) ?? []);
  const reasons = REASONS.filter((reason) => said.has(`"${reason}"`));
  expect(reasons.length).toBeGreaterThan(10);
  expect(rows.map(([reason]) => reason)).toEqual(expect.arrayContaining(reasons));
});

test("every carrier is asked for by the adapter that carries it, and every adapter that is cut asks", () => {
  const adapters = readdirSync(join(import.meta.dirname, "../../sidecar/adapters"))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => source(`sidecar/adapters/${name}`));
  // What is opaque has neither answers nor messages, and what a server has asked nothing under way: both
  // are cut where they stand, for every reason.
  const asking = adapters.filter(
    (a) => a.includes(".onCut(") && !/protocol: "OPAQUE"|class McpAsks/.test(a),
  );
  expect(asking.length).toBeGreaterThan(1);
  const shared = source("sidecar/gate/carried-action.ts");
  for (const adapter of asking) {
    const cutting = adapter.includes("extends CarriedAction") ? shared : adapter;
    expect(cutting).toContain("mayFinish(");
    expect(cutting).toContain("mayCompleteMessage(");
  }
  for (const [carrier, { boundary }] of Object.entries(CARRIERS)) {
    const asks = [`, "${carrier}")`, `super("${carrier}", `];
    const asked = adapters.some((text) => asks.some((ask) => text.includes(ask)));
    expect([carrier, asked]).toEqual([carrier, boundary !== null]);
  }
});

function render(): string {
  const cells = (...c: string[]): string => `| ${c.join(" | ")} |`;
  const codes = (reasons: readonly Reason[]): string => reasons.map((r) => `\`${r}\``).join(" ");
  return [
    "# What is cut how",
    "",
    "Leave for an action in flight can be taken back. The receipt then says CUT, with the reason.",
    "Written from `sidecar/gate/cuts.ts`: `UPDATE_DOCS=1 npx vitest run test/attacks/cuts.test.ts`.",
    "",
    cells("cause", "reasons", "to the upstream", "one answer still owed", "streams, to the agent"),
    cells("---", "---", "---", "---", "---"),
    ...CUTS.map(({ cause, reasons, request, response }) =>
      cells(cause, codes(reasons), request, response.answering, response.streaming),
    ),
    "",
    `- finish: it may go on to its end, for at most ${unaryGraceUs / 1e6} s; what is left then is cut.`,
    `- boundary: a message that has begun to arrive may arrive whole, within ${cutBoundaryUs / 1e3} ms.`,
    "- nothing: not a byte more. To the upstream it is always so, since the receipt's last egress must lie",
    "  inside a lease: a stream cut in mid-message is reset, so that half a message is never acted on.",
    "",
    cells("protocol", "a boundary is", "an answer that was begun ends with"),
    cells("---", "---", "---"),
    ...Object.values(CARRIERS).map(({ name, boundary, cut }) =>
      cells(name, boundary ?? "none: nothing more passes", cut),
    ),
    "",
    "Before an answer was begun the agent is told the reason and its receipt as by any refusal. An answer",
    "that opens a WebSocket is none that is owed: it does not open after its cut. The upstream is told",
    "that it was cut by a reset stream (gRPC), a closed connection (HTTP), or the sidecar's own close frame",
    "1001, where one can stand (WebSocket), none of which carries anything that the agent said.",
    "CONNECT opens no tunnel that cannot be seen into, but where a rule says `opaque`: what is inside is one",
    "of these.",
    "",
  ].join("\n");
}

test("docs/cuts.md holds the table that the code cuts by", () => {
  const file = join(import.meta.dirname, "../../docs/cuts.md");
  if (process.env.UPDATE_DOCS === "1") writeFileSync(file, render());
  expect(readFileSync(file, "utf8")).toBe(render());
});
