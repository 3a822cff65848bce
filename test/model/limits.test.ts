import fc from "fast-check";
import { expect, test } from "vitest";
import type { Ending } from "../../sidecar/adapters/exchange.ts";
import { AuthorityHolder } from "../../sidecar/gate/authority.ts";
import { Gate } from "../../sidecar/gate/gate.ts";
import type { Permit } from "../../sidecar/gate/permit.ts";
import { startLedger } from "../../sidecar/ledger/open-ledger.ts";
import type { WorkLedger } from "../../sidecar/ledger/work-ledger.ts";
import { spentUnder } from "../../sidecar/tether/spent.ts";
import { ceilings } from "../../src/control/slabs.ts";
import { authorize } from "../../src/domain/authorize.ts";
import { cosignCheckpoint, signCheckpoint } from "../../src/domain/checkpoint.ts";
import { GrantBody, type Limits, UNLIMITED } from "../../src/domain/grant.ts";
import { ManifestBody } from "../../src/domain/manifest.ts";
import { compileScopes } from "../../src/domain/scope.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { countedRefusals, GatedStore, turn } from "../ledger/fixture.ts";
import { check, crypto, keyOf, SECOND, START_US, Story } from "../verifier/build.ts";

/**
 * One instance under its limits, with everything real but the network: issuer's slabs, gate, ledger,
 * crashes. Whatever happens, no more is spent than was granted, and what the ledger says of it holds
 * before the verifier, claim by claim.
 */

