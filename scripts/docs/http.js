/** docs/http.md: every route of `serve` with what it takes and answers, from the same openapi.json that the server gives. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createApp } from "../../dist/server/app.js";
import { bodyLimit, statuses } from "../../dist/server/problem.js";
import { root } from "../project.js";
import {
	code,
	generated,
	page,
	prose,
	sentence,
	table,
	toHeading,
} from "./markdown.js";
import { takes } from "./takes.js";

const intro = `# HTTP API

Every route of \`keepsight serve\`, as \`GET /openapi.json\` has them. How to run the server, what it keeps and how versions change: [serve](serve.md).

- Bodies and answers are JSON in UTF-8 where nothing else is said; an unknown key of a body is refused. Pictures are PNG, JPEG, WebP, BMP or TIFF, told by their bytes whatever the header says.
- Scores are −log10 of the chance that a good part of that product scores so high: 2 is one good part in 100. Times are ISO 8601 in UTC.
- Names of products stand URL-encoded in an address: \`/v1/tasks/line-2%2Fcap\`.
- With \`KEEPSIGHT_TOKEN\` every route but \`/health\` wants \`Authorization: Bearer TOKEN\`.`;

const limits = `## Limits

| what | at most | else |
| --- | --- | --- |
| a body | ${bodyLimit >> 20} MB | 413 \`BODY_TOO_LARGE\` |
| a picture | 100 million pixels, read from its header before anything is decoded | 413 \`IMAGE_TOO_LARGE\` |
| a form | 1 file, 4 fields of 1,000 bytes | 400 \`REQUEST_INVALID\` |
| all bodies that arrive together | 512 MB | 503 \`SERVER_BUSY\` |
| all pictures that wait together | 400 million pixels, \`--queue\` pictures | 503 \`SERVER_BUSY\`, with \`Retry-After\` |
| time for a request to arrive | 30 s, its headers 10 s | 408 |
| time for a picture to be scored | \`--timeout\` seconds | 503 \`REQUEST_TIMED_OUT\` |
| requests of one address | \`--rate\` a second | 429 \`TOO_MANY_REQUESTS\`, with \`Retry-After\` |
| connections | 1,024 | the connection is closed |
| pictures of a job | 10,000, numbered from 0 | 400 \`REQUEST_INVALID\` |`;

/** Shapes that several routes speak of, and where one of them is. */
const named = {
	Problem: (api) => answer(api, "get", "/v1/tasks", "4XX"),
	Job: (api) => answer(api, "get", "/v1/jobs/{id}", "200"),
	Product: (api) =>
		answer(api, "get", "/v1/tasks", "200").properties.tasks.items,
	Prediction: (api) =>
		answer(api, "get", "/v1/history", "200").properties.predictions.items,
	Feedback: (api) =>
		answer(api, "get", "/v1/feedback", "200").properties.feedback.items,
	Versions: (api) => answer(api, "get", "/v1/versions", "200"),
};

const jsonOf = ({ content }) => content?.["application/json"]?.schema;
const answer = (api, method, path, status) =>
	jsonOf(api.paths[path][method].responses[status]);

/** What the server says of itself; no route is called, so nothing stands behind them. */
async function openapi() {
	const app = await createApp(
		{ options: { replica: null }, hub: { close() {} } },
		{
			token: null,
			self: "127.0.0.1",
			hosts: [],
			rate: 1,
			connections: 1,
			receiveMs: 1000,
			web: new Map(),
		},
	);
	await app.ready();
	const api = app.swagger();
	await app.close();
	return api;
}

export async function httpPage() {
	const api = await openapi();
	const shapes = new Map(
		Object.entries(named).map(([name, find]) => [
			JSON.stringify(find(api)),
			name,
		]),
	);
	const nameOf = (schema) => shapes.get(JSON.stringify(schema));
	return page(
		generated("openapi.json"),
		intro,
		table(
			["address", "does"],
			Object.entries(api.paths).flatMap(([path, methods]) =>
				Object.entries(methods).map(([method, { summary }]) => [
					toHeading(headingOf(method, path)),
					prose(summary),
				]),
			),
		),
		Object.entries(api.paths).flatMap(([path, methods]) =>
			Object.entries(methods).map(([method, route]) =>
				routeSection(method, path, route, nameOf),
			),
		),
		"## Shapes",
		[...shapes].map(([schema, name]) => [
			`### ${name}`,
			fields(JSON.parse(schema), (inner) => {
				const found = nameOf(inner);
				return found === name ? undefined : found;
			}),
		]),
		events,
		problemSection(),
		limits,
	);
}

const events = `## Events

\`GET /v1/events\` and \`GET /v1/jobs/{id}/events\` are server-sent events: \`event:\` is one of the names below, \`data:\` one line of JSON, \`id:\` a number that a client sends back as \`Last-Event-ID\` to go on after it.

| event | data |
| --- | --- |
| \`prediction\` | a [Prediction](#prediction) |
| \`feedback\` | a [Feedback](#feedback) |
| \`job\` | a [Job](#job) |
| \`version\` | \`{ active, waiting }\`: the version that answers from now on, and the one that waits to be activated; \`null\`: none |`;

