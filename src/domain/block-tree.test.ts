import { expect, test } from "vitest";
import { BlockTree } from "./block-tree.ts";
import { toHex, u64be } from "./bytes.ts";
import { consistencyProof, Frontier, rootOf, verifyConsistency } from "./merkle.ts";
import { noble } from "./noble.ts";

const leaves = Array.from({ length: 1100 }, (_, i) => noble.sha256(u64be(i)));
const hex = (hashes: readonly Uint8Array[]) => hashes.map(toHex);

test("its proofs are those of the whole tree, on either side of every block", async () => {
  let reads = 0;
  const tree = new BlockTree(noble, async (from, count) => {
    reads++;
    return leaves.slice(from, from + count);
  });
  const sizes = [1, 2, 3, 128, 255, 256, 257, 300, 511, 512, 513, 700, 768, 1023, 1024, 1100];
  for (const size of sizes) {
    for (const old of sizes.filter((s) => s <= size)) {
      const proof = await tree.consistency(old, size);
      expect([old, size, hex(proof)]).toEqual([
        old,
        size,
        hex(consistencyProof(noble, leaves.slice(0, size), old)),
      ]);
      const head = (n: number) => ({ size: n, root: rootOf(noble, leaves.slice(0, n)) });
      expect(verifyConsistency(noble, head(old), head(size), proof)).toBe(true);
    }
  }
  const before = reads;
  await tree.consistency(1023, 1100);
  expect(reads - before).toBeLessThanOrEqual(3);
  expect(await tree.consistency(0, 1100)).toEqual([]);
  await expect(tree.consistency(2, 1)).rejects.toThrow(RangeError);
});

test("its frontier is that of the whole tree, at every size", async () => {
  const tree = new BlockTree(noble, async (from, count) => leaves.slice(from, from + count));
  const whole = new Frontier(noble);
  for (let size = 0; size < leaves.length; size++) {
    if (size < 20 || size % 255 < 3)
      expect(hex(await tree.frontier(size))).toEqual(hex(whole.nodes()));
    whole.append(leaves[size] as Uint8Array);
  }
});
