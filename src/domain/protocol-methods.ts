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

/** Of MCP, what an agent may ask of a server, and whether it names something: a tool, a prompt, a URI. */
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
]);
