import type { Allowed, Refused } from "../../src/domain/authorize.ts";
import { type Claim, ClaimBody, type LimitState } from "../../src/domain/claim.ts";
import { mayChange } from "../../src/domain/effect.ts";
import { type Limits, type Measure, NO_LIMITS, UNLIMITED } from "../../src/domain/grant.ts";
import type { Enforcement } from "../../src/domain/heartbeat.ts";
import { byName } from "../../src/domain/input.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import { openIntentsMax } from "../../src/domain/limits.ts";
import { type McpServer, type Place, placeOf } from "../../src/domain/mcp-server.ts";
import { Numbered } from "../../src/domain/numbered.ts";
import { ActionBody, EvidenceBody, GoalBody, OutcomeBody } from "../../src/domain/payload.ts";
import type { Finished } from "../../src/domain/progress.ts";
import type { Needs } from "../../src/domain/read-inputs.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { ActionRequest, Denial, Ending } from "../adapters/exchange.ts";
import { LedgerUnavailable, type OpenIntent, type WorkLedger } from "../ledger/work-ledger.ts";
import { namesAddress } from "../upstream/address.ts";
import type { AuthorityHolder } from "./authority.ts";
import { ByteBudget } from "./byte-budget.ts";
import { mintPermit, type Permit, type Powers } from "./permit.ts";
import { Spending, type Taken } from "./spending.ts";

/** What the gate asks of the ledger. */
export type GateLedger = Pick<WorkLedger, "open" | "close" | "record" | "spent" | "reserve">;

/** What stands in every receipt of this run. */
export interface RunFacts {
  readonly manifestHash: Uint8Array;
  /** The grant's purpose. */
  readonly purpose: string;
  /** `--goal` of this run; empty: none. */
  readonly goal: string;
  readonly measure: Measure;
  readonly enforcement: Enforcement;
  /** What the manifest says of MCP servers that speak HTTP. */
  readonly servers: readonly McpServer[];
  /** Scopes of which it says that they are merely listened to. */
  readonly listens: readonly string[];
}

/** Who is told of what the gate did, after it did it: semantic progress, and people. */
export interface GateObserver {
  denied(denial: Denial): void;
  /** It passes, since the lease merely observes; else it would be this denial. */
  observed(denial: Denial): void;
  finished(action: Finished): void;
  /** Half of what the lease left to spend in a scope is gone, and then half of that, and so on. */
  low(scope: string): void;
}

/** An action that is being refused before anything was decided, as far as it could be read. */
export interface Attempt {
  /** null: there was nothing to read a claim from. */
  readonly claim: Claim | null;
  readonly traceparent: string;
}

interface OpenAction {
  readonly claim: Claim;
  readonly scope: string;
  readonly place: Place;
  /** A rule of the manifest names this very address, so a private or loopback one is meant. */
  readonly named: boolean;
  readonly leaseId: string;
  readonly intent: OpenIntent;
  /** Its place in the scope's limits. */
  readonly taken: Taken;
  /** null: its scope's bytes are not limited. */
  readonly budget: ByteBudget | null;
  /** ref(lease) at opening, and of each that took over. */
  readonly leases: Uint8Array[];
}

interface Admitted {
  readonly permit: Permit;
  readonly action: OpenAction;
}

interface EndedAction {
  readonly action: OpenAction;
  readonly ending: Ending;
  readonly spentBytes: number;
  readonly closedAtUs: number;
}

const EMPTY = new Uint8Array(0);

/**
 * The one place where leave to act is given, at every action: authority is decided from the claim
 * alone, limits are reserved, the intent is made durable, and only then, if the clock still allows,
 * is a permit minted. It knows no protocol.
 */
