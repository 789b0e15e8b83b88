/** A real Redis server of the test's own, on loopback, that can be killed and started again. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

export const noRedis =
	spawnSync("redis-server", ["--version"], { stdio: "ignore" }).status !== 0;
export const skipped = noRedis
	? " (skipped: there is no redis-server; apt-get install redis-server)"
	: "";

export async function freePort(): Promise<number> {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	const { port } = server.address() as AddressInfo;
	server.close();
	await once(server, "close");
	return port;
}

export class RedisServer {
	readonly url: string;
	readonly #port: number;
	readonly #dir: string;
	readonly #args: readonly string[];
	#child: ChildProcess | null = null;

	private constructor(port: number, args: readonly string[]) {
		this.#port = port;
		this.#args = args;
		this.#dir = mkdtempSync(join(tmpdir(), "keepsight-redis-"));
		this.url = `redis://127.0.0.1:${port}`;
	}

	/** By default nothing is kept on the disk. */
	static async start(...args: string[]): Promise<RedisServer> {
		const server = new RedisServer(await freePort(), args);
		await server.up();
		return server;
	}

	/** As after a power cut. */
	async kill(): Promise<void> {
		if (!this.#child) return;
		const gone = once(this.#child, "exit");
		this.#child.kill("SIGKILL");
		await gone;
		this.#child = null;
	}

	freeze(): void {
		this.#child?.kill("SIGSTOP");
	}
	thaw(): void {
		this.#child?.kill("SIGCONT");
	}

	async up(): Promise<void> {
		this.#child = spawn(
			"redis-server",
			[
				"--port",
				String(this.#port),
				"--bind",
				"127.0.0.1",
				"--dir",
				this.#dir,
				"--save",
				"",
				...this.#args,
			],
			{ stdio: "ignore" },
		);
		const probe = new Redis(this.url, {
			retryStrategy: () => 20,
			maxRetriesPerRequest: null,
		});
		probe.on("error", () => undefined);
		const answers = () => probe.ping().catch((error: Error) => error.message); // NOAUTH is an answer too
		while (!/PONG|NOAUTH/.test(await answers())) await sleep(20);
		probe.disconnect();
	}

	async stop(): Promise<void> {
		await this.kill();
		rmSync(this.#dir, { recursive: true, force: true });
	}
}
