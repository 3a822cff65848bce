import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex, u64be } from "./bytes.ts";
import {
  consistencyProof,
  Frontier,
  inclusionProof,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from "./merkle.ts";
import { noble } from "./noble.ts";

/** The test tree of certificate-transparency: its leaves, and its root at each size from 0 to 8. */
const CT_LEAVES = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
].map((data) => noble.sha256(concat(Uint8Array.of(0), fromHex(data))));
const CT_ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

const LARGEST = 64;
const leaves = Array.from({ length: LARGEST }, (_, i) => noble.sha256(u64be(i)));
const upTo = (size: number) => leaves.slice(0, size);
const roots = Array.from({ length: LARGEST + 1 }, (_, size) => rootOf(noble, upTo(size)));
const head = (size: number) => ({ size, root: roots[size] as Uint8Array });
const flip = (hash: Uint8Array) => hash.map((byte, i) => (i === 0 ? byte ^ 1 : byte));

describe("RFC 6962 §2.1", () => {
  test.each(CT_ROOTS.map((root, size) => [size, root] as const))(
    "the reference tree of %d",
    (size, root) => {
      expect(toHex(rootOf(noble, CT_LEAVES.slice(0, size)))).toBe(root);
    },
  );

  test("the audit path of §2.1.3: d0 in a tree of seven", () => {
    const seven = CT_LEAVES.slice(0, 7);
    const node = (l: Uint8Array, r: Uint8Array) => noble.sha256(Uint8Array.of(1), l, r);
    const at = (i: number) => seven[i] as Uint8Array;
    expect(inclusionProof(noble, seven, 0)).toEqual([
      at(1),
      node(at(2), at(3)),
      node(node(at(4), at(5)), at(6)),
    ]);
    expect(consistencyProof(noble, seven, 3)).toEqual([
      at(2),
      at(3),
      node(at(0), at(1)),
      node(node(at(4), at(5)), at(6)),
    ]);
  });
});

describe("inclusion, at every size up to 64", () => {
  test("every leaf is proven, and as no other leaf, size, place or root", () => {
    for (let size = 1; size <= LARGEST; size++) {
      for (let index = 0; index < size; index++) {
        const proof = inclusionProof(noble, upTo(size), index);
        const leaf = leaves[index] as Uint8Array;
        expect(verifyInclusion(noble, leaf, index, head(size), proof)).toBe(true);
        expect(verifyInclusion(noble, flip(leaf), index, head(size), proof)).toBe(false);
        const bent = { size, root: flip(head(size).root) };
        expect(verifyInclusion(noble, leaf, index, bent, proof)).toBe(false);
        if (size > 1) {
          expect(verifyInclusion(noble, leaf, (index + 1) % size, head(size), proof)).toBe(false);
          expect(verifyInclusion(noble, leaf, index, head(size), proof.slice(1))).toBe(false);
          expect(verifyInclusion(noble, leaf, index, head(size), proof.slice(0, -1))).toBe(false);
        }
        expect(verifyInclusion(noble, leaf, index, head(size), [...proof, leaf])).toBe(false);
      }
    }
  });

  test("no hash of a proof may change", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: LARGEST }), fc.nat(), fc.nat(), (size, i, j) => {
        const index = i % size;
        const proof = inclusionProof(noble, upTo(size), index);
        const bent = proof.with(j % proof.length, flip(proof[j % proof.length] as Uint8Array));
        const leaf = leaves[index] as Uint8Array;
        expect(verifyInclusion(noble, leaf, index, head(size), bent)).toBe(false);
      }),
    );
  });

  test("a path longer than the tree is high proves nothing, though it hashes to the root", () => {
    const [leaf, other] = leaves as [Uint8Array, Uint8Array];
    const tall = { size: 1, root: noble.sha256(Uint8Array.of(1), other, leaf) };
    expect(verifyInclusion(noble, leaf, 0, tall, [other])).toBe(false);
  });

  test("a place outside the tree is false for the verifier, and a bug for the prover", () => {
    for (const index of [-1, 1, 0.5, Number.NaN]) {
      expect(verifyInclusion(noble, leaves[0] as Uint8Array, index, head(1), [])).toBe(false);
    }
    expect(verifyInclusion(noble, leaves[0] as Uint8Array, 0, head(0), [])).toBe(false);
    expect(() => inclusionProof(noble, upTo(3), 3)).toThrow(RangeError);
    expect(() => inclusionProof(noble, [], 0)).toThrow(RangeError);
  });
});

