/** One command from its arguments to its exit code: 0 done, 1 our fault, 2 the user's, 130/143 interrupted. */
import { type Command, CommanderError } from "commander";
import { fail, KeepsightError } from "../errors.ts";
import { createProgram } from "./index.ts";
import { StoppedBySignal } from "./interrupt.ts";

/** What an error becomes is printed. `undefined`: done, and the exit code is the one the command has set, if any. */
export async function main(
	argv: readonly string[],
): Promise<number | undefined> {
	const args = normalised(argv);
	const program = await createProgram(args[0]);
	try {
		await program.parseAsync(args, { from: "user" });
		return undefined;
	} catch (error) {
		return report(error, program, args);
	}
}

/** `--mem_dir` and `--mem-dir` are one flag, for every flag; values stay as they are. */
export function normalised(args: readonly string[]): string[] {
	const end = args.indexOf("--");
	return args.map((arg, i) =>
		end >= 0 && i >= end
			? arg
			: arg.replace(/^--[\w-]+/, (flag) => flag.replaceAll("_", "-")),
	);
}

/** The command a usage error belongs to, as far as it was understood: "keepsight data check". */
function commandPath(program: Command, args: readonly string[]): string {
	let command = program;
	let path = program.name();
	for (const arg of args) {
		const next = command.commands.find((c) => c.name() === arg);
		if (!next) break;
		command = next;
		path += ` ${arg}`;
	}
	return path;
}

/** Prints an error where it belongs and returns the exit code. */
function report(
	error: unknown,
	program: Command,
	args: readonly string[],
): number {
	if (error instanceof CommanderError) {
		if (error.exitCode === 0) return 0; // --help, --version
		if (error.code === "commander.help") return 2; // no command: the help was printed
		const text = error.message
			.replace(/^error: /, "")
			.replace(/\n?\(Did you mean (.+)\?\)/, '. Did you mean "$1"?');
		const problem = `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?]$/.test(text) ? "" : "."}`;
		return report(
			fail("USAGE", { problem, command: commandPath(program, args) }),
			program,
			args,
		);
	}
	if (error instanceof StoppedBySignal) {
		console.error(error.message);
		return error.exitCode;
	}
	if (error instanceof KeepsightError) {
		console.error(`error: ${error.message}`);
		return 2;
	}
	console.error(
		error instanceof Error ? (error.stack ?? error.message) : error,
	);
	return 1;
}
