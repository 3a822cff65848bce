import { count } from "../figures.ts";
import { byId } from "./dom.ts";

/** What the auditor gave; `trust` null: none yet. */
export interface Given {
  readonly pack: File | null;
  readonly trust: File | null;
}

/** Takes files by drop or choice, tells packs and trust files apart, and says when to begin. */
export function watchIntake(begin: (given: { pack: File; trust: File | null }) => void): void {
  let given: Given = { pack: null, trust: null };
  const check = byId<HTMLButtonElement>("check");
  const start = () => {
    if (given.pack !== null) begin({ pack: given.pack, trust: given.trust });
  };
  const take = (more: Partial<Given>) => {
    given = { ...given, ...more };
    draw(given);
    // With both at hand there is nothing left to decide.
    if (given.pack !== null && given.trust !== null) start();
  };
  check.addEventListener("click", start);
  for (const [id, kind] of [
    ["pack-file", "pack"],
    ["trust-file", "trust"],
  ] as const) {
    const input = byId<HTMLInputElement>(id);
    input.addEventListener("change", () => {
      const [file] = input.files ?? [];
      if (file !== undefined) take({ [kind]: file });
      // The same file may be chosen again, after it was mended.
      input.value = "";
    });
  }
  watchDrops((files) => void sorted(files).then(take));
}

function draw({ pack, trust }: Given): void {
  byId("pack-name").textContent = pack === null ? "" : `${pack.name} · ${count(pack.size)} bytes`;
  byId("trust-name").textContent = trust === null ? "" : trust.name;
  byId("pack-well").classList.toggle("filled", pack !== null);
  byId("trust-well").classList.toggle("filled", trust !== null);
  const check = byId<HTMLButtonElement>("check");
  check.disabled = pack === null;
  check.textContent = trust === null && pack !== null ? "Check without a trust file" : "Check";
  byId("intake-note").textContent =
    trust === null && pack !== null ? "Without one, nobody but the pack vouches for it." : "";
}

function watchDrops(drop: (files: File[]) => void): void {
  const { classList } = document.documentElement;
  const over = (event: DragEvent) => {
    event.preventDefault();
    classList.add("dropping");
  };
  document.addEventListener("dragenter", over);
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dropping");
    drop([...(event.dataTransfer?.files ?? [])]);
  });
}

/** A trust file begins with a brace, whatever it is called; anything else is meant as the pack. */
async function sorted(files: readonly File[]): Promise<Partial<Given>> {
  const found: { pack?: File; trust?: File } = {};
  for (const file of files) {
    const start = await file.slice(0, 64).text();
    found[/^\s*\{/.test(start) ? "trust" : "pack"] = file;
  }
  return found;
}