describe("consistency, between all sizes up to 64", () => {
  test("every older tree begins every newer one, and no other", () => {
    for (let newer = 0; newer <= LARGEST; newer++) {
      for (let older = 0; older <= newer; older++) {
        const proof = consistencyProof(noble, upTo(newer), older);
        expect(verifyConsistency(noble, head(older), head(newer), proof)).toBe(true);
        const bentOld = { size: older, root: flip(head(older).root) };
        expect(verifyConsistency(noble, bentOld, head(newer), proof)).toBe(false);
        if (older > 0) {
          const bentNew = { size: newer, root: flip(head(newer).root) };
          expect(verifyConsistency(noble, head(older), bentNew, proof)).toBe(false);
        }
        const extra = [...proof, leaves[0] as Uint8Array];
        expect(verifyConsistency(noble, head(older), head(newer), extra)).toBe(false);
        if (proof.length > 0) {
          expect(verifyConsistency(noble, head(older), head(newer), proof.slice(1))).toBe(false);
          expect(verifyConsistency(noble, head(older), head(newer), proof.slice(0, -1))).toBe(
            false,
          );
        }
      }
    }
  });

  test("no hash of a proof may change", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: LARGEST }), fc.nat(), fc.nat(), (newer, i, j) => {
        const older = 1 + (i % (newer - 1));
        const proof = consistencyProof(noble, upTo(newer), older);
        const bent = proof.with(j % proof.length, flip(proof[j % proof.length] as Uint8Array));
        expect(verifyConsistency(noble, head(older), head(newer), bent)).toBe(false);
      }),
    );
  });

  test("a history with one leaf exchanged is not the newer tree's beginning", () => {
    for (let older = 1; older < LARGEST; older++) {
      const other = upTo(older).with(older - 1, flip(leaves[older - 1] as Uint8Array));
      const forked = { size: older, root: rootOf(noble, other) };
      const proof = consistencyProof(noble, leaves, older);
      expect(verifyConsistency(noble, forked, head(LARGEST), proof)).toBe(false);
    }
  });

  test("a path longer than the tree is high proves nothing, though it hashes to both roots", () => {
    const node = (l: Uint8Array, r: Uint8Array) => noble.sha256(Uint8Array.of(1), l, r);
    const [a, b, c, d] = leaves as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const older = { size: 3, root: node(d, node(c, a)) };
    const newer = { size: 4, root: node(d, node(c, node(a, b))) };
    expect(verifyConsistency(noble, older, newer, [a, b, c, d])).toBe(false);
  });

  test("a tree does not shrink", () => {
    expect(verifyConsistency(noble, head(5), head(4), [])).toBe(false);
    expect(() => consistencyProof(noble, upTo(4), 5)).toThrow(RangeError);
  });
});

describe("the frontier", () => {
  test("tells the root at every size, and again when asked again", () => {
    const frontier = new Frontier(noble);
    for (let size = 0; size <= LARGEST; size++) {
      expect(frontier.size).toBe(size);
      expect(frontier.root()).toEqual(roots[size]);
      expect(frontier.root()).toBe(frontier.root());
      if (size < LARGEST) frontier.append(leaves[size] as Uint8Array);
    }
  });

  test("continues from what was stored, at every size", () => {
    for (let size = 0; size <= LARGEST; size++) {
      const before = new Frontier(noble);
      for (const leaf of upTo(size)) before.append(leaf);
      const after = Frontier.restore(noble, { size, nodes: before.nodes() });
      for (const leaf of leaves.slice(size)) after.append(leaf);
      expect(after.root()).toEqual(roots[LARGEST]);
      expect(before.root()).toEqual(roots[size]);
    }
  });

  test("refuses a state whose nodes do not fit its size", () => {
    expect(() => new Frontier(noble, 3, [leaves[0] as Uint8Array])).toThrow(RangeError);
    expect(() => new Frontier(noble, 0.5, [])).toThrow(RangeError);
    expect(() => new Frontier(noble, 2 ** 53, [])).toThrow(RangeError);
  });

  test("works at sizes past 32 bits", () => {
    const size = 2 ** 40 + 1;
    const [whole, last, next] = leaves as [Uint8Array, Uint8Array, Uint8Array];
    const node = (l: Uint8Array, r: Uint8Array) => noble.sha256(Uint8Array.of(1), l, r);
    const frontier = new Frontier(noble, size, [whole, last]);
    const older = { size, root: frontier.root() };
    expect(verifyInclusion(noble, last, size - 1, older, [whole])).toBe(true);
    frontier.append(next);
    const newer = { size: size + 1, root: frontier.root() };
    expect(newer.root).toEqual(node(whole, node(last, next)));
    expect(verifyConsistency(noble, older, newer, [last, next, whole])).toBe(true);
  });
});
