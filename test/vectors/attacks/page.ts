import type { Corpus } from "../corpus.ts";
import { inShort } from "../corpus.ts";
import { TABLE } from "./table.ts";

/** docs/attacks.md: each attack, and the cases of the corpus that make it. */
export function attacksPage({ cases }: Corpus): string {
  const rows = TABLE.map((attack, i) => {
    const made = cases.filter((c) => c.rows.includes(i + 1));
    const told = made.map((c) => `\`${c.name}\` ${inShort(c.wanted)}`).join("; ");
    return `| ${i + 1} | ${attack} | ${told} |`;
  });
  return `# Attacks

What was tried against evidence packs, and what every verifier says of it. Written by \`npm run vectors\` from the
cases in \`test/vectors/attacks\`: ${cases.length} packs, which [test/vectors/attacks.json](../test/vectors/attacks.json) holds for
verifiers in any language. \`CODE@index\` is the first break (section 8 of [formats.md](formats.md)); where there is none,
the verdict and the flags with their counts. An honest pack that looks like an attack is among them: it must hold.

| no | attack | cases |
|---|---|---|
${rows.join("\n")}
`;
}
