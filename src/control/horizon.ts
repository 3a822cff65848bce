import { message, u64 } from "../domain/canonical.ts";
import type { KeyWrite } from "../storage/control-store.ts";
import type { Tenant } from "./tenant.ts";

/**
 * Until when an instance may hold leases of which nothing is recorded yet. Reserved with each lease,
 * a lease ahead: so the next need not wait for the disk, and whoever starts after a crash knows how
 * long it may have been acting under what nobody remembers.
 */
const HorizonRow = message("horizonRow", { untilUs: u64(1) });

const keyOf = (instanceId: string): string => `horizon/${instanceId}`;

export const horizonRow = (instanceId: string, untilUs: number): KeyWrite => ({
  key: keyOf(instanceId),
  value: HorizonRow.encode({ untilUs }),
});

/** 0: it never held a lease. */
export async function readHorizon(tenant: Tenant, instanceId: string): Promise<number> {
  const row = await tenant.get(keyOf(instanceId));
  return row === null ? 0 : HorizonRow.decode(row.value).untilUs;
}
