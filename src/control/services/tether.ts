import { equal } from "../../domain/bytes.ts";
import { attachStepUs } from "../../domain/limits.ts";
import type { SignedBytes } from "../../domain/signed.ts";
import type { AttachRequest, TetherService } from "../../gen/dragons/v1/tether_pb.ts";
import { fromWire } from "../../wire/artifacts.ts";
import type { Handlers, Requests } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { Tail } from "../../wire/tail.ts";
import type { Admission } from "../admission.ts";
import { sidecarOf } from "../auth.ts";
import { holdsBeside } from "../beside.ts";
import type { Fleet } from "../fleet.ts";
import { learn } from "../learn.ts";
import { attachMessage, type Session } from "../sessions.ts";
import { badArgument, believed } from "./requests.ts";

type Up = AsyncIterator<AttachRequest>;
type Case = NonNullable<AttachRequest["message"]["case"]>;

/** Attaches sidecars: hello, challenge, proof, attached; then beats up, and everything else down. */
export function tetherService(fleet: Fleet, admission: Admission): Handlers<typeof TetherService> {
  const { crypto, clock, random } = fleet.parts;

  /** The next message, which must be of this kind and in time. */
  async function next<C extends Case>(up: Up, kind: C) {
    const late = Promise.withResolvers<never>();
    const timer = clock.after(attachStepUs, () => {
      late.reject(new StatusError("DEADLINE_EXCEEDED", "", `waited too long for ${kind}`));
    });
    try {
      const { done, value } = await Promise.race([up.next(), late.promise]);
      if (done || value.message.case !== kind) throw badArgument("message", `must be ${kind} now`);
      return value.message.value as Extract<AttachRequest["message"], { case: C }>["value"];
    } finally {
      timer.cancel();
    }
  }

  return {
    async *attach(requests, context) {
      const { tenant, ledger } = sidecarOf(context);
      admission.attaching(ledger.ledgerId);
      const up = requests[Symbol.asyncIterator]();
      const hello = await next(up, "hello");
      if (!equal(hello.ledgerId, ledger.ledgerId)) {
        throw new StatusError(
          "PERMISSION_DENIED",
          "CREDENTIAL_INVALID",
          "hello.ledger_id: is not the ledger of this connection's certificate",
        );
      }

      const nonce = random(32);
      const revocationEpoch = BigInt(tenant.revocationEpoch());
      yield { message: { case: "challenge", value: { nonce, revocationEpoch } } };
      const proof = await next(up, "proof");
      const { ledgerKey } = ledger;
      const challenge = attachMessage(nonce, ledger.ledgerId);
      if (!(await holdsBeside(crypto, ledgerKey, challenge, proof.signature))) {
        throw new StatusError(
          "UNAUTHENTICATED",
          "CREDENTIAL_INVALID",
          "proof.signature: is not by the ledger key over this challenge",
        );
      }

      const { sessions, organisms, held } = await fleet.of(tenant).then(async (f) => ({
        sessions: f.sessions,
        organisms: f.organisms,
        held: await f.held(ledger),
      }));
      await learn({ tenant, crypto, organisms }, ledger, {
        lease: proof.lease === undefined ? null : believed(fromWire(proof.lease, "proof.lease")),
        revocations: proof.revocations.map((r) => believed(fromWire(r, "proof.revocations"))),
      });
      const session = await sessions.open({
        ledger,
        held,
        revocationEpoch: Number(hello.revocationEpoch),
        keysetVersion: Number(hello.keysetVersion),
        headSize: Number(proof.head?.size ?? 0n),
        regressed: proof.regressed,
        standing: proof.standing ?? null,
      });
      attend(requests, session, (signed) => {
        admission.beat(ledger.ledgerId);
        return sessions.heard(session, signed);
      });
      return new Tail(session.down, () => sessions.close(session));
    },
  };
}

/** Hears beats for as long as the stream lives. */
function attend(
  requests: Requests<AttachRequest>,
  { down }: Session,
  heard: (beat: SignedBytes) => Promise<void>,
): void {
  requests.each(
    ({ message }) => {
      if (message.case !== "heartbeat") throw badArgument("message", "must be a heartbeat now");
      return heard(believed(fromWire(message.value, "heartbeat")));
    },
    (error) => (error === null ? down.end() : down.fail(error)),
  );
}
