const POOL_SALTS = 2048;
const SALT_BYTES = 32;

/**
 * Salts for commitments: 32 fresh random bytes each, never derived, drawn from the system 64 KiB at
 * a time because a draw costs more than its bytes. A pool is never written again once handed out.
 */
export function saltPool(random: (n: number) => Uint8Array): () => Uint8Array {
  let pool = new Uint8Array(0);
  let at = 0;
  return () => {
    if (at === pool.length) {
      pool = new Uint8Array(random(POOL_SALTS * SALT_BYTES));
      at = 0;
    }
    at += SALT_BYTES;
    return pool.subarray(at - SALT_BYTES, at);
  };
}
