import type { Report } from "../verifier/report.ts";
import type { TrustFault } from "../verifier/trust-file.ts";

/** What the page asks of its worker. `id` is the asker's own and comes back with every answer. */
export interface Ask {
  readonly ask: "verify";
  readonly id: number;
  readonly pack: Blob;
  /** The text of a trust file; null: none was given. */
  readonly trust: string | null;
  /** Microseconds since the epoch: what age is judged by where the trust file does not say. */
  readonly nowUs: number;
}

/** What the worker tells. A verification ends with one of `report`, `fault` and `failure`. */
export type Tell =
  | { readonly tell: "progress"; readonly id: number; readonly read: number; readonly of: number }
  | { readonly tell: "report"; readonly id: number; readonly report: Report }
  /** The trust file is not one: nothing was verified. */
  | { readonly tell: "fault"; readonly id: number; readonly fault: TrustFault }
  /** The pack could not be read from where it lies, or this program has a bug. */
  | { readonly tell: "failure"; readonly id: number; readonly message: string };
