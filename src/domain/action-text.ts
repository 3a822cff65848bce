import type { Claim } from "./claim.ts";

type Action = Pick<Claim, "protocol" | "target" | "verb" | "path" | "scheme">;

/**
 * An action, or a rule's actions, as people write them: `payments.v1.Payments/Get at payments.internal:443`,
 * `POST https://ledger.internal/v1/entries`, `tools/call create_ticket at tracker`, `opaque bank.example:443`.
 */
export function actionText(action: Action): string {
  const { protocol, target, verb, path } = action;
  switch (protocol) {
    case "GRPC":
      return `${path.slice(1)} at ${target}`;
    case "HTTP":
      return `${verb} ${placeText(action)}${path}`;
    case "OPAQUE":
      return `opaque ${target}`;
    default:
      return `${[verb, path].filter((w) => w !== "").join(" ")} at ${target}`;
  }
}

/** `https://ledger.internal`, without the port that the scheme means; `ledger.internal:443` without a scheme. */
export function placeText({ scheme, target }: Pick<Action, "scheme" | "target">): string {
  if (scheme === "UNSPECIFIED") return target;
  const [prefix, port] = scheme === "HTTPS" ? ["https://", ":443"] : ["http://", ":80"];
  return prefix + (target.endsWith(port) ? target.slice(0, -port.length) : target);
}
