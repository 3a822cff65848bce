import { toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { checkDock, DOCK, DockBody } from "../../domain/dock.ts";
import { newId } from "../../domain/ids.ts";
import { clockSkewMaxUs } from "../../domain/limits.ts";
import { refOf, signBody } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import { idGenerator } from "../../native/ids.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { type GrantView, listGrants } from "./grant.ts";
import { type Outlet, recordedAt } from "./proposal.ts";

export interface NewDock {
  /** ref(grant), 32 bytes. */
  readonly grantRef: Uint8Array;
  /** Public half of the join key, 32 bytes. */
  readonly joinKey: Uint8Array;
  /** Ledgers that the join key may open. */
  readonly ledgersMax: number;
  /** How long it is open, from now, in microseconds. */
  readonly forUs: number;
}

/** A dock as it is shown. Hashes in hex, times in microseconds. */
export interface DockView {
  readonly dockId: string;
  readonly ref: string;
  readonly grantRef: string;
  readonly joinKeys: readonly { readonly key: string; readonly ledgersMax: number }[];
  readonly notAfterUs: number;
  /** Opened so far. */
  readonly ledgers: number;
}

/** Signs a dock with these operators' grant keys, and records it. */
export async function createDock(
  control: Control,
  signers: readonly Signer[],
  wanted: NewDock,
  outlet: Outlet = recordedAt(control),
): Promise<{ readonly dockId: string; readonly ref: Uint8Array }> {
  const nowUs = control.clock.nowUs();
  const body: DockBody = {
    version: 1,
    dockId: newId("dck", idGenerator()),
    tenantId: control.tenant,
    grantRef: wanted.grantRef,
    joinKeys: [{ key: wanted.joinKey, ledgersMax: wanted.ledgersMax }],
    // From a moment ago: whoever uses it may have a clock that is behind ours.
    notBeforeUs: nowUs - clockSkewMaxUs,
    notAfterUs: nowUs + wanted.forUs,
    issuedAtUs: nowUs,
  };
  const problem = checkDock(native, body);
  if (problem !== null) throw new Failure(EXIT.usage, problem.detail);
  const signed = await signBody(DOCK, body, signers);
  await outlet("dock", signed);
  return { dockId: body.dockId, ref: refOf(native, "dock", signed.body) };
}

/** Every dock, oldest first. */
export async function listDocks(control: Control): Promise<DockView[]> {
  const all: DockView[] = [];
  for await (const page of pages((pageToken) => control.docks.listDocks({ pageToken }))) {
    for (const { signed, ledgers } of page.docks) {
      const bytes = signed?.body ?? new Uint8Array(0);
      const body = DockBody.decode(bytes);
      all.push({
        dockId: body.dockId,
        ref: toHex(refOf(native, "dock", bytes)),
        grantRef: toHex(body.grantRef),
        joinKeys: body.joinKeys.map((k) => ({ key: toHex(k.key), ledgersMax: k.ledgersMax })),
        notAfterUs: body.notAfterUs,
        ledgers: Number(ledgers),
      });
    }
  }
  return all;
}

/** A dock by its id, with its grant. @throws Failure when there is none. */
export async function getDock(
  control: Control,
  dockId: string,
): Promise<{ readonly dock: DockView; readonly grant: GrantView }> {
  const dock = (await listDocks(control)).find((d) => d.dockId === dockId);
  if (dock === undefined) {
    throw new Failure(EXIT.failed, `dock: there is no ${dockId}; see: dragons dock list`);
  }
  const grant = (await listGrants(control)).find((g) => g.ref === dock.grantRef);
  if (grant === undefined) throw new Failure(EXIT.failed, `dock ${dockId}: its grant is not there`);
  return { dock, grant };
}
