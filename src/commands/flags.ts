/** Flags that several commands share. */
import { type Command, Option } from "commander";
import { type LoadedConfig, loadConfig } from "../config.ts";
import { deviceKinds, devicePattern } from "../engine/device.ts";
import { fail } from "../errors.ts";
import { loadPlugins } from "../plugins.ts";

/** For a flag that may be repeated. */
export const collected = (
	text: string,
	earlier: readonly string[],
): readonly string[] => [...earlier, text];

export interface ProgressFlags {
	readonly quiet?: true;
	readonly verbose?: true;
	readonly color: boolean;
	readonly json?: true;
}

/** For every command that runs for a while. */
export const withProgressFlags = (command: Command): Command =>
	command
		.option("--quiet", "results and errors only")
		.option("--verbose", "also a line for every epoch")
		.option("--no-color", "no colours (also: environment variable NO_COLOR)")
		.option("--json", "print the results as JSON");

export interface DeviceFlags {
	readonly device: string;
}

/** For every command that computes without a configuration. */
export const withDeviceFlag = (command: Command, called: string): Command =>
	command.option(
		"--device <name>",
		`where to compute: ${Object.keys(deviceKinds).join(", ")}, one of several such as cuda:1, or auto: the first that works here`,
		(text: string) => {
			if (text !== "auto" && !devicePattern.test(text))
				throw fail("UNKNOWN_NAME", {
					kind: "device",
					name: text,
					where: `--device of ${called}`,
					known: ["auto", ...Object.keys(deviceKinds)],
				});
			return text;
		},
		"cpu",
	);

export interface QueueFlags {
	/** true: given without an address. */
	readonly redis?: string | true;
	readonly queue?: string;
}

/** Where no --queue is given. */
export const usualQueue = "work";

/** For every command that fills or empties a queue. */
export const withQueueFlags = (command: Command, called: string): Command =>
	command
		.option(
			"--redis [url]",
			"a Redis or Valkey, such as redis://127.0.0.1:6379; without an address the one in the environment variable KEEPSIGHT_REDIS, which keeps a password out of the list of processes",
		)
		.option(
			"--queue <name>",
			`queues of other names do not mix (default: ${usualQueue})`,
			(name: string) => {
				if (!/^[\w.-]{1,100}$/.test(name))
					throw fail("USAGE", {
						problem: `--queue takes letters, digits and . _ - only, not ${JSON.stringify(name)}.`,
						command: called,
					});
				return name;
			},
		);

/** Address of the Redis that a command is to use; null: none. `needing`: flags that mean something with one only. */
export function redisUrl(
	flags: QueueFlags,
	command: string,
	needing: Readonly<Record<string, unknown>> = {},
): string | null {
	const { redis, queue } = flags;
	const usage = (problem: string) => fail("USAGE", { problem, command });
	if (redis === undefined) {
		const alone = Object.entries({ "--queue": queue, ...needing }).find(
			([, value]) => value !== undefined,
		);
		if (alone) throw usage(`${alone[0]} goes with --redis.`);
		return null;
	}
	const url = redis === true ? process.env.KEEPSIGHT_REDIS : redis;
	if (!url)
		throw usage(
			"Give --redis an address such as redis://127.0.0.1:6379, or set the environment variable KEEPSIGHT_REDIS.",
		);
	if (redis !== true && !/^\w+:\/\//.test(redis))
		throw usage(
			`--redis was given ${JSON.stringify(redis)}, which is no address; put another flag after it, or the address in KEEPSIGHT_REDIS.`,
		);
	return url;
}

/** For every command that may meet names of a plugin: in a configuration, in a run, or as the layout of a data set. */
export const withPlugins = (command: Command): Command =>
	command
		.addOption(
			new Option(
				"--plugin <file>",
				"an ES module with strategies, pretext tasks, memories or readers of your own, which is run; may be repeated",
			)
				.default([], "none")
				.argParser(collected),
		)
		.hook("preAction", (_, action) =>
			loadPlugins(action.opts<{ plugin: readonly string[] }>().plugin),
		);

export interface ConfigFlags {
	readonly config?: string;
	readonly set: readonly string[];
}

/** For every command that reads a configuration. */
export const withConfigFlags = (
	command: Command,
	config = "the run, such as configs/demo.yaml",
): Command =>
	withPlugins(
		command
			.option("--config <file>", config)
			.addOption(
				new Option(
					"--set <key=value>",
					"override one key, for example train.epochs=3; the value is YAML; may be repeated",
				)
					.default([], "none")
					.argParser(collected),
			),
	);

/** The configuration of these flags; not a required option of commander, which would hide a misspelt --config. */
export async function configOf(
	flags: ConfigFlags & { readonly grid?: readonly string[] },
	command: string,
): Promise<LoadedConfig> {
	if (flags.config === undefined)
		throw fail("USAGE", {
			problem: "Give --config FILE, such as configs/demo.yaml.",
			command,
		});
	return loadConfig(flags.config, flags.set, flags.grid);
}

/** A whole number of at least `least`, for a flag of this command. */
export const wholeNumber =
	(least: number, command: string) =>
	(text: string): number => {
		const n = Number(text);
		if (text.trim() === "" || !Number.isSafeInteger(n) || n < least)
			throw fail("USAGE", {
				problem: `"${text}" is not a whole number of at least ${least}.`,
				command,
			});
		return n;
	};
