import type { Command } from "commander";
import { gatewayPort } from "../../domain/limits.ts";
import { collect } from "../command.ts";

interface RulesOptions {
  readonly interface: readonly string[];
  readonly exceptUid?: string;
  readonly port: string;
  readonly dns: readonly string[];
  readonly remove?: boolean;
}

export function register(program: Command): void {
  program
    .command("gateway")
    .description("capture what a pod or a virtual machine sends")
    .command("rules")
    .description("print a shell script that hands its traffic to dragons sidecar --gateway")
    .option("--interface <name>", "all that comes in by it, may be repeated", collect, [])
    .option("--except-uid <uid>", "all that leaves this network namespace, but the sidecar's own")
    .option("--port <port>", "of dragons sidecar --gateway", String(gatewayPort))
    .option("--dns <address>", "a resolver that it may ask by UDP, may be repeated", collect, [])
    .option("--remove", "print what takes them back instead")
    .addHelpText(
      "after",
      "\nTCP goes to the gateway, look-ups to --dns, and everything else nowhere. Read it, then:" +
        "\n  dragons gateway rules --interface vm0 --dns 10.0.0.53 | sudo sh",
    )
    .action(async (options: RulesOptions) => {
      const { gatewayRemoval, gatewayRules } = await import("../actions/gateway.ts");
      const uid = options.exceptUid;
      process.stdout.write(
        options.remove === true
          ? gatewayRemoval()
          : gatewayRules({
              port: Number(options.port),
              interfaces: options.interface,
              exceptUid: uid === undefined ? null : /^[0-9]+$/.test(uid) ? Number(uid) : Number.NaN,
              dns: options.dns,
            }),
      );
    });
}
