import { type RawRow, rowsUnder, rowWrite } from "../storage/control-embedded.ts";
import type { Format } from "../storage/format.ts";
import type { Store, Write } from "../storage/store.ts";
import { OrganismRow, organismKey } from "./organism-row.ts";

/** Form 1 had the view of an organism, its last beat and its horizon in rows of their own, far from one another. */
const VIEW = "organism/";
const BEAT = "beat/";
const HORIZON = "horizon/";

function oneRowEach(store: Store): Write[] {
  const beats = new Map<string, RawRow>();
  for (const row of rowsUnder(store, BEAT)) beats.set(`${row.tenant} ${idOf(row, BEAT)}`, row);
  const gone = (row: RawRow): Write => rowWrite({ ...row, value: null });
  const joined = [...rowsUnder(store, VIEW)].flatMap((row) => {
    const instanceId = idOf(row, VIEW);
    const beat = beats.get(`${row.tenant} ${instanceId}`)?.value;
    const value = OrganismRow.encode({ view: row.value, beat: beat ?? new Uint8Array(0) });
    return [gone(row), rowWrite({ ...row, key: organismKey(instanceId), value })];
  });
  return [...joined, ...[...beats.values(), ...rowsUnder(store, HORIZON)].map(gone)];
}

const idOf = ({ key }: RawRow, prefix: string): string => key.slice(prefix.length);

export const CONTROL_FORMAT: Format = {
  what: "control plane's data",
  version: 2,
  steps: new Map([[1, oneRowEach]]),
};
