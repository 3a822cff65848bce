import { OrganismView } from "../domain/organism.ts";
import type { Arena, Cell } from "./arena.ts";

/**
 * The views of the organisms of one tenant: each is kept in one piece of memory, where its fields would be
 * eighty, but for those that were opened last. Of ten thousand that beat every ten seconds few are asked
 * for at once, and what is asked for within a moment is read and written once.
 */
export class PackedViews {
  readonly #arena: Arena;
  readonly #open: (PackedView | undefined)[];
  #next = 0;

  /**
   * @param arena where those lie that are not open
   * @param openMax how many are open at once, at least 1.
   */
  constructor(arena: Arena, openMax: number) {
    this.#arena = arena;
    this.#open = Array.from({ length: openMax });
  }

  add(view: OrganismView): PackedView {
    return new PackedView(view, this, this.#arena.cell());
  }

  /** For `PackedView`: this one lies open, and another does not any more. */
  opened(view: PackedView): void {
    this.#open[this.#next]?.pack();
    this.#open[this.#next] = view;
    this.#next = (this.#next + 1) % this.#open.length;
  }
}

/**
 * The view of one organism. What `get` gave must not be changed, and no part of it kept for long: it lies in
 * one piece.
 */
export class PackedView {
  readonly #views: PackedViews;
  #view: OrganismView | null = null;
  /** Its encoding, but for what changed since. */
  readonly #cell: Cell;
  #hasChanged = true;
  /** It is one of those that were opened last. */
  #isListed = false;
  /** The same object for all that are under one grant: what is derived from it is remembered by it. */
  #liveness!: OrganismView["liveness"];
  #state!: OrganismView["state"];
  #isAttached!: boolean;
  #isIll!: boolean;
  /** Whether it is left open, whoever else is asked for: whoever is looked at each second is not read each second. */
  isLeftOpen = false;

  constructor(view: OrganismView, views: PackedViews, cell: Cell) {
    this.#views = views;
    this.#cell = cell;
    this.set(view);
  }

  // These three are asked of everybody, or of all that are ill, each second.

  get state(): OrganismView["state"] {
    return this.#state;
  }

  get isAttached(): boolean {
    return this.#isAttached;
  }

  /** It has conditions that may clear by themselves. */
  get isIll(): boolean {
    return this.#isIll;
  }

  get(): OrganismView {
    if (this.#view === null) {
      this.#view = OrganismView.view(this.bytes());
      this.#view.liveness = this.#liveness;
    }
    this.#list();
    return this.#view;
  }

  set(view: OrganismView): void {
    // What was refused has changed nothing.
    if (view === this.#view) return;
    this.#view = view;
    this.#hasChanged = true;
    this.#liveness = view.liveness;
    this.#state = view.state;
    this.#isAttached = view.facts.attached;
    this.#isIll = view.conditions.length > 0;
    this.#list();
  }

  /** OrganismView, encoded. It stays as it is, whatever becomes of the view. */
  bytes(): Uint8Array {
    this.#write();
    return this.#cell.get() as Uint8Array;
  }

  /** For `PackedViews`. */
  pack(): void {
    this.#isListed = false;
    if (this.isLeftOpen) return;
    this.#write();
    this.#view = null;
  }

  #write(): void {
    if (!this.#hasChanged) return;
    this.#cell.set(OrganismView.encode(this.#view as OrganismView));
    this.#hasChanged = false;
  }

  #list(): void {
    if (this.#isListed) return;
    this.#isListed = true;
    this.#views.opened(this);
  }
}
