/** Starts the server, and lets it end without losing a request. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { fail } from "../errors.ts";
import { type AppOptions, createApp, type WebFiles } from "./app.ts";
import { isLoopback, TOKEN_LENGTH } from "./guard.ts";
import { Plant, type PlantOptions } from "./plant.ts";

export interface ServeOptions
	extends PlantOptions,
		Omit<AppOptions, "web" | "self"> {
	readonly host: string;
	/** 0: any that is free. */
	readonly port: number;
	/** Time that requests under way have, once it ends. */
	readonly graceMs: number;
	/** Folder of the dashboard; null: none. */
	readonly webDir: string | null;
}

export interface Serving {
	/** Such as http://127.0.0.1:8080. */
	readonly url: string;
	/** Takes no new requests, answers those under way, ends. */
	close(): Promise<void>;
}

export async function serve(options: ServeOptions): Promise<Serving> {
	const { host, port, token, graceMs, webDir } = options;
	if (!isLoopback(host) && (token?.length ?? 0) < TOKEN_LENGTH)
		throw fail("TOKEN_NEEDED", { host });
	const plant = new Plant(options);
	const app = await createApp(plant, {
		...options,
		self: host,
		web: webDir === null ? new Map() : webFiles(webDir),
	});
	try {
		await app.listen({ host, port });
		await plant.versions.begin();
	} catch (error) {
		await app.close();
		await plant.close();
		const { code, syscall } = error as NodeJS.ErrnoException;
		if (syscall === "listen" || syscall === "bind" || syscall === "getaddrinfo")
			throw fail("ADDRESS_UNUSABLE", { host, port, code: code ?? "unknown" });
		throw error;
	}
	const { port: taken } = app.server.address() as AddressInfo;
	return {
		url: `http://${host.includes(":") ? `[${host}]` : host}:${taken}`,
		async close() {
			plant.draining = true;
			const late = setTimeout(() => app.server.closeAllConnections(), graceMs);
			await app.close();
			clearTimeout(late);
			await plant.close();
		},
	};
}

const types: Readonly<Record<string, string>> = {
	".html": "text/html; charset=utf-8",
	".js": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml",
	".png": "image/png",
	".webp": "image/webp",
	".woff2": "font/woff2",
};

/** All files of the dashboard, read once: no request ever becomes a path. */
function webFiles(dir: string): WebFiles {
	if (!existsSync(dir)) return new Map();
	const files = readdirSync(dir, { recursive: true, encoding: "utf8" })
		.map((name) => name.replaceAll("\\", "/"))
		.filter((name) => types[extname(name)] !== undefined)
		.map((name) => {
			const file = {
				type: types[extname(name)] as string,
				bytes: readFileSync(join(dir, name)),
			};
			return [`/${name}`, file] as const;
		});
	const index = files.find(([name]) => name === "/index.html");
	return new Map([...files, ...(index ? [["/", index[1]] as const] : [])]);
}
