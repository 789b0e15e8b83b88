/**
 * Requests drawn from openapi.json, half of them as it describes and half not: whatever comes, the answer is one that it describes, within a
 * second, and never 500. 200 of them; 2,000 with `npm run soak`. Then bodies of valid requests, forms and JSON, with their bytes changed.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { bytes, cases, json } from "../fuzz/mutate.ts";
import { errorCodes } from "../../src/errors.ts";
import {
	answered,
	fake,
	fakeMemory,
	grey,
	served,
	setVersion,
} from "./fake.ts";

type Schema = Readonly<Record<string, unknown>>;
interface Operation {
	readonly parameters?: readonly {
		readonly name: string;
		readonly in: "path" | "query";
		readonly required?: boolean;
		readonly schema: Schema;
	}[];
	readonly requestBody?: {
		readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
	};
	readonly responses: Readonly<Record<string, unknown>>;
}

const requests = process.env.KEEPSIGHT_SOAK ? 2000 : 200;

/** What a schema describes. */
function fitting(schema: Schema): fc.Arbitrary<unknown> {
	if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum);
	if ("const" in schema) return fc.constant(schema.const);
	const either = schema.anyOf ?? schema.oneOf;
	if (Array.isArray(either)) return fc.oneof(...either.map(fitting));
	switch (schema.type) {
		case "string":
			return fc.oneof(
				fc.constantFrom("mvtec/cap", "line 2/ring"),
				fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
				...(schema.pattern === undefined ? [] : [fc.uuid()]),
			);
		case "integer":
			return fc.integer({ min: 0, max: 12 });
		case "number":
			return fc.double({ min: 0, max: 300, noNaN: true });
		case "boolean":
			return fc.boolean();
		case "null":
			return fc.constant(null);
		case "array":
			return fc.array(fitting(schema.items as Schema), { maxLength: 5 });
		case "object": {
			const properties = (schema.properties ?? {}) as Record<string, Schema>;
			const keys = Object.keys(properties);
			return fc.record(
				Object.fromEntries(
					keys.map((key) => [key, fitting(properties[key] as Schema)]),
				),
				{ requiredKeys: (schema.required ?? []) as string[] },
			);
		}
		default:
			return fc.anything();
	}
}

const hostile = fc.oneof(
	fc.string({ unit: "binary", maxLength: 300 }),
	fc.constantFrom(
		"../..",
		"..\\..",
		"%00",
		"null",
		"-1",
		"1e999",
		"__proto__",
		"<script>",
		"'; drop table predictions;--",
		"9007199254740993",
	),
);

interface Drawn {
	readonly method: string;
	readonly path: string;
	readonly body: Uint8Array | string | null;
	readonly type: string;
}

function requestOf(
	template: string,
	method: string,
	{ parameters = [], requestBody }: Operation,
	{
		picture,
		honest,
	}: { readonly picture: Uint8Array; readonly honest: boolean },
): fc.Arbitrary<Drawn> {
	const value = (schema: Schema) =>
		honest
			? fitting(schema).map(String)
			: fc.oneof(fitting(schema).map(String), hostile);
	const path = fc
		.record(
			Object.fromEntries(
				parameters
					.filter((p) => p.in === "path")
					.map((p) => [p.name, value(p.schema)]),
			),
		)
		.map((values) =>
			template.replaceAll(/{(\w+)}/g, (_, name: string) =>
				encodeURIComponent(Buffer.from(values[name] as string).toString()),
			),
		);
	const query = fc
		.record(
			Object.fromEntries(
				parameters
					.filter((p) => p.in === "query")
					.map((p) => [p.name, value(p.schema)]),
			),
			{ requiredKeys: [] },
		)
		.map((values) =>
			new URLSearchParams(values as Record<string, string>).toString(),
		);
	const content = Object.entries(requestBody?.content ?? {});
	const schema = content.find(([type]) => type === "application/json")?.[1]
		.schema;
	const described = schema
		? fitting(schema).map((value) => JSON.stringify(value) ?? "")
		: fc.constant(picture);
	const type = schema ? "application/json" : "image/png";
	const types = honest
		? fc.constant(type)
		: fc.constantFrom(
				type,
				...content.map(([name]) => name),
				"application/json",
				"text/plain",
			);
	const body = honest
		? described
		: fc.oneof(
				described,
				fc.json(),
				fc.uint8Array({ maxLength: 2000 }),
				fc.constant(picture.slice(0, picture.length / 2)),
			);
	return fc
		.record({
			path,
			query,
			body,
			type: types,
		})
		.map((drawn) => ({
			method: method.toUpperCase(),
			path: `${drawn.path}${drawn.query && `?${drawn.query}`}`,
			body: ["get", "delete"].includes(method) ? null : drawn.body,
			type: drawn.type,
		}));
}

