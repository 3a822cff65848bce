import { GENESIS } from "../../src/domain/genesis.ts";
import { GRANT } from "../../src/domain/grant.ts";
import { HEARTBEAT } from "../../src/domain/heartbeat.ts";
import { step } from "../../src/domain/lifecycle.ts";
import { born, type Input, type OrganismView } from "../../src/domain/organism.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, refOf, signBody } from "../../src/domain/signing.ts";
import { TRANSITION } from "../../src/domain/transition.ts";
import { crypto, SECOND, type Story, uuid } from "./build.ts";

/**
 * What a control plane makes of a story's organism: its states, decided by the machine itself, and the
 * transitions that its issuer signs. Tell it of what happens in the order in which it does.
 */
export class States {
  readonly transitions: SignedBytes[] = [];
  readonly #story: Story;
  #view: OrganismView;

  constructor(story: Story) {
    this.#story = story;
    const { liveness } = GRANT.body.decode(story.grant.body);
    this.#view = born(story.manifestHash, liveness, story.nowUs);
  }

  get encoded(): Uint8Array[] {
    return this.transitions.map(encodeSigned);
  }

  /** A session, the lease in hand, and a first beat: RUNNING. */
  async attached(): Promise<void> {
    const { ref, body } = this.#story.leases.at(-1) as Story["leases"][number];
    await this.take({ kind: "session", epoch: 1, attached: true });
    await this.take({ kind: "lease", ref, untilUs: body.notAfterUs });
    await this.beat();
  }

  /** The story's next beat, heard at once. */
  async beat(): Promise<void> {
    await this.#story.beat();
    const signed = this.#story.heartbeats.at(-1) as SignedBytes;
    const body = HEARTBEAT.body.decode(signed.body);
    const ref = refOf(crypto, "heartbeat", signed.body);
    await this.take({ kind: "beat", beat: { body, signed, ref } });
  }

  /** An operator holds it quarantined. */
  hold(): Promise<void> {
    return this.take({ kind: "hold", order: this.#order("it does odd things") });
  }

  /** An operator lets it go on. */
  release(): Promise<void> {
    const order = this.#order("it was looked at");
    return this.take({ kind: "release", releases: ["HELD"], order });
  }

  #order(reason: string) {
    return { actor: this.#story.operator.publicKey, reason, artifact: new Uint8Array(0) };
  }

  async take(input: Input): Promise<void> {
    const { tenantId, ledgerId, genesis, issuer } = this.#story;
    const { view, transitions, refused } = step(this.#view, input, this.#story.tick(SECOND));
    // What a control plane would not take changes nothing: a twisted beat is no sign of life.
    if (refused !== null) return;
    this.#view = view;
    const { instanceId } = GENESIS.body.decode(genesis.body);
    for (const draft of transitions) {
      const transitionId = `trn_${uuid(this.transitions.length + 1)}`;
      const body = { ...draft, version: 1, transitionId, tenantId, instanceId, ledgerId };
      this.transitions.push(await signBody(TRANSITION, body, [issuer]));
    }
  }
}