/** Few enough to be reached; now and then one is missing, or lends nothing. */
const limits: fc.Arbitrary<Limits> = fc.record({
  maxActions: fc.constantFrom(130, 30, 3, UNLIMITED, 0),
  maxBytes: fc.constantFrom(60_000, 9000, 50, UNLIMITED, 0),
  ratePerMinute: fc.constantFrom(40, 8, UNLIMITED, UNLIMITED, 0),
  maxConcurrent: fc.constantFrom(9, 2, UNLIMITED, UNLIMITED, 0),
});
const ALL = { from: Uint8Array.of(0), below: Uint8Array.of(255), limit: Number.MAX_SAFE_INTEGER };
const none = new Uint8Array(0);

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("open"), n: fc.integer({ min: 1, max: 12 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("pass"), n: fc.integer({ min: 1, max: 9000 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("end"), n: fc.integer({ min: 1, max: 9 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("wait"), n: fc.integer({ min: 1, max: 25 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("renew"), n: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("crash"), n: fc.constant(0) }) },
);

class Instance {
  readonly story: Story;
  readonly limits: Limits;
  readonly clock = new ManualClock(START_US + SECOND);
  #store = new GatedStore();
  #ledger!: WorkLedger;
  #gate!: Gate;
  #holder!: AuthorityHolder;
  #open: { permit: Permit; passed: number }[] = [];
  /** By the monotonic clock. */
  readonly openedAtUs: number[] = [];
  passed = 0;
  permitted = 0;

  private constructor(story: Story, limits: Limits) {
    this.story = story;
    this.limits = limits;
  }

  static async aboard(limits: Limits): Promise<Instance> {
    const instance = new Instance(await Story.begin({ limits }), limits);
    await instance.#start();
    return instance;
  }

  async #start(): Promise<void> {
    const { story, clock } = this;
    const key = keyOf("ledger");
    const sign = async (messages: readonly Uint8Array[]) =>
      messages.map((m) => crypto.sign(key.seed, m));
    const { ledgerId, tenantId, manifestHash } = story;
    this.#ledger = await startLedger(
      { ledgerId, tenantId, manifestHash },
      {
        clock,
        store: ledgerStore(this.#store),
        signer: { publicKey: key.publicKey, sign, close: async () => {} },
        refusals: countedRefusals(),
        release: async () => {},
      },
    );
    const subject = {
      tenantId,
      instanceId: story.leases[0]?.body.instanceId ?? "",
      ledgerId,
      manifestHash,
      scopes: compileScopes(ManifestBody.decode(story.manifestBytes)),
      granted: [],
    };
    this.#holder = new AuthorityHolder(clock, (held, claim, nowUs) => {
      const { instanceId } = held.lease?.body ?? { instanceId: "" };
      return authorize({ ...held, subject: { ...subject, instanceId } }, claim, nowUs);
    });
    const facts = {
      manifestHash,
      purpose: "reconcile payments",
      goal: "",
      measure: "FILES",
      servers: [],
      listens: [],
      enforcement: "ADVISORY",
    } as const;
    const observer = { denied() {}, observed() {}, finished() {}, low() {} };
    this.#gate = new Gate(this.#ledger, this.#holder, clock, facts, observer);
    this.#holder.set({ manifestRecorded: true });
    await this.renew();
  }

  /** As the tether and the issuer would. */
  async renew(): Promise<void> {
    const { story } = this;
    await this.#ledger.flushed();
    story.nowUs = this.clock.nowUs();
    const grant = { ref: story.grantRef, body: GrantBody.decode(story.grant.body) };
    const scopes = ceilings({
      granted: grant.body.scopes,
      last: story.leases.at(-1)?.body.scopes ?? [],
      others: [],
      spent: spentUnder(grant, this.#ledger, (s) => this.#gate.passing(s)).toSorted((a, b) =>
        a.scope < b.scope ? -1 : 1,
      ),
      nowUs: story.nowUs,
    });
    const { size, root, intentsOpened, intentsHead } = this.#ledger.head();
    const head = { headSize: size, headRoot: root, intentsOpened, intentsHead };
    await story.lease((b) => ({ ...b, ...head, scopes }));
    const lease = story.leases.at(-1);
    if (lease !== undefined) this.#holder.adopt(lease);
  }

  /** All at once: some will find that something is spent. */
  async open(n: number): Promise<void> {
    const claim = { ...this.story.claim({}), limitState: [] };
    const request = { claim, traceparent: "", deadlineUs: 0, inputs: () => [] };
    const answers = await Promise.all(Array.from({ length: n }, () => this.#gate.admit(request)));
    for (const answer of answers) {
      if ("denied" in answer) {
        expect(answer.reason).toBe("LIMIT_SPENT");
        continue;
      }
      this.permitted++;
      this.openedAtUs.push(this.clock.monotonicUs());
      this.#open.push({ permit: answer, passed: 0 });
    }
    expect(this.#open.length).toBeLessThanOrEqual(this.limits.maxConcurrent);
  }

  async pass(bytes: number): Promise<void> {
    const [first] = this.#open;
    if (first === undefined || first.permit.cutBy !== null) return;
    if (!(await first.permit.spend(bytes))) {
      expect(first.permit.cutBy).toMatchObject({ reason: "LIMIT_SPENT" });
      return;
    }
    first.passed += bytes;
    this.passed += bytes;
  }

  end(n: number): void {
    for (const { permit, passed } of this.#open.splice(0, n)) {
      this.#gate.settle(permit, endingOf(passed, permit.cutBy !== null));
    }
  }

  async wait(seconds: number): Promise<void> {
    await this.#ledger.flushed();
    // A block that was asked for early is on its way, and must not look late for this clock's jump.
    await turn();
    await turn();
    this.clock.advance(seconds * SECOND);
    await this.renew();
  }

  /** Everything that is not durable is gone, and so is every stream. */
  async crash(): Promise<void> {
    const copy = memoryStore();
    await copy.commit(this.#store.range(ALL));
    this.#store = new GatedStore(copy);
    this.#holder.close();
    this.#open = [];
    await this.#start();
  }

  async verdict() {
    const { story } = this;
    this.end(this.#open.length);
    await this.#gate.idle();
    await this.#ledger.flushed();
    const head = this.#ledger.head();
    const { ledgerId, ledgerKey } = story;
    const note = await signCheckpoint(crypto, { ledgerId, ...head }, ledgerKey);
    const cosigner = { name: "control", signer: story.cosigner };
    const at = Math.floor(this.clock.nowUs() / SECOND);
    const checkpoints = [await cosignCheckpoint(crypto, note, cosigner, at)];
    story.nowUs = this.clock.nowUs();
    const pack = await story.pack(
      {},
      {
        head,
        checkpoints,
        read: (from, limit) => this.#ledger.read(from, limit),
        openIntents: this.#ledger.openIntents(),
      },
    );
    this.#holder.close();
    return check(story, pack);
  }
}

const passage = (bodyBytes: number) => ({
  headerNames: [],
  trailerNames: [],
  bodySha256: crypto.sha256(none),
  bodyBytes,
  messages: 1,
});
const endingOf = (bytes: number, cut: boolean): Ending => ({
  verdict: cut ? "CUT" : "COMPLETED",
  reason: cut ? "LIMIT_SPENT" : "UNSPECIFIED",
  status: "grpc-status: 0",
  querySha256: new Uint8Array(),
  request: passage(bytes),
  response: passage(0),
  dialled: "",
  peerCertificate: none,
  firstByteUs: 0,
  egressLastUs: 0,
});

test("whatever happens at the gate, no limit is passed, and the evidence of it holds", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), limits, async (steps, granted) => {
      const instance = await Instance.aboard(granted);
      for (const { do: what, n } of steps) {
        if (what === "open") await instance.open(n);
        else if (what === "pass") await instance.pass(n);
        else if (what === "end") instance.end(n);
        else if (what === "wait") await instance.wait(n);
        else if (what === "renew") await instance.renew();
        else await instance.crash();
      }
      expect(instance.permitted).toBeLessThanOrEqual(granted.maxActions);
      expect(instance.passed).toBeLessThanOrEqual(granted.maxBytes);
      const { openedAtUs } = instance;
      for (const [i, at] of openedAtUs.entries()) {
        const within = openedAtUs.slice(0, i + 1).filter((o) => o > at - 60 * SECOND);
        expect(within.length).toBeLessThanOrEqual(granted.ratePerMinute);
      }
      const report = await instance.verdict();
      expect(report.broken).toBeNull();
      expect(report.flags.map((f) => f.flag)).not.toContain("RATE_EXCEEDED");
    }),
    { numRuns: 60 },
  );
});
