import type { Report } from "../verifier/report.ts";
import type { TrustFault } from "../verifier/trust-file.ts";
import type { Course } from "./course.ts";
import type { Place, Row } from "./row.ts";
import type { Shown } from "./shown.ts";

/** What the page asks of its worker. `id` is the asker's own and comes back with every answer. */
export type Ask =
  | {
      readonly ask: "verify";
      readonly id: number;
      readonly pack: Blob;
      /** The text of a trust file; null: none was given. */
      readonly trust: string | null;
      /** Microseconds since the epoch: what age is judged by where the trust file does not say. */
      readonly nowUs: number;
    }
  /** A receipt laid open, read again from the file. */
  | { readonly ask: "receipt"; readonly id: number; readonly pack: Blob; readonly place: Place };

/** What the worker tells. A verification ends with one of `report`, `fault` and `failure`. */
export type Tell =
  | { readonly tell: "progress"; readonly id: number; readonly read: number; readonly of: number }
  /** What stands before a ledger's receipts holds. */
  | { readonly tell: "course"; readonly id: number; readonly course: Course }
  /** Receipts that hold, in order; of the ledger whose course was told last. */
  | { readonly tell: "rows"; readonly id: number; readonly rows: readonly Row[] }
  | {
      readonly tell: "report";
      readonly id: number;
      readonly report: Report;
      /** SHA-256 of the whole file, hex. */
      readonly sha256: string;
      /** How many receipts hold; the rows told are the first of them. */
      readonly told: number;
      /** Where the receipt stands that broke the pack; null: it did not break at a receipt. */
      readonly broken: Place | null;
    }
  /** The trust file is not one: nothing was verified. */
  | { readonly tell: "fault"; readonly id: number; readonly fault: TrustFault }
  | { readonly tell: "receipt"; readonly id: number; readonly shown: Shown }
  /** The file could not be read from where it lies, or this program has a bug. */
  | { readonly tell: "failure"; readonly id: number; readonly message: string };
