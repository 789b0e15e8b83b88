/** Flags that several commands share. */
import { type Command, Option } from "commander";
import { type LoadedConfig, loadConfig } from "../config.ts";
import { deviceKinds, devicePattern } from "../engine/device.ts";
import { fail } from "../errors.ts";

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
	readonly queue: string;
}

/** For every command that fills or empties a queue. */
export const withQueueFlags = (command: Command): Command =>
	command
		.option(
			"--redis [url]",
			"a Redis or Valkey, such as redis://127.0.0.1:6379; without an address the one in the environment variable KEEPSIGHT_REDIS, which keeps a password out of the list of processes",
		)
		.option("--queue <name>", "queues of other names do not mix", "work");

/** Address of the Redis that a command is to use; null: none. */
export function redisUrl(
	{ redis }: QueueFlags,
	command: string,
): string | null {
	if (redis === undefined) return null;
	const url = redis === true ? process.env.KEEPSIGHT_REDIS : redis;
	if (!url)
		throw fail("USAGE", {
			problem:
				"Give --redis an address such as redis://127.0.0.1:6379, or set the environment variable KEEPSIGHT_REDIS.",
			command,
		});
	return url;
}

export interface ConfigFlags {
	readonly config?: string;
	readonly set: readonly string[];
}

/** For every command that reads a configuration. */
export const withConfigFlags = (command: Command): Command =>
	command
		.option("--config <file>", "the run, such as configs/demo.yaml")
		.addOption(
			new Option(
				"--set <key=value>",
				"override one key, for example train.epochs=3; the value is YAML; may be repeated",
			)
				.default([], "none")
				.argParser((text: string, earlier: readonly string[]) => [
					...earlier,
					text,
				]),
		);

/** The configuration of these flags; not a required option of commander, which would hide a misspelt --config. */
export async function configOf(
	flags: ConfigFlags,
	command: string,
): Promise<LoadedConfig> {
	if (flags.config === undefined)
		throw fail("USAGE", {
			problem: "Give --config FILE, such as configs/demo.yaml.",
			command,
		});
	return loadConfig(flags.config, flags.set);
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