const headingOf = (method, path) => `${method.toUpperCase()} ${path}`;

function routeSection(method, path, route, nameOf) {
	const { summary, description, parameters = [], requestBody } = route;
	const body = requestBody && bodyText(requestBody, nameOf);
	return [
		`## ${headingOf(method, path)}`,
		[sentence(summary), description && sentence(description)]
			.filter(Boolean)
			.join(" "),
		table(
			["parameter", "takes", "is"],
			parameters.map((p) => [
				code(p.in === "path" ? `{${p.name}}` : `?${p.name}=`),
				takes(p.schema),
				about(p.schema, p.description),
			]),
		),
		body,
		answersOf(path, route, nameOf),
	];
}

function bodyText({ content }, nameOf) {
	const types = Object.keys(content);
	const { schema } = content[types[0]];
	if (!types.includes("application/json"))
		return `Body: the picture, as ${types.map(code).join(", ")}.`;
	const forms = schema.anyOf ?? [schema];
	return forms.flatMap((form, i) => [
		i === 0 ? "Body:" : "or:",
		fields(form, nameOf),
	]);
}

function answersOf(path, { responses }, nameOf) {
	const good = Object.entries(responses).filter(([status]) =>
		/^[23]\d\d$|^503$/.test(status),
	);
	const list = good.map(([status, response]) => [status, jsonOf(response)]);
	const [first] = list;
	if (!first || list.every(([, schema]) => schema === undefined))
		return `Answer 200: ${otherAnswer(path)}.`;
	const statusesOf = (schema) =>
		list
			.filter(([, other]) => JSON.stringify(other) === JSON.stringify(schema))
			.map(([status]) => status)
			.join(" or ");
	const distinct = [
		...new Map(list.map((entry) => [JSON.stringify(entry[1]), entry])).values(),
	];
	return distinct.map(([, schema]) => {
		const name = nameOf(schema);
		return name
			? `Answer ${statusesOf(schema)}: a [${name}](#${name.toLowerCase()}).`
			: [`Answer ${statusesOf(schema)}:`, fields(schema, nameOf)];
	});
}

/** What is not JSON. */
const otherAnswer = (path) =>
	path.endsWith("/events")
		? "server-sent [events](#events)"
		: path === "/metrics"
			? "text for Prometheus"
			: "the picture";

/** A row a field, those of inner objects below it. */
function fields(schema, nameOf) {
	return table(["field", "is", "about"], rowsOf(schema, "", nameOf));
}

function rowsOf({ properties = {}, required = [] }, prefix, nameOf) {
	return Object.entries(properties).flatMap(([key, node]) => {
		const path = `${prefix}${key}`;
		const items = node.items ?? node;
		const name = nameOf(withoutDescription(items));
		const inner = [items, ...(items.anyOf ?? [])].find((n) => n.properties);
		const list = node.items ? "list of " : "";
		const kind = name
			? `${list}[${name}](#${name.toLowerCase()})`
			: inner && items === inner
				? `${list}object${node.items ? "s" : ""}`
				: inner
					? "object, or `null`"
					: takes(node);
		return [
			[
				`${code(path)}${required.includes(key) || node.default !== undefined ? "" : ", may be left out"}`,
				kind,
				about(node),
			],
			...(inner && !name
				? rowsOf(inner, `${path}${node.items ? "[]" : ""}.`, nameOf)
				: []),
		];
	});
}

const withoutDescription = ({ description: _description, ...rest }) => rest;

function about(schema, text = schema.description) {
	if (!text) throw new Error(`no .describe: ${JSON.stringify(schema)}`);
	const given =
		schema.default === undefined
			? ""
			: `default ${code(String(schema.default) || '""')}`;
	return [prose(text), given].filter(Boolean).join("; ");
}

function problemSection() {
	const errors = readFileSync(join(root, "docs", "errors.md"), "utf8");
	const whenOf = (name) => {
		const [, when] =
			new RegExp(`^\\| \`${name}\` +\\| (.*?) +\\|`, "m").exec(errors) ?? [];
		if (!when) throw new Error(`docs/errors.md does not explain ${name}`);
		return when;
	};
	return [
		"## Problems",
		"Every refusal is a problem document (RFC 9457, `application/problem+json`), a [Problem](#problem). `code` is stable, `detail` is for people. What to do about each: [errors](errors.md).",
		table(
			["status", "code", "when"],
			Object.entries(statuses)
				.sort(([a, x], [b, y]) => x - y || a.localeCompare(b))
				.map(([name, status]) => [status, code(name), whenOf(name)]),
		),
		"500 with the code `INTERNAL`: our fault; the server's log says more.",
	];
}
