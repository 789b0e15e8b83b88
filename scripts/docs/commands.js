/** docs/commands.md: every command with its arguments, flags and their defaults, from the program itself. */
import { createProgram } from "../../dist/commands/index.js";
import {
	code,
	generated,
	page,
	prose,
	sentence,
	table,
	toHeading,
} from "./markdown.js";

const intro = `# Commands

Every command with all its flags. \`keepsight help COMMAND\` prints the same. What they are for: the pages of the [index](README.md).

- \`--mem_dir\` and \`--mem-dir\` are the same flag, and so for every flag.
- Results go to stdout, progress and messages to stderr. With \`--json\` stdout is JSON and nothing else.
- A flag in \`[...]\` may take a value or none. One that "may be repeated" adds up.`;

const exits = `## Exit codes

| code | means |
| --- | --- |
| 0 | done. \`serve\` and \`worker\`: ended after what was under way; \`train --resume\` of a finished run |
| 1 | our fault, with a stack trace: please report it. Also \`export --verify\` where the graph says something else |
| 2 | yours: one line says what, where, and what to do; [errors](errors.md) lists them all. Also \`data check\` that found errors and \`doctor\` that found something missing, \`sweep\` with a run that failed and \`compare\` with none that ended |
| 130, 143 | interrupted by Ctrl-C or SIGTERM; the state is saved, the same command (\`train\`: with \`--resume\`) goes on |`;

export async function commandsPage() {
	const program = await createProgram();
	return page(
		generated("the program"),
		intro,
		contents(program.commands),
		exits,
		program.commands.flatMap((command) => sections(command, "keepsight")),
	);
}

/** A line a command that can be given. */
function contents(commands) {
	const all = (list, path) =>
		list.flatMap((command) => {
			const name = [...path, command.name()];
			return command.commands.length > 0
				? all(command.commands, name)
				: [[toHeading(name.join(" ")), prose(command.description())]];
		});
	return table(["command", "does"], all(commands, []));
}

function sections(command, parent) {
	const path = `${parent} ${command.name()}`;
	if (command.commands.length > 0)
		return command.commands.flatMap((child) => sections(child, path));
	return [
		`## ${path.replace(/^keepsight /, "")}`,
		`<!-- not run: how it is called -->\n\`\`\`text\n${path} ${command.usage()}\n\`\`\``,
		sentence(described(command.description(), path)),
		table(
			["argument", "is"],
			command.registeredArguments.map((argument) => [
				code(argument.name() + (argument.variadic ? "..." : "")),
				prose(described(argument.description, `${path} <${argument.name()}>`)),
			]),
		),
		table(
			["flag", "default", "does"],
			command.options.map((option) => [
				code(option.flags),
				defaultOf(option),
				doing(option, path, command),
			]),
		),
	];
}

function doing(option, path, command) {
	const { argChoices: choices, conflictsWith } = option;
	const others = conflictsWith.map((key) =>
		code(command.options.find((o) => o.attributeName() === key).long),
	);
	return [
		prose(described(option.description, `${path} ${option.flags}`)),
		choices && `one of ${choices.map(code).join(", ")}`,
		others.length > 0 && `not with ${others.join(", ")}`,
	]
		.filter(Boolean)
		.join("; ");
}

function defaultOf({ defaultValue, defaultValueDescription, negate }) {
	if (negate) return "";
	if (defaultValueDescription)
		return defaultValueDescription === "none" ? "" : defaultValueDescription;
	const empty = Array.isArray(defaultValue) && defaultValue.length === 0;
	return defaultValue === undefined || empty ? "" : code(String(defaultValue));
}

function described(text, where) {
	if (!text) throw new Error(`${where} has no description`);
	return text;
}
