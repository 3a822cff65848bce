import { count, isoOf } from "../figures.ts";
import { visible } from "../visible.ts";

type Child = Node | string | null;
type Attributes = Readonly<Record<string, string | number | boolean>>;

/** An element with its attributes and children. Strings become text, never markup. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The element of page.html with this id. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found as E;
}

/**
 * Words from a pack: as text, in a direction of their own, with what cannot be seen written out, and no
 * longer than `max` UTF-16 units.
 */
export function said(text: string, max = 2000): HTMLElement {
  const { pieces, left } = visible(text, max);
  const nodes = pieces.map((piece) =>
    piece.escaped ? el("span", { class: "escape" }, piece.text) : piece.text,
  );
  const more = left > 0 ? el("span", { class: "left" }, ` … ${count(left)} more characters`) : null;
  return el("bdi", { class: "said" }, ...nodes, more);
}

/** Hex in groups of eight, which copies as it is: the gaps are drawn, not written. */
export function hash(hex: string, short = false): HTMLElement {
  if (short) return el("code", { class: "hash", title: hex }, `${hex.slice(0, 12)}…`);
  const groups = (hex.match(/.{1,8}/g) ?? []).map((group) => el("span", {}, group));
  return el("code", { class: "hash" }, ...groups);
}

/** Microseconds since the epoch as UTC: `2026-11-22 21:00:00.000123`. */
export function instant(us: number): HTMLElement {
  return el("time", { datetime: isoOf(us) }, isoOf(us).replace("T", " ").replace("Z", " UTC"));
}

/** To the second, as heads are countersigned. */
export const second = (us: number): HTMLElement =>
  el("time", { datetime: isoOf(us) }, `${isoOf(us).slice(0, 19).replace("T", " ")} UTC`);

/** A titled part of the page. */
export function section(id: string, title: string, ...children: readonly Child[]): HTMLElement {
  const heading = el("h2", { id: `${id}-title` }, title);
  return el("section", { id, "aria-labelledby": `${id}-title` }, heading, ...children);
}