export class Gate {
  readonly #ledger: GateLedger;
  readonly #authority: AuthorityHolder;
  readonly #clock: Clock;
  readonly #facts: RunFacts;
  readonly #observer: GateObserver;
  readonly #spending: Spending;
  readonly #open = new Numbered<Admitted>();
  /** Actions that are being decided, their intents made durable. */
  #opening = 0;
  /** Without a receipt yet. */
  readonly #ended: EndedAction[] = [];
  readonly #waiting: (() => void)[] = [];
  /** The evidence of what was not carried out: how this run is measured and enforced, no more. */
  readonly #nothingDone: Uint8Array;
  /** Calls without a traceparent share one encoding. */
  readonly #plainGoal: Uint8Array;

  constructor(
    ledger: GateLedger,
    authority: AuthorityHolder,
    clock: Clock,
    facts: RunFacts,
    observer: GateObserver,
  ) {
    this.#ledger = ledger;
    this.#authority = authority;
    this.#clock = clock;
    this.#facts = facts;
    this.#observer = observer;
    this.#spending = new Spending(ledger, (scope) => observer.low(scope));
    this.#plainGoal = this.#encodeGoal("");
    const { measure, enforcement } = facts;
    this.#nothingDone = EvidenceBody.encode({
      ...EvidenceBody.empty(),
      version: 1,
      measure,
      enforcement,
    });
    authority.onChange(() => this.#reconsider());
  }

  /** Actions carried out right now. */
  inFlight(): number {
    return this.#open.size;
  }

  /** What is left to spend in each scope of the lease in hand, as it stands. */
  left(): LimitState[] {
    const lease = this.#authority.lease;
    const monotonicUs = this.#clock.monotonicUs();
    return (lease?.body.scopes ?? []).map(({ name, limits }) =>
      this.#spending.left((lease as Verified<LeaseBody>).body.grantRef, name, limits, monotonicUs),
    );
  }

  /** Body bytes that actions still open in a scope have passed, where they are limited. */
  passing(scope: string): number {
    let bytes = 0;
    for (const { action } of this.#open.values()) {
      if (action.scope === scope) bytes += action.budget?.passed ?? 0;
    }
    return bytes;
  }

  /** Leave for one action, or why not. Whoever gets a permit must settle it. */
  async admit(request: ActionRequest): Promise<Permit | Denial> {
    this.#opening++;
    try {
      return await this.#admit(request);
    } finally {
      this.#opening--;
      this.#tellIdle();
    }
  }

  async #admit(asked: ActionRequest): Promise<Permit | Denial> {
    const first = this.#authority.decide(asked.claim);
    const { needs } = (first.allowed ? first.wouldDeny : first) ?? WITHOUT;
    const request = needs === null ? asked : await withInputs(asked, needs);
    // A body takes its time to come: authority is asked again from the beginning.
    const decision = needs === null ? first : this.#authority.decide(request.claim);
    if (!decision.allowed) {
      return this.#deny(request, decision);
    }
    if (this.#open.size + this.#opening > openIntentsMax) {
      return this.#deny(request, why("OVERLOADED", "too many actions are open", decision.scope));
    }
    const lease = this.#authority.lease as Verified<LeaseBody>;
    const { grantRef } = lease.body;
    const { scope } = decision;
    const limits = limitsOf(lease.body, decision);
    const taken = this.#spending.take(grantRef, scope, limits, this.#clock.monotonicUs());
    const claim: Claim = { ...request.claim, limitState: [taken.state] };
    if ("spent" in taken) {
      const detail = `its lease allows ${taken.spent} in ${scope}, and they are spent`;
      return this.#deny({ ...request, claim }, why("LIMIT_SPENT", detail, scope));
    }
    let intent: OpenIntent;
    try {
      intent = await this.#ledger.open({
        claim,
        listens: request.listens === true || this.#facts.listens.includes(scope),
        goal: this.#goal(request.traceparent),
        grantRef,
        leaseRef: lease.ref,
        manifestHash: this.#facts.manifestHash,
        scope,
        wouldDeny: decision.wouldDeny?.reason ?? "UNSPECIFIED",
        openedAtUs: this.#clock.nowUs(),
        reservedBytes: taken.reservedBytes,
        recent: taken.recent,
      });
    } catch (error) {
      taken.release();
      if (!(error instanceof LedgerUnavailable)) throw error;
      return told(why(error.reason, error.message, scope), "", lease.body.leaseId);
    }
    const leaseId = lease.body.leaseId;
    const place = placeOf(this.#facts.servers, claim);
    const named = decision.named && namesAddress(place.target);
    const budget =
      limits.maxBytes === UNLIMITED ? null : this.#budget(grantRef, scope, intent, taken);
    const leases = [lease.ref];
    const action = { claim, scope, place, named, leaseId, intent, taken, budget, leases };
    const leave = this.#mint(action, lease);
    if (decision.wouldDeny !== null && !("denied" in leave)) {
      this.#observer.observed(told(decision.wouldDeny, intent.receiptId, leaseId));
    }
    return leave;
  }

  /** The clock once more: making the intent durable took time. */
  #mint(action: OpenAction, opened: Verified<LeaseBody>): Permit | Denial {
    const objection = this.#objection(action);
    if (objection !== null) {
      this.#ledger.close(action.intent, {
        verdict: "DENIED",
        reason: objection.reason,
        closedAtUs: this.#clock.nowUs(),
        egressLastUs: 0,
        spentBytes: 0,
        action: EMPTY,
        evidence: this.#nothingDone,
        outcome: EMPTY,
      });
      action.taken.release();
      return told(objection, action.intent.receiptId, action.leaseId);
    }
    const now = this.#authority.lease as Verified<LeaseBody>;
    if (now !== opened) action.leases.push(now.ref);
    const facts = {
      receiptId: action.intent.receiptId,
      intentSeq: action.intent.intentSeq,
      claim: action.claim,
      place: action.place,
      scope: action.scope,
      leaseRef: opened.ref,
      openedAtUs: action.intent.openedAtUs,
      namesAddress: action.named,
    };
    const permit = mintPermit(facts, {
      spend: this.#spendOf(action, () => permit),
      look: (nowUs) => {
        if (this.#authority.lapsed(nowUs)) this.#recheck(permit);
      },
    });
    this.#open.add(facts.intentSeq, { permit, action });
    return permit;
  }

  /** Further blocks come out of what the lease in hand then leaves, which may be the next one's. */
  #budget(grantRef: Uint8Array, scope: string, intent: OpenIntent, taken: Taken): ByteBudget {
    return new ByteBudget(taken.reservedBytes, (needed) => {
      const lease = this.#authority.lease as Verified<LeaseBody>;
      const limits = limitsIn(lease.body, scope) ?? NONE;
      return this.#spending.more(grantRef, intent, { scope, limits, needed });
    });
  }

  #spendOf({ budget, scope }: OpenAction, permit: () => Permit): Powers["spend"] {
    if (budget === null) return () => true;
    const cutFor = (reason: Reason, detail: string): false => {
      const action = this.#actionOf(permit());
      if (action !== undefined) cut(permit(), action, why(reason, detail, scope));
      return false;
    };
    return (bytes) => {
      const leave = budget.spend(bytes);
      if (leave === true) return true;
      return leave.then(
        (given) => given || cutFor("LIMIT_SPENT", `the bytes that ${scope} allows are spent`),
        (error) => {
          if (!(error instanceof LedgerUnavailable)) throw error;
          return cutFor(error.reason, error.message);
        },
      );
    };
  }

  /**
   * Whether an action of this claim would be let in now, by its scope and conditions alone: for what is
   * only shown, or heard. Nothing is taken, and nothing told.
   */
  allows(claim: Claim): boolean {
    const decision = this.#authority.decide(claim);
    return decision.allowed || decision.needs !== null;
  }

  /** Refuses what never came to a decision, with a receipt. */
  refuse(attempt: Attempt, reason: Reason, detail: string): Denial {
    return this.#deny(attempt, why(reason, detail, ""));
  }

  /** undefined: it was settled. */
  #actionOf(permit: Permit): OpenAction | undefined {
    return this.#open.get(permit.facts.intentSeq)?.action;
  }

  /** Looks at one admitted action again: cut, if leave for it is gone. */
  #recheck(permit: Permit): void {
    const action = this.#actionOf(permit);
    if (action === undefined) return;
    const objection = this.#objection(action);
    if (objection !== null) cut(permit, action, objection);
  }

  /** Why an admitted action may not go on; null: it may, in the very scope that it was opened in. */
  #objection({ claim, scope }: OpenAction): Refused | null {
    const decision = this.#authority.decide(claim);
    if (!decision.allowed) return decision;
    if (decision.scope === scope) return null;
    // Another scope may allow it too, but its limits were never asked.
    return why("SCOPE_NOT_GRANTED", `the lease in hand no longer holds ${scope}`, scope);
  }

  /**
   * Takes how a permitted action ended: its place is free at once, its receipt is made once the answer
   * has gone. A second telling changes nothing.
   */
  settle(permit: Permit, ending: Ending): void {
    const action = this.#actionOf(permit);
    if (action === undefined) return;
    this.#open.delete(permit.facts.intentSeq);
    const { budget, taken } = action;
    const passed = ending.request.bodyBytes + ending.response.bodyBytes;
    const spentBytes = budget === null ? 0 : passed;
    budget?.end();
    taken.release();
    this.#ended.push({ action, ending, spentBytes, closedAtUs: this.#clock.nowUs() });
    if (this.#ended.length === 1) setImmediate(() => this.#tellEnded());
  }

  #tellEnded(): void {
    for (const ended of this.#ended.splice(0)) this.#close(ended);
    this.#tellIdle();
  }

  #close({ action, ending, spentBytes, closedAtUs }: EndedAction): void {
    const { claim } = action;
    const { request, response } = ending;
    this.#ledger.close(action.intent, {
      verdict: ending.verdict,
      reason: ending.reason,
      closedAtUs,
      egressLastUs: ending.egressLastUs,
      spentBytes,
      action: ActionBody.encode({
        version: 1,
        protocol: claim.protocol,
        target: claim.target,
        verb: claim.verb,
        path: claim.path,
        headerNames: request.headerNames as string[],
        querySha256: ending.querySha256,
        bodySha256: request.bodySha256,
        bodyBytes: request.bodyBytes,
        messages: request.messages,
        scheme: claim.scheme,
      }),
      evidence: EvidenceBody.encode({
        version: 1,
        dialled: ending.dialled,
        peerCertificate: ending.peerCertificate,
        leases: action.leases,
        firstByteUs: ending.firstByteUs,
        measure: this.#facts.measure,
        enforcement: this.#facts.enforcement,
      }),
      outcome: OutcomeBody.encode({
        version: 1,
        status: ending.status,
        headerNames: response.headerNames as string[],
        trailerNames: response.trailerNames as string[],
        bodySha256: response.bodySha256,
        bodyBytes: response.bodyBytes,
        messages: response.messages,
      }),
    });
    this.#observer.finished(finishedAction(action, ending));
  }

  /** Takes all leave back, whatever the authority: this process is about to end. */
  cutAll(reason: Reason, detail: string): void {
    for (const { permit, action } of this.#open.values())
      cut(permit, action, why(reason, detail, ""));
  }

  /** Resolves once nothing is being admitted and everything that was is settled. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#tellIdle();
    });
  }

  #tellIdle(): void {
    if (this.#open.size + this.#opening + this.#ended.length > 0) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** After any change of authority: what is still allowed goes on under it, the rest is cut. */
  #reconsider(): void {
    const lease = this.#authority.lease;
    for (const { permit, action } of this.#open.values()) {
      const objection = this.#objection(action);
      if (objection !== null) cut(permit, action, objection);
      else if (lease !== null && action.leases.at(-1) !== lease.ref) action.leases.push(lease.ref);
    }
  }

  #deny(attempt: Attempt, refused: Refused): Denial {
    const lease = this.#authority.lease;
    let receiptId = "";
    try {
      receiptId = this.#ledger.record({
        kind: "DENIAL",
        reason: refused.reason,
        scope: refused.scope,
        leaseRef: lease?.ref ?? EMPTY,
        manifestHash: this.#facts.manifestHash,
        claim: attempt.claim === null ? EMPTY : ClaimBody.encode(attempt.claim),
        goal: this.#goal(attempt.traceparent),
        action: EMPTY,
        evidence: this.#nothingDone,
        outcome: EMPTY,
        openedAtUs: this.#clock.nowUs(),
      });
    } catch (error) {
      // It stays refused; the ledger itself counts what it could not take.
      if (!(error instanceof LedgerUnavailable)) throw error;
    }
    const denial = told(refused, receiptId, lease?.body.leaseId ?? "");
    this.#observer.denied(denial);
    if (attempt.claim !== null) this.#observer.finished(refusedAction(attempt.claim, refused));
    return denial;
  }

  #goal(traceparent: string): Uint8Array {
    return traceparent === "" ? this.#plainGoal : this.#encodeGoal(traceparent);
  }

  #encodeGoal(traceparent: string): Uint8Array {
    const { purpose, goal } = this.#facts;
    return GoalBody.encode({ version: 1, purpose, goal, traceparent });
  }
}