it(`${requests} requests of all kinds are answered as openapi.json says`, async () => {
	const memDir = fakeMemory(3);
	let version = 3;
	const { url, logged } = await served(
		fake((sent, v) => answered(v, { task: sent.task })),
		{
			memDir,
			teach: async ({ change }) => {
				setVersion(memDir, ++version);
				return {
					results: { memoryVersion: version, change: change.kind, tasks: [] },
					text: "Done.",
				};
			},
		},
	);
	const api = (await (await fetch(`${url}/openapi.json`)).json()) as {
		paths: Record<string, Record<string, Operation>>;
	};
	const picture = await grey(7);
	const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
		Object.entries(methods)
			.filter(() => !path.endsWith("/events")) // they do not end
			.map(([method, operation]) => ({
				key: `${method} ${path}`,
				operation,
				drawn: fc.oneof(
					...[true, false].map((honest) =>
						requestOf(path, method, operation, { picture, honest }),
					),
				),
			})),
	);
	const codes = new Set<string>(errorCodes);
	const seen = new Map<string, number>();
	await fc.assert(
		fc.asyncProperty(
			fc.oneof(
				...operations.map(({ key, operation, drawn }) =>
					drawn.map((request) => ({ key, operation, request })),
				),
			),
			async ({ key, operation, request }) => {
				const began = process.cpuUsage();
				const response = await fetch(url + request.path, {
					method: request.method,
					...(request.body !== null && {
						body: request.body as NonNullable<RequestInit["body"]>,
						headers: { "content-type": request.type },
					}),
				});
				const text = await response.text();
				const { status } = response;
				const { user, system } = process.cpuUsage(began); // a request that waits meets the test's own limit
				expect((user + system) / 1000, key).toBeLessThan(1000);
				expect(status, `${key} ${text} ${logged.at(-1)}`).not.toBe(500);
				seen.set(`${key} ${status}`, 1);
				if (status >= 400) {
					const problem = JSON.parse(text) as { code: string; status: number };
					expect(problem.status).toBe(status);
					expect(codes, problem.code).toContain(problem.code);
				} else if (
					Object.keys(operation.responses).includes("200") ||
					status !== 200
				)
					expect(Object.keys(operation.responses), key).toContain(
						String(status),
					);
				expect(text).not.toMatch(/node_modules|\bat .*\.[jt]s:\d+/);
			},
		),
		{
			numRuns: requests,
			endOnFailure: false,
			...(!process.env.KEEPSIGHT_SOAK && { seed: 1 }),
		},
	);
	expect([...seen.keys()].some((key) => key === "post /v1/predict 200")).toBe(
		true,
	);
	expect(logged.filter((line) => line.includes("Error"))).toEqual([]);
}, 300_000);

it(`${requests} forms and JSON bodies with changed bytes get an answer that is described`, async () => {
	const { url, logged } = await served(
		fake((sent, version) => answered(version, { task: sent.task })),
		{ memDir: fakeMemory(1) },
	);
	const picture = Buffer.from(await grey(7));
	const form = (boundary: string, head: string) =>
		Buffer.concat([
			Buffer.from(
				`--${boundary}\r\nContent-Disposition: form-data; ${head}\r\nContent-Type: image/png\r\n\r\n`,
			),
			picture,
			Buffer.from(`\r\n--${boundary}--\r\n`),
		]);
	const forms = [
		form("x", 'name="image"; filename="a.png"'),
		form("x", "name=image; filename*=UTF-8''%e2%82%ac.png"),
	];
	const bodies = [
		{ prediction: 1, label: "bad", comment: "scratch" },
		{ name: "line-2/cap", kind: "learn", review: true },
		{ threshold: 2.5 },
		{ fromFeedback: true },
		{ refused: [0, 1] },
	].map((body) => Buffer.from(JSON.stringify(body)));
	const places: readonly (readonly [method: string, path: string])[] = [
		["POST", "/v1/feedback"],
		["POST", "/v1/tasks"],
		["PUT", "/v1/tasks/mvtec%2Fcap/threshold"],
	];
	const ask = async (
		[method, path]: readonly [string, string],
		type: string,
		body: Uint8Array,
	) => {
		const began = performance.now();
		const response = await fetch(url + path, {
			method,
			body: Buffer.from(body),
			headers: { "content-type": type },
		});
		const text = await response.text();
		expect(performance.now() - began).toBeLessThan(10_000);
		expect(response.status, `${path} ${text} ${logged.at(-1)}`).not.toBe(500);
		if (response.status >= 400)
			expect(errorCodes).toContain((JSON.parse(text) as { code: string }).code);
		return response.status;
	};
	const seen = new Set<number>();
	for (const body of forms)
		seen.add(
			await ask(
				["POST", "/v1/predict"],
				"multipart/form-data; boundary=x",
				body,
			),
		);
	expect([...seen]).toEqual([200]);
	await fc.assert(
		fc.asyncProperty(cases, fc.nat(), async (drawn, at) => {
			if (at % 2 === 0)
				seen.add(
					await ask(
						["POST", "/v1/predict"],
						"multipart/form-data; boundary=x",
						bytes(forms, drawn),
					),
				);
			else
				seen.add(
					await ask(
						places[(at >> 1) % places.length] as readonly [string, string],
						"application/json",
						json(bodies, drawn),
					),
				);
		}),
		{ numRuns: requests, endOnFailure: true },
	);
	expect(seen.size).toBeGreaterThan(1);
}, 300_000);
