import type { Command } from "commander";
import { actionText } from "../../domain/action-text.ts";
import type { Judged } from "../../domain/scope.ts";
import type { Explained, Tested } from "../actions/scope.ts";
import { collect, leaf, OPERATOR, run } from "../command.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Json, printOne, printRows, say } from "../output.ts";
import { plural, showRule } from "../units.ts";

interface ExplainOptions {
  readonly manifest: string;
  readonly scope: readonly string[];
  readonly grant?: string;
  readonly lease?: string;
  readonly header: readonly string[];
  readonly body?: string;
}

const FILE = "dragon.yaml";

export function register(program: Command): void {
  const scope = program.command("scope").description("what a manifest's scopes allow, tried out");
  leaf(scope, "explain <action...>", "which rule decides on an action, and why", OPERATOR)
    .option("--manifest <manifest>", "a dragon.yaml, a hash or name@version", FILE)
    .option(
      "--scope <name>",
      "a scope that is held, may be repeated [all of the manifest's]",
      collect,
      [],
    )
    .option("--grant <grant>", "hold what this grant grants")
    .option("--lease <lease>", "hold what this lease holds")
    .option("--header <field>", "'name: value', may be repeated", collect, [])
    .option("--body <json>", "of HTTP its body, of MCP its arguments")
    .addHelpText(
      "after",
      "\nActions: grpc SERVICE/METHOD at HOST:PORT; http METHOD URL; mcp METHOD [NAME] at SERVER; opaque HOST:PORT.",
    )
    .action(
      run<ExplainOptions>(async (context, options, words) => {
        const { heldBy, heldByName, manifestFor, tryAction } = await import("../actions/scope.ts");
        const { compileScopes } = await import("../../domain/scope.ts");
        const { manifestLabel } = await import("../../domain/manifest.ts");
        const manifest = await manifestFor(context, options.manifest);
        const all = manifest.capabilities.map((c) => c.name);
        const named = options.scope.length === 0 ? all : options.scope;
        const held = (await heldBy(context, options)) ?? heldByName(manifest, named);
        const explained = tryAction(compileScopes(manifest), held, {
          action: words.join(" "),
          fields: options.header.flatMap(parseField),
          body: options.body ?? null,
        });
        const names = held.map((s) => s.name);
        const { cells, data } = show(explained);
        printOne(context.format, {
          name: answerOf(explained),
          cells: {
            ...cells,
            manifest: manifestLabel(manifest),
            held: names.join(", ") || "nothing",
          },
          data: { ...data, manifest: manifestLabel(manifest), held: names },
        });
        if (context.format !== "table") return;
        const rules = explained.judged.map(ruleRow);
        if (rules.length > 0) {
          process.stdout.write("\n");
          printRows("table", rules);
        }
        const remedy = explained.decision.allowed ? "" : explained.decision.remedy;
        if (remedy !== "") say(`\nwhat would allow it:\n${remedy}`);
      }),
    );
  leaf(scope, "test <file>", "try a table of what is to be allowed and denied", OPERATOR)
    .option("--manifest <manifest>", "a dragon.yaml, a hash or name@version", FILE)
    .addHelpText(
      "after",
      "\nExit codes: 0 all as expected, 2 not all, 64 usage, 78 a file that cannot be read.",
    )
    .action(
      run<{ manifest: string }>(async (context, options, [file = ""]) => {
        const { manifestFor, testScopes } = await import("../actions/scope.ts");
        const tested = await testScopes(await manifestFor(context, options.manifest), file);
        printRows(context.format, tested.map(testRow));
        const failed = tested.filter((t) => !t.passed).length;
        if (context.format === "table") {
          say(
            failed === 0
              ? `${plural(tested.length, "expectation")}, all met`
              : `${failed} of ${tested.length} not met`,
          );
        }
        if (failed > 0) process.exitCode = EXIT.refused;
      }),
    );
}

function parseField(text: string): [string, string] {
  const colon = text.indexOf(":");
  if (colon < 1) throw new Failure(EXIT.usage, `--header: ${text} is not 'name: value'`);
  return [text.slice(0, colon), text.slice(colon + 1).trim()];
}

const answerOf = ({ decision }: Explained): string =>
  decision.allowed ? "ALLOWED" : `DENIED (${decision.reason})`;

function because({ decision }: Explained): string {
  return decision.allowed ? `${decision.scope} allows it` : decision.detail;
}

function show(explained: Explained): { cells: Record<string, string>; data: Record<string, Json> } {
  const { claim, decision, judged, near } = explained;
  const inputs = claim.inputs.map((i) => ({ ...i }));
  const rule = decision.rule === null ? null : `${decision.scope}: ${showRule(decision.rule)}`;
  const action = `${claim.protocol.toLowerCase()} ${actionText(claim)}`;
  return {
    cells: {
      action,
      answer: answerOf(explained),
      because: because(explained),
      rule: rule ?? "none",
      inputs: inputs.map((i) => `${i.name} ${i.type} ${i.value}`).join(", ") || "none",
    },
    data: {
      action,
      allowed: decision.allowed,
      reason: decision.allowed ? null : decision.reason,
      scope: decision.scope,
      because: because(explained),
      rule,
      inputs,
      rules: judged.map(ruleData),
      nearest: near,
      remedy: decision.allowed ? "" : decision.remedy,
    },
  };
}

const conditionOf = ({ outcome, by }: Judged): string =>
  by.when === null
    ? "-"
    : outcome.outcome === "TRUE"
      ? "holds"
      : outcome.outcome === "FALSE"
        ? `fails: ${outcome.clause}`
        : `cannot be evaluated: ${outcome.why}`;

const ruleData = (judged: Judged) => ({
  scope: judged.by.scope,
  rule: showRule(judged.by.rule),
  held: judged.granted,
  outcome: judged.outcome.outcome,
  condition: conditionOf(judged),
});

function ruleRow(judged: Judged) {
  const { scope, rule, held, condition } = ruleData(judged);
  return {
    name: scope,
    cells: { scope, held: held ? "yes" : "no", condition, rule },
    data: ruleData(judged),
  };
}

function testRow({ expectation, explained, passed }: Tested) {
  const expected = [expectation.expect, expectation.scope ?? ""]
    .filter((w) => w !== "")
    .join(" by ");
  const { decision } = explained;
  const got = decision.allowed ? `allow by ${decision.scope}` : decision.reason;
  return {
    name: passed ? "ok" : "FAILED",
    cells: {
      is: passed ? "ok" : "FAILED",
      line: String(expectation.line),
      action: expectation.action,
      expected,
      got: passed ? got : `${got}: ${because(explained)}`,
    },
    data: {
      passed,
      line: expectation.line,
      expect: expectation.expect,
      expectedScope: expectation.scope,
      ...show(explained).data,
    },
  };
}