/** Nothing that inputs would change. */
const WITHOUT: Pick<Refused, "needs"> = { needs: null };

/** A request with what it shows of the inputs that conditions ask for, in its claim. */
async function withInputs(request: ActionRequest, needs: Needs): Promise<ActionRequest> {
  const inputs = [...request.claim.inputs, ...(await request.inputs(needs))].sort(byName);
  return { ...request, claim: { ...request.claim, inputs } };
}

/** A refusal that is not the domain's. */
const why = (reason: Reason, detail: string, scope: string): Refused => ({
  allowed: false,
  reason,
  detail,
  scope,
  remedy: "",
  rule: null,
  needs: null,
});

const told = (refused: Refused, receiptId: string, leaseId: string): Denial => ({
  denied: true,
  reason: refused.reason,
  message: refused.detail,
  receiptId,
  leaseId,
  scope: refused.scope,
  remedy: refused.remedy,
});

const cut = (permit: Permit, action: OpenAction, refused: Refused): void =>
  permit.cut(told({ ...refused, scope: action.scope }, permit.facts.receiptId, action.leaseId));

/** Of every action, so by one call out of JavaScript. */
const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");

/** What is work and what is mere activity shows by what was asked and what came of it. */
const finishedAction = (
  { claim, scope }: OpenAction,
  { verdict, reason, status, request, response }: Ending,
): Finished => ({
  scope,
  target: `${claim.protocol} ${claim.target}`,
  shape: `${claim.verb} ${claim.path} ${request.headerNames.join(" ")}`,
  request: hex(request.bodySha256),
  requestBytes: request.bodyBytes,
  answer: `${reason} ${status} ${hex(response.bodySha256)}`,
  effect: mayChange(claim),
  completed: verdict === "COMPLETED",
});

const refusedAction = (claim: Claim, { scope, reason }: Refused): Finished => ({
  scope,
  target: `${claim.protocol} ${claim.target}`,
  shape: `${claim.verb} ${claim.path}`,
  request: "",
  requestBytes: 0,
  answer: reason,
  effect: mayChange(claim),
  completed: false,
});

const NONE: Limits = { maxActions: 0, maxBytes: 0, ratePerMinute: 0, maxConcurrent: 0 };

/** A scope that the lease does not hold has nothing to spend; what is merely observed is in none. */
const limitsOf = (lease: LeaseBody, { scope, wouldDeny }: Allowed): Limits =>
  limitsIn(lease, scope) ?? (wouldDeny === null ? NONE : NO_LIMITS);

const limitsIn = (lease: LeaseBody, scope: string): Limits | undefined =>
  lease.scopes.find((s) => s.name === scope)?.limits;
