import { AUTHORITY } from "./authority.ts";
import type { AttackCase } from "./case.ts";
import { CHAIN } from "./chain.ts";
import { DISCLOSURE, INTENTS } from "./disclosure.ts";
import { ENCODING } from "./encoding.ts";
import { HEADS } from "./heads.ts";
import { KEYS } from "./keys.ts";
import { KEYSETS } from "./keysets.ts";
import { LEASES } from "./leases.ts";
import { LIMITS } from "./limits.ts";
import { RECORDED } from "./recorded.ts";
import { SCOPE, TIME } from "./scope.ts";
import { TENANTS, TRANSITIONS } from "./tenants.ts";

/** Every case, as it is told. */
export const ATTACKS: readonly AttackCase[] = [
  ...CHAIN,
  ...HEADS,
  ...KEYS,
  ...ENCODING,
  ...KEYSETS,
  ...AUTHORITY,
  ...LEASES,
  ...SCOPE,
  ...TIME,
  ...LIMITS,
  ...INTENTS,
  ...DISCLOSURE,
  ...TENANTS,
  ...TRANSITIONS,
  ...RECORDED,
];
