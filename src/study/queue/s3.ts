/**
 * Run folders in an S3-compatible store: <prefix>/<study>/<run>/<start>/<file>. Every start writes below a name of its own, so one that
 * comes late spoils nothing; run.json goes last, without it there is no run.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import {
	GetObjectCommand,
	ListObjectsV2Command,
	PutObjectCommand,
	S3Client,
} from "@aws-sdk/client-s3";
import { runDir } from "../../config.ts";
import { fail, KeepsightError } from "../../errors.ts";
import {
	checkPath,
	isBookkeeping,
	readBytes,
	removeTree,
	stableJson,
	writeAtomic,
} from "../../storage.ts";
import type { Artefact, Store } from "./store.ts";

const last = "run.json";
const CONNECT_MS = 10_000;
/** A request of which nothing is heard for so long has failed. */
const SILENT_MS = 60_000;

export class S3Store implements Store {
	readonly name: string;
	readonly #client: S3Client;
	readonly #bucket: string;
	readonly #prefix: string;

	/** `?endpoint=` and `?region=` name a server other than AWS; credentials come from the environment. */
	constructor(url: URL) {
		const endpoint =
			url.searchParams.get("endpoint") ?? process.env.AWS_ENDPOINT_URL_S3;
		this.#bucket = url.hostname;
		this.#prefix = url.pathname.replace(/^\/|\/$/g, "");
		this.name = `s3://${this.#bucket}/${this.#prefix}`;
		this.#client = new S3Client({
			region:
				url.searchParams.get("region") ?? process.env.AWS_REGION ?? "us-east-1",
			...(endpoint !== undefined &&
				endpoint !== null && { endpoint, forcePathStyle: true }),
			maxAttempts: 3,
			requestHandler: {
				connectionTimeout: CONNECT_MS,
				requestTimeout: SILENT_MS,
				throwOnRequestTimeout: true,
			},
			// what other servers than Amazon's understand
			requestChecksumCalculation: "WHEN_REQUIRED",
			responseChecksumValidation: "WHEN_REQUIRED",
		});
	}

	announce(study: string): Promise<void> {
		return this.#put(
			this.#key(study, "study.json"),
			Buffer.from(stableJson({ format: 1, study })),
		);
	}

	async problemWith(study: string): Promise<string | null> {
		const key = this.#key(study, "study.json");
		return (await this.#keys(key)).includes(key)
			? null
			: `the store ${this.name} here does not hold what the sweep put there`;
	}

	async publish(artefact: Artefact, signal: AbortSignal): Promise<void> {
		const dir = runDir(artefact.config);
		const files = readdirSync(dir, { recursive: true, withFileTypes: true })
			.filter((file) => file.isFile() && !isBookkeeping(file.name))
			.map((file) =>
				join(file.parentPath, file.name)
					.slice(dir.length + 1)
					.replaceAll("\\", "/"),
			)
			.sort();
		for (const file of [...files.filter((name) => name !== last), last])
			await this.#put(
				`${this.#folderOf(artefact)}${file}`,
				readBytes(join(dir, file)),
				signal,
			);
	}

	async retrieve(artefact: Artefact): Promise<void> {
		const dir = runDir(artefact.config);
		const folder = this.#folderOf(artefact);
		const names = (await this.#keys(folder)).map((key) =>
			checkPath(key.slice(folder.length), this.name),
		);
		if (!names.includes(last))
			throw this.#unusable(`${folder} holds no finished run`);
		removeTree(dir);
		for (const name of [...names.filter((one) => one !== last), last])
			writeAtomic(join(dir, name), await this.#get(`${folder}${name}`));
	}

	#key(...parts: readonly string[]): string {
		return [this.#prefix, ...parts].filter((part) => part !== "").join("/");
	}

	#folderOf({ study, config, start }: Artefact): string {
		return `${this.#key(study, config.name, start)}/`;
	}

	#put(key: string, body: Uint8Array, signal?: AbortSignal): Promise<void> {
		return this.#asked(async () => {
			await this.#client.send(
				new PutObjectCommand({ Bucket: this.#bucket, Key: key, Body: body }),
				signal && { abortSignal: signal },
			);
		});
	}

	#get(key: string): Promise<Uint8Array> {
		return this.#asked(async () => {
			const { Body } = await this.#client.send(
				new GetObjectCommand({ Bucket: this.#bucket, Key: key }),
			);
			if (!Body) throw new Error(`${key} is empty`);
			return Body.transformToByteArray();
		});
	}

	/** All keys that begin so. */
	#keys(start: string): Promise<string[]> {
		return this.#asked(async () => {
			const keys: string[] = [];
			let more: string | undefined;
			do {
				const page = await this.#client.send(
					new ListObjectsV2Command({
						Bucket: this.#bucket,
						Prefix: start,
						...(more !== undefined && { ContinuationToken: more }),
					}),
				);
				keys.push(...(page.Contents ?? []).flatMap(({ Key }) => Key ?? []));
				more = page.NextContinuationToken;
			} while (more !== undefined);
			return keys;
		});
	}

	async #asked<T>(ask: () => Promise<T>): Promise<T> {
		try {
			return await ask();
		} catch (error) {
			if (error instanceof KeepsightError) throw error;
			const { name, message } = error as Error;
			throw this.#unusable(`${name}: ${message.split("\n")[0]}`);
		}
	}

	readonly #unusable = (problem: string) =>
		fail("STORE_UNUSABLE", { store: this.name, problem });
}
