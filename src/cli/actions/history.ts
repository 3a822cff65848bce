import { toHex } from "../../domain/bytes.ts";
import { verifyDock } from "../../domain/dock.ts";
import { type GenesisBody, verifyGenesis } from "../../domain/genesis.ts";
import { type GrantBody, verifyGrant } from "../../domain/grant.ts";
import { beatLedger, type HeartbeatBody, verifyHeartbeat } from "../../domain/heartbeat.ts";
import { type Agreement, type Origin, retrace } from "../../domain/history.ts";
import { type Invalid, isInvalid } from "../../domain/invalid.ts";
import type { KeysetBody } from "../../domain/keyset.ts";
import type { SignedBytes, Verified } from "../../domain/signed.ts";
import {
  type ConditionType,
  type State,
  type TransitionBody,
  verifyTransition,
} from "../../domain/transition.ts";
import type { SignedBytes as WireSigned } from "../../gen/dragons/v1/artifacts_pb.ts";
import type { ListTransitionsResponse } from "../../gen/dragons/v1/organism_pb.ts";
import { native } from "../../native/crypto.ts";
import { fromWire } from "../../wire/artifacts.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { readKeyset } from "./operator.ts";

export interface TransitionView {
  readonly transitionId: string;
  readonly atUs: number;
  readonly from: State;
  readonly to: State;
  readonly cause: string;
  readonly condition: ConditionType;
  readonly reason: string;
  /** The operator's login key, hex; empty: no operator. */
  readonly actor: string;
  /** Whether it follows from what it cites, and why not. */
  readonly agreement: Agreement;
  readonly why: string;
}

export interface HistoryView {
  readonly transitions: readonly TransitionView[];
  readonly agreement: Agreement;
  /** It begins with its birth. */
  readonly whole: boolean;
}

/**
 * Every change of state of one organism, oldest first, each decided again here from what it cites. The
 * control plane is asked for the records and believed in nothing: all of them are verified from
 * the pinned root on.
 * @throws Failure when a signature does not hold.
 */
export async function organismHistory(
  control: Control,
  rootKey: Uint8Array,
  instanceId: string,
): Promise<HistoryView> {
  const keyset = await readKeyset(control, rootKey);
  const nowUs = control.clock.nowUs();
  const ledgers = new Map<string, Ledger>();
  const beats = new Map<string, HeartbeatBody>();
  const transitions: TransitionBody[] = [];
  const page = (pageToken: string) => control.organisms.listTransitions({ instanceId, pageToken });
  for await (const answer of pages(page)) {
    if (ledgers.size === 0) openLedgers(answer, keyset, nowUs, ledgers);
    for (const heartbeat of answer.heartbeats) {
      const beat = beatOf(heartbeat, [...ledgers.values()]);
      beats.set(toHex(beat.ref), beat.body);
    }
    for (const transition of answer.transitions) {
      const signed = opened<SignedBytes>("transition", fromWire(transition, "transition"));
      const verified = verifyTransition(native, signed, keyset, nowUs);
      transitions.push(opened<Verified<TransitionBody>>("transition", verified).body);
    }
  }
  const { moments, agreement, whole } = retrace({
    transitions,
    beat: (ref) => beats.get(toHex(ref)) ?? null,
    origin: (ledgerId) => ledgers.get(toHex(ledgerId))?.origin ?? null,
  });
  return {
    agreement,
    whole,
    transitions: moments.map((m) => ({
      transitionId: m.transition.transitionId,
      atUs: m.transition.atUs,
      from: m.transition.from,
      to: m.transition.to,
      cause: m.transition.cause,
      condition: m.transition.condition,
      reason: m.transition.reason,
      actor: toHex(m.transition.actor),
      agreement: m.agreement,
      why: m.why,
    })),
  };
}

interface Ledger {
  readonly genesis: Verified<GenesisBody>;
  readonly origin: Origin;
}

/** Ledgers from the operators' grants down, by ledger id (hex). */
function openLedgers(
  answer: ListTransitionsResponse,
  keyset: Verified<KeysetBody>,
  nowUs: number,
  ledgers: Map<string, Ledger>,
): void {
  const grants = answer.grants.map((wire) => {
    const signed = opened<SignedBytes>("grant", fromWire(wire, "grant"));
    return opened<Verified<GrantBody>>("grant", verifyGrant(native, signed, keyset, null, nowUs));
  });
  for (const wire of answer.geneses) {
    const signed = opened<SignedBytes>("genesis", fromWire(wire, "genesis"));
    const found = answer.docks.flatMap((dock) => bornAt(signed, dock, grants, keyset, nowUs));
    const [ledger] = found;
    if (ledger === undefined) throw untrusted("genesis", "no dock that operators signed names it");
    ledgers.set(toHex(ledger.genesis.ref), ledger);
  }
}

/** The ledger, if it was born at this dock; none otherwise. */
function bornAt(
  signed: SignedBytes,
  dock: WireSigned,
  grants: readonly Verified<GrantBody>[],
  keyset: Verified<KeysetBody>,
  nowUs: number,
): Ledger[] {
  const named = opened<SignedBytes>("dock", fromWire(dock, "dock"));
  return grants.flatMap((grant) => {
    const verified = verifyDock(native, named, keyset, grant, nowUs);
    if (isInvalid(verified)) return [];
    const genesis = verifyGenesis(native, signed, verified);
    if (isInvalid(genesis)) return [];
    const { liveness } = grant.body;
    return [{ genesis, origin: { manifestHash: genesis.body.manifestHash, liveness } }];
  });
}

function beatOf(wire: WireSigned, ledgers: readonly Ledger[]): Verified<HeartbeatBody> {
  const signed = opened<SignedBytes>("heartbeat", fromWire(wire, "heartbeat"));
  for (const { genesis } of ledgers) {
    const beat = verifyHeartbeat(native, signed, beatLedger(genesis));
    if (!isInvalid(beat)) return beat;
  }
  throw untrusted("heartbeat", "no ledger of this instance signed it");
}

/** @throws Failure for what does not hold. */
function opened<T extends object>(what: string, value: T | Invalid): T {
  if (isInvalid(value)) throw untrusted(what, `${value.detail} (${value.code})`);
  return value as T;
}

const untrusted = (what: string, why: string): Failure =>
  new Failure(EXIT.refused, `a ${what} of this history is not to be trusted: ${why}`);
