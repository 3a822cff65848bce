/**
 * Methods that actions can have. A rule with any other would match nothing, be it a slip of the pen or
 * a method of the future.
 */

/** The registry of RFC 9110, section 16.1, without CONNECT, which is a tunnel and no action. */
export const HTTP_METHODS: ReadonlySet<string> = new Set(
  `GET HEAD POST PUT PATCH DELETE OPTIONS TRACE QUERY
  ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL
  MKREDIRECTREF MKWORKSPACE MOVE ORDERPATCH PROPFIND PROPPATCH REBIND REPORT SEARCH UNBIND UNCHECKOUT
  UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL`.split(/\s+/),
);

/**
 * Of MCP, what rules may allow, and whether it names something: a tool, a prompt, a URI. An agent asks
 * it of a server, but for the last three, which a server asks of the agent.
 */
export const MCP_METHODS: ReadonlyMap<string, boolean> = new Map([
  ["tools/call", true],
  ["prompts/get", true],
  ["resources/read", true],
  ["resources/subscribe", true],
  ["resources/unsubscribe", true],
  ["completion/complete", true],
  ["initialize", false],
  ["ping", false],
  ["server/discover", false],
  ["tools/list", false],
  ["prompts/list", false],
  ["resources/list", false],
  ["resources/templates/list", false],
  ["subscriptions/listen", false],
  ["logging/setLevel", false],
  ["tasks/get", false],
  ["tasks/list", false],
  ["tasks/result", false],
  ["tasks/cancel", false],
  ["sampling/createMessage", false],
  ["elicitation/create", false],
  ["roots/list", false],
]);

/** Of MCP, what a server asks of the agent: by a request of its own, or inside a result. */
export const MCP_ASKS: ReadonlySet<string> = new Set([
  "sampling/createMessage",
  "elicitation/create",
  "roots/list",
]);

/**
 * Of MCP, what whoever may do anything at a server may do there as well: greet it, ask what there is,
 * and say how a request goes on. The last two are what HTTP says by GET and DELETE: to listen to a
 * session, and to end it.
 */
export const MCP_CONTROL: ReadonlySet<string> = new Set([
  "initialize",
  "ping",
  "server/discover",
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "notifications/initialized",
  "notifications/cancelled",
  "notifications/progress",
  "notifications/roots/list_changed",
  "session/listen",
  "session/end",
]);
