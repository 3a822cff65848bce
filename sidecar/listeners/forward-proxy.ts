import { createHash, timingSafeEqual } from "node:crypto";
import { normaliseAuthority } from "../../src/domain/claim.ts";
import type { Ingress } from "../adapters/exchange.ts";
import type { Http1Door } from "../adapters/http.ts";
import { valuesOf } from "../adapters/http-fields.ts";
import type { RawFields } from "../adapters/http-head.ts";

/** What a fresh connection to the proxy's port may do: it has not said who it is. */
export const UNBOUND: Ingress = {
  target: "",
  dialled: "",
  scheme: "http",
  reverse: false,
  serverName: "",
  fault: {
    reason: "CALLER_UNIDENTIFIED",
    detail: "the proxy credential of this launch is missing or wrong",
  },
};

/**
 * Who may speak on the proxy's port: whoever shows this launch's credential, with each request in full
 * or with CONNECT once for everything inside.
 *
 * @param credential what `Proxy-Authorization: Basic base64(user:credential)` must carry; the user's
 * name says nothing.
 */
export function proxyDoor(credential: string): Http1Door {
  const expected = digest(credential);
  return {
    identify({ fields }, ingress) {
      if (ingress.target !== "" || ingress.dialled !== "") return ingress;
      return identified(fields, expected) ? { ...UNBOUND, fault: null } : UNBOUND;
    },
    tunnel({ fields, target: said }) {
      // Clients of many kinds show their credential only when they are asked for it.
      if (valuesOf(fields, "proxy-authorization").length === 0) return null;
      const target = normaliseAuthority(said, 0);
      const bound = { ...UNBOUND, target: typeof target === "string" ? target : "" };
      if (!identified(fields, expected)) return bound;
      if (typeof target === "string") return { ...bound, fault: null };
      return { ...bound, fault: { reason: "REQUEST_NOT_NORMAL", detail: target.detail } };
    },
  };
}

/** Whether the request carries this launch's credential. Takes the same time for every wrong one. */
function identified(fields: RawFields, expected: Buffer): boolean {
  const [said = "", ...more] = valuesOf(fields, "proxy-authorization");
  const match = /^basic ([a-z0-9+/]+=*)$/i.exec(said);
  if (match === null || more.length > 0) return false;
  const pair = Buffer.from(match[1] as string, "base64").toString("utf8");
  return timingSafeEqual(digest(pair.slice(pair.indexOf(":") + 1)), expected);
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
