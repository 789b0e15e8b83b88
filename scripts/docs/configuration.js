/** docs/configuration.md: every key of a configuration, from the schema that holds it. */
import { configJsonSchema } from "../../dist/config.js";
import { code, generated, page, prose, sentence, table } from "./markdown.js";
import { entriesOf, takes, yaml } from "./takes.js";

const intro = `# Configuration

One YAML file is one run; \`configs/\` has complete, commented ones. What is written here is also in \`keepsight.schema.json\`, for editors with a YAML language server.

- Keys are snake_case. An unknown key is an error that names the nearest one.
- Any key can be set on the command line, the value as YAML: \`--set train.epochs=3 --set "strategy={ name: ewc }"\`. Positions in lists count from 0: \`--set memory.0.weight=2\`.
- A key without a default has to be given where it says **required**, and may be left out elsewhere.
- Test images, labels and masks decide nothing of what is here.`;

const example = `\`\`\`yaml
name: first
data: { tasks: [mvtec/bottle, mvtec/screw] }
pretext: { name: cutpaste }
strategy: { name: gpm }
memory: [{ name: dne }, { name: patches }]
\`\`\``;

const environment = `## Environment

What decides results is in the file alone. These say where things are, and hold what must not stand in a file or in the list of processes.

| variable | is |
| --- | --- |
| \`KEEPSIGHT_TOKEN\` | the token that clients of \`serve\` must send ([serve](serve.md#security)) |
| \`KEEPSIGHT_REDIS\` | the address of the queue, for \`--redis\` without a value ([sweep](sweep.md)) |
| \`HF_ENDPOINT\`, \`HF_TOKEN\`, \`HF_TOKEN_PATH\`, \`HF_HUB_OFFLINE\`, \`TRANSFORMERS_OFFLINE\` | the model hub ([backbones](backbones.md#mirrors-tokens-offline)) |
| \`HF_HOME\`, \`XDG_CACHE_HOME\` | where backbones are kept ([backbones](backbones.md#where-it-lies)) |
| \`MLFLOW_TRACKING_USERNAME\`, \`MLFLOW_TRACKING_PASSWORD\`, \`MLFLOW_TRACKING_TOKEN\` | for \`tracking.mlflow\` ([tracking](tracking.md)) |
| \`AWS_REGION\`, \`AWS_ENDPOINT_URL_S3\` and the other variables of AWS's SDK | for \`--store s3://...\` ([sweep](sweep.md)) |
| \`NO_COLOR\` | no colours, as \`--no-color\` |`;

export function configurationPage() {
	const { properties, required } = configJsonSchema();
	const keys = Object.keys(properties);
	const plain = keys.filter((key) => !isGroup(properties[key]));
	return page(
		generated("the schema"),
		intro,
		example,
		"## The run",
		keysTable(pick(properties, plain), required, ""),
		keys
			.filter((key) => isGroup(properties[key]))
			.flatMap((key) => group(key, properties[key], required.includes(key))),
		environment,
	);
}

/** What has a section of its own. */
const isGroup = (node) => entriesOf(node) !== undefined || node.properties;

const pick = (object, keys) =>
	Object.fromEntries(keys.map((key) => [key, object[key]]));

function group(key, node, isRequired) {
	const entries = entriesOf(node);
	const head = [
		`## \`${key}\``,
		[
			entries && node.items && "A list.",
			isRequired && "**Required.**",
			node.description && sentence(node.description),
		]
			.filter(Boolean)
			.join(" "),
	];
	if (!entries)
		return [head, keysTable(node.properties, node.required, `${key}.`)];
	const shared = sharedKeys(entries);
	return [
		head,
		keysTable(
			{
				name: {
					description: `which; ${entries.map((e) => `${code(e.properties.name.const)} (${e.description})`).join(", ")}`,
					type: "string",
				},
				...pick(entries[0].properties, shared),
			},
			["name"],
			`${key}.`,
		),
		entries.flatMap((entry) => {
			const own = Object.keys(entry.properties).filter(
				(name) => name !== "name" && !shared.includes(name),
			);
			return own.length === 0
				? []
				: [
						`### \`${key}\`: \`${entry.properties.name.const}\``,
						keysTable(pick(entry.properties, own), entry.required, ""),
					];
		}),
	];
}

/** What every entry takes in the same way. */
const sharedKeys = ([first, ...rest]) =>
	Object.keys(first.properties).filter(
		(key) =>
			key !== "name" &&
			rest.every(
				({ properties }) =>
					JSON.stringify(properties[key]) ===
					JSON.stringify(first.properties[key]),
			),
	);

function keysTable(properties, required, prefix) {
	return table(
		["key", "takes", "default", "is"],
		rowsOf(properties, required, prefix),
	);
}

function rowsOf(properties, required = [], prefix) {
	return Object.entries(properties).flatMap(([key, node]) => {
		const path = prefix + key;
		const inner = node.items?.properties ?? objectOf(node)?.properties;
		const own =
			node.properties && !node.description
				? []
				: [
						[
							code(path),
							takes(node),
							node.default === undefined
								? required.includes(key)
									? "**required**"
									: ""
								: code(yaml(node.default)),
							prose(described(node, path)),
						],
					];
		const below = node.items?.properties ? `${path}[].` : `${path}.`;
		return inner && !node.items?.oneOf
			? [
					...own,
					...rowsOf(inner, (node.items ?? objectOf(node)).required, below),
				]
			: own;
	});
}

/** The object among what a key may be. */
const objectOf = (node) =>
	node.properties ? node : node.anyOf?.find((one) => one.properties);

function described({ description }, where) {
	if (!description) throw new Error(`${where} has no description (.describe)`);
	return description;
}
