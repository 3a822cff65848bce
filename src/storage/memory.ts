import { compare } from "../domain/bytes.ts";
import {
  checkWrites,
  type Range,
  type Row,
  StorageFailed,
  type Store,
  type Write,
} from "./store.ts";

/** A store that lasts as long as its process: for tests, and to say what the contract means. */
export function memoryStore(): Store {
  /** Ascending by key. */
  const rows: Row[] = [];
  let closed = false;

  /** Index of the first row whose key is not below `key`. */
  function find(key: Uint8Array): number {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compare((rows[middle] as Row).key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function apply({ key, value }: Write): void {
    const at = find(key);
    const row = rows[at];
    const held = row !== undefined && compare(row.key, key) === 0;
    if (value !== null) rows.splice(at, held ? 1 : 0, copy({ key, value }));
    else if (held) rows.splice(at, 1);
  }

  return {
    get(key) {
      const row = rows[find(key)];
      return row !== undefined && compare(row.key, key) === 0 ? copy(row).value : null;
    },
    range({ from, below, limit, newestFirst = false }: Range) {
      const found = rows.slice(find(from), Math.max(find(from), find(below)));
      return (newestFirst ? found.reverse() : found).slice(0, Math.max(0, limit)).map(copy);
    },
    async commit(writes) {
      if (closed) throw new StorageFailed("the store is closed");
      checkWrites(writes);
      writes.forEach(apply);
    },
    async close() {
      closed = true;
    },
  };
}

const copy = ({ key, value }: Row): Row => ({
  key: new Uint8Array(key),
  value: new Uint8Array(value),
});
